"""A hosted agent as a tool of another agent."""

# No `from __future__ import annotations` here: LlamaIndex makes the tool's schema of the annotations, as objects.

from collections.abc import Awaitable, Callable
from typing import Any

from llama_index.core.tools import FunctionTool

__all__ = ["ask_tool"]

_DESCRIPTION = (
    "Asks an agent that knows its own documents, and returns its answer. Ask one whole question in plain language."
)


def ask_tool(
    ask: Callable[[str], Any], aask: Callable[[str], Awaitable[Any]], name: str, description: str | None
) -> FunctionTool:
    """A tool with one argument, the question. LlamaIndex calls a function tool once, also when it fails, and any other
    tool of one argument twice."""

    def ask_agent(question: str) -> Any:
        return ask(question)

    async def aask_agent(question: str) -> Any:
        return await aask(question)

    return FunctionTool.from_defaults(
        fn=ask_agent, async_fn=aask_agent, name=name, description=description or _DESCRIPTION
    )
