"""What an agent has read: showing it, and taking something away."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from meibel_integrations.local.store import documents
from meibel_integrations.local.store.database import Database
from meibel_integrations.local.store.documents import DocumentRow

GIVEN = "given:"
"""Stands before the names of documents that are no files."""


def list_documents(db: Database, tenant: str, agent_id: str) -> list[DocumentRow]:
    """The documents of an agent, by path."""

    def listed(conn: sqlite3.Connection) -> list[DocumentRow]:
        scopes = documents.find_scopes(conn, tenant, [agent_id], None)
        return [row for scope in scopes for row in documents.list_documents(conn, tenant, scope)]

    return db.read(listed)


def remove_documents(db: Database, tenant: str, agent_id: str, paths: Sequence[str | Path]) -> list[str]:
    """Take files, everything below folders, or texts by name out of what an agent has read. Which paths went.

    The files themselves stay, or are gone already: only the agent forgets them.
    """

    def remove(conn: sqlite3.Connection) -> list[str]:
        removed: list[str] = []
        for scope in documents.find_scopes(conn, tenant, [agent_id], None):
            known = documents.document_digests(conn, tenant, scope)
            chosen = [path for path in known if any(_is_below(path, str(wanted)) for wanted in paths)]
            documents.remove_documents(conn, tenant, scope, chosen)
            removed += chosen
        return removed

    return db.write(remove)


def _is_below(path: str, wanted: str) -> bool:
    if path.startswith(GIVEN):
        return path.removeprefix(GIVEN) == wanted
    place = str(Path(wanted).expanduser().resolve())
    return path == place or path.startswith(place.rstrip(os.sep) + os.sep)
