"""``ingest``: documents into a database file, once, for ``ask``, ``chat`` and ``serve`` to use."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from meibel_integrations.cli import terminal
from meibel_integrations.cli.connection import (
    DEFAULT_AGENT,
    check_documents,
    max_file_bytes,
    report_skipped,
)

if TYPE_CHECKING:
    from meibel_integrations.local.documents.report import IngestReport

__all__ = ["ingest"]


@click.command()
@click.argument(
    "paths", metavar="DIR...", nargs=-1, required=True, type=click.Path(exists=True, readable=False, path_type=Path)
)
@click.option(
    "--db", required=True, type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="The database."
)
@click.option("--agent", default=DEFAULT_AGENT, show_default=True, metavar="NAME", help="The agent that gets them.")
@click.option(
    "--max-file-mb",
    type=click.FloatRange(min=0, min_open=True),
    metavar="MB",
    help="The largest file to read.  [default: 20]",
)
def ingest(paths: tuple[Path, ...], db: Path, agent: str, max_file_mb: float | None) -> None:
    """Read folders into a database file.

    Again with the same folder, it reads what has changed and removes what is gone.

    \b
    Examples:
      meibel-integrations ingest docs/ --db handbook.db --agent handbook
      meibel-integrations ask "How do I install it?" --db handbook.db
    """
    from meibel_integrations.local import LocalMeibel

    begin = time.perf_counter()
    with (
        terminal.reading_progress() as progress,
        LocalMeibel(
            list(paths), database=db, agent=agent, max_file_bytes=max_file_bytes(max_file_mb), progress=progress
        ) as local,
    ):
        seconds = time.perf_counter() - begin
        report = local.ingest_report
    assert report is not None  # it was given paths
    report_skipped(report)
    if not report.removed:
        check_documents(paths, report)
    terminal.line(f"{agent}: {_summary(report, seconds)}")


def _summary(report: IngestReport, seconds: float) -> str:
    megabytes = report.bytes / 1e6
    counts = [
        f"{report.documents} documents, {report.passages} passages, {megabytes:.1f} MB in {seconds:.1f} s"
        f" ({megabytes / seconds:.1f} MB/s)",
        f"{report.unchanged} unchanged",
        f"{report.removed} removed",
        f"{len(report.skipped)} skipped",
    ]
    if report.ignored:
        counts.append(f"{report.ignored} hidden or generated passed over")
    return "; ".join(counts)
