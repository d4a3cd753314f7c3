"""The language reference that every Python carries (``pydoc_data.topics``), as documents of an agent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meibel_integrations.local.documents.pipeline import BatchWriter, content_digest, make_record
from meibel_integrations.local.documents.report import IngestReport
from meibel_integrations.local.store import documents

if TYPE_CHECKING:
    from meibel_integrations.local.store.database import Database


def ingest_topics(db: Database, tenant: str, agent_id: str) -> IngestReport:
    """Store one document per topic; its URL is ``pydoc:NAME``, as in ``python -m pydoc NAME``."""
    from pydoc_data.topics import topics  # half a megabyte that nothing else needs

    report = IngestReport()
    scope = db.write(lambda conn: documents.ensure_scope(conn, tenant, "agent", agent_id))
    known = db.read(lambda conn: documents.document_digests(conn, tenant, scope))
    with BatchWriter(db, tenant, scope, report) as writer:
        for name, text in sorted(topics.items()):
            url = f"pydoc:{name}"
            content = text.encode()
            digest = content_digest(content)
            if known.get(url) == digest:
                report.unchanged += 1
                continue
            writer.add(
                make_record(identity=(agent_id, url), path=url, name=name, url=url, content=content, digest=digest)
            )
    return report
