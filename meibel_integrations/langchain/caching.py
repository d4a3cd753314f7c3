"""Caches that carry no session from one user to another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.caches import RETURN_VAL_TYPE, BaseCache
from langchain_core.globals import get_llm_cache
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration

from meibel_integrations.langchain.answers import without_anchor

__all__ = ["safe_cache"]


def safe_cache(cache: BaseCache | bool | None) -> BaseCache | bool | None:
    """The same cache, but what it keeps names no session: whoever gets an answer from it begins a conversation of
    their own."""
    if isinstance(cache, _WithoutSessions) or cache is False:
        return cache
    if isinstance(cache, BaseCache):
        return _WithoutSessions(cache)
    shared = get_llm_cache()
    return cache if shared is None else _WithoutSessions(shared)


class _WithoutSessions(BaseCache):
    def __init__(self, cache: BaseCache) -> None:
        self._cache = cache

    def lookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        return self._cache.lookup(prompt, llm_string)

    def update(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        self._cache.update(prompt, llm_string, _anonymous(return_val))

    def clear(self, **kwargs: Any) -> None:
        self._cache.clear(**kwargs)

    async def alookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        return await self._cache.alookup(prompt, llm_string)

    async def aupdate(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        await self._cache.aupdate(prompt, llm_string, _anonymous(return_val))

    async def aclear(self, **kwargs: Any) -> None:
        await self._cache.aclear(**kwargs)


def _anonymous(generations: Sequence[Any]) -> list[Any]:
    return [
        each.model_copy(update={"message": without_anchor(each.message)})
        if isinstance(each, ChatGeneration) and isinstance(each.message, AIMessage)
        else each
        for each in generations
    ]
