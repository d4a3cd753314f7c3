"""The lock that tells dead servers from living ones."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from meibel_integrations.local.store.process_lock import ProcessLock

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no such locks there")


def test_only_the_first_is_alone(tmp_path: Path) -> None:
    alone = []
    locks = [ProcessLock(str(tmp_path / "x.db")) for _ in range(3)]
    for number, lock in enumerate(locks):
        lock.acquire(lambda number=number: alone.append(number))
    assert alone == [0]
    for lock in locks:
        lock.release()
        lock.release()
    assert list(tmp_path.iterdir()) == []
    locks[1].acquire(lambda: alone.append(9))
    locks[1].release()
    assert alone == [0, 9]
