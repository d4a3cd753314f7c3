"""``documents``: what an agent of a database file has read, and how it forgets some of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meibel_integrations.cli import terminal
from meibel_integrations.cli.connection import ServiceChoice, agent_of_database
from meibel_integrations.cli.failures import Failure

if TYPE_CHECKING:
    from meibel_integrations.local.store.database import Database

__all__ = ["documents"]


def _of_database(command: Callable[..., Any]) -> Callable[..., Any]:
    file = click.Path(exists=True, dir_okay=False, path_type=Path)
    command = click.option("--agent", metavar="NAME", help="The agent.  [default: the database's only one]")(command)
    return click.option("--db", required=True, type=file, metavar="FILE", help="The database.")(command)


@click.group()
def documents() -> None:
    """Show or remove what an agent of a database has read."""


@documents.command(name="list")
@_of_database
def list_(db: Path, agent: str | None) -> None:
    """List the documents of an agent: passages, title and path of each."""
    from meibel_integrations.local.documents.shelf import list_documents
    from meibel_integrations.local.store.tenants import DEFAULT_TENANT

    with _opened(db, agent) as (database, agents):
        rows = list_documents(database, DEFAULT_TENANT, agents[DEFAULT_TENANT])
    for row in rows:
        terminal.line(f"{row.passages:6}  {terminal.one_line(row.title)}  {terminal.one_line(row.path)}")
    terminal.note(f"{len(rows)} documents, {sum(row.size for row in rows) / 1e6:.1f} MB.")


@documents.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@_of_database
def remove(paths: tuple[str, ...], db: Path, agent: str | None) -> None:
    """Let an agent forget files, folders with all that is below them, or texts by name.

    The files themselves are not touched. A folder that still exists is read again by the next ingest of it.
    """
    from meibel_integrations.local.documents.shelf import remove_documents

    with _opened(db, agent) as (database, agents):
        # Every key of a database has documents of its own.
        removed = {
            path for tenant, agent_id in agents.items() for path in remove_documents(database, tenant, agent_id, paths)
        }
    if not removed:
        raise Failure(f"The agent has read nothing from {', '.join(paths)}; documents list shows what it has.")
    terminal.line(f"{len(removed)} documents removed.")


@contextmanager
def _opened(db: Path, agent: str | None) -> Iterator[tuple[Database, dict[str, str]]]:
    """The database, and the agent's id by tenant."""
    from meibel_integrations.local.store.database import Database
    from meibel_integrations.local.store.tenants import agent_ids

    name = agent_of_database(ServiceChoice(db=db, agent=agent))
    with Database(db) as database:
        yield database, database.read(lambda conn: agent_ids(conn, name))
