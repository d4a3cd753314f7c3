"""Hosted agents as LlamaIndex chat engines, one class a service."""

# No `from __future__ import annotations` here: LlamaIndex makes a tool's schema of the verbs' annotations, as objects.

import copy
import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, ClassVar, ParamSpec, Self, TypeVar, Unpack

from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.callbacks import trace_method
from llama_index.core.chat_engine.types import BaseChatEngine
from llama_index.core.tools import FunctionTool

from meibel_integrations.client.closing import AsyncClosing, Closing
from meibel_integrations.conversation.held import HeldSession
from meibel_integrations.conversation.messages import NeutralMessage
from meibel_integrations.errors import ConfigurationError, InvalidInputError
from meibel_integrations.llamaindex.agent import (
    LLAMA_CLOUD,
    MEIBEL,
    HostedAgent,
    HostedService,
    LlamaCloudEngineKeywords,
    MeibelEngineKeywords,
    show_settings,
)
from meibel_integrations.llamaindex.llm import HostedLLM
from meibel_integrations.llamaindex.messages import to_chat_messages, with_files
from meibel_integrations.llamaindex.queries import HostedQueryEngine
from meibel_integrations.llamaindex.responses import HostedChatResponse, HostedStreamingResponse
from meibel_integrations.llamaindex.run import EngineRun
from meibel_integrations.llamaindex.tools import ask_tool
from meibel_integrations.llamaindex.tracing import TurnTrace, opens_its_own_span
from meibel_integrations.models import Message, Session

__all__ = ["HostedChatEngine", "LlamaCloudChatEngine", "MeibelChatEngine"]

P = ParamSpec("P")
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


def _traced(method: F) -> F:
    """LlamaIndex's ``trace_method``, which hides the method's type; and its annotations as types, not as their names,
    for whoever makes a schema of them, as ``FunctionTool`` does."""
    traced: Any = trace_method("chat")(method)
    traced.__signature__ = inspect.signature(method, eval_str=True)
    traced.__annotations__ = inspect.get_annotations(method, eval_str=True)
    return traced  # type: ignore[no-any-return]


class _SameAsConstructor:
    """A class method that makes an object as the constructor does, with the constructor's signature."""

    def __get__(self, instance: object, owner: Callable[P, T]) -> Callable[P, T]:
        def from_defaults(*args: P.args, **kwargs: P.kwargs) -> T:
            return owner(*args, **kwargs)

        from_defaults.__doc__ = "The constructor, under the name that LlamaIndex's engines have for it."
        from_defaults.__signature__ = inspect.signature(owner)  # type: ignore[attr-defined]
        return from_defaults


