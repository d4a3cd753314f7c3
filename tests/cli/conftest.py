"""Documents, a service that stands for the hosted one, and an environment without the developer's own settings."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from meibel_integrations.local import LocalMeibel

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The developer's own settings reach no test, nor a process that it starts."""
    for name in ("MEIBEL_API_KEY", "MEIBEL_BASE_URL", "MEIBEL_LOCAL_API_KEY", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    path = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", str(ROOT) if path is None else f"{ROOT}{os.pathsep}{path}")


@pytest.fixture(autouse=True)
def _interruptible() -> None:
    """A suite that a script runs in the background ignores Ctrl-C, and its child processes would inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    (folder / "history").mkdir(parents=True)
    (folder / "install.md").write_text(
        "# Installing\n\nThe package is installed with pip. It needs Python 3.11 or newer.\n", encoding="utf-8"
    )
    (folder / "history" / "origin.md").write_text(
        "# Origin\n\nThe lighthouse of Kaldur was built in 1873 by Ingrid Solberg.\n", encoding="utf-8"
    )
    return folder


@pytest.fixture
def local(docs: Path) -> Iterator[LocalMeibel]:
    """A service that stands for the hosted one."""
    with LocalMeibel(docs, agent="docs") as service:
        yield service


@pytest.fixture
def hosted(local: LocalMeibel, monkeypatch: pytest.MonkeyPatch) -> LocalMeibel:
    monkeypatch.setenv("MEIBEL_API_KEY", local.api_key)
    monkeypatch.setenv("MEIBEL_BASE_URL", local.base_url)
    monkeypatch.setenv("LLAMA_CLOUD_API_KEY", local.api_key)
    monkeypatch.setenv("LLAMA_CLOUD_BASE_URL", local.llama_cloud_base_url)
    return local
