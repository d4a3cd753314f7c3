"""Using the page: by keyboard, by screen reader, on a telephone, in the dark; and what the inspector tells."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from meibel_integrations.langchain import ChatMeibel
from meibel_integrations.local import LocalMeibel, ScriptedAnswerer
from tests.browser.conftest import PATIENCE, ask, finished

Opened = Callable[..., LocalMeibel]


def serious(page: Page) -> list[str]:
    """What axe finds that keeps somebody out."""
    # The policy forbids scripts that are not the service's own, so the checker comes by the debugger.
    found: Any = Axe().run(page).response["violations"]
    return [
        f"{item['id']}: {node['html'][:120]} {node.get('failureSummary', '')[:200]}"
        for item in found
        if item["impact"] in ("serious", "critical", "moderate")
        for node in item["nodes"]
    ]


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_and_nothing_is_wider_than_the_screen(
    browser: Browser, start: Callable[..., LocalMeibel], library: Path, width: int, scheme: Any
) -> None:
    local = start(documents=[library])
    context = browser.new_context(viewport={"width": width, "height": 740}, color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)

    def check() -> None:
        assert serious(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    page.goto(local.llama_cloud_base_url)
    page.get_by_label("Key").wait_for()
    check()
    page.goto("about:blank")
    page.goto(local.page_link())
    page.get_by_role("heading", name="Ask your documents").wait_for()
    check()
    ask(page, "Who built the lighthouse of Kaldur?")
    finished(page)
    check()
    if width < 1080:
        page.get_by_role("button", name="Inspector").click()
    for tab in ("Turn", "Wire", "Continuity", "Documents", "Faults", "Code"):
        page.get_by_role("tab", name=tab).click()
        page.wait_for_timeout(150)
        check()
    if width < 1080:
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Sessions", exact=True).click()
        check()
        page.keyboard.press("Escape")
        expect(page.get_by_role("button", name="Sessions", exact=True)).to_be_focused()
    page.locator(".cite").first.click()
    page.locator("mark").wait_for()
    check()
    context.close()


def test_everything_by_keyboard(page: Page, opened: Opened, library: Path) -> None:
    opened(documents=[library])
    page.get_by_role("link", name="Skip to the question").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Question", exact=True)).to_be_focused()
    page.keyboard.type("Who built the lighthouse of Kaldur?")
    page.keyboard.press("Enter")
    finished(page)
    for _ in range(30):
        page.keyboard.press("Shift+Tab")
        if page.evaluate("document.activeElement.className") == "cite":
            break
    expect(page.locator(".cite").first).to_be_focused()
    expect(page.locator("#hover")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#hover")).to_be_hidden()
    page.keyboard.press("Enter")
    expect(page.locator(".document-head h3")).to_be_focused()
    expect(page.locator("mark")).to_contain_text("Edda Thorsen")
    page.keyboard.press("Shift+Tab")
    expect(page.get_by_role("button", name="All documents")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Search the documents")).to_be_focused()
    page.get_by_role("tab", name="Documents").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Faults")).to_be_focused()
    page.keyboard.press("Home")
    expect(page.get_by_role("tab", name="Turn")).to_have_attribute("aria-selected", "true")


def test_colours_follow_the_system_or_the_switch(page: Page, opened: Opened) -> None:
    opened(answerer=ScriptedAnswerer([]))
    colour = "getComputedStyle(document.body).backgroundColor"
    page.emulate_media(color_scheme="light")
    light = page.evaluate(colour)
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(colour)
    assert light != dark
    switch = page.get_by_role("button", name="Colours")
    switch.click()
    assert page.evaluate(colour) == light
    page.reload()
    expect(switch).to_have_attribute("title", "Colours: light")
    assert page.evaluate(colour) == light
    switch.click()
    assert page.evaluate(colour) == dark


def test_a_fork_leads_to_where_it_comes_from_and_back(page: Page, opened: Opened) -> None:
    local = opened(answerer=ScriptedAnswerer(lambda question: f"You said: {question.text}"))
    model = ChatMeibel(agent_id=local.agent_id, api_key=local.api_key, base_url=local.base_url)
    one = model.invoke("One")
    model.invoke([("user", "One"), one, ("user", "Two")])
    fork = model.invoke([("user", "One"), one, ("user", "Another second")])
    page.goto(f"{local.llama_cloud_base_url}/#/s/{fork.response_metadata['session_id']}")
    expect(page.locator(".question")).to_contain_text("sent with 2 more messages")
    page.get_by_role("tab", name="Continuity").click()
    panel = page.locator("#panel-continuity")
    expect(panel).to_contain_text("Forked")
    expect(panel).to_contain_text("that session had gone on by itself")
    page.get_by_role("link", name="forked: opened with 2 messages of an earlier session").click()
    expect(page.locator(".question").last).to_contain_text("Two")
    panel.get_by_role("link", name="Another second").click()
    expect(page.locator("#chat h1")).to_have_text("Another second")


def test_the_wire_and_the_code_of_a_session(page: Page, opened: Opened) -> None:
    local = opened(answerer=ScriptedAnswerer(["Hello."]))
    ask(page, "Hi")
    finished(page)
    session = page.url.rpartition("/")[2]
    page.get_by_role("tab", name="Wire").click()
    raw = page.locator("pre.raw")
    expect(raw).to_contain_text("event: connected")
    expect(raw).to_contain_text("event: completion")
    requests = page.locator(".requests li")
    expect(requests.first).to_contain_text(f"POST /v2/sessions/{session}/chat/stream")
    requests.first.locator("summary").click()
    expect(requests.first).to_contain_text("user_message")
    page.get_by_role("tab", name="Code").click()
    for name, word in (("LangChain", "ChatMeibel("), ("LlamaIndex", "MeibelChatEngine"), ("curl", "curl -N")):
        page.get_by_role("button", name=f"Copy as {name}").click()
        expect(page.get_by_role("button", name="Copied")).to_be_visible()
        copied = page.evaluate("navigator.clipboard.readText()")
        assert word in copied
        assert session in copied
        assert local.api_key not in copied
        expect(page.get_by_role("button", name="Copied")).to_have_count(0)
