"""Whether a question stands by itself or leans on the conversation.

Pure rules over words, no search: a question continues when its subject is a pronoun that nothing inside the question
explains ("How do I install it?"), or when it has no subject at all ("Why?", "Tell me more"). It may continue when it
only begins like an afterthought ("And in tests?"); then the documents decide.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from meibel_integrations.local.answerers.interface import HistoryTurn
from meibel_integrations.local.search.analysis import terms

_READ = 2000  # characters: who writes more than that does not lean on a pronoun
Kind = Literal["new", "continues", "perhaps"]

_PRONOUN = re.compile(
    r"\b(?:it|its|itself|they|them|their|theirs|themselves|he|him|his|she|her|hers|this|these|those|"
    r"the\s+(?:former|latter|same|above)|the\s+(?:first|second|third|last|other)\s+one|"
    r"(?:another|which|that|this)\s+one|(?:the\s+)?others)\b",
    re.IGNORECASE,
)
# "that" is a pronoun after a verb or preposition, or as the last word; otherwise it joins clauses
_THAT = re.compile(
    r"\b(?:is|was|does|do|did|can|could|will|would|should|about|of|like|with|for|in|on|from|by|using|after|before|"
    r"than|and|but|why|how|has|had)\s+(?P<that>that)\b(?!\s+(?:the|a|an|i|we|you|there)\b)|\b(?P<last>that)\W*$",
    re.IGNORECASE,
)
# "it" that stands for nothing: is it possible to, does it matter whether, how long does it take to
_EXPLETIVE = re.compile(
    r"\b(?:is|was|isn't|would|will)\s+it\s+(?:be\s+|ever\s+|also\s+|still\s+|not\s+)*"
    r"(?:possible|safe|ok|okay|allowed|necessary|required|better|best|recommended|worth|true|a\s+(?:good|bad)\s+\w+|"
    r"good|bad|hard|easy|important|normal|legal|wise|common|advisable|enough)\b.*?\b(?:to|that|if|for|when|\w+ing)\b"
    r"|\b(?:does|do|will|would)\s+it\s+(?:matter|make\s+sense|make\s+a\s+difference)\s+\w+"
    r"|\b(?:does|would|will)\s+it\s+take\s+(?:to|for)\b|\bit\s+(?:is|was)\s+\w+\s+(?:that|to)\b"
    r"|\bmake\s+it\s+(?:so|possible|easy|easier)\b|\bthis\s+(?:week|month|year|morning|documentation|project|site)\b",
    re.IGNORECASE,
)
# A clause ends here, so a pronoun behind it can stand for something before it.
_CLAUSE = re.compile(
    r"[,;:.?!]|\b(?:and|or|but|when|if|because|while|after|before|so|then|until|unless|where|why|how|what|that|which)\b",
    re.IGNORECASE,
)
_AFTERTHOUGHT = re.compile(
    r"^\W*(?:and|but|so|also|or|then|ok(?:ay)?|what\s+about|how\s+about|what\s+else|anything\s+else|what\s+if|why\s+not)\b",
    re.IGNORECASE,
)
_MORE = re.compile(
    r"^\W*(?:(?:please|can\s+you|could\s+you|and|ok(?:ay)?|yes)\W+)*"
    r"(?:tell\s+me\s+more|go\s+on|continue|carry\s+on|more(?:\s+(?:details?|please|info\w*))?|elaborate|keep\s+going|"
    r"explain\s+(?:more|further|that|this|it)|what\s+else|anything\s+else|say\s+more|"
    r"(?:give\s+me\s+)?(?:another|an|one\s+more|some\s+more|more)\s+examples?|for\s+example|such\s+as|like\s+what)\b[\s\w]*\W*$",
    re.IGNORECASE,
)
_EARLIER = re.compile(
    r"\b(?:you\s+(?:just\s+)?(?:said|mentioned|wrote|quoted)|your\s+(?:last|previous)?\s*answer|mentioned\s+(?:above|before)"
    r"|as\s+above)\b",
    re.IGNORECASE,
)
_BARE_QUESTION = re.compile(
    r"^\W*(?:and\s+|but\s+)?(?:why|how|when|where|who|how\s+so|since\s+when|really)\W*$", re.IGNORECASE
)
_NOMINAL = re.compile(
    r"\b(?:a|an|the|my|our|your|each|every|two|several|some|any|is|are|does|do|can|of|between)\s+$", re.IGNORECASE
)
_PLEASANTRY = re.compile(
    r"(?:\W*\b(?:ok(?:ay)?|k|great|thanks?|thank\s+you|thx|ty|cheers|perfect|nice|cool|awesome|super|wonderful|excellent|"
    r"good|fine|brilliant|lovely|amazing|fantastic|very|so|much|many|a\s+lot|got\s+it|i\s+see|i\s+understand|understood|"
    r"makes\s+sense|(?:that|this|it)(?:'s|\u2019s|\s+(?:is|was))?(?:\s+(?:all|very|really|so|just|what\s+i\s+needed))*"
    r"(?:\s+(?:clear|helpful|helps|helped|great|good|perfect|nice|enough|useful|all|it))?|well\s+done|good\s+job|"
    r"for\s+(?:your|the|all\s+your)\s+(?:help|answer|time|explanation)|again|hello|hi|hey|there|"
    r"good\s+(?:morning|afternoon|evening|night|day)|bye|goodbye|see\s+you|welcome|you're\s+welcome|no\s+problem|please|"
    r"no|yes|yep|nope|sure|right|alright|all\s+right|wow|yay|haha|lol)\b)+\W*",
    re.IGNORECASE,
)
_LONGEST_PLEASANTRY = 80


@dataclass(frozen=True, slots=True)
class Reading:
    """How a question is to be understood. ``topic`` is what the earlier questions of its chain asked about, and
    ``document_ids`` what their answers rested on, best first; both are empty for a new question."""

    kind: Kind
    more: bool = False
    topic: str = ""
    document_ids: tuple[str, ...] = ()


def is_pleasantry(text: str) -> bool:
    """Whether a message only thanks, greets or agrees: there is nothing in it to look up."""
    text = text.strip()
    if not 0 < len(text) <= _LONGEST_PLEASANTRY or text.endswith("?") or text[0] in "\"'`\u201c-_@":
        return False
    return any(map(str.isalpha, text)) and _PLEASANTRY.fullmatch(text) is not None


def read_question(text: str, history: Sequence[HistoryTurn]) -> Reading:
    """Read a question against the conversation so far."""
    if not any(turn.role == "user" for turn in history):
        return Reading("new")
    kind = classify(text)
    if kind == "new":
        return Reading("new")
    topic, document_ids = _chain(history)
    return Reading(kind, _MORE.match(text) is not None, topic, document_ids)


def classify(text: str) -> Kind:
    """What the words of a question alone tell, given that others came before it."""
    text = text[:_READ]
    own = terms(text)
    if _MORE.match(text) or _BARE_QUESTION.match(text) or _EARLIER.search(text):
        return "continues"
    if not own:
        return "continues" if any(map(str.isalpha, text)) else "new"
    if _leans_on_a_pronoun(text):
        return "continues"
    telling = [term for term in own if not term.weak]
    if not telling:
        return "continues" if len(text) < 60 else "perhaps"
    if _AFTERTHOUGHT.match(text) or (len(text.split()) <= 2 and len(own) == 1 and text.strip().endswith("?")):
        return "perhaps"
    return "new"


def _leans_on_a_pronoun(text: str) -> bool:
    """Whether the first pronoun has nothing before it, in an earlier clause of the question, to stand for."""
    masked = _EXPLETIVE.sub(lambda match: " " * len(match[0]), text)
    places = [match.start() for match in _PRONOUN.finditer(masked)]
    places += [match.start(match.lastgroup or 0) for match in _THAT.finditer(masked)]
    if not places:
        return False
    first = min(places)
    before = text[:first]
    boundaries = [match.start() for match in _CLAUSE.finditer(before) if before[: match.start()].strip()]
    if not boundaries:
        return True
    return not _has_subject(before[: boundaries[-1]])


def _has_subject(clause: str) -> bool:
    """Whether a clause names something: a noun is guessed by its article or verb, or by a look of a name."""
    named = [term for term in terms(clause) if not term.weak]
    for term in named:
        at = clause.find(term.surface)
        if term.is_name or not term.surface.islower() or not term.generic or _NOMINAL.search(clause[: max(at, 0)]):
            return True
    return False


def _chain(history: Sequence[HistoryTurn]) -> tuple[str, tuple[str, ...]]:
    """The earlier questions that this one continues, newest first, back to one that stood by itself."""
    asked: list[str] = []
    document_ids: tuple[str, ...] = ()
    for turn in reversed(history):
        if turn.role == "assistant":
            document_ids = document_ids or turn.document_ids
            continue
        asked.append(turn.text)
        if classify(turn.text) == "new":
            break
    return " ".join(reversed(asked)), document_ids
