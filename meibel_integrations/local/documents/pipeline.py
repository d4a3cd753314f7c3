"""From paths to stored passages: read, extract and cut here, while the previous batch is being written."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from meibel_integrations.local.documents.chunking import chunk
from meibel_integrations.local.documents.extract import EXTRACTION_VERSION, extract, office_kind
from meibel_integrations.local.documents.folders import FoundFile, find_file, walk_folder
from meibel_integrations.local.documents.given import GivenText
from meibel_integrations.local.documents.reader_process import read_apart
from meibel_integrations.local.documents.reading import UnreadableError, looks_binary, read_file, too_large
from meibel_integrations.local.documents.report import IngestReport, Skipped
from meibel_integrations.local.documents.shelf import GIVEN
from meibel_integrations.local.store import documents
from meibel_integrations.local.store.documents import DocumentRecord

if TYPE_CHECKING:
    from meibel_integrations.local.store.database import Database

MAX_FILE_BYTES = 20 * 1024 * 1024
_BATCH_BYTES = 4 * 1024 * 1024
_BATCH_DOCUMENTS = 500

Progress = Callable[[int, int], None]


def ingest_paths(
    db: Database,
    tenant: str,
    agent_id: str,
    paths: Sequence[str | Path],
    *,
    max_file_bytes: int = MAX_FILE_BYTES,
    progress: Progress | None = None,
) -> IngestReport:
    """Bring an agent's documents in line with the given folders and files.

    Changed files replace their documents, unchanged ones stay, and documents whose file is gone from a given folder
    are removed. Whatever cannot be ingested is reported and hinders nothing else. ``progress`` hears the bytes done
    and the bytes in all.
    """
    report = IngestReport()
    roots = [_find_root(Path(path), report) for path in paths]
    scope = db.write(lambda conn: documents.ensure_scope(conn, tenant, "agent", agent_id))
    known = db.read(lambda conn: documents.document_digests(conn, tenant, scope))
    total = sum(found.size for root in roots for found in root.files)
    done = 0
    kept: set[str] = set()
    with BatchWriter(db, tenant, scope, report) as writer:
        for root in roots:
            for found in root.files:
                key = _storable(str(found.path))
                if key not in kept:
                    try:
                        record = _prepare(found, root.folder, key, known.get(key), agent_id, max_file_bytes)
                    except UnreadableError as error:
                        report.skipped.append(Skipped(key, str(error)))
                    else:
                        kept.add(key)
                        if record is None:
                            report.unchanged += 1
                        else:
                            writer.add(record)
                done += found.size
                if progress is not None:
                    progress(done, total)
    gone = [key for key in known if key not in kept and any(root.holds(key) for root in roots)]
    if gone:
        report.removed = db.write(lambda conn: documents.remove_documents(conn, tenant, scope, gone))
    return report


def ingest_texts(
    db: Database, tenant: str, agent_id: str, texts: Sequence[GivenText], *, max_bytes: int = MAX_FILE_BYTES
) -> IngestReport:
    """Bring those of an agent's documents that are no files in line with the given ones."""
    report = IngestReport()
    scope = db.write(lambda conn: documents.ensure_scope(conn, tenant, "agent", agent_id))
    known = db.read(lambda conn: documents.document_digests(conn, tenant, scope))
    kept: set[str] = set()
    with BatchWriter(db, tenant, scope, report) as writer:
        for text in texts:
            key = GIVEN + text.name
            content = text.text.encode("utf-8", "replace")
            digest = content_digest(content + text.title.encode("utf-8", "replace"))
            if key in kept:
                continue
            if known.get(key) == digest:
                kept.add(key)
                report.unchanged += 1
                continue
            try:
                if len(content) > max_bytes:
                    raise UnreadableError(too_large(len(content), max_bytes))
                record = make_record(
                    identity=(agent_id, key),
                    path=key,
                    name=text.name if text.parsed else "text",
                    url=text.url,
                    content=content,
                    digest=digest,
                )
            except UnreadableError as error:
                report.skipped.append(Skipped(text.name, str(error)))
                continue
            kept.add(key)
            if not text.parsed:
                record = replace(record, title=(text.title or _own_title(record.title) or text.name)[:300])
            writer.add(record)
    gone = [key for key in known if key.startswith(GIVEN) and key not in kept]
    if gone:
        report.removed = db.write(lambda conn: documents.remove_documents(conn, tenant, scope, gone))
    return report


def _own_title(title: str) -> str:
    """A title that a text without a name of its own has by a heading."""
    return "" if title == "text" else title


