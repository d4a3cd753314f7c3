"""One turn of an engine: opened, read event by event, and ended exactly once, whatever happens.

An :class:`EngineRun` stands between a response, which shows it, and a stream, which it is read from. It refers to
neither, so that dropping the response frees the connection at once. However a turn ends - complete, failed, left by its
reader, dropped - exactly one of ``_finish``, ``fail`` and ``abandon`` ends its trace.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore, QueryBundle
from llama_index.core.tools import ToolOutput

from meibel_integrations import errors
from meibel_integrations.client import AsyncChatStream, ChatStream
from meibel_integrations.client.bindings import AsyncFlowRunner, FlowRunner
from meibel_integrations.conversation.held import HeldSession
from meibel_integrations.conversation.messages import NeutralMessage
from meibel_integrations.conversation.results import RunResult, usage_json
from meibel_integrations.conversation.run import ConversationRun
from meibel_integrations.llamaindex.messages import answer_message, tool_outputs
from meibel_integrations.llamaindex.nodes import source_nodes
from meibel_integrations.llamaindex.tracing import TurnTrace
from meibel_integrations.models import ChatEvent, Citation, ContentEvent, DoneEvent
from meibel_integrations.protocol.commands import Flow

__all__ = ["EngineRun"]


class EngineRun:
    """Use :meth:`open`, then :meth:`advance` until it returns ``None``; or the async twins.

    Attributes:
        text: the answer; if it never became complete, what had arrived of it.
        metadata, nodes, tools, citations, message: what belongs to it; complete once ``ended``.
        error: why there will be no answer.
        ended: whether nothing more will come.
    """

    def __init__(
        self,
        session: HeldSession,
        trace: TurnTrace,
        message: str,
        given: Sequence[NeutralMessage] | None,
        postprocessors: Sequence[BaseNodePostprocessor],
        *,
        show_thinking: bool,
        show_tools: bool,
    ) -> None:
        self._session = session
        self._trace = trace
        self._message = message
        self._given = given
        self._postprocessors = postprocessors
        self._show_thinking = show_thinking
        self._show_tools = show_tools
        self._run: ConversationRun | None = None
        self._entered = False
        self.pieces: list[str] = []
        self.text = ""
        self.metadata: dict[str, Any] = {}
        self.nodes: list[NodeWithScore] = []
        self.tools: list[ToolOutput] = []
        self.citations: list[Citation] = []
        self.message: ChatMessage | None = None
        self.error: Exception | None = None
        self.ended = False

    # Opening

    def open(self, client: FlowRunner) -> ChatStream:
        """Sends the turn; returns when the service has accepted it, so that a refusal raises here."""
        self._trace.start()
        try:
            stream = client.stream_flow(self._flow())
        except BaseException as error:
            self.fail(error)
            raise
        finally:
            self._leave()
        self._accepted()
        return stream

    async def aopen(self, client: AsyncFlowRunner) -> AsyncChatStream:
        """The async twin of :meth:`open`."""
        self._trace.start()
        try:
            stream = await client.stream_flow(self._flow())
        except BaseException as error:
            self.fail(error)
            raise
        finally:
            self._leave()
        self._accepted()
        return stream

    def _flow(self) -> Flow[RunResult]:
        yield from self._session.enter()
        self._entered = True
        self._run = yield from self._session.plan(self._message, self._given)
        return (yield from self._run.flow())

    def _leave(self) -> None:
        if self._entered:
            self._entered = False
            self._session.leave()

    def _accepted(self) -> None:
        assert self._run is not None
        self._session.adopt(self._run)
        self.metadata["session_id"] = self._run.session_id
        self._trace.accepted()

    # Reading

    def advance(self, stream: ChatStream) -> str | None:
        """The answer's next piece; ``None`` at its end."""
        if self.ended:
            return None
        try:
            for event in stream:
                if isinstance(event, ContentEvent):
                    return self._piece(event)
                self._note(event)
                if isinstance(event, DoneEvent):
                    stream.close()
                    self._complete()
                    nodes, query = self.nodes, QueryBundle(self._message)
                    for postprocessor in self._postprocessors:
                        nodes = postprocessor.postprocess_nodes(nodes, query_bundle=query)
                    self._finish(nodes)
                    return None
        except BaseException as error:
            self.fail(error)
            raise
        self.abandon()  # the stream was closed under us
        return None

    async def aadvance(self, stream: AsyncChatStream) -> str | None:
        """The async twin of :meth:`advance`."""
        if self.ended:
            return None
        try:
            async for event in stream:
                if isinstance(event, ContentEvent):
                    return self._piece(event)
                self._note(event)
                if isinstance(event, DoneEvent):
                    await stream.aclose()
                    self._complete()
                    nodes, query = self.nodes, QueryBundle(self._message)
                    for postprocessor in self._postprocessors:
                        nodes = await postprocessor.apostprocess_nodes(nodes, query_bundle=query)
                    self._finish(nodes)
                    return None
        except BaseException as error:
            self.fail(error)
            raise
        self.abandon()
        return None

    def _piece(self, event: ContentEvent) -> str:
        self.pieces.append(event.delta)
        self._trace.delta(event.delta)
        return event.delta

    def _note(self, event: ChatEvent) -> None:
        if event.signal_id is not None:
            self.metadata["signal_id"] = event.signal_id

    # Ending

    def _complete(self) -> None:
        """The whole reply is there."""
        result = self._run.result if self._run is not None else None
        assert result is not None
        reply = result.reply
        agent = self._session.settled(result)
        found = result.metadata()
        del found["lineage"]  # for message lists that travel; an engine holds its session itself
        self.metadata.update({**found, **agent.to_json()}, token_usage=reply.usage and usage_json(reply.usage))
        if self._show_thinking:
            self.metadata["thinking"] = reply.thinking
        self.text = reply.message
        self.message = answer_message(reply, thinking=self._show_thinking)
        self.citations = list(reply.citations)
        self.tools = tool_outputs(reply.tool_activity) if self._show_tools else []
        if self._show_tools:
            self.metadata["tool_activity"] = [tool.model_dump(mode="json") for tool in reply.tool_activity]
        self.nodes = source_nodes(reply)

    def _finish(self, nodes: list[NodeWithScore]) -> None:
        assert self._run is not None
        assert self._run.result is not None
        assert self.message is not None
        self.nodes = nodes
        self.ended = True
        if nodes:
            self._trace.retrieved(nodes)
        self._trace.end(self.message, self._run.result.reply.usage)

    def fail(self, error: BaseException) -> None:
        """Reading or sending raised. Whoever cancels has left, which is no failure."""
        if self.ended:
            return
        # Whatever is not a refusal may have been accepted; then the session is the one to look at.
        if self._run is not None and (isinstance(error, errors.TurnError) or not isinstance(error, Exception)):
            self._session.adopt(self._run)
        if not isinstance(error, Exception):
            self.abandon()
            return
        self.ended = True
        self.error = error
        self.text = self.text or "".join(self.pieces)
        self._trace.fail(error)

    def abandon(self) -> None:
        """The reader has left. The turn itself goes on at the service; its next reader will find it there."""
        if self.ended:
            return
        self.ended = True
        self.text = "".join(self.pieces)
        self.metadata["cancelled"] = True
        self._trace.end(ChatMessage(role=MessageRole.ASSISTANT, content=self.text))
