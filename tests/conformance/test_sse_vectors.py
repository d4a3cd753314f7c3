"""The web platform's own test vectors, at several ways of cutting the bytes."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from meibel_integrations.protocol.sse import SSEParser

VECTORS = json.loads(Path(__file__).with_name("sse_vectors.json").read_text("utf-8"))["vectors"]


def test_all_vectors_are_here() -> None:
    assert len(VECTORS) == 23


@pytest.mark.parametrize("size", [1, 2, 3, 7, None], ids=lambda s: f"chunks-of-{s or 'everything'}")
@pytest.mark.parametrize("vector", VECTORS, ids=[v["name"] for v in VECTORS])
def test_vector(vector: dict[str, Any], size: int | None) -> None:
    stream = base64.b64decode(vector["stream_base64"])
    size = size or len(stream)
    parser = SSEParser()
    events = [event for i in range(0, len(stream), size) for event in parser.feed(stream[i : i + size])]
    assert [{"type": e.type, "data": e.data, "last_event_id": e.last_event_id} for e in events] == vector["events"]
    assert parser.retry == vector["retry_ms"]
