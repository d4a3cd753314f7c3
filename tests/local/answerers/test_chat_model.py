"""Answers from scripted models of both frameworks, over HTTP."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from llama_index.core.llms import CompletionResponse, CustomLLM, LLMMetadata

from meibel_integrations import MeibelClient
from meibel_integrations.errors import AgentTurnError, ConfigurationError
from meibel_integrations.local import ChatModelAnswerer, Done, LocalMeibel, Question
from meibel_integrations.models import Reply

Play = Callable[[str], Iterator[Any]]


class LangChainModel(BaseChatModel):
    """Streams what ``play`` gives: texts, whole chunks; an exception is raised."""

    play: Play

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        raise NotImplementedError

    def _stream(self, messages: list[BaseMessage], *_: Any, **__: Any) -> Iterator[ChatGenerationChunk]:
        for piece in self.play("\n\n".join(f"{message.type}: {message.content}" for message in messages)):
            if isinstance(piece, Exception):
                raise piece
            chunk = piece if isinstance(piece, AIMessageChunk) else AIMessageChunk(content=piece)
            yield ChatGenerationChunk(message=chunk)


class LlamaIndexModel(CustomLLM):
    play: Play

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata()

    def complete(self, prompt: str, *_: Any, **__: Any) -> CompletionResponse:
        raise NotImplementedError

    def stream_complete(self, prompt: str, *_: Any, **__: Any) -> Iterator[CompletionResponse]:  # type: ignore[override]
        text = ""
        for piece in self.play(prompt):
            if isinstance(piece, Exception):
                raise piece
            text += piece
            yield CompletionResponse(text=text, delta=piece)


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    (tmp_path / "lamp.md").write_text("# The lamp\n\nThe lamp of the lighthouse burned whale oil until 1901.\n")
    (tmp_path / "tower.md").write_text("# The tower\n\nThe tower of the lighthouse is forty metres high.\n")
    return tmp_path


def ask(local: LocalMeibel, *questions: str) -> list[Reply]:
    with MeibelClient(api_key=local.api_key, base_url=local.base_url) as client:
        session = client.agents.create_session(agent_id=local.agent_id).id
        return [client.sessions.send_chat_message(session_id=session, user_message=q) for q in questions]


@pytest.mark.parametrize("kind", [LangChainModel, LlamaIndexModel])
def test_a_models_words_with_the_citations_that_hold(docs: Path, kind: Callable[..., Any]) -> None:
    prompts: list[str] = []

    def play(prompt: str) -> Iterator[Any]:
        prompts.append(prompt)
        lamp = re.findall(r"\[(\d)\] The lamp", prompt)[-1]
        # A marker that holds, cut into pieces; one whose passage says something else; one without a passage.
        yield from ("The lamp burned whale oil [", lamp, "]", " until", " 1901. Bananas ripen in Peru [", lamp, "].")
        yield from (" The tower [is] high", " [9", "9].", " It was  red [x] \n")

    with LocalMeibel(docs, answerer=kind(play=play)) as local:
        first, second = ask(local, "What did the lamp of the lighthouse burn?", "And until when?")
    text = "The lamp burned whale oil until 1901. Bananas ripen in Peru. The tower [is] high. It was  red [x] \n"
    assert first.message == second.message == text
    (citation,) = first.citations
    assert text[: citation.end] == "The lamp burned whale oil"
    assert first.sources[citation.source].title == "The lamp"
    assert "What did the lamp of the lighthouse burn?" in prompts[0]
    assert "burned whale oil until 1901" in prompts[0]
    # The second turn knows the first, and was searched for with it.
    assert text.strip() in prompts[1]
    assert prompts[1].rindex("burned whale oil until 1901") > prompts[1].index("Bananas")


def test_everything_that_a_model_shows_reaches_the_client(docs: Path) -> None:
    def play(_: str) -> Iterator[Any]:
        yield AIMessageChunk(content=[{"type": "reasoning", "reasoning": "Let me look."}])
        yield AIMessageChunk(
            content=[{"type": "server_tool_call", "id": "c1", "name": "clock", "args": {"zone": "UTC"}}]
        )
        yield AIMessageChunk(content=[{"type": "server_tool_result", "tool_call_id": "c1", "output": "noon"}])
        yield AIMessageChunk(content="At noon [3].")
        yield AIMessageChunk(content="", usage_metadata={"input_tokens": 70, "output_tokens": 5, "total_tokens": 75})

    with (
        LocalMeibel(docs, answerer=LangChainModel(play=play)) as local,
        MeibelClient(api_key=local.api_key, base_url=local.base_url) as client,
    ):
        session = client.agents.create_session(agent_id=local.agent_id).id
        events = list(
            client.sessions.send_chat_message_stream(
                session_id=session,
                user_message="When does the lamp burn?",
                include_thinking=True,
                include_tool_activity=True,
            )
        )
    reply = events[-1].reply
    assert reply is not None
    assert (reply.message, reply.thinking) == ("At noon.", "Let me look.")
    assert [(tool.name, tool.arguments, tool.result) for tool in reply.tool_activity][1:] == [
        ("clock", {"zone": "UTC"}, "noon")
    ]
    assert reply.usage is not None
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (70, 5)
    assert any("1 of the model's citations could not be verified" in str(event) for event in events)


@pytest.mark.parametrize("kind", [LangChainModel, LlamaIndexModel])
def test_a_model_that_fails_or_hangs_fails_the_turn(docs: Path, kind: Callable[..., Any]) -> None:
    over = threading.Event()

    def play(prompt: str) -> Iterator[Any]:
        yield "The lamp"
        if "hang" in prompt:
            over.wait(60)
        yield ValueError("the quota of this model is used up")

    with LocalMeibel(docs, answerer=ChatModelAnswerer(kind(play=play), patience=0.3)) as local:
        with pytest.raises(AgentTurnError, match="quota of this model"):
            ask(local, "What did the lamp burn?")
        with pytest.raises(AgentTurnError, match="the model said nothing for"):
            ask(local, "What did the lamp burn? Please hang.")
    over.set()


def test_a_turn_that_is_given_up_ends_the_models_stream() -> None:
    closed = threading.Event()

    def play(_: str) -> Iterator[Any]:
        try:
            while True:
                yield "and on "
        finally:
            closed.set()

    class NoDocuments:
        def __call__(self, *_: Any, **__: Any) -> list[Any]:
            return []

        def weigh(self, query: str) -> dict[str, float]:
            return {}

        def similarity(self, query: str, texts: Sequence[str]) -> None:
            return None

    steps = ChatModelAnswerer(LangChainModel(play=play)).answer(Question("go", (), NoDocuments()))
    assert any("and on" in str(step) for step in (next(steps) for _ in range(10)))
    assert not any(isinstance(step, Done) for step in (next(steps) for _ in range(10)))
    steps.close()  # type: ignore[attr-defined]
    assert closed.wait(20)


def test_what_is_neither_an_answerer_nor_a_model_is_refused(docs: Path) -> None:
    with pytest.raises(ConfigurationError, match="'object' has neither"):
        LocalMeibel(docs, answerer=object())
