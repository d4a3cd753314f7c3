"""Running an answerer in a thread of its own, and folding what it says into an answer.

An answerer may block as long as it likes; each gets its own thread, so that no number of blocked ones can starve the
others. The threads are daemons: an answerer that never returns must not keep the process from ending.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, nullcontext

from meibel_integrations.local.answerers.interface import Delta, Done, Step, Thinking
from meibel_integrations.local.store.step_codec import LogStep, is_log_step

_AHEAD = 4096


class AnswererError(Exception):
    """The answerer broke its contract, or a limit; the turn fails with this text."""


class Production:
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


class AnswerFold:
    """What the steps so far add up to; checks the answerer's contract."""

    def __init__(self, max_chars: int) -> None:
        self._max_chars = max_chars
        self._text: list[str] = []
        self._thinking: list[str] = []
        self._chars = 0
        self.count = 0
        self.done: Done | None = None

    @property
    def text(self) -> str:
        return "".join(self._text)

    @property
    def thinking(self) -> str:
        return "".join(self._thinking)

    def add(self, steps: Sequence[Step]) -> list[LogStep]:
        """Take steps in; those that belong into the event log."""
        logged: list[LogStep] = []
        for step in steps:
            if self.done is not None:
                raise AnswererError("the answerer went on after its end (Done)")
            if isinstance(step, Done):
                self._finish(step)
                continue
            if not is_log_step(step):
                raise AnswererError(f"the answerer gave {type(step).__name__!r}, which is not a step")
            if isinstance(step, Delta | Thinking):
                said = step.text if isinstance(step, Delta) else step.delta
                if not said:
                    continue
                (self._text if isinstance(step, Delta) else self._thinking).append(said)
                self._chars += len(said)
                if self._chars > self._max_chars:
                    raise AnswererError(f"the answer is longer than {self._max_chars} characters")
            logged.append(step)
        self.count += len(logged)
        return logged

    def _finish(self, done: Done) -> None:
        length = sum(map(len, self._text))
        for citation in done.citations:
            if not 0 <= citation.position <= length:
                raise AnswererError(f"a citation stands at {citation.position}, outside of the answer's {length}")
            if not all(0 <= index < len(done.sources) for index in citation.sources):
                raise AnswererError(f"a citation names a source that is not there: {citation.sources}")
        self.done = done
