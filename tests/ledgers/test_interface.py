"""The changes of a session's state: each by itself as a property, and all of them against a service that remembers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from pydantic import SecretStr

from meibel_integrations import errors
from meibel_integrations.ledgers import interface, marks
from meibel_integrations.ledgers.entry import SessionBook, SessionEntry
from meibel_integrations.ledgers.interface import UNKNOWN, SessionState, head_marker
from meibel_integrations.ledgers.marks import TurnMark
from meibel_integrations.ledgers.memory import MemoryLedger
from meibel_integrations.protocol.commands import Call, Flow
from tests.support.playing import NOW, play

MINE, FOREIGN = TurnMark("mine", "here", "text"), TurnMark("foreign", "there", "other")
PROCESS_LEDGER = st.sampled_from([None, "h0", "h1"])
COUNTS = st.none() | st.integers(0, 3)
STATES = st.builds(
    SessionState,
    version=st.integers(0, 5),
    head=PROCESS_LEDGER,
    turns=COUNTS,
    instructions=st.sampled_from([None, "i"]),
    superseded=st.sampled_from([(), ("h8", "h9")]),
    mark=st.sampled_from([None, MINE, FOREIGN]),
)


def without(state: SessionState, *names: str) -> SessionState:
    """The state but for these fields."""
    return dataclasses.replace(state, **{name: getattr(UNKNOWN, name) for name in names})


@given(STATES, st.integers(0, 5))
def test_a_turn_is_taken_by_whoever_saw_the_newest_state_and_nobody_else(state: SessionState, expected: int) -> None:
    after, taken = interface.take(MINE, expected)(state)
    assert taken == (state.version == expected and state.mark is None)
    assert after.mark == (MINE if taken else state.mark)
    assert without(after, "mark") == without(state, "mark")
    if taken:
        assert interface.forget(MINE)(after)[0] == state, "a turn that did not run leaves no trace"


@given(STATES, COUNTS, st.floats(0, 9))
def test_a_mark_is_changed_by_its_owner_only(state: SessionState, turns: int | None, expires: float) -> None:
    owned = state.mark == MINE
    changes: list[Callable[[SessionState], tuple[SessionState, Any]]] = [
        interface.renew(MINE, expires),
        interface.abandon(MINE),
        interface.forget(MINE),
        interface.clear(MINE, turns),
    ]
    renewed, abandoned, forgotten, cleared = (change(state)[0] for change in changes)
    if not owned:
        # the very same object: nobody who waits for a change is woken up
        assert renewed is abandoned is forgotten is cleared is state
        assert changes[0](state)[1] is False
        return
    assert changes[0](state)[1] is True
    assert renewed == dataclasses.replace(state, mark=dataclasses.replace(MINE, expires=expires))
    assert abandoned == dataclasses.replace(state, mark=dataclasses.replace(MINE, open=False))
    assert forgotten == dataclasses.replace(state, mark=None)
    assert (cleared.mark, cleared.head, cleared.turns) == (None, None, turns)
    assert cleared.superseded == (*state.superseded, *filter(None, [state.head]))


@given(STATES, st.sampled_from(["h1", "h2"]), COUNTS, st.sampled_from([None, "j"]))
def test_a_complete_turn_is_the_head_unless_another_one_was_sent(
    state: SessionState, head: str, turns: int | None, instructions: str | None
) -> None:
    after, _ = interface.settle(MINE, head=head, turns=turns, instructions=instructions)(state)
    older = (*state.superseded, *filter(None, [state.head]))
    if state.mark == FOREIGN:
        assert (after.head, after.turns, after.superseded) == (None, None, older)
        assert after.mark is not None
        assert after.mark.id == FOREIGN.id, "the other turn goes on"
    else:
        assert (after.head, after.turns, after.instructions, after.mark) == (head, turns, instructions, None)
        assert after.superseded == (state.superseded if state.head == head else older)


def test_of_two_turns_at_once_neither_is_the_head_whichever_ends_first() -> None:
    for first, second in ((0, 1), (1, 0)):
        entry = SessionBook(MemoryLedger(), "http://x.test", SecretStr("k")).entry("s")
        play(entry.opened())
        begun = [play(entry.begin("text")).result for _ in range(2)]
        assert [before for _, before in begun] == [0, None]
        for n in (first, second):
            play(entry.settle(begun[n][0], head=f"h{n}", turns=1))
        state = play(entry.read()).result
        assert (state.head, state.turns, state.mark, state.superseded) == (None, None, None, ())


@given(STATES, st.integers(0, 3))
def test_a_history_counts_where_no_turn_is_in_flight(state: SessionState, turns: int) -> None:
    after, _ = interface.count_turns(turns)(state)
    if state.mark is not None and not state.mark.open and state.turns is not None and turns > state.turns:
        assert (after.mark, after.turns, after.head) == (None, turns, None), "the turn whose stream was left is over"
    elif state.mark is not None or state.turns == turns:
        assert after is state
    else:
        assert after.turns == turns
        assert after.head == (state.head if state.turns is None else None), "somebody else went on"


@given(STATES, st.sampled_from([None, MINE]))
def test_a_new_session_knows_nothing_of_an_older_one(state: SessionState, mark: TurnMark | None) -> None:
    after, _ = interface.open_session(mark)(state)
    assert after == SessionState(version=state.version, turns=0, mark=mark)


def test_superseded_answers_are_forgotten_in_their_order() -> None:
    state = UNKNOWN
    for n in range(300):
        state, _ = interface.settle(MINE, head=f"h{n}", turns=n, instructions=None)(state)
    assert state.head == "h299"
    assert state.superseded == tuple(f"h{n}" for n in range(43, 299))


def test_an_answer_is_marked_by_its_signal_or_its_place_and_text() -> None:
    assert head_marker("sig", 3, "digest") == "sig"
    assert head_marker(None, 3, "digest") == "3:digest"
    assert head_marker(None, None, "digest") == "?:digest"


# A session at a service, used by clients that do not ask each other, with the ledger between them


@dataclass
class Turn:
    """One turn of ours: what the ledger was told of it, and what really happened."""

    mark: TurnMark
    before: int | None
    posted: bool = False
    reading: bool = True


class Sessions(RuleBasedStateMachine):
    """The ledger may confirm and never mislead: when no turn of ours is being read, what it says is so."""

    def __init__(self) -> None:
        super().__init__()
        self.entry = SessionBook(MemoryLedger(), "http://x.test", SecretStr("k")).entry("s")
        self.history: list[list[Any]] = []  # [mark's id, answered] of each turn that the service has
        self.turns: list[Turn] = []
        self.seen: list[SessionState] = [self.state]
        self.run(self.entry.opened())

    def run(self, flow: Flow[Any]) -> Any:
        ran = play(flow)
        assert ran.error is None
        return ran.result

    @property
    def state(self) -> SessionState:
        found: SessionState = self.run(self.entry.read())
        return found

    def reading(self, *, posted: bool | None = None) -> list[Turn]:
        return [turn for turn in self.turns if turn.reading and posted in (None, turn.posted)]

    @rule()
    def client_sends(self) -> None:
        mark, before = self.run(self.entry.begin("text"))
        self.turns.append(Turn(mark, before))

    @rule()
    def model_looks(self) -> None:
        self.seen.append(self.state)

    @rule(data=st.data())
    def model_takes(self, data: st.DataObject) -> None:
        state = data.draw(st.sampled_from(self.seen))
        now = self.state
        mark = self.run(self.entry.take(state, "text"))
        assert (mark is not None) == (state.version == now.version and now.mark is None)
        if mark is not None:
            self.turns.append(Turn(mark, state.turns))

    @precondition(lambda self: self.reading(posted=False))
    @rule(data=st.data())
    def arrives(self, data: st.DataObject) -> None:
        turn = data.draw(st.sampled_from(self.reading(posted=False)))
        turn.posted = True
        self.history.append([turn.mark.id, False])

    @precondition(lambda self: self.reading(posted=False))
    @rule(data=st.data())
    def is_refused(self, data: st.DataObject) -> None:
        turn = data.draw(st.sampled_from(self.reading(posted=False)))
        turn.reading = False
        self.run(self.entry.forget(turn.mark))

    @precondition(lambda self: self.reading(posted=True))
    @rule(data=st.data())
    def is_answered(self, data: st.DataObject) -> None:
        self.answer(data.draw(st.sampled_from(self.reading(posted=True))))

    @precondition(lambda self: self.reading())
    @rule(data=st.data())
    def all_are_answered(self, data: st.DataObject) -> None:
        for turn in data.draw(st.permutations(self.reading(posted=False))):
            turn.posted = True
            self.history.append([turn.mark.id, False])
        for turn in data.draw(st.permutations(self.reading())):
            self.answer(turn)

    @precondition(lambda self: self.reading())
    @rule(data=st.data())
    def is_left(self, data: st.DataObject) -> None:
        turn = data.draw(st.sampled_from(self.reading()))
        turn.reading = False
        play(self.entry.record(turn.mark, failing(errors.TurnOutcomeUnknown("left"))))

    @precondition(lambda self: any(not answered for _, answered in self.history))
    @rule()
    def service_finishes(self) -> None:
        for item in self.history:
            item[1] = True

    @precondition(lambda self: not self.reading() and all(answered for _, answered in self.history))
    @rule()
    def history_is_read(self) -> None:
        state = self.state
        if state.mark is None:
            self.run(self.entry.count_turns(len(self.history)))
        else:
            assert not state.mark.open, "nobody reads a stream"
            self.run(self.entry.clear(state.mark, len(self.history)))

    def answer(self, turn: Turn) -> None:
        turn.reading = False
        for item in self.history:
            item[1] = item[1] or item[0] == turn.mark.id
        number = None if turn.before is None else turn.before + 1
        self.run(self.entry.settle(turn.mark, head=turn.mark.id, turns=number))

    @invariant()
    def what_is_known_is_so(self) -> None:
        state = self.state
        if self.reading() or state.mark is not None:
            return
        newest = self.history[-1][0] if self.history else None
        assert state.head in (None, newest)
        assert state.turns in (None, len(self.history))
        assert newest not in state.superseded or state.head is None


def failing(error: errors.MeibelIntegrationError) -> Flow[Any]:
    raise error
    yield


TestSessions = Sessions.TestCase
TestSessions.settings = settings(TestSessions.settings, stateful_step_count=20)


# The frame around a turn


@pytest.mark.parametrize(
    ("error", "mark", "turns"),
    [
        (errors.NotSentError("x"), None, 0),
        (errors.ConflictError("x", status_code=409), None, 0),
        (errors.RedirectError("x"), None, 0),
        (errors.InvalidInputError("x"), None, 0),
        (errors.AgentTurnError("x"), None, None),
        (errors.TurnOutcomeUnknown("x"), False, 0),
        (errors.StreamInterrupted("x"), False, 0),
        (errors.ProtocolError("x"), False, 0),
        (errors.ConnectionLostError("x"), False, 0),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_a_failed_turn_is_settled_as_what_it_is(
    error: errors.MeibelIntegrationError, mark: bool | None, turns: int | None
) -> None:
    entry = SessionBook(MemoryLedger(), "http://x.test", SecretStr("k")).entry("s")

    def turn() -> Flow[None]:
        yield from entry.opened()
        taken, before = yield from entry.begin("text")
        assert before == 0
        yield from entry.record(taken, failing(error))

    ran = play(turn())
    assert ran.error is error
    assert ran.commands[-1].call is None, "a turn that ended is not left any more"
    state = play(entry.read()).result
    assert (None if state.mark is None else state.mark.open) == mark
    assert state.turns == turns


class Leased(MemoryLedger):
    """A ledger of several processes: a mark outlives its owner only for a while."""

    lease = 30.0


def test_a_mark_has_its_ledgers_lease() -> None:
    for ledger, expires in ((MemoryLedger(), None), (Leased(), NOW.timestamp() + 30.0)):
        entry = SessionBook(ledger, "http://x.test", SecretStr("k")).entry("s")
        assert play(entry.open("text")).result.expires == expires
        assert play(entry.read()).result.mark.expires == expires


def entries(*names: tuple[str, str, str]) -> list[SessionEntry]:
    ledger = MemoryLedger()
    return [SessionBook(ledger, url, SecretStr(key)).entry(session) for url, key, session in names]


def test_a_session_is_its_address_its_keys_digest_and_its_id() -> None:
    first, *others = entries(
        ("http://a", "secret", "s"),
        ("http://b", "secret", "s"),
        ("http://a", "other", "s"),
        ("http://a", "secret", "t"),
    )
    play(first.open("text"))
    assert [play(other.read()).result for other in others] == [UNKNOWN] * 3
    (again,) = entries(("http://a", "secret", "s"))
    assert again._key == first._key, "the same in every process"
    assert "secret" not in first._key


def test_marks_tell_all_turns_apart_and_know_who_holds_them() -> None:
    mine, another = marks.mark_turn("text"), marks.mark_turn("text")
    assert mine.id != another.id
    assert marks.holds(mine)
    assert not marks.holds(dataclasses.replace(mine, open=False))
    assert not marks.holds(dataclasses.replace(mine, id="x", holder="elsewhere"))
    assert marks.holds(dataclasses.replace(mine, holder="elsewhere")), "a thread that this one's context was given to"


def known_entry(turns: int = 3) -> SessionEntry:
    entry = SessionBook(MemoryLedger(), "http://x.test", SecretStr("k")).entry("s")
    play(entry.count_turns(turns))
    return entry


def test_who_loses_the_race_for_a_session_sends_without_a_number_to_count_from() -> None:
    entry, calls = known_entry(), 0

    def interfere(command: Any) -> None:
        nonlocal calls
        calls += isinstance(command, Call)
        if calls == 2 and isinstance(command, Call):  # between the look and the taking
            calls += 1
            assert play(entry.begin("theirs")).result[1] == 3

    mark, before = play(entry.begin("mine"), before=interfere).result
    assert (before, mark.alone) == (None, False)
    state = play(entry.read()).result
    assert (state.mark.text, state.mark.alone) == ("theirs", False)


def test_a_refused_turn_that_was_not_alone_leaves_no_count() -> None:
    entry = known_entry()
    mark, _ = play(entry.begin("mine")).result
    play(entry.begin("theirs"))
    play(entry.forget(mark))
    state = play(entry.read()).result
    assert (state.turns, state.head, state.mark) == (None, None, None)


def test_anybody_may_clear_a_turn_and_wakes_whoever_waits() -> None:
    entry = known_entry()
    mark, _ = play(entry.begin("mine")).result
    state = play(entry.read()).result
    (wait,) = play(entry.wait(state, 9.0)).commands
    assert wait.seconds == 9.0
    assert not wait.wakeup.wait(0.001)
    play(entry.clear(mark, 4))
    assert wait.wakeup.wait(9.0)
    after = play(entry.read()).result
    assert (after.turns, after.mark) == (4, None)
