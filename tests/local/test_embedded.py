"""Starting and stopping: nothing is left behind, and what is wrong is said."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from meibel_integrations.errors import ConfigurationError
from meibel_integrations.local import Delta, LocalMeibel, Pause, ScriptedAnswerer, serve

Start = Callable[..., LocalMeibel]
MakeApi = Callable[..., Any]
Until = Callable[[Callable[[], Any]], Any]


def answerer() -> ScriptedAnswerer:
    return ScriptedAnswerer(["yes"], repeat_last=True)


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    def once(database: Path | str) -> None:
        pause = Pause()
        script = ScriptedAnswerer([[pause], "yes"])
        with LocalMeibel(database=database, answerer=script, shutdown_grace=0) as local:
            headers = {"Meibel-API-Key": local.api_key}
            with httpx.Client(base_url=local.base_url, headers=headers, trust_env=False, verify=False) as http:
                sessions = [http.post(f"/agents/{local.agent_id}/sessions").json()["id"] for _ in range(2)]
                leaving = http.build_request("POST", f"/sessions/{sessions[0]}/chat/stream", data={"user_message": "x"})
                response = http.send(leaving, stream=True)
                assert pause.reached.wait(10)
                upload = {"file": ("a.txt", b"words " * 400_000)}  # more than is kept in memory
                data = {"user_message": "y"}
                assert http.post(f"/sessions/{sessions[1]}/chat/stream", data=data, files=upload).status_code == 200
                response.close()

    once(":memory:")
    process = psutil.Process()
    gc.collect()
    threads, files = set(threading.enumerate()), process.num_fds()
    for database in (":memory:", tmp_path / "x.db", tmp_path / "x.db"):
        once(database)
    gc.collect()
    assert set(threading.enumerate()) <= threads
    assert process.num_fds() <= files
    assert [path.name for path in tmp_path.iterdir()] == ["x.db"]


def test_readers_that_take_nothing_hold_up_neither_others_nor_the_end(
    start: Start, api: MakeApi, until: Until, capfd: pytest.CaptureFixture[str]
) -> None:
    script = ScriptedAnswerer(lambda question: [Delta("x" * 1000)] * 3900 if question.text == "big" else "quick")
    local = start(answerer=script)
    client = api(local)
    host, port = local.llama_cloud_base_url.removeprefix("http://").split(":")
    sessions = [client.session() for _ in range(3)]
    with ExitStack() as stuck:
        for session in sessions:
            connection = stuck.enter_context(socket.create_connection((host, int(port))))
            head = (
                f"POST /v2/sessions/{session}/chat/stream HTTP/1.1\r\nHost: {host}\r\nMeibel-API-Key: {local.api_key}"
            )
            form = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 16\r\n\r\nuser_message=big"
            connection.sendall(f"{head}\r\n{form}".encode())
        assert client.chat(client.session(), "x").status_code == 200
        for session in sessions:
            until(lambda session=session: len(client.history(session)["messages"]) == 2)
        local.close()
    assert capfd.readouterr().err == ""


def test_closing_twice_and_starting_again(start: Start, api: MakeApi) -> None:
    local = LocalMeibel(answerer=answerer())
    for _ in range(2):
        with local:
            client = api(local)
            assert client.chat(client.session(), "x").status_code == 200
            with pytest.raises(RuntimeError, match="running already"):
                local.start()
        local.close()


async def test_it_runs_beside_a_running_loop() -> None:
    with LocalMeibel(answerer=answerer()) as local:
        headers = {"Meibel-API-Key": local.api_key}
        async with httpx.AsyncClient(
            base_url=local.base_url, headers=headers, trust_env=False, verify=False, timeout=20
        ) as http:
            made = await asyncio.gather(*(http.post(f"/agents/{local.agent_id}/sessions") for _ in range(20)))
            chats = await asyncio.gather(
                *(http.post(f"/sessions/{m.json()['id']}/chat", json={"user_message": "x"}) for m in made)
            )
    assert {chat.status_code for chat in chats} == {200}


def test_ids_and_keys_stay_with_the_file(tmp_path: Path, start: Start, api: MakeApi) -> None:
    path = tmp_path / "x.db"
    with LocalMeibel(database=path, answerer=answerer(), agents={"a": [], "b": []}) as first:
        client = api(first)
        session = client.session()
        client.chat(session, "x")
        before = (first.api_key, first.agent_ids, first.index_ids)
    again = start(database=str(path), answerer=answerer(), agent="b")
    assert (again.api_key, again.agent_ids, again.index_ids) == before
    assert again.agent_id == before[1]["b"]
    assert len(api(again).history(session)["messages"]) == 2
    again.close()
    changed = start(database=path, answerer=answerer(), agent="a", api_key="mine")
    assert api(changed, "mine").history(session)["messages"]
    assert api(changed, before[0]).http.get("/agents").status_code == 401


def test_without_a_seed_nothing_repeats_and_with_one_everything(start: Start, api: MakeApi) -> None:
    def run(seed: int | None) -> list[str]:
        local = start(answerer=answerer(), seed=seed)
        client = api(local)
        sessions = [client.session(), client.session()]
        signal_id = client.chat(sessions[1], "x").json()["signal_id"]
        return [local.api_key, local.agent_id, local.index_id, *sessions, signal_id]

    one, same, other = run(1), run(1), run(2)
    assert one == same
    assert len({*one, *other, *run(None), *run(None)}) == 4 * len(one)


@pytest.mark.parametrize("database", [":memory:", "x.db"])
def test_the_same_folder_has_the_same_ids_at_every_start(tmp_path: Path, start: Start, database: str) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.md").write_text("The lamp burns.", encoding="utf-8")

    def ids(**options: Any) -> tuple[str, str]:
        path = ":memory:" if database == ":memory:" else tmp_path / str(len(options)) / database
        if isinstance(path, Path):
            path.parent.mkdir(exist_ok=True)
        with LocalMeibel(database=path, **options) as local:
            return local.agent_id, local.index_id

    first = ids(documents=tmp_path / "one")
    (tmp_path / "one" / "b.md").write_text("And more.", encoding="utf-8")
    assert ids(documents=[str(tmp_path / "one" / ".." / "one")]) == first
    assert first[0].startswith("agent_")
    assert first[1].startswith("idx_")
    if database == ":memory:":
        assert ids(documents=tmp_path / "two") != first
        assert ids(documents=tmp_path / "one", agent="other") != first
        assert ids(documents={"a.md": "x"}) == ids(documents={"a.md": "y"}) != first


def test_ids_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with LocalMeibel(database=path, agent_id="agent_mine", index_id="idx-1") as local:
        assert (local.agent_id, local.index_id) == ("agent_mine", "idx-1")
    with LocalMeibel(database=path) as local:
        assert (local.agent_id, local.index_id) == ("agent_mine", "idx-1")
    with pytest.raises(ConfigurationError, match="'agent_mine' already; it cannot become 'agent_yours'"):
        LocalMeibel(database=path, agent_id="agent_yours").start()
    with pytest.raises(ConfigurationError, match="has one of the ids"):
        LocalMeibel(database=path, agent="second", agent_id="agent_mine").start()
    for options in ({"agent_id": "a/b"}, {"index_id": ""}, {"agents": {"a": []}, "agent_id": "x"}):
        with pytest.raises(ConfigurationError, match="_id"):
            LocalMeibel(**options)


def test_documents_of_every_kind(tmp_path: Path, start: Start, api: MakeApi) -> None:
    from langchain_core.documents import Document as LangChainDocument
    from llama_index.core import Document as LlamaIndexDocument

    (tmp_path / "file.md").write_text("# File\n\nThe lighthouse is white.", encoding="utf-8")
    lamp = "https://x.test/lamp.pdf"
    mixed = [
        tmp_path / "file.md",
        LangChainDocument("The lamp burned whale oil.", metadata={"source": lamp, "title": "Lamp"}),
        LangChainDocument("The lamp was replaced.", metadata={"source": lamp}),
        LlamaIndexDocument(text="The keeper was Ingrid.", metadata={"file_name": "keeper.html"}),
        LlamaIndexDocument(text="The stairs have 173 steps."),
    ]
    script = ScriptedAnswerer(lambda question: "; ".join(f"{p.title}|{p.url}" for p in question.search(question.text)))
    local = start(documents=mixed, answerer=script)
    client = api(local)
    session = client.session()
    assert local.ingest_report is not None
    assert (local.ingest_report.documents, local.ingest_report.skipped) == (5, [])
    said = {
        word: client.chat(session, word).json()["assistant_response"] for word in ("white", "whale", "keeper", "stairs")
    }
    assert said["white"].startswith("File|file:///")
    assert said["whale"].startswith("Lamp|https://x.test/lamp.pdf")
    assert said["keeper"].startswith("keeper.html|document:keeper.html")
    assert said["stairs"].startswith("document-")


def test_texts_by_name_are_kept_in_line(tmp_path: Path, start: Start, api: MakeApi) -> None:
    path = tmp_path / "x.db"
    with LocalMeibel({"a.md": "# A\n\nwhite", "b.html": "<p>green</p>"}, database=path) as first:
        assert first.ingest_report is not None
        assert first.ingest_report.documents == 2
    with LocalMeibel({"a.md": "# A\n\nwhite", "c.txt": ""}, database=path) as again:
        report = again.ingest_report
        assert report is not None
        assert (report.unchanged, report.removed, [str(each) for each in report.skipped]) == (
            1,
            1,
            ["c.txt: it is empty"],
        )


@pytest.mark.parametrize("nothing", [None, [], {}])
def test_without_documents_a_script_answers(nothing: Any, start: Start, api: MakeApi) -> None:
    local = start(documents=nothing, answerer=answerer())
    assert local.ingest_report is None
    client = api(local)
    assert client.chat(client.session(), "x").json()["assistant_response"] == "yes"


def test_what_is_no_document_is_named(tmp_path: Path) -> None:
    for documents, says in (
        ([3], "int is no document"),
        ({"a.md": 3}, "not str and int"),
        (["a.md"], r'no file or folder .*documents={"name.md": "text"}'),
    ):
        with pytest.raises(ConfigurationError, match=says):
            LocalMeibel(documents, database=tmp_path / "x.db").start()  # type: ignore[arg-type]


def test_before_it_is_started_it_says_what_to_do() -> None:
    local = LocalMeibel(answerer=answerer())
    for name in ("base_url", "api_key", "agent_id", "index_id", "ingest_report"):
        with pytest.raises(RuntimeError, match=f"no {name} before it is started: use `with LocalMeibel"):
            getattr(local, name)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        local.nothing  # noqa: B018
    assert repr(local) == "<LocalMeibel that is not running, docs>"
    with local:
        assert local.base_url in repr(local)
        assert local.api_key not in repr(local)


def test_a_key_of_the_hosted_service_is_never_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEIBEL_API_KEY", "hosted-secret")
    with LocalMeibel(answerer=answerer()) as one, LocalMeibel(answerer=answerer()) as other:
        assert len({one.api_key, other.api_key, "hosted-secret"}) == 3


def test_documents_are_read_at_the_start(tmp_path: Path, start: Start, api: MakeApi) -> None:
    (tmp_path / "zebra.md").write_text("# Zebras\n\nThe zebra sleeps standing.\n", encoding="utf-8")
    script = ScriptedAnswerer(lambda question: question.search("zebra")[0].text)
    local = start(documents=[tmp_path], answerer=script, api_keys=["second"])
    assert local.ingest_report is not None
    assert local.ingest_report.documents == 1
    for key in (local.api_key, "second"):
        client = api(local, key)
        assert "sleeps standing" in client.chat(client.session(), "x").text


def test_several_agents_do_not_share_documents(tmp_path: Path, start: Start, api: MakeApi) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.txt").write_text(f"The zebra of {name} sleeps.", encoding="utf-8")
    script = ScriptedAnswerer(lambda question: "|".join(p.text for p in question.search("zebra")))
    local = start(agents={name: [tmp_path / name] for name in "ab"}, answerer=script)
    client = api(local)
    for name in "ab":
        session = client.http.post(f"/agents/name/{name}/sessions").json()["id"]
        message = client.chat(session, "x").json()["response"]["message"]
        assert message == f"The zebra of {name} sleeps."


def test_what_is_wrong_is_named(tmp_path: Path, start: Start) -> None:
    with pytest.raises(ConfigurationError, match="nowhere"), LocalMeibel(documents=[tmp_path / "nowhere"]):
        pass
    with pytest.raises(ConfigurationError, match="dialect"):
        LocalMeibel(dialect="v3")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"documents=.*agents="):
        LocalMeibel(documents=["x"], agents={"a": ["x"]})
    with pytest.raises(ConfigurationError, match="no agent"):
        LocalMeibel(agents={})
    with pytest.raises(ConfigurationError, match="key"):
        LocalMeibel(api_keys=[""])
    for host in ("0.0.0.0", "192.0.2.1", "::"):
        with pytest.raises(ConfigurationError, match="api_key"):
            LocalMeibel(host=host)
    port = int(start(answerer=answerer()).base_url.rsplit(":")[-1].split("/")[0])
    before = threading.active_count()
    with pytest.raises(ConfigurationError, match=f"port {port}"), LocalMeibel(port=port):
        pass
    assert threading.active_count() == before


def test_a_session_is_ended_from_python(start: Start, api: MakeApi) -> None:
    local = start(answerer=answerer())
    client = api(local)
    session = client.session()
    local.end_session(session, "TERMINATED")
    assert client.details(session)["status"] == "TERMINATED"
    assert client.chat(session, "x").status_code == 409
    with pytest.raises(LookupError):
        local.end_session("none")
    with pytest.raises(ValueError, match="COMPLETED"):
        local.end_session(session, "RUNNING")


def test_two_services_on_one_file(tmp_path: Path, start: Start, api: MakeApi) -> None:
    pause = Pause()
    one = start(database=tmp_path / "x.db", answerer=ScriptedAnswerer([[pause]]))
    first = api(one)
    session = first.session()
    request = first.http.build_request("POST", f"/sessions/{session}/chat/stream", data={"user_message": "x"})
    response = first.http.send(request, stream=True)
    assert pause.reached.wait(10)
    # The second one does not take the first one's running turn for a dead one's.
    second = api(start(database=tmp_path / "x.db", answerer=answerer()))
    assert second.chat(session, "x").json()["code"] == "session_busy"
    pause.release()
    assert b"completion" in response.read()
    assert second.chat(session, "x").status_code == 200


SERVE = """
import sys
from meibel_integrations.local import ScriptedAnswerer, serve
def ready(local):
    print(local.base_url, flush=True)
serve(answerer=ScriptedAnswerer(["x"]), port=0, database=sys.argv[1], on_ready=ready)
print("closed", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_ends_quietly_at_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", SERVE, str(tmp_path / "x.db")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    assert httpx.get(url.removesuffix("/v2") + "/_local/health", trust_env=False, verify=False).status_code == 200
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert (out, err, process.returncode) == ("closed\n", "", 0)


def test_serve_needs_a_key_for_the_network() -> None:
    with pytest.raises(ConfigurationError, match="api_key"):
        serve(host="0.0.0.0")


FORGETFUL = """
from meibel_integrations.local import LocalMeibel, ScriptedAnswerer
local = LocalMeibel(answerer=ScriptedAnswerer(["x"])).start()
"""


def test_a_program_that_forgets_to_close_ends_all_the_same() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORGETFUL], capture_output=True, text=True, env=environment, timeout=20
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_extra_is_named_when_it_is_missing() -> None:
    program = "import sys; sys.modules['starlette'] = None; import meibel_integrations.local"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert 'pip install "meibel-integrations[local]"' in done.stderr
