"""A real headless Chromium, one page per test, and what the page must never do."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from meibel_integrations.local import LocalMeibel

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 20_000
expect.set_options(timeout=PATIENCE)


def launch(playwright: Any) -> Browser:
    """A browser with a profile of its own, which goes with it."""
    browser: Browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
    return browser


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine")
    with sync_playwright() as playwright:
        started = launch(playwright)
        yield started
        started.close()


class Watched:
    """A page, and what it complained about."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.foreign: list[str] = []
        page.set_default_timeout(PATIENCE)
        page.on("console", lambda m: m.type in ("error", "warning") and self.complaints.append(m.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))
        page.on("request", self._note)

    def _note(self, request: Any) -> None:
        if not request.url.startswith("http://127.0.0.1:"):
            self.foreign.append(request.url)

    def forgive(self, *words: str) -> None:
        """Complaints with one of these words were to be expected: a browser reports every failed request."""
        self.complaints = [text for text in self.complaints if not any(word in text for word in words)]


@pytest.fixture
def start() -> Iterator[Callable[..., LocalMeibel]]:
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(LocalMeibel(**options))


@pytest.fixture
def watched(browser: Browser, start: Callable[..., LocalMeibel]) -> Iterator[Watched]:
    """Comes after `start`, so the page closes before its service does: an open page would complain of the loss."""
    context = browser.new_context(
        viewport={"width": 1280, "height": 800}, permissions=["clipboard-read", "clipboard-write"]
    )
    watched = Watched(context.new_page())
    yield watched
    context.close()
    assert watched.complaints == []
    assert watched.foreign == []


@pytest.fixture
def page(watched: Watched) -> Page:
    return watched.page


@pytest.fixture
def opened(page: Page, start: Callable[..., LocalMeibel]) -> Callable[..., LocalMeibel]:
    """Starts a service and opens its page by its link."""

    def open_page(**options: Any) -> LocalMeibel:
        local = start(**options)
        page.goto(local.page_link())
        page.get_by_label("Question", exact=True).wait_for()
        return local

    return open_page


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """Documents: a short one, and a long one with one sentence that answers."""
    folder = tmp_path / "library"
    folder.mkdir()
    (folder / "lighthouse.md").write_text(
        "# The lighthouse of Kaldur\n\nThe lighthouse of Kaldur was built by Edda Thorsen in 1871. It is 43 m high.\n",
        "utf-8",
    )
    parts = [
        f"## Chapter {i}\n\nOf the weather on day {i} there is little to tell, and the sea was calm."
        for i in range(400)
    ]
    parts[250] = "## Chapter 250\n\nThe marmalade recipe of the keeper needs seven bitter oranges and patience."
    (folder / "logbook.md").write_text("# Logbook\n\n" + "\n\n".join(parts), "utf-8")
    return folder


def ask(page: Page, text: str) -> None:
    box = page.get_by_label("Question", exact=True)
    box.fill(text)
    box.press("Enter")


def finished(page: Page, count: int = 1) -> None:
    """So many turns have their final form."""
    page.wait_for_function("n => document.querySelectorAll('.turn .actions').length >= n", arg=count)
