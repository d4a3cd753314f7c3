"""Answers as text, Markdown and HTML: right marks in the right places, and nothing of an answer is taken as markup."""

from __future__ import annotations

import re
import unicodedata
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meibel_integrations.models import Citation, Reply, Source
from meibel_integrations.rendering.citations import (
    CitedText,
    as_html,
    as_markdown,
    as_text,
    footnotes,
    sources_as_text,
)
from meibel_integrations.rendering.safety import printable, safe_url

# What breaks markup turns up often enough to meet itself.
MARKUP = ["<script>", "</div>", "&amp;", "&#x41;", '"', "'", "`", "``", "[a](b)", "![x](//e)", "](", "*", "__", "~~~"]
LAYOUT = ["# ", "1. ", "- ", "\n", "\n\n", "    ", "\t", "\\", "|", "$$", "===", "```", "<!--", "]]>", "<b", "> "]
LINKS = ["http://e.org", "www.e.org", "@e.org"]
HIDDEN = ["\x1b[31m", "\x07", "\x9b", "\r", "\u202e", "\u2066", "\u2028", "\ud800", "\U000e0041", "\x00"]
HOSTILE = st.sampled_from([*MARKUP, *LAYOUT, *LINKS, *HIDDEN])
TEXT = st.lists(HOSTILE | st.text(max_size=6), max_size=12).map("".join)
URL = (
    st.none()
    | TEXT
    | st.builds("{}{}".format, st.sampled_from(["https://e.org/", "javascript:", "file:///", "data:"]), TEXT)
)
SOURCE = st.builds(Source, title=TEXT, url=URL, data_element_id=st.none() | st.sampled_from("abc"))
CITATION = st.builds(Citation, source=st.integers(-1, 4), start=st.integers(-5, 60), end=st.integers(-5, 60))
ANSWER = st.builds(CitedText, text=TEXT, citations=st.lists(CITATION, max_size=5), sources=st.lists(SOURCE, max_size=4))


def cited(text: str, *places: tuple[int, int, int], sources: list[Source]) -> CitedText:
    return CitedText(text, [Citation(source=s, start=a, end=b) for s, a, b in places], sources)


OWLS = Source(title="Owls", url="https://e.org/owls")
BATS = Source(title="Bats", url="https://e.org/bats")


def test_numbers_follow_the_answer_and_passages_of_a_document_share_one() -> None:
    again = Source(title="Owls", url="https://e.org/owls", snippet="another passage")
    answer = cited("Bats fly. Owls too.", (0, 19, 19), (2, 9, 9), (1, 19, 19), sources=[OWLS, again, BATS])

    assert as_text(answer) == (
        "Bats fly. [1] Owls too. [2]\n\n[1] Bats - https://e.org/bats\n[2] Owls - https://e.org/owls"
    )


def test_documents_without_an_address_are_not_taken_for_one_another() -> None:
    same_title = [Source(title="Notes"), Source(title="Notes"), Source(title="Notes", data_element_id="d1")]
    assert [note.number for note in footnotes(CitedText("x", (), same_title))] == [1, 2, 3]


def test_found_but_not_cited_is_said_only_beside_cited_ones() -> None:
    assert sources_as_text(cited("Owls.", (0, 5, 5), sources=[OWLS, BATS])).splitlines() == [
        "[1] Owls - https://e.org/owls",
        "    cited after “Owls.”",
        "[2] Bats - https://e.org/bats (found, not cited)",
    ]
    assert sources_as_text(CitedText("Owls.", (), [OWLS])) == "[1] Owls - https://e.org/owls"
    assert sources_as_text(CitedText("Nothing was found.")) == ""


def test_a_place_is_shown_in_the_answers_own_words() -> None:
    text = "An introduction.\n\nA very long sentence about owls and what they do at night, and why they do it.\n"
    shown = sources_as_text(cited(text, (0, len(text), len(text)), (0, 0, 16), (0, 0, 0), sources=[OWLS])).splitlines()
    assert shown[1:] == [
        "    cited at the beginning",
        "    cited for “An introduction.”",
        "    cited after “…about owls and what they do at night, and why they do it.”",
    ]


def test_a_mark_stands_behind_the_words_and_not_on_the_next_line() -> None:
    assert as_text(cited("Owls.\n\nBats.", (0, 0, 7), sources=[OWLS])).startswith("Owls. [1]\n\nBats.")


def test_an_answer_may_come_from_a_reply_or_from_a_messages_metadata() -> None:
    reply = Reply(message="Owls.", citations=[Citation(source=0, start=5, end=5)], sources=[OWLS])
    metadata = {"sources": [OWLS.model_dump()], "citations": [{"source": 0, "start": 5, "end": 5}], "session_id": "s"}
    assert as_text(CitedText.from_reply(reply)) == as_text(CitedText.from_metadata("Owls.", metadata))


def test_html() -> None:
    answer = cited("a <b>\n  c", (0, 5, 5), sources=[Source(title="T&C", url="https://e.org/?a=1&b=2")])
    link = '<a href="https://e.org/?a=1&amp;b=2" rel="noopener noreferrer nofollow">'
    assert as_html(answer) == (
        f'<div class="meibel-answer"><p>a &lt;b&gt;<sup>{link}[1]</a></sup><br>\n&nbsp;&nbsp;c</p>'
        f"<ol><li>{link}T&amp;C</a></li></ol></div>"
    )


