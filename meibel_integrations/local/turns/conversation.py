"""What an answerer is told of the conversation before its question."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from meibel_integrations.local.answerers.interface import HistoryTurn
from meibel_integrations.local.store.turn_log import TurnRow
from meibel_integrations.protocol import transcript


def read_message(user_message: str) -> tuple[list[HistoryTurn], str]:
    """What the user asked, and what the message tells of the conversation before it.

    A message may be an envelope with instructions and a transcript, as the adapters seed a session with. A hosted
    agent reads it as text; an answerer is given its parts.
    """
    blocks = transcript.decode(user_message)
    asked = max((i for i, block in enumerate(blocks) if block.role == "user"), default=None)
    if asked is None:
        return [], user_message
    told = [HistoryTurn(b.role, b.text) for b in blocks[:asked] if b.role == "user" or b.role == "assistant"]
    return told, blocks[asked].text


def instructions_in(user_message: str) -> str:
    """The system messages that came with a question."""
    return "\n\n".join(block.text for block in transcript.decode(user_message) if block.role == "system")


def told_by(turns: Iterable[TurnRow]) -> Iterator[HistoryTurn]:
    """The messages of stored turns, with the documents that their answers cite."""
    for turn in turns:
        told, text = read_message(turn.user_message)
        yield from told
        yield HistoryTurn("user", text)
        if turn.done is not None:
            cited = {index for citation in turn.done.citations for index in citation.sources}
            ids = (turn.done.sources[index].document_id for index in sorted(cited))
            yield HistoryTurn("assistant", turn.answer, tuple(dict.fromkeys(i for i in ids if i is not None)))
