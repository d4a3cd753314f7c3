"""A full disk, a damaged file, closed standard streams: one line each, and a service that recovers."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from meibel_integrations.local import LocalMeibel
from meibel_integrations.local.store.database import Database
from tests.support.running import COMMAND, run_process, started

needs_prlimit = pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="only Linux limits another process")


def limit_files(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def test_ingest_on_a_full_disk_says_so_on_one_line(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.md").write_text("The lighthouse was built in 1873. " * 20_000)
    db = tmp_path / "x.db"
    failed = run_process(["ingest", docs, "--db", db], preexec_fn=lambda: limit_files(300_000))
    assert failed.returncode == 1
    assert failed.stdout == ""
    assert re.fullmatch(r"Error: the database '.*x\.db': .*\n", failed.stderr)
    assert run_process(["ingest", docs, "--db", db]).returncode == 0


@needs_prlimit
def test_serve_goes_on_when_the_disk_has_room_again(docs: Path, tmp_path: Path) -> None:
    db = tmp_path / "x.db"
    with started("serve", "--docs", docs, "--db", db, "--port", "0", stdin=subprocess.DEVNULL) as server:
        assert server.stdout is not None
        lines = iter(server.stdout.readline, "")
        said = "".join(line for line, _ in zip(lines, range(8), strict=False))
        base_url = re.findall(r"base URL  (\S+)", said)[0]
        agent_id = re.findall(r"agent id  (\S+)", said)[0]
        headers = {"Meibel-API-Key": re.findall(r"key       (\S+)", said)[0]}
        with httpx.Client(base_url=base_url, headers=headers, timeout=20, trust_env=False) as client:
            session = client.post(f"/agents/{agent_id}/sessions").json()["session_id"]
            asked: dict[str, Any] = {"json": {"user_message": "Who built the lighthouse?"}}
            assert client.post(f"/sessions/{session}/chat", **asked).status_code == 200
            unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
            for path in (f"/sessions/{session}/chat", f"/sessions/{session}/chat/stream"):
                refused = client.post(path, **asked)
                assert refused.status_code in (503, 507)
                assert refused.json()["code"] == "storage_failed"
            assert len(client.get(f"/sessions/{session}/messages").json()["messages"]) == 4
            resource.prlimit(server.pid, resource.RLIMIT_FSIZE, unlimited)
            assert client.post(f"/sessions/{session}/chat", **asked).status_code == 200
        server.terminate()
        _, problems = server.communicate(timeout=20)
        assert "Traceback" not in problems


def test_a_turn_whose_failure_could_not_be_stored_does_not_block_its_session(tmp_path: Path) -> None:
    from meibel_integrations.local import Delta, Pause, ScriptedAnswerer

    pause = Pause()
    answerer = ScriptedAnswerer([[pause, Delta("never stored")], "stored"])
    with LocalMeibel(database=tmp_path / "x.db", answerer=answerer) as local:
        headers = {"Meibel-API-Key": local.api_key}
        with httpx.Client(base_url=local.base_url, headers=headers, timeout=20, trust_env=False) as client:
            session = client.post(f"/agents/{local.agent_id}/sessions").json()["session_id"]
            with client.stream("POST", f"/sessions/{session}/chat/stream", json={"user_message": "q"}) as stream:
                assert pause.reached.wait(10)
                with Database(tmp_path / "x.db") as other:
                    other.write(lambda conn: conn.execute(REFUSE_STEPS).rowcount)
                pause.release()
                assert b"event: error" in stream.read()
            with Database(tmp_path / "x.db") as other:
                other.write(lambda conn: conn.execute("DROP TRIGGER refuse").rowcount)
            answer = client.post(f"/sessions/{session}/chat", json={"user_message": "q"})
            assert answer.json()["assistant_response"] == "stored"


REFUSE_STEPS = "CREATE TRIGGER refuse BEFORE UPDATE ON turns BEGIN SELECT RAISE(ABORT, 'no'); END"


@pytest.mark.parametrize("place", [30, 120, 5000])
def test_a_damaged_file_is_named_without_a_traceback(docs: Path, tmp_path: Path, place: int) -> None:
    db = tmp_path / "x.db"
    assert run_process(["ingest", docs, "--db", db]).returncode == 0
    content = bytearray(db.read_bytes())
    content[place : place + 4000] = b"\xc3\x28" * 2000
    db.write_bytes(content)
    failed = run_process(["ask", "Who built the lighthouse?", "--docs", docs, "--db", db])
    assert failed.returncode == 1
    assert len(failed.stderr.splitlines()) == 1
    assert "x.db" in failed.stderr or "database" in failed.stderr


@pytest.mark.parametrize("closed", [[1], [2], [0, 1, 2]])
def test_closed_standard_streams_hinder_nothing(docs: Path, closed: list[int]) -> None:
    command = [*COMMAND, "ask", "Who built the lighthouse?", "--docs", str(docs)]
    close = f"import os, sys; [os.close(n) for n in {closed}]; os.execv(sys.executable, {command!r})"
    done = subprocess.run(
        [sys.executable, "-c", close], check=False, capture_output=True, text=True, timeout=30, env=os.environ
    )
    assert done.returncode == 0
    assert done.stderr == ""
    assert ("Ingrid Solberg" in done.stdout) is (1 not in closed)
