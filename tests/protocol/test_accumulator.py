from __future__ import annotations

import json
from typing import Any

import pytest

from meibel_integrations.errors import AgentTurnError, StreamInterrupted
from meibel_integrations.models import Citation, Message
from meibel_integrations.protocol import events
from meibel_integrations.protocol.accumulator import Phase, TurnAccumulator
from meibel_integrations.protocol.dialects.meibel import MeibelDialect
from meibel_integrations.protocol.text import Partials
from tests.support.wire_turns import DELTAS, TEXT, fold, guide_event, guide_turn, texts, v2_event, v2_turn


def test_both_dialects_give_the_same_events_and_the_same_reply() -> None:
    v2, reply = fold(v2_turn())
    guide, guide_reply = fold(guide_turn())
    assert [(e.type, e.delta) for e in v2 if e.type != "connected"] == [(e.type, e.delta) for e in guide]
    assert reply is not None
    assert guide_reply is not None
    assert reply.model_copy(update={"signal_id": None}) == guide_reply
    assert reply.signal_id == "sig-1"


def test_a_turn_shows_text_then_citations_then_the_whole_reply() -> None:
    shown, reply = fold(v2_turn())
    assert [e.type for e in shown] == ["connected", *["content"] * 4, "citations", "done"]
    assert texts(shown) == DELTAS
    assert shown[-1].reply is reply
    assert reply is not None
    assert reply.message == TEXT
    assert reply.citations == [Citation(source=s, start=p, end=p) for s, p in [(0, 13), (0, 25), (1, 25)]]
    assert [s.title for s in reply.sources] == ["Q4 report", "Notes"]
    assert reply.usage is not None
    assert reply.usage.total_tokens == 16
    assert shown[-2].citations == reply.citations


def test_the_whole_answer_reads_like_the_streamed_one() -> None:
    _, streamed = fold(v2_turn())
    completion = json.loads(v2_turn()[-1].split(b"data: ")[1])["data"]
    usage = completion.pop("token_usage")
    body = {"signal_id": "sig-1", "response": completion, "assistant_response": TEXT, "token_usage": usage}
    turn = TurnAccumulator("s-1")
    turn.apply(MeibelDialect().read_answer(body))
    assert turn.reply == streamed


@pytest.mark.parametrize("partials", ["auto", "snapshot"])
def test_snapshots_of_the_text_come_out_as_its_text(partials: Partials) -> None:
    stream = [v2_event("partial_response", data={"message": TEXT[:n]}) for n in (3, 9, 14)]
    stream.append(v2_event("completion", data={"message": TEXT}))
    shown, reply = fold(stream, partials)
    assert "".join(texts(shown)) == TEXT
    assert reply is not None
    assert reply.message == TEXT


def test_what_nobody_knows_is_passed_on_and_breaks_nothing() -> None:
    shown, reply = fold(
        [
            v2_event("brand_new", whatever=[1]),
            guide_event(type="also_new"),
            b"event: odd\ndata: [1, 2]\n\n",
            b"event: odder\ndata: not json\n\n",
            b"data: 7\n\n",
            *v2_turn(),
        ]
    )
    assert [e.message for e in shown if e.type == "unknown"] == ["brand_new", "also_new", "odd", "odder", "message"]
    assert reply is not None
    assert reply.message == TEXT


def test_missing_fields_are_missing_and_no_more() -> None:
    shown, reply = fold([v2_event("connected"), v2_event("partial_response"), guide_event(type="done", message="x")])
    assert [e.type for e in shown] == ["connected", "content", "done"]
    assert reply is not None
    assert (reply.message, reply.citations, reply.sources, reply.usage, reply.signal_id) == ("x", [], [], None, None)


@pytest.mark.parametrize("end", [{}, {"data": {"message": "", "clean_message": None}}])
def test_an_answer_without_text_is_none_unless_it_brings_something_else(end: dict[str, Any]) -> None:
    with pytest.raises(StreamInterrupted, match="holds no text"):
        fold([v2_event("connected"), v2_event("completion", **end)])
    artifacts = [{"artifact_id": "i", "filename": "chart.png", "mime_type": "image/png"}]
    _, reply = fold([v2_event("completion", data={"message": "", "artifacts": artifacts})])
    assert reply is not None
    assert (reply.message, reply.artifacts[0].filename) == ("", "chart.png")


def test_nothing_counts_after_the_end() -> None:
    shown, reply = fold([*v2_turn(), *v2_turn(), v2_event("error", message="late")])
    assert [e.type for e in shown].count("done") == 1
    assert reply is not None
    assert reply.message == TEXT


def test_a_reported_failure_carries_what_had_arrived() -> None:
    with pytest.raises(AgentTurnError, match="out of tokens") as caught:
        fold([*v2_turn()[:3], v2_event("error", message="out of tokens")])
    error = caught.value
    assert (error.partial_text, error.signal_id, error.session_id, error.phase) == (
        "Revenue grew.",
        "sig-1",
        "s-1",
        Phase.FAILED,
    )


