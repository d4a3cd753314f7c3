"""Batches of pinned models, whose turns have an order."""

from __future__ import annotations

from typing import Any

from langchain_core.runnables.configurable import RunnableConfigurableFields

__all__ = ["PinnedInOrder", "one_by_one"]


# A parametrised base class would lose its fields to pydantic.
class PinnedInOrder(RunnableConfigurableFields):  # type: ignore[type-arg]
    """A configurable chat model whose batch is one turn after the other where the config pins a session: LangChain
    itself would run each input in a thread of its own, in any order."""

    def batch(self, inputs: list[Any], config: Any = None, **kwargs: Any) -> Any:
        return super().batch(inputs, self._in_order(inputs, config), **kwargs)

    async def abatch(self, inputs: list[Any], config: Any = None, **kwargs: Any) -> Any:
        return await super().abatch(inputs, self._in_order(inputs, config), **kwargs)

    def _in_order(self, inputs: list[Any], config: Any) -> Any:
        configs = config if isinstance(config, list) else [config] * len(inputs)
        pinned = any(getattr(self.prepare(each)[0], "session_id", None) for each in configs)
        return one_by_one(config) if pinned else config


def one_by_one(config: Any) -> Any:
    """A config, or a list of them, that lets one input run at a time."""
    if isinstance(config, list):
        return [{**(each or {}), "max_concurrency": 1} for each in config]
    return {**(config or {}), "max_concurrency": 1}
