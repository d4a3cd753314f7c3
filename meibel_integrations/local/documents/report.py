"""What an ingest did, and what it left out and why."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Skipped:
    """A path that was not ingested, with a reason that fits on one line."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(slots=True)
class IngestReport:
    """Counts of one ingest.

    ``documents``, ``passages`` and ``bytes`` count what was stored now; ``unchanged`` documents were there already;
    ``removed`` ones had lost their file. ``ignored`` counts hidden and generated entries (``.git``,
    ``node_modules``, ``__pycache__``), which are passed over without a word each.
    """

    documents: int = 0
    passages: int = 0
    bytes: int = 0
    unchanged: int = 0
    removed: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    ignored: int = 0

    def __add__(self, other: IngestReport) -> IngestReport:
        """Both together."""
        return IngestReport(
            documents=self.documents + other.documents,
            passages=self.passages + other.passages,
            bytes=self.bytes + other.bytes,
            unchanged=self.unchanged + other.unchanged,
            removed=self.removed + other.removed,
            skipped=[*self.skipped, *other.skipped],
            ignored=self.ignored + other.ignored,
        )
