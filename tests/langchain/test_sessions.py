"""What finding a session costs, and the cases in which it cannot simply go on."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from meibel_integrations import errors
from meibel_integrations.langchain.hosted import HostedChatModel
from meibel_integrations.ledgers.memory import PROCESS_LEDGER
from meibel_integrations.local import Delta, Pause, Question, ScriptedAnswerer
from tests.support.hosted import SERVICES, Hosted, only, serving

from .conftest import Make, model_of

OPEN, TURN, READ = "open", "turn", "read"


class Talk:
    """A conversation, and the requests that each step took."""

    def __init__(self, model: HostedChatModel, hosted: Hosted) -> None:
        self.model = model
        self.hosted = hosted
        self.messages: list[BaseMessage] = []

    def ask(self, question: str, **options: Any) -> tuple[AIMessage, list[str]]:
        before = len(self.hosted.requests())
        self.messages.append(HumanMessage(question))
        answer = self.model.invoke(self.messages, **options)
        self.messages.append(answer)
        return answer, self.hosted.requests()[before:]


@pytest.fixture
def talk(make: Make, hosted: Hosted) -> Talk:
    return Talk(make(), hosted)


def test_what_each_case_costs(talk: Talk) -> None:
    assert talk.ask("one")[1] == [OPEN, TURN]
    assert talk.ask("two")[1] == [TURN]
    assert talk.ask("three", check_head="always")[1] == [READ, TURN]
    PROCESS_LEDGER.clear()  # as in another process
    assert talk.ask("four")[1] == [READ, TURN]
    assert talk.ask("five")[1] == [TURN]
    del talk.messages[:4]
    assert talk.ask("six")[1] == [TURN]
    talk.messages[0] = HumanMessage("edited")
    answer, cost = talk.ask("seven")
    assert (answer.response_metadata["continuity"], cost) == ("forked", [OPEN, TURN])
    assert talk.ask("eight")[1] == [TURN]


def test_each_fork_is_logged_once_with_its_reason(talk: Talk, caplog: pytest.LogCaptureFixture) -> None:
    first, _ = talk.ask("one")
    talk.messages[0] = HumanMessage("edited")
    with caplog.at_level(logging.INFO, logger="meibel_integrations"):
        talk.ask("two")
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert first.response_metadata["session_id"] in record.getMessage()
    assert "edited" in record.getMessage()


def test_divergence_as_an_error_sends_nothing(talk: Talk) -> None:
    talk.ask("one")
    talk.messages[0] = HumanMessage("edited")
    before = len(talk.hosted.requests())
    with pytest.raises(errors.DivergenceError, match="edited"):
        talk.ask("two", on_divergence="error")
    assert len(talk.hosted.requests()) == before


def test_divergence_can_be_ignored(talk: Talk) -> None:
    first, _ = talk.ask("one")
    talk.messages[0] = HumanMessage("edited")
    second, cost = talk.ask("two", on_divergence="ignore")
    assert second.response_metadata["session_id"] == first.response_metadata["session_id"]
    assert cost == [TURN]


def test_a_pinned_call_ignores_divergence_unless_told(talk: Talk) -> None:
    first, _ = talk.ask("one")
    pin = {"session_id": first.response_metadata["session_id"]}
    talk.messages[0] = HumanMessage("edited")
    assert talk.ask("two", **pin)[0].response_metadata["session_id"] == pin["session_id"]
    talk.messages[0] = HumanMessage("edited again")
    with pytest.raises(errors.DivergenceError):
        talk.ask("three", **pin, on_divergence="error")


def test_what_a_pinned_call_sends(make: Make, hosted: Hosted) -> None:
    session_id = hosted.open_session()
    model = make(session_id=session_id)

    def sent(*messages: BaseMessage) -> str:
        model.invoke(list(messages))
        return hosted.asked(session_id)[-1]

    foreign = [HumanMessage("before"), AIMessage("elsewhere"), HumanMessage("now")]
    everything = sent(*foreign)  # the session is empty
    assert all(piece in everything for piece in ("before", "elsewhere", "now"))
    assert sent(*foreign) == "now"  # what follows the last answer
    answer = model.invoke("mine")
    told = sent(HumanMessage("mine"), answer, HumanMessage("more"), AIMessage("elsewhere"), HumanMessage("then"))
    assert all(piece in told for piece in ("more", "elsewhere", "then"))
    assert sent(HumanMessage("mine"), answer, HumanMessage("then")) == "then"
    with pytest.raises(errors.InvalidInputError, match="nothing new"):
        model.invoke([HumanMessage("mine"), answer])


NO_END = "LlamaCloud's sessions do not end; one that was deleted is gone"


@only("v2", "guide", because=NO_END)
@pytest.mark.parametrize("status", ["COMPLETED", "FAILED", "CANCELED", "TERMINATED"])
def test_an_ended_session_is_replaced_by_a_fork(talk: Talk, status: str) -> None:
    first, _ = talk.ask("one")
    talk.hosted.local.end_session(first.response_metadata["session_id"], status)
    second, _ = talk.ask("two")
    assert second.response_metadata["continuity"] == "forked"
    assert "ended" in second.response_metadata["continuity_reason"]
    assert talk.ask("three")[0].response_metadata["session_id"] == second.response_metadata["session_id"]


@only("v2", "guide", because=NO_END)
@pytest.mark.parametrize("options", [{"on_divergence": "error"}, {"on_divergence": "ignore"}, {"pin": True}], ids=str)
def test_an_ended_session_is_an_error_where_no_fork_may_be_made(talk: Talk, options: dict[str, Any]) -> None:
    first, _ = talk.ask("one")
    session_id = first.response_metadata["session_id"]
    options = {"session_id": session_id} if "pin" in options else options
    talk.hosted.local.end_session(session_id, "COMPLETED")
    with pytest.raises(errors.SessionEndedError) as caught:
        talk.ask("two", **options)
    assert caught.value.session_id == session_id


def test_a_session_that_is_gone_is_replaced_too(talk: Talk) -> None:
    first, _ = talk.ask("one")
    talk.messages[-1] = first.model_copy(
        update={"response_metadata": {**first.response_metadata, "session_id": "gone"}}
    )
    assert talk.ask("two")[0].response_metadata["continuity"] == "forked"
    with pytest.raises(errors.SessionEndedError):
        talk.ask("three", session_id="gone")


def test_a_long_seed_leaves_out_the_oldest_and_says_so(make: Make, hosted: Hosted) -> None:
    told: list[BaseMessage] = [SystemMessage("Be brief.")]
    for i in range(50):
        told += [HumanMessage(f"question {i} {'x' * 50}"), AIMessage(f"answer {i}")]
    model = make(max_seed_chars=1000)
    answer = model.invoke([*told, HumanMessage("now")])
    (sent,) = hosted.asked(answer.response_metadata["session_id"])
    assert len(sent) <= 1000
    assert "Be brief." in sent
    assert "question 49" in sent
    assert "question 0 " not in sent
    assert "<<omitted " in sent
    # the list still is what the session was given
    more = model.invoke([*told, HumanMessage("now"), answer, HumanMessage("more")])
    assert more.response_metadata["continuity"] == "continued", more.response_metadata["continuity_reason"]


class Slow:
    """A service whose answers stop in their middle until they are let go on."""

    def __init__(self, hosted: Hosted, pauses: list[Pause]) -> None:
        self.hosted = hosted
        self.pauses = pauses
        self.asked = hosted.asked

    def model(self, **options: Any) -> HostedChatModel:
        return model_of(self.hosted, **options)


@pytest.fixture(params=SERVICES)
def slow(request: pytest.FixtureRequest) -> Iterator[Slow]:
    pauses: list[Pause] = []

    def answer(question: Question) -> list[Any]:
        if "slow" not in question.text:
            return [Delta(f"About {question.text}.")]
        pauses.append(Pause())
        return [Delta("Wait "), Delta("for it"), pauses[-1], Delta("!")]

    with serving(request.param, answerer=ScriptedAnswerer(answer)) as hosted:
        yield Slow(hosted, pauses)
        for pause in pauses:
            pause.release()


def test_one_thread_that_holds_a_stream_is_told_at_once(slow: Slow) -> None:
    session_id = slow.hosted.open_session()
    model = slow.model(session_id=session_id)
    stream = model.stream("slow")
    next(stream)
    with pytest.raises(errors.SessionBusyError, match="still being streamed here"):
        model.invoke("next")
    slow.pauses[0].release()
    assert "".join(c.text for c in stream).endswith("!")
    assert model.invoke("next").text == "About next."
    assert slow.asked(session_id) == ["slow", "next"]


def test_another_thread_waits_for_the_open_stream(slow: Slow) -> None:
    session_id = slow.hosted.open_session()
    model = slow.model(session_id=session_id)
    stream = model.stream("slow")
    next(stream)
    answers: list[str] = []
    other = threading.Thread(target=lambda: answers.append(model.invoke("next").text))
    other.start()
    slow.pauses[0].release()
    for _ in stream:
        pass
    other.join(20)
    assert answers == ["About next."]
    assert slow.asked(session_id) == ["slow", "next"]


@pytest.mark.parametrize("leave", ["close", "drop"])
def test_a_pinned_session_waits_for_the_turn_whose_stream_was_left(slow: Slow, leave: str) -> None:
    session_id = slow.hosted.open_session()
    model = slow.model(session_id=session_id)
    stream = model.stream("slow")
    next(stream)
    if leave == "close":
        stream.close()
    del stream
    slow.pauses[0].reached.wait(10)
    threading.Timer(0.1, slow.pauses[0].release).start()
    assert model.invoke("next").text == "About next."
    assert slow.asked(session_id) == ["slow", "next"]
    assert slow.hosted.read(session_id)[1].message == "Wait for it!"


def test_a_turn_that_never_ends_is_waited_for_only_so_long(slow: Slow) -> None:
    session_id = slow.hosted.open_session()
    model = slow.model(session_id=session_id, reconcile_deadline=0.1)
    stream = model.stream("slow")
    next(stream)
    stream.close()
    with pytest.raises(errors.SessionBusyError, match="still running"):
        model.invoke("next")
    assert slow.asked(session_id) == ["slow"]


def test_a_session_that_is_busy_elsewhere_forks_or_is_told(slow: Slow) -> None:
    model = slow.model()
    first = model.invoke("one")
    session_id = first.response_metadata["session_id"]
    elsewhere = slow.hosted.stream(slow.hosted.client, session_id, "slow")
    next(elsewhere)
    second = model.invoke([HumanMessage("one"), first, HumanMessage("two")])
    assert second.response_metadata["continuity"] == "forked"
    with pytest.raises(errors.SessionBusyError):
        model.invoke("three", session_id=session_id)
    elsewhere.close()


def test_an_unpinned_conversation_forks_and_does_not_wait(slow: Slow) -> None:
    model = slow.model()
    first = model.invoke("one")
    stream = model.stream([HumanMessage("one"), first, HumanMessage("slow")])
    next(stream)
    second = model.invoke([HumanMessage("one"), first, HumanMessage("two")])
    assert second.response_metadata["continuity"] == "forked"
    slow.pauses[0].release()
    *_, last = stream
    assert last.response_metadata["continuity"] == "continued"


@pytest.mark.parametrize("service", SERVICES)
def test_a_turn_that_failed_does_not_block_its_session(service: str) -> None:
    def fail_once() -> Callable[[Question], Any]:
        failures = [RuntimeError("no disk")]
        return lambda question: failures.pop() if failures else [Delta("fine")]

    with serving(service, answerer=ScriptedAnswerer(fail_once())) as hosted:
        model = model_of(hosted, session_id=hosted.open_session())
        with pytest.raises(errors.AgentTurnError, match="no disk"):
            model.invoke("one")
        assert model.invoke("two").text == "fine"


def test_leaving_an_async_stream_and_going_on_in_the_same_task(slow: Slow) -> None:
    session_id = slow.hosted.open_session()
    model = slow.model(session_id=session_id)

    async def leave_and_go_on() -> str:
        async for _ in model.astream("slow"):
            break
        slow.pauses[0].release()
        return (await model.ainvoke("next")).text

    assert asyncio.run(leave_and_go_on()) == "About next."
    assert slow.asked(session_id) == ["slow", "next"]
