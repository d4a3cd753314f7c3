"""Every fault with every history, on the pure flow: how a turn ends, how often it is sent and looked for."""

from __future__ import annotations

import pytest

from meibel_integrations import errors
from meibel_integrations.models import ChatMessageRequest
from meibel_integrations.protocol.dialects.interface import TurnRequest
from meibel_integrations.protocol.turn import send_turn, stream_turn
from tests.support.asking import Told, check
from tests.support.fault_wire import QUESTION
from tests.support.faults import FAULTS, HISTORIES, LOOKS, Doubt, Fault, expected, told_of
from tests.support.playing import SERVICE, play

REQUEST = TurnRequest("s1", ChatMessageRequest(user_message=QUESTION))
SPOKEN = {name: [told_of([step]) for step in steps] for name, steps in HISTORIES.items()}
CASES = [
    pytest.param(fault, whole, id=f"{fault}-{'whole' if whole else 'stream'}")
    for fault in FAULTS
    for whole in (False, True)
    if (fault.whole if whole else fault.stream) is not None
]


@pytest.mark.parametrize(("fault", "whole"), CASES)
def test_a_fault_with_every_history(fault: Fault, whole: bool) -> None:
    answers = [told_of(script) for script in fault.scripts(whole=whole)]
    result = fault.result(whole=whole)
    for name, history in SPOKEN.items():
        flow = (send_turn if whole else stream_turn)(SERVICE, REQUEST, turns_before=0)
        ran = play(flow, *answers, history=history)
        told = Told([event.delta for event in ran.emitted if event.type == "content"], error=ran.error)  # type: ignore[arg-type]
        if ran.result is not None:
            told.text, told.recovered = ran.result.reply.message, ran.result.reply.recovered
        check(told, expected(result, name), streamed=not whole)
        assert ran.posts == fault.posts, name
        if not isinstance(result, Doubt):
            assert ran.gets == 0, name
            if fault.slept is not None:
                assert ran.slept == list(fault.slept)
            continue
        assert ran.gets == LOOKS.get(name, ran.gets), name
        assert ran.gets, name
        if name == "absent":
            assert sum(ran.slept) == 5.0, "as long as a turn may be invisible"
            assert isinstance(ran.error, errors.TurnOutcomeUnknown)
            assert type(ran.error.cause) is result.cause
        if name == "running":
            assert sum(ran.slept) == 120.0, "until the deadline"
        if name == "failed":
            assert "no disk" in str(ran.error)
