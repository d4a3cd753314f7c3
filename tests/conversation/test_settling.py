"""Waiting for a session's turn in flight: on the ledger while somebody reads it, on the history when nobody does."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import SecretStr

from meibel_integrations import errors
from meibel_integrations.config import RecoveryPolicy
from meibel_integrations.conversation.settling import until_settled
from meibel_integrations.ledgers import interface
from meibel_integrations.ledgers.entry import SessionBook, SessionEntry
from meibel_integrations.ledgers.interface import SessionState
from meibel_integrations.ledgers.marks import TurnMark
from meibel_integrations.ledgers.memory import MemoryLedger
from meibel_integrations.protocol import transcript
from meibel_integrations.protocol.commands import Call, Now, Send, Sleep, Wait
from meibel_integrations.transports.clock import SystemClock
from meibel_integrations.transports.drivers import arun, run
from tests.support.playing import NOW, SERVICE, Ran, answer, play

PATIENT = RecoveryPolicy(grace=5.0, deadline=120.0)
QUESTION = transcript.digest("user", "hi")
ELSEWHERE = TurnMark("m1", "another thread", QUESTION)


class Taken:
    """A session with a turn in flight, which another thread or task has sent."""

    def __init__(self, mark: TurnMark = ELSEWHERE, *, turns: int | None = 0) -> None:
        self.ledger = MemoryLedger()
        self.entry: SessionEntry = SessionBook(self.ledger, "http://x.test", SecretStr("k")).entry("s")
        self.mark = mark
        state = SessionState(turns=turns, head="h0" if turns else None, mark=mark)
        self.ledger.update(self.entry._key, lambda _: (state, None))

    def settle(self) -> None:
        play(self.entry.settle(self.mark, head="h1", turns=1))

    def flow(self, recovery: RecoveryPolicy = PATIENT) -> Any:
        return until_settled(SERVICE, self.entry, "s", recovery)

    def wait(self, *answers: Any, recovery: RecoveryPolicy = PATIENT, **options: Any) -> Ran:
        return play(self.flow(recovery), *answers, **options)

    @property
    def somebody_waits(self) -> bool:
        return bool(self.ledger._sleepers)


def kinds(ran: Ran) -> list[type]:
    return [type(command) for command in ran.commands]


def history(*messages: tuple[str, str], **more: Any) -> Any:
    return answer({"messages": [{"type": role, "message": text, "signal_id": "g1"} for role, text in messages], **more})


ASKED, ANSWERED = ("user", "hi"), ("assistant", "yo")


def test_who_waits_for_a_reader_asks_nobody_and_looks_once_more() -> None:
    taken = Taken()

    def settle(command: Any) -> None:
        if isinstance(command, Wait):
            taken.settle()

    ran = taken.wait(before=settle)
    assert kinds(ran) == [Now, Call, Now, Wait, Call], "one wait, however long the other turn takes"
    (wait,) = (command for command in ran.commands if isinstance(command, Wait))
    assert wait.seconds == PATIENT.deadline
    assert (ran.result.head, ran.result.mark) == ("h1", None)


def test_a_settled_session_is_not_waited_for() -> None:
    taken = Taken()
    taken.settle()
    assert kinds(taken.wait()) == [Now, Call]


def by_thread(taken: Taken, done: Callable[[SessionState], object]) -> None:
    done(run(taken.flow(), transport=None, clock=SystemClock()))  # type: ignore[arg-type]


def by_task(taken: Taken, done: Callable[[SessionState], object]) -> None:
    async def wait() -> None:
        done(await arun(taken.flow(), transport=None, clock=SystemClock()))  # type: ignore[arg-type]

    asyncio.run(wait())


@pytest.mark.parametrize("waiter", [by_thread, by_task])
@pytest.mark.parametrize("settled_in_a_task", [False, True], ids=["by a thread", "by a task"])
def test_who_waits_wakes_up_when_the_other_turn_settles(waiter: Callable[..., None], settled_in_a_task: bool) -> None:
    """The wait itself would last two minutes."""
    taken, got = Taken(), list[SessionState]()
    thread = threading.Thread(target=waiter, args=(taken, got.append))
    thread.start()
    while not taken.somebody_waits:
        threading.Event().wait(0.001)
    if settled_in_a_task:

        async def settle() -> None:
            await taken.ledger.aupdate(
                taken.entry._key, interface.settle(taken.mark, head="h1", turns=1, instructions=None)
            )

        asyncio.run(settle())
    else:
        taken.settle()
    thread.join(10)
    assert not thread.is_alive()
    assert [state.head for state in got] == ["h1"]


async def test_tasks_of_one_loop_wait_for_each_other() -> None:
    taken = Taken()
    waiting = asyncio.ensure_future(arun(taken.flow(), transport=None, clock=SystemClock()))  # type: ignore[arg-type]
    while not taken.somebody_waits:
        await asyncio.sleep(0)
    taken.settle()
    assert (await asyncio.wait_for(waiting, 10)).head == "h1"


def test_nobody_waits_for_what_they_hold_themselves() -> None:
    taken = Taken()
    play(taken.entry.forget(taken.mark))
    play(taken.entry.open("text"))  # by this very thread
    ran = taken.wait()
    assert isinstance(ran.error, errors.SessionBusyError)
    assert "still being streamed here" in str(ran.error)
    assert set(ran.slept) == {0}, "rounds of the event loop, in which a stream that was dropped closes"


def test_a_stream_of_ones_own_that_closes_meanwhile_is_over() -> None:
    taken = Taken()
    play(taken.entry.forget(taken.mark))
    mark = play(taken.entry.open("text")).result
    ran = taken.wait(before=lambda c: isinstance(c, Sleep) and play(taken.entry.forget(mark)))
    assert (ran.error, ran.slept) == (None, [0])


def test_a_reader_who_is_too_slow_is_busy() -> None:
    ran = Taken().wait()
    assert isinstance(ran.error, errors.SessionBusyError)
    assert (ran.error.session_id, kinds(ran).count(Wait), kinds(ran).count(Send)) == ("s", 1, 0)
    assert "after 120 s" in str(ran.error)


# Streams that nobody reads any more

LEFT = dataclasses.replace(ELSEWHERE, open=False)


def waits(ran: Ran) -> list[float]:
    return [command.seconds for command in ran.commands if isinstance(command, Wait)]


def test_a_turn_that_nobody_reads_is_looked_for_now_and_then() -> None:
    running = history(ASKED)
    details = answer({})
    ran = Taken(LEFT).wait(*[running, details] * 3, history(ASKED, ANSWERED))
    assert ran.error is None
    assert waits(ran) == [0.2, 0.4, 0.8]
    assert (ran.result.turns, ran.result.mark, ran.result.head) == (1, None, None)


def test_a_turn_that_never_ends_is_busy_at_the_deadline() -> None:
    ran = Taken(LEFT).wait(history=[history(ASKED)])
    assert isinstance(ran.error, errors.SessionBusyError)
    assert max(waits(ran)) == 5.0
    assert sum(waits(ran)) == PATIENT.deadline


@pytest.mark.parametrize("turns", [0, None])
def test_a_turn_may_arrive_late_but_not_for_ever(turns: int | None) -> None:
    seen = history() if turns == 0 else history(("user", "else"), ANSWERED)
    ran = Taken(LEFT, turns=turns).wait(history=[seen])
    assert ran.error is None
    assert ran.result.mark is None
    assert ran.result.turns == (0 if turns == 0 else 1)
    assert 5.0 <= sum(waits(ran)) < 7.0, "as long as the grace, and one wait more"


@pytest.mark.parametrize("turns", [0, None])
def test_a_turn_that_has_arrived_and_ended_is_over_at_once(turns: int | None) -> None:
    ran = Taken(LEFT, turns=turns).wait(history(ASKED, ANSWERED))
    assert (waits(ran), ran.result.turns) == ([], 1)


def test_a_turn_that_failed_is_over() -> None:
    failed = answer({"failed_turns": [{"signal_id": "g1", "message": "no disk"}]})
    ran = Taken(LEFT).wait(history(ASKED), failed)
    assert (waits(ran), ran.result.turns) == ([], 1)
    told = history(ASKED, failed_turns=[{"signal_id": "g1", "message": "no disk"}])
    ran = Taken(LEFT).wait(told)
    assert (ran.gets, ran.result.turns) == (1, 1), "the history itself told"


def test_a_lease_that_runs_out_ends_the_wait_for_its_reader() -> None:
    leased = dataclasses.replace(ELSEWHERE, expires=NOW.timestamp() + 30.0)
    ran = Taken(leased).wait(history(ASKED, ANSWERED))
    assert waits(ran) == [30.0]
    assert (ran.gets, ran.result.turns) == (1, 1)
