"""The key of the embedded service that ``serve`` makes once and keeps in a file of the user's."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from platformdirs import user_config_path

__all__ = ["kept_key", "key_file"]


def key_file() -> Path:
    """Where the key is kept."""
    return user_config_path("meibel-integrations") / "local-service-key"


def kept_key() -> str:
    """The key, which is made at the first call; only the user can read its file.

    Where no file can be kept, the key is a new one each time.
    """
    path = key_file()
    key = f"mbl_local_{secrets.token_hex(16)}"
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (
            contextlib.suppress(FileExistsError),
            open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file,
        ):
            file.write(f"{key}\n")
            return key
        kept = path.read_text("utf-8", "replace").strip()
        if kept.isascii() and kept.isprintable() and kept:
            path.chmod(0o600)
            return kept
    return key
