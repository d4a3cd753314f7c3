from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meibel_integrations.errors import ResponseTooLargeError
from meibel_integrations.protocol.sse import SSEEvent, SSEParser, encode_comment, encode_event

ONE_LINE = st.text().filter(lambda s: not set(s) & set("\r\n\0"))


@st.composite
def chopped(draw: st.DrawFn, source: st.SearchStrategy[bytes]) -> tuple[bytes, list[bytes]]:
    whole = draw(source)
    cuts = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=12)))
    edges = [0, *cuts, len(whole)]
    return whole, [whole[a:b] for a, b in itertools.pairwise(edges)]


def parse(chunks: list[bytes]) -> tuple[list[SSEEvent], SSEEvent | None, int | None]:
    parser = SSEParser()
    events = [event for chunk in chunks for event in parser.feed(chunk)]
    return events, parser.close(), parser.retry


FIELDS = [b"data", b"event", b"id", b"retry", b":", b" ", b"x", b"1", b"data: x\n\n", b": c\n"]
BREAKS = [b"\r", b"\n", b"\r\n"]
BYTES = [b"\0", b"\xc3", b"\xa9", b"\xef\xbb\xbf", b"\xe2\x80\xa8"]
FRAGMENTS = st.lists(st.sampled_from(FIELDS + BREAKS + BYTES), max_size=40).map(b"".join)


@given(chopped(FRAGMENTS))
def test_events_do_not_depend_on_how_the_bytes_are_cut(case: tuple[bytes, list[bytes]]) -> None:
    whole, chunks = case
    assert parse(chunks) == parse([whole])


@given(st.text(), ONE_LINE.filter(lambda t: t != ""), ONE_LINE)
def test_what_is_encoded_is_parsed_back(data: str, type_: str, id_: str) -> None:
    (event,), left, _ = parse([encode_event(type_, data, id=id_)])
    assert (event.type, event.last_event_id) == (type_, id_)
    assert event.data == data.replace("\r\n", "\n").replace("\r", "\n").encode("utf-8", "replace").decode()
    assert left is None


def test_an_event_is_dispatched_at_its_blank_line_even_if_that_is_a_lone_cr() -> None:
    assert SSEParser().feed(b"data: x\r\r") == [SSEEvent("message", "x")]


def test_unicode_line_separators_are_data() -> None:
    (event,), _, _ = parse(["data: a\u2028b\u0085c\x0cd\n\n".encode()])
    assert event.data == "a\u2028b\u0085c\x0cd"


def test_spaces_are_kept_but_for_the_one_after_the_colon() -> None:
    (event,), _, _ = parse([b"data:   two  \n\n"])
    assert event.data == "  two  "


def test_a_type_without_data_does_not_leak_into_the_next_event() -> None:
    events, _, _ = parse([b"event: a\n\ndata: x\n\n"])
    assert events == [SSEEvent("message", "x")]


def test_a_comment_after_an_id_makes_no_event_and_keeps_the_id() -> None:
    events, left, _ = parse([b"id: 7\n\n", encode_comment("ping"), b"data: x\n\n"])
    assert events == [SSEEvent("message", "x", "7")]
    assert left is None


@pytest.mark.parametrize("value", [b"+5", b"1_0", b"-3", b"", "٣".encode()])
def test_only_ascii_digits_set_the_retry_time(value: bytes) -> None:
    assert parse([b"retry: " + value + b"\n\n"])[2] is None


def test_invalid_utf8_becomes_the_replacement_character() -> None:
    assert parse([b"data: \xff\n\n"])[0] == [SSEEvent("message", "\ufffd")]


@pytest.mark.parametrize(
    ("tail", "left"),
    [
        (b"event: completion\ndata: {}", SSEEvent("completion", "{}")),
        (b"event: completion\ndata: {}\n", SSEEvent("completion", "{}")),
        (b"event: completion", None),
        (b"\xef\xbb", None),
        (b"", None),
    ],
)
def test_close_returns_what_was_not_dispatched(tail: bytes, left: SSEEvent | None) -> None:
    events, rest, _ = parse([tail])
    assert events == []
    assert rest == left


@pytest.mark.parametrize("line", [b"x" * 50, b"data: " + b"y" * 50, b"data: y\n" * 20])
def test_an_event_over_the_limit_is_refused(line: bytes) -> None:
    parser = SSEParser(max_event_bytes=32)
    with pytest.raises(ResponseTooLargeError, match="32"):
        parser.feed(line)


def test_many_small_events_never_reach_the_limit() -> None:
    parser = SSEParser(max_event_bytes=32)
    for byte in b"data: 0123456789\n\n" * 50:
        parser.feed(bytes([byte]))
    assert parser.close() is None


@pytest.mark.parametrize(("event", "id_"), [("a\nb", None), ("a\rb", None), (None, "a\nb"), (None, "a\0b")])
def test_what_cannot_be_expressed_is_not_encoded(event: str | None, id_: str | None) -> None:
    with pytest.raises(ValueError, match="cannot hold"):
        encode_event(event, "x", id=id_)


def test_what_no_event_is_made_of_is_left_out() -> None:
    assert parse([b"unknown: x\nid: a\0b\ndata\ndata:y\n\n"])[0] == [SSEEvent("message", "\ny")]
    assert parse([b"retry: 30\n\n"])[2] == 30
    parser = SSEParser()
    assert parser.feed(b"data: x\r") == []
    assert parser.feed(b"\n\r\n") == [SSEEvent("message", "x")], "a line end in two pieces is one"
    assert parser.feed(b"data: y\r") == []
    assert parser.feed(b"data: z\r\r") == [SSEEvent("message", "y\nz")]
