"""The embedded service: Meibel's wire over your own documents, without an account or a network.

Names are loaded when first used. The service itself needs the extra ``local``.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if any(find_spec(name) is None for name in ("starlette", "uvicorn", "python_multipart")):
    raise ImportError('The local service needs its extra: pip install "meibel-integrations[local]"')

if TYPE_CHECKING:
    from meibel_integrations.local.answerers.quoting import QuotingAnswerer as QuotingAnswerer
    from meibel_integrations.local.answerers.scripted import ScriptedAnswerer as ScriptedAnswerer
    from meibel_integrations.local.embedded import LocalMeibel as LocalMeibel
    from meibel_integrations.local.embedded import serve as serve

_LAZY = {
    "QuotingAnswerer": "answerers.quoting",
    "LocalMeibel": "embedded",
    "ScriptedAnswerer": "answerers.scripted",
    "serve": "embedded",
}

__all__ = ["LocalMeibel", "QuotingAnswerer", "ScriptedAnswerer", "serve"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
