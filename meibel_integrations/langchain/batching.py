"""Batches of pinned models, whose turns have an order: LangChain would run each input in a thread of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from langchain_core.runnables.config import get_config_list
from langchain_core.runnables.configurable import RunnableConfigurableFields

__all__ = ["InOrder", "PinnedInOrder"]


class InOrder:
    """Before a runnable: its batches are one turn after the other where :meth:`_is_pinned` says so."""

    def _is_pinned(self, config: Any, options: dict[str, Any]) -> bool:
        """Whether an input with this config goes into a session that was named."""
        raise NotImplementedError

    def batch(self, inputs: list[Any], config: Any = None, **kwargs: Any) -> Any:
        """As every ``batch``; the turns of one pinned session run in the order of the inputs."""
        return super().batch(inputs, self._in_order(inputs, config, kwargs), **kwargs)  # type: ignore[misc]

    async def abatch(self, inputs: list[Any], config: Any = None, **kwargs: Any) -> Any:
        """See :meth:`batch`."""
        return await super().abatch(inputs, self._in_order(inputs, config, kwargs), **kwargs)  # type: ignore[misc]

    def batch_as_completed(
        self, inputs: Any, config: Any = None, *, return_exceptions: bool = False, **kwargs: Any
    ) -> Iterator[Any]:
        """See :meth:`batch`."""
        if not self._any_pinned(inputs, config, kwargs):
            yield from super().batch_as_completed(  # type: ignore[misc]
                inputs, config, return_exceptions=return_exceptions, **kwargs
            )
            return
        for at, (each, own) in enumerate(zip(inputs, get_config_list(config, len(inputs)), strict=True)):
            try:
                yield at, self.invoke(each, own, **kwargs)  # type: ignore[attr-defined]
            except Exception as error:
                if not return_exceptions:
                    raise
                yield at, error

    async def abatch_as_completed(
        self, inputs: Any, config: Any = None, *, return_exceptions: bool = False, **kwargs: Any
    ) -> AsyncIterator[Any]:
        """See :meth:`batch`."""
        if not self._any_pinned(inputs, config, kwargs):
            completed = super().abatch_as_completed(  # type: ignore[misc]
                inputs, config, return_exceptions=return_exceptions, **kwargs
            )
            async for each in completed:
                yield each
            return
        for at, (each, own) in enumerate(zip(inputs, get_config_list(config, len(inputs)), strict=True)):
            try:
                yield at, await self.ainvoke(each, own, **kwargs)  # type: ignore[attr-defined]
            except Exception as error:
                if not return_exceptions:
                    raise
                yield at, error

    def _any_pinned(self, inputs: Any, config: Any, kwargs: dict[str, Any]) -> bool:
        return any(self._is_pinned(each, kwargs) for each in get_config_list(config, len(inputs)))

    def _in_order(self, inputs: Any, config: Any, kwargs: dict[str, Any]) -> Any:
        if not inputs or not self._any_pinned(inputs, config, kwargs):
            return config
        if isinstance(config, list):
            return [{**(each or {}), "max_concurrency": 1} for each in config]
        return {**(config or {}), "max_concurrency": 1}


# A parametrised base class would lose its fields to pydantic.
class PinnedInOrder(InOrder, RunnableConfigurableFields):  # type: ignore[type-arg]
    """A configurable chat model whose batches run in order where the config pins a session."""

    def _is_pinned(self, config: Any, options: dict[str, Any]) -> bool:
        return getattr(self.prepare(config)[0], "session_id", None) is not None
