"""The notebooks run as they are, in this interpreter, and say what they promise."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

import meibel_integrations

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


class ThisInterpreter(KernelSpecManager):
    """Every kernel is the running interpreter: an installed ``python3`` may belong to another environment."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        return KernelSpec(
            argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            display_name="this interpreter",
            language="python",
        )


class Kernel(AsyncKernelManager):
    """Made, and cleaned up, by the notebook client."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "kernel_spec_manager": ThisInterpreter(), "ip": "127.0.0.1"})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a notebook runs. Nothing of the user's own set-up takes part in it, and nothing is left there."""
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    # the package under test, installed or not
    monkeypatch.setenv("PYTHONPATH", str(Path(meibel_integrations.__file__).parents[1]))
    work = tmp_path / "work"
    work.mkdir()
    return work


def run(path: Path, folder: Path) -> dict[str, str]:
    """Runs a notebook and returns what each cell printed, by the cell's id. A cell that raises is an error."""
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    client = NotebookClient(
        notebook, kernel_manager_class=Kernel, timeout=60, resources={"metadata": {"path": str(folder)}}
    )
    asyncio.run(client.async_execute())
    assert list(folder.iterdir()) == []
    return {cell["id"]: printed(cell) for cell in notebook.cells if cell["cell_type"] == "code"}


def printed(cell: Any) -> str:
    errors = [output for output in cell["outputs"] if output.get("name") == "stderr"]
    assert errors == [], f"cell {cell['id']} wrote to stderr"
    return "".join(output.get("text", "") for output in cell["outputs"])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_traces(path: Path) -> None:
    """No outputs, no counters and no machine's names: a difference in a notebook is a difference in what it says."""
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}
    assert str(Path.home()) == "/" or str(Path.home()) not in path.read_text("utf-8")


def test_the_quickstart(folder: Path) -> None:
    shown = run(ROOT / "notebooks" / "01_quickstart.ipynb", folder)

    assert "30 days of paid holiday" in shown["langchain-invoke"]
    citation = shown["langchain-citations"]
    assert citation.startswith("Holidays, up to character ")
    assert "30 days of paid holiday" in citation

    assert "until the end of March" in shown["langchain-stream"]
    assert "the same session: True" in shown["langchain-stream"]
    assert "every three years" in shown["langchain-chain"]

    response, _, nodes = shown["llamaindex-chat"].rpartition("\n- Travel policy (")
    assert "Trips over 500 euros" in response
    assert nodes
    assert "more than four hours" in shown["llamaindex-stream"]
    assert "messages in the session: 4" in shown["llamaindex-stream"]

    assert "service desk in room 12" in shown["client"]
    assert "cited: Equipment" in shown["client"]
    assert "user: 'Where is broken equipment reported?'" in shown["client"]
