"""Answers from a real model: any LangChain chat model or LlamaIndex LLM, over the passages that a search found.

Neither framework is imported: a model is known by its own ``stream`` or ``stream_chat`` method. The model is given
numbered passages and asked to cite them as ``[1]``. Each marker is taken out of the text and becomes a citation, if the
sentence before it says what the passage says; otherwise it is dropped and counted.
"""

from __future__ import annotations

import logging
import queue
import re
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from meibel_integrations.errors import ConfigurationError
from meibel_integrations.local.answerers.interface import Answerer, Question
from meibel_integrations.local.answerers.reading import read
from meibel_integrations.local.answerers.sources import as_source, look_up
from meibel_integrations.local.search.passages import Passage
from meibel_integrations.local.search.words import content_words, stems
from meibel_integrations.local.store.steps import (
    AnswerCitation,
    Delta,
    Done,
    Status,
    Step,
    Thinking,
    ToolCall,
    ToolResult,
)

logger = logging.getLogger("meibel_integrations.local")

INSTRUCTIONS = (
    "Answer the user's question from the numbered passages and from nothing else. After each statement cite the"
    " passages that it rests on, as [1] or [2][3]. If the passages do not answer the question, say so."
)
_PASSAGES = 8
_EARLIER_MESSAGES = 10
_LONGEST_EARLIER = 2_000  # characters of an earlier message
_MARKER = re.compile(r"\s*\[(\d{1,2}(?:\s*,\s*\d{1,2})*)\]")
_OPEN = re.compile(r"\s*\[[\d,\s]{0,20}$|\s+$")  # what may yet become a marker
_SENTENCE = re.compile(r"[.!?\u3002]\s+|\n")
_SAID = 0.3  # the share of a sentence's words that the cited passage has to have
_END = object()


def as_answerer(given: Any) -> Answerer:
    """An answerer as it is; a model wrapped into one.

    Raises:
        ConfigurationError: the object is neither.
    """
    if hasattr(given, "answer"):
        answerer: Answerer = given
        return answerer
    return ChatModelAnswerer(given)


class ChatModelAnswerer:
    """Answers with a model's words, grounded in the agent's documents.

    Args:
        model: a LangChain chat model or a LlamaIndex LLM.
        instructions: what the model is told to do with the passages.
        passages: how many passages it is given.
        patience: seconds that it may say nothing before the turn fails.
    """

    def __init__(
        self, model: Any, *, instructions: str = INSTRUCTIONS, passages: int = _PASSAGES, patience: float = 120.0
    ) -> None:
        if hasattr(model, "stream_chat"):
            self._stream: Callable[[list[tuple[str, str]]], Iterator[Any]] = _llama_index(model)
        elif hasattr(model, "stream"):
            self._stream = model.stream
        else:
            raise ConfigurationError(
                f"a model needs the method stream (LangChain) or stream_chat (LlamaIndex); {type(model).__name__!r} has"
                " neither, nor the method answer of an answerer"
            )
        self._instructions = instructions
        self._passages = passages
        self._patience = patience

    def answer(self, question: Question) -> Iterator[Step]:
        """The steps of an answer: a search, the model's words as they come, sources and citations."""
        yield Status("Searching the documents")
        searches: list[Step] = []
        query = read(question.text, question.history).query
        files = question.uploaded_document_ids or None
        found = look_up(question, query, searches, limit=self._passages, document_ids=files)
        yield from searches
        yield Status("Writing the answer")
        text = _CitedText(found)
        usage: dict[str, int] = {}
        calls: dict[str, ToolCall] = {}
        chunks = _patiently(lambda: self._stream(self._messages(question, found)), self._patience)
        with closing(chunks):
            for chunk in chunks:
                for step in _steps(chunk, calls):
                    if not isinstance(step, Delta):
                        yield step
                    elif said := text.add(step.text):
                        yield Delta(said)
                _add_usage(usage, chunk)
        if rest := text.finish():
            yield Delta(rest)
        if text.dropped:
            told = f"{text.dropped} of the model's citations could not be verified and were removed"
            logger.warning(told)
            yield Status(told)
        yield Done(tuple(as_source(passage) for passage in found), tuple(text.citations), usage=usage)

    def _messages(self, question: Question, found: Sequence[Passage]) -> list[tuple[str, str]]:
        told = "\n\n".join(part for part in (self._instructions, question.instructions) if part)
        earlier = [(turn.role, turn.text[:_LONGEST_EARLIER]) for turn in question.history[-_EARLIER_MESSAGES:]]
        numbered = [f"[{n}] {p.title} \u2013 {p.heading}\n{p.text}" for n, p in enumerate(found, 1)]
        passages = "\n\n".join(numbered) or "(The search found no passage.)"
        return [("system", told), *earlier, ("user", f"Passages:\n\n{passages}\n\nQuestion: {question.text}")]


def _llama_index(model: Any) -> Callable[[list[tuple[str, str]]], Iterator[Any]]:
    # Whoever has such a model has loaded its framework; an object that only looks like one gets plain messages.
    types = sys.modules.get("llama_index.core.base.llms.types")
    message: Any = getattr(types, "ChatMessage", SimpleNamespace)

    def stream(messages: list[tuple[str, str]]) -> Iterator[Any]:
        found: Iterator[Any] = model.stream_chat([message(role=role, content=text) for role, text in messages])
        return found

    return stream


