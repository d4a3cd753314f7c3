"""A service that repeats the key in its own words does not get it into an error."""

from __future__ import annotations

import asyncio

import pytest

from meibel_integrations import AsyncMeibelClient, MeibelClient, errors
from tests.support.servers import RawServer, json_answer

ECHO = json_answer({"message": "the key sk-very-secret is unknown", "detail": {"sent": "sk-very-secret"}}, 401)


def test_an_error_that_echoes_the_key_is_told_without_it() -> None:
    with RawServer([ECHO], [ECHO]) as server:
        with pytest.raises(errors.AuthenticationError) as caught:
            MeibelClient("sk-very-secret", server.base_url).agents.create_session("a")

        async def refused() -> None:
            async with AsyncMeibelClient("sk-very-secret", server.base_url) as client:
                await client.agents.create_session("a")

        with pytest.raises(errors.AuthenticationError) as async_caught:
            asyncio.run(refused())
    for error in (caught.value, async_caught.value):
        assert "the key [key] is unknown" in str(error)
        assert "sk-very-secret" not in f"{error} {error!r} {vars(error)}"


def test_answers_are_left_alone() -> None:
    with RawServer([json_answer({"session_id": "sk-very-secret-session"})]) as server:
        session = MeibelClient("sk-very-secret", server.base_url).agents.create_session("a")
    assert session.id == "sk-very-secret-session"