class HostedChatEngine(BaseChatEngine, Closing, AsyncClosing):
    """A chat engine whose every answer is one turn of a hosted session.

    One engine is one conversation: it opens a session with its first message and goes on in it. Make an engine per
    user, or :meth:`with_session` for each; they share their settings and connections. A server that keeps the messages
    itself may share one engine and pass them as ``chat_history``.
    """

    service: ClassVar[HostedService]

    from_defaults = _SameAsConstructor()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        show_settings(cls, cls.service)

    def __init__(self, **settings: Any) -> None:
        self._agent = HostedAgent(self.service, type(self).__name__, settings)
        self._session = HeldSession(
            self._agent.running.session_id,
            service=self._agent.clients.service,
            book=self._agent.clients.book,
            target=self._agent.target,
            options=self._agent.running,
        )
        self._clients = self._agent.clients
        self._model = HostedLLM.of(self._agent)
        self.callback_manager = self._agent.callback_manager

    # The conversation

    @property
    def session_id(self) -> str | None:
        """The session that this engine is in; ``None`` until the first message opens one."""
        return self._session.id

    def with_session(self, session_id: str | None) -> Self:
        """An engine with the same settings that goes on in another session (``None``: opens its own)."""
        other = self.beside(session_id)
        other._clients = self._clients.sibling()
        return other

    def beside(self, session_id: str | None) -> Self:
        """The same with this engine's connections: closing either closes them."""
        other = copy.copy(self)
        other._session = self._session.sibling(session_id)
        return other

    def reset(self, *, delete: bool = False) -> None:
        """Forgets the session: the next message opens a new one.

        Args:
            delete: also delete the session at the service; otherwise nothing is sent, and nothing is deleted.

        Raises:
            ConfigurationError: ``delete`` is asked for, and the service deletes no sessions.
        """
        session_id = self.session_id
        if delete and session_id is not None:
            self.delete_session(session_id)
        self._session.forget()

    async def areset(self, *, delete: bool = False) -> None:
        """The async twin of :meth:`reset`."""
        session_id = self.session_id
        if delete and session_id is not None:
            await self.adelete_session(session_id)
        self._session.forget()

    @property
    def chat_history(self) -> list[ChatMessage]:
        """The session's messages as they were written, read from the service; empty before the first message.

        ``additional_kwargs`` have each message's ``timestamp`` and ``signal_id`` where the service tells them, and the
        ``sources`` of answers that this engine gave. Given to any engine of this agent as ``chat_history``, the list
        goes on in its session. What other engines and processes add shows after this engine's next turn, or with
        ``check_head="always"``.
        """
        return self._shown(self._clients.client.run_flow(self._session.read()))

    async def aget_chat_history(self) -> list[ChatMessage]:
        """The async twin of :attr:`chat_history`."""
        return self._shown(await self._clients.async_client.run_flow(self._session.read()))

    def _shown(self, history: list[Message]) -> list[ChatMessage]:
        return to_chat_messages(
            history,
            self.session_id or "",
            provider=self._agent.provider,
            agent=self._agent.ref,
            sources=self._session.sources,
        )

    def list_sessions(self) -> Iterator[Session]:
        """The agent's sessions; at LlamaCloud those of the key. Pages are fetched as they are needed."""
        raise NotImplementedError

    def alist_sessions(self) -> AsyncIterator[Session]:
        """The async twin of :meth:`list_sessions`."""
        raise NotImplementedError

    def delete_session(self, session_id: str) -> None:
        """Deletes a session for good.

        Raises:
            ConfigurationError: the service deletes no sessions.
        """
        raise NotImplementedError

    async def adelete_session(self, session_id: str) -> None:
        """The async twin of :meth:`delete_session`."""
        raise NotImplementedError

    # The verbs

    @_traced
    def chat(self, message: str, chat_history: list[ChatMessage] | None = None, **along: Any) -> HostedChatResponse:
        """One message and its whole answer.

        Args:
            message: the user's message.
            chat_history: ``None`` goes on; ``[]``, or system messages alone, start a new session. A list goes on in
                the session that its newest answer names, and one whose answers name none in the engine's own if it
                is what that holds; any other list starts a new session that is seeded with it, and the engine stays
                where it is.
            along: ``files`` that ride along: paths, ``(name, bytes)`` pairs, binary files, and LlamaIndex's image and
                document blocks.
        """
        run = self._run(message, chat_history, along, verb=None)
        stream = run.open(self._clients.client)
        while run.advance(stream) is not None:
            continue
        return HostedChatResponse.of(run)

    @_traced
    async def achat(
        self, message: str, chat_history: list[ChatMessage] | None = None, **along: Any
    ) -> HostedChatResponse:
        """The async twin of :meth:`chat`."""
        run = self._run(message, chat_history, along, verb=None)
        stream = await run.aopen(self._clients.async_client)
        while await run.aadvance(stream) is not None:
            continue
        return HostedChatResponse.of(run)

    @opens_its_own_span
    @_traced
    def stream_chat(
        self, message: str, chat_history: list[ChatMessage] | None = None, **along: Any
    ) -> HostedStreamingResponse:
        """As :meth:`chat`, but returns once the service has accepted the message; the answer is read from there."""
        run = self._run(message, chat_history, along, verb="stream_chat")
        response = HostedStreamingResponse.of(run, run.open(self._clients.client))
        self._session.hand_out(response.reader)
        return response

    @opens_its_own_span
    @_traced
    async def astream_chat(
        self, message: str, chat_history: list[ChatMessage] | None = None, **along: Any
    ) -> HostedStreamingResponse:
        """The async twin of :meth:`stream_chat`."""
        run = self._run(message, chat_history, along, verb="astream_chat")
        response = HostedStreamingResponse.of(run, await run.aopen(self._clients.async_client))
        self._session.hand_out(response.reader)
        return response

    def _run(
        self, message: Any, chat_history: list[ChatMessage] | None, along: dict[str, Any], *, verb: str | None
    ) -> EngineRun:
        # No parameter of its own: tool schemas offer a function's parameters to a model, and which files of this
        # machine are sent is not for a model to say. Older versions of LlamaIndex offer "along" itself: it is nothing.
        files = list(along.pop("files", None) or ())
        along.pop("along", None)
        if along:
            raise InvalidInputError(f"{type(self).__name__} takes no {', '.join(along)} with a message.")
        question = message
        if not isinstance(message, ChatMessage):
            if not isinstance(message, str):
                raise InvalidInputError(f"The message must be a str, not {type(message).__name__}.")
            question = ChatMessage(role=MessageRole.USER, content=message)
        question, shown = with_files(question)
        text = question.content or ""
        if not text.strip():
            raise InvalidInputError("The message is empty: the agent needs something to answer.")
        given = None if chat_history is None else self._agent.neutral(chat_history)
        described = {
            "class_name": type(self).__name__,
            "model": self._agent.label,
            **self._agent.ref.to_json(),
            "session_id": self.session_id,
        }
        options = self._agent.options
        return EngineRun(
            self._session,
            TurnTrace(
                self, self._model, [*(chat_history or ()), question], described, self.callback_manager, verb=verb
            ),
            NeutralMessage("user", text),
            given,
            options.node_postprocessors,
            provider=self._agent.provider,
            files=self._agent.files_of([*files, *shown]),
            show_thinking=options.include_thinking,
            show_tools=options.include_tool_activity,
        )

    def chat_repl(self) -> None:
        """A conversation in the terminal, until "exit"; an empty line is asked again."""
        self._repl(lambda message: print(self.chat(message), end=""))  # noqa: T201

    def streaming_chat_repl(self) -> None:
        """The same with answers as they arrive."""
        self._repl(lambda message: self.stream_chat(message).print_response_stream())

    def _repl(self, answer: Callable[[str], None]) -> None:
        print('===== Entering Chat REPL =====\nType "exit" to exit.\n')  # noqa: T201
        self.reset()
        while (message := input("Human: ")) != "exit":
            if message.strip():
                print("Assistant: ", end="", flush=True)  # noqa: T201
                answer(message)
                print("\n")  # noqa: T201

    # For agents

    def as_tool(self, name: str = "ask_agent", description: str | None = None) -> FunctionTool:
        """A tool that asks this agent in this engine's session. Its one argument is the question; ``raw_output`` is
        the response with its ``source_nodes``."""
        return ask_tool(self.chat, self.achat, name, description)

    def as_query_engine(self) -> BaseQueryEngine:
        """A query engine whose every query is a message in this engine's session."""
        return HostedQueryEngine.over(self)

    # Connections

    def close(self) -> None:
        """Gives up this engine's connections. A later call opens new ones. Clients that were passed in stay open."""
        self._clients.close()

    async def aclose(self) -> None:
        """The async twin of :meth:`close`; it closes both kinds of connections."""
        await self._clients.aclose()

    def __repr__(self) -> str:
        shown = self._agent.shown(self.session_id)
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in shown.items())})"


