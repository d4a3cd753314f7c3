"""The language reference that every Python carries (``pydoc_data.topics``), as documents of an agent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meibel_integrations.local.documents.given import GivenText
from meibel_integrations.local.documents.pipeline import ingest_texts
from meibel_integrations.local.documents.report import IngestReport

if TYPE_CHECKING:
    from meibel_integrations.local.store.database import Database


def ingest_topics(db: Database, tenant: str, agent_id: str) -> IngestReport:
    """Store one document per topic; its URL is ``pydoc:NAME``, as in ``python -m pydoc NAME``."""
    from pydoc_data.topics import topics  # half a megabyte that nothing else needs

    texts = [GivenText(name, text, f"pydoc:{name}") for name, text in sorted(topics.items())]
    return ingest_texts(db, tenant, agent_id, texts)
