"""A conversation as the adapters hand it over: framework-neutral messages."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from meibel_integrations.conversation.anchor import Anchor
from meibel_integrations.protocol.envelope import Role

__all__ = ["Item", "Role", "digest", "digest_of_all", "system_texts", "turns"]


@dataclass(frozen=True, slots=True)
class Item:
    """One message. ``anchor`` is set on answers of this provider that name their session; it is not part of what the
    message says, so two items with equal role, text and name are equal."""

    role: Role
    text: str
    name: str | None = None
    anchor: Anchor | None = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Item):
            return NotImplemented
        return (self.role, self.text, self.name) == (other.role, other.text, other.name)

    def __hash__(self) -> int:
        return hash((self.role, self.text, self.name))


def digest(item: Item) -> str:
    """A short digest of what a message says (64 bits, hexadecimal)."""
    return _hash((item.role, item.name or "", item.text))


def digest_of_all(texts: Sequence[str]) -> str | None:
    """One digest for several texts, ``None`` for none."""
    return _hash(texts) if texts else None


def system_texts(items: Iterable[Item]) -> list[str]:
    """The system messages' texts in order."""
    return [item.text for item in items if item.role == "system"]


def turns(items: Iterable[Item]) -> list[Item]:
    """All but the system messages."""
    return [item for item in items if item.role != "system"]


def _hash(texts: Iterable[str]) -> str:
    found = hashlib.sha256()
    for text in texts:
        raw = text.encode("utf-8", "surrogatepass")
        found.update(len(raw).to_bytes(8, "big") + raw)
    return found.hexdigest()[:16]
