"""The decisions, without a service: which session, what is carried, and what proves that a head has moved."""

from __future__ import annotations

import pytest

from meibel_integrations.conversation.lineage import Divergence, Walk, walk_back
from meibel_integrations.conversation.messages import (
    Anchor,
    Lineage,
    NeutralMessage,
    digest,
    digest_of_instructions,
)
from meibel_integrations.conversation.plan import (
    continue_pinned,
    continue_session,
    departure,
    head_moved,
    newest_anchor,
    start_session,
)
from meibel_integrations.errors import InvalidInputError
from meibel_integrations.ledgers.interface import UNKNOWN, SessionState, head_marker
from meibel_integrations.models import Message
from meibel_integrations.protocol.agents import AgentRef


def user(text: str) -> NeutralMessage:
    return NeutralMessage("user", text)


def answer(
    text: str, *carried: NeutralMessage, parent: str | None = None, marker: str | None = None, n: int = 1
) -> NeutralMessage:
    lineage = Lineage(parent, tuple(digest(c) for c in carried), (digest(NeutralMessage("assistant", text)),), None, n)
    return NeutralMessage("assistant", text, None, Anchor("s", marker or f"sig-{n}", lineage))


Q1, Q2, Q3 = user("one"), user("two"), user("three")
A1 = answer("first", Q1)
A2 = answer("second", Q2, parent="sig-1", n=2)
LIST = [Q1, A1, Q2, A2, Q3]


def test_the_newest_answer_is_the_anchor() -> None:
    assert newest_anchor(LIST) == 3
    assert newest_anchor([Q1, NeutralMessage("assistant", "foreign"), Q2]) is None
    assert newest_anchor(LIST, "another") is None


@pytest.mark.parametrize(
    ("items", "matches"),
    [
        (LIST, True),
        (LIST[1:], True),
        (LIST[2:], True),
        (LIST[3:], True),
        ([user("inserted"), *LIST], False),
        ([Q1, A1, user("edited"), A2, Q3], False),
        ([Q1, A1, Q2, user("inserted"), A2, Q3], False),
        ([Q1, A1, A2, Q3], False),
        ([Q1, answer("edited", Q1), Q2, A2, Q3], True),  # an answer that claims its own text: its marker decides
        ([Q1, answer("first", Q1, marker="sig-9"), Q2, A2, Q3], False),  # the same words at another place
        ([Q1, NeutralMessage("assistant", "first", None, Anchor("t", "sig-1")), Q2, A2, Q3], False),
        ([Q1, NeutralMessage("assistant", "edited", None, A1.anchor), Q2, A2, Q3], False),
        ([Q1, NeutralMessage("assistant", "first"), Q2, A2, Q3], False),
        ([user("summary"), Q2, A2, Q3], False),
    ],
)
def test_a_list_matches_or_departs(items: list[NeutralMessage], matches: bool) -> None:
    at = newest_anchor(items)
    assert at is not None
    walk = walk_back(items, at)
    assert (walk.departure is None) == matches
    assert walk.whole == (matches and items[0] == Q1)


def test_messages_read_from_the_server_are_trusted() -> None:
    read = NeutralMessage("assistant", "second", None, Anchor("s", "sig-2"))
    assert walk_back([user("whatever"), read, Q3], 1) == Walk(None)


def test_a_continuation_carries_what_is_new() -> None:
    plan = continue_session([NeutralMessage("system", "S"), *LIST], 4, UNKNOWN, None)
    assert (plan.session_id, plan.parent, plan.turn) == ("s", "sig-2", 3)
    assert plan.messages == (NeutralMessage("system", "S"), Q3)
    assert plan.carried == (digest(Q3),)
    with pytest.raises(InvalidInputError):
        continue_session(LIST[:-1], 3, UNKNOWN, None)


def test_a_seed_accounts_for_what_it_had_no_room_for() -> None:
    plan = start_session([user("x" * 500), NeutralMessage("assistant", "y"), user("z")], max_seed_chars=300)
    assert (plan.continuity, plan.omitted, len(plan.carried)) == ("seeded", 2, 3)
    assert start_session([user("z")], max_seed_chars=1).continuity == "new"


def test_a_pinned_call_without_any_answer_sends_everything() -> None:
    plan = continue_pinned([NeutralMessage("system", "S"), Q1, Q2], "s", UNKNOWN, empty=False)
    assert plan.messages == (NeutralMessage("system", "S"), Q1, Q2)
    only = continue_pinned([NeutralMessage("system", "S")], "s", UNKNOWN, empty=False)
    assert only.messages == (user("S"),)
    with pytest.raises(InvalidInputError):
        continue_pinned([], "s", UNKNOWN, empty=False)


