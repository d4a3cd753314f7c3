"""The README's snippets run as they stand, but for the ids and the folder; its commands and options exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from meibel_integrations.cli.app import commands
from meibel_integrations.local import LocalMeibel

from .conftest import ROOT

PAGES = {
    name: (ROOT / name).read_text(encoding="utf-8")
    for name in ("README.md", "docs/command-line.md", "docs/meibel-and-llamacloud.md", "docs/fidelity.md")
}
SNIPPETS = re.findall(r"^## ([^\n]+)\n(?:(?!^## ).)*?```python\n(.*?)```", PAGES["README.md"], re.MULTILINE | re.DOTALL)
COMMANDS = [
    line.removeprefix("$ ").partition("#")[0].strip()
    for page in PAGES.values()
    for block in re.findall(r"```console\n(.*?)```", page, re.DOTALL)
    for line in block.splitlines()
    if "meibel-integrations " in line and "pip" not in line.split()[0]
]


@pytest.mark.parametrize("snippet", [code for _, code in SNIPPETS], ids=[title for title, _ in SNIPPETS])
def test_a_snippet_runs(
    snippet: str, hosted: LocalMeibel, docs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(docs.parent)
    snippet = snippet.replace("agent_123", hosted.agent_id).replace("index_123", hosted.index_id)
    exec(compile(snippet, "README.md", "exec"), {})
    said = capsys.readouterr().out
    assert "Ingrid Solberg" in said
    assert "False" not in said


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_line_is_understood(line: str) -> None:
    words = [word for word in shlex.split(line) if "=" not in word]
    assert words.pop(0) == "meibel-integrations"
    command: click.Command = commands
    while isinstance(command, click.Group):
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


def test_links_lead_somewhere() -> None:
    for name, page in PAGES.items():
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page):
            assert ((ROOT / name).parent / target).is_file(), target


def test_the_readme_begins_with_the_two_commands() -> None:
    assert re.findall(r"^make (\w+)", PAGES["README.md"], re.MULTILINE) == ["demo", "test"]
    assert PAGES["README.md"].index("make demo") < 100


def test_the_snippet_with_a_model_runs(
    docs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(docs.parent)
    page = (ROOT / "docs" / "local-answers.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(compile(snippet, "local-answers.md", "exec"), {})
    assert capsys.readouterr().out == "It burned whale oil.\n"