def test_an_event_that_cannot_be_read_holds_the_text_back_until_the_completion() -> None:
    stream = v2_turn()
    stream[2] = b"event: partial_response\ndata: {broken\n\n"
    shown, reply = fold(stream)
    assert texts(shown) == ["Reve", "nue grew. Costs fell."]
    assert reply is not None
    assert reply.message == TEXT
    assert reply.warnings == ["An event of type 'partial_response' could not be read."]


def test_an_unreadable_event_without_a_whole_text_at_the_end_is_no_answer() -> None:
    stream = [guide_event(type="content", delta="a"), b"data: {broken\n\n", guide_event(type="done")]
    with pytest.raises(StreamInterrupted) as caught:
        fold(stream)
    assert caught.value.partial_text == "a"


def test_a_completion_that_contradicts_the_stream_stands_with_a_warning() -> None:
    shown, reply = fold([guide_event(type="content", delta="No"), guide_event(type="done", message="Yes")])
    assert reply is not None
    assert reply.message == "Yes"
    assert [e.type for e in shown] == ["content", "warning", "done"]
    assert reply.warnings == [shown[1].message]


def test_thinking_and_tools_are_shown_and_collected() -> None:
    shown, reply = fold(
        [
            v2_event("status", content="Searching"),
            v2_event("thinking", data={"thinking": "Hm"}),
            v2_event("thinking", data={"delta": "mm."}),
            v2_event("tool_call", tool_id="t1", tool_name="search", arguments={"q": "x"}, timestamp="now"),
            v2_event("tool_result", tool_id="t1", result=[1]),
            v2_event("tool_result", result="lone"),
            *v2_turn(),
        ]
    )
    assert shown[0].message == "Searching"
    assert texts(shown, "thinking") == ["Hm", "mm."]
    assert reply is not None
    assert reply.thinking == "Hmmm."
    first, second = reply.tool_activity
    assert (first.id, first.name, first.arguments, first.result, first.timestamp) == (
        "t1",
        "search",
        {"q": "x"},
        [1],
        "now",
    )
    assert (second.id, second.name, second.result) == (None, None, "lone")


def test_thinking_that_was_held_back_comes_out_at_the_end() -> None:
    stream = [v2_event("thinking", data={"thinking": t}) for t in ("a", "ab")]
    shown, reply = fold([*stream, v2_event("completion", data={"message": "x", "thinking": "aab"})])
    assert texts(shown, "thinking") == ["a", "ab"]
    assert reply is not None
    assert reply.thinking == "aab"


def test_sources_that_only_a_tool_returned_are_told_if_nothing_was_cited() -> None:
    turn = TurnAccumulator("s")
    source = fold(v2_turn())[1].sources[0]  # type: ignore[union-attr]
    turn.apply(events.ToolReturned("t", "search", {}, references=events.References(sources=(source,))))
    turn.apply(events.Completed(texts=("x",)))
    assert turn.reply is not None
    assert turn.reply.sources == [source]


def test_several_citation_events_add_up() -> None:
    cite = [{"title": t, "url": f"https://x.test/{t}", "position": i} for i, t in enumerate("ab", 1)]
    cited = [guide_event(type="citations", citations=[c]) for c in cite]
    shown, reply = fold([guide_event(type="content", delta="abc"), *cited, guide_event(type="done")])
    assert reply is not None
    assert [(c.source, c.end) for c in reply.citations] == [(0, 1), (1, 2)]
    assert [e.type for e in shown] == ["content", "citations", "done"]


def test_the_latest_evidence_of_the_partials_stands_if_the_completion_has_none() -> None:
    data = {
        "message": "abc",
        "sources": [{"source_id": 1, "title": "A"}],
        "citations": [{"position": 3, "source_ids": [1]}],
    }
    _, reply = fold([v2_event("partial_response", data=data), v2_event("completion", data={"message": "abc"})])
    assert reply is not None
    assert [(c.source, c.end) for c in reply.citations] == [(0, 3)]


def test_warnings_of_the_wire_are_shown_and_kept() -> None:
    turn = TurnAccumulator("s")
    assert [e.message for e in turn.apply(events.Warned("one"))] == ["one"]
    turn.apply(events.Completed(texts=("x",), warnings=["two"]))
    assert turn.reply is not None
    assert turn.reply.warnings == ["one", "two"]


def test_a_block_of_text_shows_only_what_is_missing() -> None:
    turn = TurnAccumulator("s")
    turn.apply(events.TextReceived("Hel", "delta"))
    assert [e.delta for e in turn.apply(events.TextReceived("Hello", "block"))] == ["lo"]
    assert turn.partial_text == "Hello"
    assert not turn.finished


def test_an_answer_without_text_in_the_history_is_none() -> None:
    turn = TurnAccumulator("s")
    with pytest.raises(StreamInterrupted, match="without text"):
        turn.recover(Message(role="assistant", message=" \n"))


def test_what_the_history_tells_besides_the_answer_is_kept() -> None:
    turn = TurnAccumulator("s")
    told = [events.ThinkingReceived("Hm", "delta"), events.ThinkingReceived("Hmm.", "block")]
    turn.recover(Message(role="assistant", message="So."), told)
    assert turn.reply is not None
    assert (turn.reply.message, turn.reply.thinking, turn.reply.recovered) == ("So.", "Hmm.", True)
