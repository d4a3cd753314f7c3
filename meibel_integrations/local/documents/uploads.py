"""Files that a user sends along with a message: documents that only this session can see."""

from __future__ import annotations

import sqlite3
from pathlib import PurePath
from typing import TYPE_CHECKING
from urllib.parse import quote

from meibel_integrations.errors import InvalidInputError
from meibel_integrations.local.documents.pipeline import MAX_FILE_BYTES, content_digest, make_record
from meibel_integrations.local.documents.reading import UnreadableError, looks_binary, too_large
from meibel_integrations.local.store import documents

if TYPE_CHECKING:
    from meibel_integrations.local.store.database import Database


def ingest_upload(db: Database, tenant: str, session_id: str, filename: str, data: bytes) -> str:
    """Store an uploaded file for one session and return its document id.

    The same content under the same name is one document, however often it is sent.

    Raises:
        InvalidInputError: the file cannot be read; the text says why.
    """
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
