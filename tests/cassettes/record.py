"""Records the cassettes anew: ``python -m tests.cassettes.record`` (``make record``).

From the local service by default. With ``--live`` (``make record-live``) from the hosted one, with ``MEIBEL_API_KEY``,
``MEIBEL_AGENT_ID`` and, if it is another one, ``MEIBEL_BASE_URL``; ``MEIBEL_QUESTIONS`` holds the two questions, each
on a line. A live recording is another file and replaces no local one. Read it before it is committed: answers are
kept as they are, and they quote documents.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage

from meibel_integrations import MeibelClient, __version__
from meibel_integrations.langchain import ChatMeibel
from meibel_integrations.ledgers.memory import PROCESS_LEDGER
from meibel_integrations.local import LocalMeibel

from . import tape

__all__ = ["DOCUMENTS", "QUESTIONS", "SEED", "main", "record_local"]

DOCUMENTS = Path(__file__).parent / "docs"
QUESTIONS = ["How tall is the lighthouse at Cape Ardent?", "And when was it built?"]
SEED = 20
DIALECTS: tuple[Literal["v2", "guide"], ...] = ("v2", "guide")

_LOCAL_NOTE = """\
Recorded from the local service (meibel_integrations.local), not from the hosted one.
It pins the wire's shape as the local service speaks it. Do not edit: run `make record`."""
_LIVE_NOTE = """\
Recorded from the hosted service. Do not edit: run `make record-live`."""


def record_local(dialect: Literal["v2", "guide"], target: Path) -> str:
    """Records the conversation with a local service. Returns the service's key, for those who search for it."""
    with LocalMeibel(DOCUMENTS, dialect=dialect, seed=SEED) as local:
        about = {
            "note": _LOCAL_NOTE,
            "from": "local service",
            "dialect": dialect,
            "version": __version__,
            "agent_id": local.agent_id,
            "questions": QUESTIONS,
        }
        scrubber = tape.Scrubber(local.base_url, {local.api_key: "[key]"})
        with tape.record(target, scrubber, about):
            _converse(local.agent_id, local.api_key, local.base_url, QUESTIONS)
        return local.api_key


def _record_live(target: Path) -> None:
    key, agent_id = os.environ.get("MEIBEL_API_KEY"), os.environ.get("MEIBEL_AGENT_ID")
    if not key or not agent_id:
        raise SystemExit("record-live needs MEIBEL_API_KEY and MEIBEL_AGENT_ID (and MEIBEL_BASE_URL, if it is another)")
    questions = os.environ.get("MEIBEL_QUESTIONS", "What can you help me with?\nCan you say more about that?")
    base_url = MeibelClient(key).config.base_url
    about = {
        "note": _LIVE_NOTE,
        "from": "hosted service",
        "dialect": "hosted",
        "version": __version__,
        "agent_id": "agent_recorded",
        "questions": questions.splitlines()[:2],
    }
    scrubber = tape.Scrubber(base_url, {key: "[key]", agent_id: "agent_recorded", str(Path.home()): "[home]"})
    with tape.record(target, scrubber, about):
        _converse(agent_id, key, base_url, questions.splitlines()[:2])


def _converse(agent_id: str, key: str, base_url: str, questions: Sequence[str]) -> None:
    """Both questions streamed in one session, what the session then holds, and a whole answer in one of its own."""
    PROCESS_LEDGER.clear()  # seeded services name their sessions alike: nothing may be known of an earlier one
    with MeibelClient(key, base_url) as client:
        model = ChatMeibel(agent_id=agent_id, client=client)
        messages: list[BaseMessage] = []
        for question in questions:
            messages.append(HumanMessage(question))
            messages.append(_streamed(model, messages))
        session_id = messages[-1].response_metadata["session_id"]
        client.sessions.get_session_messages(session_id)
        client.sessions.get_session(session_id)
        other = client.agents.create_session(agent_id)
        client.sessions.send_chat_message(other.id, user_message=questions[0])


def _streamed(model: ChatMeibel, messages: list[BaseMessage]) -> AIMessage:
    whole: Any = None
    for chunk in model.stream(messages):
        whole = chunk if whole is None else whole + chunk
    assert isinstance(whole, AIMessageChunk)
    return whole


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.cassettes.record", description="Records the cassettes anew.")
    parser.add_argument("--live", action="store_true", help="from the hosted service, with MEIBEL_API_KEY")
    if parser.parse_args(arguments).live:
        targets = [tape.CASSETTES / "hosted" / "conversation.yaml"]
        _record_live(targets[0])
    else:
        targets = [tape.CASSETTES / "local" / f"{dialect}.yaml" for dialect in DIALECTS]
        for dialect, target in zip(DIALECTS, targets, strict=True):
            record_local(dialect, target)
    for target in targets:
        sys.stdout.write(f"recorded {target.relative_to(tape.CASSETTES.parent)}\n")


if __name__ == "__main__":
    main()
