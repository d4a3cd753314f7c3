"""The flow of a call where others use the session, too: lost races, refusals, and what the ledger is told."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from pydantic import SecretStr

from meibel_integrations import errors
from meibel_integrations.conversation.lineage import Divergence
from meibel_integrations.conversation.messages import Anchor, Lineage, NeutralMessage, digest
from meibel_integrations.conversation.options import RunOptions, Target
from meibel_integrations.conversation.run import ConversationRun
from meibel_integrations.ledgers import interface
from meibel_integrations.ledgers.entry import SessionBook
from meibel_integrations.ledgers.interface import SessionState
from meibel_integrations.ledgers.marks import TurnMark
from meibel_integrations.ledgers.memory import MemoryLedger
from meibel_integrations.protocol.agents import AgentRef
from meibel_integrations.protocol.commands import Call, WhenLeft
from tests.support.playing import SERVICE, Ran, answer, play, stream
from tests.support.wire_turns import TEXT, v2_turn

Q1, Q2 = NeutralMessage("user", "one"), NeutralMessage("user", "two")
SAID = digest(NeutralMessage("assistant", "first"))
A1 = NeutralMessage(
    "assistant", "first", None, Anchor("s", "sig-0", Lineage(None, (digest(Q1),), (SAID,), None, 1), AgentRef("a"))
)
SESSION = answer({"session_id": "s2", "agent_id": "a"})
HELD = [
    {"type": "user", "message": "one", "signal_id": "sig-0"},
    {"type": "assistant", "message": "first", "signal_id": "sig-0"},
]
HISTORY = answer({"messages": HELD})


class World:
    """A process's ledger, in which the session's head is the answer of the list."""

    def __init__(self, **known: Any) -> None:
        self.ledger = MemoryLedger()
        self.book = SessionBook(self.ledger, "http://x.test", SecretStr("k"))
        self.key = self.book.entry("s")._key
        state = SessionState(**{"head": "sig-0", "turns": 1, **known})
        self.ledger.update(self.key, lambda _: (state, None))
        self.run: ConversationRun

    def call(self, *answers: Any, races: int = 0, messages: Any = (Q1, A1, Q2), **options: Any) -> Ran:
        """Runs a call; somebody changes the session's state before its first ``races`` attempts to take it."""
        target = Target(AgentRef("a"))
        self.run = ConversationRun(SERVICE, self.book, target, list(messages), RunOptions(**options))
        calls = 0

        def interfere(command: Any) -> None:
            nonlocal calls
            if isinstance(command, Call):
                calls += 1
                if calls % 2 == 0 and calls <= 2 * races:
                    self.ledger.update(self.key, lambda state: (dataclasses.replace(state), None))

        return play(self.run.flow(), *answers, before=interfere)

    @property
    def state(self) -> SessionState:
        return self.ledger.update(self.key, lambda state: (state, state))


def how(ran: Ran) -> tuple[str, str, str | None]:
    result = ran.result
    return result.plan.continuity, result.plan.reason, result.reply.session_id


TURN = stream(*v2_turn())
CONTINUED = ("continued", "the newest answer names it", "s")


@pytest.mark.parametrize("races", [0, 1, 2])
def test_a_call_that_loses_a_race_plans_again(races: int) -> None:
    world = World()
    ran = world.call(TURN, races=races)
    assert how(ran) == CONTINUED
    assert [request.method for request in ran.sent] == ["POST"], "the ledger knew enough"
    assert (world.state.head, world.state.turns, world.state.mark) == ("sig-1", 2, None)
    assert world.state.superseded == ("sig-0",)


def test_a_call_that_loses_every_race_forks_at_the_third() -> None:
    world = World()
    ran = world.call(SESSION, TURN, races=3)
    assert how(ran) == ("forked", Divergence.UNSETTLED.value, "s2")
    assert world.state.head == "sig-0", "the session was left alone"


def test_a_call_that_loses_every_race_says_so_where_forks_are_errors() -> None:
    ran = World().call(races=3, on_divergence="error")
    assert isinstance(ran.error, errors.DivergenceError)
    assert Divergence.UNSETTLED.value in str(ran.error)
    assert ran.sent == []


def test_a_pinned_call_goes_on_until_it_has_the_session() -> None:
    world = World()
    ran = world.call(TURN, races=5, session_id="s")
    assert how(ran) == ("continued", "the caller named it", "s")


def test_an_unsettled_head_is_a_fork_and_no_wait() -> None:
    world = World(mark=TurnMark("m", "elsewhere", "text"))
    ran = world.call(SESSION, TURN)
    assert how(ran) == ("forked", Divergence.UNSETTLED.value, "s2")
    assert ran.slept == []
    assert world.state.mark is not None


def test_an_unsettled_head_is_waited_for_where_divergence_is_ignored() -> None:
    world = World(mark=TurnMark("m", "elsewhere", "text", open=False))
    ran = world.call(HISTORY, TURN, on_divergence="ignore", reconcile_grace=0)
    assert how(ran) == CONTINUED
    assert [request.method for request in ran.sent] == ["GET", "POST"]


def test_what_the_ledger_does_not_know_is_asked_for() -> None:
    world = World(head=None, turns=None)
    assert how(world.call(HISTORY, TURN)) == CONTINUED
    went_on = answer({"messages": [*HELD, {"type": "user", "message": "else", "signal_id": "sig-9"}]})
    ran = World(head=None, turns=None).call(went_on, SESSION, TURN)
    assert how(ran) == ("forked", Divergence.WENT_ON.value, "s2")
    ran = World(head=None).call(answer({}, 404), SESSION, TURN)
    assert how(ran) == ("forked", Divergence.GONE.value, "s2")


