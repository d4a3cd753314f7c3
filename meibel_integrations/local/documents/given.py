"""What a program may give as documents: files and folders, texts by name, and the documents of other frameworks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

from meibel_integrations.errors import ConfigurationError


@runtime_checkable
class FrameworkDocument(Protocol):
    """A LangChain ``Document`` (with ``page_content``) or a LlamaIndex ``Document`` (with ``get_content()``)."""

    metadata: dict[str, Any]


PathLike: TypeAlias = str | Path
Documents: TypeAlias = PathLike | FrameworkDocument | Sequence[PathLike | FrameworkDocument] | Mapping[str, str]


@dataclass(frozen=True, slots=True)
class GivenText:
    """A document that is no file. ``name`` identifies it; with ``parsed``, its suffix tells the format of the text."""

    name: str
    text: str
    url: str
    title: str = ""
    parsed: bool = True


@dataclass(frozen=True, slots=True)
class GivenDocuments:
    """The documents of one agent, sorted by what they are."""

    paths: list[Path] = field(default_factory=list)
    texts: list[GivenText] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.paths or self.texts)

    def identity(self) -> list[str]:
        """What these documents are called, wherever a program is started."""
        return sorted([*(str(path.expanduser().resolve()) for path in self.paths), *(text.name for text in self.texts)])


def read_documents(documents: Documents | None) -> GivenDocuments:
    """Sort what a program gave.

    Raises:
        ConfigurationError: something is no document, or a path leads to nothing.
    """
    given = GivenDocuments()
    if documents is None:
        return given
    if isinstance(documents, Mapping):
        given.texts.extend(_named_texts(documents))
        return given
    several = documents if isinstance(documents, Sequence) and not isinstance(documents, str) else [documents]
    for each in several:
        if isinstance(each, str | Path):
            if not Path(each).expanduser().exists():
                raise ConfigurationError(
                    f"there is no file or folder {str(each)!r} to read documents from;"
                    ' texts are given by name: documents={"name.md": "text"}'
                )
            given.paths.append(Path(each))
        else:
            given.texts.append(_of_framework(each))
    return GivenDocuments(given.paths, _distinct(given.texts))


def _named_texts(texts: Mapping[str, str]) -> Iterator[GivenText]:
    for name, text in texts.items():
        if not isinstance(name, str) or not isinstance(text, str):
            raise ConfigurationError(
                f"documents= as a mapping holds texts by name, not {type(name).__name__} and {type(text).__name__}"
            )
        yield GivenText(name, text, f"document:{name}")


def _of_framework(document: Any) -> GivenText:
    text = getattr(document, "page_content", None)
    if text is None and callable(getattr(document, "get_content", None)):
        text = document.get_content()
    if not isinstance(text, str):
        raise ConfigurationError(
            f"{type(document).__name__} is no document: give paths, texts by name, or documents of LangChain or"
            " LlamaIndex"
        )
    about = getattr(document, "metadata", None) or {}
    source = next((about[key] for key in ("source", "url", "file_path", "file_name") if about.get(key)), None)
    # Ids of framework documents are mostly random; a digest is the same at every start.
    name = str(source) if source else f"document-{blake2b(text.encode(), digest_size=8).hexdigest()}"
    url = name if "://" in name else f"document:{name}"
    return GivenText(name, text, url, str(about.get("title") or ""), parsed=False)


def _distinct(texts: list[GivenText]) -> list[GivenText]:
    """Several pieces of one source get names of their own."""
    counts: dict[str, int] = {}
    named = []
    for text in texts:
        counts[text.name] = count = counts.get(text.name, 0) + 1
        name = text.name if count == 1 else f"{text.name}#{count}"
        named.append(replace(text, name=name))
    return named
