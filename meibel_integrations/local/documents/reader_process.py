"""Reading a document in a child process with limits: a hostile file harms nothing but itself.

A large file, too, is read there: whatever takes long in this process holds up everybody whom it serves.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

from meibel_integrations.local.documents.reading import UnreadableError
from meibel_integrations.local.store.documents import PassageRecord

_SECONDS = 60
_WORKER = "meibel_integrations.local.documents.reader_worker"


def read_apart(name: str, content: bytes) -> tuple[str, list[PassageRecord]]:
    """The title and the passages of a document.

    Raises:
        UnreadableError: there is no text to be had from it, or not within the limits.
    """
    try:
        done = subprocess.run(  # noqa: S603 - our own module, no shell
            [sys.executable, "-P", "-m", _WORKER, name],
            input=content,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONIOENCODING": "utf-8"},
        )
    except subprocess.TimeoutExpired:
        raise UnreadableError(f"it could not be read within {_SECONDS} seconds") from None
    first, *rest = done.stdout.splitlines() or [b"{}"]
    answer = json.loads(first)
    if done.returncode or "title" not in answer:
        raise UnreadableError(answer.get("error") or "it is broken, or needs too much time or memory to read")
    # Line by line: one long document at once would hold up all other threads.
    return answer["title"], [PassageRecord(*json.loads(line)) for line in rest]
