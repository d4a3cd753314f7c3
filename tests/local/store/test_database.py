"""The database: durable, ordered, isolated, and clear about what it refuses."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from meibel_integrations.errors import ConfigurationError
from meibel_integrations.local.store.database import Database, StorageError
from meibel_integrations.local.store.group_commit import run_script


@pytest.fixture(params=["memory", "file"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    with Database(":memory:" if request.param == "memory" else tmp_path / "x.db") as database:
        database.write(lambda conn: conn.execute("CREATE TABLE things (n INTEGER PRIMARY KEY) STRICT").rowcount)
        yield database


def insert(n: int) -> object:
    return lambda conn: conn.execute("INSERT INTO things VALUES (?)", (n,)).rowcount


def count(conn: sqlite3.Connection) -> int:
    return int(conn.execute("SELECT count(*) FROM things").fetchone()[0])


def test_a_write_returns_after_its_commit(db: Database) -> None:
    assert db.write(insert(1)) == 1
    assert db.read(count) == 1


def test_a_failed_write_is_undone_and_raises(db: Database) -> None:
    def fail(conn: sqlite3.Connection) -> None:
        conn.execute("INSERT INTO things VALUES (1)")
        raise LookupError("no")

    with pytest.raises(LookupError, match="no"):
        db.write(fail)
    assert db.read(count) == 0


async def test_a_failure_does_not_take_its_group_along(db: Database) -> None:
    gate = threading.Event()
    first = asyncio.ensure_future(db.awrite(lambda conn: gate.wait(10)))
    rest = [asyncio.ensure_future(db.awrite(insert(n))) for n in (1, 2, 2, 3)]
    await asyncio.sleep(0)
    gate.set()
    results = await asyncio.gather(first, *rest, return_exceptions=True)
    assert [type(result).__name__ for result in results] == ["bool", "int", "int", "IntegrityError", "int"]
    assert await db.aread(count) == 3


async def test_a_cancelled_write_that_still_waited_is_not_done(db: Database) -> None:
    gate = threading.Event()
    first = asyncio.ensure_future(db.awrite(lambda conn: gate.wait(10)))
    await asyncio.sleep(0)
    second = asyncio.ensure_future(db.awrite(insert(1)))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.sleep(0)
    gate.set()
    await first
    with pytest.raises(asyncio.CancelledError):
        await second
    assert await db.aread(count) == 0


def test_many_threads(db: Database) -> None:
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: (db.write(insert(n)), db.read(count)), range(300)))
    assert db.read(count) == 300


def test_reading_cannot_write(db: Database) -> None:
    with pytest.raises(StorageError, match="readonly"):
        db.read(insert(1))
    assert db.read(count) == 0


def test_waiting_for_oneself_is_an_error(db: Database) -> None:
    with pytest.raises(RuntimeError, match="wait for itself"):
        db.write(lambda conn: db.write(count))
    with pytest.raises(RuntimeError, match="wait for itself"):
        db.read(lambda conn: db.write(count))
    with pytest.raises(RuntimeError, match="inside a read"):
        db.read(lambda conn: db.read(count))


def test_a_write_function_may_not_commit(db: Database) -> None:
    with pytest.raises(RuntimeError, match="must not commit"):
        db.write(lambda conn: conn.executescript("SELECT 1"))
    assert db.write(insert(7)) == 1


def test_run_script_stays_in_the_transaction(db: Database) -> None:
    def fail(conn: sqlite3.Connection) -> None:
        run_script(conn, "CREATE TABLE a (x) STRICT;\nCREATE TRIGGER t AFTER INSERT ON things BEGIN SELECT 1; END;")

    with pytest.raises(sqlite3.OperationalError):  # STRICT needs a type
        db.write(fail)
    assert db.read(lambda conn: conn.execute("SELECT count(*) FROM sqlite_master WHERE name = 'a'").fetchone()) == (0,)


def test_a_reader_does_not_wait_for_the_writer_of_a_file(tmp_path: Path) -> None:
    with Database(tmp_path / "x.db") as db:
        db.write(lambda conn: conn.execute("CREATE TABLE things (n INTEGER) STRICT").rowcount)
        inside, gate = threading.Event(), threading.Event()

        def slow(conn: sqlite3.Connection) -> None:
            conn.execute("INSERT INTO things VALUES (1)")
            inside.set()
            assert gate.wait(10)

        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(db.write, slow)
            assert inside.wait(10)
            assert db.read(count) == 0
            gate.set()
            writing.result(10)
        assert db.read(count) == 1


async def test_closing_finishes_what_was_submitted_and_refuses_the_rest(tmp_path: Path) -> None:
    db = Database(tmp_path / "x.db")
    await db.awrite(lambda conn: conn.execute("CREATE TABLE things (n INTEGER) STRICT").rowcount)
    pending = asyncio.ensure_future(db.awrite(insert(1)))
    await asyncio.sleep(0)
    db.close()
    db.close()
    assert await pending == 1
    for refused in (db.awrite(insert(2)), db.aread(count)):
        with pytest.raises(RuntimeError, match="closed"):
            await refused
    with pytest.raises(RuntimeError, match="closed"):
        db.write(insert(2))
    with pytest.raises(RuntimeError, match="closed"):
        db.read(count)


def test_what_is_kept_is_private_and_durable(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with Database(path) as db:
        pragmas = [db.write(lambda c, p=p: c.execute(f"PRAGMA {p}").fetchone()[0]) for p in PRAGMAS]
        tables = dict(
            db.read(lambda c: c.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall())
        )
    assert dict(zip(PRAGMAS, pragmas, strict=True)) == {"journal_mode": "wal", "foreign_keys": 1, "synchronous": 2}
    assert path.stat().st_mode & 0o077 == 0
    ours = [sql for name, sql in tables.items() if "fts" not in name and not name.startswith("sqlite_")]
    assert ours
    assert all("STRICT" in sql for sql in ours)


PRAGMAS = ("journal_mode", "foreign_keys", "synchronous")


def test_migrations_run_once_and_are_recorded(tmp_path: Path) -> None:
    for _ in range(2):
        with Database(tmp_path / "x.db") as db:
            rows = db.read(lambda conn: conn.execute("SELECT version, name FROM schema_migrations").fetchall())
    names = ["documents.create_tables", "tenants.create_tables", "sessions.create_tables", "chats.add_columns"]
    names.append("documents.index_by_scope")
    assert rows == list(enumerate(names, start=1))


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with Database(path) as db:
        db.write(lambda conn: conn.execute("INSERT INTO schema_migrations VALUES (99, 'later', '')").rowcount)
    with pytest.raises(ConfigurationError, match=r"newer version.*schema 99"):
        Database(path)


def test_what_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(b"my notes\n" * 1000)
    with pytest.raises(ConfigurationError, match="not a database"):
        Database(path)
    assert path.read_bytes() == b"my notes\n" * 1000


def test_another_programs_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "theirs.db"
    conn = sqlite3.connect(path)
    conn.execute("CREATE TABLE theirs (x)")
    conn.commit()
    conn.close()
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="another program"):
        Database(path)
    assert path.read_bytes() == before


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="nowhere"):
        Database(tmp_path / "nowhere" / "x.db")


WRITER = """
import sys
from meibel_integrations.local.store.database import Database
with Database(sys.argv[1]) as db:
    for n in range(int(sys.argv[2]), 10**9, 2):
        db.write(lambda conn: conn.execute("INSERT INTO log VALUES (?)", (n,)).rowcount)
        print(n, flush=True)
"""


def test_kill_9_loses_no_acknowledged_write_of_two_processes(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with Database(path) as db:
        db.write(lambda conn: conn.execute("CREATE TABLE log (n INTEGER) STRICT").rowcount)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(first)], stdout=subprocess.PIPE, text=True, env=environment
        )
        for first in (0, 1)
    ]
    acknowledged = set()
    for writer in writers:
        assert writer.stdout is not None
        acknowledged |= {int(writer.stdout.readline()) for _ in range(30)}
    for writer in writers:
        writer.send_signal(signal.SIGKILL)
    for writer in writers:
        rest, _ = writer.communicate(timeout=20)
        acknowledged |= {int(line) for line in rest.splitlines() if line}
    with Database(path) as db:
        stored = {row[0] for row in db.read(lambda conn: conn.execute("SELECT n FROM log").fetchall())}
        check = db.read(lambda conn: conn.execute("PRAGMA integrity_check").fetchone())
    assert acknowledged <= stored
    assert check == ("ok",)
