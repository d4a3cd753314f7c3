"""``chat``: a conversation in the terminal."""

from __future__ import annotations

import sys

import click

from meibel_integrations.cli import terminal
from meibel_integrations.cli.ask import print_sources, via_option
from meibel_integrations.cli.connection import Connection, ServiceChoice, connect, service_options
from meibel_integrations.cli.failures import describe
from meibel_integrations.cli.frameworks import Conversation, Framework, converse
from meibel_integrations.errors import MeibelIntegrationError

__all__ = ["chat"]

_HELP = "/sources shows the last answer's sources, /new starts a new conversation, /quit (or Ctrl-D) ends."


@click.command(short_help="Talk with an agent in the terminal.")
@service_options
@via_option
def chat(choice: ServiceChoice, via: Framework) -> None:
    """Talk with an agent: every question goes on where the last one ended.

    In the conversation, /sources shows what the last answer rests on, /new starts over, and /quit or Ctrl-D ends.

    \b
    Examples:
      meibel-integrations chat --docs docs/
      meibel-integrations chat --db handbook.db --agent handbook --via llamaindex
      MEIBEL_API_KEY=... meibel-integrations chat --agent-id agent_123
    """
    with connect(choice) as connection:
        if sys.stdin.isatty():
            terminal.dim(_HELP)
        _talk(connection, via)


def _talk(connection: Connection, via: Framework) -> None:
    conversation = converse(via, connection)
    while (said := _read()) is not None:
        if not said:
            continue
        if said in ("/quit", "/exit"):
            return
        if said == "/new":
            conversation = converse(via, connection)
            terminal.dim("A new conversation.")
        elif said == "/sources":
            _show_sources(conversation)
        elif said.startswith("/") and " " not in said and "/" not in said[1:]:
            terminal.line(f"There is no {said}. {_HELP}")
        else:
            _answer(conversation, said)


def _read() -> str | None:
    """The next line that the user types; ``None`` at the end."""
    try:
        # the prompt is for people only: behind a pipe, stdout holds nothing but answers
        return input("> " if sys.stdin.isatty() else "").strip()
    except EOFError:
        if sys.stdin.isatty():
            terminal.line()
        return None


def _answer(conversation: Conversation, question: str) -> None:
    try:
        terminal.stream(conversation.ask(question))
    except MeibelIntegrationError as error:
        # one failed turn does not end a conversation that a person is having
        if not sys.stdin.isatty():
            raise
        terminal.note(f"Error: {describe(error)}")
        return
    answer = conversation.answer
    if answer is not None and answer.sources:
        terminal.line()
        terminal.dim(_summary(conversation))
    terminal.line()


def _summary(conversation: Conversation) -> str:
    from meibel_integrations.rendering.citations import footnotes

    assert conversation.answer is not None
    cited = [note for note in footnotes(conversation.answer) if note.places] or footnotes(conversation.answer)
    return "  ".join(f"[{note.number}] {terminal.one_line(note.title)}" for note in cited)


def _show_sources(conversation: Conversation) -> None:
    if conversation.answer is None or not conversation.answer.sources:
        terminal.line("There are no sources to show.")
    else:
        print_sources(conversation.answer)
        terminal.line()