def test_markdown() -> None:
    answer = cited("a *b*\n1. c", (0, 5, 5), sources=[Source(title="[T]", url="https://e.org/(x)?a=1&copy=2")])
    url = "<https://e.org/%28x%29?a=1&amp;copy=2>"
    assert as_markdown(answer) == f"a \\*b\\*[\\[1\\]]({url})\\\n1\\. c\n\n1. [\\[T\\]]({url})"


@pytest.mark.parametrize("url", ["javascript:alert(1)", " JaVa\nScript:alert(1)", "data:text/html,x", "vbscript:x"])
def test_what_is_no_web_address_becomes_no_link(url: str) -> None:
    answer = cited("x", (0, 1, 1), sources=[Source(title="T", url=url)])
    assert safe_url(url) is None
    assert "<a" not in as_html(answer, local=True)
    assert "](" not in as_markdown(answer, local=True)
    assert as_text(answer).endswith(re.sub(r"\s+", " ", url).strip())


def test_a_file_is_linked_only_on_its_own_machine() -> None:
    assert safe_url("file:///a b.md") is None
    assert safe_url("file:///a b.md", local=True) == "file:///a%20b.md"
    assert safe_url("/relative") is None
    assert safe_url("//e.org/x") is None
    assert safe_url("MAILTO:a@e.org") == "MAILTO:a@e.org"
    assert safe_url("https://e.org/%20ü") == "https://e.org/%20%C3%BC"


@given(TEXT)
def test_printable_text_holds_nothing_that_a_terminal_obeys(text: str) -> None:
    shown = printable(text)
    assert printable(shown) == shown
    shown.encode("utf-8")
    for character in shown:
        assert character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp")
        assert unicodedata.bidirectional(character) not in (
            "LRE",
            "RLE",
            "LRO",
            "RLO",
            "PDF",
            "LRI",
            "RLI",
            "FSI",
            "PDI",
        )


@given(TEXT, st.integers(0, 60))
def test_a_stream_may_be_cleaned_in_pieces(text: str, cut: int) -> None:
    assert printable(text[:cut]) + printable(text[cut:]) == printable(text)


@given(st.text(st.characters(categories=["L", "N", "P", "S"])))
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


@given(ANSWER)
def test_every_footnote_is_a_document_and_no_place_leaves_the_answer(answer: CitedText) -> None:
    notes = footnotes(answer)
    assert [note.number for note in notes] == list(range(1, len(notes) + 1))
    assert {note.url or None for note in notes} == {source.url or None for source in answer.sources}
    ends = [min(end for _, end in note.places) for note in notes if note.places]
    assert ends == sorted(ends)
    assert all(0 <= start <= end <= len(answer.text) for note in notes for start, end in note.places)
    valid = {c.source for c in answer.citations if 0 <= c.source < len(answer.sources)}
    assert bool(valid) == bool(ends)


@given(ANSWER)
def test_marks_are_all_that_is_added_to_the_text(answer: CitedText) -> None:
    notes = footnotes(answer)
    body = as_text(CitedText(answer.text))
    marked = as_text(answer).removesuffix("\n".join(_source_tail(answer)))
    for note in notes:
        if note.places:
            assert f"[{note.number}]" in marked
    if not any(note.places for note in notes):
        assert as_text(answer).startswith(body)


def _source_tail(answer: CitedText) -> list[str]:
    return as_text(CitedText("", (), answer.sources)).splitlines()


class Page(HTMLParser):
    """What a browser makes of a fragment: its tags, its links, its text."""

    def __init__(self, fragment: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.depth: list[str] = []
        self.text = ""
        self.feed(fragment)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "br":
            self.depth.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.depth.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)


def _words(text: str) -> str:
    return "".join(printable(text).split())


@given(ANSWER, st.booleans())
def test_html_shows_the_answers_characters_and_holds_only_our_tags(answer: CitedText, local: bool) -> None:
    page = Page(as_html(answer, local=local))

    assert page.depth == []
    allowed = {"div": {"class"}, "p": set(), "br": set(), "sup": set(), "a": {"href", "rel"}, "ol": set(), "li": set()}
    for tag, attributes in page.tags:
        assert attributes.keys() == allowed[tag]
        href = attributes.get("href")
        assert href is None or re.match(r"https?:|mailto:|file:" if local else r"https?:|mailto:", href, re.IGNORECASE)
    plain = Page(as_html(CitedText(answer.text)))
    assert "".join(plain.text.split()) == _words(answer.text)


@given(ANSWER)
def test_markdown_shows_the_answers_characters_and_links_only_sources(answer: CitedText) -> None:
    import markdown_it

    renderer = markdown_it.MarkdownIt("commonmark").enable("table").enable("strikethrough")

    page = Page(renderer.render(as_markdown(CitedText(answer.text))))
    assert {tag for tag, _ in page.tags} <= {"p", "br"}
    assert "".join(page.text.split()) == _words(answer.text)

    whole = Page(renderer.render(as_markdown(answer)))
    assert {tag for tag, _ in whole.tags} <= {"p", "br", "a", "ol", "li"}
    links = {attributes["href"] for tag, attributes in whole.tags if tag == "a"}
    assert links <= {renderer.normalizeLink(url) for source in answer.sources if (url := safe_url(source.url))}