def test_a_known_head_is_asked_for_only_where_that_was_chosen() -> None:
    ran = World().call(HISTORY, TURN, check_head="always")
    assert [request.method for request in ran.sent] == ["GET", "POST"]


def test_an_answer_that_this_process_superseded_needs_no_look() -> None:
    ran = World(head="sig-5", superseded=("sig-0",)).call(SESSION, TURN)
    assert how(ran) == ("forked", Divergence.WENT_ON.value, "s2")
    assert [request.method for request in ran.sent] == ["POST", "POST"]
    ran = World(head="sig-5", superseded=("sig-0",)).call(TURN, on_divergence="ignore")
    assert how(ran) == CONTINUED


def test_an_ephemeral_call_has_a_session_of_its_own_and_tells_nobody() -> None:
    ran = World().call(SESSION, TURN, ephemeral=True, session_id="s")
    assert how(ran)[0::2] == ("seeded", "s2")
    told = ran.result.metadata()
    assert (told["session_id"], told["signal_id"], told["lineage"]) == (None, None, None)


@pytest.mark.parametrize(
    ("refusal", "details", "reason"),
    [
        (answer({"message": "gone"}, 404), [], Divergence.ENDED),
        (answer({"message": "gone"}, 410), [], Divergence.ENDED),
        (answer({"message": "over"}, 409), [answer({"status": "COMPLETED"})], Divergence.ENDED),
        (answer({"message": "over"}, 422), [answer({"status": "TERMINATED"})], Divergence.ENDED),
        (answer({"message": "busy"}, 409), [answer({"status": "RUNNING"})], Divergence.BUSY),
        (answer({"message": "busy"}, 409), [answer({}, 403)], Divergence.BUSY),
    ],
)
def test_a_session_that_refuses_is_replaced_or_told(refusal: Any, details: list[Any], reason: Divergence) -> None:
    world = World()
    ran = world.call(refusal, *details, SESSION, TURN)
    assert how(ran) == ("forked", reason.value, "s2")
    assert world.state.mark is None, "the refused turn did not run"
    assert world.state.head == "sig-0"
    ran = World().call(refusal, *details, session_id="s")
    kind = errors.SessionEndedError if reason is Divergence.ENDED else errors.SessionBusyError
    assert type(ran.error) is kind
    assert ran.error.session_id == "s"
    assert str(ran.error.cause.server_message) in str(ran.error)


def test_a_refusal_of_the_message_itself_is_told() -> None:
    ran = World().call(answer({"message": "too rude"}, 422), answer({"status": "RUNNING"}))
    assert type(ran.error) is errors.InvalidRequestError
    ran = World().call(SESSION, answer({"message": "no"}, 409), messages=[Q1])
    assert type(ran.error) is errors.ConflictError, "a session that was just opened is not replaced"
    assert ran.posts == 2


def test_a_turn_is_marked_before_it_is_sent_and_not_left_behind() -> None:
    ran = World().call(TURN)
    left = [command.call for command in ran.commands if isinstance(command, WhenLeft)]
    assert [call is not None for call in left] == [True, False]
    assert left[0] is not None
    world = World()
    ran = world.call(SESSION, TURN, messages=[Q1])
    left = [command.call for command in ran.commands if isinstance(command, WhenLeft)]
    assert [call is not None for call in left] == [True, False], "the first turn of a session, too"
    fresh = world.ledger.update(world.book.entry("s2")._key, lambda state: (state, state))
    assert (fresh.head, fresh.turns, fresh.mark) == ("sig-1", 1, None)


def test_a_lost_answer_behind_a_known_number_of_turns_is_found_by_its_text() -> None:
    found = answer({"messages": [*HELD, {"type": "user", "message": "two"}, {"type": "assistant", "message": TEXT}]})
    world = World()
    ran = world.call(errors.ConnectionLostError("cut"), found)
    assert (ran.result.reply.message, ran.result.reply.recovered) == (TEXT, True)
    assert world.state.turns == 2


def test_the_token_usage_is_asked_for_where_that_was_chosen() -> None:
    events = [*v2_turn()[:-1], v2_turn()[-1].replace(b"token_usage", b"nothing")]
    usage = {"token_usage": [{"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}]}
    ran = World().call(stream(*events), answer(usage), include_usage=True)
    assert ran.gets == 1
    assert ran.result.reply.usage is not None
    ran = World().call(stream(*events), answer({}, 403), include_usage=True)
    assert (ran.error, ran.result.reply.usage) == (None, None), "an answer is worth more than its price"


def test_settled_by_somebody_else_is_no_head() -> None:
    """A client sends into the session while the model's turn is in flight."""
    world, calls = World(), 0

    def interfere(command: Any) -> None:
        nonlocal calls
        calls += isinstance(command, Call)
        if calls == 3 and isinstance(command, Call):
            mark, _ = play(world.book.entry("s").begin("text")).result
            world.ledger.update(world.key, interface.settle(mark, head="theirs", turns=None, instructions=None))

    run = ConversationRun(SERVICE, world.book, Target(AgentRef("a")), [Q1, A1, Q2], RunOptions())
    assert play(run.flow(), TURN, before=interfere).error is None
    assert (world.state.head, world.state.turns, world.state.superseded) == (None, None, ("sig-0",))
