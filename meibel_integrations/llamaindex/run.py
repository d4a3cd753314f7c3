"""One turn of an engine: opened, read event by event, and ended exactly once, whatever happens.

An :class:`EngineRun` knows what a turn has told so far; it refers neither to its stream nor to the response that shows
it, so that dropping the response frees the connection at once. However a turn ends - complete, failed, left by its
reader, cut by the next turn, dropped - exactly one of ``_finish``, ``fail`` and ``abandon`` ends its trace.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.chat_engine.types import AgentChatResponse
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore, QueryBundle
from llama_index.core.tools import ToolOutput

from meibel_integrations import errors
from meibel_integrations.client import AsyncChatStream, ChatStream
from meibel_integrations.client.bindings import AsyncFlowRunner, FlowRunner
from meibel_integrations.client.inputs import File
from meibel_integrations.conversation.held import HeldSession, without_copy
from meibel_integrations.conversation.messages import NeutralMessage
from meibel_integrations.conversation.results import RunResult, usage_json
from meibel_integrations.conversation.run import ConversationRun
from meibel_integrations.llamaindex.messages import ANCHOR, anchor_json, answer_message, tool_outputs
from meibel_integrations.llamaindex.nodes import add_nodes, source_nodes
from meibel_integrations.llamaindex.tracing import TurnTrace
from meibel_integrations.models import ChatEvent, Citation, ContentEvent, DoneEvent
from meibel_integrations.protocol.accumulator import Phase
from meibel_integrations.protocol.commands import Flow

__all__ = ["EngineRun"]

logger = logging.getLogger(__name__)


class EngineRun:
    """Use :meth:`open`, then :meth:`advance` until it returns ``None``; or the async twins.

    Attributes:
        conversation: the call; set once the turn is accepted.
        text: the answer; if it never became complete, what had arrived of it.
        metadata, nodes, tools, citations: what belongs to it, filled in place as it arrives; complete once ``ended``.
        message: the answer as a chat message, once it is complete.
        done: the last event, once the answer is complete.
        error: why there will be no answer.
        ended: whether nothing more will come.
        when_ended: called once then.
    """

    conversation: ConversationRun

    def __init__(
        self,
        session: HeldSession,
        trace: TurnTrace,
        question: NeutralMessage,
        given: Sequence[NeutralMessage] | None,
        postprocessors: Sequence[BaseNodePostprocessor],
        *,
        provider: str,
        files: Sequence[File] = (),
        show_thinking: bool = False,
        show_tools: bool = False,
    ) -> None:
        self._session = session
        self._trace = trace
        self._question = question
        self._given = None if given is None else without_copy(given, question)
        self._own = session.is_own(self._given)
        self._postprocessors = postprocessors
        self._provider = provider
        self._files = files
        self._show_thinking = show_thinking
        self._show_tools = show_tools
        self._planned: ConversationRun | None = None
        self._entered = False
        self.pieces: list[str] = []
        self.text = ""
        self.metadata: dict[str, Any] = {}
        self.nodes: list[NodeWithScore] = []
        self.tools: list[ToolOutput] = []
        self.citations: list[Citation] = []
        self.message: ChatMessage | None = None
        self.done: DoneEvent | None = None
        self.error: Exception | None = None
        self.ended = False
        self.when_ended: Callable[[], object] | None = None

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
        if self._own:  # others go where their lists say, and wait for nobody
            yield from self._session.enter()
            self._entered = True
        self._planned = yield from self._session.plan(self._question, self._given)
        self._planned.files = self._files
        return (yield from self._planned.flow())

    def _leave(self) -> None:
        if self._entered:
            self._entered = False
            self._session.leave()

    def _accepted(self) -> None:
        assert self._planned is not None
        self.conversation = self._planned
        self._session.adopt(self._planned, own=self._own)
        self.metadata["session_id"] = self._planned.session_id
        self._trace.accepted(self._planned.session_id)

    # Reading

    def advance(self, stream: ChatStream) -> ChatEvent | None:
        """The turn's next event; ``None`` behind its last."""
        if self.ended:
            return None
        try:
            event = next(stream, None)
            if event is None:
                raise self.interrupted("its stream was closed")
            if not isinstance(event, ContentEvent):
                self._note(event)
                if isinstance(event, DoneEvent):
                    stream.close()
                    self._complete(event)
                    query = QueryBundle(self._question.text)
                    with self._trace.active():
                        for each in self._postprocessors:
                            try:
                                self.nodes[:] = each.postprocess_nodes(list(self.nodes), query_bundle=query)
                            except Exception as error:  # noqa: BLE001 - the answer was paid for
                                self._unprocessed(each, error)
                    self._finish()
                return event
        except BaseException as error:
            self.fail(error)
            raise
        self._piece(event)
        return event

    async def aadvance(self, stream: AsyncChatStream) -> ChatEvent | None:
        """The async twin of :meth:`advance`."""
        if self.ended:
            return None
        try:
            event = await anext(stream, None)
            if event is None:
                raise self.interrupted("its stream was closed")
            if not isinstance(event, ContentEvent):
                self._note(event)
                if isinstance(event, DoneEvent):
                    await stream.aclose()
                    self._complete(event)
                    query = QueryBundle(self._question.text)
                    with self._trace.active():
                        for each in self._postprocessors:
                            try:
                                self.nodes[:] = await each.apostprocess_nodes(list(self.nodes), query_bundle=query)
                            except Exception as error:  # noqa: BLE001 - the answer was paid for
                                self._unprocessed(each, error)
                    self._finish()
                return event
        except BaseException as error:
            self.fail(error)
            raise
        self._piece(event)
        return event

    def _piece(self, event: ContentEvent) -> None:
        self.pieces.append(event.delta)
        self._trace.delta(event.delta)

    def _note(self, event: ChatEvent) -> None:
        if event.signal_id is not None:
            self.metadata["signal_id"] = event.signal_id
        if event.tool is None:
            return
        if event.type == "tool_call":
            self._trace.tool_called(event.tool)
            return
        self._trace.tool_returned(event.tool)
        if self._show_tools:
            self.tools += tool_outputs([event.tool])
        add_nodes(self.nodes, event.sources, self.conversation.session_id)

    # Ending

    def _complete(self, event: DoneEvent) -> None:
        """The whole reply is there."""
        result = self.conversation.result
        assert result is not None
        reply = result.reply
        agent = self._session.settled(result)
        found = result.metadata()
        lineage = found.pop("lineage")  # it travels with the message
        self.metadata.update({**found, **agent.to_json()}, token_usage=reply.usage and usage_json(reply.usage))
        if self._show_thinking:
            self.metadata["thinking"] = reply.thinking
        self.done = event
        self.text = reply.message
        self.message = answer_message(reply, thinking=self._show_thinking)
        self.message.additional_kwargs[ANCHOR] = anchor_json(
            self._provider, agent, reply.session_id, reply.signal_id, lineage=lineage
        )
        self.citations[:] = reply.citations
        self.tools[:] = tool_outputs(reply.tool_activity) if self._show_tools else []
        if self._show_tools:
            self.metadata["tool_activity"] = [tool.model_dump(mode="json") for tool in reply.tool_activity]
        self.nodes[:] = source_nodes(reply)
        self._session.keep_sources(result, found["sources"])

    def _unprocessed(self, postprocessor: BaseNodePostprocessor, error: Exception) -> None:
        name = type(postprocessor).__name__
        logger.warning("The node postprocessor %s failed; its nodes stay as they were.", name, exc_info=error)
        self.metadata["warnings"].append(f"The node postprocessor {name} failed: {error}")

    def _finish(self) -> None:
        assert self.conversation.result is not None
        assert self.message is not None
        reply = self.conversation.result.reply
        if self.nodes:
            self._trace.retrieved(self.nodes)
        told = {"finish_reason": self.metadata["finish_reason"], "recovered": reply.recovered}
        self._end()
        self._trace.end(self.message, reply.usage, self._shown(), told)

    def fail(self, error: BaseException) -> None:
        """Reading or sending raised. Whoever cancels has left, which is no failure."""
        if self.ended:
            return
        # Whatever is not a refusal may have been accepted; then the session is the one to look at.
        if self._planned is not None and (isinstance(error, errors.TurnError) or not isinstance(error, Exception)):
            self._session.adopt(self._planned, own=self._own)
        if not isinstance(error, Exception):
            self.abandon()
            return
        self.error = error
        self.text = self.text or "".join(self.pieces)
        self._end()
        self._trace.fail(error)

    def cut(self) -> None:
        """The session's next turn begins."""
        if not self.ended:
            self.error = self.interrupted("the next turn of its session began before it was read to its end")
            self.abandon()

    def abandon(self) -> None:
        """The reader has left. The turn itself goes on at the service; its next reader will find it there."""
        if self.ended:
            return
        self.text = "".join(self.pieces)
        self.metadata["cancelled"] = True
        self._end()
        message = ChatMessage(role=MessageRole.ASSISTANT, content=self.text)
        self._trace.end(message, None, self._shown(), {"finish_reason": "cancelled", "cancelled": True})

    def interrupted(self, reason: str) -> errors.StreamInterrupted:
        """The error for whoever reads on in an answer that will not be complete."""
        shown = "".join(self.pieces)
        return errors.StreamInterrupted(
            f"The answer was left after {len(shown)} characters: {reason}. The turn itself goes on at the service.",
            session_id=self.metadata.get("session_id"),
            signal_id=self.metadata.get("signal_id"),
            phase=Phase.STREAMING,
            partial_text=shown,
        )

    def _end(self) -> None:
        self.ended = True
        if self.when_ended is not None:
            self.when_ended()

    def _shown(self) -> AgentChatResponse:
        """The response as traces show it."""
        return AgentChatResponse(response=self.text, source_nodes=self.nodes, metadata=self.metadata)
