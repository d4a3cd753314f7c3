"""What somebody gets who installs the package: light to import, extras by name, typed, one version."""

from __future__ import annotations

import ast
import importlib.metadata
import subprocess
import sys
import tomllib
from importlib import import_module, resources
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import meibel_integrations

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
HEAVY = ("langchain_core", "llama_index", "httpx", "starlette", "uvicorn", "pydantic", "anyio", "asyncio", "sqlite3")

PUBLIC = {
    "meibel_integrations": ["AsyncMeibelClient", "MeibelClient", "__version__", "errors", "models"],
    "meibel_integrations.models": ["ChatMessageRequest"],
    "meibel_integrations.langchain": ["ChatMeibel"],
    "meibel_integrations.llamaindex": ["MeibelChatEngine"],
    "meibel_integrations.local": ["LocalMeibel", "ScriptedAnswerer"],
    "meibel_integrations.protocol.sse": ["SSEParser"],
    "meibel_integrations.errors": [
        "AgentTurnError",
        "MeibelIntegrationError",
        "PromptTooLongError",
        "RateLimitError",
        "SessionBusyError",
        "SessionEndedError",
        "StreamInterrupted",
        "TurnOutcomeUnknown",
    ],
}


def python(program: str) -> subprocess.CompletedProcess[str]:
    """Runs a program in a process of its own, where nothing is imported yet."""
    command = [sys.executable, "-c", program]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def loaded_by(statement: str) -> set[str]:
    """The top-level modules that a statement loads, beyond those that every process has."""
    program = f"import sys; before = set(sys.modules); {statement}; print(*(set(sys.modules) - before))"
    done = python(program)
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded_by("import meibel_integrations").isdisjoint(HEAVY)


def test_the_version_and_the_names_load_nothing_heavy() -> None:
    statement = "import meibel_integrations; meibel_integrations.__version__; dir(meibel_integrations)"
    assert loaded_by(statement).isdisjoint(HEAVY)


def test_a_client_loads_no_framework_and_no_server() -> None:
    loaded = loaded_by("from meibel_integrations import MeibelClient, AsyncMeibelClient")
    assert "httpx" in loaded
    assert loaded.isdisjoint({"langchain_core", "llama_index", "starlette", "uvicorn"})


@pytest.mark.parametrize(
    ("module", "others"),
    [
        ("langchain", {"llama_index", "starlette", "uvicorn"}),
        ("llamaindex", {"langchain_core", "starlette", "uvicorn"}),
        ("local", {"langchain_core", "llama_index", "httpx"}),
    ],
)
def test_one_part_does_not_load_another(module: str, others: set[str]) -> None:
    names = {"langchain": "ChatMeibel", "llamaindex": "MeibelChatEngine", "local": "LocalMeibel"}
    loaded = loaded_by(f"from meibel_integrations.{module} import {names[module]}")
    assert loaded.isdisjoint(others), loaded & others


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_import(module: str) -> None:
    loaded = import_module(module)
    for name in PUBLIC[module]:
        assert getattr(loaded, name) is not None
    if hasattr(loaded, "__all__"):
        assert set(PUBLIC[module]) <= set(loaded.__all__)


@pytest.mark.parametrize(
    ("module", "library", "extra"),
    [
        ("langchain", "langchain_core", "langchain"),
        ("llamaindex", "llama_index", "llamaindex"),
        ("llamaindex", "llama_index.core", "llamaindex"),
        ("local", "starlette", "local"),
        ("local", "uvicorn", "local"),
        ("local", "python_multipart", "local"),
    ],
)
@pytest.mark.parametrize("how", ["blocked", "not found"])
def test_a_missing_library_names_its_extra(module: str, library: str, extra: str, how: str) -> None:
    """As where it was never installed (no finder finds it), and as where somebody has blocked it."""
    hide = {
        "blocked": f"sys.modules[{library!r}] = None",
        "not found": (
            "find = importlib.machinery.PathFinder.find_spec; "
            "importlib.machinery.PathFinder.find_spec = classmethod("
            f"lambda cls, name, *rest: None if name == {library!r} else find(name, *rest))"
        ),
    }[how]
    program = f"""
import importlib.machinery, sys
{hide}
import meibel_integrations
try:
    import meibel_integrations.{module}
except ImportError as error:
    print(error)
else:
    raise SystemExit("it was imported")
"""
    done = python(program)
    assert done.returncode == 0, done.stderr or done.stdout
    assert f"meibel-integrations[{extra}]" in done.stdout


def test_the_package_says_that_it_is_typed() -> None:
    assert resources.files("meibel_integrations").joinpath("py.typed").is_file()


def test_there_is_one_version() -> None:
    assert PROJECT["version"] == meibel_integrations.__version__


def test_the_installed_version_is_that_one() -> None:
    try:
        installed = importlib.metadata.version("meibel-integrations")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(reason="the package is used from its source tree")
    assert installed == meibel_integrations.__version__


def test_extras_are_what_the_messages_name() -> None:
    extras = set(PROJECT["optional-dependencies"])
    assert extras >= {"langchain", "llamaindex", "local", "cli", "all"}
    core = {Requirement(line).name for line in PROJECT["dependencies"]}
    brought_along = {
        Requirement(line).name.replace("_", "-")
        for name in ("httpx", "pydantic")
        for line in importlib.metadata.requires(name) or ()
    }
    assert core - brought_along == {"httpx", "pydantic"}


def test_everything_that_is_imported_is_declared() -> None:
    lines = [*PROJECT["dependencies"], *(line for extra in PROJECT["optional-dependencies"].values() for line in extra)]
    declared = {Requirement(line).name.lower().replace("_", "-") for line in lines}
    imported = set()
    for path in (ROOT / "meibel_integrations").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add((node.module or "").partition(".")[0])
    brings = importlib.metadata.packages_distributions()
    # `serve --model openai:…` asks for langchain by name, and says so where it is missing
    foreign = imported - sys.stdlib_module_names - {"meibel_integrations", "langchain"}
    undeclared = {
        name for name in foreign if not {each.lower().replace("_", "-") for each in brings.get(name, [name])} & declared
    }
    assert undeclared == set()
