"""Files that a user sends along with a message: documents that only this session can see."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING
from urllib.parse import quote

from meibel_integrations.errors import InvalidInputError
from meibel_integrations.local.store import documents
from meibel_integrations.local.store.tenants import now
from meibel_integrations.local.store.turn_log import FileRow

if TYPE_CHECKING:
    from meibel_integrations.local.store.database import Database


_APART_BYTES = 256 * 1024  # a larger file would hold up the service


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that came with a message."""

    filename: str
    content_type: str | None
    data: bytes


def store_uploads(db: Database, tenant: str, session_id: str, uploads: Sequence[Upload]) -> list[FileRow]:
    """Read and index the files of one message: all of them, or none.

    Raises:
        InvalidInputError: one of them cannot be read, with the reason.
    """
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
        for scope in documents.find_scopes(conn, tenant, (), session_id):
            documents.drop_scope(conn, scope)


def uploaded(conn: sqlite3.Connection, tenant: str, session_id: str) -> tuple[str, ...]:
    """The ids of all files of a session, the newest first."""
    return tuple(
        document_id
        for scope in documents.find_scopes(conn, tenant, (), session_id)
        for document_id in documents.document_ids(conn, tenant, scope)
    )


def _paths(conn: sqlite3.Connection, tenant: str, session_id: str) -> frozenset[str]:
    scopes = documents.find_scopes(conn, tenant, (), session_id)
    return frozenset(path for scope in scopes for path in documents.document_digests(conn, tenant, scope))


def _remove_new(conn: sqlite3.Connection, tenant: str, session_id: str, keep: frozenset[str]) -> None:
    for scope in documents.find_scopes(conn, tenant, (), session_id):
        paths = [path for path in documents.document_digests(conn, tenant, scope) if path not in keep]
        documents.remove_documents(conn, tenant, scope, paths)


def ingest_upload(db: Database, tenant: str, session_id: str, filename: str, data: bytes) -> str:
    """Store an uploaded file for one session and return its document id.

    The same content under the same name is one document, however often it is sent.

    Raises:
        InvalidInputError: the file cannot be read; the text says why.
    """
    # Imported when needed: most services never see a file.
    from meibel_integrations.local.documents.pipeline import MAX_FILE_BYTES, content_digest, make_record
    from meibel_integrations.local.documents.reading import UnreadableError, looks_binary, too_large

    name = _base_name(filename)
    digest = content_digest(data)
    try:
        if len(data) > MAX_FILE_BYTES:
            raise UnreadableError(too_large(len(data), MAX_FILE_BYTES))
        if looks_binary(PurePath(name)):
            raise UnreadableError("a binary file, not text")
        record = make_record(
            identity=("upload", session_id, name, digest),
            path=f"{name}#{digest}",
            name=name,
            url=documents.UPLOAD_URL_PREFIX + quote(name),
            content=data,
            digest=digest,
            apart=len(data) > _APART_BYTES,
        )
    except UnreadableError as error:
        raise InvalidInputError(f"The file {name!r} cannot be used: {error}.") from None

    def store(conn: sqlite3.Connection) -> None:
        scope = documents.ensure_scope(conn, tenant, "session", session_id)
        if record.path not in documents.document_digests(conn, tenant, scope):
            documents.replace_documents(conn, tenant, scope, [record])

    db.write(store)
    return record.id


def _base_name(filename: str) -> str:
    """The last part of a name that a client chose: it is shown and indexed, never opened."""
    base = filename.replace("\\", "/").rsplit("/", 1)[-1]
    printable = "".join(c for c in base if c.isprintable()).encode("utf-8", "replace").decode()
    return printable.strip()[:200] or "upload"
