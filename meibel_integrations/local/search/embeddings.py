"""Vectors of passages and questions, from any embedding model.

Without being given a model the service uses WordLlama's weights, if its wheel is installed (the extra ``embeddings``).
They are read straight from the wheel: the package's own loader would look for a tokenizer online.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meibel_integrations.errors import ConfigurationError
from meibel_integrations.local.store import documents

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from meibel_integrations.local.store.database import Database
    from meibel_integrations.local.store.documents import Place

    Matrix = NDArray[Any]

_BATCH = 512
_SCOPES = 256  # whose vectors are held in memory
_LONGEST_TEXT = 4000  # characters of a passage that its vector stands for


@dataclass(frozen=True)
class EmbeddingModel:
    """A model behind one interface. ``name`` tells whether stored vectors are its own."""

    name: str
    texts: Callable[[list[str]], Any]
    query: Callable[[str], Any]

    def embed(self, texts: Sequence[str]) -> Matrix:
        """One row of length 1 for each text."""
        return _unit(self.texts([text[:_LONGEST_TEXT] for text in texts]))

    def embed_query(self, text: str) -> Matrix:
        return _unit([self.query(text[:_LONGEST_TEXT])]).reshape(-1)

    def similarity(self, query: str, texts: Sequence[str]) -> list[float]:
        """The cosine between a question and each text."""
        return [float(cosine) for cosine in self.embed(texts) @ self.embed_query(query)]


def _unit(rows: Any) -> Matrix:
    import numpy as np

    matrix: Matrix = np.array(rows, dtype=np.float32)
    matrix /= np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-9)
    return matrix


def embedding_model(given: Any) -> EmbeddingModel | None:
    """The model that ``LocalMeibel(embedding=…)`` names: ``"auto"``, ``None``, or an object of either framework.

    Raises:
        ConfigurationError: the object embeds nothing, or numpy is not installed.
    """
    if given is None or (given == "auto" and any(find_spec(m) is None for m in ("wordllama", "numpy", "tokenizers"))):
        return None
    if given == "auto":
        return EmbeddingModel("wordllama-l2-supercat-256", _wordllama, lambda text: _wordllama([text])[0])
    if find_spec("numpy") is None:
        raise ConfigurationError('embedding= needs numpy: pip install "meibel-integrations[embeddings]"')
    kind = type(given)
    name = f"{kind.__module__}.{kind.__qualname__} {getattr(given, 'model_name', '') or getattr(given, 'model', '')}"
    for texts, query in (("embed_documents", "embed_query"), ("get_text_embedding_batch", "get_query_embedding")):
        if hasattr(given, texts) and hasattr(given, query):
            return EmbeddingModel(name, getattr(given, texts), getattr(given, query))
    raise ConfigurationError(
        f"embedding= takes a LangChain or LlamaIndex embedding, not {kind.__name__!r}, which has neither"
        " embed_documents nor get_text_embedding_batch"
    )


@cache
def _load_wordllama() -> tuple[Any, Matrix]:
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    spec = find_spec("wordllama")
    if spec is None or spec.origin is None:
        raise ConfigurationError("the package wordllama was removed while the service ran")
    folder = Path(spec.origin).parent
    tokenizer = Tokenizer.from_file(str(folder / "tokenizers" / "l2_supercat_tokenizer_config.json"))
    tokenizer.no_padding()
    weights = load_file(folder / "weights" / "l2_supercat_256.safetensors")["embedding.weight"]
    return tokenizer, weights.astype("float32")


def _wordllama(texts: list[str]) -> Matrix:
    """The mean of the vectors of a text's tokens."""
    import numpy as np

    tokenizer, weights = _load_wordllama()
    rows = np.zeros((len(texts), weights.shape[1]), dtype=np.float32)
    for row, encoding in enumerate(tokenizer.encode_batch(texts, add_special_tokens=False)):
        if encoding.ids:
            rows[row] = weights[encoding.ids].mean(axis=0)
    return rows


class Vectors:
    """The vectors of each scope's passages: stored in the database, held in memory while the documents stay the same.

    Passages that have none yet get theirs at the first question.
    """

    def __init__(self, db: Database, model: EmbeddingModel) -> None:
        self.model = model
        self._db = db
        self._lock = threading.Lock()
        self._held: dict[int, tuple[int, Matrix, Matrix]] = {}

    def nearest(self, places: Sequence[Place], query: str, limit: int) -> list[tuple[int, float]]:
        """The passages that are nearest to a question, with their cosines."""
        import numpy as np

        asked = self.model.embed_query(query)
        found: list[tuple[int, float]] = []
        for scope, first, last in places:
            ids, matrix = self._of_scope(scope)
            begin, end = np.searchsorted(ids, (first, last + 1))
            cosines = matrix[begin:end] @ asked if len(ids) else ids
            best = np.argsort(-cosines)[:limit]
            found += [(int(ids[begin + i]), float(cosines[i])) for i in best if cosines[i] > 0]
        return sorted(found, key=lambda pair: -pair[1])[:limit]

    def _of_scope(self, scope: int) -> tuple[Matrix, Matrix]:
        """Passage ids, ascending, and a matrix with one row for each."""
        import numpy as np

        with self._lock:
            revision = self._db.read(partial(documents.scope_revision, scope=scope))
            if scope not in self._held or self._held[scope][0] != revision:
                self._complete(scope)
                rows = self._db.read(partial(documents.load_vectors, scope=scope, model=self.model.name))
                ids = np.array([passage for passage, _ in rows], dtype=np.int64)
                vectors = np.frombuffer(b"".join(vector for _, vector in rows), dtype=np.float16).astype(np.float32)
                self._held[scope] = (revision, ids, vectors.reshape(len(rows), -1) if rows else vectors)
                if len(self._held) > _SCOPES:
                    del self._held[next(iter(self._held))]
            return self._held[scope][1:]

    def _complete(self, scope: int) -> None:
        missing = partial(documents.passages_without_vector, scope=scope, model=self.model.name, limit=_BATCH)
        while batch := self._db.read(missing):
            matrix = self.model.embed([text for _, text in batch]).astype("float16")
            rows = [(passage, row.tobytes()) for (passage, _), row in zip(batch, matrix, strict=True)]
            self._db.write(partial(documents.store_vectors, model=self.model.name, vectors=rows))
