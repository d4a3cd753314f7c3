"""What users receive and send: the package's data, the same for every service and dialect.

No field of a model or event can be set; lists inside are the caller's own. Models are JSON-friendly
(``.model_dump(mode="json")``). Text offsets count Unicode code points of the text the user gets; scores are the
service's own, higher is better; times are aware UTC datetimes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "Agent",
    "Artifact",
    "CallToAction",
    "ChatEvent",
    "ChatMessageRequest",
    "Citation",
    "CitationsEvent",
    "ConnectedEvent",
    "ContentEvent",
    "CreateSessionRequest",
    "DoneEvent",
    "EventType",
    "HistoryRole",
    "Message",
    "Reply",
    "Session",
    "Source",
    "StatusEvent",
    "ThinkingEvent",
    "ToolActivity",
    "ToolCallEvent",
    "ToolResultEvent",
    "UnknownEvent",
    "Usage",
    "WarningEvent",
]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ChatMessageRequest(_Model):
    """The body of one chat turn. Source of the fields: the v2 SDK's model of the same name."""

    user_message: str = Field(description="The user's message, sent as it is.")
    timeout_seconds: int | None = Field(default=None, description="How long the service may take, in seconds.")
    include_thinking: bool | None = None
    include_tool_activity: bool | None = None


class CreateSessionRequest(_Model):
    """Options of a new session, all optional. Source: the v2 SDK. Their effect on the agent is not documented."""

    prompt: str | None = None
    initial_context: dict[str, Any] | None = None
    max_iterations_per_user_message: int | None = None
    message_wait_timeout_seconds: int | None = None
    execution_policy_ids: list[str] | None = None
    execution_policy: dict[str, Any] | None = None


class Session(_Model):
    """A conversation on the service.

    ``created_at`` is the service's own time where it says one, otherwise the first message's time, else ``None``.
    ``status`` is the session's (RUNNING, COMPLETED, FAILED, CANCELED, TERMINATED), never a turn's. ``messages``,
    ``tool_activity``, ``file_parsing`` and ``result`` are told by a session's details; the last three as the service
    tells them. What follows ``updated_at`` is LlamaCloud's: the indexes that the session is bound to (``None``:
    unbound), and the events of a full session as the service tells them. ``extra`` is what the wire carried besides.
    """

    id: str
    agent_id: str | None = None
    agent_name: str | None = None
    created_at: datetime | None = None
    ended_at: datetime | None = None
    status: str | None = None
    version: str | None = None
    messages_count: int | None = None
    messages: list[Message] = []
    token_usage: list[dict[str, Any]] = []
    tool_activity: list[Any] = []
    file_parsing: list[Any] = []
    result: list[Any] = []
    updated_at: datetime | None = None
    title: str | None = None
    index_ids: list[str] | None = None
    shared_access: str | None = None
    job_metadata: dict[str, Any] | None = None
    events: list[dict[str, Any]] = []
    extra: dict[str, Any] = {}

    @property
    def session_id(self) -> str:
        """The same as ``id``, as LlamaCloud names it."""
        return self.id

    @property
    def generated_title(self) -> str | None:
        """The same as ``title``, as LlamaCloud names it."""
        return self.title


class Agent(_Model):
    """An agent that sessions can be opened with."""

    id: str
    name: str
    display_name: str = ""
    description: str | None = None
    version: str | None = None
    extra: dict[str, Any] = {}


class Source(_Model):
    """A document (or a part of one) that an answer rests on.

    ``snippet`` is the passage in the source's own words. ``origin`` is ``"cited"`` when the agent cited it and
    ``"retrieved"`` when it only turned up in a retrieval tool's result.
    """

    title: str = ""
    url: str | None = None
    snippet: str | None = None
    score: float | None = None
    data_element_id: str | None = None
    source_id: str | None = None
    tool_name: str | None = None
    origin: Literal["cited", "retrieved"] = "cited"
    metadata: dict[str, Any] = {}


class Citation(_Model):
    """A place in the answer that a source supports.

    ``source`` indexes the answer's ``sources``. ``start`` and ``end`` count characters of the text the user gets;
    where the wire gives a single position both are that position.
    """

    source: int
    start: int
    end: int


class Usage(_Model):
    """Tokens as the service counts them; ``details`` keeps the service's own keys. Nothing is estimated."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    details: dict[str, int | float] = {}


class ToolActivity(_Model):
    """One call of a tool that the agent made on the service's side, with its result once there is one."""

    id: str | None = None
    name: str | None = None
    arguments: dict[str, Any] = {}
    result: Any = None
    is_error: bool = False
    timestamp: str | None = None


class CallToAction(_Model):
    """An action that the agent suggests to the user."""

    label: str
    action: str = ""
    action_data: dict[str, Any] | None = None


class Artifact(_Model):
    """A file that the agent made."""

    artifact_id: str
    filename: str = ""
    mime_type: str = ""
    content: str | None = None
    storage_url: str | None = None
    size_bytes: int | None = None
    created_at: str | None = None


HistoryRole = Literal["user", "assistant", "tool_call", "tool_result"]


