"""The answer in other forms on request: every client of ours reads them, and the text is the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from meibel_integrations import MeibelClient
from meibel_integrations.local import LocalMeibel, ScriptedAnswerer
from meibel_integrations.local.faults.catalogue import VARIANTS
from tests.support.hosted import SERVICES, Hosted, serving

ANSWER = "The river ends in the North Sea, behind the locks."


@pytest.fixture(params=SERVICES)
def scripted(request: pytest.FixtureRequest) -> Iterator[Hosted]:
    with serving(request.param, answerer=ScriptedAnswerer([ANSWER] * 30)) as hosted:
        yield hosted


def read(hosted: Hosted, session_id: str) -> tuple[list[str], Any]:
    with hosted.stream(hosted.client, session_id, "Where?") as events:
        shown = list(events)
    return [event.delta for event in shown if event.type == "content"], shown[-1].reply


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_each_form_gives_the_answer(scripted: Hosted, variant: str) -> None:
    session_id = scripted.open_session()
    scripted.local.inject_fault(variant)  # type: ignore[arg-type]
    pieces, reply = read(scripted, session_id)
    trimmed = variant == "trimmed_completion" and not scripted.is_cloud
    assert reply.message == (ANSWER[:-1] if trimmed else ANSWER)
    assert "".join(pieces) == ANSWER
    assert reply.recovered is (variant == "no_completion")
    assert bool(reply.streamed_text) is trimmed
    pieces, reply = read(scripted, session_id)
    assert (reply.message, reply.recovered) == (ANSWER, False), "the fault struck one turn"


def test_a_service_of_snapshots_is_live_from_the_second_turn_on_at_once() -> None:
    with (
        LocalMeibel(partials="snapshot", answerer=ScriptedAnswerer([ANSWER] * 2)) as local,
        MeibelClient(local.api_key, local.base_url) as client,
    ):
        session = client.agents.create_session(local.agent_id)
        for turn in range(2):
            shown = list(client.sessions.send_chat_message_stream(session.id, user_message="Where?"))
            pieces = [event.delta for event in shown if event.type == "content"]
            assert "".join(pieces) == ANSWER
            assert len(pieces) > 3
            assert pieces[1].startswith(ANSWER[len(pieces[0])]), f"turn {turn}"
