"""``serve``: the embedded service for other programs, until Ctrl-C."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from importlib import import_module
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import click

from meibel_integrations.cli import terminal
from meibel_integrations.cli.connection import (
    ServiceChoice,
    agent_of_database,
    check_documents,
    document_options,
    max_file_bytes,
    report_skipped,
)

if TYPE_CHECKING:
    from meibel_integrations.local import LocalMeibel

__all__ = ["serve"]

KEY_VARIABLE = "MEIBEL_LOCAL_API_KEY"


@click.command()
@document_options
@click.option("--host", default="127.0.0.1", show_default=True, help="What to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8321, show_default=True, help="The port; 0 takes a free one."
)
@click.option("--agent-id", metavar="ID", help="The agent's id.  [default: made from the folders' names]")
@click.option(
    "--key",
    metavar="KEY",
    envvar=KEY_VARIABLE,
    show_envvar=True,
    help="The key to accept; others on this machine can read it here, but not in the variable.  [default: a kept one]",
)
@click.option(
    "--dialect",
    type=click.Choice(["v2", "guide"]),
    default="v2",
    show_default=True,
    help="Answer as Meibel's SDK expects, or as its guide shows.",
)
@click.option(
    "--partials",
    type=click.Choice(["delta", "snapshot"]),
    default="delta",
    show_default=True,
    help="What each piece of a streamed answer carries: the new text, or everything so far.",
)
@click.option(
    "--model", help="Answer with a model: package.module:attribute, or a name such as openai:gpt-5 (needs langchain)."
)
@click.option("--open", "open_page", is_flag=True, help="Open the service's page in the browser.")
def serve(
    host: str,
    port: int,
    agent_id: str | None,
    key: str | None,
    dialect: Any,
    partials: Any,
    model: str | None,
    open_page: bool,
    **documents: Any,
) -> None:
    """Serve your documents over Meibel's API, until Ctrl-C.

    Only programs on this machine reach the service, unless --host says otherwise; a key of your own in
    MEIBEL_LOCAL_API_KEY is needed then. Without one, a key is made once, kept in a file that only you can read, and
    printed. The same folders have the same agent id at every start.

    \b
    Examples:
      meibel-integrations serve --docs docs/
      meibel-integrations serve --docs docs/ --db handbook.db --agent handbook --port 9000
      meibel-integrations serve --db handbook.db
    """
    choice = ServiceChoice(**documents)
    if not (choice.docs or choice.db):
        raise click.UsageError("Say what to serve: --docs DIR, or --db FILE for an ingested database.")
    from meibel_integrations.config import is_loopback

    if not key and not is_loopback(host):
        raise click.UsageError(
            f"--host {host} opens the service to the network: choose a key for it and set {KEY_VARIABLE} to it."
        )
    from meibel_integrations.local import serve as run

    agent = agent_of_database(choice)
    own_key = key or None
    if own_key is None:
        from meibel_integrations.cli.local_key import kept_key

        key = kept_key()

    def announce(local: LocalMeibel) -> None:
        report_skipped(local.ingest_report)
        check_documents(choice.docs, local.ingest_report)
        terminal.line(_announcement(local, agent, key_is_given=own_key is not None))
        if open_page and not local.open():
            terminal.line("There is no browser here that could be opened; use the link above.")

    with terminal.reading_progress() as progress:
        run(
            list(choice.docs) or None,
            host=host,
            port=port,
            on_ready=announce,
            database=choice.db or ":memory:",
            agent=agent,
            dialect=dialect,
            partials=partials,
            api_key=key,
            agent_id=agent_id,
            max_file_bytes=max_file_bytes(choice.max_file_mb),
            answerer=_load_model(model) if model else None,
            progress=progress,
        )


def _load_model(name: str) -> Any:
    """The model that ``--model`` names: an attribute of a module, or what LangChain knows under the name."""
    module, _, attribute = name.partition(":")
    sys.path.insert(0, os.getcwd())  # as python -m does: a module beside the documents is found
    with suppress(ImportError, AttributeError, ValueError):
        found = attrgetter(attribute)(import_module(module))
        return found() if callable(found) and not hasattr(found, "invoke") else found
    try:
        from langchain.chat_models import init_chat_model

        return init_chat_model(name)
    except ImportError as error:
        raise click.UsageError(
            f"--model {name}: there is no such attribute, and LangChain cannot load it: {error}"
        ) from None
    except Exception as error:
        raise click.UsageError(f"--model {name}: {error}") from error


def _announcement(local: LocalMeibel, agent: str, *, key_is_given: bool) -> str:
    report = local.ingest_report
    count = f"{report.documents + report.unchanged} documents" if report else "the database's documents"
    # a key that the user chose is not printed: terminals are logged and shown to others
    key = f"${KEY_VARIABLE}" if key_is_given else local.api_key
    return f"""Serving {count} as agent {agent!r} on {local.base_url} (Ctrl-C ends it)

  page      {local.page_link()}
            (this link opens once, within an hour; afterwards the page asks for the key)

  base URL  {local.base_url}
  agent id  {local.agent_id}
  key       {key}

  As LlamaCloud:
  base URL  {local.llama_cloud_base_url}
  index id  {local.index_id}

In another terminal:
  export MEIBEL_BASE_URL={local.base_url}
  export MEIBEL_API_KEY={key}
  meibel-integrations chat --agent-id {local.agent_id}

In Python, with these variables set:
  from meibel_integrations.langchain import ChatMeibel
  print(ChatMeibel(agent_id="{local.agent_id}").invoke("...").text)
"""
