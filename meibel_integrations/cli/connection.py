"""Which service a command talks to: one embedded over the user's documents, or a hosted one.

Both end as the same thing, an address with a key and an agent; no command knows the difference.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meibel_integrations.cli import terminal
from meibel_integrations.cli.failures import Failure, NothingToRead

if TYPE_CHECKING:
    from meibel_integrations.client import MeibelClient
    from meibel_integrations.local import LocalMeibel
    from meibel_integrations.local.documents.report import IngestReport

__all__ = [
    "DEFAULT_AGENT",
    "Connection",
    "ServiceChoice",
    "agent_of_database",
    "check_documents",
    "connect",
    "document_options",
    "embedded",
    "hosted_client",
    "hosted_options",
    "max_file_bytes",
    "report_skipped",
    "service_options",
]

DEFAULT_AGENT = "docs"
KEY_VARIABLE = "MEIBEL_API_KEY"
_NAMED_ONE_BY_ONE = 3
_FOLDER = click.Path(exists=True, readable=False, path_type=Path)
_DATABASE = click.Path(dir_okay=False, path_type=Path)


@dataclass(frozen=True, slots=True)
class Connection:
    """An agent that can be asked. ``client`` holds the address and the key."""

    client: MeibelClient
    agent_id: str | None
    agent_name: str | None


@dataclass(frozen=True, slots=True)
class ServiceChoice:
    """What the user said about the service, by option."""

    docs: tuple[Path, ...] = ()
    db: Path | None = None
    agent: str | None = None
    max_file_mb: float | None = None
    agent_id: str | None = None
    base_url: str | None = None
    allow_insecure_http: bool = False

    def check(self) -> None:
        """Raises ``click.UsageError`` if the options contradict one another, or name no agent at all."""
        embedded = bool(self.docs or self.db)
        if embedded and (self.agent_id or self.base_url):
            raise click.UsageError(
                "--docs and --db are for the embedded service, --agent-id and --base-url for a hosted one: choose."
            )
        if self.agent_id and self.agent:
            raise click.UsageError("Name the agent by --agent-id or by --agent, not by both.")
        if not embedded and not (self.agent_id or self.agent):
            raise click.UsageError(
                "Say who is to answer: --docs DIR for your own documents, or --agent-id ID (with MEIBEL_API_KEY set) "
                "for a hosted agent."
            )


def _options(*options: Callable[[Any], Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


document_options = _options(
    click.option(
        "--docs", type=_FOLDER, multiple=True, metavar="DIR", help="A folder (or file) to answer from; may be repeated."
    ),
    click.option(
        "--db", type=_DATABASE, metavar="FILE", help="Keep documents and sessions in this file, or use an ingested one."
    ),
    click.option(
        "--agent", metavar="NAME", help=f"The agent's name.  [default: {DEFAULT_AGENT}; with --db alone its only agent]"
    ),
    click.option(
        "--max-file-mb",
        type=click.FloatRange(min=0, min_open=True),
        metavar="MB",
        help="The largest file to read.  [default: 20]",
    ),
)
hosted_options = _options(
    click.option("--base-url", metavar="URL", help="The service's address.  [env: MEIBEL_BASE_URL]"),
    click.option("--allow-insecure-http", is_flag=True, help="Send the key over plain http:// to another machine."),
)


def service_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that choose a service; the command gets them as one ``choice``."""

    @wraps(command)
    def gathered(*args: Any, **options: Any) -> Any:
        choice = ServiceChoice(**{name: options.pop(name) for name in ServiceChoice.__dataclass_fields__})
        choice.check()
        return command(*args, choice=choice, **options)

    agent_id = click.option("--agent-id", metavar="ID", help="A hosted agent; needs MEIBEL_API_KEY in the environment.")
    return document_options(agent_id(hosted_options(gathered)))


