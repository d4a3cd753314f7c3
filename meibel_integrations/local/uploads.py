"""Files that users upload into their sessions."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from functools import partial

from meibel_integrations.errors import InvalidInputError
from meibel_integrations.local.http.request_bodies import Upload
from meibel_integrations.local.store import documents
from meibel_integrations.local.store.database import Database
from meibel_integrations.local.store.sessions import FileRow
from meibel_integrations.local.store.tenants import now


def store_uploads(db: Database, tenant: str, session_id: str, uploads: Sequence[Upload]) -> list[FileRow]:
    """Read and index the files of one message: all of them, or none.

    Raises:
        InvalidInputError: one of them cannot be read, with the reason.
    """
    # Imported when needed: most services never see a file.
    from meibel_integrations.local.documents import ingest_upload

    before = db.read(partial(_paths, tenant=tenant, session_id=session_id))
    files = []
    for upload in uploads:
        started = now()
        try:
            document_id = ingest_upload(db, tenant, session_id, upload.filename, upload.data)
        except InvalidInputError:
            db.write(partial(_remove_new, tenant=tenant, session_id=session_id, keep=before))
            raise
        files.append(FileRow(document_id, upload.filename, upload.content_type, started, now()))
    return files


def delete_uploads(conn: sqlite3.Connection, tenant: str, session_ids: Iterable[str]) -> None:
    """Drop all uploaded files of these sessions."""
    for session_id in session_ids:
        _remove_new(conn, tenant, session_id, frozenset())


def _paths(conn: sqlite3.Connection, tenant: str, session_id: str) -> frozenset[str]:
    scopes = documents.find_scopes(conn, tenant, (), session_id)
    return frozenset(path for scope in scopes for path in documents.document_digests(conn, tenant, scope))


def _remove_new(conn: sqlite3.Connection, tenant: str, session_id: str, keep: frozenset[str]) -> None:
    for scope in documents.find_scopes(conn, tenant, (), session_id):
        paths = [path for path in documents.document_digests(conn, tenant, scope) if path not in keep]
        documents.remove_documents(conn, tenant, scope, paths)
