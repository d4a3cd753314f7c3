"""What the steps of an answerer add up to."""

from __future__ import annotations

from collections.abc import Sequence

from meibel_integrations.local.store.step_codec import LogStep, is_log_step
from meibel_integrations.local.store.steps import Delta, Done, Step, Thinking


class AnswererError(Exception):
    """The answerer broke its contract, or a limit; the turn fails with this text."""


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