class MeibelChatEngine(HostedChatEngine):
    """A Meibel agent as a chat engine. One engine is one conversation, held in one session at the service.

    Example:
        ::

            engine = MeibelChatEngine.from_defaults(agent_id="agent_123")
            for piece in engine.stream_chat("What are the key findings in the Q4 report?").response_gen:
                print(piece, end="")
            print(engine.chat("And in Q3?").source_nodes)

    Args:
        agent_id, agent_name: the agent, by id, or by name for its newest published version. An engine that has only a
            ``session_id`` goes on in that session and can open no other.
        settings: ``session_id``, ``session_options``, ``api_key`` (or ``MEIBEL_API_KEY``), ``base_url`` (or
            ``MEIBEL_BASE_URL``), ``timeout``, ``include_thinking`` …: see
            :class:`~meibel_integrations.llamaindex.agent.EngineOptions`.

    Raises:
        ConfigurationError: neither an agent nor a session is named, there is no key, or a setting is unknown or wrong.
    """

    service = MEIBEL

    def __init__(
        self, agent_id: str | None = None, agent_name: str | None = None, **settings: Unpack[MeibelEngineKeywords]
    ) -> None:
        super().__init__(agent_id=agent_id, agent_name=agent_name, **settings)

    def list_sessions(self) -> Iterator[Session]:
        """The agent's sessions. Pages are fetched as they are needed."""
        found: Iterator[Session] = self._clients.client.agents.list_sessions(self._agent_id())
        return found

    def alist_sessions(self) -> AsyncIterator[Session]:
        """The async twin of :meth:`list_sessions`."""
        found: AsyncIterator[Session] = self._clients.async_client.agents.list_sessions(self._agent_id())
        return found

    def _agent_id(self) -> str:
        if self._agent.ref.id is None:
            raise ConfigurationError("Meibel lists the sessions of an agent that is named by its id: agent_id=….")
        return self._agent.ref.id

    def delete_session(self, session_id: str) -> None:
        """Meibel has no call that deletes a session.

        Raises:
            ConfigurationError: always.
        """
        raise ConfigurationError(f"Meibel deletes no sessions: {session_id!r} stays. reset() leaves it as it is.")

    async def adelete_session(self, session_id: str) -> None:
        """The async twin of :meth:`delete_session`."""
        self.delete_session(session_id)


