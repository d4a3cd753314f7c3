"""The command line: ``python -m meibel_integrations``, or ``meibel-integrations``.

``app`` collects the commands, one module each; ``connection`` chooses the service, ``frameworks`` the way to it, and
``terminal`` is what they print with. Whatever is heavy is imported inside the commands, so that ``--help`` is fast.
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """The console script. Leaves with the exit code: 0, 1 for a failure, 2 for wrong usage, 130 after Ctrl-C."""
    try:
        try:
            import click  # noqa: F401
        except ImportError:
            sys.stderr.write('The command line needs its extra: pip install "meibel-integrations[all]"\n')
            sys.exit(2)
        from meibel_integrations.cli import terminal
        from meibel_integrations.cli.app import commands
        from meibel_integrations.cli.failures import keep_interrupts

        keep_interrupts()
        terminal.prepare()
        commands(prog_name="meibel-integrations")
    except KeyboardInterrupt:  # while the commands were being imported
        sys.exit(130)
