"""The local service's ingest in MB/s, over generated files. The goal is 5 MB/s of elapsed time."""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from meibel_integrations.local.documents.pipeline import ingest_paths
from meibel_integrations.local.store import tenants
from meibel_integrations.local.store.database import Database

ROUNDS = 5
GOAL = 5.0
KINDS: dict[str, tuple[str, str, str]] = {
    # suffix: what a section begins with, what a paragraph begins and ends with
    ".md": ("## {}\n\n", "", "\n\n"),
    ".html": ("<h2>{}</h2>\n", "<p>", "</p>\n"),
    ".rst": ("{}\n" + "=" * 60 + "\n\n", "", "\n\n"),
    ".txt": ("{}\n\n", "", "\n\n"),
}


def vocabulary(chance: random.Random) -> list[str]:
    """Words whose lengths are those of a language, so that the index has work to do."""
    syllables = [c + v for c in "bcdfghklmnprstvw" for v in "aeiou"]
    return ["".join(chance.choices(syllables, k=chance.choice((1, 1, 2, 2, 3, 4)))) for _ in range(8_000)]


def write(folder: Path, suffix: str, files: int, words: list[str], chance: random.Random) -> int:
    """Writes so many files of about 20 kB; returns their bytes."""
    heading, before, after = KINDS[suffix]
    size = 0
    for number in range(files):
        parts = []
        for _ in range(8):
            parts.append(heading.format(" ".join(chance.choices(words, k=4)).title()))
            for _ in range(5):
                sentences = (" ".join(chance.choices(words, k=12)).capitalize() + "." for _ in range(6))
                parts.append(before + " ".join(sentences) + after)
        text = "".join(parts)
        (folder / f"file{number:04}{suffix}").write_text(text, encoding="utf-8")
        size += len(text.encode())
    return size


def ingest(folder: Path, database: Callable[[], str]) -> tuple[float, float]:
    """Elapsed and CPU seconds of reading a folder into a new database."""
    with Database(database()) as db:
        ids = tenants.IdSource(1)
        db.write(lambda conn: tenants.ensure_keys(conn, ids, None, {}))
        agent = db.write(
            lambda conn: tenants.ensure_agent(conn, ids, tenants.DEFAULT_TENANT, tenants.WantedAgent("docs"))
        )
        started, worked = time.perf_counter(), time.process_time()
        ingest_paths(db, tenants.DEFAULT_TENANT, agent.agent_id, [folder])
        return time.perf_counter() - started, time.process_time() - worked


def main() -> None:
    chance = random.Random(1)
    words = vocabulary(chance)
    out = sys.stdout
    out.write(f"Ingest (MB/s, median of {ROUNDS} rounds; goal: at least {GOAL:g} elapsed)\n")
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        folders: dict[str, tuple[Path, int]] = {}
        for suffix in KINDS:
            folder = place / suffix[1:]
            folder.mkdir()
            folders[suffix] = folder, write(folder, suffix, 150, words, chance)
        spent: dict[str, list[tuple[float, float]]] = {suffix: [] for suffix in [*folders, ".md into a file"]}
        for number in range(ROUNDS):
            for suffix, (folder, _) in folders.items():
                spent[suffix].append(ingest(folder, lambda: ":memory:"))
            file = partial(str, place / f"{number}.db")
            spent[".md into a file"].append(ingest(folders[".md"][0], file))
        for kind, rounds in spent.items():
            size = folders[kind.split(" ")[0]][1] / 1e6
            elapsed = size / statistics.median(wall for wall, _ in rounds)
            worked = size / statistics.median(cpu for _, cpu in rounds)
            verdict = "met" if elapsed >= GOAL else "MISSED"
            out.write(f"  {kind:<16} {size:5.1f} MB  {elapsed:6.1f} MB/s elapsed ({verdict})  {worked:6.1f} MB/s CPU\n")


if __name__ == "__main__":
    main()
