"""Handing the key to the page: a link carries a token, which the page trades for the key, once."""

from __future__ import annotations

import hmac
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

_LIFETIME_SECONDS = 3600.0
_MOST = 100  # links that wait to be opened; the oldest make room


@dataclass(frozen=True, slots=True)
class _Issued:
    token: bytes
    key: str
    expires: float


class PageTokens:
    """Tokens that wait to be used. Thread-safe; nothing is stored on disk."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._issued: deque[_Issued] = deque(maxlen=_MOST)

    def issue(self, key: str) -> str:
        """A new token for this key."""
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._issued.append(_Issued(token.encode(), key, self._clock() + _LIFETIME_SECONDS))
        return token

    def redeem(self, token: str) -> str | None:
        """The key, if the token was issued, has not expired and was not used before. Compares in constant time."""
        candidate = token.encode("utf-8", "surrogateescape")
        with self._lock:
            found = None
            for issued in self._issued:
                if hmac.compare_digest(candidate, issued.token):
                    found = issued
            if found is None:
                return None
            self._issued.remove(found)
        return found.key if self._clock() < found.expires else None
