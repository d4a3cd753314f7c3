"""Asking: streams, citations, resuming, files, both services, stopping."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect

from meibel_integrations import LlamaCloudChatClient, MeibelClient
from meibel_integrations.local import Delta, Done, LocalMeibel, Pause, ScriptedAnswerer, ToolCall, ToolResult
from tests.browser.conftest import ask, finished

Opened = Callable[..., LocalMeibel]


def test_an_answer_streams_and_its_citation_opens_the_passage(page: Page, opened: Opened, library: Path) -> None:
    opened(documents=[library])
    ask(page, "Who built the lighthouse of Kaldur?")
    finished(page)
    answer = page.locator(".answer .text")
    expect(answer).to_contain_text("Edda Thorsen")
    cite = answer.locator(".cite").first
    expect(cite).to_have_text("[1]")
    cite.hover()
    expect(page.locator("#hover")).to_contain_text("built by Edda Thorsen")
    cite.click()
    expect(page.locator("#panel-documents mark")).to_contain_text("built by Edda Thorsen in 1871")
    expect(page.get_by_role("tab", name="Documents")).to_have_attribute("aria-selected", "true")


def test_a_citation_in_a_long_document_is_scrolled_to(page: Page, opened: Opened, library: Path) -> None:
    opened(documents=[library])
    ask(page, "What does the marmalade recipe need?")
    finished(page)
    page.locator(".source").first.click()
    mark = page.locator("#panel-documents mark")
    expect(mark).to_contain_text("seven bitter oranges")
    expect(mark).to_be_in_viewport()
    page.get_by_role("button", name="Earlier passages").click()
    expect(page.locator("#panel-documents mark")).to_have_count(0)


def test_text_appears_while_the_agent_speaks(page: Page, opened: Opened) -> None:
    pause = Pause()
    opened(answerer=ScriptedAnswerer([[Delta("First **half**"), pause, Delta(" and the rest.")]]))
    ask(page, "Go")
    expect(page.locator(".text strong")).to_have_text("half")
    expect(page.get_by_role("button", name="Stop reading the answer")).to_be_visible()
    pause.release()
    finished(page)
    expect(page.locator(".text")).to_have_text("First half and the rest.")
    expect(page.locator("#announce")).to_have_text("The answer is complete")


def test_a_session_is_resumed_by_its_link(page: Page, opened: Opened, library: Path) -> None:
    opened(documents=[library])
    ask(page, "Who built the lighthouse of Kaldur?")
    finished(page)
    link = page.url
    assert "#/s/" in link
    page.get_by_role("link", name="New chat").click()
    expect(page.get_by_role("heading", name="Ask your documents")).to_be_visible()
    page.goto(link)
    page.reload()
    finished(page)
    expect(page.locator(".question")).to_contain_text("Who built the lighthouse")
    page.locator(".cite").first.click()
    expect(page.locator("mark")).to_contain_text("Edda Thorsen")
    ask(page, "How high is it?")
    finished(page, 2)
    expect(page.locator(".answer .text").last).to_contain_text("43 m")


def test_a_chat_of_llamacloud(page: Page, opened: Opened, library: Path) -> None:
    opened(documents=[library])
    page.get_by_text("LlamaCloud chat").click()
    expect(page.get_by_role("button", name="Attach files")).to_be_hidden()
    ask(page, "Who built the lighthouse of Kaldur?")
    finished(page)
    expect(page.locator(".answer .text")).to_contain_text("Edda Thorsen")
    expect(page.locator("#chat header")).to_contain_text("LlamaCloud chat")
    page.get_by_role("tab", name="Wire").click()
    expect(page.locator("pre.raw")).to_contain_text("text_delta")
    page.get_by_role("tab", name="Code").click()
    expect(page.locator("#panel-code")).to_contain_text("ChatLlamaCloud")


def test_a_chat_that_is_bound_to_no_index_goes_on(page: Page, opened: Opened, library: Path) -> None:
    local = opened(documents=[library])
    with LlamaCloudChatClient(local.api_key, base_url=local.llama_cloud_base_url) as client:
        chat = client.create()
    page.goto(f"{local.llama_cloud_base_url}/#/s/{chat.session_id}")
    expect(page.locator("#chat header")).to_contain_text("LlamaCloud chat")
    ask(page, "Who built the lighthouse of Kaldur?")
    finished(page)
    expect(page.locator(".answer .text")).to_contain_text("Edda Thorsen")


def test_the_guide_dialect(page: Page, opened: Opened, library: Path) -> None:
    opened(documents=[library], dialect="guide")
    ask(page, "Who built the lighthouse of Kaldur?")
    finished(page)
    expect(page.locator(".answer .text .cite").first).to_be_visible()
    expect(page.locator(".note:visible")).to_have_count(0)


def test_files_are_uploaded_with_a_question(page: Page, opened: Opened, library: Path, tmp_path: Path) -> None:
    opened(documents=[library])
    note = tmp_path / "note.txt"
    note.write_text("The password of the boathouse is marigold.", "utf-8")
    page.get_by_label("Files to upload").set_input_files(note)
    expect(page.locator(".composer .chip")).to_contain_text("note.txt")
    ask(page, "What is the password of the boathouse?")
    finished(page)
    expect(page.locator(".question .chip")).to_contain_text("note.txt")
    expect(page.locator(".answer .text")).to_contain_text("marigold")
    page.locator(".source").first.click()
    expect(page.locator("mark")).to_contain_text("marigold")


def test_after_a_stop_the_next_question_waits_for_the_turn(page: Page, opened: Opened) -> None:
    pause = Pause()
    opened(answerer=ScriptedAnswerer([[Delta("A long "), pause, Delta("story.")], "The second answer."]))
    ask(page, "Tell")
    expect(page.locator(".text")).to_contain_text("A long")
    page.get_by_role("button", name="Stop reading the answer").click()
    expect(page.locator(".activity").first).to_contain_text("You left the answer")
    ask(page, "And now?")
    expect(page.locator(".activity").last).to_contain_text("Waiting: the agent is still busy")
    pause.release()
    finished(page, 2)
    expect(page.locator(".text").first).to_have_text("A long story.")
    expect(page.locator(".text").last).to_have_text("The second answer.")


def test_a_turn_that_another_program_began_is_waited_for(page: Page, opened: Opened) -> None:
    pause = Pause()
    local = opened(answerer=ScriptedAnswerer(["First.", [pause, Delta("Theirs.")], "Third."]))
    ask(page, "One")
    finished(page)
    session = page.url.rpartition("/")[2]
    with MeibelClient(local.api_key, base_url=local.base_url) as client:
        theirs = client.sessions.send_chat_message_stream(session, user_message="Two")
        next(iter(theirs))
        pause.reached.wait(10)
        ask(page, "Three")
        expect(page.locator(".activity").last).to_contain_text("Waiting: the agent is still busy")
        pause.release()
        finished(page, 2)
        expect(page.locator(".text").last).to_have_text("Third.")
        theirs.close()


def test_the_timeline_grows_while_the_agent_works(page: Page, opened: Opened) -> None:
    pause = Pause()
    opened(answerer=ScriptedAnswerer([[ToolCall("t", "lookup", {}), pause, Delta("Done.")]]))
    ask(page, "Go")
    expect(page.locator("#panel-turn .step.tool")).to_contain_text("no result yet")
    expect(page.locator("#panel-turn .step.running")).to_be_visible()
    pause.release()
    expect(page.locator("#panel-turn .step.completed")).to_be_visible()


def test_follow_up_questions_are_asked_by_a_press(page: Page, opened: Opened) -> None:
    opened(answerer=ScriptedAnswerer([[Delta("One."), Done(follow_up_questions=("And two?",))], "Two."]))
    ask(page, "First?")
    page.get_by_role("button", name="And two?").click()
    finished(page, 2)
    expect(page.locator(".question").last).to_contain_text("And two?")


def test_three_thousand_words(page: Page, opened: Opened) -> None:
    words = " ".join(f"word{i}" + (".\n\n" if i % 60 == 59 else "") for i in range(3000))
    opened(answerer=ScriptedAnswerer([words]))
    ask(page, "Everything")
    finished(page)
    expect(page.locator(".text p")).to_have_count(50)
    expect(page.locator(".text")).to_contain_text("word2999")
    expect(page.locator(".actions")).to_be_in_viewport()


def test_ten_tool_calls(page: Page, opened: Opened) -> None:
    calls: list[Any] = []
    for i in range(10):
        calls += [
            ToolCall(f"t{i}", f"lookup_{i}", {"query": f"thing {i}"}),
            ToolResult(f"t{i}", f"lookup_{i}", {"n": i}),
        ]
    opened(answerer=ScriptedAnswerer([[*calls, Delta("Done looking.")]]))
    ask(page, "Look")
    finished(page)
    steps = page.locator("#panel-turn .step.tool")
    expect(steps).to_have_count(10)
    steps.nth(9).get_by_text("arguments").click()
    expect(steps.nth(9)).to_contain_text('"query": "thing 9"')
    expect(page.locator(".figures")).to_contain_text("total tokens")


def test_a_long_history_is_shown_from_its_end(page: Page, opened: Opened) -> None:
    local = opened(answerer=ScriptedAnswerer(lambda question: f"Yes: {question.text}"))
    with MeibelClient(local.api_key, base_url=local.base_url) as client:
        session = client.agents.create_session(local.agent_id)
        for i in range(60):
            client.sessions.send_chat_message(session.id, user_message=f"Question {i}")
    page.goto(f"{local.llama_cloud_base_url}/#/s/{session.id}")
    expect(page.locator(".turn")).to_have_count(50)
    expect(page.locator(".turn").last).to_be_in_viewport()
    page.get_by_role("button", name="Show 10 earlier turns").click()
    expect(page.locator(".turn")).to_have_count(60)


def test_five_hundred_sessions(page: Page, opened: Opened) -> None:
    local = opened(answerer=ScriptedAnswerer(lambda question: f"Yes: {question.text}"))
    with MeibelClient(local.api_key, base_url=local.base_url) as client:
        for i in range(500):
            session = client.agents.create_session(local.agent_id)
            if i % 50 == 0:
                client.sessions.send_chat_message(session.id, user_message=f"About topic {i}")
    page.reload()
    expect(page.locator("#sidebar footer")).to_have_text("500 sessions")
    expect(page.locator(".sessions li")).to_have_count(50)
    page.get_by_role("button", name="Show more").click()
    expect(page.locator(".sessions li")).to_have_count(100)
    page.get_by_label("Search sessions").fill("topic 450")
    expect(page.locator(".sessions li")).to_have_count(1)
    page.locator(".sessions a").click()
    expect(page.locator(".answer .text")).to_have_text("Yes: About topic 450")
