"""How long a question takes over many passages, by words alone: python benchmarks/bench_search.py [PASSAGES …]

The passages are made of words that are as rare as words are (Zipf's law), about 900 characters each. With ``--vectors``
the time of the extra ``embeddings`` is measured, too; its first question embeds every passage.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path

from meibel_integrations.local.search.embeddings import Vectors, embedding_model
from meibel_integrations.local.search.search import DocumentSearch
from meibel_integrations.local.store import documents
from meibel_integrations.local.store.database import Database
from meibel_integrations.local.store.documents import DocumentRecord, PassageRecord

_VOCABULARY = 200_000
_WORDS = 140
_PER_DOCUMENT = 50
_BATCH = 4_000
_QUESTIONS = 60


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("passages", type=int, nargs="*", default=[1_000, 10_000, 100_000])
    options.add_argument("--vectors", action="store_true")
    chosen = options.parse_args()
    for passages in chosen.passages:
        with tempfile.TemporaryDirectory() as folder, Database(Path(folder) / "search.db") as db:
            began = time.perf_counter()
            fill(db, passages)
            print(f"{passages:>9,} passages  written in {time.perf_counter() - began:.0f} s", end="  ", flush=True)
            began = time.perf_counter()
            db.write(partial(documents.count_words, scope=1))
            print(f"words counted in {time.perf_counter() - began:.1f} s", end="  ", flush=True)
            model = embedding_model("auto") if chosen.vectors else None
            report(DocumentSearch(db, "t", ["a"], None, Vectors(db, model) if model else None))


def fill(db: Database, passages: int) -> None:
    scope = db.write(lambda conn: documents.ensure_scope(conn, "t", "agent", "a"))
    records: list[DocumentRecord] = []
    for number, texts in enumerate(batches(passages)):
        found = [PassageRecord(0, len(text), "", text) for text in texts]
        records.append(DocumentRecord(f"d{number}", f"p{number}", f"Document {number}", "x:", "d", 1, found))
        if len(records) == _BATCH // _PER_DOCUMENT:
            store(db, scope, records)
            records = []
    store(db, scope, records)


def store(db: Database, scope: int, records: Sequence[DocumentRecord]) -> None:
    db.write(lambda conn: documents.replace_documents(conn, "t", scope, records, more_follow=True))


def batches(passages: int) -> Iterator[list[str]]:
    """The texts of one document after the other."""
    chance = random.Random(1)
    words = [word(number) for number in range(_VOCABULARY)]
    weights = list(accumulate(1 / (rank + 3) for rank in range(_VOCABULARY)))
    for start in range(0, passages, _PER_DOCUMENT):
        count = min(_PER_DOCUMENT, passages - start)
        drawn = chance.choices(words, cum_weights=weights, k=count * _WORDS)
        yield [" ".join(drawn[i * _WORDS : (i + 1) * _WORDS]) for i in range(count)]


def word(number: int) -> str:
    letters = ""
    for _ in range(4 + number % 3):
        number, rest = divmod(number * 7 + 3, 26)
        letters += "abcdefghijklmnopqrstuvwxyz"[rest]
    return letters + "aeiou"[number % 5]


def report(search: DocumentSearch) -> None:
    """Questions of five words, from frequent ones to rare ones."""
    chance = random.Random(2)
    spent: list[float] = []
    search("warm up")
    for _ in range(_QUESTIONS):
        asked = " ".join(word(int(10 ** chance.uniform(0.5, 5))) for _ in range(5))
        began = time.perf_counter()
        search(asked)
        spent.append(time.perf_counter() - began)
    spent.sort()
    print(f"a question takes {spent[len(spent) // 2] * 1000:.0f} ms ({spent[-1] * 1000:.0f} ms at most)")


if __name__ == "__main__":
    main()
