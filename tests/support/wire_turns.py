"""One and the same turn in both Meibel dialects and on LlamaCloud's wire, and how to fold bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from meibel_integrations.models import ChatEvent, Reply
from meibel_integrations.protocol.accumulator import TurnAccumulator
from meibel_integrations.protocol.dialects.interface import Dialect
from meibel_integrations.protocol.dialects.meibel import MeibelDialect
from meibel_integrations.protocol.sse import SSEParser, encode_event
from meibel_integrations.protocol.text import Partials

SOURCES = [
    {
        "source_id": 1,
        "title": "Q4 report",
        "url": "https://x.test/q4",
        "snippet": "Revenue grew.",
        "relevance_score": 0.9,
    },
    {"source_id": 2, "title": "Notes", "url": None, "snippet": "Costs fell.", "relevance_score": 0.4},
]
TEXT = "Revenue grew. Costs fell."
DELTAS = ["Reve", "nue grew.", " Costs", " fell."]
MEIBEL = MeibelDialect()
USAGE = {"input_tokens": 11, "output_tokens": 5, "total_tokens": 16}


def v2_event(kind: str, **fields: Any) -> bytes:
    return encode_event(kind, json.dumps({"type": kind, "disposition": "x", "sequence": "1", **fields}))


def guide_event(**fields: Any) -> bytes:
    return encode_event(None, json.dumps(fields))


def v2_turn() -> list[bytes]:
    return [
        v2_event("connected", signal_id="sig-1"),
        *(v2_event("partial_response", data={"message": d, "clean_message": d}) for d in DELTAS),
        v2_event(
            "completion",
            data={
                "message": TEXT,
                "clean_message": TEXT,
                "sources": SOURCES,
                "citations": [{"position": 13, "source_ids": [1]}, {"position": 25, "source_ids": [2, 1]}],
                "token_usage": USAGE,
            },
        ),
    ]


def guide_turn() -> list[bytes]:
    cited = [(0, 13), (0, 25), (1, 25)]
    return [
        *(guide_event(type="content", delta=d) for d in DELTAS),
        guide_event(type="citations", citations=[{**SOURCES[i], "position": p} for i, p in cited]),
        guide_event(type="done", message=TEXT, usage=USAGE),
    ]


def fold(
    stream: Iterable[bytes], partials: Partials = "auto", dialect: Dialect = MEIBEL
) -> tuple[list[ChatEvent], Reply | None]:
    """Everything a turn shows, and its reply."""
    parser, turn = SSEParser(), TurnAccumulator("s-1", partials=partials)
    shown = [e for chunk in stream for event in parser.feed(chunk) for e in turn.apply(dialect.decode(event))]
    return shown, turn.reply


def texts(shown: Iterable[ChatEvent], kind: str = "content") -> list[str]:
    return [event.delta for event in shown if event.type == kind]


def cloud_event(kind: str, **fields: Any) -> bytes:
    """An event of LlamaCloud's stream."""
    return encode_event("delta" if kind.endswith("_delta") else "message", json.dumps({"type": kind, **fields}))


def cloud_turn() -> list[bytes]:
    passages = [
        {"content": s["snippet"], "score": s["relevance_score"], "metadata": {"title": s["title"]}} for s in SOURCES
    ]
    counts = {"total_input_tokens": 11, "total_output_tokens": 5, "duration_ms": 12.5, "turns": 1}
    return [
        cloud_event("user_input", content="hi"),
        cloud_event("tool_call", call_id="c-1", name="search", arguments={"query": "hi"}),
        cloud_event("tool_result", call_id="c-1", name="search", result={"results": passages}),
        *(cloud_event("text_delta", content=d) for d in DELTAS),
        cloud_event("text", content=TEXT),
        cloud_event("stop", is_error=False, error=None, usage=counts, skipped_index_ids=[]),
    ]
