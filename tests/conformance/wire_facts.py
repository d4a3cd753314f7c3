"""Makes ``docs/fidelity.md`` from ``wire_facts.toml``: ``python -m tests.conformance.wire_facts``."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

__all__ = ["PAGE", "page", "read_facts"]

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "fidelity.md"
_FACTS = Path(__file__).with_name("wire_facts.toml")


def read_facts() -> dict[str, Any]:
    """The manifest: ``intro``, and ``fact`` with ``id``, ``part``, ``what``, ``source``, ``end`` and ``tests``."""
    return tomllib.loads(_FACTS.read_text("utf-8"))


def page() -> str:
    """The page as it has to be."""
    manifest = read_facts()
    lines = [manifest["intro"].strip()]
    part = None
    for fact in manifest["fact"]:
        if fact["part"] != part:
            part = fact["part"]
            lines += ["", f"## {part}", "", "| what | how it is known |", "|---|---|"]
        lines.append(f"| {fact['what']} | {fact['source']} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
