"""``ask``, ``chat`` and ``ingest`` over the user's own documents."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from meibel_integrations import MeibelClient
from meibel_integrations.local import LocalMeibel
from tests.support.running import run, run_process

QUESTION = "Who built the lighthouse of Kaldur?"


@pytest.mark.parametrize("via", ["langchain", "llamaindex"])
def test_the_answer_cites_the_right_document(docs: Path, via: str) -> None:
    result = run("ask", QUESTION, "--docs", docs, "--via", via)

    assert result.exit_code == 0
    assert "Ingrid Solberg" in result.stdout
    first_source = next(line for line in result.stdout.splitlines() if line.startswith("[1]"))
    assert "Origin" in first_source
    assert first_source.endswith("/history/origin.md")
    assert "    cited after “" in result.stdout
    assert result.stderr == ""


def test_several_folders_are_one_agent(docs: Path, tmp_path: Path) -> None:
    more = tmp_path / "more"
    more.mkdir()
    (more / "bridge.txt").write_text("The bridge of Varn has seven arches.\n", encoding="utf-8")

    assert "seven arches" in run("ask", "How many arches has the bridge?", "--docs", docs, "--docs", more).stdout
    assert "Solberg" in run("ask", QUESTION, "--docs", docs, "--docs", more).stdout


@pytest.fixture
def mixed(docs: Path, tmp_path: Path) -> Path:
    """Good files, and one of each kind that cannot be read."""
    (docs / "blob").write_bytes(bytes(range(256)) * 20)
    (docs / "latin.txt").write_bytes("Der Turm ist schön und hoch.\n".encode("latin-1"))
    (docs / "huge.txt").write_text("word " * 40_000, encoding="utf-8")
    outside = tmp_path / "outside.txt"
    outside.write_text("secret", encoding="utf-8")
    (docs / "link.txt").symlink_to(outside)
    return docs


def test_what_cannot_be_read_is_named_line_by_line_and_the_rest_answers(mixed: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()

    done = run_process(["ask", QUESTION, "--docs", mixed, "--docs", empty, "--max-file-mb", "0.1"])

    assert done.returncode == 0
    assert "Ingrid Solberg" in done.stdout
    lines = {Path(line.split(": ")[0].removeprefix("skipped ")).name: line for line in done.stderr.splitlines()}
    assert lines.keys() == {"blob", "latin.txt", "huge.txt", "link.txt", "empty"}
    assert "binary" in lines["blob"]
    assert "UTF-8" in lines["latin.txt"]
    assert "larger than the limit" in lines["huge.txt"]
    assert "leads out of the folder" in lines["link.txt"]
    assert "empty folder" in lines["empty"]


@pytest.mark.parametrize("command", [["ask", "x", "--docs"], ["chat", "--docs"], ["serve", "--port", "0", "--docs"]])
def test_a_missing_or_empty_folder_is_wrong_usage(command: list[str], tmp_path: Path) -> None:
    missing = run(*command, tmp_path / "nowhere")
    assert missing.exit_code == 2
    assert "nowhere" in missing.stderr

    (tmp_path / "bare" / "deeper").mkdir(parents=True)
    empty = run(*command, tmp_path / "bare")
    assert empty.exit_code == 2
    assert "bare" in empty.stderr.splitlines()[-1]
    assert empty.stdout == ""


def test_a_folder_in_which_nothing_can_be_read_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"\0" * 100)

    result = run("ask", "x", "--docs", tmp_path)

    assert result.exit_code == 1
    assert [line.split(":")[0] for line in result.stderr.splitlines()] == [f"skipped {tmp_path / 'blob'}", "Error"]


def test_a_file_name_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "good.txt").write_text("Owls sleep at day.\n", encoding="utf-8")
    (tmp_path / "a\x1b[31m\nb").write_bytes(b"\0" * 100)

    result = run("ask", "When do owls sleep?", "--docs", tmp_path)

    assert result.exit_code == 0
    assert "\x1b" not in result.output
    assert len(result.stderr.splitlines()) == 1


def test_control_characters_of_a_document_do_not_reach_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "owl.txt").write_text("Owls \x1b]0;title\x07sleep \u202eat\u202c day.\n", encoding="utf-8")

    result = run("ask", "When do owls sleep?", "--docs", tmp_path)

    assert "sleep at day." in result.stdout
    assert not set("\x1b\x07\u202e\u202c") & set(result.stdout)


def test_a_database_is_filled_once_and_asked_later(docs: Path, tmp_path: Path) -> None:
    db = tmp_path / "handbook.db"

    first = run("ingest", docs, "--db", db, "--agent", "handbook")
    assert first.exit_code == 0
    assert first.stdout.startswith("handbook: 2 documents, 2 passages, ")
    assert "MB/s" in first.stdout

    (docs / "install.md").unlink()
    again = run("ingest", docs, "--db", db, "--agent", "handbook")
    assert "0 documents" in again.stdout
    assert "1 unchanged; 1 removed; 0 skipped" in again.stdout

    assert "Ingrid Solberg" in run("ask", QUESTION, "--db", db).stdout
    assert "Ingrid Solberg" in run("ask", QUESTION, "--db", db, "--agent", "handbook").stdout
    stranger = run("ask", QUESTION, "--db", db, "--agent", "nobody")
    assert stranger.exit_code == 2
    assert "it has: handbook" in stranger.stderr


def test_asking_makes_no_database(tmp_path: Path) -> None:
    result = run("ask", "x", "--db", tmp_path / "no.db")
    assert result.exit_code == 2
    assert "There is no database" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database_is_left_alone(docs: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    other.write_text("not a database, and long enough to be looked at " * 30, encoding="utf-8")
    before = other.read_bytes()

    result = run("ingest", docs, "--db", other)

    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert other.read_bytes() == before


@pytest.mark.parametrize("via", ["langchain", "llamaindex"])
def test_a_chat_goes_on_in_its_session_until_new(docs: Path, tmp_path: Path, via: str) -> None:
    from meibel_integrations import MeibelClient

    db = tmp_path / "chat.db"
    talk = f"{QUESTION}\n\nAnd when?\n/sources\n/new\n/sources\nHow is the package installed?\n/quit\nnever asked\n"

    result = run("chat", "--docs", docs, "--db", db, "--via", via, stdin=talk)

    assert result.exit_code == 0
    assert "1873" in result.stdout
    assert "There are no sources to show." in result.stdout
    assert "with pip" in result.stdout
    with LocalMeibel(database=db) as local, MeibelClient(local.api_key, local.base_url) as client:
        asked = [
            [m.message for m in client.sessions.get_session_messages(session.id) if m.role == "user"]
            for session in client.agents.list_sessions(local.agent_id)
        ]
    assert sorted(asked, key=len) == [["How is the package installed?"], [QUESTION, "And when?"]]


def test_a_chat_ends_with_its_input_and_knows_its_commands(docs: Path) -> None:
    result = run("chat", "--docs", docs, stdin="/unknown\n")
    assert result.exit_code == 0
    assert "There is no /unknown." in result.stdout
    assert "/quit" in result.stdout


def test_what_an_agent_has_read_is_listed_and_forgotten(docs: Path, tmp_path: Path) -> None:
    db = tmp_path / "x.db"
    with LocalMeibel({"a.md": "# Given\n\nBy name."}, database=db, api_keys=["second"]):
        assert run("ingest", docs, "--db", db).exit_code == 0

    listed = run("documents", "list", "--db", db)
    assert [line.split("  ")[-1] for line in listed.stdout.splitlines()] == [
        str(docs / "history" / "origin.md"),
        str(docs / "install.md"),
        "given:a.md",
    ]
    assert "Origin" in listed.stdout
    assert listed.stderr == "3 documents, 0.0 MB.\n"

    shutil.rmtree(docs / "history")
    removed = run("documents", "remove", docs / "history", "a.md", "--db", db)
    assert removed.stdout == "2 documents removed.\n"
    assert str(docs / "install.md") in run("documents", "list", "--db", db).stdout
    # For every key of the database, and not only in the list.
    with LocalMeibel(database=db) as local:
        for key in local.keys.values():
            with MeibelClient(api_key=key, base_url=local.base_url) as client:
                session = client.agents.create_session(agent_id=local.agent_id)
                reply = client.sessions.send_chat_message(
                    session_id=session.id, user_message="Who built the lighthouse?"
                )
                assert "Ingrid" not in reply.message

    again = run("documents", "remove", docs / "history", "--db", db)
    assert again.exit_code == 1
    assert "has read nothing from" in again.stderr
    assert run("documents", "list", "--db", tmp_path / "none.db").exit_code == 2


def test_many_files_that_are_skipped_for_one_reason_are_one_line(docs: Path) -> None:
    for number in range(5):
        (docs / f"{number}.py").touch()
    (docs / "blob").write_bytes(b"\0" * 100)
    lines = run("ask", "How is it installed?", "--docs", docs).stderr.splitlines()
    assert sorted(line.split(":")[0] for line in lines) == sorted([f"skipped {docs / 'blob'}", "skipped 5 files"])
