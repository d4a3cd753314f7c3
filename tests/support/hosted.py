"""The hosted services over a local one, in words that all of them share: what the adapters' contract suites run on.

A test that takes the fixture ``hosted`` (or one that rests on it) runs once for each service of :data:`SERVICES`.
What a service cannot do is left out by :func:`only`, which has to say why.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from meibel_integrations import AsyncLlamaCloudChatClient, AsyncMeibelClient, LlamaCloudChatClient, MeibelClient
from meibel_integrations.local import LocalMeibel
from meibel_integrations.local.limits import Limits
from meibel_integrations.models import Message
from tests.support import wire_turns as wires

__all__ = ["ONE_OF_EACH", "SERVICES", "WIRES", "Hosted", "Wire", "only", "serving"]

SERVICES = ("v2", "guide", "llamacloud")
"""Meibel in both dialects, and LlamaCloud."""
ONE_OF_EACH = ("v2", "llamacloud")
"""Each service once, for tests that take long and do not look at the dialect."""

CLOUD = "llamacloud"


def only(*services: str, because: str) -> pytest.MarkDecorator:
    """Runs a test on these services alone."""
    assert because
    assert set(services) < set(SERVICES)
    return pytest.mark.parametrize("hosted", services, indirect=True)


@dataclass
class Hosted:
    """One service. Settings that it makes for the adapters are those of the adapter's own family.

    Attributes:
        service: one of :data:`SERVICES`.
        local: what serves it.
        client: what the tests look past the adapters with.
    """

    service: str
    local: LocalMeibel
    client: Any = field(init=False, repr=False)

    @property
    def is_cloud(self) -> bool:
        return self.service == CLOUD

    @property
    def provider(self) -> str:
        return CLOUD if self.is_cloud else "meibel"

    @property
    def has_signals(self) -> bool:
        """Otherwise an answer's place and digest mark it."""
        return self.service == "v2"

    @property
    def has_citations(self) -> bool:
        """Otherwise sources are what was retrieved."""
        return not self.is_cloud

    @property
    def agent(self) -> dict[str, Any]:
        """Whom a conversation is with, as the adapters' settings name it."""
        return {"index_ids": [self.local.index_id]} if self.is_cloud else {"agent_id": self.local.agent_id}

    @property
    def other_agent(self) -> dict[str, Any]:
        """One that is not there."""
        return {"index_ids": ["index_none"]} if self.is_cloud else {"agent_id": "agent_none"}

    @property
    def connection(self) -> dict[str, Any]:
        """The settings of a connection. Seeds may be longer than LlamaCloud's own limit, which is another matter."""
        if self.is_cloud:
            url = self.local.llama_cloud_base_url
            return {"api_key": self.local.api_key, "base_url": url, "max_prompt_chars": None}
        return {"api_key": self.local.api_key, "base_url": self.local.base_url}

    def connect(self) -> Any:
        """A client, which is the caller's to close."""
        return (LlamaCloudChatClient if self.is_cloud else MeibelClient)(**self.connection)

    def aconnect(self) -> Any:
        """An async client, which is the caller's to close."""
        return (AsyncLlamaCloudChatClient if self.is_cloud else AsyncMeibelClient)(**self.connection)

    # What the service holds, asked past the adapters

    def open_session(self) -> str:
        create = self.client.create if self.is_cloud else self.client.agents.create_session
        return str(create(**self.agent).id)

    def stream(self, client: Any, session_id: str, text: str) -> Any:
        """A turn past the adapters."""
        if self.is_cloud:
            return client.stream(session_id, prompt=text)
        return client.sessions.send_chat_message_stream(session_id, user_message=text)

    def read(self, session_id: str) -> list[Message]:
        """The session's messages, raw."""
        read = self.client.get_messages if self.is_cloud else self.client.sessions.get_session_messages
        return list(read(session_id))

    def asked(self, session_id: str) -> list[str]:
        """What the user said in the session, raw."""
        return [message.message for message in self.read(session_id) if message.role == "user"]

    def sessions(self) -> int:
        """How many there are."""
        found = self.client.list() if self.is_cloud else self.client.agents.list_sessions(self.local.agent_id)
        return len(list(found))

    def requests(self) -> list[str]:
        """The requests so far: ``open`` a session, send a ``turn``, ``read`` the history; else the method."""
        return [self._kind(entry["method"], entry["path"]) for entry in self.local.request_log()]

    def turn_bodies(self) -> list[str]:
        """The bodies of the turns so far, as they were sent."""
        return [e["body"] for e in self.local.request_log() if self._kind(e["method"], e["path"]) == "turn"]

    def _kind(self, method: str, path: str) -> str:
        if method == "POST":
            return "turn" if path.endswith("/stream") else "open"
        history = path.startswith("/api/v1/chat/") if self.is_cloud else path.endswith("/messages")
        return "read" if method == "GET" and history else method


@contextmanager
def serving(service: str, **options: Any) -> Iterator[Hosted]:
    """A running service; options are those of ``LocalMeibel``."""
    dialect = "v2" if service == CLOUD else service
    with LocalMeibel(**{"dialect": dialect, "limits": Limits(max_prompt_chars=1_000_000), **options}) as local:
        hosted = Hosted(service, local)
        with hosted.connect() as hosted.client:
            yield hosted


@dataclass(frozen=True)
class Wire:
    """A service as bytes, for tests that play the server.

    Attributes:
        agent: whom a conversation is with, in the adapters' settings.
        turn: the events of one turn, in which each of ``turns.DELTAS`` arrives by itself.
        nothing: the history of a session that holds nothing.
    """

    service: str
    agent: dict[str, Any]
    turn: Sequence[bytes]
    nothing: Any

    def delta(self, text: str) -> bytes:
        """An event that carries this text."""
        if self.service == CLOUD:
            return wires.cloud_event("text_delta", content=text)
        if self.service == "v2":
            return wires.v2_event("partial_response", data={"message": text})
        return wires.guide_event(type="content", delta=text)


WIRES = {
    "v2": Wire("v2", {"agent_id": "a"}, tuple(wires.v2_turn()), {"messages": []}),
    "guide": Wire("guide", {"agent_id": "a"}, tuple(wires.guide_turn()), []),
    CLOUD: Wire(CLOUD, {"index_ids": ["i"]}, tuple(wires.cloud_turn()), {"session_id": "s", "events": []}),
}
