"""How a question is to be read: alone, with the questions before it, or out of a prompt built around it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from meibel_integrations.local.answerers.interface import HistoryTurn
from meibel_integrations.local.search.words import content_words

_LONGEST_PROMPT = 40_000
_LONGEST = 4_000  # characters of a question that are looked at
_SHORT = 4  # words of a question that has too few to stand alone
_AFTERTHOUGHT = re.compile(r"\W*(?:and|but|or|so|also|then|what\s+(?:about|if|else)|how\s+about)\b", re.IGNORECASE)
# A pronoun; "that" only where it cannot join clauses; "it" not where it stands for nothing ("is it possible to").
_PRONOUN = re.compile(
    r"\b(?:its|itself|they|them|their|theirs|he|him|his|she|her|hers|this|these|those|(?:the|that)\s+(?:same|other|one))\b"
    r"|\b(?:is|was|does|do|did|can|about|of|like|with|for|to|in|on|by|why|how)\s+that\b(?!\s+(?:the|an?|i|we|you)\b)"
    r"|\bthat\W*$|(?<!\bis )(?<!\bwas )(?<!\bdoes )(?<!\bwould )\bit\b"
    r"|\b(?:is|was|does|would)\s+it\b(?!\s+\w+\s+(?:to|that|if|when|for)\b)",
    re.IGNORECASE,
)
_WHAT_IS = re.compile(
    r"\W*(?:(?:and|but|so)\s+)?(?:(?:what|who)(?:['\u2019]s|\s+(?:is|are|was|were))|define|explain|what\s+do(?:es)?(?=.*\b(?:mean|do)\W*$))\s+(?:(?:an?|the)\s+)?"
    r"[\"'`\u201c]?(?P<term>[\w.@+#-]+(?:\s+[\w.@+#-]+){0,2}?)[\"'`\u201d]?(?:\s+(?:mean|do))?(?:\s+in\s+\w+)?\W*",
    re.IGNORECASE,
)
_PLEASANTRY = re.compile(
    r"(?:\W*\b(?:ok(?:ay)?|great|thanks?|thank\s+you|thx|cheers|perfect|nice|cool|good|fine|very|much|so|many|a\s+lot|got\s+it"
    r"|i\s+(?:see|understand)|makes\s+sense|(?:that|this|it)(?:['\u2019]?s|\s+(?:is|was))?\s+(?:clear|helpful|helps|helped|all)"
    r"|well\s+done|for\s+(?:your|the)\s+(?:help|answer)|hello|hi|hey|there|(?:morning|afternoon|evening|day)|bye|goodbye"
    r"|please|no|yes|sure|right|wow)\b)+\W*",
    re.IGNORECASE,
)
_CONTEXT = re.compile(r"^[^\n]*\bcontext\b[^\n:.]{0,30}(?::|\.[ \t]*$)[ \t]*", re.IGNORECASE | re.MULTILINE)
_QUESTION = re.compile(r"^[ \t>*#]*(?:question|query)\s*:[ \t]*(?=\S)", re.IGNORECASE | re.MULTILINE)
_ANSWER = re.compile(r"^[ \t>*#]*(?:helpful )?answer\s*:", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Reading:
    """``asked`` is the question by itself, ``query`` with the earlier ones that it leans on. ``context`` is text that a
    prompt brings along, ``term`` what "what is …" asks about."""

    asked: str
    query: str
    context: str = ""
    term: str = ""

    @property
    def leans(self) -> bool:
        return self.query != self.asked


def is_pleasantry(text: str) -> bool:
    """Whether a message only thanks, greets or agrees: there is nothing in it to look up."""
    return len(text) < 80 and not text.rstrip().endswith(("?", "`")) and _PLEASANTRY.fullmatch(text) is not None


def read(text: str, history: Sequence[HistoryTurn]) -> Reading:
    """Read a question as it is meant."""
    asked, context = _out_of_prompt(text[:_LONGEST_PROMPT])
    asked = asked[:_LONGEST]
    defined = _WHAT_IS.fullmatch(asked)
    term = defined["term"].strip(".") if defined and content_words(defined["term"]) else ""
    chain = [asked]
    earlier = [turn.text[:_LONGEST] for turn in history if turn.role == "user"]
    while earlier and _leans(chain[0]):
        chain.insert(0, earlier.pop())
    return Reading(asked, " ".join(chain), context, "" if len(chain) > 1 else term)


def _leans(text: str) -> bool:
    """Whether a question cannot be understood without the one before it."""
    pronoun = _PRONOUN.search(text)
    if pronoun is not None and len(content_words(text[: pronoun.start()])) < 2:
        return True
    if _WHAT_IS.fullmatch(text):
        return False
    return _AFTERTHOUGHT.match(text) is not None or (len(content_words(text)) < 2 and len(text.split()) <= _SHORT)


def _out_of_prompt(text: str) -> tuple[str, str]:
    """The question and the context of a prompt that has both under labels, as tutorials of RAG build it."""
    context, questions = _CONTEXT.search(text), list(_QUESTION.finditer(text))
    if context is None or not questions:
        return text, ""
    labels = [context, questions[-1], *_ANSWER.finditer(text)]

    def under(label: re.Match[str]) -> str:
        ends = [other.start() for other in labels if other.start() >= label.end()]
        return text[label.end() : min(ends, default=len(text))].strip(" \n-")

    return under(questions[-1]), under(context).split("\n-----")[0]
