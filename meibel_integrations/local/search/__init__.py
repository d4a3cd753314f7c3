"""Search over ingested documents: analysing text, building FTS5 queries that no input can break, and ranking."""