def held(*texts: str, signals: bool = True) -> list[Message]:
    found = []
    for n, text in enumerate(texts):
        role = "assistant" if n % 2 else "user"
        found.append(Message(role=role, message=text, signal_id=f"sig-{n // 2 + 1}" if signals else None))  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize(
    ("history", "anchor", "moved"),
    [
        (held("one", "first"), A1, False),
        (held("one", "first", "two"), A1, True),
        (held("one", "first", "two", "second"), A1, True),
        (held("one", "first", "two", "second"), A2, False),
        (held("one", "first", signals=False), A1, False),
        (held("one", "first", "two", signals=False), A1, True),
        # the same answer twice: the one in the anchor's own place counts
        (held("one", "first", "two", "first", signals=False), A1, True),
        # an answer that the history does not show proves nothing by itself, a later turn does
        (held("one", "trimmed", signals=False), A1, False),
        (held("one", "trimmed", "two", "x", signals=False), A1, True),
        ([], A1, False),
    ],
)
def test_only_a_later_user_turn_proves_that_the_head_moved(
    history: list[Message], anchor: NeutralMessage, moved: bool
) -> None:
    assert anchor.anchor is not None
    assert head_moved(history, anchor.anchor) == moved


def test_an_anchor_survives_its_metadata() -> None:
    lineage = Lineage("p", ("a", "b"), ("received", "c"), "d", 3)
    assert Lineage.from_json(lineage.to_json()) == lineage
    metadata = {"model_provider": "meibel", "agent_id": "a", "session_id": "s", "lineage": lineage.to_json()}
    anchor = Anchor.from_metadata(metadata, provider="meibel", agent=AgentRef("a"))
    assert anchor == Anchor("s", head_marker(None, 3, "c"), lineage, AgentRef("a"))
    for change in ({"model_provider": "x"}, {"agent_id": "b"}, {"session_id": None}, {"lineage": None}):
        assert Anchor.from_metadata({**metadata, **change}, provider="meibel", agent=AgentRef("a")) is None
    for broken in (None, 7, {}, {"answers": ["x"], "carried": "text"}, {"answers": [], "carried": []}):
        assert Lineage.from_json(broken) is None


# Instructions, and what the ledger knows

S, S2 = NeutralMessage("system", "Be brief."), NeutralMessage("system", "Be kind.")
IN_FORCE = digest_of_instructions([S])


def instructed(system: str | None) -> NeutralMessage:
    lineage = Lineage(None, (digest(Q1),), (digest(NeutralMessage("assistant", "first")),), system, 1)
    return NeutralMessage("assistant", "first", None, Anchor("s", "sig-1", lineage))


def test_a_departure_says_what_it_is() -> None:
    assert walk_back([user("inserted"), Q1, A1], 2).departure is Divergence.INSERTED_BEFORE
    assert walk_back([user("edited"), A1], 1).departure is Divergence.EDITED_MESSAGE
    assert walk_back([Q1, NeutralMessage("assistant", "edited", None, A1.anchor)], 1).departure is (
        Divergence.EDITED_ANSWER
    )


def test_instructions_are_withdrawn_only_from_a_list_that_has_its_head() -> None:
    assert departure([Q1, instructed(IN_FORCE), Q2], 1) is Divergence.WITHDRAWN_INSTRUCTIONS
    assert departure([instructed(IN_FORCE), Q2], 0) is None
    assert departure([S, Q1, instructed(IN_FORCE), Q2], 2) is None
    assert departure([Q1, instructed(None), Q2], 1) is None


def test_instructions_are_sent_again_when_they_changed_and_stay_in_force() -> None:
    same = continue_session([S, Q1, instructed(IN_FORCE), Q2], 2, UNKNOWN, None)
    assert (same.messages, same.system) == ((Q2,), IN_FORCE)
    changed = continue_session([S2, Q1, instructed(IN_FORCE), Q2], 2, UNKNOWN, None)
    assert (changed.messages, changed.system) == ((S2, Q2), digest_of_instructions([S2]))
    headless = continue_session([instructed(IN_FORCE), Q2], 0, UNKNOWN, None)
    assert (headless.messages, headless.system) == ((Q2,), IN_FORCE)


def test_what_is_known_of_a_session_counts_at_its_head_only() -> None:
    read = NeutralMessage("assistant", "first", None, Anchor("s", "sig-1"))  # from the server: no lineage
    ours = SessionState(head="sig-1", turns=4, instructions=IN_FORCE)
    moved = SessionState(head="sig-2", turns=5, instructions=IN_FORCE)
    talk = [S, Q1, read, Q2]
    assert continue_session(talk, 2, ours, 9).messages == (Q2,)
    assert continue_session(talk, 2, ours, 9).turn == 5
    assert continue_session(talk, 2, moved, 9).messages == (S, Q2)
    assert continue_session(talk, 2, moved, 9).turn == 10
    assert continue_session(talk, 2, moved, None).turn is None
    assert continue_pinned(talk, "s", ours, empty=False).messages == (Q2,)
    assert continue_pinned(talk, "s", moved, empty=False).messages == (S, Q2)
