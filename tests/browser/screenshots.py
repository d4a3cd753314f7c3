"""Takes the pictures of ``docs/images/``: ``python -m tests.browser.screenshots [folder]``."""

from __future__ import annotations

import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from meibel_integrations import MeibelClient
from meibel_integrations.langchain import ChatMeibel
from meibel_integrations.local import Delta, Done, LocalMeibel, Question, QuotingAnswerer, ScriptedAnswerer
from meibel_integrations.local.store.steps import AnswerCitation, AnswerSource, Status, Thinking, ToolCall, ToolResult
from tests.browser.conftest import ask, finished, launch

IMAGES = Path(__file__).parents[2] / "docs" / "images"

DOCUMENTS = {
    "visiting.md": """# Visiting the lighthouse

## Opening hours

The tower is open from May to September, Tuesday to Sunday, from 10:00 to 17:00. In July and August the last climb is at
19:00. Groups of more than eight people book a week ahead.

## The climb

There are 164 steps and no lift. Children under six climb with an adult. In winds above 20 m/s the gallery is closed.
""",
    "getting-there.md": """# Getting there

## The causeway

A causeway of 1.4 km leads to the island. It is dry for three hours before and after low tide; outside of that time the
ferry is the only way.

## The ferry

The ferry leaves the old harbour every forty minutes from 9:20 to 18:40. The crossing takes a quarter of an
hour. Bicycles travel free of charge.
""",
    "keepers-log.md": """# The keepers' log

## 1871

Edda Thorsen lit the lamp for the first time on the second of November. The lens was carried across the causeway on a
sledge, between two tides.

## 1923

The clockwork was replaced by an electric motor. The old weights still hang in the shaft.
""",
    "restoration.md": """# Restoration report

The gallery's iron was coated in 2019. The lens, of the first order, was cleaned with water and a little vinegar; it was
not polished. The next survey is due in 2027.
""",
}
VISIT = "When can we climb the lighthouse on a Sunday in July, and how do we get there with bicycles?"
FOLLOW_UPS = ("What happens when it is too windy?", "Is there a lift?", "When is low tide on Sunday?")


def answer(question: Question) -> Any:
    """The visit is answered at length, everything else with a quotation."""
    if not question.text.startswith("When can we climb"):
        return list(QuotingAnswerer().answer(question))
    hours = question.search("opening hours tower July last climb")[0]
    ferry = question.search("ferry bicycles crossing", limit=3)[0]
    causeway = question.search("causeway dry low tide", limit=3)[0]
    parts = [
        ("On a Sunday in July the tower is open **from 10:00**, and the last climb is **at 19:00**.", hours),
        (
            "\n\nWith bicycles, take the **ferry** from the old harbour: every forty minutes, bicycles travel free.",
            ferry,
        ),
        ("\n\nYou can also ride across the causeway (1.4 km), but only within three hours of low tide.", causeway),
    ]
    places = list(dict.fromkeys((hours, ferry, causeway)))
    text, citations = "", []
    for said, passage in parts:
        text += said
        citations.append(AnswerCitation(len(text), (places.index(passage),)))
    text += "\n\n| | first | last |\n|---|---|---|\n| Ferry | 9:20 | 18:40 |\n| Climb | 10:00 | 19:00 |"
    sources = tuple(AnswerSource(p.title, p.url, _body(p.text), p.score, p.document_id) for p in places)
    steps: list[Any] = [Status("Searching the documents")]
    for i, (query, found) in enumerate(
        (("opening hours July", hours), ("ferry bicycles", ferry), ("causeway tide", causeway))
    ):
        steps.append(ToolCall(f"s{i}", "search", {"query": query, "limit": 5}))
        hit = {"document_id": found.document_id, "title": found.title, "score": found.score, "text": found.text}
        steps.append(ToolResult(f"s{i}", "search", [hit]))
    steps += [
        Thinking("July has longer hours. The ferry takes bicycles; the causeway depends on the tide."),
        ToolCall("t", "tide_table", {"day": "Sunday", "place": "old harbour"}),
        ToolResult("t", "tide_table", {"low": ["06:12", "18:37"]}),
        Status("Writing the answer"),
        *(Delta(piece) for piece in re.findall(r"\S+\s*", text)),
    ]
    usage = {"input_tokens": 1204, "output_tokens": 96, "total_tokens": 1300}
    return _slowly([*steps, Done(sources, tuple(citations), FOLLOW_UPS, usage)])


