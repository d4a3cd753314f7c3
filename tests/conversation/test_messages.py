from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meibel_integrations.conversation.messages import (
    NeutralMessage,
    decode,
    encode,
    read_history,
    shorten,
    system_texts,
    without_system,
)
from meibel_integrations.models import Message

TEXTS = st.text(alphabet="ab<\n\\ ", max_size=30)
TALK = st.builds(NeutralMessage, st.sampled_from(["user", "assistant", "tool"]), TEXTS, st.none() | st.just("Ann"))
ITEMS = st.lists(TALK | st.builds(NeutralMessage, st.just("system"), TEXTS), min_size=1, max_size=12)


@given(ITEMS)
def test_what_is_written_is_read_back(items: list[NeutralMessage]) -> None:
    assert decode(encode(items)) == items


@given(ITEMS, st.integers(0, 600))
def test_a_shortened_list_keeps_instructions_and_the_end_and_fits_if_it_can(
    items: list[NeutralMessage], limit: int
) -> None:
    kept, omitted = shorten(items, limit)
    assert len(kept) + omitted == len(items)
    assert system_texts(kept) == system_texts(items)
    assert without_system(items)[len(without_system(items)) - len(without_system(kept)) :] == without_system(kept)
    last = max((i for i, item in enumerate(items) if item.role == "user"), default=None)
    if last is not None:
        assert items[last] in kept
    if len(encode(items)) <= limit:
        assert (kept, omitted) == (items, 0)
    elif max((i for i, item in enumerate(without_system(kept)) if item.role == "user"), default=0) > 0:
        # something in front of the question was kept that could have gone, so the rest fits
        assert len(encode(kept, omitted=omitted)) <= limit


def test_a_shortened_list_does_not_open_with_an_answer() -> None:
    talk = [
        NeutralMessage("user", "u" * 50),
        NeutralMessage("assistant", "short"),
        NeutralMessage("user", "v"),
        NeutralMessage("assistant", "w"),
        NeutralMessage("user", "x"),
    ]
    kept, omitted = shorten(talk, len(encode(talk)) - 10)
    assert (kept[0].role, omitted) == ("user", 2)


def test_a_history_reads_as_it_was_written() -> None:
    told = [
        NeutralMessage("system", "old"),
        NeutralMessage("user", "a"),
        NeutralMessage("assistant", "b"),
        NeutralMessage("user", "c"),
    ]
    history = [
        Message(role="user", message=encode(told)),
        Message(role="tool_call", tool_name="search"),
        Message(role="assistant", message="d"),
        Message(role="user", message="plain"),
        Message(role="assistant", message="e"),
        Message(role="user", message=encode([NeutralMessage("system", "new"), NeutralMessage("user", "f")])),
    ]
    talk = ["a", "b", "c", "d", "plain", "e", "f"]
    held = read_history(history)
    assert [item.text for item in held] == ["new", *talk]
    assert system_texts(held) == ["new"]