@contextmanager
def connect(choice: ServiceChoice) -> Iterator[Connection]:
    """The chosen service, for as long as the block lasts. An embedded one has read its documents by then."""
    if not (choice.docs or choice.db):
        with hosted_client(choice.base_url, allow_insecure_http=choice.allow_insecure_http) as client:
            yield Connection(client, choice.agent_id, choice.agent)
        return
    from meibel_integrations.client import MeibelClient

    with (
        embedded(choice) as local,
        MeibelClient(api_key=local.api_key, base_url=local.base_url) as client,
    ):
        yield Connection(client, local.agent_id, None)


def hosted_client(base_url: str | None, *, allow_insecure_http: bool) -> MeibelClient:
    """A client with the key of the environment: a key on a command line would stay in the shell's history."""
    if not os.environ.get(KEY_VARIABLE):
        raise Failure(
            f"There is no API key: set {KEY_VARIABLE}. Without an account: ask, chat or serve with --docs DIR."
        )
    from meibel_integrations.client import MeibelClient

    return MeibelClient(base_url=base_url, allow_insecure_http=allow_insecure_http)


@contextmanager
def embedded(choice: ServiceChoice) -> Iterator[LocalMeibel]:
    """The embedded service over the chosen folders and database."""
    from meibel_integrations.local import LocalMeibel

    with terminal.reading_progress() as progress:
        local = LocalMeibel(
            list(choice.docs) or None,
            database=choice.db or ":memory:",
            agent=agent_of_database(choice),
            max_file_bytes=max_file_bytes(choice.max_file_mb),
            progress=progress,
        ).start()
    try:
        report_skipped(local.ingest_report)
        check_documents(choice.docs, local.ingest_report)
        yield local
    finally:
        local.close()


def max_file_bytes(megabytes: float | None) -> int | None:
    return None if megabytes is None else max(1, int(megabytes * 1024 * 1024))


def agent_of_database(choice: ServiceChoice) -> str:
    """The agent to ask. Without documents to read, a database must have it already.

    Raises:
        click.UsageError: there is no such database or agent, or the database has several and none is named.
    """
    if choice.docs or choice.db is None:
        return choice.agent or DEFAULT_AGENT
    if not choice.db.is_file():
        raise click.UsageError(f"There is no database {str(choice.db)!r}. Make it with: ingest DIR --db {choice.db}")
    from meibel_integrations.local.store.database import Database
    from meibel_integrations.local.store.tenants import DEFAULT_TENANT, list_agents

    with Database(choice.db) as db:
        names = [agent.name for agent in db.read(lambda conn: list_agents(conn, DEFAULT_TENANT))]
    if choice.agent in names:
        return choice.agent
    if choice.agent is None and len(names) == 1:
        return names[0]
    known = f"it has: {', '.join(names)}" if names else "it has none yet"
    missing = "Name one of its agents with --agent" if choice.agent is None else f"There is no agent {choice.agent!r}"
    raise click.UsageError(f"{missing} in the database {str(choice.db)!r}; {known}.")


def report_skipped(report: IngestReport | None) -> None:
    """Names the files that were left out, on stderr: one line each, or one for each reason that many share."""
    by_reason: dict[str, list[str]] = {}
    for skipped in report.skipped if report else ():
        by_reason.setdefault(skipped.reason, []).append(skipped.path)
    for reason, paths in by_reason.items():
        if len(paths) <= _NAMED_ONE_BY_ONE:
            for path in paths:
                terminal.note(f"skipped {path}: {reason}")
        else:
            terminal.note(f"skipped {len(paths)} files: {reason} ({paths[0]}, {paths[1]} and others)")


def check_documents(paths: tuple[Path, ...], report: IngestReport | None) -> None:
    """Raises if documents were asked for and there are none.

    Raises:
        NothingToRead: the folders are empty.
        Failure: nothing in them could be read.
    """
    if report is None or report.documents or report.unchanged:
        return
    named = ", ".join(str(path) for path in paths)
    if all(_is_empty(path) for path in paths):
        raise NothingToRead(f"There is no file to read in {named}.")
    raise Failure(f"Nothing in {named} could be read as a document; the reasons stand above.")


def _is_empty(path: Path) -> bool:
    return path.is_dir() and os.access(path, os.R_OK | os.X_OK) and not any(files for _, _, files in os.walk(path))
