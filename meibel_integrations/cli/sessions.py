"""``sessions``: the guide's own calls, one command each, through ``MeibelClient``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meibel_integrations.cli import terminal
from meibel_integrations.cli.connection import hosted_client, hosted_options

if TYPE_CHECKING:
    from pydantic import BaseModel

    from meibel_integrations.client import MeibelClient
    from meibel_integrations.models import ChatEvent, Session

__all__ = ["sessions"]


def _with_client(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that every call takes; the command gets an open client and ``as_json``."""

    @wraps(command)
    def connected(base_url: str | None, allow_insecure_http: bool, **options: Any) -> Any:
        with hosted_client(base_url, allow_insecure_http=allow_insecure_http) as client:
            return command(client=client, **options)

    as_json = click.option("--json", "as_json", is_flag=True, help="JSON for programs; one object per line for lists.")
    return hosted_options(as_json(connected))


@click.group(short_help="The service's own calls: create, send, stream, messages, show, list.")
def sessions() -> None:
    """Create sessions, send messages, read them back: the service's own calls.

    The key comes from MEIBEL_API_KEY, the address from MEIBEL_BASE_URL or --base-url.

    \b
    Examples:
      meibel-integrations sessions create agent_123
      meibel-integrations sessions stream SESSION_ID "What are the key findings?"
      meibel-integrations sessions messages SESSION_ID --json
    """


@sessions.command()
@click.argument("agent")
@click.option("--by-name", is_flag=True, help="AGENT is a name, not an id.")
@_with_client
def create(client: MeibelClient, agent: str, by_name: bool, as_json: bool) -> None:
    """Open a session with AGENT and print its id."""
    session = client.agents.create_session(**{"agent_name" if by_name else "agent_id": agent})
    if as_json:
        _print_json(session)
    else:
        terminal.line(session.id)


@sessions.command()
@click.argument("session_id", metavar="ID")
@click.argument("text", callback=terminal.typed)
@_with_client
def send(client: MeibelClient, session_id: str, text: str, as_json: bool) -> None:
    """Send TEXT to session ID and print the whole answer with its sources."""
    reply = client.sessions.send_chat_message(session_id, user_message=text)
    if as_json:
        _print_json(reply)
        return
    from meibel_integrations.rendering.citations import CitedText, as_text

    terminal.line(as_text(CitedText.from_reply(reply)))


@sessions.command()
@click.argument("session_id", metavar="ID")
@click.argument("text", callback=terminal.typed)
@click.option(
    "--file",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file to send along; may be repeated.",
)
@_with_client
def stream(client: MeibelClient, session_id: str, text: str, files: tuple[Path, ...], as_json: bool) -> None:
    """Send TEXT to session ID and print the answer as it arrives.

    With --json every event is a line.
    """
    with client.sessions.send_chat_message_stream(session_id, user_message=text, files=files or None) as events:
        if as_json:
            for event in events:
                terminal.line(json.dumps(_event_json(event)))
            return
        terminal.stream(_deltas(events))
        assert events.reply is not None  # a stream without its end is an error before this
        reply = events.reply
    from meibel_integrations.rendering.citations import CitedText, sources_as_text

    if reply.sources:
        terminal.line()
        terminal.line(sources_as_text(CitedText.from_reply(reply)))


@sessions.command()
@click.argument("session_id", metavar="ID")
@click.option("--tools", is_flag=True, help="The agent's own tool calls, too.")
@_with_client
def messages(client: MeibelClient, session_id: str, tools: bool, as_json: bool) -> None:
    """Print the messages of session ID, oldest first."""
    for message in client.sessions.get_session_messages(session_id, include_tools=tools):
        if as_json:
            _print_json(message)
            continue
        terminal.line(f"{message.role}  {_time(message.timestamp)}".rstrip(), bold=True)
        terminal.line((message.message or message.tool_name or "").rstrip() + "\n")


@sessions.command()
@click.argument("session_id", metavar="ID")
@_with_client
def show(client: MeibelClient, session_id: str, as_json: bool) -> None:
    """Print the details of session ID."""
    session = client.sessions.get_session(session_id)
    if as_json:
        _print_json(session)
        return
    details = {
        "session": session.id,
        "agent": " ".join(part for part in (session.agent_id, session.agent_name) if part),
        "status": session.status,
        "created": _time(session.created_at),
        "ended": _time(session.ended_at),
        "messages": session.messages_count,
    }
    for name, value in details.items():
        if value not in (None, ""):
            terminal.line(f"{name:<9} {value}")


@sessions.command("list")
@click.argument("agent")
@click.option("--limit", type=click.IntRange(min=1), help="Stop after so many.")
@_with_client
def list_sessions(client: MeibelClient, agent: str, limit: int | None, as_json: bool) -> None:
    """List the sessions of AGENT, one per line: id, creation time, status."""
    for count, session in enumerate(client.agents.list_sessions(agent), start=1):
        if as_json:
            _print_json(session)
        else:
            terminal.line(_session_line(session))
        if count == limit:
            return


def _session_line(session: Session) -> str:
    return "  ".join(part for part in (session.id, _time(session.created_at), session.status) if part)


def _deltas(events: Iterator[ChatEvent]) -> Iterator[str]:
    for event in events:
        if event.type == "content":
            yield event.delta
        elif event.type == "warning":
            terminal.note(f"Warning: {event.message}")


def _event_json(event: ChatEvent) -> dict[str, Any]:
    """What is set of an event, under the names that the Python object has."""
    found: dict[str, Any] = {"type": event.type}
    if event.delta:
        found["delta"] = event.delta
    if event.type == "citations":
        found["citations"] = [citation.model_dump(mode="json") for citation in event.citations]
        found["sources"] = [source.model_dump(mode="json") for source in event.sources]
    if event.reply is not None:
        found["reply"] = event.reply.model_dump(mode="json")
    if event.tool is not None:
        found["tool"] = event.tool.model_dump(mode="json")
    if event.signal_id is not None:
        found["signal_id"] = event.signal_id
    if event.message:
        found["message"] = event.message
    return found


def _print_json(model: BaseModel) -> None:
    # ASCII only: exact for programs, and without anything that a terminal would obey
    terminal.line(json.dumps(model.model_dump(mode="json")))


def _time(time: datetime | None) -> str:
    return "" if time is None else time.astimezone().isoformat(sep=" ", timespec="seconds")
