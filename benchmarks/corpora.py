"""Documentation that every development environment has, written out as folders of files to ask questions about.

``reference`` is Python's language reference (``pydoc_data.topics``), ``packages`` the descriptions of the installed
distributions, ``library`` the docstrings of the standard library's modules.
"""

from __future__ import annotations

import inspect
import pkgutil
import sys
from collections.abc import Iterator
from email.message import Message
from importlib import import_module
from importlib.metadata import distributions
from pathlib import Path
from pydoc_data.topics import topics
from types import ModuleType
from typing import cast

_PACKAGES = (
    *("asyncio", "collections", "concurrent.futures", "email", "http", "importlib", "itertools", "json", "logging"),
    *("math", "time", "unittest", "unittest.mock", "urllib.parse", "urllib.request", "xml.etree.ElementTree"),
)
_UNWANTED = ("antigravity", "this", "idlelib", "turtledemo", "lib2to3", "test", "distutils", "pydoc_data")


def write_corpora(folder: Path) -> dict[str, Path]:
    """One folder for each set of documents, by name. A document's name is its file's name without the ending."""
    sets = {"reference": _reference, "packages": _packages, "library": _library}
    for name, documents in sets.items():
        (folder / name).mkdir()
        for file, text in documents():
            (folder / name / file).write_text(text, encoding="utf-8")
    return {name: folder / name for name in sets}


def _reference() -> Iterator[tuple[str, str]]:
    for name, text in topics.items():
        yield f"{name}.txt", text


def _packages() -> Iterator[tuple[str, str]]:
    for distribution in distributions():
        metadata = cast(Message, distribution.metadata)
        text = metadata["Description"] or metadata.get_payload()
        name = metadata["Name"]
        if isinstance(text, str) and len(text) > 500 and not name.startswith("meibel"):
            ending = "md" if "markdown" in (metadata["Description-Content-Type"] or "") else "rst"
            yield f"{name}.{ending}", text


def _library() -> Iterator[tuple[str, str]]:
    plain = {m.name for m in pkgutil.iter_modules() if m.name in sys.stdlib_module_names and not m.name.startswith("_")}
    for name in sorted((plain - set(_UNWANTED)) | set(_PACKAGES)):
        try:
            module = import_module(name)
        except Exception:  # noqa: BLE001 - a module of another platform, or of an interpreter built without it
            continue
        text = _module_text(name, module)
        if len(text) > 400:
            yield f"{name}.md", text


def _module_text(name: str, module: ModuleType) -> str:
    about = inspect.getdoc(module) or ""
    parts = [f"# {name}", about]
    for member, value in inspect.getmembers(module, lambda v: inspect.isroutine(v) or inspect.isclass(v)):
        doc = inspect.getdoc(value)
        if not member.startswith("_") and doc and _home(value) in ("", name.split(".")[0]):
            parts += [f"## {name}.{member}", doc]
            if inspect.isclass(value):
                for method, function in vars(value).items():
                    if not method.startswith("_") and inspect.isfunction(function) and function.__doc__:
                        parts += [f"### {member}.{method}", inspect.cleandoc(function.__doc__)]
    return "\n\n".join(parts)


def _home(value: object) -> str:
    """The package that a function or class was written for, without the underscore of its C half."""
    return (getattr(value, "__module__", None) or "").split(".")[0].lstrip("_")
