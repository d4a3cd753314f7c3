"""The command line as users have it: in this process where that is enough, as a process of its own where not."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from meibel_integrations.cli.app import commands

COMMAND = [sys.executable, "-m", "meibel_integrations"]


def run(*args: str | Path, stdin: str | None = None, **options: Any) -> Result:
    """Runs a command in this process."""
    result = CliRunner().invoke(commands, [str(arg) for arg in args], input=stdin, **options)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def run_process(args: Sequence[str | Path], **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs a command in a process of its own, to its end."""
    return subprocess.run(
        [*COMMAND, *map(str, args)],
        check=False,
        capture_output=True,
        encoding="utf-8",
        timeout=30,
        stdin=subprocess.DEVNULL,
        **options,
    )


def run_program(program: str) -> subprocess.CompletedProcess[str]:
    """Runs a Python program in a process of its own, to its end."""
    return subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, encoding="utf-8", timeout=30
    )


@contextlib.contextmanager
def started(*args: str | Path, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A command that is still running. It does not outlive the block."""
    settings: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*COMMAND, *map(str, args)], encoding="utf-8", **(settings | options)) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
