"""What a module offers is what its ``__all__`` says: sorted, importable, and all that other modules take from it."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import meibel_integrations

PACKAGE = Path(meibel_integrations.__file__).parent
SOURCES = {
    ".".join(("meibel_integrations", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.name != "__main__.py"
}
LISTING = [name for name, path in SOURCES.items() if "\n__all__ = " in path.read_text("utf-8")]
# what users and other layers import from; the local service's inner modules list nothing
MUST_LIST = ["", ".client", ".errors", ".langchain", ".llamaindex", ".local", ".models", ".protocol.sse"]


def taken() -> Iterator[tuple[str, str, str]]:
    """Every import of a name from one of our modules by another: from where, which, and by whom."""
    for user, path in SOURCES.items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module in SOURCES:
                for alias in node.names:
                    if f"{node.module}.{alias.name}" not in SOURCES:
                        yield node.module, alias.name, user


def order(name: str) -> tuple[int, str]:
    """Constants, then classes, then the rest, as ruff sorts them (RUF022)."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


def test_public_modules_say_what_they_offer() -> None:
    assert {f"meibel_integrations{name}" for name in MUST_LIST} <= set(LISTING)


@pytest.mark.parametrize("name", LISTING)
def test_all_is_sorted_and_importable(name: str) -> None:
    module = import_module(name)
    listed = list(module.__all__)
    assert listed == sorted(set(listed), key=order)
    assert [each for each in listed if not hasattr(module, each)] == []
    assert [each for each in listed if each.startswith("_") and each != "__version__"] == []


def test_all_is_complete() -> None:
    """Nothing that another module takes is missing from its own module's list."""
    missing = defaultdict(set)
    for name, each, user in taken():
        if name in LISTING and each not in import_module(name).__all__:
            missing[f"{name}.{each}"].add(user)
    assert dict(missing) == {}


def test_no_module_takes_what_is_private_to_another() -> None:
    private = [each for each in taken() if each[1].startswith("_") and not each[1].startswith("__")]
    assert private == []


@pytest.mark.parametrize("name", ["meibel_integrations", "meibel_integrations.local"])
def test_lazy_names_are_listed(name: str) -> None:
    module = import_module(name)
    assert set(module.__all__) <= set(dir(module))
    with pytest.raises(AttributeError, match="no attribute 'nothing_of_the_kind'"):
        _ = module.nothing_of_the_kind
