from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meibel_integrations.protocol.citations import map_citations
from meibel_integrations.protocol.events import RawCitation

CLEAN = "Revenue grew by 4 %. Costs fell."
MARKED = "Revenue grew by 4 % [1]. Costs fell [2][3]."


def ends(positions: list[int], text: str = CLEAN, marked: str | None = MARKED) -> list[int]:
    return [c.end for c in map_citations([RawCitation(0, p, p) for p in positions], text, marked)]


def test_positions_in_the_marked_text_move_to_the_clean_text() -> None:
    after_markers = [MARKED.index(m) + 3 for m in ("[1]", "[2]", "[3]")]
    assert ends(after_markers) == [19, 31, 31]
    assert [CLEAN[:19], CLEAN[:31]] == ["Revenue grew by 4 %", "Revenue grew by 4 %. Costs fell"]


def test_positions_in_front_of_markers_move_too() -> None:
    before = [MARKED.index(" [1]"), MARKED.index(" [2]")]
    assert ends(before) == [19, 31]


def test_positions_in_the_clean_text_stay() -> None:
    assert ends([19, 31]) == [19, 31]


def test_a_position_beyond_the_clean_text_tells_that_the_marked_one_is_counted() -> None:
    assert ends([len(MARKED)]) == [len(CLEAN)]


@pytest.mark.parametrize("marked", [None, CLEAN])
def test_without_markers_positions_stay_and_never_leave_the_text(marked: str | None) -> None:
    assert ends([-3, 0, 7, 999], marked=marked) == [0, 0, 7, len(CLEAN)]


def test_a_marker_is_taken_out_whole_even_where_a_diff_could_cut_it_elsewhere() -> None:
    marked, clean = "see [1][note] end", "see [note] end"
    assert ends([7], clean, marked) == [4]


def test_a_text_that_differs_in_more_than_markers_is_still_aligned() -> None:
    assert ends([len("Costs fell [1]")], "Costs  fell. Done", "Costs fell [1]. Done") == [len("Costs  fell")]


@pytest.mark.parametrize(
    ("marked", "clean", "position", "at"),
    [
        ("x  see [1][note] end", "x see [note] end", 10, 6),  # the diff leaves the choice of two stretches
        ("fell† now", "fell now", 5, 4),
        ("one XXX  two", "one Y two", 6, 6),  # inside what was replaced
        ("(1)(1)  c", "(1) c", 3, 3),
    ],
)
def test_a_position_at_or_in_what_was_taken_out_moves_to_its_place(
    marked: str, clean: str, position: int, at: int
) -> None:
    assert ends([position, len(marked)], clean, marked)[0] == at


def test_a_span_keeps_its_order() -> None:
    (citation,) = map_citations([RawCitation(2, 9, 4)], CLEAN, None)
    assert (citation.source, citation.start, citation.end) == (2, 9, 9)


def test_texts_too_long_to_align_are_taken_as_they_are() -> None:
    assert ends([8], "a b  " * 10_000, "a b " * 10_000 + "[1]") == [8]


WORDS = st.lists(st.text(alphabet="abcdefgh", min_size=1, max_size=6), min_size=1, max_size=12)


@given(WORDS, st.data())
def test_markers_at_any_words_are_found_again(words: list[str], data: st.DataObject) -> None:
    """Numbered markers behind some words, counted in the marked text, end up behind the same words."""
    cited = data.draw(st.sets(st.integers(0, len(words) - 1), min_size=1))
    clean, marked = "", ""
    wanted, positions = [], []
    for i, word in enumerate(words):
        space = " " if i else ""
        clean += space + word
        marked += space + word
        if i in cited:
            marked += f"[{len(positions) + 1}]"
            positions.append(len(marked))
            wanted.append(len(clean))
    assert ends(positions, clean, marked) == wanted
