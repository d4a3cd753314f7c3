"""What LangChain calls a chat model by: the whole answer, its chunks, and the events of the content-block protocol.

Each verb and its async twin differ only in how they show the one flow of a call.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, closing, contextmanager
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult

from meibel_integrations.client.lazy_clients import LazyClients
from meibel_integrations.langchain.answers import Answer
from meibel_integrations.langchain.errors import in_langchains_words
from meibel_integrations.langchain.events import ProtocolEvents
from meibel_integrations.langchain.progress import areport, progress_of, report

__all__ = ["Verbs"]


class Verbs:
    """The verbs of a chat model that says whom it asks."""

    @abstractmethod
    def _connect(self) -> LazyClients[Any, Any]:
        """The clients."""

    @abstractmethod
    def _answer(
        self, clients: LazyClients[Any, Any], messages: Sequence[BaseMessage], kwargs: dict[str, Any]
    ) -> Answer:
        """The answer that a call is going to have."""

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        with self._asking(messages, stop, kwargs) as (answer, events):
            for event in events:
                if answer.reports:
                    report(progress_of(event))
                answer.take(event)
        return answer.result()

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        async with self._aasking(messages, stop, kwargs) as (answer, events):
            async for event in events:
                if answer.reports:
                    await areport(progress_of(event))
                answer.take(event)
        return answer.result()

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        # LangChain itself calls back for each chunk, and passes no run manager.
        with self._asking(messages, stop, kwargs) as (answer, events):
            for event in events:
                if answer.reports:
                    report(progress_of(event))
                chunk = answer.chunk(event)
                if chunk is not None:
                    yield chunk
        yield answer.last()

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        async with self._aasking(messages, stop, kwargs) as (answer, events):
            async for event in events:
                if answer.reports:
                    await areport(progress_of(event))
                chunk = answer.chunk(event)
                if chunk is not None:
                    yield chunk
        yield answer.last()

    def _stream_chat_model_events(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[Any]:
        """The events of the content-block protocol. Here LangChain leaves it to the model to call back for tokens."""
        shown = ProtocolEvents(f"lc_run--{run_manager.run_id}" if run_manager is not None else "")
        with self._asking(messages, stop, kwargs) as (answer, events):
            for event in events:
                if answer.reports:
                    report(progress_of(event))
                if event.type == "status":
                    yield from shown.status(event.message)
                chunk = answer.chunk(event)
                if chunk is not None:
                    if run_manager is not None and chunk.message.content:
                        run_manager.on_llm_new_token(str(chunk.message.content), chunk=chunk)
                    yield from shown.of(chunk)
        yield from shown.of(answer.last())

    async def _astream_chat_model_events(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        """The async twin."""
        shown = ProtocolEvents(f"lc_run--{run_manager.run_id}" if run_manager is not None else "")
        async with self._aasking(messages, stop, kwargs) as (answer, events):
            async for event in events:
                if answer.reports:
                    await areport(progress_of(event))
                if event.type == "status":
                    for each in shown.status(event.message):
                        yield each
                chunk = answer.chunk(event)
                if chunk is not None:
                    if run_manager is not None and chunk.message.content:
                        await run_manager.on_llm_new_token(str(chunk.message.content), chunk=chunk)
                    for each in shown.of(chunk):
                        yield each
        for each in shown.of(answer.last()):
            yield each

    @contextmanager
    def _asking(
        self, messages: Sequence[BaseMessage], stop: Any, kwargs: dict[str, Any]
    ) -> Generator[tuple[Answer, Any]]:
        """An answer, and the events that it is made of. The connection is free afterwards."""
        with in_langchains_words():
            clients = self._connect()
            answer = self._answer(clients, messages, {"stop": stop, **kwargs})
            with closing(clients.client.stream_flow(answer.run.flow())) as events:
                yield answer, events

    @asynccontextmanager
    async def _aasking(
        self, messages: Sequence[BaseMessage], stop: Any, kwargs: dict[str, Any]
    ) -> AsyncGenerator[tuple[Answer, Any]]:
        with in_langchains_words():
            clients = self._connect()
            answer = self._answer(clients, messages, {"stop": stop, **kwargs})
            async with aclosing(clients.async_client.stream_flow(answer.run.flow())) as events:
                yield answer, events
