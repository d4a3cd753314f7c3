"""Each hosted service, and the four verbs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from meibel_integrations.llamaindex.chat_engine import HostedChatEngine
from tests.support.hosted import SERVICES

from .service import Ask, Service


@pytest.fixture(params=SERVICES)
def hosted(request: pytest.FixtureRequest) -> str:
    """The service's name."""
    return str(request.param)


@pytest.fixture
def service(hosted: str) -> Iterator[Service]:
    with ExitStack() as stack:
        yield Service(stack, hosted)


@pytest.fixture(params=["chat", "achat", "stream_chat", "astream_chat"])
def ask(request: pytest.FixtureRequest) -> Ask:
    async def read(engine: HostedChatEngine, *arguments: Any, **named: Any) -> Any:
        try:
            if request.param == "achat":
                return await engine.achat(*arguments, **named)
            response = await engine.astream_chat(*arguments, **named)
            async for _ in response.async_response_gen():
                continue
            return response
        finally:
            await engine.aclose()

    def call(engine: HostedChatEngine, *arguments: Any, **named: Any) -> Any:
        if request.param == "chat":
            return engine.chat(*arguments, **named)
        if request.param == "stream_chat":
            response = engine.stream_chat(*arguments, **named)
            for _ in response.response_gen:
                continue
            return response
        return asyncio.run(read(engine, *arguments, **named))

    return call
