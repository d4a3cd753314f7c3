"""What is not text: files with the new question, placeholders anywhere else."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage, ToolMessage
from langchain_core.prompts import ChatPromptTemplate

from meibel_integrations import errors
from meibel_integrations.langchain import ChatMeibel
from tests.support.hosted import WIRES, Hosted, only
from tests.support.servers import RawServer, event_stream, json_answer

from .conftest import Make

DATA = base64.b64encode(b"the bytes").decode()
IMAGE = {"type": "image", "base64": DATA, "mime_type": "image/png"}
BLOCKS: dict[str, dict[str, Any]] = {
    "image": IMAGE,
    "file": {"type": "file", "base64": DATA, "mime_type": "application/pdf", "filename": "report.pdf"},
    "audio": {"type": "audio", "base64": DATA, "mime_type": "audio/wav"},
    "text-plain": {"type": "text-plain", "text": "the bytes", "mime_type": "text/plain"},
    "openai": {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{DATA}"}},
    "anthropic": {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": DATA}},
}
NOTES = {"type": "file", "base64": DATA, "mime_type": "text/plain", "filename": "notes.txt"}
takes_files = only("v2", "guide", because="LlamaCloud's chat takes no files")


def question(*blocks: dict[str, Any], text: str = "What is this?") -> HumanMessage:
    return HumanMessage([{"type": "text", "text": text}, *blocks])


@pytest.mark.parametrize("block", list(BLOCKS.values()), ids=list(BLOCKS))
def test_a_block_of_the_question_travels_as_a_file(block: dict[str, Any]) -> None:
    """Over bytes: the local service reads texts only."""
    wire = WIRES["v2"]
    with RawServer([json_answer({"session_id": "s"})], [event_stream(), *wire.turn]) as server:
        ChatMeibel(agent_id="a", api_key="k", base_url=server.base_url).invoke([question(block)])
        (sent,) = server.posts("/chat/stream")
    assert sent.count(b"the bytes") == 1
    assert b"filename=" in sent
    assert b"What is this?" in sent
    assert b"[image]" not in sent


@takes_files
def test_files_of_a_call_travel_too(make: Make, hosted: Hosted, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("notes from disk", encoding="utf-8")
    model = make()
    for ask in (
        lambda: model.invoke([question(NOTES)], files=[path]),
        lambda: list(model.bind(files=[path]).stream("a")),
    ):
        ask()
        assert "notes from disk" in hosted.turn_bodies()[-1]


@takes_files
def test_through_a_prompt_template(make: Make, hosted: Hosted) -> None:
    template = [
        ("human", [{"type": "text", "text": "{q}"}, {"type": "file", "base64": "{data}", "mime_type": "text/plain"}])
    ]
    (ChatPromptTemplate.from_messages(template) | make()).invoke({"q": "And this?", "data": DATA})
    assert "the bytes" in hosted.turn_bodies()[-1]


REFUSED = {
    "url": ({"type": "image", "url": "https://x.test/a.png"}, "fetches nothing from addresses"),
    "id": ({"type": "file", "file_id": "file-1"}, "belongs to the provider"),
    "unknown": ({"type": "json", "json": {}}, "'json' cannot be sent"),
    "broken": ({"type": "image", "base64": "%%", "mime_type": "image/png"}, "not valid base64"),
}


@pytest.mark.parametrize(("block", "says"), list(REFUSED.values()), ids=list(REFUSED))
def test_what_cannot_be_sent_is_refused_in_a_question_and_told_in_an_old_turn(
    make: Make, hosted: Hosted, block: dict[str, Any], says: str
) -> None:
    before = len(hosted.requests())
    with pytest.raises(errors.InvalidInputError, match=says):
        make().invoke([question(block)])
    assert len(hosted.requests()) == before
    answer = make().invoke([question(block), AIMessage("A cat."), HumanMessage("Sure?")])
    (sent,) = hosted.asked(answer.response_metadata["session_id"])
    assert "What is this?\n[" in sent


@only("llamacloud", because="Meibel takes files")
def test_llamacloud_refuses_files_with_the_reason(make: Make, hosted: Hosted) -> None:
    before = len(hosted.requests())
    for ask in (lambda: make().invoke([question(IMAGE)]), lambda: make().invoke("a", files=[("a.txt", b"x")])):
        with pytest.raises(errors.InvalidInputError, match="add them to an index"):
            ask()
    assert len(hosted.requests()) == before


@takes_files
def test_a_thread_with_a_file_goes_on_in_its_session(make: Make, hosted: Hosted) -> None:
    model = make()
    talk: list[BaseMessage] = [question(NOTES)]
    for i in range(3):
        talk.append(model.invoke(talk))
        talk.append(HumanMessage(f"question {i}"))
    answer = model.invoke(talk)
    assert answer.response_metadata["continuity"] == "continued"
    assert len(hosted.asked(answer.response_metadata["session_id"])) == 4
    # another file is another question
    other = {**NOTES, "base64": base64.b64encode(b"others").decode()}
    edited = model.invoke([question(other), *talk[1:]])
    assert edited.response_metadata["continuity"] == "forked"
    assert "[file]" in hosted.asked(edited.response_metadata["session_id"])[0]


@takes_files
def test_a_file_alone_is_a_question(make: Make, hosted: Hosted) -> None:
    answer = make().invoke([HumanMessage([NOTES])])
    assert hosted.asked(answer.response_metadata["session_id"]) == ["[file]"]


def test_odd_messages_in_answered_turns_are_transcript(make: Make, hosted: Hosted) -> None:
    invalid = {"name": "weather", "args": "{oops", "id": "c1", "error": None, "type": "invalid_tool_call"}
    talk: list[BaseMessage] = [
        ToolMessage("orphan", tool_call_id="gone"),
        ChatMessage(role="narrator", content="Once upon a time."),
        HumanMessage("Weather?"),
        AIMessage("", invalid_tool_calls=[invalid]),
        ToolMessage([{"type": "text", "text": "bad call"}, IMAGE], tool_call_id="c1", status="error"),
        AIMessage([{"type": "text", "text": "Rain."}, {"type": "image", "url": "https://x.test/rain.png"}]),
        HumanMessage("Thanks."),
    ]
    answer = make().invoke(talk)
    (sent,) = hosted.asked(answer.response_metadata["session_id"])
    for piece in ("orphan", "Once upon a time.", "{oops", "bad call\n[image]", "Rain.\n[image]"):
        assert piece in sent
