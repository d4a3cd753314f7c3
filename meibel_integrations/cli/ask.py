"""``ask``: one question, one answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from meibel_integrations.cli import terminal
from meibel_integrations.cli.connection import ServiceChoice, connect, service_options
from meibel_integrations.cli.frameworks import Framework, converse

if TYPE_CHECKING:
    from meibel_integrations.rendering.citations import CitedText

__all__ = ["ask", "print_sources", "via_option"]

via_option = click.option(
    "--via",
    type=click.Choice(["langchain", "llamaindex"]),
    default="langchain",
    show_default=True,
    help="The framework to ask through: ChatMeibel or MeibelChatEngine.",
)


@click.command(short_help="Ask one question of your documents or of a hosted agent.")
@click.argument("question", callback=terminal.typed)
@service_options
@via_option
def ask(question: str, choice: ServiceChoice, via: Framework) -> None:
    """Ask one question, and see the answer as it arrives and the sources it cites.

    The answer comes from your own documents, or from a hosted agent.

    \b
    Examples:
      meibel-integrations ask "How do I install it?" --docs docs/
      meibel-integrations ask "Who signed?" --docs contracts/ --docs letters/ --via llamaindex
      meibel-integrations ask "How do I install it?" --db handbook.db --agent handbook
      MEIBEL_API_KEY=... meibel-integrations ask "What changed in Q4?" --agent-id agent_123
    """
    with connect(choice) as connection:
        conversation = converse(via, connection)
        terminal.stream(conversation.ask(question))
        print_sources(conversation.answer)


def print_sources(answer: CitedText | None) -> None:
    """The sources below an answer that is on the screen."""
    from meibel_integrations.rendering.citations import sources_as_text

    if answer is not None and answer.sources:
        terminal.line()
        terminal.line(sources_as_text(answer))
