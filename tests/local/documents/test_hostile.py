"""Input of any kind is read in linear time: eight times as much text takes about eight times the work."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from meibel_integrations.local.answerers.interface import HistoryTurn
from meibel_integrations.local.answerers.reading import read as read_question
from meibel_integrations.local.answerers.units import units
from meibel_integrations.local.documents.chunking import chunk
from meibel_integrations.local.documents.extract import extract
from meibel_integrations.local.documents.reading import UnreadableError
from meibel_integrations.local.search.words import content_words

SIZE = 20_000
GROWTH = 8
TOO_MUCH = 3 * GROWTH  # quadratic work grows by 64

MARKS = st.sampled_from("@#=-*_+~^`.,:;!|/\\<>[](){}\"'&% \t\nax1é\u4e2d")
WORDS = st.sampled_from(
    [
        *("@x\n", "def f", "class ", "pub(", "title: ", "---\n", "```\n", "~~~", "::\n", "\n\n ", "* ", "](", "[a]("),
        *("<p>", "<p ", "<!--", "<script>", "<table>", "<li>", "<dl><dd>", "<h1>", "<title>", "<main", "&#"),
        *("<a class='headerlink'>", "== ", "----\n", "|===\n", "[listing]\n", "=====\n", "it is ", ". ", "e.g. "),
    ]
)
SEEDS = st.lists(st.one_of(MARKS, WORDS), min_size=1, max_size=4).map("".join)


def work(do: Callable[[], object]) -> float:
    """The processor time of this thread; the least of three, as other programs disturb."""
    spent = []
    for _ in range(3):
        begin = time.thread_time()
        do()
        spent.append(time.thread_time() - begin)
    return min(spent)


def read(name: str, text: str) -> None:
    try:
        for passage in list(chunk(extract(name, text.encode()))):
            assert len(passage.text) <= 4400
    except UnreadableError:
        return


@pytest.mark.parametrize(
    "name", ["a.md", "a.rst", "a.adoc", "a.html", "a.py", "a.c", "a.json", "a.txt", "front.md", "fenced.md"]
)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=SEEDS)
@example(seed="@x\n")
@example(seed=" ")
@example(seed="a ")
@example(seed="<div>")
@example(seed="```\nx\n```\n")
def test_reading_takes_linear_time(name: str, seed: str) -> None:
    before = {"front.md": "---\ntitle: x", "fenced.md": "```\n"}.get(name, "x ")
    after = {"front.md": "\n---\n"}.get(name, " x")
    small, large = (before + seed * (size // len(seed)) + after for size in (SIZE, GROWTH * SIZE))
    little, much = work(lambda: read(name, small)), work(lambda: read(name, large))
    assert much < max(little, 0.001) * TOO_MUCH


@pytest.mark.timeout(20)
@pytest.mark.parametrize("seed", ["x", "it is ", "i i ", "a.b ", "@", "```\n", "\n\n ", "* "])
def test_long_questions_and_passages(seed: str) -> None:
    text = "x " + seed * (200_000 // len(seed))
    content_words(text)
    read_question(text, [HistoryTurn("user", text)])
    assert all(unit.text for unit in units(text[:4400]))
