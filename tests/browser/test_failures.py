"""What breaks, and what the page says then."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from meibel_integrations.local import Delta, LocalMeibel, Pause, ScriptedAnswerer
from tests.browser.conftest import Watched, ask, finished

Opened = Callable[..., LocalMeibel]


def echo() -> ScriptedAnswerer:
    return ScriptedAnswerer(lambda question: f"You said: {question.text}")


@pytest.mark.parametrize("fault", ["cut_inside_delta", "reset_after_head", "html", "invalid_json", "truncated_gzip"])
def test_a_stream_that_breaks_is_told_and_the_answer_read_from_the_session(
    page: Page, opened: Opened, watched: Watched, fault: str
) -> None:
    opened(answerer=echo()).inject_fault(fault)  # type: ignore[arg-type]
    ask(page, "Are you there?")
    finished(page)
    expect(page.locator(".text")).to_have_text("You said: Are you there?")
    expect(page.locator(".below .note")).to_contain_text("The answer was read from the session.")
    watched.forgive("net::ERR")


@pytest.mark.parametrize("fault", ["unavailable", "too_many_requests", "redirect"])
def test_a_question_that_did_not_arrive_can_be_asked_again(
    page: Page, opened: Opened, watched: Watched, fault: str
) -> None:
    opened(answerer=echo()).inject_fault(fault, runs=False)  # type: ignore[arg-type]
    ask(page, "Are you there?")
    problem = page.locator(".problem:visible")
    expect(problem).to_contain_text("The service answered")
    page.get_by_role("button", name="Ask again").click()
    finished(page)
    expect(page.locator(".text")).to_have_text("You said: Are you there?")
    expect(page.locator(".turn")).to_have_count(1)
    watched.forgive("503", "429", "302")


def test_a_turn_that_fails_says_why(page: Page, opened: Opened) -> None:
    opened(answerer=ScriptedAnswerer([ValueError("the <b>model</b> fell over"), "Better now."]))
    ask(page, "Go")
    expect(page.locator(".problem:visible")).to_have_text("The turn failed: the <b>model</b> fell over")
    expect(page.locator("#panel-turn .step.failed")).to_contain_text("fell over")
    ask(page, "Again")
    finished(page, 2)
    expect(page.locator(".text").last).to_have_text("Better now.")


def test_a_server_that_dies_in_the_middle(page: Page, watched: Watched, tmp_path: Path) -> None:
    database, pause = tmp_path / "local.db", Pause()
    answerer = ScriptedAnswerer([[Delta("Half of "), pause]])
    with LocalMeibel(answerer=answerer, database=database, shutdown_grace=0) as local:
        port = int(local.llama_cloud_base_url.rpartition(":")[2])
        page.goto(local.page_link())
        ask(page, "Tell")
        expect(page.locator(".text")).to_contain_text("Half of")
    expect(page.locator(".problem:visible, .activity").first).to_contain_text("cannot be reached")
    with LocalMeibel(answerer=echo(), database=database, port=port):
        expect(page.locator(".turn .actions")).to_be_visible()
        expect(page.locator(".problem:visible")).to_contain_text("shut down while it answered")
        ask(page, "And now?")
        finished(page, 2)
        expect(page.locator(".text").last).to_have_text("You said: And now?")
    watched.forgive("net::ERR")


def test_fault_switches(page: Page, opened: Opened, watched: Watched) -> None:
    opened(answerer=echo())
    page.get_by_role("tab", name="Faults").click()
    page.get_by_role("button", name="Add error event").click()
    expect(page.locator(".waiting")).to_contain_text("1 failure waiting: error event")
    ask(page, "Go")
    finished(page)
    expect(page.locator(".below .note")).to_contain_text("a fault that was asked for")
    expect(page.locator(".waiting")).to_have_count(0)


# The key


def test_without_a_link_the_page_asks_for_the_key(
    page: Page, watched: Watched, start: Callable[..., LocalMeibel]
) -> None:
    local = start(answerer=echo())
    page.goto(local.llama_cloud_base_url)
    page.get_by_label("Key").fill("wrong")
    page.get_by_role("button", name="Open").click()
    expect(page.get_by_role("alert")).to_have_text("That is not a key of this service.")
    page.get_by_label("Key").fill(local.api_key)
    page.get_by_role("button", name="Open").click()
    ask(page, "Hello")
    finished(page)
    watched.forgive("401")


def test_a_link_opens_once_and_leaves_no_token_behind(
    page: Page, watched: Watched, start: Callable[..., LocalMeibel]
) -> None:
    local = start(answerer=echo())
    link = local.page_link()
    page.goto(link)
    expect(page.get_by_role("heading", name="Ask your documents")).to_be_visible()
    assert "token" not in page.url
    page.reload()
    expect(page.get_by_role("heading", name="Ask your documents")).to_be_visible()
    page.evaluate("sessionStorage.clear()")
    page.goto("about:blank")
    page.goto(link)
    expect(page.get_by_role("alert")).to_contain_text("the token of this link was used")
    watched.foreign.clear()
    watched.forgive("401")


def test_another_origin_reads_nothing(page: Page, watched: Watched, start: Callable[..., LocalMeibel]) -> None:
    local = start(answerer=echo())
    other = "http://127.0.0.1:9/"
    page.route(other, lambda route: route.fulfill(content_type="text/html", body="<title>Elsewhere</title>"))
    page.goto(other)
    token = local.page_link().partition("#token=")[2]
    for path, options in (
        ("/_local/sessions", {"headers": {"Meibel-API-Key": local.api_key}}),
        ("/_local/health", {}),
        ("/", {}),
        ("/v2/agents", {"headers": {"Meibel-API-Key": local.api_key}}),
        ("/_local/key", {"method": "POST", "body": f'{{"token": "{token}"}}'}),
    ):
        read = "([url, options]) => fetch(url, options).then(r => r.text()).catch(error => error.name)"
        assert page.evaluate(read, [local.llama_cloud_base_url + path, options]) == "TypeError", path
    watched.complaints.clear()
    # The token was not spent by the attempt.
    page.goto(f"{local.llama_cloud_base_url}/#token={token}")
    expect(page.get_by_role("heading", name="Ask your documents")).to_be_visible()
