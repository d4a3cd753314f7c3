"""Which questions lean on the conversation."""

import pytest

from meibel_integrations.local import HistoryTurn
from meibel_integrations.local.answerers.followup import classify, read_question

CONTINUES = [
    "And how does it end?",
    "How do I install it?",
    "What about its limits?",
    "why?",
    "Why is that?",
    "Tell me more",
    "go on",
    "Can you give me another example?",
    "And can it suppress exceptions?",
    "Who wrote them?",
    "Is it fast?",
    "When was she born?",
    "What is the former for?",
    "If it fails, what happens?",
    "How do I do that?",
    "And then?",
    "What else?",
    "Does this work on Windows?",
    "Are those required?",
    "What did you mean by your last answer?",
    "How?",
    "How do I install it and run it?",
    "Can I use the cache with it?",
    "Could you explain that further?",
    "more details please",
]
NEW = [
    "How does the garbage collector work and when does it run?",
    "What is a decorator and why is it useful?",
    "How do I configure a database router?",
    "What is the function that returns a list?",
    "Is it possible to use sessions?",
    "Does it make sense to cache templates?",
    "How long does it take to build the documentation?",
    "What is asyncio.gather?",
    "If I delete the file, is it recoverable?",
    "Why does the parser fail when its input is empty?",
    "How do I create a model and use it in a view?",
    "Note that I use Windows: how do I compile Python?",
    "Which statement defines a class?",
    "What are context managers? How do they work?",
]
PERHAPS = [
    "And what is a decorator?",
    "What about async views?",
    "Limits?",
    "And in tests?",
    "But where are templates stored?",
]


@pytest.mark.parametrize(
    ("question", "kind"),
    [(q, "continues") for q in CONTINUES] + [(q, "new") for q in NEW] + [(q, "perhaps") for q in PERHAPS],
)
def test_classify(question: str, kind: str) -> None:
    assert classify(question) == kind


def test_without_a_conversation_everything_is_new() -> None:
    assert read_question("And how does it end?", ()).kind == "new"


def test_a_chain_leads_back_to_the_question_that_stood_alone() -> None:
    history = (
        HistoryTurn("user", "What is photosynthesis?"),
        HistoryTurn("assistant", "…", ("old",)),
        HistoryTurn("user", "What is a context manager?"),
        HistoryTurn("assistant", "…", ("with", "types")),
        HistoryTurn("user", "And can it suppress exceptions?"),
        HistoryTurn("assistant", "nothing", ()),
    )
    reading = read_question("and why is that?", history)
    assert reading.kind == "continues"
    assert reading.topic == "What is a context manager? And can it suppress exceptions?"
    assert reading.document_ids == ("with", "types")


def test_documents_of_another_topic_are_not_taken() -> None:
    history = (
        HistoryTurn("user", "What is photosynthesis?"),
        HistoryTurn("assistant", "…", ("old",)),
        HistoryTurn("user", "What is a chocolate cake?"),
        HistoryTurn("assistant", "nothing", ()),
    )
    assert read_question("How do I bake it?", history).document_ids == ()


def test_more_is_recognised() -> None:
    history = (HistoryTurn("user", "What is a cache?"), HistoryTurn("assistant", "…", ("a",)))
    assert read_question("Tell me more", history).more
    assert not read_question("Is it fast?", history).more
