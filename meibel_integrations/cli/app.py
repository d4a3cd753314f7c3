"""All commands, and what is the same for each of them."""

from __future__ import annotations

from typing import Any

import click

from meibel_integrations import __version__
from meibel_integrations.cli.ask import ask
from meibel_integrations.cli.chat import chat
from meibel_integrations.cli.demo import demo
from meibel_integrations.cli.documents import documents
from meibel_integrations.cli.failures import reported
from meibel_integrations.cli.ingest import ingest
from meibel_integrations.cli.serve import serve
from meibel_integrations.cli.sessions import sessions

__all__ = ["commands"]


class Commands(click.Group):
    """Reports failures the same way for every command, and lists the commands in the order of first use."""

    def invoke(self, ctx: click.Context) -> Any:
        with reported():
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(
    cls=Commands,
    commands=[demo, ask, chat, serve, ingest, documents, sessions],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, message="meibel-integrations %(version)s")
def commands() -> None:
    """Ask hosted RAG agents, or an embedded one over your own documents.

    \b
    Start here, without an account or a network:
      meibel-integrations demo
      meibel-integrations ask "How do I install it?" --docs docs/

    \b
    With an account, set MEIBEL_API_KEY and name the agent:
      meibel-integrations chat --agent-id agent_123
    """
