"""One application, moved from one service to the other by changing one line: what ``docs/meibel-and-llamacloud.md``
says, run as it is printed there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from meibel_integrations.local import LocalMeibel

PAGE = (Path(__file__).parents[1] / "docs" / "meibel-and-llamacloud.md").read_text(encoding="utf-8")
APPLICATIONS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
FACT = "# The lighthouse\n\nThe lighthouse was built by Ingrid Solberg in 1911.\n"


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalMeibel]:
    (tmp_path / "lighthouse.md").write_text(FACT, encoding="utf-8")
    with LocalMeibel(documents=[tmp_path]) as service:
        for prefix, url in (("MEIBEL", service.base_url), ("LLAMA_CLOUD", service.llama_cloud_base_url)):
            monkeypatch.setenv(f"{prefix}_API_KEY", service.api_key)
            monkeypatch.setenv(f"{prefix}_BASE_URL", url)
        yield service


def lines(application: str) -> list[str]:
    """One of the two services, as the page's comment says: the lines that name them are next to each other."""
    return [line for line in application.splitlines() if re.match(r"\s*(# )?(model|engine) = ", line)]


@pytest.mark.parametrize("application", APPLICATIONS, ids=["langchain", "llamaindex"])
def test_one_line_is_changed(application: str, local: LocalMeibel, capsys: pytest.CaptureFixture[str]) -> None:
    meibel, cloud = lines(application)
    assert "Meibel" in meibel
    assert cloud.startswith("# ")
    assert "LlamaCloud" in cloud
    said = []
    moved = application.replace(meibel, "# " + meibel).replace(cloud, cloud.removeprefix("# "))
    for code in (application, moved):
        code = code.replace("agent_123", local.agent_id).replace("index_123", local.index_id)
        exec(compile(code, "meibel-and-llamacloud.md", "exec"), {})
        said.append(capsys.readouterr().out)
    assert "Ingrid Solberg" in said[0]
    assert said[0] == said[1]
