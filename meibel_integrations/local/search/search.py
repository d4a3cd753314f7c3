"""The search that an answerer is given: one tenant's agents, one session's uploads, nothing else.

FTS5 ranks passages by words and, if there is an embedding model, vectors rank them by meaning. Both lists are joined by
reciprocal rank: a passage counts 1/(5 + rank) in each. A document counts as its best passage and a quarter of its
second. One gate decides whether the documents have an answer at all. The constants were chosen on the
open part of ``benchmarks/answers.py``.
"""

from __future__ import annotations

import math
import re
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from meibel_integrations.local.search.passages import Passage
from meibel_integrations.local.search.spelling import correct
from meibel_integrations.local.search.words import content_words, keyword_phrases, stems_of
from meibel_integrations.local.store import documents

if TYPE_CHECKING:
    from meibel_integrations.local.search.embeddings import Vectors
    from meibel_integrations.local.store.database import Database
    from meibel_integrations.local.store.documents import PassageRow

_COLUMN_WEIGHTS = (3.0, 2.5, 1.0, 1.0)  # title, heading, body, derived words
_CANDIDATES = 100
_RANK = 5
_SHARES = (1.0, 0.25)
_LOOKED_AT = 20  # passages that may open the gate
_GATE_WORDS = 0.5  # the weighted share of the question that one passage has to have
_GATE_BOTH = 0.58  # half that share, and the best cosine
_PER_DOCUMENT = 4
_MATCHES = 60_000  # a huge scope is searched by the question's rarest words, up to so many matches
_LONGEST_QUERY = 4_000
_MAXIMUM_WORDS = 32


@dataclass(frozen=True, slots=True)
class DocumentSearch:
    """Implements ``Search`` for the documents of some agents and the uploads of one session.

    Inside ``turn()`` it computes: a service that answers many questions at once may let them take turns.
    """

    db: Database
    tenant: str
    agent_ids: Sequence[str]
    session_id: str | None
    vectors: Vectors | None = None
    turn: Callable[[], AbstractContextManager[Any]] = nullcontext

    def __call__(self, query: str, *, limit: int = 10, document_ids: Sequence[str] | None = None) -> list[Passage]:
        query = query if len(query) <= _LONGEST_QUERY else query[:_LONGEST_QUERY].rpartition(" ")[0]
        with self.turn():
            return self._search(query, limit, document_ids)

    def _search(self, query: str, limit: int, document_ids: Sequence[str] | None) -> list[Passage]:
        scopes = self.db.read(self._scopes)
        ranges = None
        if document_ids is not None:
            ranges = self.db.read(lambda c: documents.document_ranges(c, self.tenant, scopes, list(document_ids)))
        if not scopes or limit <= 0 or ranges == []:
            return []
        if ranges is not None and not content_words(query):
            return self.db.read(lambda conn: self._in_order(conn, scopes, ranges, limit))
        near = self.vectors.nearest(scopes, query, _CANDIDATES, ranges) if self.vectors and query.strip() else []
        return self.db.read(lambda conn: self._ranked(conn, scopes, query, near, ranges, limit))

    def weigh(self, query: str) -> dict[str, float]:
        def run(conn: sqlite3.Connection) -> dict[str, float]:
            return _read(conn, self._scopes(conn), query[:_LONGEST_QUERY])[0]

        return self.db.read(run)

    def similarity(self, query: str, texts: Sequence[str]) -> list[float] | None:
        if self.vectors is None or not texts:
            return None
        model = self.vectors.model
        cosines: list[float] = (model.embed(texts) @ model.embed_query(query)).tolist()
        return cosines

    def _scopes(self, conn: sqlite3.Connection) -> list[int]:
        return documents.find_scopes(conn, self.tenant, self.agent_ids, self.session_id)

    def _in_order(
        self, conn: sqlite3.Connection, scopes: Sequence[int], ranges: Sequence[tuple[int, int, int]], limit: int
    ) -> list[Passage]:
        ids = list(islice((i for _, first, last in ranges for i in range(first, last + 1)), limit))
        return [_passage(row, 0.0) for row in documents.load_passages(conn, self.tenant, scopes, ids)]

    def _ranked(
        self,
        conn: sqlite3.Connection,
        scopes: Sequence[int],
        query: str,
        near: Sequence[tuple[int, float]],
        ranges: Sequence[tuple[int, int, int]] | None,
        limit: int,
    ) -> list[Passage]:
        weights, counts = _read(conn, scopes, query)
        by_words = [
            _match(conn, scope, counts, within)
            for scope, within in ([(s, (a, b)) for s, a, b in ranges] if ranges else [(s, None) for s in scopes])
        ]
        scores: defaultdict[int, float] = defaultdict(float)
        by_meaning = [] if keyword_phrases(query) else [passage for passage, _ in near]
        for ranking in (*by_words, by_meaning):
            for rank, passage in enumerate(ranking):
                scores[passage] += 1 / (_RANK + rank)
        ids = sorted(scores, key=lambda passage: (-scores[passage], passage))[: 2 * _CANDIDATES]
        rows = documents.load_passages(conn, self.tenant, scopes, ids)
        if ranges is None and not self._answers(rows[:_LOOKED_AT], weights, near[0][1] if near else None):
            return []
        best: dict[str, list[PassageRow]] = {}
        for row in rows:
            best.setdefault(row.document_id, []).append(row)
        total_of = {
            document: sum(share * scores[row.id] for share, row in zip(_SHARES, found, strict=False))
            for document, found in best.items()
        }
        top = max(total_of.values(), default=1.0)
        passages: list[Passage] = []
        for document in sorted(best, key=lambda document: -total_of[document]):
            first = scores[best[document][0].id]
            passages += [
                _passage(row, round(total_of[document] / top * scores[row.id] / first, 4))
                for row in best[document][: limit if ranges else _PER_DOCUMENT]
            ]
        return passages[:limit]

    def _answers(self, rows: Sequence[PassageRow], weights: dict[str, float], cosine: float | None) -> bool:
        """The gate: whether one of the best passages has enough of the question."""
        asked = sum(weights.values())
        texts = stems_of([f"{row.title} {row.heading} {row.text}" for row in rows])
        shares = [sum(weights[stem] for stem in weights.keys() & set(text)) / asked for text in texts if asked]
        share = max(shares, default=0.0)
        return share >= _GATE_WORDS if cosine is None else share / 2 + cosine >= _GATE_BOTH


