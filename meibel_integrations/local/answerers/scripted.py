"""Answers that a test writes down beforehand."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from meibel_integrations.local.answerers.interface import Question
from meibel_integrations.local.store.steps import Delta, Done, Step

__all__ = ["Pause", "ScriptedAnswerer", "count_usage"]


class Pause:
    """A step that waits, so that a test can hold a turn in its middle.

    ``reached`` is set when the turn stands here; setting ``event`` (or calling ``release``) lets it go on.
    """

    def __init__(self, event: threading.Event | None = None) -> None:
        self.event = event or threading.Event()
        self.reached = threading.Event()

    def release(self) -> None:
        self.event.set()


Script = str | Exception | Iterable[Step | Pause]
Answer = Script | Callable[[Question], Script]


class ScriptedAnswerer:
    """Gives the answers that it was given.

    Args:
        answers: a sequence of answers, one per question in the order of their arrival; a mapping from the question's
            text to its answer; or one callable that answers every question. An answer is a text (streamed word by
            word), a list of steps (with ``Pause`` between them, if wanted; a ``Done`` at its end is added where it is
            missing), an exception to raise, or a callable that makes one of these from the ``Question``.
        repeat_last: whether the last answer of a sequence serves all further questions. Otherwise a question too many
            fails its turn.

    Attributes:
        questions: the questions that it received, in order.
    """

    def __init__(
        self,
        answers: Sequence[Answer] | Mapping[str, Answer] | Callable[[Question], Script],
        *,
        repeat_last: bool = False,
    ) -> None:
        if isinstance(answers, str):
            answers = [answers]
        self._answers = answers
        self._repeat_last = repeat_last
        self._lock = threading.Lock()
        self._waiting: set[Pause] = set()
        self._given_up: set[Pause] = set()
        self.questions: list[Question] = []

    def answer(self, question: Question) -> Iterator[Step]:
        with self._lock:
            self.questions.append(question)
            number = len(self.questions)
        script = self._choose(question, number)
        if callable(script):
            script = script(question)
        if isinstance(script, Exception):
            raise script
        yield from self._play(question, _words(script) if isinstance(script, str) else script)

    def _choose(self, question: Question, number: int) -> Answer:
        answers = self._answers
        if callable(answers):
            return answers
        if isinstance(answers, Mapping):
            if question.text not in answers:
                raise LookupError(f"the script has no answer to {question.text!r}")
            return answers[question.text]
        if number > len(answers) and not (self._repeat_last and answers):
            raise LookupError(f"the script has {len(answers)} answers; this is question {number}: {question.text!r}")
        return answers[min(number, len(answers)) - 1]

    def _play(self, question: Question, steps: Iterable[Step | Pause]) -> Iterator[Step]:
        said: list[str] = []
        for step in steps:
            if isinstance(step, Pause):
                self._wait(step)
                continue
            if isinstance(step, Delta):
                said.append(step.text)
            yield step
            if isinstance(step, Done):
                return
        yield Done(usage=count_usage(question.text, "".join(said)))

    def _wait(self, pause: Pause) -> None:
        with self._lock:
            self._waiting.add(pause)
        pause.reached.set()
        pause.event.wait()
        with self._lock:
            self._waiting.discard(pause)
            if pause in self._given_up:
                self._given_up.discard(pause)
                raise RuntimeError("the service was closed while the script paused")

    def close(self) -> None:
        """End the turns that stand at a pause, so that no thread outlives the service that asks."""
        with self._lock:
            waiting = list(self._waiting)
            self._given_up |= self._waiting
        for pause in waiting:
            pause.release()


def _words(text: str) -> list[Step | Pause]:
    """One delta per word, with the space that follows it; joined they are the text."""
    return [Delta(piece) for piece in re.findall(r"\s*\S+\s*|\s+", text)]


def count_usage(question: str, answer: str) -> dict[str, int]:
    """Usage in word pieces: words and punctuation marks. No model's tokens."""
    asked, said = (len(re.findall(r"\w+|[^\w\s]", text)) for text in (question, answer))
    return {"input_tokens": asked, "output_tokens": said, "total_tokens": asked + said}
