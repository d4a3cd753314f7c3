"""The embedded service: Meibel's wire over your own documents, without an account or a network.

Names are loaded when first used. The service itself needs the extra ``local``.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if any(find_spec(name) is None for name in ("starlette", "uvicorn", "python_multipart", "lxml")):
    raise ImportError('The local service needs its extra: pip install "meibel-integrations[local]"')

if TYPE_CHECKING:
    from meibel_integrations.local.answerers.chat_model import ChatModelAnswerer as ChatModelAnswerer
    from meibel_integrations.local.answerers.interface import Answerer as Answerer
    from meibel_integrations.local.answerers.interface import HistoryTurn as HistoryTurn
    from meibel_integrations.local.answerers.interface import Question as Question
    from meibel_integrations.local.answerers.quoting import QuotingAnswerer as QuotingAnswerer
    from meibel_integrations.local.answerers.scripted import Pause as Pause
    from meibel_integrations.local.answerers.scripted import ScriptedAnswerer as ScriptedAnswerer
    from meibel_integrations.local.embedded import LocalMeibel as LocalMeibel
    from meibel_integrations.local.search.passages import Passage as Passage
    from meibel_integrations.local.search.passages import Search as Search
    from meibel_integrations.local.serving import serve as serve
    from meibel_integrations.local.store.database import StorageError as StorageError
    from meibel_integrations.local.store.steps import AnswerCitation as AnswerCitation
    from meibel_integrations.local.store.steps import AnswerSource as AnswerSource
    from meibel_integrations.local.store.steps import Delta as Delta
    from meibel_integrations.local.store.steps import Done as Done
    from meibel_integrations.local.store.steps import Status as Status
    from meibel_integrations.local.store.steps import Step as Step
    from meibel_integrations.local.store.steps import Thinking as Thinking
    from meibel_integrations.local.store.steps import ToolCall as ToolCall
    from meibel_integrations.local.store.steps import ToolResult as ToolResult

_LAZY = {
    "AnswerCitation": "store.steps",
    "AnswerSource": "store.steps",
    "Answerer": "answerers.interface",
    "ChatModelAnswerer": "answerers.chat_model",
    "Delta": "store.steps",
    "Done": "store.steps",
    "HistoryTurn": "answerers.interface",
    "LocalMeibel": "embedded",
    "Passage": "search.passages",
    "Pause": "answerers.scripted",
    "Question": "answerers.interface",
    "QuotingAnswerer": "answerers.quoting",
    "ScriptedAnswerer": "answerers.scripted",
    "Search": "search.passages",
    "Status": "store.steps",
    "Step": "store.steps",
    "StorageError": "store.database",
    "Thinking": "store.steps",
    "ToolCall": "store.steps",
    "ToolResult": "store.steps",
    "serve": "serving",
}

__all__ = [
    "AnswerCitation",
    "AnswerSource",
    "Answerer",
    "ChatModelAnswerer",
    "Delta",
    "Done",
    "HistoryTurn",
    "LocalMeibel",
    "Passage",
    "Pause",
    "Question",
    "QuotingAnswerer",
    "ScriptedAnswerer",
    "Search",
    "Status",
    "Step",
    "StorageError",
    "Thinking",
    "ToolCall",
    "ToolResult",
    "serve",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