@dataclass(frozen=True, slots=True)
class _Root:
    """One of the given paths: a folder with its files, or a file by itself (then ``folder`` is ``None``)."""

    folder: Path | None = None
    files: list[FoundFile] = field(default_factory=list)

    def holds(self, key: str) -> bool:
        if self.folder is not None:
            return key.startswith(_storable(str(self.folder)).rstrip(os.sep) + os.sep)
        return any(key == _storable(str(found.path)) for found in self.files)


def _find_root(path: Path, report: IngestReport) -> _Root:
    """Look at a path that the user gave. A folder may itself be a link: that was the user's own choice."""
    path = path.expanduser()
    if not path.is_dir():
        found = find_file(path)
        if isinstance(found, Skipped):
            report.skipped.append(found)
            return _Root()
        return _Root(None, [found])
    folder = path.resolve(strict=True)
    walk = walk_folder(folder)
    report.skipped.extend(walk.skipped)
    report.ignored += walk.ignored
    if not walk.files and not walk.skipped:
        report.skipped.append(Skipped(str(path), "an empty folder: there is no file in it to read"))
    return _Root(folder, walk.files)


def _prepare(
    found: FoundFile, folder: Path | None, key: str, known_digest: str | None, agent_id: str, max_bytes: int
) -> DocumentRecord | None:
    """Read and cut one file; ``None`` when the stored document is still right."""
    if looks_binary(found.path):
        raise UnreadableError("a binary file, not text")
    if found.size > max_bytes:
        raise UnreadableError(too_large(found.size, max_bytes))
    content = read_file(found.real, folder, max_bytes)
    digest = content_digest(content)
    if digest == known_digest:
        return None
    name = found.path.relative_to(folder) if folder is not None else Path(found.path.name)
    return make_record(
        identity=(agent_id, key),
        path=key,
        name=_storable(str(name)),
        url=found.path.as_uri(),
        content=content,
        digest=digest,
    )


def make_record(
    *, identity: tuple[str, ...], path: str, name: str, url: str, content: bytes, digest: str, apart: bool = False
) -> DocumentRecord:
    """A document ready to be stored. The same ``identity`` always gives the same document id.

    With ``apart`` it is read in a child process, as those are whose format is not text.

    Raises:
        UnreadableError: there is no text to be had from it.
    """
    if apart or office_kind(name, content) is not None:
        title, passages = read_apart(name, content)
    else:
        document = extract(name, content)
        title, passages = document.title, list(chunk(document))
    return DocumentRecord(
        id=document_id(*identity),
        path=path,
        title=title[:300],
        url=url,
        digest=digest,
        size=len(content),
        passages=passages,
    )


def document_id(*identity: str) -> str:
    """An id that depends on nothing but what identifies the document."""
    return "doc_" + blake2b("\0".join(identity).encode(), digest_size=12).hexdigest()


def content_digest(content: bytes) -> str:
    """What tells whether a document has to be read again."""
    return blake2b(content, digest_size=16, salt=str(EXTRACTION_VERSION).encode()).hexdigest()


def _storable(path: str) -> str:
    """File names that are no valid Unicode become storable and printable."""
    return os.fsencode(path).decode("utf-8", "replace")


class BatchWriter:
    """Stores documents in batches, one transaction each, on the side: SQLite works while Python reads on."""

    def __init__(self, db: Database, tenant: str, scope: int, report: IngestReport) -> None:
        self._db = db
        self._tenant = tenant
        self._scope = scope
        self._report = report
        self._batch: list[DocumentRecord] = []
        self._bytes = 0
        self._pending: Future[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ingest")

    def __enter__(self) -> BatchWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._flush()
                self._settle()
                self._db.write(partial(documents.count_words, scope=self._scope))
        finally:
            self._thread.shutdown(wait=True, cancel_futures=True)

    def add(self, record: DocumentRecord) -> None:
        """Store a document soon."""
        self._batch.append(record)
        self._bytes += record.size
        self._report.documents += 1
        self._report.passages += len(record.passages)
        self._report.bytes += record.size
        if self._bytes >= _BATCH_BYTES or len(self._batch) >= _BATCH_DOCUMENTS:
            self._flush()

    def _flush(self) -> None:
        self._settle()
        if self._batch:
            store = partial(
                documents.replace_documents,
                tenant=self._tenant,
                scope=self._scope,
                records=self._batch,
                more_follow=True,
            )
            self._pending = self._thread.submit(self._db.write, store)
            self._batch, self._bytes = [], 0

    def _settle(self) -> None:
        """Wait for the batch before this one: at most two are in memory."""
        if self._pending is not None:
            self._pending.result()
            self._pending = None
