"""The search that an answerer is given: one tenant's agents, one session's uploads, nothing else."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from meibel_integrations.local.search.analysis import Term, terms
from meibel_integrations.local.search.passages import Passage, Search
from meibel_integrations.local.search.query import match_any, match_everything, match_term
from meibel_integrations.local.search.ranking import rank, term_weights
from meibel_integrations.local.store import documents
from meibel_integrations.local.store.documents import PassageRow

if TYPE_CHECKING:
    from meibel_integrations.local.store.database import Database

_CANDIDATES = 400
_PER_DOCUMENT = 4  # of the candidates, so that one long document does not hide the others
_RANKED = 100
_COLUMN_WEIGHTS = (3.0, 2.5, 1.0, 1.0)  # title, heading, body, extra
_LONGEST_QUERY = 20_000
_MAXIMUM_TERMS = 48
_RANKED_TERMS = 24
_ALL_OF_DOCUMENT = 200  # a document of at most so many passages is ranked as a whole


def make_search(db: Database, tenant: str, agent_ids: Sequence[str], session_id: str | None) -> Search:
    """A search over the documents of the agents and the files uploaded in the session.

    Without ``document_ids`` it returns nothing rather than passages that only share common words with the query.
    With them it ranks those documents' passages as they are; with an empty query too, in reading order.
    """

    def search(query: str, *, limit: int = 10, document_ids: Sequence[str] | None = None) -> list[Passage]:
        def run(conn: sqlite3.Connection) -> list[Passage]:
            scopes = documents.find_scopes(conn, tenant, agent_ids, session_id)
            if not scopes or limit <= 0:
                return []
            if document_ids is not None:
                return _search_within(conn, tenant, scopes, query, limit, document_ids)
            return _search_all(conn, tenant, scopes, query, limit)

        return db.read(run)

    return search


def _search_all(conn: sqlite3.Connection, tenant: str, scopes: Sequence[int], query: str, limit: int) -> list[Passage]:
    weights = _weigh(conn, scopes, query)
    if not weights:
        return []
    ids = documents.match_passages(conn, match_any(list(weights), scopes), _COLUMN_WEIGHTS, _CANDIDATES)
    rows: list[PassageRow] = []
    of_document: Counter[str] = Counter()
    for row in documents.load_passages(conn, tenant, scopes, ids):
        of_document[row.document_id] += 1
        if of_document[row.document_id] <= _PER_DOCUMENT or len(of_document) == 1:
            rows.append(row)
    ranked = rank(rows[: max(_RANKED, 2 * limit)], weights, of_document)
    return [_passage(r.row, r.score) for r in ranked if r.relevant][:limit]


def _search_within(
    conn: sqlite3.Connection,
    tenant: str,
    scopes: Sequence[int],
    query: str,
    limit: int,
    document_ids: Sequence[str],
) -> list[Passage]:
    ids = documents.document_passage_ids(conn, tenant, scopes, document_ids)
    weights = _weigh(conn, scopes, query)
    if not weights:
        return [_passage(row, 0.0) for row in documents.load_passages(conn, tenant, scopes, ids[:limit])]
    if len(ids) > _ALL_OF_DOCUMENT:
        inside = set(ids)
        everything = documents.match_passages(conn, match_any(list(weights), scopes), _COLUMN_WEIGHTS, -1)
        ids = [i for i in everything if i in inside][:_ALL_OF_DOCUMENT]
    ranked = rank(documents.load_passages(conn, tenant, scopes, ids), weights)
    return [_passage(r.row, r.score) for r in ranked if r.coverage > 0][:limit]


def _weigh(conn: sqlite3.Connection, scopes: Sequence[int], query: str) -> dict[Term, float]:
    """The query's terms with their weights; of a very long query only the telling ones."""
    found = terms(query[:_LONGEST_QUERY])
    if len(found) > _MAXIMUM_TERMS:
        half = _MAXIMUM_TERMS // 2
        found = found[:half] + found[-half:]
    if not found:
        return {}
    total = documents.count_matches(conn, match_everything(scopes))
    counts = {term.stems: documents.count_matches(conn, match_term(term.words, scopes)) for term in found}
    weights = term_weights(found, counts, total)
    if len(weights) > _RANKED_TERMS:
        kept = set(sorted(weights, key=lambda term: -weights[term])[:_RANKED_TERMS])
        weights = {term: weight for term, weight in weights.items() if term in kept}
    return weights


def _passage(row: PassageRow, score: float) -> Passage:
    return Passage(row.document_id, row.title, row.url, row.text, score, row.start, row.end, row.heading, row.ordinal)
