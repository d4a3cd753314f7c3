"""What the agent is doing, as custom events: for user interfaces that show it while it happens."""

from __future__ import annotations

import sys
from typing import Any

from langchain_core.callbacks import adispatch_custom_event, dispatch_custom_event

from meibel_integrations.models import ChatEvent, StatusEvent

__all__ = ["PROGRESS", "areport", "progress_of", "report"]

PROGRESS = "meibel_progress"
"""The events' name in ``astream_events``, and their key in LangGraph's ``custom`` stream."""


def progress_of(event: ChatEvent) -> dict[str, Any] | None:
    """What an event tells of the agent's work, ``None`` if nothing."""
    if isinstance(event, StatusEvent):
        return {"type": "status", "message": event.message}
    if event.tool is None:
        return None
    tool = event.tool
    told: dict[str, Any] = {"type": event.type, "id": tool.id, "name": tool.name}
    if event.type == "tool_result":
        return {**told, "output": tool.result, "is_error": tool.is_error}
    return {**told, "args": tool.arguments}


def report(progress: dict[str, Any] | None) -> None:
    """Tells whoever listens to the graph or chain that this runs in; a call on its own has no listeners."""
    if progress is None:
        return
    try:
        dispatch_custom_event(PROGRESS, progress)
    except RuntimeError:
        return
    _write(progress)


async def areport(progress: dict[str, Any] | None) -> None:
    """The async twin of :func:`report`."""
    if progress is None:
        return
    try:
        await adispatch_custom_event(PROGRESS, progress)
    except RuntimeError:
        return
    _write(progress)


def _write(progress: dict[str, Any]) -> None:
    langgraph = sys.modules.get("langgraph.config")  # where nothing imported it, no graph runs
    if langgraph is None:
        return
    try:
        langgraph.get_stream_writer()({PROGRESS: progress})
    except (RuntimeError, KeyError):
        return
