"""Ranking, relevance and isolation of search."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meibel_integrations.local.documents.pipeline import make_record
from meibel_integrations.local.search.search import make_search
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
        ("changelog of database routers", "x:changelog.md"),
    ],
)
def test_the_right_document_comes_first(db: Database, question: str, first: str) -> None:
    assert make_search(db, "t", ["a"], None)(question)[0].url == first


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
    assert make_search(db, "t", ["a"], None)(question) == []


def test_several_agents(db: Database) -> None:
    found = {hit.url for hit in make_search(db, "t", ["a", "b", "missing"], None)("routers")}
    assert {"x:routers.md", "x:other.md"} <= found


def test_within_documents(db: Database) -> None:
    search = make_search(db, "t", ["a"], None)
    cache = search("cache framework")[0].document_id
    assert {hit.url for hit in search("database cache", document_ids=[cache])} == {"x:cache.md"}
    assert [hit.url for hit in search("", document_ids=[cache])] == ["x:cache.md"]
    assert search("cache", document_ids=[]) == []
    assert make_search(db, "t", ["b"], None)("cache", document_ids=[cache]) == []
    assert make_search(db, "u", ["a"], None)("cache", document_ids=[cache]) == []


def test_scores_fall_and_limits_hold(db: Database) -> None:
    hits = make_search(db, "t", ["a"], None)("database routers cache install", limit=3)
    assert len(hits) == 3
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert make_search(db, "t", ["a"], None)("database", limit=0) == []


def test_a_very_long_question(db: Database) -> None:
    question = " ".join(f"filler{i}" for i in range(2000)) + " database routers"
    assert make_search(db, "t", ["a"], None)(question) == []
    assert make_search(db, "t", ["a"], None)("database routers " * 800)[0].url == "x:routers.md"


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
        found = make_search(shared, "t", ["a"], "a")(f"word {query}", limit=50)
        assert sorted(found, key=repr) == sorted(
            make_search(alone, "t", ["a"], "a")(f"word {query}", limit=50), key=repr
        )
    finally:
        shared.close()
        alone.close()
