"""Prose without its markup, and what counts as prose."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meibel_integrations.local.answerers.prose import is_prose, render


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Use :py:meth:`setenv` here.", "Use setenv here."),
        ("See :ref:`the guide <guide-label>` now.", "See the guide now."),
        ("A :class:`~scrapy.http.Request` object.", "A Request object."),
        ("Read `the manual <https://example.com/a>`_ first.", "Read the manual first."),
        ("From `Sitemaps`_, or `XML feeds`__.", "From Sitemaps, or XML feeds."),
        ("Call ``run()`` twice.", "Call `run()` twice."),
        ('Read [the manual](https://example.com "Title") first.', "Read the manual first."),
        ("Read [the manual][1] first.", "Read the manual first."),
        ("![A cat](cat.png) sleeps.", "A cat sleeps."),
        ("As shown [1]_ and [#note]_.", "As shown and."),
        ("Many ``view``\\ s of :app:`Pyramid`\\ .", "Many `view`s of Pyramid."),
        ("Like this::", "Like this:"),
        ("|project| is new.", "project is new."),
        ("See Sitemaps_ and class_ too.", "See Sitemaps and class_ too."),
        ("my_var and __init__ and x[0](1) stay, `code` too.", "my_var and __init__ and x[0](1) stay, `code` too."),
        ("a || b || c", "a || b || c"),
        ("def f(a: int) -> dict[str, int]:", "def f(a: int) -> dict[str, int]:"),
    ],
)
def test_render(text: str, shown: str) -> None:
    assert render(text) == shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A fixture provides a context.", True),
        ("- Run the tests again.", True),
        ("the long line that has no end but is plainly running prose", True),
        ("東京都は日本の首都です。", True),
        ("generate_gexf relabel_gexf_graph", False),
        ("``run`` parameter", False),
        ("Changed in 3.2", False),
        ("- `systemd documentation <https://example.com>`_", False),
        ("* :ref:`one-thing`", False),
        ("- [Installing the thing](install.md)", False),
        ("Copyright 2020 by the authors of this program.", False),
        ("# -*- coding: utf-8 -*-", False),
        ("setup.py tox.ini README.rst docs.txt", False),
    ],
)
def test_is_prose(text: str, expected: bool) -> None:
    assert is_prose(text) is expected


@given(st.one_of(st.text(max_size=200), st.text("`:<>_[]()|\\\\a ~\\n", max_size=80)))
def test_any_text_is_rendered(text: str) -> None:
    assert len(render(text)) <= len(text)
    is_prose(text)


@pytest.mark.parametrize(
    "text", ["`" * 20_000, ":a:`" * 5000, "[" * 20_000, "|a" * 10_000, "`a <" * 5000, "a_" * 10_000]
)
def test_hostile_text_takes_no_time(text: str) -> None:
    start = time.perf_counter()
    render(text)
    is_prose(text)
    assert time.perf_counter() - start < 5
