"""LlamaCloud's Index v2 chat as its "Chat" page describes it and the official SDK (``llama-cloud`` 2.19) reads it.

Inferred, because neither says it: the order of a turn's events (the user's input first, each whole event behind the
deltas it repeats, one ``text`` before ``stop``); that the history keeps whole events only, without ``warning`` (the
SDK's history knows no such event and would read it as a ``stop``; ``stop.skipped_index_ids`` says the same); the
shape of ``warning``; the tools' names and that a tool's result looks like the retrieval API's; that ``usage`` counts
the one turn, as ``job_metadata`` is documented to describe the most recent run; that a run's ``turns`` are the
answerer's, which are one here; that what a failed turn said stays out of the history.

Extension: sources that an answerer names without having shown a search that found them follow the text as one more
tool call with its result. The wire has no other place for sources.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from meibel_integrations.local.store.chats import ChatRow, RunRow, run_of
from meibel_integrations.local.store.step_codec import LogStep
from meibel_integrations.local.store.steps import AnswerSource, Delta, Status, Thinking, ToolCall
from meibel_integrations.local.store.turn_log import StepBatch, TurnRow
from meibel_integrations.local.turns.live_turn import Shown
from meibel_integrations.local.wires.shapes import to_json
from meibel_integrations.protocol import transcript
from meibel_integrations.protocol.sse import encode_event

_TITLE_CHARS = 60
_SEARCH = "search"


# Sessions


def summary(chat: ChatRow) -> dict[str, Any]:
    run = chat.last_run
    return {
        "session_id": chat.session.session_id,
        "last_updated_at": chat.updated_at,
        "shared_access": chat.shared_access,
        "generated_title": title_of(chat.first_message) if chat.first_message is not None else None,
        "index_ids": list(chat.index_ids) if chat.index_ids is not None else None,
        "job_metadata": None
        if run is None
        else {**_usage(run), "is_error": run.error is not None, "error": run.error, "export_config_ids": None},
    }


def whole_session(chat: ChatRow, turns: Sequence[TurnRow], steps: Mapping[int, Sequence[StepBatch]]) -> dict[str, Any]:
    return {**summary(chat), "events": [event for turn in turns for event in _history(turn, steps)]}


def title_of(prompt: str) -> str:
    """About 60 characters of the question, cut between words."""
    asked = [block.text for block in transcript.decode(prompt) if block.role == "user"]
    text = " ".join((asked[-1] if asked else prompt).split())
    if len(text) <= _TITLE_CHARS:
        return text
    cut = text.rfind(" ", _TITLE_CHARS // 2, _TITLE_CHARS + 1)
    return f"{text[: cut if cut > 0 else _TITLE_CHARS].rstrip()}…"


def _history(turn: TurnRow, steps: Mapping[int, Sequence[StepBatch]]) -> Iterator[dict[str, Any]]:
    """The whole events of a turn; of one that runs, those that it has come to."""
    fold = _TurnEvents()
    events = [*fold.begin(turn)]
    for batch in steps.get(turn.turn_id, ()):
        for step in batch.steps:
            events += fold.step(step)
    if turn.state != "running":
        events += fold.end(turn)
    return (event.data for event in events if event.name == _WHOLE and event.data["type"] != "warning")


# Streams


class LlamaCloudStream:
    """The events of one turn as bytes. Made anew for each response, as whole events gather what deltas said."""

    def __init__(self) -> None:
        self._fold = _TurnEvents()

    def opening(self, turn: TurnRow) -> bytes:
        return _encode(self._fold.begin(turn))

    def steps(self, batch: StepBatch, shown: Shown) -> bytes:
        return b"".join(_encode(self._fold.step(step)) for step in batch.steps)

    def closing(self, turn: TurnRow, number: int, shown: Shown) -> bytes:
        return _encode(self._fold.end(turn))

    def failure(self, signal_id: str, message: str) -> bytes:
        return _encode([_whole("stop", is_error=True, error=message, usage=_NO_USAGE, skipped_index_ids=[])])


# Events


class _SentEvent(NamedTuple):
    """``name`` is the SSE event under which it travels."""

    name: str
    data: dict[str, Any]


_DELTA = "delta"
_WHOLE = "message"
_NO_USAGE = {"duration_ms": None, "total_input_tokens": None, "total_output_tokens": None, "turns": None}


def _delta(kind: str, content: str) -> _SentEvent:
    return _SentEvent(_DELTA, {"type": kind, "content": content})


def _whole(kind: str, **fields: Any) -> _SentEvent:
    return _SentEvent(_WHOLE, {"type": kind, **fields})


def _encode(events: Iterator[_SentEvent] | Sequence[_SentEvent]) -> bytes:
    return b"".join(encode_event(event.name, to_json(event.data)) for event in events)


class _TurnEvents:
    """Turns what is stored of one turn into its events: the same ones for the stream and for the history."""

    def __init__(self) -> None:
        self._thinking: list[str] = []
        self._found: set[str | None] = set()

    def begin(self, turn: TurnRow) -> Iterator[_SentEvent]:
        yield _whole("user_input", content=turn.user_message)
        if turn.skipped_index_ids:
            ids = list(turn.skipped_index_ids)
            message = f"these indexes cannot be queried and were skipped: {', '.join(ids)}"
            yield _whole("warning", message=message, skipped_index_ids=ids)

    def step(self, step: LogStep) -> Iterator[_SentEvent]:
        if isinstance(step, Status):
            return
        if isinstance(step, Thinking):
            self._thinking.append(step.delta)
            yield _delta("thinking_delta", step.delta)
            return
        yield from self._end_of_thinking()
        if isinstance(step, Delta):
            yield _delta("text_delta", step.text)
        elif isinstance(step, ToolCall):
            yield _whole("tool_call", call_id=step.id, name=step.name, arguments=step.arguments)
        else:
            result = step.result
            if _is_search_result(step.name, result):
                self._found |= {hit["document_id"] for hit in result}
                result = _results(result)
            yield _whole("tool_result", call_id=step.id, name=step.name, result=result)

    def end(self, turn: TurnRow) -> Iterator[_SentEvent]:
        if turn.done is not None:
            yield from self._end_of_thinking()
            yield from self._sources(turn.signal_id, turn.done.sources)
            if turn.answer:
                yield _whole("text", content=turn.answer)
        run = run_of(turn)
        yield _whole(
            "stop",
            is_error=run.error is not None,
            error=run.error,
            usage=_usage(run),
            skipped_index_ids=list(turn.skipped_index_ids),
        )

    def _end_of_thinking(self) -> Iterator[_SentEvent]:
        if self._thinking:
            yield _whole("thinking", content="".join(self._thinking))
            self._thinking = []

    def _sources(self, signal_id: str, sources: Sequence[AnswerSource]) -> Iterator[_SentEvent]:
        """The sources that no search of this turn has shown."""
        hits = [
            {
                "document_id": source.document_id,
                "title": source.title,
                "url": source.url,
                "score": source.score,
                "snippet": source.snippet,
            }
            for source in sources
            if source.document_id is None or source.document_id not in self._found
        ]
        if hits:
            named = {"call_id": f"sources-{signal_id}", "name": _SEARCH}
            yield _whole("tool_call", **named, arguments={})
            yield _whole("tool_result", **named, result=_results(hits))


# Retrieval results


def _is_search_result(tool: str, result: Any) -> bool:
    """Whether a tool's result is a list of what the documents were found to say; anything else is sent as it is."""
    if not isinstance(result, list) or not (result or tool == _SEARCH):
        return False
    return all(isinstance(hit, dict) and isinstance(hit.get("document_id"), str) for hit in result)


