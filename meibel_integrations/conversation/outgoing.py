"""A plan made ready to be sent: one text, its options and its files, checked before any request."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from meibel_integrations import errors
from meibel_integrations.client.inputs import File, file_reader
from meibel_integrations.conversation.messages import NeutralMessage, encode, shorten
from meibel_integrations.conversation.options import RunOptions
from meibel_integrations.conversation.plan import Plan
from meibel_integrations.ledgers.marks import TurnMark
from meibel_integrations.models import ChatMessageRequest
from meibel_integrations.protocol import transcript
from meibel_integrations.protocol.dialects.interface import Dialect
from meibel_integrations.protocol.requests import FilePart
from meibel_integrations.protocol.service import Service
from meibel_integrations.protocol.turn import check_turn

__all__ = ["Outgoing", "prepare"]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A plan with its message and files, which were checked, and the mark in the ledger where a session goes on."""

    plan: Plan
    body: ChatMessageRequest
    read_files: Callable[[], Sequence[FilePart]] | None = None
    mark: TurnMark | None = None

    @property
    def digest(self) -> str:
        """What the ledger recognises the message by."""
        return transcript.digest("user", self.body.user_message)


def prepare(
    service: Service[Dialect],
    plan: Plan,
    options: RunOptions,
    *,
    files: Sequence[File] = (),
    answer_form: str | None = None,
) -> Outgoing:
    """The turn of a plan. What is too long for the service loses its oldest transcript, never instructions or question.

    Args:
        files: what rides along, besides what is attached to the question.
        answer_form: instructions for this one answer.

    Raises:
        InvalidInputError: the message, or a file, cannot be sent.
    """
    limit = service.dialect.max_prompt_chars
    messages = list(plan.messages)
    if answer_form is not None:
        instructions = sum(message.role == "system" for message in messages)
        messages.insert(instructions, NeutralMessage("system", answer_form))
    kept, omitted = (messages, 0) if limit is None else shorten(messages, limit)
    plan = dataclasses.replace(plan, messages=tuple(kept), omitted=plan.omitted + omitted)
    text = encode(plan.messages, omitted=plan.omitted)
    if limit is not None and len(text) > limit:
        text = encode(plan.messages)  # better no word of what was left out than no answer
    body = ChatMessageRequest(
        user_message=text,
        timeout_seconds=options.timeout_seconds,
        include_thinking=options.include_thinking or None,
        include_tool_activity=options.include_tool_activity or None,
    )
    try:
        check_turn(service, body)
    except errors.PromptTooLongError as error:
        raise errors.PromptTooLongError(f"{error}{_longest_part(kept)}") from None
    return Outgoing(plan, body, _reader(service, kept, files))


def _reader(
    service: Service[Dialect], messages: Sequence[NeutralMessage], files: Sequence[File]
) -> Callable[[], Sequence[FilePart]] | None:
    """Reads the files of a turn, once: a turn that is sent again, elsewhere, carries the same."""
    attached: list[File] = []
    for message in messages:
        for attachment in message.attachments:
            if attachment.content is None:
                raise errors.InvalidInputError(attachment.problem or f"A {attachment.kind} cannot be sent.")
            attached.append((attachment.name, attachment.content))
    if isinstance(files, str | bytes) or not isinstance(files, Sequence):
        raise errors.InvalidInputError("files= takes a list: files=[path].")
    attached += files
    if not attached:
        return None
    if not service.dialect.takes_files:
        raise errors.InvalidInputError(
            "LlamaCloud chat takes no files with a message, images included: add them to an index."
        )
    read = file_reader(attached)
    return read and functools.cache(read)


def _longest_part(messages: Sequence[NeutralMessage]) -> str:
    """Which part of a message that is too long has to be shorter. Older messages were left out already."""
    if len(messages) == 1:
        return ""
    parts = {"instructions": ("system",), "question": ("user",), "text after the question": ("assistant", "tool")}
    sizes = {part: sum(len(m.text) for m in messages if m.role in roles) for part, roles in parts.items()}
    longest = max(sizes, key=lambda part: sizes[part])
    told = ", ".join(f"{part}: {size:,} characters" for part, size in sizes.items() if size)
    return f" Its longest part is the {longest} ({told})."
