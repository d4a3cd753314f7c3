"""The blocks of docs/langchain.md run as they stand, one after the other, but for the ids and the other provider."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda

from meibel_integrations.langchain import ChatMeibel
from meibel_integrations.local import LocalMeibel

from .scripted import asking

PAGE = (Path(__file__).parents[2] / "docs" / "langchain.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
LIGHTHOUSE = "# The lighthouse\n\nIngrid Solberg built the lighthouse in 1848. The lighthouse is 31 metres high.\n"


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalMeibel]:
    (tmp_path / "lighthouse.md").write_text(LIGHTHOUSE, encoding="utf-8")
    with LocalMeibel(documents=[tmp_path]) as service:
        monkeypatch.setenv("MEIBEL_API_KEY", service.api_key)
        monkeypatch.setenv("MEIBEL_BASE_URL", service.base_url)
        yield service


def test_every_block_runs(local: LocalMeibel, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {
        "ChatOpenAI": lambda model: asking("ask_docs"),
        "retriever": RunnableLambda(lambda _: [Document("Somebody else's.")]),
        "format_docs": lambda documents: documents[0].page_content,
    }
    said: list[str] = []
    for number, block in enumerate(BLOCKS):
        try:
            exec(compile(block.replace("agent_123", local.agent_id), f"block {number}", "exec"), names)
        except Exception as error:
            raise AssertionError(f"block {number} of the page failed:\n{block}") from error
        said.append(capsys.readouterr().out)
    answers = [block for block in said if "Ingrid Solberg" in block]
    assert len(answers) >= 7
    assert "Ola" in next(out for block, out in zip(BLOCKS, said, strict=True) if "Ola" in block)
    assert "event: progress" in "".join(said)
    assert any("True False" in out for out in said)
    assert isinstance(names["model"], ChatMeibel)
    (first, second) = re.findall(
        r"'([0-9a-f-]{36})'", next(o for b, o in zip(BLOCKS, said, strict=True) if "thread_id" in b)
    )
    assert first == second


def test_every_built_in_middleware_is_in_the_table() -> None:
    from langchain.agents import middleware

    names = {name for name in middleware.__all__ if name.endswith("Middleware")} - {"AgentMiddleware"}
    assert {name for name in names if f"`{name}`" not in PAGE} == set()
