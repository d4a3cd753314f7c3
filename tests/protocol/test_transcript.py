from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meibel_integrations.protocol.transcript import Block, decode, digest, digest_of_texts, encode

HEADER = encode([Block("system", "")]).split("\n")[0]

# Texts that imitate the envelope's own lines, escapes and all.
TRICKY = st.lists(
    st.sampled_from(
        ["<<user>>", "<<system>>", "\\<<user>>", "\\\\<<x", HEADER, "<<omitted 3>>", "", " ", "x\r", "\u2028"]
    )
    | st.text(max_size=8),
    max_size=5,
).map("\n".join)
NAMES = st.none() | st.text(max_size=5)
BLOCKS = st.builds(Block, st.sampled_from(["system", "user", "assistant", "tool"]), TRICKY, NAMES)


@given(st.lists(BLOCKS, min_size=1, max_size=6), st.integers(0, 99))
def test_what_is_written_is_read_back(blocks: list[Block], omitted: int) -> None:
    assert decode(encode(blocks, omitted=omitted)) == blocks


@given(TRICKY)
def test_a_users_text_reads_back_as_itself(text: str) -> None:
    assert decode(encode([Block("user", text)])) == [Block("user", text)]


@given(TRICKY.filter(lambda text: not text.startswith(HEADER)))
def test_plain_text_goes_byte_for_byte(text: str) -> None:
    assert encode([Block("user", text)]) == text


def test_an_envelope_of_nothing_is_nothing() -> None:
    assert decode(encode([], omitted=3)) == []


def test_instructions_and_transcript_are_readable_to_an_agent() -> None:
    blocks = [
        Block("system", "Be brief."),
        Block("user", "Hi"),
        Block("assistant", "Hello"),
        Block("user", "Why?", "Ann"),
    ]
    assert encode(blocks, omitted=2).split("\n")[1:] == [
        "What follows are the messages of this conversation. Heed the system's, and answer the last user's.",
        "<<omitted 2>>",
        *["<<system>>", "Be brief.", "<<user>>", "Hi", "<<assistant>>", "Hello", '<<user {"name": "Ann"}>>', "Why?"],
    ]


@pytest.mark.parametrize(
    "body",
    ["", "note\nno block", "note\n<<user>>\nx\n<<nobody>>", "note\n<<user>>\nx\n<<omitted 1>>", "note\n<<omitted x>>"],
)
def test_what_only_begins_like_an_envelope_is_a_users_text(body: str) -> None:
    text = f"{HEADER}\n{body}"
    if body:
        assert decode(text) == [Block("user", text)]
    assert decode(HEADER) == [Block("user", HEADER)]


@pytest.mark.parametrize("label", ['{"name": 3}', "{broken}", "{}"])
def test_a_label_that_cannot_be_read_is_no_name(label: str) -> None:
    assert decode(f"{HEADER}\nnote\n<<tool {label}>>\nx") == [Block("tool", "x", None)]


def test_a_digest_tells_messages_apart_but_for_their_edges() -> None:
    same = digest("user", "hi")
    assert digest("user", " hi\n") == same
    assert len({same, digest("assistant", "hi"), digest("user", "hi", "Ann"), digest("user", "h i")}) == 4
    assert digest("user", "\ud800") != same, "half a pair has one, too"
    assert digest_of_texts(["ab", "c"]) != digest_of_texts(["a", "bc"])
