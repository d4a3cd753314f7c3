"""How good the local service's answers are, on documentation that comes with Python and the test dependencies.

    python benchmarks/answers.py [--part open|closed] [--words] [--show] [--set NAME]

For each set of questions it prints how often the right document is among the sources (S), is the first of them (F),
and how often the answer cites it and holds the fact that was asked for (A); how many questions that have nothing to do
with the documents are refused (R); and the milliseconds of a question over HTTP. "FTS5 alone" is SQLite's own order of
the same passages, without a gate. Constants of the service may be chosen on the open part only.

A line of ``data/*.tsv`` is: part, the documents that answer (``a|b``), a pattern that a right answer has, the question.
"""

from __future__ import annotations

import argparse
import re
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from corpora import write_corpora

from meibel_integrations import MeibelClient
from meibel_integrations.local import LocalMeibel
from meibel_integrations.local.search.words import content_words
from meibel_integrations.models import Reply

DATA = Path(__file__).parent / "data"
SETS = ("reference", "packages", "library")


@dataclass(frozen=True)
class Asked:
    """A question with what a right answer to it has; off-topic questions have no documents."""

    corpus: str
    part: str
    question: str
    documents: frozenset[str] = frozenset()
    fact: str = ""


def questions(folders: dict[str, Path], part: str | None) -> Iterator[Asked]:
    for corpus, folder in folders.items():
        repeated = repetitions(folder)
        for line in (DATA / f"{corpus}.tsv").read_text(encoding="utf-8").splitlines():
            where, documents, fact, question = line.split("\t")
            right = {other for document in documents.split("|") for other in repeated[document]}
            if part in (None, where):
                yield Asked(corpus, where, question, frozenset(right), fact)
        for line in (DATA / "offtopic.tsv").read_text(encoding="utf-8").splitlines():
            where, question = line.split("\t")
            if part in (None, where):
                yield Asked(corpus, where, question)


def repetitions(folder: Path) -> dict[str, set[str]]:
    """For each document those that hold most of its paragraphs, itself among them: any of them answers as well."""
    texts = {document_of(file.as_uri()): file.read_text(encoding="utf-8") for file in folder.iterdir()}
    held: dict[str, set[str]] = {}
    for name, text in texts.items():
        paragraphs = [paragraph for paragraph in text.split("\n\n") if len(paragraph) > 80]
        held[name] = {name} | {
            other
            for other, whole in texts.items()
            if paragraphs and sum(p in whole for p in paragraphs) > 0.6 * len(paragraphs)
        }
    return held


def document_of(url: str | None) -> str:
    return Path(unquote(url or "")).name.rsplit(".", 1)[0]


def judge(asked: Asked, reply: Reply) -> Counter[str]:
    """Which of the marks the reply earns."""
    found = [document_of(source.url) for source in reply.sources]
    if not asked.documents:
        return Counter(off=1, R=not reply.citations)
    cited = {found[citation.source] for citation in reply.citations}
    fact = re.search(asked.fact, reply.message, re.IGNORECASE) is not None
    return Counter(
        n=1,
        S=not asked.documents.isdisjoint(found),
        F=bool(found) and found[0] in asked.documents,
        A=fact and not asked.documents.isdisjoint(cited),
    )


