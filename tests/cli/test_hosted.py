"""``ask``, ``chat`` and ``sessions`` with a key and an address from the environment."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from meibel_integrations.local import LocalMeibel
from tests.support.running import run, run_process

QUESTION = "Who built the lighthouse of Kaldur?"


@pytest.mark.parametrize("via", ["langchain", "llamaindex"])
def test_ask_talks_to_the_hosted_service_through_the_same_code(hosted: LocalMeibel, via: str) -> None:
    result = run("ask", QUESTION, "--agent-id", hosted.agent_id, "--via", via)
    assert result.exit_code == 0
    assert "Ingrid Solberg" in result.stdout
    assert "[1] Origin" in result.stdout


def test_an_agent_may_be_named_and_the_address_given(local: LocalMeibel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEIBEL_API_KEY", local.api_key)
    result = run("ask", QUESTION, "--agent", "docs", "--base-url", local.base_url)
    assert "Ingrid Solberg" in result.stdout


def test_chat_keeps_one_hosted_session(hosted: LocalMeibel) -> None:
    result = run("chat", "--agent-id", hosted.agent_id, stdin=f"{QUESTION}\nAnd when?\n")
    assert result.exit_code == 0
    assert "1873" in result.stdout
    assert len(run("sessions", "list", hosted.agent_id).stdout.splitlines()) == 1


def test_the_guides_calls(hosted: LocalMeibel, tmp_path: Path) -> None:
    session_id = run("sessions", "create", hosted.agent_id).stdout.strip()

    sent = run("sessions", "send", session_id, QUESTION)
    assert sent.exit_code == 0
    assert "Ingrid Solberg" in sent.stdout
    assert "\n[1] Origin - file://" in sent.stdout

    notes = tmp_path / "notes.txt"
    notes.write_text("The harbour master of Kaldur is called Tove.\n", encoding="utf-8")
    streamed = run("sessions", "stream", session_id, "What is the harbour master called?", "--file", notes)
    assert "Tove" in streamed.stdout
    assert "[1] notes.txt" in streamed.stdout

    messages = run("sessions", "messages", session_id).stdout
    assert [line.split()[0] for line in messages.splitlines() if line.startswith(("user", "assistant"))] == [
        "user",
        "assistant",
    ] * 2

    details = run("sessions", "show", session_id).stdout
    assert session_id in details
    assert "RUNNING" in details
    assert run("sessions", "list", hosted.agent_id).stdout.startswith(session_id)


def test_the_guides_calls_for_programs(hosted: LocalMeibel) -> None:
    created = json.loads(run("sessions", "create", "docs", "--by-name", "--json").stdout)
    session_id = created["id"]

    reply = json.loads(run("sessions", "send", session_id, QUESTION, "--json").stdout)
    assert reply["sources"][0]["title"] == "Origin"

    events = [
        json.loads(line)
        for line in run("sessions", "stream", session_id, "And when?", "--json").stdout.split("\n")
        if line
    ]
    assert events[-1]["type"] == "done"
    whole = events[-1]["reply"]
    assert whole["sources"][whole["citations"][0]["source"]]["title"] == "Origin"
    text = "".join(event["delta"] for event in events if event["type"] == "content")
    assert text == whole["message"]
    assert "1873" in text

    history = [json.loads(line) for line in run("sessions", "messages", session_id, "--json").stdout.splitlines()]
    assert [message["role"] for message in history] == ["user", "assistant"] * 2
    assert json.loads(run("sessions", "show", session_id, "--json").stdout)["id"] == session_id
    run("sessions", "create", hosted.agent_id)
    listed = run("sessions", "list", hosted.agent_id, "--json", "--limit", "1").stdout.splitlines()
    assert len(listed) == 1
    assert "id" in json.loads(listed[0])


def test_text_is_utf8_whatever_the_locale(docs: Path) -> None:
    (docs / "cafe.md").write_text("# Café\n\nThe café „Zürich“ opens at noon, 每天.\n", encoding="utf-8")
    with LocalMeibel(docs) as local:
        environment = {**os.environ, "MEIBEL_API_KEY": local.api_key, "MEIBEL_BASE_URL": local.base_url}
        environment |= {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
        session_id = run("sessions", "create", local.agent_id, env=environment).stdout.strip()

        done = run_process(["sessions", "send", session_id, "When does the café open?"], env=environment)

        assert done.returncode == 0, done.stderr
        assert "The café „Zürich“ opens at noon, 每天." in done.stdout
        assert "When does the café open?" in run("sessions", "messages", session_id, env=environment).stdout


def _one_error(*args: str) -> str:
    """The only line of a failure that was not wrong usage."""
    result = run(*args)
    assert result.exit_code == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: ")
    return line


def test_a_refusal_is_one_line_that_says_what_to_do(hosted: LocalMeibel, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Check the id" in _one_error("sessions", "show", "no-such-session")
    assert "Check the id" in _one_error("ask", "x", "--agent-id", "no-such-agent")
    monkeypatch.setenv("MEIBEL_API_KEY", "a-wrong-key")
    said = _one_error("sessions", "list", hosted.agent_id)
    assert "Check MEIBEL_API_KEY" in said
    assert "a-wrong-key" not in said
    monkeypatch.delenv("MEIBEL_API_KEY")
    assert "set MEIBEL_API_KEY" in _one_error("ask", "x", "--agent-id", hosted.agent_id)
    assert "set MEIBEL_API_KEY" in _one_error("sessions", "show", "x")


def test_an_unreachable_service_and_a_careless_address(monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int) -> None:
    monkeypatch.setenv("MEIBEL_API_KEY", "key")
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # the client's own waits between attempts
    address = f"http://127.0.0.1:{unused_tcp_port}"
    assert "that the service is running" in _one_error("sessions", "show", "x", "--base-url", address)
    assert "unencrypted" in _one_error("sessions", "show", "x", "--base-url", "http://example.org")


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--docs", ".", "--agent-id", "agent_1"],
        ["--docs", ".", "--base-url", "http://127.0.0.1:1"],
        ["--agent-id", "agent_1", "--agent", "docs"],
    ],
)
def test_options_that_name_no_service_or_two_are_wrong_usage(options: list[str]) -> None:
    for command in (["ask", "x"], ["chat"]):
        result = run(*command, *options)
        assert result.exit_code == 2
        assert "Usage:" in result.stderr


def test_an_empty_question_is_wrong_usage() -> None:
    assert run("ask", "  ", "--agent-id", "agent_1").exit_code == 2
    assert run("sessions", "send", "session-1", "").exit_code == 2


def test_there_is_no_option_for_a_key() -> None:
    for command in (["ask"], ["chat"], ["serve"], ["sessions", "create"]):
        assert "--api-key" not in run(*command, "--help").stdout
