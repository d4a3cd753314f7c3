"""The child process that reads one document: its name as argument, its bytes on standard input.

It prints a line of JSON for the title, or for the reason why there is none, and one line for each passage. It limits
its own memory and time before it looks at the file.
"""

from __future__ import annotations

import json
import sys
from dataclasses import astuple

from meibel_integrations.local.documents.chunking import chunk
from meibel_integrations.local.documents.extract import extract
from meibel_integrations.local.documents.reading import UnreadableError

_MEMORY = 1 << 30
_CPU_SECONDS = 50


def limit_resources() -> None:
    """Cap memory and processor time where the platform can."""
    try:
        import resource
    except ImportError:  # Windows: the parent's clock is the only limit
        return
    for kind, amount in ((resource.RLIMIT_AS, _MEMORY), (resource.RLIMIT_CPU, _CPU_SECONDS)):
        _, hard = resource.getrlimit(kind)
        ceiling = amount if hard == resource.RLIM_INFINITY else min(amount, hard)
        try:
            resource.setrlimit(kind, (ceiling, hard))
        except (ValueError, OSError):  # macOS refuses RLIMIT_AS
            continue


def main(name: str) -> None:
    """Read one document from standard input."""
    limit_resources()
    try:
        document = extract(name, sys.stdin.buffer.read())
        print(json.dumps({"title": document.title}))  # noqa: T201 - the parent reads it
        for passage in chunk(document):
            print(json.dumps(astuple(passage)))  # noqa: T201
    except UnreadableError as error:
        print(json.dumps({"error": str(error)}))  # noqa: T201
    except MemoryError:
        print(json.dumps({"error": "it needs too much memory to read"}))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1])
