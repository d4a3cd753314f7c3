"""The quoting answerer over real documents in a real database."""

import json
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meibel_integrations.local import (
    AnswerSource,
    Delta,
    Done,
    HistoryTurn,
    Question,
    Status,
    Step,
    Thinking,
    ToolCall,
    ToolResult,
)
from meibel_integrations.local.answerers.quoting import QuotingAnswerer
from meibel_integrations.local.documents.pipeline import make_record
from meibel_integrations.local.documents.pydoc_topics import ingest_topics
from meibel_integrations.local.documents.uploads import ingest_upload
from meibel_integrations.local.search.embeddings import Vectors, embedding_model
from meibel_integrations.local.search.search import DocumentSearch
from meibel_integrations.local.store import documents
from meibel_integrations.local.store.database import Database


@pytest.fixture(scope="module")
def db() -> Iterator[Database]:
    database = Database(":memory:")
    ingest_topics(database, "t", "python")
    yield database
    database.close()


class Conversation:
    """Asks one question after the other, as the service would."""

    def __init__(self, db: Database, session: str = "s", embedding: str | None = None) -> None:
        model = embedding_model(embedding)
        self.vectors = Vectors(db, model) if model else None
        self.db = db
        self.session = session
        self.history: list[HistoryTurn] = []
        self.steps: list[Step] = []
        self.files: tuple[str, ...] = ()
        self.text = ""

    def ask(self, text: str, *, uploads: tuple[str, ...] = (), thinking: bool = False) -> Done:
        search = DocumentSearch(self.db, "t", ["python"], self.session, self.vectors)
        self.files = tuple(dict.fromkeys((*uploads, *self.files)))
        question = Question(
            text, tuple(self.history), search, uploads, include_thinking=thinking, earlier_document_ids=self.files
        )
        self.steps = list(QuotingAnswerer().answer(question))
        self.text = "".join(step.text for step in self.steps if isinstance(step, Delta))
        done = self.steps[-1]
        assert isinstance(done, Done)
        cited = [done.sources[i].document_id or "" for citation in done.citations for i in citation.sources]
        self.history.append(HistoryTurn("user", text))
        self.history.append(HistoryTurn("assistant", self.text, tuple(dict.fromkeys(cited))))
        return done


def urls(sources: tuple[AnswerSource, ...]) -> list[str | None]:
    return [source.url for source in sources]


def flat(text: str) -> str:
    """Without white space, and without the colon between a term and its definition."""
    return "".join(text.split()).replace("):", ")")


def store(db: Database, files: dict[str, str]) -> None:
    records = [
        make_record(identity=(name,), path=name, name=name, url=f"x:{name}", content=text.encode(), digest="d")
        for name, text in files.items()
    ]
    db.write(lambda c: documents.replace_documents(c, "t", documents.ensure_scope(c, "t", "agent", "python"), records))


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("What does the with statement do?", "And can it suppress exceptions?", "the exception is suppressed"),
        ("How do lambda expressions work?", "Can they contain statements?", "cannot contain statements"),
        ("How do format strings work?", "What about their alignment options?", "align"),
        ("What does the raise statement do?", "Can it take a cause?", "__cause__"),
        ("What does the with statement do?", "And what does the raise statement do?", '"raise"'),
        ("What does the with statement do?", "How do lambda expressions work?", "anonymous functions"),
        ("What does the while statement do?", "Tell me more", "while"),
    ],
)
@pytest.mark.parametrize("embedding", ["auto", None])
def test_second_questions(db: Database, first: str, second: str, expected: str, embedding: str | None) -> None:
    talk = Conversation(db, embedding=embedding)
    talk.ask(first)
    done = talk.ask(second)
    assert expected in talk.text
    assert done.citations


@pytest.mark.parametrize("embedding", ["auto", None])
def test_a_sentence_that_was_quoted_answers_again(embedding: str | None) -> None:
    folder = {
        "lighthouse.md": "# The lighthouse\n\nThe lighthouse was built by Anna Lindqvist. It was finished in 1848.\n\n"
        "The lamp burned whale oil until it was replaced.\n",
        "harbour.md": "# The harbour\n\nThe harbour is deep. Ferries leave every hour.\n",
        "bakery.md": "# The bakery\n\nThe bakery opens at six. A loaf costs four crowns.\n",
    }
    with Database(":memory:") as small:
        store(small, folder)
        talk = Conversation(small, embedding=embedding)
        talk.ask("Who built the lighthouse?")
        assert "Anna Lindqvist" in talk.text
        done = talk.ask("And when was it built?")
        assert "1848" in talk.text[: done.citations[0].position]
        # One telling word is enough for a whole question: this one does not lean on the others.
        talk.ask("How much is a loaf?")
        assert "A loaf costs four crowns." in talk.text
        talk.ask("Who won the football world cup?")
        assert talk.text.startswith("I found nothing in the documents about won")


