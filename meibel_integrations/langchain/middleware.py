"""Middleware for ``create_agent``. It needs the package ``langchain``, so it is imported when it is first used."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from langchain.agents.middleware import AgentMiddleware, ModelRequest
from langchain_core.runnables import RunnableBinding

from meibel_integrations.langchain.hosted import HostedChatModel
from meibel_integrations.langchain.portable import portable_messages

__all__ = ["PortableMessagesMiddleware"]


class PortableMessagesMiddleware(AgentMiddleware):
    """Makes messages portable for each call of a model that is not a hosted agent. The agent's state keeps the
    originals, so a hosted agent finds its session again. Middleware that changes the model stands before it.

    Example:
        ::

            create_agent(
                ChatMeibel(agent_id="agent_123"),
                middleware=[ModelFallbackMiddleware(ChatOpenAI(model="…")), PortableMessagesMiddleware()],
            )
    """

    def wrap_model_call(self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Any]) -> Any:
        return handler(_for_its_model(request))

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[Any]]
    ) -> Any:
        return await handler(_for_its_model(request))


def _for_its_model(request: ModelRequest[Any]) -> ModelRequest[Any]:
    model: Any = request.model
    while isinstance(model, RunnableBinding):
        model = model.bound
    if isinstance(model, HostedChatModel):
        return request
    return request.override(messages=portable_messages(request.messages))  # type: ignore[arg-type]
