"""Sentences and quotable units."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meibel_integrations.local.answerers.sentences import listed_names, split_sentences, units


@given(st.one_of(st.text(max_size=300), st.text("aA.!? \n\"')(eg。", max_size=100)))
def test_sentences_join_to_the_text(text: str) -> None:
    sentences = split_sentences(text)
    assert "".join(sentences) == text
    assert all(sentences)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("One. Two! Three? Four", 4),
        ("Use e.g. this one. Then stop.", 2),
        ("Dr. Smith and J. Doe wrote it. In the U.S. Army.", 2),
        ("Version 2.0.7 is out. See os.path for more.", 2),
        ('He said "Stop." Then he left.', 2),
        ("See it, etc. and so on. Done.", 2),
        ("首都です。次の文。", 2),
        ("", 0),
    ],
)
def test_boundaries(text: str, count: int) -> None:
    assert len(split_sentences(text)) == count


def kinds(text: str, heading: str = "") -> list[tuple[str, str]]:
    return [(unit.kind, unit.quote) for unit in units(text, heading)]


def test_units_of_markdown() -> None:
    text = "## Title\n\nOne line\nand on. Two.\n\n- item a\n  goes on\n- item b\n\n```py\nx = 1\n\ny = 2\n```\n\nEnd."
    assert kinds(text) == [
        ("sentence", "One line and on."),
        ("sentence", "Two."),
        ("item", "- item a goes on"),
        ("item", "- item b"),
        ("code", "```py\nx = 1\n\ny = 2\n```"),
        ("sentence", "End."),
    ]


def test_units_of_restructuredtext() -> None:
    text = (
        "Title\n=====\n\n.. _label:\n\nAn example::\n\n    x = 1\n\n    y = 2\n\nAfter.\n\n.. note::\n\n"
        "    Take care.\n\n.. code-block:: python\n\n    z = 3\n"
    )
    assert kinds(text) == [
        ("sentence", "An example:"),
        ("code", "    x = 1"),
        ("code", "    y = 2"),
        ("sentence", "After."),
        ("sentence", "Take care."),
        ("code", "    z = 3"),
    ]


def test_grammar_is_no_sentence_and_headings_are_left_out() -> None:
    assert kinds('Head\n\n   with_stmt ::= "with" x ":" suite\n\nWords.', "A > Head") == [
        ("code", '   with_stmt ::= "with" x ":" suite'),
        ("sentence", "Words."),
    ]


def test_what_is_no_text_is_left_out() -> None:
    text = (
        "Reference\n~~~~~~~~~\n\n.. toctree::\n   :maxdepth: 2\n\n   install\n   usage\n\n.. include:: "
        "../LICENSE.txt\n\n"
        ".. autosummary::\n   :toctree: generated/\n\n   read_gexf\n   write_gexf\n\n.. image:: a.png\n  "
        " :alt: A picture\n\n"
        ".. Copyright 2020 by somebody.\n   All rights reserved.\n\n.. versionadded:: 3.2\n\nWords stay."
    )
    assert kinds(text) == [("sentence", "Words stay.")]
    assert listed_names(text) == ["   read_gexf", "   write_gexf"]


def test_an_admonition_keeps_its_words() -> None:
    assert kinds(".. note:: Take care\n   of it.\n\n.. versionchanged:: 2.0\n   It is faster.") == [
        ("sentence", "Take care of it."),
        ("sentence", "It is faster."),
    ]


def test_a_glossary_gives_definitions() -> None:
    text = (
        ".. glossary::\n   :sorted:\n\n   tween\n     A bit of code. It sits between.\n\n   view\n     "
        "Answers a request.\n"
    )
    found = list(units(text))
    assert [(unit.defines, unit.quote) for unit in found] == [
        ("tween", "tween: A bit of code."),
        ("", "It sits between."),
        ("view", "view: Answers a request."),
    ]


def test_fields_are_items() -> None:
    assert kinds(":Exit code 0: All tests passed.\n:Exit code 5: No tests\n   were collected.") == [
        ("item", "Exit code 0: All tests passed."),
        ("item", "Exit code 5: No tests were collected."),
    ]
