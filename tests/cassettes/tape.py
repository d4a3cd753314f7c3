"""How conversations are put on tape and played: what survives in a cassette, and what a request has to match.

Everything is dropped but what is named here, so that what nobody thought of is dropped too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import vcr  # type: ignore[import-untyped]
import yaml  # type: ignore[import-untyped]
from vcr.request import Request  # type: ignore[import-untyped]

__all__ = ["CASSETTES", "HOST", "REQUEST_HEADERS", "RESPONSE_HEADERS", "Scrubber", "paths", "play", "read", "record"]

CASSETTES = Path(__file__).parents[2] / "cassettes"
HOST = "https://meibel.invalid"
"""Stands for whatever the service was reached by. Names under ``.invalid`` are never resolved (RFC 2606)."""
BASE_PATH = "/v2"
REQUEST_HEADERS = frozenset({"accept", "content-type"})
RESPONSE_HEADERS = frozenset({"content-type", "retry-after"})

_FILE_URI = re.compile(r"file://[^\s\"'\\<>]*/")
_NEUTRAL_FOLDER = "file:///documents/"
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?P<fraction>\.\d+)?")


class Scrubber:
    """Removes from requests and responses what names a machine, an account or a moment.

    Args:
        base_url: where the service is, with the path that all its routes begin with.
        names: further texts to replace, wherever they occur in bodies and paths.
    """

    def __init__(self, base_url: str, names: dict[str, str] | None = None) -> None:
        self._base_path = urlsplit(base_url).path.rstrip("/")
        self._names = {old: new for old, new in (names or {}).items() if old}

    def request(self, request: Request) -> Request:
        """The request with the placeholder's address, without query, and with the named headers only."""
        path = BASE_PATH + self.text(urlsplit(request.uri).path.removeprefix(self._base_path))
        headers = {name.lower(): value for name, value in request.headers.items() if name.lower() in REQUEST_HEADERS}
        body = request.body
        if body:
            body = self.text(body.decode()).encode()
        return Request(request.method, HOST + path, body, headers)

    def response(self, response: dict[str, Any]) -> dict[str, Any]:
        """The response with the named headers only. Its length is among those that go, as its body changes."""
        headers = {
            name.lower(): values for name, values in response["headers"].items() if name.lower() in RESPONSE_HEADERS
        }
        body = self.text(response["body"]["string"].decode()).encode()
        return {"status": response["status"], "headers": headers, "body": {"string": body}}

    def text(self, text: str) -> str:
        """Times keep their form, as it is the wire's; files keep their names."""
        for old, new in self._names.items():
            text = text.replace(old, new)
        return _TIME.sub(_same_moment, _FILE_URI.sub(_NEUTRAL_FOLDER, text))


def _same_moment(found: re.Match[str]) -> str:
    fraction = found["fraction"] or ""
    return "2026-01-01T00:00:00" + fraction[:1] + "0" * len(fraction[1:])


class _Serializer:
    """YAML that a reviewer can read: what it is on top, and bodies as blocks of text."""

    def __init__(self, about: dict[str, Any] | None = None) -> None:
        self._about = about

    def serialize(self, cassette: dict[str, Any]) -> str:
        assert self._about is not None
        comment = "".join(f"# {line}\n" for line in self._about["note"].splitlines())
        about = {key: value for key, value in self._about.items() if key != "note"}
        whole = {"recorded": about, **cassette}
        text = yaml.dump(whole, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1_000_000)
        return f"{comment}{text}"

    def deserialize(self, text: str) -> Any:
        return yaml.safe_load(text)


class _Dumper(yaml.SafeDumper):  # type: ignore[misc] # PyYAML is untyped
    """Texts of several lines are written as blocks."""


def _text_node(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text_node)


def _machine(scrubber: Scrubber, mode: str, serializer: _Serializer) -> vcr.VCR:
    machine = vcr.VCR(
        record_mode=mode,
        match_on=["method", "path", "body"],
        before_record_request=scrubber.request,
        before_record_response=scrubber.response,
        decode_compressed_response=True,
    )
    machine.register_serializer("readable", serializer)
    machine.serializer = "readable"
    return machine


@contextmanager
def record(target: Path, scrubber: Scrubber, about: dict[str, Any]) -> Iterator[None]:
    """Records what happens inside to a file. ``about`` becomes its head; its ``note`` a comment."""
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_suffix(".recording")
    fresh.unlink(missing_ok=True)
    try:
        with _machine(scrubber, "once", _Serializer(about)).use_cassette(str(fresh)):
            yield
        fresh.replace(target)
    finally:
        fresh.unlink(missing_ok=True)


@contextmanager
def play(source: Path, base_url: str) -> Iterator[Any]:
    """Answers every request inside from a file, each recorded answer once; anything else is an error.

    Yields:
        vcrpy's cassette; ``play_count`` says how many answers were taken.
    """
    with _machine(Scrubber(base_url), "none", _Serializer()).use_cassette(str(source)) as cassette:
        yield cassette


def paths() -> list[Path]:
    """All cassettes."""
    return sorted(CASSETTES.rglob("*.yaml"))


def read(source: Path) -> dict[str, Any]:
    """A cassette as it is written: ``recorded`` and ``interactions``."""
    found = yaml.safe_load(source.read_text("utf-8"))
    assert isinstance(found, dict)
    return found
