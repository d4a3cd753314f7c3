"""``with`` and ``async with`` for what has a ``close`` or an ``aclose``."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AbstractContextManager
from types import TracebackType
from typing import Self

__all__ = ["AsyncClosing", "Closing"]


class Closing(AbstractContextManager["Closing", None]):
    """A context manager that closes itself at the end."""

    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncClosing(AbstractAsyncContextManager["AsyncClosing", None]):
    """The async twin of :class:`Closing`."""

    async def aclose(self) -> None:
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
