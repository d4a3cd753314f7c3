"""Documents on their way into the service: finding files, reading formats, cutting passages, storing them."""

from meibel_integrations.local.documents.pipeline import ingest_paths
from meibel_integrations.local.documents.pydoc_topics import ingest_topics
from meibel_integrations.local.documents.report import IngestReport, Skipped
from meibel_integrations.local.documents.uploads import ingest_upload

__all__ = ["IngestReport", "Skipped", "ingest_paths", "ingest_topics", "ingest_upload"]