def _results(hits: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"results": [_result(hit) for hit in hits]}


def _result(hit: Mapping[str, Any]) -> dict[str, Any]:
    """One hit as the retrieval API shows it. Nothing is reranked here, and pages are not known."""
    places = {"chunk_index": "ordinal", "chunk_start_char": "start", "chunk_end_char": "end"}
    title, url = hit.get("title"), hit.get("url")
    metadata = {"file_name": _file_name(url) or title, "title": title, "url": url}
    return {
        "content": hit.get("text") or hit.get("snippet") or "",
        "metadata": {name: value for name, value in metadata.items() if isinstance(value, str)},
        "score": hit.get("score"),
        "rerank_score": None,
        "static_fields": {
            **{name: hit[place] for name, place in places.items() if hit.get(place) is not None},
            "parsed_directory_file_id": hit.get("document_id"),
            "attachments": [],
        },
    }


def _file_name(url: Any) -> str | None:
    if not isinstance(url, str):
        return None
    return unquote(urlsplit(url).path).rstrip("/").rpartition("/")[2] or None


def _usage(run: RunRow) -> dict[str, Any]:
    """Tokens are what the answerer counted; ``null`` where it counted none."""
    duration = None
    if run.finished_at is not None:
        lasted = datetime.fromisoformat(run.finished_at) - datetime.fromisoformat(run.started_at)
        duration = max(0.0, lasted.total_seconds() * 1000)
    return {
        "duration_ms": duration,
        "total_input_tokens": run.usage.get("input_tokens"),
        "total_output_tokens": run.usage.get("output_tokens"),
        "turns": 1,
    }
