"""The ledger in memory: atomic from any thread and task, wakes whoever waits, and forgets the oldest."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pydantic import SecretStr

from meibel_integrations.ledgers import interface
from meibel_integrations.ledgers.entry import SessionBook
from meibel_integrations.ledgers.interface import UNKNOWN, SessionState
from meibel_integrations.ledgers.marks import TurnMark
from meibel_integrations.ledgers.memory import MemoryLedger
from tests.support.playing import play

LONG = 60.0
"""A wait that would fail the test by its length."""


def mark(name: str) -> TurnMark:
    return TurnMark(name, name, "text")


def read(ledger: MemoryLedger, key: str = "s") -> SessionState:
    return ledger.update(key, lambda state: (state, state))


def touch(state: SessionState) -> tuple[SessionState, None]:
    return dataclasses.replace(state), None


def test_every_change_has_its_version_and_a_look_has_none() -> None:
    ledger = MemoryLedger()
    assert read(ledger) is UNKNOWN
    ledger.update("s", interface.count_turns(3))
    ledger.update("s", interface.count_turns(3))
    assert read(ledger) == SessionState(version=1, turns=3)
    assert read(ledger, "t") is UNKNOWN


def test_of_many_threads_one_takes_a_version() -> None:
    ledger, count = MemoryLedger(), 16
    together = threading.Barrier(count)

    def take(name: int) -> bool:
        together.wait(10)
        return ledger.update("s", interface.take(mark(str(name)), version))

    with ThreadPoolExecutor(count) as pool:
        for _ in range(20):
            version = read(ledger).version
            won = list(pool.map(take, range(count)))
            assert won.count(True) == 1
            assert read(ledger).mark == mark(str(won.index(True)))
            assert read(ledger).version == version + 1
            ledger.update("s", interface.forget(mark(str(won.index(True)))))


async def test_of_many_tasks_one_takes_a_version() -> None:
    ledger = MemoryLedger()
    won = await asyncio.gather(*(ledger.aupdate("s", interface.take(mark(str(n)), 0)) for n in range(50)))
    assert won.count(True) == 1


def test_no_change_of_many_threads_is_lost() -> None:
    ledger = MemoryLedger()

    def one_more(state: SessionState) -> tuple[SessionState, None]:
        return dataclasses.replace(state, turns=(state.turns or 0) + 1), None

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: ledger.update("s", one_more), range(800)))
    assert read(ledger) == SessionState(version=800, turns=800)


def test_a_change_from_within_a_change_is_not_lost() -> None:
    """The garbage collector may close a stream, and so abandon its turn, in the middle of a change."""
    ledger, tries = MemoryLedger(), 0

    def interrupted(state: SessionState) -> tuple[SessionState, int | None]:
        nonlocal tries
        tries += 1
        if tries == 1:
            ledger.update("s", interface.count_turns(7))
        return dataclasses.replace(state, head="h"), state.turns

    assert ledger.update("s", interrupted) == 7, "it was made again, upon the other one"
    assert tries == 2
    assert read(ledger) == SessionState(version=2, turns=7, head="h")


# Waiting


def waiting(ledger: MemoryLedger) -> bool:
    return bool(ledger._sleepers)


def start(target: Any) -> threading.Thread:
    thread = threading.Thread(target=target)
    thread.start()
    return thread


def test_a_change_wakes_up_threads_and_tasks_whoever_makes_it() -> None:
    for change_from_task in (False, True):
        ledger, woken = MemoryLedger(), list[Any]()
        both = threading.Event()

        async def sleep(ledger: MemoryLedger = ledger, woken: list[Any] = woken) -> None:
            woken.append(await ledger.watch("s", 0).await_(LONG))

        threads = [
            start(lambda ledger=ledger, woken=woken: woken.append(ledger.watch("s", 0).wait(LONG))),
            start(lambda sleep=sleep: asyncio.run(sleep())),
        ]
        while sum(map(len, ledger._sleepers.values())) < 2:
            both.wait(0.001)
        ledger.update("t", touch)
        assert woken == [], "another session's change"
        if change_from_task:
            asyncio.run(ledger.aupdate("s", touch))
        else:
            ledger.update("s", touch)
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()
        assert woken == [True, True]
        assert not waiting(ledger)


async def test_what_has_changed_already_is_not_waited_for() -> None:
    ledger = MemoryLedger()
    watch = ledger.watch("s", 0)
    ledger.update("s", touch)
    assert watch.wait(LONG)
    assert await watch.await_(LONG)


async def test_a_wait_ends_with_its_time_and_leaves_nothing() -> None:
    ledger = MemoryLedger()
    assert not ledger.watch("s", 0).wait(0.001)
    assert not await ledger.watch("s", 0).await_(0.001)
    task = asyncio.ensure_future(ledger.watch("s", 0).await_(LONG))
    while not waiting(ledger):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not waiting(ledger)


def test_a_change_does_not_mind_a_loop_that_is_gone() -> None:
    ledger = MemoryLedger()
    loop = asyncio.new_event_loop()
    task = loop.create_task(ledger.watch("s", 0).await_(LONG))
    loop.run_until_complete(asyncio.sleep(0))
    assert waiting(ledger)
    wakers = [*ledger._sleepers["s"]]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    loop.close()
    ledger._sleepers["s"] = set(wakers)  # as if the loop had ended without a word
    ledger.update("s", touch)
    assert read(ledger).version == 1


def test_two_waiters_of_one_session_are_two() -> None:
    ledger, woken = MemoryLedger(), list[bool]()
    threads = [start(lambda: woken.append(ledger.watch("s", 0).wait(LONG))) for _ in range(2)]
    while sum(map(len, ledger._sleepers.values())) < 2:
        threading.Event().wait(0.001)
    assert not ledger.watch("s", 0).wait(0.001), "one that gives up takes nobody along"
    assert sum(map(len, ledger._sleepers.values())) == 2
    ledger.update("s", touch)
    for thread in threads:
        thread.join(10)
    assert woken == [True, True]


# Memory


def test_the_sessions_used_last_are_remembered() -> None:
    ledger = MemoryLedger(max_sessions=2)
    for key in ("a", "b", "a", "c"):
        ledger.update(key, touch)
    assert [read(ledger, key).version for key in "abc"] == [2, 0, 1]
    for key in "abc":
        ledger.remember(key, key.upper())
    assert [ledger.recall(key) for key in "abc"] == [None, "B", "C"]


def test_everything_can_be_forgotten() -> None:
    ledger = MemoryLedger()
    ledger.update("s", touch)
    ledger.remember("w", "delta")
    ledger.clear()
    assert read(ledger) is UNKNOWN
    assert ledger.recall("w") is None


def test_what_an_agents_partials_proved_to_be_is_remembered_for_that_agent() -> None:
    ledger = MemoryLedger()
    book = SessionBook(ledger, "http://x.test", SecretStr("k"))
    seen: list[object] = []

    def turn(proves: object) -> Any:
        def flow(proven: Any) -> Any:
            seen.append(proven.reading)
            proven.reading = proves
            return "done"
            yield

        return flow

    assert play(book.reading_partials("a", turn("snapshot"))).result == "done"
    play(book.reading_partials("a", turn("snapshot")))
    play(book.reading_partials("b", turn(None)))
    assert seen == [None, "snapshot", None]


def test_words_are_remembered_by_tasks_too() -> None:
    async def remember() -> str | None:
        ledger = MemoryLedger()
        await ledger.aremember("key", "word")
        return await ledger.arecall("key")

    assert asyncio.run(remember()) == "word"


def test_a_turn_that_is_left_keeps_its_mark_for_whoever_comes_next() -> None:
    book = SessionBook(MemoryLedger(), "http://x.test", SecretStr("k"))
    entry = book.entry("s")
    begun, _ = play(entry.begin("digest")).result
    play(entry.abandon(begun))
    state = play(entry.read()).result
    assert state.mark is not None
    assert not state.mark.open