class LlamaCloudChatEngine(HostedChatEngine):
    """LlamaCloud's Index v2 chat agent over some indexes, as a chat engine. One engine is one conversation.

    The same as :class:`MeibelChatEngine` in every respect that the service allows: source nodes are what the agent
    retrieved (``metadata["origin"] == "retrieved"``), and a message has at most 1,000 characters.

    Args:
        index_ids: the indexes to answer from, at most 10. An engine that has only a ``session_id`` goes on in that
            session, with the indexes that it is bound to, and can open no other.
        settings: ``session_id``, ``api_key`` (or ``LLAMA_CLOUD_API_KEY``), ``base_url`` (or ``LLAMA_CLOUD_BASE_URL``),
            ``bound``, ``require_all_indexes``, ``timeout`` …: see
            :class:`~meibel_integrations.llamaindex.agent.EngineOptions`.

    Raises:
        ConfigurationError: neither indexes nor a session are named, there is no key, or a setting is unknown or wrong.
        InvalidInputError: more than 10 indexes, or something that is no list of ids.
    """

    service = LLAMA_CLOUD

    def __init__(self, index_ids: Sequence[str] | None = None, **settings: Unpack[LlamaCloudEngineKeywords]) -> None:
        super().__init__(index_ids=index_ids, **settings)

    def get_summary(self) -> Session:
        """The engine's session without its events: its title, its indexes, and ``job_metadata`` of its last turn.

        Raises:
            InvalidInputError: the engine has no session yet.
        """
        return self._clients.client.get_summary(self._known_session())  # type: ignore[no-any-return]

    async def aget_summary(self) -> Session:
        """The async twin of :meth:`get_summary`."""
        return await self._clients.async_client.get_summary(self._known_session())  # type: ignore[no-any-return]

    def _known_session(self) -> str:
        if self.session_id is None:
            raise InvalidInputError("This engine has no session yet: the first message opens one.")
        return self.session_id

    def list_sessions(self) -> Iterator[Session]:
        """The sessions of the key. Pages are fetched as they are needed."""
        found: Iterator[Session] = self._clients.client.list()
        return found

    def alist_sessions(self) -> AsyncIterator[Session]:
        """The async twin of :meth:`list_sessions`."""
        found: AsyncIterator[Session] = self._clients.async_client.list()
        return found

    def delete_session(self, session_id: str) -> None:
        """Deletes a session for good. An engine that was in it opens a new one with its next message."""
        self._clients.client.delete(session_id)
        if session_id == self.session_id:
            self._session.forget()

    async def adelete_session(self, session_id: str) -> None:
        """The async twin of :meth:`delete_session`."""
        await self._clients.async_client.delete(session_id)
        if session_id == self.session_id:
            self._session.forget()
