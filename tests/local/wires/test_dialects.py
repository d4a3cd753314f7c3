"""Both dialects carry the same answer: a client that reads either gets equal text, citations, sources and usage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from meibel_integrations import MeibelClient
from meibel_integrations.local import (
    AnswerCitation,
    AnswerSource,
    Delta,
    Done,
    LocalMeibel,
    ScriptedAnswerer,
    Step,
    Thinking,
    ToolCall,
    ToolResult,
)
from meibel_integrations.models import ChatMessageRequest

STEPS: list[Step] = [
    Thinking("a"),
    Thinking("b"),
    ToolCall("t1", "search", {"query": "x"}),
    ToolResult("t1", "search", {"found": [1, None, "\u2028"]}),
    *(Delta(piece) for piece in ("One. ", "Tw\u00f6\u2028", "\n\n", "\U0001f642 ", "three.")),
    Done(
        sources=tuple(AnswerSource(f"T{n}", f"file:///{n}", f"snippet {n}", n / 10, f"doc-{n}") for n in range(4)),
        # Not in the order of the sources; one place with two sources; a source that nothing cites.
        citations=(AnswerCitation(4, (2,)), AnswerCitation(8, (0, 1)), AnswerCitation(19, (2,))),
        follow_up_questions=("Why?", "How?"),
        usage={"input_tokens": 3, "output_tokens": 4, "total_tokens": 7},
    ),
]


def test_a_streamed_answer_is_the_same_in_both(start: Callable[..., LocalMeibel]) -> None:
    replies: list[Any] = []
    for dialect in ("v2", "guide"):
        local = start(answerer=ScriptedAnswerer([STEPS]), dialect=dialect)
        with MeibelClient(api_key=local.api_key, base_url=local.base_url) as client:
            session = client.agents.create_session(agent_id=local.agent_id)
            body = ChatMessageRequest(user_message="x", include_thinking=True, include_tool_activity=True)
            *_, last = client.sessions.send_chat_message_stream(session_id=session.id, body=body)
        assert last.reply is not None
        replies.append(last.reply)
    v2, guide = replies
    assert v2.message == "One. Tw\u00f6\u2028\n\n\U0001f642 three."
    assert [(c.source, c.start) for c in v2.citations] == [(2, 4), (0, 8), (1, 8), (2, 19)]
    assert (v2.signal_id is None, guide.signal_id) == (False, None)
    for field in ("message", "citations", "sources", "usage", "thinking", "follow_up_questions"):
        assert getattr(guide, field) == getattr(v2, field)
    tools = [[(t.id, t.name, t.arguments, t.result) for t in reply.tool_activity] for reply in replies]
    assert tools[0] == tools[1]
