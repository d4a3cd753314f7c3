"""Each block of ``docs/llamaindex.md`` runs as it stands, but for the ids."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from meibel_integrations.local import LocalMeibel

PAGE = (Path(__file__).parents[2] / "docs" / "llamaindex.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
TITLES = [re.findall(r"^## (.*)$", PAGE[: PAGE.index(block)], re.MULTILINE)[-1] for block in BLOCKS]


@pytest.fixture
def agent_id(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    (tmp_path / "lighthouse.md").write_text("# Lighthouse\n\nIngrid Solberg keeps the lighthouse since 1987.\n")
    with LocalMeibel(documents=[tmp_path]) as local:
        monkeypatch.setenv("MEIBEL_API_KEY", local.api_key)
        monkeypatch.setenv("MEIBEL_BASE_URL", local.base_url)
        yield local.agent_id


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("block", BLOCKS, ids=TITLES)
def test_a_block_runs(block: str, agent_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    exec(compile(block.replace("agent_123", agent_id), "llamaindex.md", "exec", dont_inherit=True), names)
    if "app" in names:
        with TestClient(names["app"]) as http:
            for path in ("/ask", "/aask"):
                answer = http.get(path, params={"question": "Who keeps the lighthouse?"})
                print(answer.text)
                again = {"question": "And since when?", "session_id": answer.headers["X-Session"]}
                assert http.get(path, params=again).headers["X-Session"] == answer.headers["X-Session"]
    assert "Ingrid Solberg" in capsys.readouterr().out
