"""The answerer for tests."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from meibel_integrations.local import Delta, Done, Pause, Question, ScriptedAnswerer, Step


def ask(answerer: ScriptedAnswerer, text: str = "q") -> list[Step]:
    return list(answerer.answer(Question(text, (), lambda query, **_: [])))


@pytest.mark.parametrize("text", ["", "one", "  two words \n\n", "a\tb  c", " "])
def test_a_text_is_streamed_word_by_word(text: str) -> None:
    *deltas, done = ask(ScriptedAnswerer([text]))
    assert "".join(step.text for step in deltas if isinstance(step, Delta)) == text
    assert len(deltas) == max(len(text.split()), 1 if text else 0)
    assert isinstance(done, Done)
    assert done.usage["total_tokens"] == done.usage["input_tokens"] + done.usage["output_tokens"]


def test_answers_come_in_order_and_run_out() -> None:
    answerer = ScriptedAnswerer(["one", ValueError("two"), [Delta("three"), Done()], lambda question: question.text])
    assert ask(answerer)[0] == Delta("one")
    with pytest.raises(ValueError, match="two"):
        ask(answerer)
    assert ask(answerer) == [Delta("three"), Done()]
    assert ask(answerer, "four")[0] == Delta("four")
    with pytest.raises(LookupError, match="4 answers; this is question 5"):
        ask(answerer)
    assert [question.text for question in answerer.questions] == ["q", "q", "q", "four", "q"]


@pytest.mark.parametrize("answers", [["last"], "last", {"q": "last"}, lambda question: "last"])
def test_other_ways_to_say_it(answers: Any) -> None:
    answerer = ScriptedAnswerer(answers, repeat_last=True)
    assert ask(answerer)[0] == ask(answerer)[0] == Delta("last")


def test_a_mapping_knows_its_questions() -> None:
    with pytest.raises(LookupError, match="no answer to 'other'"):
        ask(ScriptedAnswerer({"q": "a"}), "other")


def test_closing_ends_a_pause() -> None:
    pause = Pause()
    answerer = ScriptedAnswerer([[pause, Delta("x")], [pause, Delta("x")]])
    errors: list[Exception] = []

    def run() -> None:
        try:
            ask(answerer)
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert pause.reached.wait(10)
    answerer.close()
    thread.join(10)
    assert "closed" in str(errors[0])
    assert ask(answerer)[0] == Delta("x")
