from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meibel_integrations.conversation.items import Item, system_texts, turns
from meibel_integrations.conversation.seeding import read, read_history, shorten, write
from meibel_integrations.models import Message

TEXTS = st.text(alphabet="ab<\n\\ ", max_size=30)
TALK = st.builds(Item, st.sampled_from(["user", "assistant", "tool"]), TEXTS, st.none() | st.just("Ann"))
ITEMS = st.lists(TALK | st.builds(Item, st.just("system"), TEXTS), min_size=1, max_size=12)


@given(ITEMS)
def test_what_is_written_is_read_back(items: list[Item]) -> None:
    assert read(write(items)) == items


@given(ITEMS, st.integers(0, 600))
def test_a_shortened_list_keeps_instructions_and_the_end_and_fits_if_it_can(items: list[Item], limit: int) -> None:
    kept, omitted = shorten(items, limit)
    assert len(kept) + omitted == len(items)
    assert system_texts(kept) == system_texts(items)
    assert turns(items)[len(turns(items)) - len(turns(kept)) :] == turns(kept)
    last = max((i for i, item in enumerate(items) if item.role == "user"), default=None)
    if last is not None:
        assert items[last] in kept
    if len(write(items)) <= limit:
        assert (kept, omitted) == (items, 0)
    elif max((i for i, item in enumerate(turns(kept)) if item.role == "user"), default=0) > 0:
        # something in front of the question was kept that could have gone, so the rest fits
        assert len(write(kept, omitted=omitted)) <= limit


def test_a_shortened_list_does_not_open_with_an_answer() -> None:
    talk = [
        Item("user", "u" * 50),
        Item("assistant", "short"),
        Item("user", "v"),
        Item("assistant", "w"),
        Item("user", "x"),
    ]
    kept, omitted = shorten(talk, len(write(talk)) - 10)
    assert (kept[0].role, omitted) == ("user", 2)


def test_a_history_reads_as_it_was_written() -> None:
    told = [Item("system", "old"), Item("user", "a"), Item("assistant", "b"), Item("user", "c")]
    history = [
        Message(role="user", message=write(told)),
        Message(role="tool_call", tool_name="search"),
        Message(role="assistant", message="d"),
        Message(role="user", message="plain"),
        Message(role="assistant", message="e"),
        Message(role="user", message=write([Item("system", "new"), Item("user", "f")])),
    ]
    talk = ["a", "b", "c", "d", "plain", "e", "f"]
    held = read_history(history)
    assert [item.text for item in held] == ["new", *talk]
    assert system_texts(held) == ["new"]
