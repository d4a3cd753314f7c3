"""What the commands print with: safe text, pieces of a stream, headings, a progress bar, one line per problem."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, Any

import click

from meibel_integrations.rendering.safety import printable

__all__ = ["dim", "heading", "line", "note", "one_line", "piece", "prepare", "reading_progress", "stream", "typed"]


def typed(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Checks a text from the command line. Where the locale is not UTF-8, its characters arrive as escaped bytes."""
    text = value if value.isascii() else os.fsencode(value).decode("utf-8", "replace")
    if not text.strip():
        raise click.BadParameter("it is empty.", ctx, param)
    return text


def prepare() -> None:
    """Makes printing never fail for a character: UTF-8 into files and pipes, a terminal keeps its own encoding.

    A stream that was closed before the program began (``2>&-``) is one that nobody reads.
    """
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - as long as the program
    for file in (sys.stdout, sys.stderr):
        if isinstance(file, io.TextIOWrapper) and file.encoding.lower().replace("-", "") != "utf8":
            encoding = file.encoding if file.isatty() else "utf-8"
            file.reconfigure(encoding=encoding, errors="replace")


def _colour(file: IO[Any]) -> bool:
    return file.isatty() and "NO_COLOR" not in os.environ


def line(text: str = "", *, err: bool = False, **style: Any) -> None:
    """A line (or several) of text from anywhere. ``style`` is click's: ``bold=True``, ``fg="cyan"``…"""
    styled = click.style(printable(text), **style) if style else printable(text)
    click.echo(styled, err=err, color=_colour(sys.stderr if err else sys.stdout))


def heading(text: str) -> None:
    line(text, bold=True)


def dim(text: str) -> None:
    line(text, dim=True)


def note(text: str) -> None:
    """A remark beside the output: one line on stderr."""
    line(one_line(text), err=True)


def one_line(text: str) -> str:
    return " ".join(printable(text).split())


def piece(text: str) -> None:
    """A piece of a text that is still arriving, shown at once."""
    click.echo(printable(text), nl=False, color=False)


def stream(pieces: Iterable[str]) -> None:
    """Shows pieces as they arrive, and ends the line, also when the stream breaks."""
    ended = True
    try:
        for text in pieces:
            piece(text)
            ended = text.endswith("\n")
    finally:
        if not ended:
            click.echo()


@contextmanager
def reading_progress(label: str = "Reading documents") -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar on a terminal, as the callback that ingest takes; ``None`` where nobody would see it."""
    if not sys.stderr.isatty():
        yield None
        return
    with ExitStack() as bars:
        bar: Any = None
        shown = 0

        def progress(done: int, total: int) -> None:
            nonlocal bar, shown
            if bar is None and done >= total:
                return
            if bar is None or done < shown:  # documents are read once per key of a database
                bars.close()
                bar, shown = bars.enter_context(click.progressbar(length=total, label=label, file=sys.stderr)), 0
            bar.update(done - shown)
            shown = done
            if done >= total:
                bars.close()  # what is printed next begins on a line of its own
                bar = None

        yield progress
