"""Search over ingested documents: analysing text, building FTS5 queries that no input can break, and ranking."""

from meibel_integrations.local.search.search import make_search

__all__ = ["make_search"]
