"""Input that was made to take quadratic time: the test suite's own timeout is the measure."""

import pytest

from meibel_integrations.local.answerers.followup import classify
from meibel_integrations.local.answerers.sentences import units
from meibel_integrations.local.documents.chunking import chunk
from meibel_integrations.local.documents.extract import extract
from meibel_integrations.local.search.analysis import terms

SEEDS = [
    *(
        " ",
        "\n",
        "a",
        ".",
        "=",
        "#",
        "# ",
        "\n\n ",
        "* ",
        "`",
        "[",
        "](",
        "<",
        "<p",
        '<p "',
        "<!--",
        "<script",
        "<script>",
    ),
    *(
        "<title>",
        '<a class="headerlink">',
        '<a class="',
        "<main",
        "<p role=",
        "&#",
        ":::",
        "```\n",
        "i i ",
        "it is ",
        "-=-\n",
    ),
]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", ["a.md", "a.rst", "a.html", "a.py", "a.c", "a.json"])
def test_repetition_is_read_in_linear_time(name: str) -> None:
    for seed in SEEDS:
        text = "x " + seed * (200_000 // len(seed)) + " x"
        for passage in list(chunk(extract(name, text.encode())))[:20]:
            assert all(unit.text for unit in units(passage.text))


@pytest.mark.timeout(20)
@pytest.mark.parametrize("seed", SEEDS)
def test_long_questions(seed: str) -> None:
    text = "x " + seed * (200_000 // len(seed))
    terms(text)
    classify(text)
