"""What only a process of its own can show: signals, pipes, streaming, start-up, missing extras."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import httpx
import pytest

from meibel_integrations import MeibelClient, __version__
from meibel_integrations.local import Delta, LocalMeibel, Pause, ScriptedAnswerer
from tests.support.running import run, run_process, run_program, started


def _read_until(stream: IO[str] | None, words: str) -> str:
    assert stream is not None
    said = ""
    while words not in said:
        character = stream.read(1)
        assert character, f"it ended with {said!r}"
        said += character
    return said


def test_the_demo_cites_the_right_topic_through_both_frameworks() -> None:
    done = run_process(["demo"])

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    begin, first, second = re.split(r"^LangChain|^LlamaIndex", done.stdout, flags=re.MULTILINE)
    assert "language reference" in begin
    for answer in (first, second):
        sources = [line for line in answer.splitlines() if line.startswith("[")]
        assert sources[0] == '[1] The "with" statement - pydoc:with'
        assert "    cited after “" in answer
    assert "holds 2 user messages" in second
    assert "meibel-integrations ask" in second


def test_serve_prints_a_link_to_its_page_and_opens_one(docs: Path, tmp_path: Path) -> None:
    opened, browser = tmp_path / "opened", tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > {opened}.new && mv {opened}.new {opened}\n', "utf-8")
    browser.chmod(0o755)
    environment = {**os.environ, "BROWSER": f"{browser} %s"}
    with started("serve", "--docs", docs, "--port", "0", "--open", env=environment) as server:
        said = _read_until(server.stdout, "ChatMeibel(")
        (link,) = re.findall(r"page +(http://127\.0\.0\.1:\d+/#token=\S+)", said)
        deadline = time.monotonic() + 20
        while not opened.exists():
            assert time.monotonic() < deadline, "no browser was opened"
            time.sleep(0.05)
        links = (link, opened.read_text("utf-8"))
        key = re.findall(r"MEIBEL_API_KEY=(\S+)", said)
        for each in links:
            origin, _, token = each.partition("/#token=")
            traded = httpx.post(f"{origin}/_local/key", json={"token": token}, trust_env=False)
            assert [traded.json()["key"]] == key
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=20)
    assert links[0] != links[1]


def test_serve_announces_itself_and_ends_quietly_with_ctrl_c(docs: Path) -> None:
    with started("serve", "--docs", docs, "--port", "0", stdin=subprocess.DEVNULL) as server:
        said = _read_until(server.stdout, "ChatMeibel(")
        exports = dict(re.findall(r"export (\w+)=(\S+)", said))
        (agent_id,) = re.findall(r"chat --agent-id (\S+)", said)
        session_id = run("sessions", "create", agent_id, env=exports).stdout.strip()
        sent = run("sessions", "send", session_id, "Who built the lighthouse?", env=exports)
        assert "Ingrid Solberg" in sent.stdout
        asked = run("ask", "How is the package installed?", "--agent-id", agent_id, env=exports)
        assert "with pip" in asked.stdout

        server.send_signal(signal.SIGINT)
        rest, problems = server.communicate(timeout=20)
        assert server.returncode == 0
        assert "Traceback" not in rest + problems
        assert problems == ""


def _shown(docs: Path, *options: str, **environment: str) -> dict[str, str]:
    with started("serve", "--docs", docs, "--port", "0", *options, env={**os.environ, **environment}) as server:
        said = _read_until(server.stdout, "ChatMeibel(")
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=20)
    return {name: value.strip() for name, value in re.findall(r"^  (agent id|index id|key) (.*)$", said, re.MULTILINE)}


def test_serve_is_the_same_at_every_start(docs: Path, tmp_path: Path) -> None:
    first = _shown(docs, MEIBEL_API_KEY="a-hosted-secret")
    assert first == _shown(docs)
    assert first["key"].startswith("mbl_local_")
    (kept,) = (tmp_path / "config").rglob("local-service-key")
    assert kept.read_text().strip() == first["key"]
    assert kept.stat().st_mode & 0o777 == 0o600
    other = _shown(docs, "--agent-id", "agent_mine", "--key", "a-secret-of-mine", "--db", str(tmp_path / "x.db"))
    assert other["agent id"] == "agent_mine"
    assert "a-secret-of-mine" not in str(other)
    assert _shown(docs, XDG_CONFIG_HOME="/dev/null")["key"] != first["key"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_serve_is_reached_when_more_connections_are_idle_than_it_may_open(docs: Path) -> None:
    import resource

    def few_files() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))

    with started("serve", "--docs", docs, "--port", "0", preexec_fn=few_files) as server, ExitStack() as idle:
        said = _read_until(server.stdout, "ChatMeibel(")
        (host, port) = re.findall(r"export MEIBEL_BASE_URL=http://([\d.]+):(\d+)", said)[0]
        for _ in range(600):
            idle.enter_context(socket.create_connection((host, int(port)), timeout=20))
        asked = idle.enter_context(socket.create_connection((host, int(port)), timeout=20))
        asked.sendall(b"GET /_local/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert asked.recv(100).startswith(b"HTTP/1.1 200")
        server.send_signal(signal.SIGINT)
        assert server.communicate(timeout=20)[1] == ""


def test_serve_takes_the_users_key_and_does_not_print_it(docs: Path) -> None:
    environment = {**os.environ, "MEIBEL_LOCAL_API_KEY": "a-key-of-my-own"}
    with started("serve", "--docs", docs, "--port", "0", env=environment) as server:
        said = _read_until(server.stdout, "ChatMeibel(")
        (base_url,) = re.findall(r"export MEIBEL_BASE_URL=(\S+)", said)
        called = run(
            "sessions", "list", "nobody", env={"MEIBEL_API_KEY": "a-key-of-my-own", "MEIBEL_BASE_URL": base_url}
        )
        assert "Check MEIBEL_API_KEY" not in called.stderr
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0
        assert "a-key-of-my-own" not in said
        assert "export MEIBEL_API_KEY=$MEIBEL_LOCAL_API_KEY" in said


def test_serve_refuses_the_network_without_a_key(docs: Path) -> None:
    result = run("serve", "--docs", docs, "--host", "0.0.0.0", "--port", "0")
    assert result.exit_code == 2
    assert "MEIBEL_LOCAL_API_KEY" in result.stderr


def test_serve_says_what_to_do_about_a_taken_port(docs: Path, local: LocalMeibel) -> None:
    port = local.llama_cloud_base_url.rpartition(":")[2]
    result = run("serve", "--docs", docs, "--port", port)
    assert result.exit_code == 1
    assert "choose another port" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.fixture
def pause() -> Pause:
    return Pause()


@pytest.fixture
def halfway(pause: Pause) -> Iterator[tuple[str, dict[str, str]]]:
    """An agent that says half a sentence and waits: its id, and the environment to ask it in."""
    answerer = ScriptedAnswerer([[Delta("The first half, "), pause, Delta("and the second half.")]], repeat_last=True)
    with LocalMeibel(answerer=answerer) as local:
        yield local.agent_id, {**os.environ, "MEIBEL_API_KEY": local.api_key, "MEIBEL_BASE_URL": local.base_url}


def test_words_are_shown_as_they_arrive(halfway: tuple[str, dict[str, str]], pause: Pause) -> None:
    agent_id, environment = halfway
    with started("ask", "Tell me.", "--agent-id", agent_id, env=environment) as asking:
        _read_until(asking.stdout, "first half")  # the answer's end is not even made yet
        pause.release()
        _read_until(asking.stdout, "second half.\n")
        assert asking.wait(20) == 0


@pytest.mark.parametrize(("command", "via"), [(["ask", "Tell me."], "langchain"), (["chat"], "llamaindex")])
def test_ctrl_c_in_an_answer_leaves_no_traceback(
    halfway: tuple[str, dict[str, str]], command: list[str], via: str
) -> None:
    agent_id, environment = halfway
    with started(*command, "--agent-id", agent_id, "--via", via, env=environment) as asking:
        assert asking.stdin is not None
        if command == ["chat"]:
            asking.stdin.write("Tell me.\n")
            asking.stdin.flush()
        _read_until(asking.stdout, "first half")
        asking.send_signal(signal.SIGINT)
        rest, problems = asking.communicate(timeout=20)
    assert asking.returncode == 130
    assert rest.strip(" ,\n") == ""
    assert problems == ""


def test_ctrl_c_over_own_documents_leaves_no_traceback(docs: Path) -> None:
    with started("chat", "--docs", docs) as chatting:
        assert chatting.stdin is not None
        chatting.stdin.write("Who built the lighthouse of Kaldur?\n")
        chatting.stdin.flush()
        _read_until(chatting.stdout, "[1] Origin")
        chatting.send_signal(signal.SIGINT)
        _, problems = chatting.communicate(timeout=20)
    assert chatting.returncode == 130
    assert problems == ""


def test_ctrl_c_in_a_finalizer_is_not_lost() -> None:
    program = (
        "import time, weakref\n"
        "from meibel_integrations.cli import failures\n"
        "def interrupt(_): raise KeyboardInterrupt\n"
        "class Thing: pass\n"
        "failures.keep_interrupts()\n"
        "thing = Thing(); ref = weakref.ref(thing, interrupt)\n"
        "try:\n"
        "    del thing\n"
        "    for _ in range(2000): time.sleep(0.01)\n"
        "except KeyboardInterrupt: print('interrupted')"
    )
    done = run_program(program)
    assert done.stdout == "interrupted\n"
    assert done.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_a_full_disk_is_one_line(hosted: LocalMeibel) -> None:
    with Path("/dev/full").open("w") as full, started("sessions", "create", hosted.agent_id, stdout=full) as asking:
        _, problems = asking.communicate(timeout=20)
    assert asking.returncode == 1
    assert problems == "Error: No space left on device.\n"


def test_a_closed_pipe_is_quiet() -> None:
    words = " ".join(f"word{number}" for number in range(20_000))
    with LocalMeibel(answerer=ScriptedAnswerer([words])) as local:
        environment = {**os.environ, "MEIBEL_API_KEY": local.api_key, "MEIBEL_BASE_URL": local.base_url}
        session_id = run("sessions", "create", local.agent_id, env=environment).stdout.strip()
        with started("sessions", "stream", session_id, "x", env=environment) as asking:
            _read_until(asking.stdout, "word1")
            assert asking.stdout is not None
            asking.stdout.close()
            assert asking.stderr is not None
            assert asking.stderr.read() == ""
            assert asking.wait(20) in (0, 1)


@pytest.mark.skipif(sys.platform == "win32", reason="a pseudo terminal is a matter of POSIX")
def test_on_a_terminal_there_are_a_progress_bar_and_a_prompt(docs: Path) -> None:
    import pty

    ours, theirs = pty.openpty()
    with started("chat", "--docs", docs, stdin=theirs, stdout=theirs, stderr=theirs) as chatting:
        os.close(theirs)
        said = b""

        def wait_for(words: bytes) -> None:
            nonlocal said
            while words not in said:
                said += os.read(ours, 4096)

        wait_for(b"> ")
        assert b"Reading documents" in said
        assert b"100%" in said
        os.write(ours, b"Who built the lighthouse of Kaldur?\n")
        wait_for(b"Ingrid Solberg")
        wait_for(b"> ")
        os.write(ours, b"/quit\n")
        # a terminal that nobody reads any more would hold the process back
        with contextlib.suppress(OSError):
            while os.read(ours, 4096):
                pass
        assert chatting.wait(20) == 0
    os.close(ours)


def test_help_and_version() -> None:
    assert run("--version").stdout == f"meibel-integrations {__version__}\n"
    overview = run("--help").stdout
    for command in ("demo", "ask", "chat", "serve", "ingest", "sessions"):
        assert f"  {command} " in overview
        assert "..." not in next(line for line in overview.splitlines() if line.startswith(f"  {command} "))
        assert run(command, "--help").exit_code == 0
    for command in ("create", "send", "stream", "messages", "show", "list"):
        assert run("sessions", command, "--help").exit_code == 0


def test_help_loads_no_framework() -> None:
    program = (
        "import sys; from meibel_integrations.cli import main; sys.argv = ['m', 'ask', '--help']\n"
        "try: main()\n"
        "finally: print(sorted({'pydantic', 'httpx', 'langchain_core', 'llama_index', 'starlette'} & set(sys.modules)))"
    )
    done = run_program(program)
    assert done.stdout.splitlines()[-1] == "[]"


def test_without_click_it_says_which_extra_to_install() -> None:
    program = "import sys; sys.modules['click'] = None; from meibel_integrations.cli import main; main()"
    done = run_program(program)
    assert done.returncode == 2
    assert "pip install" in done.stderr
    assert "meibel-integrations[" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_framework_it_says_which_extra_to_install(docs: Path) -> None:
    program = (
        "import sys; sys.modules['langchain_core'] = None; from meibel_integrations.cli import main\n"
        f"sys.argv = ['m', 'ask', 'x', '--docs', {str(docs)!r}]; main()"
    )
    done = run_program(program)
    assert done.returncode == 1
    assert "meibel-integrations[langchain]" in done.stderr
    assert "Traceback" not in done.stderr


def test_serve_answers_with_a_model_of_ones_own(docs: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from langchain_core.language_models import FakeListChatModel\n"
        "model = FakeListChatModel(responses=['My own words.'])\n"
    )
    with started("serve", "--docs", docs, "--port", "0", "--model", "mine:model", cwd=tmp_path) as server:
        said = _read_until(server.stdout, "As LlamaCloud")
        told = dict(re.findall(r"^  (base URL|agent id|key) +(\S+)$", said, re.MULTILINE))
        client = MeibelClient(api_key=told["key"], base_url=told["base URL"])
        session = client.agents.create_session(agent_id=told["agent id"])
        reply = client.sessions.send_chat_message(session_id=session.id, user_message="Who built it?")
        assert reply.message == "My own words."
        client.close()


def test_a_model_that_nobody_knows_is_told(docs: Path) -> None:
    done = run_process(["serve", "--docs", str(docs), "--model", "no_such_module:thing"])
    assert done.returncode == 2
    assert "no_such_module:thing" in done.stderr
    assert "Traceback" not in done.stderr
