"""Ranking, relevance and isolation of search."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meibel_integrations.errors import ConfigurationError
from meibel_integrations.local.documents.pipeline import make_record
from meibel_integrations.local.search.embeddings import Vectors, embedding_model
from meibel_integrations.local.search.search import DocumentSearch
from meibel_integrations.local.store import documents
from meibel_integrations.local.store.database import Database

LIBRARY = {
    "routers.md": "# Database routers\n\nA router decides which database a query goes to.\n\n## Configuring\n\n"
    "Set DATABASE_ROUTERS to a list of class names.\n",
    "cache.md": "# The cache framework\n\nA cache saves the result of an expensive calculation in memory.\n",
    "install.md": "# Installing\n\nRun `pip install package` with the --no-deps flag. Then configure the database.\n",
    "changelog.md": "# Changelog\n\nDatabase routers, cache, install: everything has changed. Routers again.\n",
    "cpp.md": "# Languages\n\nThe extension is written in C++ and calls asyncio.gather from Python.\n",
    "cooking.md": "# Soup\n\nBoil the water in a pot for ten minutes; add salt. It works every time.\n",
    "日本.md": "# 日本語\n\n東京都は日本の首都です。\n",
}


def store(db: Database, tenant: str, owner: str, files: dict[str, str], *, kind: documents.ScopeKind = "agent") -> None:
    records = [
        make_record(identity=(owner, name), path=name, name=name, url=f"x:{name}", content=text.encode(), digest="d")
        for name, text in files.items()
    ]

    def write(conn: documents.sqlite3.Connection) -> None:
        documents.replace_documents(conn, tenant, documents.ensure_scope(conn, tenant, kind, owner), records)

    db.write(write)


@pytest.fixture(scope="module")
def db() -> Iterator[Database]:
    database = Database(":memory:")
    store(database, "t", "a", LIBRARY)
    store(database, "t", "b", {"other.md": "# Zebra\n\nStripes and routers.\n"})
    yield database
    database.close()


@pytest.mark.parametrize(
    ("question", "first"),
    [
        ("How do I configure a database router?", "x:routers.md"),
        ("what is DATABASE_ROUTERS", "x:routers.md"),
        ("database_routers setting", "x:routers.md"),
        ("How does caching work?", "x:cache.md"),
        ("How do I install it?", "x:install.md"),
        ("--no-deps", "x:install.md"),
        ("What is written in C++?", "x:cpp.md"),
        ("asyncio.gather", "x:cpp.md"),
        ("How long should water boil?", "x:cooking.md"),
        ("日本の首都", "x:日本.md"),
        ("how does the cahce frmaework work", "x:cache.md"),
    ],
)
def test_the_right_document_comes_first(db: Database, question: str, first: str) -> None:
    assert DocumentSearch(db, "t", ["a"], None)(question)[0].url == first


@pytest.mark.parametrize(
    "question",
    [
        "How do I bake a chocolate cake?",
        "What is the best way to work every time?",
        "zxqvw",
        "C#",
        "",
        "?",
        "*",
        "🙂",
        "\x00",
        "Who is the king of the moon?",
        "How long did the war of the database last in Prussia under Frederick?",
    ],
)
def test_nothing_rather_than_noise(db: Database, question: str) -> None:
    assert DocumentSearch(db, "t", ["a"], None)(question) == []


def test_several_agents(db: Database) -> None:
    found = {hit.url for hit in DocumentSearch(db, "t", ["a", "b", "missing"], None)("routers")}
    assert {"x:routers.md", "x:other.md"} <= found


def test_within_documents(db: Database) -> None:
    search = DocumentSearch(db, "t", ["a"], None)
    cache = search("cache framework")[0].document_id
    assert {hit.url for hit in search("database cache", document_ids=[cache])} == {"x:cache.md"}
    assert [hit.url for hit in search("", document_ids=[cache])] == ["x:cache.md"]
    assert search("cache", document_ids=[]) == []
    assert DocumentSearch(db, "t", ["b"], None)("cache", document_ids=[cache]) == []
    assert DocumentSearch(db, "u", ["a"], None)("cache", document_ids=[cache]) == []


def test_scores_fall_and_limits_hold(db: Database) -> None:
    hits = DocumentSearch(db, "t", ["a"], None)("database routers cache install", limit=3)
    assert len(hits) == 3
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert DocumentSearch(db, "t", ["a"], None)("database", limit=0) == []


def test_a_very_long_question(db: Database) -> None:
    question = " ".join(f"filler{i}" for i in range(2000)) + " database routers"
    assert DocumentSearch(db, "t", ["a"], None)(question) == []
    assert DocumentSearch(db, "t", ["a"], None)("database routers " * 800)[0].url.startswith("x:")


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(st.sampled_from("tu"), st.sampled_from("ab"), st.text("xyz ", min_size=1, max_size=20)), max_size=8
    ),
    st.text("xyz ", max_size=8),
)
def test_a_tenant_sees_its_own_as_if_alone(writes: list[tuple[str, str, str]], query: str) -> None:
    """With a second tenant in the database, a search gives what it gives without."""
    shared, alone = Database(":memory:"), Database(":memory:")
    try:
        for i, (tenant, agent, text) in enumerate(writes):
            files = {f"{i}.txt": f"word {text}"}
            store(shared, tenant, agent, files)
            if tenant == "t":
                store(alone, tenant, agent, files)
        found = DocumentSearch(shared, "t", ["a"], "a")(f"word {query}", limit=50)
        assert sorted(found, key=repr) == sorted(
            DocumentSearch(alone, "t", ["a"], "a")(f"word {query}", limit=50), key=repr
        )
    finally:
        shared.close()
        alone.close()


class Colours:
    """An embedding of either framework in which words of one colour are alike."""

    def __init__(self, model_name: str = "one") -> None:
        self.model_name = model_name
        self.seen: list[str] = []

    def vector(self, text: str) -> list[float]:
        words = set(text.lower().replace(".", " ").split())
        return [float(bool(words & {"red", "scarlet", "crimson"})), float(bool(words & {"blue", "azure"})), 0.01]

    def vectors(self, texts: list[str]) -> list[list[float]]:
        self.seen += texts
        return [self.vector(text) for text in texts]


class LangChainColours(Colours):
    embed_query = Colours.vector
    embed_documents = Colours.vectors


class LlamaIndexColours(Colours):
    get_query_embedding = Colours.vector
    get_text_embedding_batch = Colours.vectors


@pytest.mark.parametrize("kind", [LangChainColours, LlamaIndexColours])
def test_any_embedding_finds_by_meaning(kind: type[Colours]) -> None:
    def find(given: Colours, question: str) -> list[str]:
        model = embedding_model(given)
        assert model is not None
        return [hit.url for hit in DocumentSearch(db, "t", ["a"], None, Vectors(db, model))(question)]

    with Database(":memory:") as db:
        store(db, "t", "a", {"car.md": "A scarlet car.", "sea.md": "The azure sea."})
        store(db, "u", "a", {"other.md": "A crimson secret."})
        first = kind()
        assert find(first, "what is red")[0] == "x:car.md"
        assert find(first, "blue things")[0] == "x:sea.md"
        assert len(first.seen) == 2  # each passage once, and none of another tenant
        assert find(first, "what is the weather") == []
        again = kind()
        store(db, "t", "a", {"car.md": "A car without colour.", "wine.md": "A crimson wine."})
        assert find(again, "what is red")[0] == "x:wine.md"
        assert len(again.seen) == 2  # stored vectors stay, those of changed documents go
        assert find(other := kind("two"), "what is red")[0] == "x:wine.md"
        assert len(other.seen) == 3  # another model's vectors are of no use


def test_what_cannot_embed_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="'object', which has neither embed_documents"):
        embedding_model(object())
