"""``demo``: both frameworks ask an embedded agent about Python, in one session, with nothing but Python."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from meibel_integrations.cli import terminal
from meibel_integrations.cli.ask import print_sources
from meibel_integrations.cli.connection import Connection
from meibel_integrations.cli.failures import Failure
from meibel_integrations.cli.frameworks import Conversation, LangChainConversation, LlamaIndexConversation

__all__ = ["demo"]

_QUESTION = "What does the with statement do?"
_FOLLOW_UP = "And how does it handle exceptions?"


@click.command(short_help="See it work: two questions, two frameworks, one session.")
def demo() -> None:
    """See it work: two questions, two frameworks, one session.

    Starts the embedded service over the language reference that every Python carries, asks it one question through
    LangChain and a follow-up through LlamaIndex, and shows the answers with their sources. Needs no account and no
    network.
    """
    with _language_reference() as connection:
        first = LangChainConversation(connection)
        _ask("LangChain, ChatMeibel", first, _QUESTION)
        second = LlamaIndexConversation(connection, first.session_id)
        _ask("LlamaIndex, MeibelChatEngine, in the same session", second, _FOLLOW_UP)
        _show_session(connection, first.session_id, second.session_id)
    terminal.heading("Next")
    terminal.line('  meibel-integrations ask "your question" --docs path/to/documents')
    terminal.line("  meibel-integrations chat --docs path/to/documents")
    terminal.line("  (or python -m meibel_integrations ...; --help shows the rest)")


@contextmanager
def _language_reference() -> Iterator[Connection]:
    """The embedded service over ``pydoc_data.topics``."""
    from meibel_integrations.client import MeibelClient
    from meibel_integrations.local import LocalMeibel
    from meibel_integrations.local.documents.pydoc_topics import ingest_topics
    from meibel_integrations.local.store.database import Database
    from meibel_integrations.local.store.tenants import DEFAULT_TENANT

    with tempfile.TemporaryDirectory(prefix="meibel-demo-", ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "demo.db"
        with (
            LocalMeibel(database=path, agent="python") as local,
            MeibelClient(api_key=local.api_key, base_url=local.base_url) as client,
        ):
            with Database(path) as database:
                report = ingest_topics(database, DEFAULT_TENANT, local.agent_id)
            terminal.line(f"An embedded agent has read {report.documents} topics of Python's language reference.\n")
            yield Connection(client, local.agent_id, None)


def _ask(framework: str, conversation: Conversation, question: str) -> None:
    terminal.line(f"{framework}:", fg="cyan", bold=True)
    terminal.line(f"> {question}\n", bold=True)
    terminal.stream(conversation.ask(question))
    print_sources(conversation.answer)
    terminal.line()
    if conversation.answer is None or not conversation.answer.citations:
        raise Failure(f"The answer to {question!r} came without citations.")


def _show_session(connection: Connection, first: str | None, second: str | None) -> None:
    if first is None or first != second:
        raise Failure(f"The follow-up left the session: it began in {first}, and ended in {second}.")
    history = connection.client.sessions.get_session_messages(first)
    asked = sum(message.role == "user" for message in history)
    terminal.line(f"Session {first} holds {asked} user messages, one from each framework.\n")