class PlainFts5:
    """SQLite's own ranking of the stored passages: what the service has to be better than."""

    def __init__(self, database: str, folders: dict[str, Path]) -> None:
        self._tables: dict[str, sqlite3.Connection] = {}
        rows: list[tuple[str, ...]] = []
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as stored:
            for (scope,) in stored.execute("SELECT id FROM document_scopes").fetchall():
                rows += stored.execute(
                    "SELECT d.path, f.title, f.heading, f.body FROM documents d JOIN passages p ON p.document = d.no"
                    f" JOIN passages_fts_{scope} f ON f.rowid = p.id"
                ).fetchall()
        for name, folder in folders.items():
            table = self._tables[name] = sqlite3.connect(":memory:")
            table.execute("CREATE VIRTUAL TABLE p USING fts5(path UNINDEXED, title, heading, body,"
                          " tokenize='porter unicode61')")  # fmt: skip
            table.executemany("INSERT INTO p VALUES (?, ?, ?, ?)", [r for r in rows if Path(r[0]).parent == folder])

    def judge(self, asked: Asked) -> Counter[str]:
        words = " OR ".join(f'"{word}"' for word in content_words(asked.question).values())
        if not words:
            return self._mark(asked, [])
        rows = self._tables[asked.corpus].execute(
            "SELECT path FROM p WHERE p MATCH ? ORDER BY bm25(p, 0, 3, 2.5, 1) LIMIT 5", (words,)
        )
        return self._mark(asked, [document_of(row[0]) for row in rows])

    @staticmethod
    def _mark(asked: Asked, found: list[str]) -> Counter[str]:
        if not asked.documents:
            return Counter(off=1, R=not found)
        return Counter(n=1, S=not asked.documents.isdisjoint(found), F=bool(found) and found[0] in asked.documents)


def line(label: str, marks: Counter[str], spent: Sequence[float] = ()) -> str:
    text = f"{label:<22} S {marks['S']:>3}  F {marks['F']:>3}  A {marks['A']:>3}  of {marks['n']:>3}"
    text += f"   R {marks['R']:>3} of {marks['off']:>3}"
    middle = sorted(spent)[len(spent) // 2] if spent else 0.0
    return text + (f"   {middle * 1000:.0f} ms ({max(spent) * 1000:.0f} at most)" if spent else "")


def show(asked: Asked, reply: Reply, marks: Counter[str]) -> None:
    earned = "".join(mark for mark in "SFAR" if marks[mark])
    print(f"\n--- [{asked.corpus}: {'|'.join(sorted(asked.documents)) or 'off-topic'}] {earned}\nQ: {asked.question}")
    print(f"{reply.message}\n({', '.join(document_of(source.url) for source in reply.sources)})")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--part", choices=["open", "closed"], help="only one part of the questions")
    options.add_argument("--set", choices=SETS, help="only the questions about one set of documents")
    options.add_argument("--words", action="store_true", help="without embeddings")
    options.add_argument("--show", action="store_true", help="print every answer (of the open part)")
    chosen = options.parse_args()
    totals: dict[tuple[str, str], Counter[str]] = {}
    spent: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folders = write_corpora(Path(temporary))
        database = f"{temporary}/answers.db"
        embedding = {"embedding": None} if chosen.words else {}
        agents = {name: [folder] for name, folder in folders.items()}
        with LocalMeibel(agents=agents, database=database, **embedding) as local:  # type: ignore[arg-type]
            plain = PlainFts5(database, folders)
            client = MeibelClient(api_key=local.api_key, base_url=local.base_url)
            for asked in questions(folders, chosen.part):
                if chosen.set not in (None, asked.corpus):
                    continue
                session = client.agents.create_session(agent_id=local.agent_ids[asked.corpus])
                began = time.perf_counter()
                reply = client.sessions.send_chat_message(session_id=session.id, user_message=asked.question)
                spent.setdefault(asked.part, []).append(time.perf_counter() - began)
                marks = judge(asked, reply)
                if chosen.show and asked.part == "open":
                    show(asked, reply, marks)
                for label, earned in (("service", marks), ("FTS5 alone", plain.judge(asked))):
                    for total in (f"{asked.part} {asked.corpus}", f"{asked.part} all"):
                        totals.setdefault((total, label), Counter()).update(earned)
    for (total, label), marks in sorted(totals.items()):
        timed = spent[total.removesuffix(" all")] if total.endswith(" all") and label == "service" else ()
        print(line(f"{total}: {label}" if label == "FTS5 alone" else total, marks, timed))


if __name__ == "__main__":
    main()
