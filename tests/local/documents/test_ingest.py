"""Ingest of folders, files, uploads and pydoc topics into a database."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from meibel_integrations.errors import InvalidInputError
from meibel_integrations.local.documents import reading
from meibel_integrations.local.documents.pipeline import ingest_paths
from meibel_integrations.local.documents.pydoc_topics import ingest_topics
from meibel_integrations.local.documents.report import IngestReport
from meibel_integrations.local.documents.uploads import ingest_upload
from meibel_integrations.local.search.search import DocumentSearch
from meibel_integrations.local.store.database import Database


@pytest.fixture
def db() -> Iterator[Database]:
    database = Database(":memory:")
    yield database
    database.close()


def contents(db: Database) -> list[tuple[object, ...]]:
    return db.read(
        lambda conn: conn.execute(
            "SELECT d.id, d.path, d.title, d.url, d.digest, f.heading, f.body FROM documents d"
            " JOIN passages p ON p.document = d.no JOIN passages_fts_1 f ON f.rowid = p.id ORDER BY d.path, p.ordinal"
        ).fetchall()
    )


def reasons(report: IngestReport) -> dict[str, str]:
    return {Path(skipped.path).name: skipped.reason for skipped in report.skipped}


def test_a_tree_with_everything_that_can_be_wrong(db: Database, tmp_path: Path) -> None:
    root = tmp_path / "docs"
    (root / "sub" / ".git").mkdir(parents=True)
    (root / "node_modules").mkdir()
    (root / "empty").mkdir()
    (root / "good.md").write_text("# Good\n\nA fine document.\n", encoding="utf-8")
    (root / "sub" / "also.txt").write_text("Plain words.\n", encoding="utf-8")
    (root / "sub" / ".git" / "config").write_text("hidden", encoding="utf-8")
    (root / "node_modules" / "x.js").write_text("junk", encoding="utf-8")
    (root / "binary.dat2").write_bytes(b"\0\1\2" * 50)
    (root / "picture.png").write_bytes(b"\x89PNG")
    (root / "latin.txt").write_bytes("café".encode("latin-1"))
    (root / "big.txt").write_text("x" * 2000, encoding="utf-8")
    (root / "nothing.txt").write_text("", encoding="utf-8")
    (root / "broken.pdf").write_bytes(b"%PDF-1.7 broken")
    (tmp_path / "secret.txt").write_text("outside", encoding="utf-8")
    (root / "out.txt").symlink_to(tmp_path / "secret.txt")
    (root / "outdir").symlink_to(tmp_path)
    (root / "loop").symlink_to(root / "loop")
    (root / "nowhere").symlink_to(root / "gone")
    (root / "parent").symlink_to(root)
    (root / "same.md").symlink_to(root / "good.md")
    os.mkfifo(root / "pipe")

    report = ingest_paths(db, "t", "a", [root], max_file_bytes=1000)

    assert (report.documents, report.passages) == (2, 2)
    assert report.bytes == (root / "good.md").stat().st_size + (root / "sub" / "also.txt").stat().st_size
    why = reasons(report)
    assert why["binary.dat2"] == why["picture.png"] == "a binary file, not text"
    assert "not UTF-8" in why["latin.txt"]
    assert "larger than the limit" in why["big.txt"]
    assert why["nothing.txt"] == "it is empty"
    assert "broken PDF" in why["broken.pdf"]
    assert "leads out of the folder" in why["out.txt"]
    assert "leads out of the folder" in why["outdir"]
    assert "leads to itself" in why["loop"]
    assert why["nowhere"] == "a link to nothing"
    assert "regular file" in why["pipe"]
    assert not {"parent", "same.md", "config", "x.js"} & set(why)
    assert report.ignored >= 4
    assert all("\n" not in str(skipped) for skipped in report.skipped)
    assert not any("outside" in str(row) for row in contents(db))


def test_ingest_twice_is_the_same_database(db: Database, tmp_path: Path) -> None:
    for i in range(20):
        (tmp_path / f"{i}.md").write_text(f"# Title {i}\n\nText {i}.\n", encoding="utf-8")
    ingest_paths(db, "t", "a", [tmp_path])
    before = contents(db)
    again = ingest_paths(db, "t", "a", [str(tmp_path)])
    assert (again.documents, again.unchanged, again.removed) == (0, 20, 0)
    assert contents(db) == before


def test_changes_are_followed(db: Database, tmp_path: Path) -> None:
    for name in ("stays", "changes", "goes"):
        (tmp_path / f"{name}.md").write_text(f"# {name}\n\nThe zebra {name}.\n", encoding="utf-8")
    ingest_paths(db, "t", "a", [tmp_path])
    old = {row[1]: row[0] for row in contents(db)}
    (tmp_path / "changes.md").write_text("# changes\n\nThe giraffe is new.\n", encoding="utf-8")
    (tmp_path / "goes.md").unlink()
    report = ingest_paths(db, "t", "a", [tmp_path])
    assert (report.documents, report.unchanged, report.removed) == (1, 1, 1)
    assert {row[0] for row in contents(db)} < set(old.values())
    search = DocumentSearch(db, "t", ["a"], None)
    assert [hit.title for hit in search("zebra")] == ["stays"]
    assert [hit.title for hit in search("giraffe")] == ["changes"]


def test_other_roots_and_agents_are_left_alone(db: Database, tmp_path: Path) -> None:
    for folder in ("one", "one-more"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.md").write_text("# Zebra\n\nStripes.\n", encoding="utf-8")
    ingest_paths(db, "t", "a", [tmp_path / "one", tmp_path / "one-more"])
    ingest_paths(db, "t", "b", [tmp_path / "one"])
    (tmp_path / "one" / "a.md").unlink()
    assert ingest_paths(db, "t", "a", [tmp_path / "one"]).removed == 1
    assert len(DocumentSearch(db, "t", ["a"], None)("zebra")) == 1
    assert len(DocumentSearch(db, "t", ["b"], None)("zebra")) == 1


def test_missing_and_empty_folders_are_named(db: Database, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "good.md").write_text("text", encoding="utf-8")
    report = ingest_paths(db, "t", "a", [tmp_path / "missing", tmp_path / "empty", tmp_path / "good.md"])
    assert report.documents == 1
    assert reasons(report) == {
        "missing": "there is no such file or folder",
        "empty": "an empty folder: there is no file in it to read",
    }


def test_progress_reaches_the_total(db: Database, tmp_path: Path) -> None:
    for i in range(3):
        (tmp_path / f"{i}.txt").write_text("x" * 10, encoding="utf-8")
    seen: list[tuple[int, int]] = []
    ingest_paths(db, "t", "a", [tmp_path], progress=lambda done, total: seen.append((done, total)))
    assert seen == [(10, 30), (20, 30), (30, 30)]


def test_a_file_name_that_is_no_unicode(db: Database, tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/caf\xe9.txt", "w", encoding="utf-8") as file:
        file.write("Zebra words.")
    assert ingest_paths(db, "t", "a", [tmp_path]).documents == 1
    (hit,) = DocumentSearch(db, "t", ["a"], None)("zebra")
    assert hit.url.startswith("file://")
    assert hit.url.endswith("caf%E9.txt")


def test_a_file_that_becomes_a_link_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_text("secret", encoding="utf-8")
    root = tmp_path / "root"
    root.mkdir()
    (root / "a.txt").symlink_to(outside)
    with pytest.raises(reading.UnreadableError, match="leads out"):
        reading.read_file(root / "a.txt", root, 100)


def test_an_error_while_storing_reaches_the_caller(db: Database, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text", encoding="utf-8")
    db.write(lambda conn: conn.execute("DROP TABLE passages"))
    with pytest.raises(Exception, match="passages"):
        ingest_paths(db, "t", "a", [tmp_path])


def test_uploads_are_seen_in_their_session_only(db: Database) -> None:
    first = ingest_upload(db, "t", "s1", "../../notes.md", b"# Notes\n\nThe zebra is here.\n")
    assert ingest_upload(db, "t", "s1", "notes.md", b"# Notes\n\nThe zebra is here.\n") == first
    (hit,) = DocumentSearch(db, "t", ["a"], "s1")("zebra")
    assert (hit.document_id, hit.title, hit.url) == (first, "Notes", "upload:notes.md")
    assert DocumentSearch(db, "t", ["a"], "s2")("zebra") == []
    assert DocumentSearch(db, "t", ["a"], None)("zebra") == []
    assert DocumentSearch(db, "u", ["a"], "s1")("zebra") == []


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.bin2", b"\0\1", "binary"),
        ("a.png", b"\x89PNG", "binary"),
        ("a.txt", b"caf\xe9 words", "not UTF-8"),
        ("a.txt", b" \n", "empty"),
        ("a.pdf", b"junk", "PDF"),
    ],
)
def test_an_upload_that_cannot_be_read(db: Database, name: str, data: bytes, reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason) as caught:
        ingest_upload(db, "t", "s", name, data)
    assert "\n" not in str(caught.value)


def test_pydoc_topics(db: Database) -> None:
    report = ingest_topics(db, "t", "python")
    assert report.documents > 50
    assert ingest_topics(db, "t", "python").unchanged == report.documents
    hit = DocumentSearch(db, "t", ["python"], None)("What does the with statement do?")[0]
    assert (hit.url, hit.title) == ("pydoc:with", 'The "with" statement')
