"""A process that knows nothing yet, and no way to a network."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meibel_integrations.ledgers.memory import PROCESS_LEDGER

from . import tape

_PORTS = itertools.count(20_001)


@pytest.fixture(params=tape.paths(), ids=lambda path: f"{path.parent.name}-{path.stem}")
def cassette(request: pytest.FixtureRequest) -> Path:
    path = request.param
    assert isinstance(path, Path)
    return path


@pytest.fixture
def base_url() -> Iterator[str]:
    """An address that no cassette was recorded at, and another one for each test."""
    PROCESS_LEDGER.clear()  # every test plays the same sessions, each as a process that has just begun
    yield f"http://127.0.0.1:{next(_PORTS)}/v2"
    PROCESS_LEDGER.clear()


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every attempt to connect anywhere, all of which fail."""
    attempts: list[Any] = []

    def refuse(self: socket.socket, address: Any) -> None:
        attempts.append(address)
        raise ConnectionRefusedError(f"a replay connected to {address!r}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    return attempts
