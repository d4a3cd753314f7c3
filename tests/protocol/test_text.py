"""The law of partial responses: whatever the pieces mean, what is shown is the completion's text."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meibel_integrations.protocol.text import Partials, TextAccumulator

# Few letters, so that deltas often look like snapshots and the other way round.
PIECES = st.lists(st.text(alphabet="ab ", max_size=4), max_size=12)


def shown(pieces: list[str], final: list[str], partials: Partials = "auto") -> tuple[list[str], str]:
    text = TextAccumulator(partials)
    steps = [text.partial(piece) for piece in pieces]
    rest, whole, agreed = text.finish(final)
    assert agreed
    assert "".join([*steps, rest]) == whole
    return steps, whole


@given(PIECES)
def test_deltas_add_up_to_the_completion(pieces: list[str]) -> None:
    final = "".join(pieces)
    for partials in ("auto", "delta"):
        _, whole = shown(pieces, [final], partials)
        assert whole == final


@given(PIECES)
def test_snapshots_end_in_the_completion(pieces: list[str]) -> None:
    snapshots = ["".join(pieces[: i + 1]) for i in range(len(pieces))]
    final = "".join(pieces)
    for partials in ("auto", "snapshot"):
        _, whole = shown(snapshots, [final], partials)
        assert whole == final


@given(PIECES, st.text(alphabet="ab ", max_size=4))
def test_everything_shown_before_the_end_is_right_under_both_readings(pieces: list[str], more: str) -> None:
    text = TextAccumulator()
    for piece in pieces:
        text.partial(piece)
    total = "".join(pieces)
    assert total.startswith(text.text)
    if all(b.startswith(a) for a, b in pairwise(pieces)) and pieces:
        assert (pieces[-1] + more).startswith(text.text)


def test_the_first_piece_is_shown_at_once() -> None:
    assert TextAccumulator().partial("Hel") == "Hel"


def test_the_first_piece_that_cannot_be_a_snapshot_decides_for_deltas() -> None:
    text = TextAccumulator()
    assert [text.partial(p) for p in ["a", "ab", "c"]] == ["a", "", "abc"]
    assert text.partial("c") == "c"


def test_fixed_snapshots_are_shown_as_they_grow() -> None:
    text = TextAccumulator("snapshot")
    assert [text.partial(p) for p in ["a", "ab", "ab", "abc"]] == ["a", "b", "", "c"]


@pytest.mark.parametrize(
    ("pieces", "whole"),
    [
        (["The", "The answer", "The answer."], "The answer."),  # grew: snapshots
        (["ha", "ha"], "haha"),  # only repeated: deltas
        (["a", "b"], "ab"),  # decided
        ([], ""),
    ],
)
def test_without_a_completion_the_likelier_reading_stands(pieces: list[str], whole: str) -> None:
    assert shown(pieces, [])[1] == whole


def test_known_deltas_may_follow_pieces_of_unknown_meaning() -> None:
    text = TextAccumulator()
    assert [text.partial("a"), text.partial("ab"), text.delta("c")] == ["a", "", "abc"]
    assert text.finish(["aabc"]) == ("", "aabc", True)


def test_a_block_shows_only_what_its_deltas_did_not() -> None:
    text = TextAccumulator()
    steps = [text.delta("Hel"), text.block("Hello"), text.delta("Se"), text.delta("e"), text.block("See")]
    assert steps == ["Hel", "lo", "\n\nSe", "e", ""]
    assert text.block("Third") == "\n\nThird"
    assert text.finish([]) == ("", "Hello\n\nSee\n\nThird", True)


def test_a_block_that_contradicts_its_deltas_shows_nothing_more() -> None:
    text = TextAccumulator()
    assert [text.delta("No"), text.block("Yes"), text.delta("")] == ["No", "", ""]


@given(st.lists(PIECES.filter("".join), max_size=4), st.data())
def test_text_arrives_once_whether_as_deltas_as_blocks_or_as_both(blocks: list[list[str]], data: st.DataObject) -> None:
    text = TextAccumulator()
    shown = ""
    for deltas in blocks:
        if data.draw(st.booleans()):
            shown += "".join(text.delta(delta) for delta in deltas)
        shown += text.block("".join(deltas))
    assert shown == "\n\n".join("".join(deltas) for deltas in blocks)


def test_the_second_form_of_the_completion_is_taken_if_the_first_contradicts() -> None:
    text = TextAccumulator()
    text.partial("See [1]")
    text.partial(" and")
    assert text.finish(["See and more", "See [1] and more"]) == (" more", "See [1] and more", True)


def test_a_completion_that_contradicts_stands_but_is_not_shown_over_what_was() -> None:
    text = TextAccumulator()
    text.delta("No")
    assert text.finish(["Yes"]) == ("", "Yes", False)


@pytest.mark.parametrize("partials", ["auto", "delta"])
def test_after_a_lost_piece_only_the_completion_tells_the_rest(partials: Partials) -> None:
    text = TextAccumulator(partials)
    text.partial("a")
    text.lose()
    assert [text.partial("c"), text.delta("d")] == ["", ""]
    assert text.finish(["abcd"]) == ("bcd", "abcd", True)


def test_snapshots_make_a_lost_piece_good() -> None:
    text = TextAccumulator("snapshot")
    text.partial("a")
    text.lose()
    assert text.partial("abc") == "bc"
