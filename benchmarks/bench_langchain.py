"""``ChatMeibel.stream`` and ``astream``, against a bare loop plus LangChain's own floor for as many chunks.

The floor is the smallest chat model there can be: it yields texts that it has in memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from memory_wire import bare_loop, chunks_of, connect, connect_async, pieces
from side_by_side import Goal, measure, report

from meibel_integrations.langchain import ChatMeibel

COUNT = 2_000


class Floor(BaseChatModel):
    """Yields its texts."""

    texts: list[str]

    @property
    def _llm_type(self) -> str:
        return "floor"

    def _generate(self, *arguments: Any, **options: Any) -> ChatResult:
        raise NotImplementedError

    def _stream(self, *arguments: Any, **options: Any) -> Iterator[ChatGenerationChunk]:
        for text in self.texts:
            yield ChatGenerationChunk(message=AIMessageChunk(content=text))

    async def _astream(self, *arguments: Any, **options: Any) -> AsyncIterator[ChatGenerationChunk]:
        for text in self.texts:
            yield ChatGenerationChunk(message=AIMessageChunk(content=text))


def stream(model: BaseChatModel) -> int:
    return sum(1 for _ in model.stream("Tell me."))


async def astream(model: BaseChatModel) -> int:
    count = 0
    async for _ in model.astream("Tell me."):
        count += 1
    return count


def main() -> None:
    texts = pieces(COUNT)
    chunks = chunks_of(texts)
    ours = ChatMeibel(agent_id="agent-1", client=connect(chunks), async_client=connect_async(chunks))
    floor = Floor(texts=texts)
    assert abs(stream(ours) - stream(floor)) <= 2, "as many chunks"
    with asyncio.Runner() as runner:
        spent = measure(
            {
                "bare loop": lambda: bare_loop(chunks),
                "LangChain's floor": lambda: stream(floor),
                "LangChain's async floor": lambda: runner.run(astream(floor)),
                "ChatMeibel.stream": lambda: stream(ours),
                "ChatMeibel.astream": lambda: runner.run(astream(ours)),
            }
        )
    goals = [
        Goal("ChatMeibel.stream", ("bare loop", "LangChain's floor"), 1.6),
        Goal("ChatMeibel.astream", ("bare loop", "LangChain's async floor"), 1.7),
    ]
    report("LangChain", spent, COUNT, goals)


if __name__ == "__main__":
    main()