def _patiently(start: Callable[[], Iterator[Any]], patience: float) -> Generator[Any]:
    """What a model streams. It is read in a thread of its own, so that one that hangs can be given up."""
    pieces: queue.Queue[Any] = queue.Queue(maxsize=64)
    given_up = threading.Event()

    def put(piece: Any) -> bool:
        while not given_up.is_set():
            with suppress(queue.Full):
                pieces.put(piece, timeout=0.5)
                return True
        return False

    def pump() -> None:
        try:
            stream = start()
            try:
                for piece in stream:
                    if not put(piece):
                        return
            finally:
                getattr(stream, "close", lambda: None)()
            put(_END)
        except BaseException as error:  # noqa: BLE001 - whatever a model raises is its turn's failure
            put(error)

    threading.Thread(target=pump, name="meibel-model", daemon=True).start()
    try:
        while True:
            try:
                piece = pieces.get(timeout=patience)
            except queue.Empty:
                raise TimeoutError(f"the model said nothing for {patience:g} seconds") from None
            if piece is _END:
                return
            if isinstance(piece, BaseException):
                raise piece
            yield piece
    finally:
        given_up.set()


def _steps(chunk: Any, calls: dict[str, ToolCall]) -> Iterator[Step]:
    """What one chunk of either framework says, as steps."""
    if isinstance(chunk, str):  # a LangChain LLM that is no chat model
        yield Delta(chunk)
        return
    if hasattr(chunk, "delta"):  # LlamaIndex
        if thought := (getattr(chunk, "additional_kwargs", None) or {}).get("thinking_delta"):
            yield Thinking(thought)
        if chunk.delta:
            yield Delta(chunk.delta)
        return
    for block in getattr(chunk, "content_blocks", None) or [{"type": "text", "text": str(chunk.content)}]:
        kind = block.get("type")
        if kind == "text" and block.get("text"):
            yield Delta(block["text"])
        elif kind == "reasoning" and block.get("reasoning"):
            yield Thinking(block["reasoning"])
        elif kind in ("tool_call", "server_tool_call") and block.get("id") and block["id"] not in calls:
            calls[block["id"]] = call = ToolCall(
                block["id"], block.get("name") or "tool", dict(block.get("args") or {})
            )
            yield call
        elif kind == "server_tool_result" and (answered := calls.get(block.get("tool_call_id") or "")):
            yield ToolResult(answered.id, answered.name, block.get("output"))


def _add_usage(usage: dict[str, int], chunk: Any) -> None:
    """LangChain's chunks count what they add, LlamaIndex's ``raw`` what there is so far."""
    counted = getattr(chunk, "usage_metadata", None)
    if counted:
        for name in ("input_tokens", "output_tokens", "total_tokens"):
            usage[name] = usage.get(name, 0) + counted.get(name, 0)
        return
    raw = getattr(chunk, "raw", None)
    told = raw.get("usage") if isinstance(raw, dict) else getattr(raw, "usage", None)
    values = told if isinstance(told, dict) else vars(told) if hasattr(told, "__dict__") else {}
    for ours, theirs in (("input_tokens", "prompt_tokens"), ("output_tokens", "completion_tokens")):
        count = values.get(theirs, values.get(ours))
        if isinstance(count, int):
            usage[ours] = count
    if usage:
        usage["total_tokens"] = usage.get("input_tokens", 0) + usage.get("output_tokens", 0)


@dataclass(slots=True)
class _CitedText:
    """A text that grows, its markers taken out; ``citations`` stand where they were."""

    passages: Sequence[Passage]
    citations: list[AnswerCitation] = field(default_factory=list)
    dropped: int = 0
    _said: str = ""
    _pending: str = ""

    def add(self, piece: str) -> str:
        """What can be shown now: what may yet become a marker waits."""
        self._pending += piece
        held = _OPEN.search(self._pending)
        return self._show(held.start() if held else len(self._pending))

    def finish(self) -> str:
        return self._show(len(self._pending))

    def _show(self, end: int) -> str:
        before = len(self._said)
        ready, self._pending = self._pending[:end], self._pending[end:]
        at = 0
        for marker in _MARKER.finditer(ready):
            self._said += ready[at : marker.start()]
            at = marker.end()
            self._cite([int(number) for number in marker[1].split(",")])
        self._said += ready[at:]
        return self._said[before:]

    def _cite(self, numbers: Sequence[int]) -> None:
        claim = _SENTENCE.split(self._said.rstrip(".!? "))[-1]
        verified = tuple(dict.fromkeys(n - 1 for n in numbers if self._holds(n - 1, claim)))
        self.dropped += len(set(numbers)) - len(verified)
        if verified:
            self.citations.append(AnswerCitation(len(self._said), verified))

    def _holds(self, index: int, claim: str) -> bool:
        """Whether the passage is there and has enough of the claim's words."""
        if not 0 <= index < len(self.passages):
            return False
        passage = self.passages[index]
        words = content_words(claim).keys()
        return len(words & set(stems(f"{passage.title} {passage.heading} {passage.text}"))) >= _SAID * len(words)
