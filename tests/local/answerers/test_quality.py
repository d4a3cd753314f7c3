"""What is quoted, question by question, over a small documentation tree with everything that is no answer in it."""

import sqlite3
from collections.abc import Iterator

import pytest

from meibel_integrations.local import Delta, Done, HistoryTurn, Question
from meibel_integrations.local.answerers.quoting import QuotingAnswerer
from meibel_integrations.local.documents.pipeline import make_record
from meibel_integrations.local.search.search import DocumentSearch
from meibel_integrations.local.store import documents
from meibel_integrations.local.store.database import Database

LIBRARY = {
    "graphs.rst": "Graph files\n===========\n\n.. automodule:: lib.gexf\n.. autosummary::\n   :toctree: generated/\n\n"
    "   read_gexf\n   write_gexf\n   relabel_gexf_graph\n",
    "saving.rst": "Saving\n======\n\nA graph is written to a GEXF file by :func:`write_gexf` with one call.\n",
    "index.rst": "Welcome\n=======\n\n.. toctree::\n\n   saving\n   spiders\n\nLicense\n-------\n\n.. "
    "include:: ../LICENSE.txt\n",
    "why.rst": "Why the library\n===============\n\nWhy should you choose Orchard? Because pears grow in it without "
    "any care. It is free.\n",
    "spiders.rst": ".. _topics-spiders:\n\n=======\nSpiders\n=======\n\nSpiders are classes which define "
    "how a site is scraped.\n\n"
    "Starting\n========\n\nThe spider of a spider calls a spider and every spider is called by a spider.\n",
    "middleware.rst": "Spider middleware\n=================\n\nSpider middleware hooks into a spider. A "
    "spider passes the "
    "response of a spider to it. Write a spider. Use the spider.\n",
    "glossary.rst": "Glossary\n========\n\n.. glossary::\n   :sorted:\n\n   tween\n     A bit of code "
    "between the router "
    "and the server.\n\n   view\n     Answers a request.\n",
    "api.rst": "lib.tweens\n==========\n\nThe tween constant for tween order. Every tween is added by "
    "add_tween with a tween name.\n",
    "plugins.rst": "How to install and use plugins\n==============================\n\nInstalling a "
    "plugin of Orchard is done "
    "with pip. Once a plugin is installed, Orchard finds it.\n\nMore\n----\n\nInstall Orchard plugins, "
    "then install more.\n",
    "start.rst": "Get started\n===========\n\nOrchard is a library.\n\nInstall Orchard\n---------------\n\n"
    "To install the library, run::\n\n    pip install orchard\n\n    orchard --version\n",
    "patching.rst": "Patching\n========\n\nThe :py:meth:`setenv <Patch.setenv>` method changes an "
    "environment variable.\n\n"
    "All modifications will be undone when the test has finished.\n",
    "cities.rst": "Texts\n=====\n\ndef capitalize\n--------------\n\nThe capitalize function changes a letter.\n",
    "end.rst": "Sockets\n=======\n\nA socket listens on a port.\n\nIt does not support datagrams.\n\n"
    "Related\n-------\n\n"
    "- `Socket documentation <https://example.com/socket>`_\n",
}


@pytest.fixture(scope="module")
def db() -> Iterator[Database]:
    database = Database(":memory:")
    records = [
        make_record(identity=("a", name), path=name, name=name, url=f"x:{name}", content=text.encode(), digest="d")
        for name, text in LIBRARY.items()
    ]

    def write(conn: sqlite3.Connection) -> None:
        documents.replace_documents(conn, "t", documents.ensure_scope(conn, "t", "agent", "a"), records)

    database.write(write)
    yield database
    database.close()


def ask(db: Database, text: str, history: tuple[HistoryTurn, ...] = ()) -> tuple[str, Done]:
    steps = list(QuotingAnswerer().answer(Question(text, history, DocumentSearch(db, "t", ["a"], None))))
    done = steps[-1]
    assert isinstance(done, Done)
    return "".join(step.text for step in steps if isinstance(step, Delta)), done


@pytest.mark.parametrize(
    ("question", "url", "words"),
    [
        ("How can a graph be written to a GEXF file?", "saving.rst", "A graph is written to a GEXF file by write_gexf"),
        ("Why should I choose Orchard?", "why.rst", "Because pears grow"),
        ("What is a spider?", "spiders.rst", "Spiders are classes which define"),
        ("What is a tween?", "glossary.rst", "tween: A bit of code between the router and the server."),
        (
            "How do I install Orchard?",
            "start.rst",
            "run:\n\npip install orchard\n\norchard --version",
        ),
        ("How do I change an environment variable?", "patching.rst", "The setenv method changes"),
    ],
)
def test_the_answer_is_a_sentence_that_answers(db: Database, question: str, url: str, words: str) -> None:
    text, done = ask(db, question)
    assert done.sources[done.citations[0].sources[0]].url == f"x:{url}"
    assert words in text[: done.citations[0].position]
    assert "?" not in text
    assert "::" not in text
    assert text.startswith("From \u201c")


@pytest.mark.parametrize("question", ["What is the capital of Mongolia?", "Which license applies?"])
def test_what_has_no_words_to_quote_is_not_quoted(db: Database, question: str) -> None:
    text, done = ask(db, question)
    assert text.startswith("I found nothing in the documents about")
    assert done.sources == ()


def follow(db: Database, first: str, second: str) -> tuple[str, Done]:
    text, done = ask(db, first)
    cited = tuple(done.sources[i].document_id or "" for citation in done.citations for i in citation.sources)
    return ask(db, second, (HistoryTurn("user", first), HistoryTurn("assistant", text, cited)))


@pytest.mark.parametrize(
    "said", ["thanks!", "ok, great", "Thank you very much for your help.", "hello", "Got it, thanks"]
)
def test_pleasantries_are_not_looked_up(db: Database, said: str) -> None:
    for text, done in (ask(db, said), follow(db, "What is a spider?", said)):
        assert text == "There is nothing to look up in that. Ask me anything about the documents."
        assert (done.sources, done.citations) == ((), ())


@pytest.mark.parametrize("said", ["ok?", "great spiders", "thanks, and what is a view?", "so why?", "`good`"])
def test_questions_are_no_pleasantries(db: Database, said: str) -> None:
    assert "nothing to look up in that" not in follow(db, "What is a spider?", said)[0]