def _slowly(steps: list[Any]) -> Iterator[Any]:
    """Steps at about the pace of a model."""
    for step in steps:
        time.sleep(0.02 if isinstance(step, Delta) else 0.2)
        yield step


def _body(text: str) -> str:
    """A passage without its headings."""
    return " ".join(line for line in text.splitlines() if line and not line.startswith("#"))


def fill(local: LocalMeibel) -> None:
    """Some sessions, one of them a fork."""
    with MeibelClient(local.api_key, base_url=local.base_url) as client:
        for text in ("Who lit the lamp first?", "What was done to the lens?", "How many steps are there?"):
            session = client.agents.create_session(local.agent_id)
            client.sessions.send_chat_message(session.id, user_message=text)


def fork(local: LocalMeibel) -> str:
    model = ChatMeibel(agent_id=local.agent_id, api_key=local.api_key, base_url=local.base_url)
    asked = "What replaced the clockwork in 1923?"
    first = model.invoke(asked)
    model.invoke([("user", asked), first, ("user", "How was the lens cleaned?")])
    other = model.invoke([("user", asked), first, ("user", "Where do the old weights hang?")])
    return str(other.response_metadata["session_id"])


class Camera:
    def __init__(self, browser: Browser, folder: Path) -> None:
        self._browser = browser
        self._folder = folder

    def take(
        self, local: LocalMeibel, name: str, prepare: Callable[[Page, bool], None], *sizes: tuple[int, int]
    ) -> None:
        """A state in both themes and all sizes; ``prepare`` is told whether the screen is narrow."""
        for width, height in sizes or ((1280, 820), (360, 740)):
            for scheme in ("light", "dark"):
                context = self._browser.new_context(
                    viewport={"width": width, "height": height},
                    color_scheme=scheme,
                    reduced_motion="reduce",  # type: ignore[arg-type]
                )
                page = context.new_page()
                page.goto(local.page_link())
                page.get_by_label("Question", exact=True).wait_for()
                prepare(page, width < 1080)
                page.wait_for_timeout(500)
                page.evaluate("document.activeElement.blur()")
                page.mouse.move(0, 0)
                page.screenshot(path=self._folder / f"page-{name}-{scheme}-{width}.png")
                context.close()


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        docs = Path(place) / "docs"
        docs.mkdir()
        for name, text in DOCUMENTS.items():
            (docs / name).write_text(text, "utf-8")
        options: Any = {"documents": [docs], "agent": "lighthouse", "answerer": ScriptedAnswerer(answer)}
        with LocalMeibel(**options) as local:
            fill(local)
            forked = fork(local)
            camera = Camera(launch(playwright), folder)
            link: list[str] = []

            def asked(page: Page, narrow: bool) -> None:
                if not link:
                    ask(page, VISIT)
                    finished(page)
                    link.append(page.url)
                page.goto(link[0])
                finished(page)
                page.locator(".question").scroll_into_view_if_needed()

            def cited(page: Page, narrow: bool) -> None:
                asked(page, narrow)
                page.locator(".cite").nth(1).click()
                page.locator("mark").wait_for()

            def tab(page: Page, narrow: bool, name: str) -> None:
                if narrow:
                    page.get_by_role("button", name="Inspector").click()
                page.get_by_role("tab", name=name).click()

            def continued(page: Page, narrow: bool) -> None:
                page.goto(f"{local.llama_cloud_base_url}/#/s/{forked}")
                finished(page)
                tab(page, narrow, "Continuity")
                page.locator("#panel-continuity h3").first.wait_for()

            def found(page: Page, narrow: bool) -> None:
                asked(page, narrow)
                tab(page, narrow, "Documents")
                page.get_by_label("Search the documents").fill("lens")
                page.locator(".hits").wait_for()

            def wired(page: Page, narrow: bool) -> None:
                asked(page, narrow)
                tab(page, narrow, "Wire")
                page.locator("pre.raw").wait_for()

            def timed(page: Page, narrow: bool) -> None:
                asked(page, narrow)
                tab(page, narrow, "Turn")
                page.locator(".figures").wait_for()

            camera.take(local, "chat", asked)
            camera.take(local, "citation", cited)
            camera.take(local, "turn", timed, (360, 740))
            camera.take(local, "continuity", continued)
            camera.take(local, "search", found, (1280, 820))
            camera.take(local, "wire", wired, (1280, 700))
            camera.take(local, "start", lambda page, narrow: None)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES)
