"""Hosted, stateful RAG agents in LangChain and LlamaIndex.

Public names are loaded when first used, so that ``import meibel_integrations`` costs nothing: no framework, no HTTP
client and no server is imported by it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meibel_integrations import errors as errors
    from meibel_integrations import models as models
    from meibel_integrations.client import AsyncLlamaCloudChatClient as AsyncLlamaCloudChatClient
    from meibel_integrations.client import AsyncMeibelClient as AsyncMeibelClient
    from meibel_integrations.client import LlamaCloudChatClient as LlamaCloudChatClient
    from meibel_integrations.client import MeibelClient as MeibelClient

__version__ = "0.1.0"

_LAZY = {
    "AsyncLlamaCloudChatClient": "meibel_integrations.client",
    "LlamaCloudChatClient": "meibel_integrations.client",
    "AsyncMeibelClient": "meibel_integrations.client",
    "MeibelClient": "meibel_integrations.client",
}
_MODULES = frozenset({"errors", "models"})

__all__ = [
    "AsyncLlamaCloudChatClient",
    "AsyncMeibelClient",
    "LlamaCloudChatClient",
    "MeibelClient",
    "__version__",
    "errors",
    "models",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
