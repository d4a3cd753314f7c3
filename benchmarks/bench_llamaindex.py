"""``MeibelChatEngine.stream_chat``, against LlamaIndex's own floor: ``SimpleChatEngine`` over an in-memory LLM.

Our side reads and decodes a wire besides; the floor's has its texts in memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseGen,
    LLMMetadata,
    MessageRole,
)
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.llms import CustomLLM
from memory_wire import bare_loop, chunks_of, connect, connect_async, pieces
from side_by_side import Goal, measure, report

from meibel_integrations.llamaindex import MeibelChatEngine

COUNT = 2_000


class MemoryLLM(CustomLLM):
    """Streams its texts, each response with the text so far, as LlamaIndex's LLMs do."""

    texts: list[str]

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(is_chat_model=True)

    def stream_chat(self, messages: Sequence[ChatMessage], **options: Any) -> ChatResponseGen:
        def respond() -> ChatResponseGen:
            said = ""
            for text in self.texts:
                said += text
                yield ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, content=said), delta=text)

        return respond()

    async def astream_chat(self, messages: Sequence[ChatMessage], **options: Any) -> ChatResponseAsyncGen:
        async def respond() -> ChatResponseAsyncGen:
            for response in self.stream_chat(messages):
                yield response

        return respond()

    def complete(self, prompt: str, formatted: bool = False, **options: Any) -> CompletionResponse:
        raise NotImplementedError

    def stream_complete(self, prompt: str, formatted: bool = False, **options: Any) -> CompletionResponseGen:
        raise NotImplementedError


def stream_chat(engine: Any) -> int:
    engine.reset()
    return sum(1 for _ in engine.stream_chat("Tell me.").response_gen)


async def astream_chat(engine: Any) -> int:
    engine.reset()
    response = await engine.astream_chat("Tell me.")
    count = 0
    async for _ in response.async_response_gen():
        count += 1
    return count


def main() -> None:
    texts = pieces(COUNT)
    chunks = chunks_of(texts)
    ours = MeibelChatEngine.from_defaults(
        agent_id="agent-1", client=connect(chunks), async_client=connect_async(chunks)
    )
    floor = SimpleChatEngine.from_defaults(llm=MemoryLLM(texts=texts))
    assert abs(stream_chat(ours) - stream_chat(floor)) <= 2, "as many pieces"
    with asyncio.Runner() as runner:
        spent = measure(
            {
                "bare loop": lambda: bare_loop(chunks),
                "SimpleChatEngine.stream_chat": lambda: stream_chat(floor),
                "SimpleChatEngine.astream_chat": lambda: runner.run(astream_chat(floor)),
                "MeibelChatEngine.stream_chat": lambda: stream_chat(ours),
                "MeibelChatEngine.astream_chat": lambda: runner.run(astream_chat(ours)),
            },
            rounds=9,
        )
    goals = [
        Goal("MeibelChatEngine.stream_chat", ("SimpleChatEngine.stream_chat",), 1.0),
        Goal("MeibelChatEngine.astream_chat", ("SimpleChatEngine.astream_chat",), 1.0),
    ]
    report("LlamaIndex", spent, COUNT, goals)


if __name__ == "__main__":
    main()
