"""Text, names and answers that try to become more than text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

from meibel_integrations.local import Delta, Done, LocalMeibel, ScriptedAnswerer, ToolCall, ToolResult
from meibel_integrations.local.store.steps import AnswerCitation, AnswerSource
from tests.browser.conftest import Watched, ask, finished

Opened = Callable[..., LocalMeibel]
SCRIPT = "<script>window.broken = 1</script><img src=x onerror='window.broken = 2'>"
OVERRIDE = "\u202efdp.exe"
FOREIGN = "script, iframe, object, img, svg *:not(path), form, style, [onerror], [onclick], a[href^='javascript']"


def nothing_broke(page: Page, where: str) -> None:
    assert page.evaluate("window.broken") is None
    assert page.locator(where).locator(FOREIGN).count() == 0


def test_documents_stay_text(page: Page, opened: Opened, tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / f"<img src=x onerror=alert(1)>{OVERRIDE}.txt").write_text(
        f"The heron of the marsh says {SCRIPT} and \u202edesrever\u202c each morning.", "utf-8"
    )
    opened(documents=[folder])
    ask(page, "What does the heron of the marsh say?")
    finished(page)
    expect(page.locator(".answer .text")).to_contain_text("<script>window.broken = 1</script>")
    page.locator(".source").first.click()
    mark = page.locator("mark")
    expect(mark).to_contain_text(SCRIPT)
    shown = page.locator("body").inner_text()
    assert "\u202e" not in shown
    assert "<img src=x onerror=alert(1)>" in page.locator("#panel-documents").inner_text()
    nothing_broke(page, ".turn .text")
    nothing_broke(page, "#panel-documents .document")
    page.get_by_role("button", name="All documents").click()
    page.get_by_label("Search the documents").fill("heron")
    expect(page.locator(".hits li")).to_have_count(1)
    nothing_broke(page, ".hits")


def test_everything_that_an_agent_says_stays_text(page: Page, opened: Opened, watched: Watched) -> None:
    answer = (
        f"{SCRIPT}\n\n[click](javascript:window.broken=3) [data](data:text/html,<script>1</script>) "
        '![pixel](https://elsewhere.test/pixel.png) <https://elsewhere.test/> [good](https://elsewhere.test/a"b)\n\n'
        "<iframe src='https://elsewhere.test'></iframe>\n\n<style>body{display:none}</style>\n\n"
        "\ue0001\ue001 `<b>code</b>` \u202etxet"
    )
    source = AnswerSource(f"T {SCRIPT}", "javascript:1", f"S {SCRIPT}", 0.5, "d\"'><b>", "search")
    steps = [
        ToolCall("t", f"tool {SCRIPT}", {"a": SCRIPT}),
        ToolResult("t", "tool", SCRIPT),
        Delta(answer),
        Done((source,), (AnswerCitation(len(answer), (0,)),), (SCRIPT,)),
    ]
    opened(answerer=ScriptedAnswerer([steps]))
    ask(page, f"Say {SCRIPT} \u202ebackwards")
    finished(page)
    text = page.locator(".answer .text")
    expect(text).to_contain_text(SCRIPT)
    expect(text).to_contain_text("<iframe src='https://elsewhere.test'></iframe>")
    expect(text.locator("a")).to_have_count(2)
    assert text.locator("a").first.get_attribute("rel") == "noopener noreferrer nofollow"
    expect(text.locator(".cite")).to_have_count(1)
    nothing_broke(page, ".answer .text")
    for tab in ("Turn", "Wire", "Continuity", "Code"):
        page.get_by_role("tab", name=tab).click()
        expect(page.get_by_role("tabpanel")).not_to_be_empty()
    page.locator(".cite").click()
    expect(page.get_by_text("This document is no longer in the index.")).to_be_visible()
    assert page.evaluate("window.broken") is None
    assert "\u202e" not in page.locator("body").inner_text()
    watched.forgive("404")


def test_positions_count_characters_and_marks_stay_out_of_fences(page: Page, opened: Opened) -> None:
    first = "🦢🦢 swans.\n\n```\ncode\n```"
    answer = f"{first}\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\nEnd."
    source = AnswerSource("T", None, "s", None, None)
    cites = (
        AnswerCitation(len("🦢🦢 swans."), (0,)),
        AnswerCitation(len(first), (0,)),
        AnswerCitation(answer.index("\n\nEnd"), (0,)),
        AnswerCitation(len(answer), (0,)),
    )
    opened(answerer=ScriptedAnswerer([[Delta(answer), Done((source,), cites)]]))
    ask(page, "Go")
    finished(page)
    expect(page.locator(".text .cite")).to_have_count(4)
    expect(page.locator(".text p").first).to_have_text("🦢🦢 swans.[1]")
    expect(page.locator(".text pre")).to_have_text("code\n")
    expect(page.locator(".text td").last).to_have_text("2 [1]")
    expect(page.locator(".text p").last).to_have_text("End.[1]")