PROMPTS = [
    "You are an assistant for question-answering tasks. Use the following pieces of retrieved context to answer the "
    "question. If you don't know the answer, just say that you don't know.\nQuestion: {question} \nContext: {context} "
    "\nAnswer:",
    "Answer the question based only on the following context:\n{context}\n\nQuestion: {question}",
    "Context information is below.\n---------------------\n{context}\n---------------------\nGiven the context "
    "information and not prior knowledge, answer the query.\nQuery: {question}\nAnswer: ",
]


@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_question_inside_a_prompt_is_answered(db: Database, prompt: str) -> None:
    talk = Conversation(db)
    context = "Berlin is the capital of Germany.\n\nParis is the capital of France."
    done = talk.ask(prompt.format(question="What is the capital of France?", context=context))
    assert "Paris is the capital of France." in talk.text
    assert done.citations == ()  # it stands in no document
    done = talk.ask(prompt.format(question="What are lambda expressions?", context="Berlin is a city."))
    assert done.citations


@pytest.mark.parametrize(
    "question",
    [
        "What does the with statement do?",
        "What is a metaclass?",
        "How do I set a breakpoint in the debugger?",
        "__slots__",
        "What are the string methods?",
        "How does import work?",
        "await",
        "operator precedence",
    ],
)
def test_an_answer_is_quoted_and_cited_at_its_place(db: Database, question: str) -> None:
    talk = Conversation(db)
    done = talk.ask(question)
    text = talk.text
    assert done.citations
    assert 0 < len({source.url for source in done.sources}) <= 5
    start = text.index(":\n\n") + 3
    assert text.startswith("From “")
    for citation in done.citations:
        quote = text[start : citation.position]
        (index,) = citation.sources
        document = [
            p.text
            for p in DocumentSearch(db, "t", ["python"], None)(
                "", limit=999, document_ids=[done.sources[index].document_id or ""]
            )
        ]
        assert flat(quote.split("”:\n\n")[-1]) in flat("".join(document))
        assert flat(quote.split("”:\n\n")[-1])[:150] in flat(done.sources[index].snippet or "")
        start = citation.position
    assert done.citations[-1].position == len(text)


@pytest.mark.parametrize(
    "question", ["What is a chocolate cake?", "", "?", "🙂 *", "the way of the thing", "\0", "x" * 10_000]
)
def test_nothing_found_is_said(db: Database, question: str) -> None:
    talk = Conversation(db)
    done = talk.ask(question)
    assert talk.text.startswith("I found nothing in the documents")
    assert len(talk.text) < 500
    assert (done.sources, done.citations) == ((), ())


def test_what_the_documents_do_not_say_is_said(db: Database) -> None:
    talk = Conversation(db)
    talk.ask("How do lambda expressions work?")
    done = talk.ask("How much does it weigh?")
    assert talk.text.startswith("I found nothing about weigh in “Lambdas”. What it says:")
    assert done.sources[0].url == "pydoc:lambda"


def test_the_steps_of_an_answer(db: Database) -> None:
    talk = Conversation(db)
    done = talk.ask("What does the with statement do?", thinking=True)
    kinds = [type(step) for step in talk.steps]
    assert kinds[0] is Status
    assert kinds.count(Done) == 1
    assert Thinking in kinds
    call = next(step for step in talk.steps if isinstance(step, ToolCall))
    result = next(step for step in talk.steps if isinstance(step, ToolResult))
    assert (call.name, call.id) == (result.name, result.id) == ("search", "search-1")
    assert set(result.result[0]) == {"document_id", "title", "url", "score", "snippet"}
    assert json.loads(json.dumps(result.result)) == result.result
    assert done.usage["total_tokens"] == done.usage["input_tokens"] + done.usage["output_tokens"] > 100
    deltas = [step.text for step in talk.steps if isinstance(step, Delta)]
    assert all(deltas)
    assert len(deltas) > len(talk.text.split()) // 2
    talk.ask("What does the with statement do?")
    assert Thinking not in [type(step) for step in talk.steps]


def test_uploaded_files_come_first(db: Database) -> None:
    data = b"# Order 17\n\nThe delivery date is the third of May. A with statement is not in it.\n\nTotal: 30.\n"
    talk = Conversation(db, "upload-session")
    ids = (ingest_upload(db, "t", "upload-session", "order.md", data),)
    done = talk.ask("When is the delivery date?", uploads=ids)
    assert "third of May" in talk.text
    assert urls(done.sources) == ["upload:order.md"]
    assert talk.ask("Summarise this file", uploads=ids).sources[0].url == "upload:order.md"
    talk.ask("What does the while statement do?")
    done = talk.ask("What does the file I uploaded say about the total?")
    assert done.sources[0].url == "upload:order.md"
    assert talk.ask("How do lambda expressions work?").sources[0].url == "pydoc:lambda"


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.one_of(st.text(max_size=40), st.sampled_from(["why?", "it", "with statement", "and yield"])), max_size=4
    )
)
def test_any_conversation_is_answered(db: Database, texts: list[str]) -> None:
    talk = Conversation(db)
    for text in texts:
        done = talk.ask(text)
        assert talk.text
        assert all(0 < citation.position <= len(talk.text) for citation in done.citations)
        assert all(i < len(done.sources) for citation in done.citations for i in citation.sources)
