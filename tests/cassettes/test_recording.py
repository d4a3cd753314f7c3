"""The local cassettes are what the local service speaks today: its shape, not its words."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Literal

import pytest

from meibel_integrations.local import LocalMeibel
from meibel_integrations.protocol.sse import SSEParser

from . import record, tape
from .test_policy import offences
from .test_replay import connection, converse, invoke


def shape(value: Any) -> Any:
    """Names and types; of a list, the shapes that occur in it."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        found: list[Any] = []
        for item in map(shape, value):
            if item not in found:
                found.append(item)
        return found
    return "null" if value is None else type(value).__name__


def events(body: str) -> list[Any]:
    """The kinds of events in order, each with its payload's shape; a run of one kind counts once."""
    found: list[Any] = []
    for event in SSEParser().feed(body.encode()):
        each = [event.type, shape(json.loads(event.data))]
        if not found or found[-1] != each:
            found.append(each)
    return found


def wire(cassette: Path) -> list[Any]:
    """The cassette without what may differ from answer to answer."""
    found = []
    for interaction in tape.read(cassette)["interactions"]:
        request, response = interaction["request"], interaction["response"]
        path = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|agent_[0-9a-f]+", "{id}", request["uri"])
        body = response["body"]["string"]
        is_stream = "event-stream" in response["headers"]["content-type"][0]
        found.append(
            {
                "request": [request["method"], path, request["headers"], request["body"]],
                "response": [response["status"], response["headers"]],
                "body": events(body) if is_stream else shape(json.loads(body)),
            }
        )
    return found


@pytest.mark.parametrize("dialect", record.DIALECTS)
def test_the_cassettes_are_up_to_date(dialect: Literal["v2", "guide"], tmp_path: Path) -> None:
    """If this fails, the local service has changed its wire: run ``make record`` and read the difference."""
    fresh = tmp_path / "fresh.yaml"
    key = record.record_local(dialect, fresh)
    assert key not in fresh.read_text("utf-8")
    assert wire(fresh) == wire(tape.CASSETTES / "local" / f"{dialect}.yaml")


def test_recordings_are_the_same_each_time(tmp_path: Path) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    record.record_local("v2", first)
    record.record_local("v2", second)
    assert first.read_text("utf-8") == second.read_text("utf-8")


def test_a_live_recording_needs_a_key() -> None:
    with pytest.raises(SystemExit, match="MEIBEL_API_KEY"):
        record.main(["--live"])


def test_a_live_recording_names_neither_key_nor_agent_and_replays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A local service stands in for the hosted one."""
    monkeypatch.setattr(tape, "CASSETTES", tmp_path / "cassettes")
    with LocalMeibel(record.DOCUMENTS) as local:
        monkeypatch.setenv("MEIBEL_API_KEY", local.api_key)
        monkeypatch.setenv("MEIBEL_BASE_URL", local.base_url)
        monkeypatch.setenv("MEIBEL_AGENT_ID", local.agent_id)
        monkeypatch.setenv("MEIBEL_QUESTIONS", "\n".join(record.QUESTIONS))
        record.main(["--live"])
        agent_id, key = local.agent_id, local.api_key
    (target,) = tape.CASSETTES.rglob("*.yaml")
    assert capsys.readouterr().out == "recorded cassettes/hosted/conversation.yaml\n"
    text = target.read_text("utf-8")
    assert text.startswith("# Recorded from the hosted service.")
    assert key not in text
    assert agent_id not in text
    assert offences(text) == []
    with tape.play(target, base_url):
        first, second = converse(invoke, connection(target, base_url))
    assert "41 metres" in first.text
    assert "1887" in second.text
