"""Engines behind web frameworks: clients leave half-way, and nothing but reference counts cleans up."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from meibel_integrations.local import Delta, Pause, Question
from tests.support.hosted import ONE_OF_EACH, only

from .service import Service


@contextmanager
def running(app: FastAPI) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def application(service: Service) -> FastAPI:
    """One engine, and one session a user."""
    app, engine = FastAPI(), service.engine()
    users: dict[str, Any] = {}

    @app.get("/sync/{user}")
    def ask(user: str, q: str) -> StreamingResponse:
        own = users.setdefault(user, engine.with_session(None))
        return StreamingResponse(own.stream_chat(q).response_gen, media_type="text/plain")

    @app.get("/async/{user}")
    async def aask(user: str, q: str) -> StreamingResponse:
        own = users.setdefault(user, engine.with_session(None))
        response = await own.astream_chat(q)
        return StreamingResponse(response.async_response_gen(), media_type="text/plain")

    return app


LEAVING = int(os.environ.get("LEAVING_CLIENTS", "8"))


@only(*ONE_OF_EACH, because="it takes long, and the connections are the same in both dialects")
@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_clients_that_leave_half_way(service: Service, kind: str) -> None:
    left = Pause()

    def answer(question: Question) -> Any:
        return (
            [Delta("half "), left, *[Delta("more ")] * 5]
            if question.text == "long?"
            else [Delta("A whole "), Delta("answer.")]
        )

    service.start(answer)
    with running(application(service)) as url, httpx.Client(base_url=url, timeout=30) as http:
        for n in range(LEAVING):
            user = f"user-{n % 4}"
            left.event.clear()
            with http.stream("GET", f"/{kind}/{user}", params={"q": "long?"}) as answer:
                assert answer.status_code == 200
                assert next(answer.iter_text()).startswith("half")
            left.release()
            again = http.get(f"/{kind}/{user}", params={"q": "short?"})
            assert (again.status_code, again.text) == (200, "A whole answer.")
    assert service.hosted.sessions() == 4