class Message(_Model):
    """One entry of a session's history, in order.

    ``role`` is ``"user"`` or ``"assistant"``; tool entries (``"tool_call"``, ``"tool_result"``) are listed only on
    request. ``message`` is the raw text as the service stores it.
    """

    role: HistoryRole
    message: str = ""
    timestamp: datetime | None = None
    signal_id: str | None = None
    tool_id: str | None = None
    tool_name: str | None = None
    arguments: dict[str, Any] | None = None
    result: Any = None
    extra: dict[str, Any] = {}


class Reply(_Model):
    """One whole answer: the same whether it was streamed or not, and in any dialect.

    ``signal_id`` identifies the exchange where the wire gives one. ``recovered`` says that the connection broke and the
    answer was read back from the session's history. ``usage`` is ``None`` where the service does not say.
    ``streamed_text`` is what a stream of this answer showed, where that was not ``message``; ``extra`` is what the wire
    carried besides.
    """

    message: str = ""
    citations: list[Citation] = []
    sources: list[Source] = []
    usage: Usage | None = None
    thinking: str | None = None
    tool_activity: list[ToolActivity] = []
    follow_up_questions: list[str] = []
    call_to_actions: list[CallToAction] = []
    artifacts: list[Artifact] = []
    session_id: str | None = None
    signal_id: str | None = None
    finish_reason: str | None = None
    recovered: bool = False
    warnings: list[str] = []
    skipped_index_ids: list[str] = []
    streamed_text: str | None = None
    extra: dict[str, Any] = {}


EventType = Literal[
    "connected",
    "status",
    "thinking",
    "tool_call",
    "tool_result",
    "content",
    "citations",
    "done",
    "warning",
    "unknown",
]


class _Event:
    """What every event has. An attribute that an event does not carry is empty: ``event.delta`` works on all of them.

    ``data`` is the wire's own payload where one event of the wire stands behind this one.
    """

    __slots__ = ()

    @property
    def delta(self) -> str:
        return ""

    @property
    def message(self) -> str:
        return ""

    @property
    def citations(self) -> Sequence[Citation]:
        return ()

    @property
    def sources(self) -> Sequence[Source]:
        return ()

    @property
    def tool(self) -> ToolActivity | None:
        return None

    @property
    def reply(self) -> Reply | None:
        return None

    @property
    def signal_id(self) -> str | None:
        return None


# A dataclass takes an inherited property for a field's default, so each field that has one names its own.


@dataclass(frozen=True, slots=True)
class ConnectedEvent(_Event):
    """The service runs the turn, under this id where the wire has one."""

    signal_id: str | None = None
    data: Any = None
    type: Literal["connected"] = "connected"


@dataclass(frozen=True, slots=True)
class StatusEvent(_Event):
    """What the agent is doing, in its own words."""

    message: str = ""
    data: Any = None
    type: Literal["status"] = "status"


@dataclass(frozen=True, slots=True)
class ThinkingEvent(_Event):
    """New text of the agent's thinking; never empty."""

    delta: str = field()
    data: Any = None
    type: Literal["thinking"] = "thinking"


@dataclass(frozen=True, slots=True)
class ToolCallEvent(_Event):
    """The agent calls one of its tools."""

    tool: ToolActivity = field()
    data: Any = None
    type: Literal["tool_call"] = "tool_call"


@dataclass(frozen=True, slots=True)
class ToolResultEvent(_Event):
    """A tool returned; ``tool`` has the call and its result, ``sources`` what the result holds of documents."""

    tool: ToolActivity = field()
    data: Any = None
    sources: Sequence[Source] = ()
    type: Literal["tool_result"] = "tool_result"


@dataclass(frozen=True, slots=True)
class ContentEvent(_Event):
    """New text of the answer; never empty."""

    delta: str = field()
    data: Any = None
    type: Literal["content"] = "content"


@dataclass(frozen=True, slots=True)
class CitationsEvent(_Event):
    """All sources and citations of the answer."""

    citations: Sequence[Citation] = ()
    sources: Sequence[Source] = ()
    data: Any = None
    type: Literal["citations"] = "citations"


@dataclass(frozen=True, slots=True)
class DoneEvent(_Event):
    """The last event: the whole reply."""

    reply: Reply = field()
    signal_id: str | None = None
    data: Any = None
    type: Literal["done"] = "done"


@dataclass(frozen=True, slots=True)
class WarningEvent(_Event):
    """Something about the answer that its reader should know."""

    message: str = ""
    data: Any = None
    type: Literal["warning"] = "warning"


@dataclass(frozen=True, slots=True)
class UnknownEvent(_Event):
    """An event of a kind that this package does not know; ``message`` is the kind's name."""

    message: str = ""
    data: Any = None
    type: Literal["unknown"] = "unknown"


ChatEvent = (
    ConnectedEvent
    | StatusEvent
    | ThinkingEvent
    | ToolCallEvent
    | ToolResultEvent
    | ContentEvent
    | CitationsEvent
    | DoneEvent
    | WarningEvent
    | UnknownEvent
)
"""One step of a streamed turn. ``event.type`` and ``match event: case ContentEvent(delta=text)`` both tell the kinds
apart, also for type checkers."""

Session.model_rebuild()  # it names Message, which stands below it
