"""The search that an answerer is given: one tenant's agents, one session's uploads, nothing else.

FTS5 ranks passages by words and, if there is an embedding model, vectors rank them by meaning. In both lists a passage
earns its share of the best one's value; the documents with the best three passages come first. One gate decides whether
the documents have an answer at all. What is behind the constants stands in ``docs/local-answers.md``.
"""

from __future__ import annotations

import math
import re
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from meibel_integrations.local.search.passages import Passage
from meibel_integrations.local.search.spelling import correct
from meibel_integrations.local.search.words import content_words, keyword_phrases, stems_of
from meibel_integrations.local.store import documents

if TYPE_CHECKING:
    from meibel_integrations.local.search.embeddings import Vectors
    from meibel_integrations.local.store.database import Database
    from meibel_integrations.local.store.documents import PassageRow, Place

_COLUMN_WEIGHTS = (3.0, 2.5, 1.0, 1.0)  # title, heading, body, derived words
_CANDIDATES = 100
_MEANING = 0.7  # what the nearest passage earns, where the best by words earns 1
_POWER = 1.5  # the further behind the best, the less a passage counts
_SHARES = (1.0, 0.5, 0.25)  # of a document's best three passages
_LOOKED_AT = 50  # passages that may open the gate
_PART = 5
_GATE_WORDS = 0.48  # the weighted share of the question that one passage has to have
_GATE_BOTH = 0.58  # half that share, and the best cosine
_PER_DOCUMENT = 4
_MATCHES = 60_000  # a huge scope is searched by the question's rarest words, up to so many matches
_LONGEST_QUERY = 4_000
_MAXIMUM_WORDS = 32
_LAST = 1 << 62  # above every passage's id


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
        places = [(scope, 0, _LAST) for scope in scopes]
        if document_ids is not None:
            places = self.db.read(lambda c: documents.document_ranges(c, self.tenant, scopes, list(document_ids)))
        if not places or limit <= 0:
            return []
        if document_ids is not None and not content_words(query):
            ids = list(islice(chain.from_iterable(range(first, last + 1) for _, first, last in places), limit))
            rows = self.db.read(lambda c: documents.load_passages(c, self.tenant, scopes, ids))
            return [_passage(row, 0.0) for row in rows]
        near = self.vectors.nearest(places, query, _CANDIDATES) if self.vectors and query.strip() else []
        found = self.db.read(lambda conn: self._ranked(conn, scopes, places, query, near, gated=document_ids is None))
        return found[:limit]

    def weigh(self, query: str) -> dict[str, float]:
        return self.db.read(lambda conn: _read(conn, self._scopes(conn), query[:_LONGEST_QUERY])[0])

    def similarity(self, query: str, texts: Sequence[str]) -> list[float] | None:
        return self.vectors.model.similarity(query, texts) if self.vectors and texts else None

    def _scopes(self, conn: sqlite3.Connection) -> list[int]:
        return documents.find_scopes(conn, self.tenant, self.agent_ids, self.session_id)

    def _ranked(
        self,
        conn: sqlite3.Connection,
        scopes: Sequence[int],
        places: Sequence[Place],
        query: str,
        near: Sequence[tuple[int, float]],
        *,
        gated: bool,
    ) -> list[Passage]:
        weights, counts, guessed = _read(conn, scopes, query)
        scores: defaultdict[int, float] = defaultdict(float)
        by_meaning = [] if keyword_phrases(query) else near
        for worth, ranking in (*((1.0, _match(conn, place, counts)) for place in places), (_MEANING, by_meaning)):
            for passage, value in ranking:
                scores[passage] += worth * (value / ranking[0][1]) ** _POWER
        ids = sorted(scores, key=lambda passage: (-scores[passage], passage))[: 2 * _CANDIDATES]
        rows = documents.load_passages(conn, self.tenant, scopes, ids)
        # In parts: as a rule one of the first has enough, and to read the others takes time.
        parts = (rows[at : at + _PART] for at in range(0, _LOOKED_AT, _PART))
        if gated and not any(_answered(part, weights, guessed, near[0][1] if near else None) for part in parts):
            return []
        found: dict[str, list[PassageRow]] = {}
        for row in rows:
            found.setdefault(row.document_id, []).append(row)
        total = {
            document: sum(share * scores[row.id] for share, row in zip(_SHARES, best, strict=False))
            for document, best in found.items()
        }
        order = sorted(found, key=lambda document: -total[document])
        return [
            _passage(row, round(total[document] / total[order[0]] * scores[row.id] / scores[found[document][0].id], 4))
            for document in order
            for row in found[document][: _PER_DOCUMENT if gated else None]
        ]


def _answered(rows: Sequence[PassageRow], weights: dict[str, float], guessed: set[str], cosine: float | None) -> bool:
    """The gate: whether one of some passages has enough of the question. A corrected word is only half had."""
    asked = sum(weights.values()) or 1.0
    had = {stem: weight / 2 if stem in guessed else weight for stem, weight in weights.items()}
    texts = stems_of([f"{row.title} {row.heading} {row.text}" for row in rows])
    share = max((sum(had[stem] for stem in had.keys() & set(text)) / asked for text in texts), default=0.0)
    return share >= _GATE_WORDS if cosine is None else share / 2 + cosine >= _GATE_BOTH


def _read(
    conn: sqlite3.Connection, scopes: Sequence[int], query: str
) -> tuple[dict[str, float], dict[str, int], set[str]]:
    """The weight of each word that the question asks about, by stem; how many passages have it, as written; and the
    stems that are guesses at a misspelled word."""
    asked = dict(islice(content_words(query).items(), _MAXIMUM_WORDS))
    known = documents.word_counts(conn, scopes, ["", *asked])
    weights: dict[str, float] = {}
    counts: dict[str, int] = {}
    for stem, word in asked.items():
        meant = stem if stem in known else correct(conn, scopes, stem) or stem
        passages = known.get(stem) or documents.word_counts(conn, scopes, [meant]).get(meant, 0)
        counts[word if meant == stem else meant] = passages
        weights[meant] = math.log(1 + (max(known.get("", 0) - passages, 0) + 0.5) / (passages + 0.5))
    counts.update((" ".join(re.findall(r"\w+", phrase)), 0) for phrase in keyword_phrases(query))
    return weights, counts, weights.keys() - asked.keys()


def _match(conn: sqlite3.Connection, place: Place, counts: dict[str, int]) -> list[tuple[int, float]]:
    """The best passages that have any of the words; of a huge scope, any of the rarest."""
    chosen: list[str] = []
    matches = 0
    for word in sorted(counts, key=lambda word: counts[word]):
        matches += counts[word]
        if chosen and matches > _MATCHES:
            break
        chosen.append(f'"{word}"')
    return documents.match_passages(conn, place, " OR ".join(chosen), _COLUMN_WEIGHTS, _CANDIDATES) if chosen else []


def _passage(row: PassageRow, score: float) -> Passage:
    return Passage(row.document_id, row.title, row.url, row.text, score, row.start, row.end, row.heading, row.ordinal)
