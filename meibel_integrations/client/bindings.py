"""Methods of the sync and the async clients, made of flows.

An operation is written once, as a flow with its signature and docstring. In a class of :class:`SyncMethods` it is a
method that returns the flow's result, in a class of :class:`AsyncMethods` a coroutine method; type checkers see both.

::

    class SessionOperations:
        @operation
        def get_session(self, session_id: str) -> Flow[Session]: ...

    class Sessions(SessionOperations, SyncMethods): ...            # .get_session(id) -> Session
    class AsyncSessions(SessionOperations, AsyncMethods): ...      # await .get_session(id)
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator
from types import MethodType
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, overload

from meibel_integrations.client.streams import AsyncChatStream, ChatStream
from meibel_integrations.protocol.commands import Flow

__all__ = ["AsyncFlowRunner", "AsyncMethods", "FlowRunner", "SyncMethods", "listing", "operation", "streaming"]

P = ParamSpec("P")
T = TypeVar("T")
I = TypeVar("I")  # noqa: E741 - an item


class FlowRunner(Protocol):
    """Runs flows: a sync client."""

    def run_flow(self, flow: Flow[T]) -> T:
        """Runs a flow to its result."""

    def iterate_flow(self, flow: Flow[Any]) -> Iterator[Any]:
        """Runs a flow and yields what it emits."""

    def stream_flow(self, flow: Flow[Any]) -> ChatStream:
        """Runs a flow that streams a turn; returns once the service has accepted it."""


class AsyncFlowRunner(Protocol):
    """Runs flows: an async client."""

    async def run_flow(self, flow: Flow[T]) -> T: ...

    def iterate_flow(self, flow: Flow[Any]) -> AsyncGenerator[Any, None]: ...

    def stream_flow(self, flow: Flow[Any]) -> AsyncChatStream: ...


class SyncMethods:
    """Its operations are sync methods."""


class AsyncMethods:
    """Its operations are async methods."""


class _Binding:
    """A descriptor that shows a flow as a method, as its subclasses say."""

    _sync_returns: Any = None
    _async_returns: Any = None
    """The return annotations; ``None`` for the flow's own result."""

    def __init__(self, flow: Callable[..., Flow[Any]]) -> None:
        self.flow = flow
        result = str(inspect.get_annotations(flow)["return"]).removeprefix("Flow[").removesuffix("]")
        self._sync = _like(flow, self._sync_method(flow), self._sync_returns or result)
        self._async = _like(flow, self._async_method(flow), self._async_returns or result)

    def __get__(self, instance: Any, owner: type) -> Any:
        method = self._async if issubclass(owner, AsyncMethods) else self._sync
        return method if instance is None else MethodType(method, instance)

    def _sync_method(self, flow: Callable[..., Flow[Any]]) -> Callable[..., Any]:
        raise NotImplementedError

    def _async_method(self, flow: Callable[..., Flow[Any]]) -> Callable[..., Any]:
        raise NotImplementedError


class operation(_Binding, Generic[P, T]):  # noqa: N801 - a decorator
    """A flow as a method with a result."""

    def __init__(self, flow: Callable[Concatenate[Any, P], Flow[T]]) -> None:
        super().__init__(flow)

    @overload
    def __get__(self, instance: SyncMethods, owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, instance: AsyncMethods, owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    @overload
    def __get__(self, instance: None, owner: type) -> Callable[..., Any]: ...
    def __get__(self, instance: Any, owner: type) -> Any:
        return super().__get__(instance, owner)

    def _sync_method(self, flow: Callable[..., Flow[Any]]) -> Callable[..., Any]:
        return lambda self, *args, **kwargs: self._core.run_flow(flow(self, *args, **kwargs))

    def _async_method(self, flow: Callable[..., Flow[Any]]) -> Callable[..., Any]:
        async def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            return await self._core.run_flow(flow(self, *args, **kwargs))

        return method


class _Listing(_Binding, Generic[P, I]):
    @overload
    def __get__(self, instance: SyncMethods, owner: type) -> Callable[P, Iterator[I]]: ...
    @overload
    def __get__(self, instance: AsyncMethods, owner: type) -> Callable[P, AsyncIterator[I]]: ...
    @overload
    def __get__(self, instance: None, owner: type) -> Callable[..., Any]: ...
    def __get__(self, instance: Any, owner: type) -> Any:
        return super().__get__(instance, owner)

    def _sync_method(self, flow: Callable[..., Flow[Any]]) -> Callable[..., Any]:
        return lambda self, *args, **kwargs: self._core.iterate_flow(flow(self, *args, **kwargs))

    _async_method = _sync_method


def listing(item: type[I]) -> Callable[[Callable[Concatenate[Any, P], Flow[int]]], _Listing[P, I]]:
    """A flow as a method that iterates over what the flow emits."""
    returns = {"_sync_returns": Iterator[item], "_async_returns": AsyncIterator[item]}  # type: ignore[valid-type]
    kind: Any = type("listing", (_Listing,), returns)
    return kind  # type: ignore[no-any-return]


class streaming(_Binding, Generic[P]):  # noqa: N801 - a decorator
    """A flow that streams a turn, as a method that returns the stream."""

    _sync_returns, _async_returns = ChatStream, AsyncChatStream

    def __init__(self, flow: Callable[Concatenate[Any, P], Flow[Any]]) -> None:
        super().__init__(flow)

    @overload
    def __get__(self, instance: SyncMethods, owner: type) -> Callable[P, ChatStream]: ...
    @overload
    def __get__(self, instance: AsyncMethods, owner: type) -> Callable[P, AsyncChatStream]: ...
    @overload
    def __get__(self, instance: None, owner: type) -> Callable[..., Any]: ...
    def __get__(self, instance: Any, owner: type) -> Any:
        return super().__get__(instance, owner)

    def _sync_method(self, flow: Callable[..., Flow[Any]]) -> Callable[..., Any]:
        return lambda self, *args, **kwargs: self._core.stream_flow(flow(self, *args, **kwargs))

    _async_method = _sync_method


def _like(flow: Callable[..., Any], method: Callable[..., Any], returns: Any) -> Callable[..., Any]:
    """The method under the flow's name, with its signature and docstring, and its own return type."""
    shown = functools.update_wrapper(method, flow)
    shown.__annotations__ = {**inspect.get_annotations(flow), "return": returns}
    shown.__signature__ = inspect.signature(flow).replace(return_annotation=returns)  # type: ignore[attr-defined]
    return shown
