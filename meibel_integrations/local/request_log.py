"""What was asked of the service, for tests that want to know: the last requests, in order, without headers."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any


@dataclass(slots=True)
class RequestEntry:
    """One request. ``body`` is its beginning as text; ``status`` is ``None`` until the answer began; ``at`` is when it
    came, as the store writes times."""

    method: str
    path: str
    content_type: str
    body: str = ""
    status: int | None = None
    tenant: str | None = None
    at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="microseconds"))

    def to_json(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "path": self.path,
            "status": self.status,
            "content_type": self.content_type,
            "body": self.body,
            "at": self.at,
        }


class RequestLog:
    """A ring of requests. A tenant sees its own, and nobody sees those that came without a valid key but the
    program that runs the service."""

    def __init__(self, size: int, body_chars: int) -> None:
        self._entries: deque[RequestEntry] = deque(maxlen=size)
        self.body_chars = body_chars

    def add(self, entry: RequestEntry) -> None:
        self._entries.append(entry)

    def entries(self, tenant: str | None = None) -> list[dict[str, Any]]:
        """The entries of one tenant, or all."""
        return [entry.to_json() for entry in list(self._entries) if tenant is None or entry.tenant == tenant]

    def clear(self, tenant: str | None = None) -> None:
        kept = [entry for entry in self._entries if tenant is not None and entry.tenant != tenant]
        self._entries.clear()
        self._entries.extend(kept)
