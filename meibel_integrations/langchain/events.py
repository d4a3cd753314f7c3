"""An answer as the events of LangChain's content-block protocol (``stream_events(version="v3")``).

LangChain makes such events out of any model's chunks, but shows a tool's arguments and result only when the whole
message is over. Here each block is finished as soon as it is known. What the agent is doing is told by deltas of type
``status``, a kind that is not the protocol's: readers ignore it unless they know it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from langchain_core.outputs import ChatGenerationChunk

__all__ = ["ProtocolEvents"]

_GROWING = {"text": "text", "reasoning": "reasoning"}


class ProtocolEvents:
    """Makes events out of the chunks of one answer."""

    def __init__(self, message_id: str) -> None:
        self._id = message_id
        self._started = False
        self._open: dict[str, tuple[int, dict[str, Any]]] = {}
        self._count = 0

    def of(self, chunk: ChatGenerationChunk) -> Iterator[dict[str, Any]]:
        """The events of a chunk, the last chunk's included."""
        message: Any = chunk.message
        if not self._started:
            self._started = True
            metadata = {"provider": message.response_metadata["model_provider"]}
            yield {"event": "message-start", "role": "ai", "id": self._id, "metadata": metadata}
        for block in message.content_blocks:
            yield from self._block(block)
        if message.chunk_position == "last":
            yield from self._finish_open()
            end = {"event": "message-finish", "metadata": dict(message.response_metadata)}
            yield {**end, "usage": dict(message.usage_metadata)} if message.usage_metadata else end

    def status(self, message: str) -> Iterator[dict[str, Any]]:
        """What the agent says that it is doing."""
        delta = {"type": "status", "message": message}
        yield {"event": "content-block-delta", "index": max(self._count - 1, 0), "delta": delta}

    def _block(self, block: dict[str, Any]) -> Iterator[dict[str, Any]]:
        key, kind = str(block["index"]), block["type"]
        field = _GROWING.get(kind)
        if field is None:
            at = self._next()
            yield {"event": "content-block-start", "index": at, "content": block}
            yield {"event": "content-block-finish", "index": at, "content": block}
            return
        if key not in self._open:
            if kind == "reasoning":
                yield from self._finish_open("reasoning")
            self._open[key] = (self._next(), {**block, field: ""})
            yield {"event": "content-block-start", "index": self._open[key][0], "content": {**block, field: ""}}
        at, whole = self._open[key]
        whole.update({**block, field: whole[field] + block[field]})
        if block[field]:
            yield {"event": "content-block-delta", "index": at, "delta": {"type": f"{kind}-delta", field: block[field]}}

    def _finish_open(self, *kinds: str) -> Iterator[dict[str, Any]]:
        for key, (at, block) in list(self._open.items()):
            if not kinds or block["type"] in kinds:
                del self._open[key]
                yield {"event": "content-block-finish", "index": at, "content": block}

    def _next(self) -> int:
        self._count += 1
        return self._count - 1
