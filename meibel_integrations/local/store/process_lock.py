"""Who serves a database file: what tells a turn that died with its process from one that another process still runs.

Every serving instance holds a shared lock on ``<file>-serving``. Whoever can have it alone knows that no other
instance lives, also after ``kill -9``, because the system drops a dead process's locks.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

if sys.platform != "win32":
    import fcntl


class ProcessLock:
    """Held from ``acquire`` to ``release``. Where the system has no such locks (Windows), nobody else is assumed."""

    def __init__(self, database: str) -> None:
        self._path = f"{database}-serving"
        self._fd: int | None = None

    def acquire(self, when_alone: Callable[[], object]) -> None:
        """Take the lock; call ``when_alone`` first if no other instance serves the file."""
        if sys.platform == "win32":
            when_alone()
            return
        self._fd = fd = self._open_current()
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fcntl.flock(fd, fcntl.LOCK_SH)
        else:
            when_alone()
            fcntl.flock(fd, fcntl.LOCK_SH)

    def _open_current(self) -> int:
        """Open the lock file, and look again until it is not one that its last holder was just removing."""
        assert sys.platform != "win32"
        while True:
            fd = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            try:
                current = os.path.samestat(os.fstat(fd), os.stat(self._path))
            except FileNotFoundError:
                current = False  # removed between the two calls: the next round makes a new one
            if current:
                return fd
            os.close(fd)

    def release(self) -> None:
        """Let go; the last instance removes the file. Idempotent."""
        if self._fd is None or sys.platform == "win32":
            return
        fd, self._fd = self._fd, None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(self._path)
        except (BlockingIOError, FileNotFoundError):
            return  # somebody else serves on, or the file is gone already
        finally:
            os.close(fd)
