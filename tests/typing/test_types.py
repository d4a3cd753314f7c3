"""A user's program passes the type checkers, and what frameworks read from our annotations is there."""

from __future__ import annotations

import asyncio
import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.tools import FunctionTool

from meibel_integrations.llamaindex import LlamaCloudChatEngine, MeibelChatEngine
from meibel_integrations.local import Delta, Done, LocalMeibel, ScriptedAnswerer

HERE = Path(__file__).parent
PROGRAM = HERE / "user_program.py"
ROOT = HERE.parent.parent
# without a file of settings: what a user's own project has is not ours
MYPY = ["mypy", "--strict", "--config-file=", "--cache-dir=.mypy_cache/user", str(PROGRAM)]
PYRIGHT = ["basedpyright", "--pythonpath", sys.executable, "-p", str(HERE)]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("checker", [MYPY, PYRIGHT], ids=["mypy --strict", "pyright"])
def test_a_users_program_passes(checker: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *checker], cwd=ROOT, capture_output=True, text=True, timeout=290, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_users_program_can_be_imported() -> None:
    assert importlib.import_module("tests.typing.user_program").client


@pytest.mark.parametrize(
    "engine",
    [MeibelChatEngine("a", api_key="k"), LlamaCloudChatEngine(["i"], api_key="k")],
    ids=["meibel", "llamacloud"],
)
def test_an_engines_verbs_are_functions_with_a_schema(engine: Any) -> None:
    for tool in (
        FunctionTool.from_defaults(fn=engine.chat),
        FunctionTool.from_defaults(async_fn=engine.achat),
        FunctionTool.from_defaults(fn=engine.chat, async_fn=engine.achat),
    ):
        assert tool.metadata.fn_schema is not None
        schema = tool.metadata.fn_schema.model_json_schema()
        assert schema["properties"]["message"]["type"] == "string"
        assert schema["required"] == ["message"]
        assert "message" in str(tool.metadata.get_parameters_dict())


def test_an_engines_verb_works_as_a_function() -> None:
    with LocalMeibel(answerer=ScriptedAnswerer([[Delta("Herons wait."), Done()]], repeat_last=True)) as local:
        settings: Any = {"agent_id": local.agent_id, "api_key": local.api_key, "base_url": local.base_url}
        with MeibelChatEngine.from_defaults(**settings) as engine:
            tool = FunctionTool.from_defaults(fn=engine.chat, async_fn=engine.achat)
            assert tool(message="What do herons do?").content == "Herons wait."

            async def ask() -> str:
                async with engine:
                    return (await tool.acall(message="What do herons do?")).content

            assert asyncio.run(ask()) == "Herons wait."
