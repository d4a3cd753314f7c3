"""Measures contenders side by side: CPU time, interleaved rounds, medians.

A machine's speed drifts; ratios of what ran next to each other in one process do not. Nothing is asserted.
"""

from __future__ import annotations

import gc
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

__all__ = ["Goal", "measure", "report"]

ROUNDS = 15


@dataclass(frozen=True)
class Goal:
    """``name`` should cost at most ``most`` times the sum of ``against``."""

    name: str
    against: tuple[str, ...]
    most: float


def measure(contenders: Mapping[str, Callable[[], object]], *, rounds: int = ROUNDS) -> dict[str, list[float]]:
    """CPU seconds of each contender in each round, in which all take turns. All threads of the process count."""
    for run in contenders.values():
        run()  # imports, caches and pools are warm for everybody
    spent: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds):
        names = list(contenders)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            gc.collect()
            start = time.process_time()
            contenders[name]()
            spent[name].append(time.process_time() - start)
    return spent


def report(title: str, spent: Mapping[str, list[float]], count: int, goals: list[Goal]) -> None:
    """Prints microseconds per event, and each goal's ratio (the median of the rounds' ratios)."""
    out = sys.stdout
    rounds = len(next(iter(spent.values())))
    out.write(f"{title} ({count:,} events, {rounds} rounds, median CPU time per event)\n")
    width = max(map(len, spent))
    for name, each in spent.items():
        out.write(f"  {name:<{width}}  {statistics.median(each) / count * 1e6:9.2f} us\n")
    for goal in goals:
        base = [sum(spent[name][n] for name in goal.against) for n in range(rounds)]
        ratios = [mine / theirs for mine, theirs in zip(spent[goal.name], base, strict=True)]
        ratio = statistics.median(ratios)
        verdict = "met" if ratio <= goal.most else "MISSED"
        against = " + ".join(goal.against)
        out.write(f"  {goal.name} / ({against}) = {ratio:.2f}  (goal: at most {goal.most:g}: {verdict})\n")
    out.write("\n")
