"""The law of partial responses: whatever the pieces mean, what is shown is the completion's text."""

from __future__ import annotations

from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meibel_integrations.protocol.text import Partials, PartialsReading, TextAccumulator

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


# Few characters again, but pieces long enough to count as evidence.
LONG = st.lists(st.text(alphabet="ab ", min_size=5, max_size=12), min_size=1, max_size=8)


def imitates_twice(pieces: list[str]) -> bool:
    """Whether deltas look like snapshots twice in a row, as the rule for snapshots has it; repetitions count neither
    way."""
    row, before = 0, ""
    for piece in filter(None, pieces):
        if before and not piece.startswith(before):
            return False  # from here on they are known
        row += bool(before.strip()) and len(piece) > len(before)
        if row >= 2 and len("".join(piece.split())) >= 8:
            return True
        before = piece
    return False


@given(PIECES | LONG)
def test_what_is_shown_of_deltas_is_their_sum_unless_they_imitate_snapshots_twice(pieces: list[str]) -> None:
    text = TextAccumulator()
    live = "".join(map(text.partial, pieces))
    end = text.finish(["".join(pieces)])
    assert end.text == "".join(pieces), "the completion's text always stands"
    if not imitates_twice(pieces):
        assert end.agreed
        assert live + end.rest == "".join(pieces)


@given(st.lists(st.text(alphabet="ab ", max_size=12), max_size=8), st.sampled_from([None, "delta", "snapshot"]))
def test_what_is_shown_of_snapshots_is_the_newest_one(pieces: list[str], proven: PartialsReading | None) -> None:
    text = TextAccumulator(proven=proven)
    live = "".join(map(text.partial, accumulate(pieces)))
    rest, whole, agreed = text.finish(["".join(pieces)])
    assert agreed
    assert live + rest == whole == "".join(pieces)


@given(st.lists(LONG, min_size=1, max_size=4), st.sampled_from(["auto", "snapshot"]), st.booleans())
def test_snapshots_that_start_anew_after_a_tool_are_blocks(
    blocks: list[list[str]], partials: Partials, known: bool
) -> None:
    blocks = [["See:", *block] for block in blocks]
    text = TextAccumulator(partials, "snapshot" if known else None)
    live = ""
    for block in blocks:
        live += "".join(map(text.partial, accumulate(block)))
        text.after_tool()
    whole = "\n\n".join(map("".join, blocks))
    rest, said, agreed = text.finish([whole])
    assert agreed
    assert live + rest == said == whole
    if known or partials == "snapshot":
        assert not rest


@given(PIECES)
def test_deltas_go_on_behind_a_tool(pieces: list[str]) -> None:
    text = TextAccumulator()
    live = text.partial("First I look.") + text.partial("And then: ")
    text.after_tool()
    live += "".join(map(text.partial, pieces))
    assert live + text.finish([]).rest == "First I look.And then: " + "".join(pieces)


def test_two_strict_extensions_decide_for_snapshots() -> None:
    text = TextAccumulator()
    assert [text.partial(p) for p in ["The", "The answer", "The answer is", "The answer is 4"]] == [
        "The",
        "",
        " answer is",
        " 4",
    ]
    assert text.finish(["The answer is 4."]) == (".", "The answer is 4.", True)
    assert text.proven is None, "the completion is none of the pieces"
    text = TextAccumulator()
    for piece in ["The", "The answer", "The answer is 4"]:
        text.partial(piece)
    text.finish(["The answer is 4"])
    assert text.proven == "snapshot"


def test_a_piece_may_name_what_it_is() -> None:
    text = TextAccumulator()
    assert [text.partial("The", "snapshot"), text.partial("The end", "snapshot")] == ["The", " end"]
    text = TextAccumulator()
    assert [text.partial("a"), text.partial("ab"), text.partial("abc", "delta")] == ["a", "", "ababc"]
    text = TextAccumulator("delta")
    assert [text.partial("a", "snapshot"), text.partial("ab", "snapshot")] == ["a", "ab"], "the caller knows better"


def test_what_was_proven_before_is_unlearned() -> None:
    text = TextAccumulator(proven="snapshot")
    assert [text.partial(p) for p in ["The", " answer", " is"]] == ["The", " answer", " is"]
    assert text.proven == "delta"


def test_snapshots_that_start_anew_without_a_tool_are_a_block_once_they_are_known() -> None:
    text = TextAccumulator()
    pieces = ["Let me", "Let me look", "Let me look.", "The", "The sky"]
    assert "".join(map(text.partial, pieces)) == "Let me look.\n\nThe sky"


def test_a_snapshot_that_changes_what_was_shown_adds_its_end() -> None:
    text = TextAccumulator("snapshot")
    assert [text.partial(p) for p in ["The cat sat", "The cat", "The dog sat", "The dog sat on"]] == [
        "The cat sat",
        "",
        "",
        " on",
    ]
    assert text.finish(["The dog sat on."]) == ("", "The dog sat on.", False)


@given(
    PIECES.filter(lambda pieces: bool("".join(pieces).strip())), st.text(" \n", max_size=3), st.text(" \n", max_size=3)
)
def test_white_space_at_the_edges_is_no_difference(pieces: list[str], before: str, after: str) -> None:
    text = TextAccumulator("delta")
    for piece in pieces:
        text.partial(piece)
    whole = before + "".join(pieces).strip() + after
    end = text.finish([whole])
    assert (end.text, end.agreed) == (whole, True)
    assert (text.text + end.rest).strip() == whole.strip()


@pytest.mark.parametrize("nothing", [[""], [" \n"], []])
def test_an_empty_completion_corrects_nothing(nothing: list[str]) -> None:
    text = TextAccumulator()
    text.delta("Yes.")
    assert text.finish(nothing) == ("", "Yes.", True)


def test_a_whole_block_corrects_its_deltas_but_not_what_was_shown() -> None:
    text = TextAccumulator()
    shown = [text.delta("Nine."), text.block("Ten."), text.delta("Yes"), text.block("Yes."), text.block("")]
    assert shown == ["Nine.", "", "\n\nYes", ".", ""]
    assert text.text == "Nine.\n\nYes."
    assert text.finish([]) == ("", "Ten.\n\nYes.", False)


def test_an_empty_whole_corrects_nothing() -> None:
    text = TextAccumulator()
    text.delta("a")
    assert text.block("") == ""
    assert text.finish([]).text == "a"


def test_white_space_at_the_beginning_does_not_count() -> None:
    text = TextAccumulator("delta")
    text.partial("\n Hel")
    rest, whole, agreed = text.finish(["Hello"])
    assert (rest, whole, agreed) == ("lo", "Hello", True)


def test_a_blank_whole_corrects_nothing_either() -> None:
    text = TextAccumulator()
    text.delta("a")
    assert text.block(" ") == ""
    assert text.finish([]).text == "a"


def test_a_snapshot_that_starts_anew_after_a_tool_is_a_block_of_its_own() -> None:
    text = TextAccumulator()
    for piece in ("Let", "Let me look it up.", "Let me look it up. Now."):
        text.partial(piece)
    fresh = TextAccumulator()
    fresh.partial("Let me look.")
    fresh.after_tool()
    fresh.partial("The sky")
    assert fresh.finish(["Let me look.\n\nThe sky is blue."]).text == "Let me look.\n\nThe sky is blue."
