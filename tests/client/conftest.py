"""One face for both clients, so that each test runs over the sync and the async one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from meibel_integrations import AsyncMeibelClient, MeibelClient
from meibel_integrations.models import ChatEvent, Message, Reply, Session

See = Callable[[ChatEvent], object]


class Sync:
    """The sync client."""

    def __init__(self, **options: Any) -> None:
        self.client = MeibelClient(**options)

    def create(self, **agent: Any) -> Session:
        return self.client.agents.create_session(**agent)

    def sessions(self, agent_id: str, **options: Any) -> list[Session]:
        return list(self.client.agents.list_sessions(agent_id, **options))

    def send(self, session_id: str, **turn: Any) -> Reply:
        return self.client.sessions.send_chat_message(session_id, **turn)

    def stream(self, session_id: str, see: See = lambda _: None, **turn: Any) -> list[ChatEvent]:
        seen = []
        with self.client.sessions.send_chat_message_stream(session_id, **turn) as events:
            for event in events:
                seen.append(event)
                see(event)
        return seen

    def messages(self, session_id: str, **options: Any) -> list[Message]:
        return self.client.sessions.get_session_messages(session_id, **options)

    def session(self, session_id: str) -> Session:
        return self.client.sessions.get_session(session_id)

    def close(self) -> None:
        self.client.close()


class Async:
    """The async client, each call on the same loop."""

    def __init__(self, **options: Any) -> None:
        self.client = AsyncMeibelClient(**options)
        self.runner = asyncio.Runner()

    def create(self, **agent: Any) -> Session:
        return self.runner.run(self.client.agents.create_session(**agent))

    def sessions(self, agent_id: str, **options: Any) -> list[Session]:
        async def collect() -> list[Session]:
            return [s async for s in self.client.agents.list_sessions(agent_id, **options)]

        return self.runner.run(collect())

    def send(self, session_id: str, **turn: Any) -> Reply:
        return self.runner.run(self.client.sessions.send_chat_message(session_id, **turn))

    def stream(self, session_id: str, see: See = lambda _: None, **turn: Any) -> list[ChatEvent]:
        async def collect() -> list[ChatEvent]:
            seen = []
            async with self.client.sessions.send_chat_message_stream(session_id, **turn) as events:
                async for event in events:
                    seen.append(event)
                    see(event)
            return seen

        return self.runner.run(collect())

    def messages(self, session_id: str, **options: Any) -> list[Message]:
        return self.runner.run(self.client.sessions.get_session_messages(session_id, **options))

    def session(self, session_id: str) -> Session:
        return self.runner.run(self.client.sessions.get_session(session_id))

    def close(self) -> None:
        self.runner.run(self.client.aclose())
        self.runner.close()


Client = Sync | Async


@pytest.fixture(params=[Sync, Async], ids=["sync", "async"])
def connect(request: pytest.FixtureRequest) -> Iterator[Callable[..., Client]]:
    """Makes clients of one kind and closes them again."""
    opened: list[Client] = []

    def make(**options: Any) -> Client:
        opened.append(request.param(**{"api_key": "key-1", **options}))
        return opened[-1]

    yield make
    for client in opened:
        client.close()
