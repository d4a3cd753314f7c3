"""Which files a folder offers: a walk that stays inside it, follows no loop and passes over junk."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from meibel_integrations.local.documents.report import Skipped

_JUNK_FOLDERS = frozenset(
    {"__pycache__", "node_modules", "site-packages", "venv", "bower_components", "CVS", "lost+found"}
)
_JUNK_SUFFIXES = (".pyc", ".pyo", ".map", ".min.js", ".min.css", "~", ".swp")


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A regular file: the path that names it, the real path to open, and its size when it was seen."""

    path: Path
    real: Path
    size: int


@dataclass(slots=True)
class FolderContents:
    """The outcome of a walk, in a stable order."""

    files: list[FoundFile] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    ignored: int = 0


def walk_folder(root: Path) -> FolderContents:
    """Everything below ``root`` (an existing, resolved folder). Links are followed to files inside ``root`` only."""
    walk = FolderContents()
    links: list[Path] = []
    for entry in _entries(root, walk):
        if entry.is_symlink():
            links.append(Path(entry.path))
            continue
        try:
            info = entry.stat(follow_symlinks=False)
        except OSError as error:
            walk.skipped.append(Skipped(entry.path, _reason(error)))
            continue
        if stat.S_ISREG(info.st_mode):
            path = Path(entry.path)
            walk.files.append(FoundFile(path, path, info.st_size))
        else:
            walk.skipped.append(Skipped(entry.path, "not a regular file (a socket, pipe or device)"))
    _add_links(root, links, walk)
    return walk


def find_file(path: Path) -> FoundFile | Skipped:
    """A single file that the user named."""
    try:
        real = path.resolve(strict=True)
        info = real.stat()
    except (OSError, RuntimeError) as error:
        return Skipped(str(path), _reason(error))
    if not stat.S_ISREG(info.st_mode):
        return Skipped(str(path), "not a regular file (a socket, pipe or device)")
    return FoundFile(real, real, info.st_size)


def _entries(folder: Path, walk: FolderContents) -> Iterator[os.DirEntry[str]]:
    """Files and links below a folder, in order of their names; depth first, without recursion."""
    pending = [str(folder)]
    while pending:
        current = pending.pop()
        try:
            with os.scandir(current) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError as error:
            walk.skipped.append(Skipped(current, _reason(error)))
            continue
        folders: list[str] = []
        for entry in entries:
            is_folder = entry.is_dir(follow_symlinks=False)
            if _is_junk(entry.name, is_folder):
                walk.ignored += 1
            elif is_folder:
                folders.append(entry.path)
            else:
                yield entry
        pending.extend(reversed(folders))


def _is_junk(name: str, is_folder: bool) -> bool:
    if name.startswith("."):
        return True
    if is_folder:
        return name in _JUNK_FOLDERS or name.endswith((".egg-info", ".dist-info"))
    return name.endswith(_JUNK_SUFFIXES)


def _add_links(root: Path, links: list[Path], walk: FolderContents) -> None:
    seen = {str(found.real) for found in walk.files}
    for link in links:
        try:
            real = link.resolve(strict=True)
            info = real.stat()
        except (OSError, RuntimeError) as error:
            broken = isinstance(error, FileNotFoundError)
            walk.skipped.append(Skipped(str(link), "a link to nothing" if broken else _reason(error)))
            continue
        if not real.is_relative_to(root):
            walk.skipped.append(Skipped(str(link), "a symbolic link that leads out of the folder; copy the file in"))
        elif stat.S_ISREG(info.st_mode) and str(real) not in seen:
            seen.add(str(real))
            walk.files.append(FoundFile(link, real, info.st_size))
        else:
            walk.ignored += 1  # its target is walked by itself


def _reason(error: OSError | RuntimeError) -> str:
    if isinstance(error, PermissionError):
        return "no permission to read it"
    if isinstance(error, FileNotFoundError):
        return "there is no such file or folder"
    if isinstance(error, RuntimeError) or getattr(error, "errno", None) == 40:
        return "a symbolic link that leads to itself"
    return f"cannot be read ({error.strerror or type(error).__name__})"