def _read(conn: sqlite3.Connection, scopes: Sequence[int], query: str) -> tuple[dict[str, float], dict[str, int]]:
    """The weight of each word that the question asks about, by stem; and how many passages have it, as written."""
    asked = dict(islice(content_words(query).items(), _MAXIMUM_WORDS))
    known = documents.word_counts(conn, scopes, ["", *asked]) if scopes else {}
    weights: dict[str, float] = {}
    counts: dict[str, int] = {}
    for stem, word in asked.items():
        meant = stem if stem in known else correct(conn, scopes, stem) or stem
        passages = known.get(stem) or documents.word_counts(conn, scopes, [meant]).get(meant, 0)
        counts[word if meant == stem else meant] = passages
        weights[meant] = math.log(1 + (max(known.get("", 0) - passages, 0) + 0.5) / (passages + 0.5))
    counts.update((" ".join(re.findall(r"\w+", phrase)), 0) for phrase in keyword_phrases(query))
    return weights, counts


def _match(conn: sqlite3.Connection, scope: int, counts: dict[str, int], within: tuple[int, int] | None) -> list[int]:
    """The best passages that have any of the words; of a huge scope, any of the rarest."""
    chosen: list[str] = []
    matches = 0
    for word in sorted(counts, key=lambda word: counts[word]):
        matches += counts[word]
        if chosen and matches > _MATCHES:
            break
        chosen.append(f'"{word}"')
    if not chosen:
        return []
    return documents.match_passages(conn, scope, " OR ".join(chosen), _COLUMN_WEIGHTS, _CANDIDATES, within)


def _passage(row: PassageRow, score: float) -> Passage:
    return Passage(row.document_id, row.title, row.url, row.text, score, row.start, row.end, row.heading, row.ordinal)
