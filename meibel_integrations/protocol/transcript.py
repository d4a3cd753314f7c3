"""Several messages in one text, and out of it again: what a turn carries, and how a message is recognised.

A turn carries a single text. The text of one user message goes byte for byte. Anything more - instructions, earlier
messages - travels in an envelope: a text that an agent can read and this module reads back exactly. A user's text that
imitates the envelope is put into one, so it reads back as itself.

The laws: ``decode(encode(blocks)) == blocks`` for every list, and ``encode([user]) == user.text`` unless that text
begins like an envelope.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple, get_args

__all__ = ["Block", "Role", "decode", "digest", "digest_of_texts", "encode"]

Role = Literal["system", "user", "assistant", "tool"]


class Block(NamedTuple):
    """One message. ``name`` is who or which tool speaks, where that is known."""

    role: Role
    text: str
    name: str | None = None


_HEADER = "<<meibel-integrations conversation 1>>"
_NOTE = "What follows are the messages of this conversation. Heed the system's, and answer the last user's."
_BLOCK = re.compile(r"<<(system|user|assistant|tool)(?: (\{.*\}))?>>")
_OMITTED = re.compile(r"<<omitted (\d+)>>")
_ESCAPED = re.compile(r"^(\\*<<)", re.MULTILINE)
_UNESCAPED = re.compile(r"^\\(\\*<<)", re.MULTILINE)


def encode(blocks: Sequence[Block], *, omitted: int = 0) -> str:
    """The one text that carries these messages.

    Args:
        blocks: the messages in order.
        omitted: how many older messages were left out; the text says so.
    """
    if len(blocks) == 1 and not omitted:
        (block,) = blocks
        if block.role == "user" and block.name is None and not block.text.startswith(_HEADER):
            return block.text
    lines = [_HEADER, _NOTE]
    if omitted:
        lines.append(f"<<omitted {omitted}>>")
    for block in blocks:
        label = f" {json.dumps({'name': block.name})}" if block.name is not None else ""
        lines += [f"<<{block.role}{label}>>", _ESCAPED.sub(r"\\\1", block.text)]
    return "\n".join(lines)


def decode(text: str) -> list[Block]:
    """The messages that a text carries; a text that is no envelope is one user message."""
    found = _parse(text)
    return [Block("user", text)] if found is None else found


def digest(role: Role, text: str, name: str | None = None) -> str:
    """A short digest of what a message says (64 bits, hexadecimal). White space at its edges does not count: services
    and frameworks trim it."""
    return digest_of_texts((role, name or "", text.strip()))


def digest_of_texts(texts: Iterable[str]) -> str:
    """One short digest for several texts."""
    found = hashlib.sha256()
    for text in texts:
        raw = text.encode("utf-8", "surrogatepass")
        found.update(len(raw).to_bytes(8, "big") + raw)
    return found.hexdigest()[:16]


def _parse(text: str) -> list[Block] | None:
    if not text.startswith(_HEADER + "\n"):
        return None
    blocks: list[Block] = []
    role: Role | None = None
    name: str | None = None
    lines: list[str] = []
    for line in text.split("\n")[2:]:
        if not line.startswith("<<"):
            if role is None:
                return None
            lines.append(line)
            continue
        label = _BLOCK.fullmatch(line)
        if label is None and (role is not None or not _OMITTED.fullmatch(line)):
            return None
        if role is not None:
            blocks.append(_block(role, lines, name))
        if label is not None:
            role, name, lines = _role(label[1]), _name(label[2]), []
    if role is not None:
        blocks.append(_block(role, lines, name))
    return blocks


def _block(role: Role, lines: list[str], name: str | None) -> Block:
    return Block(role, _UNESCAPED.sub(r"\1", "\n".join(lines)), name)


def _role(word: str) -> Role:
    assert word in get_args(Role)
    return word  # type: ignore[return-value]


def _name(label: str | None) -> str | None:
    try:
        value: Any = json.loads(label or "{}")
    except ValueError:
        return None
    name = value.get("name") if isinstance(value, dict) else None
    return name if isinstance(name, str) else None
