"""How a failure reaches the user: one line that says what happened and what to do, and an exit code."""

from __future__ import annotations

import _thread
import errno
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import click

from meibel_integrations import errors
from meibel_integrations.cli import terminal

__all__ = ["Failure", "NothingToRead", "describe", "keep_interrupts", "reported"]

INTERRUPTED = 130

# The first that fits; the more special ones stand first.
_ADVICE: list[tuple[type[errors.MeibelIntegrationError], str]] = [
    (errors.AuthenticationError, "Check MEIBEL_API_KEY."),
    (errors.PermissionDeniedError, "Check that this key may use the agent or session."),
    (errors.NotFoundError, "Check the id, and that it belongs to this key and to this service."),
    (errors.RateLimitError, "Try again later."),
    (errors.ServerError, "Try again later; nothing was wrong with the request."),
    (errors.NotSentError, "Check the address (MEIBEL_BASE_URL or --base-url) and that the service is running."),
    (errors.ReadTimeoutError, "Try again; the service may be busy."),
    (errors.TurnOutcomeUnknown, "Look at the session (sessions messages ID) before you send it again."),
    (errors.StreamInterrupted, "Look at the session (sessions messages ID) for the whole answer."),
    (errors.ProtocolError, "Check the address (MEIBEL_BASE_URL or --base-url): is it the service's API?"),
]


class Failure(click.ClickException):
    """Something failed, though the command was right."""

    exit_code = 1

    def show(self, file: IO[Any] | None = None) -> None:
        terminal.note(f"Error: {self.message}")


class NothingToRead(Failure):
    """The folders that the user named hold no file: the command was not right."""

    exit_code = 2


@contextmanager
def reported() -> Iterator[None]:
    """Turns this package's errors, a missing extra, a full disk and Ctrl-C into an exit code without a traceback."""
    try:
        yield
    except errors.MeibelIntegrationError as error:
        raise Failure(describe(error)) from error
    except ImportError as error:
        if "meibel-integrations[" not in str(error):
            raise
        raise Failure(str(error)) from error
    except sqlite3.Error as error:
        raise Failure(f"The database refuses: {error}. Is the file damaged? Ingest the documents anew.") from error
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise  # the reader of a pipe has left: click ends quietly
        raise Failure(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}.") from error
    except KeyboardInterrupt:
        if sys.stderr.isatty():
            click.echo(err=True)  # the shell's prompt belongs on a line of its own
        raise click.exceptions.Exit(INTERRUPTED) from None


def keep_interrupts() -> None:
    """Makes a Ctrl-C count that arrives while Python runs a finalizer, where it would be reported and forgotten."""
    usual = sys.unraisablehook

    def hook(unraisable: sys.UnraisableHookArgs) -> None:
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            usual(unraisable)
        elif not sys.is_finalizing():
            # a moment later the finalizer is over, and the interrupt reaches the command
            threading.Timer(0.01, _thread.interrupt_main).start()

    sys.unraisablehook = hook


def describe(error: errors.MeibelIntegrationError) -> str:
    """What happened and what to do about it, on one line."""
    # an API error's own hint speaks to programs, except where it names what the table below cannot know
    hint = error.hint if isinstance(error, errors.NotFoundError) else ""
    said = terminal.one_line(str(error.args[0]) if isinstance(error, errors.APIError) else str(error))
    said = said or type(error).__name__
    if isinstance(error, errors.RateLimitError) and error.retry_after is not None:
        advice = f"Try again in {error.retry_after:g} s."
    else:
        advice = hint or next((advice for kind, advice in _ADVICE if isinstance(error, kind)), "")
    if not advice:
        return said
    return f"{said if said.endswith(('.', '!', '?')) else said + '.'} {advice}"
