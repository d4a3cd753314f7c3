"""Terms, stems and queries."""

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meibel_integrations.local.search.analysis import derived_words, terms, words
from meibel_integrations.local.search.query import match_any, match_everything, match_term
from meibel_integrations.local.search.stemming import stem
from meibel_integrations.local.store import documents


@pytest.fixture(scope="module")
def conn() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    documents.create_tables(connection)
    return connection


NASTY = st.one_of(
    st.text(max_size=200),
    st.text(alphabet="ab\"*:^-+(){}[]<>\\' \0\n.NEARORTD#_/@é不🙂", max_size=80),
    st.sampled_from(
        ["C++", "2.0.7", "foo:bar", "*", '"', "NEAR(a b)", "a AND NOT b", "{title} : x", "-- '", "^a", "\ud800"]
    ),
)


@given(text=NASTY)
def test_no_text_breaks_a_query(conn: sqlite3.Connection, text: str) -> None:
    found = terms(text)
    assert documents.count_matches(conn, match_everything([1])) == 0
    if found:
        assert documents.match_passages(conn, match_any(found, [1, 2]), (3, 2, 1, 1), 5) == []
    for term in found:
        assert documents.count_matches(conn, match_term(term.words, [1])) == 0


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("How do I configure a router?", ["configure", "router"]),
        ("What does asyncio.gather do?", ["asyncio.gather"]),
        ("what is foo_bar", ["foo_bar"]),
        ("C++ or C#?", ["C++", "C#"]),
        ("the --dry-run flag", ["--dry-run", "flag"]),
        ("multi-table inheritance", ["multi", "table", "inheritance"]),
        ("What does the with statement do?", ["with", "statement"]),
        ('What is the meaning of "not"?', ["meaning", "not"]),
        ("and it?", []),
        ("?!*", []),
        ("不知道", ["不知", "知道"]),
    ],
)
def test_terms(question: str, expected: list[str]) -> None:
    assert [term.surface for term in terms(question)] == expected


def test_compound_names_have_parts() -> None:
    (term,) = terms("DatabaseRouter")
    assert term.stems == ("databaserout",)
    assert term.parts == ("databas", "router")


def test_derived_words() -> None:
    assert derived_words("plain words") == ""
    assert derived_words("in C++ and C#, not a+b") == "cplusplus csharp"
    assert derived_words("知道") == "知道"
    assert words("Crème brûlée_x") == ["creme", "brulee", "x"]


WORDS = [
    "relational",
    "conditional",
    "valenci",
    "digitizer",
    "conformabli",
    "radicalli",
    "differentli",
    "vileli",
    "analogousli",
    "vietnamization",
    "predication",
    "operator",
    "feudalism",
    "decisiveness",
    "hopefulness",
    "callousness",
    "formaliti",
    "sensitiviti",
    "sensibiliti",
    "triplicate",
    "formative",
    "formalize",
    "electriciti",
    "electrical",
    "hopeful",
    "goodness",
    "revival",
    "allowance",
    "inference",
    "airliner",
    "gyroscopic",
    "adjustable",
    "defensible",
    "irritant",
    "replacement",
    "adjustment",
    "dependent",
    "adoption",
    "communism",
    "activate",
    "angulariti",
    "homologous",
    "effective",
    "bowdlerize",
    "probate",
    "rate",
    "cease",
    "controll",
    "roll",
    "caresses",
    "ponies",
    "ties",
    "caress",
    "cats",
    "feed",
    "agreed",
    "plastered",
    "bled",
    "motoring",
    "sing",
    "conflated",
    "troubled",
    "sized",
    "hopping",
    "tanned",
    "falling",
    "hissing",
    "fizzed",
    "failing",
    "filing",
    "happy",
    "sky",
    "configuration",
    "configure",
    "configuring",
    "configured",
    "routers",
    "routing",
    "databases",
    "queries",
    "query",
    "caching",
    "cached",
    "caches",
    "settings",
    "running",
    "runs",
    "yield",
    "yields",
    "generators",
    "generator",
    "generation",
    "exceptions",
    "suppress",
    "suppressing",
    "dying",
    "classes",
]


def test_stems_are_those_of_sqlite(conn: sqlite3.Connection) -> None:
    conn.execute("CREATE VIRTUAL TABLE one USING fts5 (w, tokenize = 'porter unicode61')")
    conn.execute("CREATE VIRTUAL TABLE vocabulary USING fts5vocab ('one', 'instance')")
    conn.executemany("INSERT INTO one (rowid, w) VALUES (?, ?)", list(enumerate(WORDS)))
    theirs = dict(conn.execute("SELECT doc, term FROM vocabulary"))
    assert {word: stem(word) for word in WORDS} == {word: theirs[i] for i, word in enumerate(WORDS)}
