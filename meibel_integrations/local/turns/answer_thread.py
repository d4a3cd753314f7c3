"""Running an answerer in a thread of its own.

An answerer may block as long as it likes; each gets its own thread, so that no number of blocked ones can starve the
others. The threads are daemons: an answerer that never returns must not keep the process from ending.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext

from meibel_integrations.local.store.steps import Step
from meibel_integrations.local.turns.answer_fold import AnswererError

_AHEAD = 4096


class AnswerThread:
    """Steps on their way from an answerer's thread to the event loop.

    The thread waits when it is far ahead of what was stored, so that an endless answerer does not fill the memory.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str) -> None:
        self._loop = loop
        self._name = name
        self._changed = threading.Condition()
        self._available = asyncio.Event()
        self._steps: list[Step] = []
        self._ended = False
        self._abandoned = False
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    def start(self, answer: Callable[[], Iterator[Step]]) -> threading.Thread:
        self._thread = threading.Thread(target=self._run, args=(answer,), name=self._name, daemon=True)
        self._thread.start()
        return self._thread

    def _run(self, answer: Callable[[], Iterator[Step]]) -> None:
        error: BaseException | None = None
        try:
            steps = answer()
            # A generator that is left early is closed here, in its own thread, and not by the garbage collector.
            with closing(steps) if hasattr(steps, "close") else nullcontext():  # type: ignore[type-var]
                for step in steps:
                    if not self._put(step):
                        break
        except BaseException as caught:  # noqa: BLE001 - whatever an answerer raises is its turn's failure
            error = caught
        with self._changed:
            self._ended, self._error = True, error
        self._wake()

    def _put(self, step: Step) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._abandoned or len(self._steps) < _AHEAD)
            if self._abandoned:
                return False
            self._steps.append(step)
            first = len(self._steps) == 1
        if first:
            self._wake()
        return True

    def _wake(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._available.set)
        except RuntimeError:
            # The loop is closed: nobody waits for this answer any more.
            self.abandon()

    async def take(self) -> tuple[list[Step], bool]:
        """Everything that is there, as soon as there is anything; and whether it was the end.

        Raises:
            AnswererError: the answerer raised; its text is that of the cause.
        """
        while True:
            with self._changed:
                steps, self._steps = self._steps, []
                ended, error = self._ended, self._error
                self._available.clear()
                self._changed.notify_all()
            if steps:
                # An error is reported when all that was said before it has been taken.
                return steps, ended and error is None
            if error is not None:
                raise AnswererError(str(error) or type(error).__name__) from error
            if ended:
                return [], True
            await self._available.wait()

    def abandon(self) -> None:
        """Let the thread end at its next step."""
        with self._changed:
            self._abandoned = True
            self._changed.notify_all()
