"""Nothing in a cassette names a key, an account, a machine or a header that nobody allowed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from vcr.request import Request  # type: ignore[import-untyped]

from meibel_integrations.local import LocalMeibel

from . import record, tape

SECRETS = {
    "a key's header": r"(?i)meibel-api-key|authorization|x-api-key|\bbearer\s+\w",
    "a cookie": r"(?i)\bset-cookie\b|\bcookie\s*:",
    "a key in a query or a body": r"(?i)(api[-_]?key|token|secret|password)\"?\s*[=:]\s*[\"']?[A-Za-z0-9+/_-]{16,}",
    "a provider's key": r"\b(?:sk|pk|llx|mbl|meibel|ghp|gho|xox[abp]|AKIA)[-_](?=[A-Za-z_-]*\d)[A-Za-z0-9_-]{12,}",
    "a signed token": r"\beyJ[A-Za-z0-9_-]{10,}\.",
    "a folder of a machine": r"(?<![\w:./])/(?:home|Users|root|tmp|var|private|work|opt|mnt|srv|usr)/\w",
    "a Windows folder": r"(?i)\b[a-z]:\\+(?:users|temp|work)",
    "a file outside of the neutral folder": r"file://(?!/documents/[^/\s\"\\]+(?:[\s\"\\]|$))",
    "an address of a machine": r"\b127\.0\.0\.1\b|\blocalhost\b|\[::1\]|\b(?:10|192\.168)\.\d+\.\d+",
}


def offences(text: str) -> list[str]:
    return [name for name, pattern in SECRETS.items() if re.search(pattern, text)]


def test_there_are_cassettes() -> None:
    assert {path.name for path in tape.paths()} >= {"v2.yaml", "guide.yaml"}


def test_no_cassette_holds_a_secret_or_a_machine(cassette: Path) -> None:
    text = cassette.read_text("utf-8")
    assert offences(text) == []
    assert Path.home() == Path("/") or str(Path.home()) not in text
    assert str(tape.CASSETTES.parent) not in text


def test_no_cassette_holds_the_services_key(cassette: Path) -> None:
    with LocalMeibel(seed=record.SEED) as local:
        assert local.api_key not in cassette.read_text("utf-8")


def test_only_allowed_headers_and_the_placeholders_address_survive(cassette: Path) -> None:
    for interaction in tape.read(cassette)["interactions"]:
        assert set(interaction["request"]) == {"method", "uri", "body", "headers"}
        assert set(interaction["response"]) == {"status", "headers", "body"}
        assert set(interaction["request"]["headers"]) <= tape.REQUEST_HEADERS
        assert set(interaction["response"]["headers"]) <= tape.RESPONSE_HEADERS
        assert interaction["request"]["uri"].startswith(f"{tape.HOST}{tape.BASE_PATH}/")
        assert "?" not in interaction["request"]["uri"]


def test_a_cassette_says_where_it_comes_from(cassette: Path) -> None:
    first = cassette.read_text("utf-8").splitlines()[0]
    recorded = tape.read(cassette)["recorded"]
    assert recorded["from"] == f"{'local' if cassette.parent.name == 'local' else 'hosted'} service"
    assert first.startswith(f"# Recorded from the {recorded['from']}")


@pytest.mark.parametrize(
    "leak",
    [
        "meibel-api-key: x",
        "Authorization: Basic x",
        "?api_key=0123456789abcdef0123",
        '"access_token":"0123456789abcdef0123"',
        "sk-proj-0123456789abcdef",
        "eyJhbGciOiJIUzI1NiJ9.e30.x",
        "see /home/someone/notes.md",
        "see /Users/someone/notes.md",
        r"see C:\\Users\\someone",
        "file:///srv/data/notes.md",
        "file:///documents/deeper/notes.md",
        "http://127.0.0.1:8000/v2",
    ],
)
def test_the_search_finds_what_it_is_for(leak: str) -> None:
    assert offences(leak)


def test_the_scrubber_lets_only_named_things_through() -> None:
    scrubber = tape.Scrubber("http://127.0.0.1:4711/base/v2", {"k-123": "[key]", "agent_x": "agent_recorded"})
    sent = Request(
        "POST",
        "http://user:word@127.0.0.1:4711/base/v2/agents/agent_x/sessions?token=k-123",
        b'{"a":"k-123"}',
        {"Meibel-API-Key": "k-123", "Cookie": "a=b", "User-Agent": "me", "Accept": "application/json", "Host": "h"},
    )
    request = scrubber.request(sent)
    assert request.uri == "https://meibel.invalid/v2/agents/agent_recorded/sessions"
    assert request.body == b'{"a":"[key]"}'
    assert dict(request.headers) == {"accept": "application/json"}
    got: dict[str, Any] = {
        "status": {"code": 200, "message": "OK"},
        "headers": {"Set-Cookie": ["a=b"], "X-Request-Id": ["1"], "Content-Length": ["9"], "Content-Type": ["a/b"]},
        "body": {
            "string": b'{"url":"file:///srv/me/a%20b.md","at":"2027-03-04T05:06:07.891Z","in":"[file:///x/y.md]"}'
        },
    }
    response = scrubber.response(got)
    assert response["headers"] == {"content-type": ["a/b"]}
    assert response["body"]["string"] == (
        b'{"url":"file:///documents/a%20b.md","at":"2026-01-01T00:00:00.000Z","in":"[file:///documents/y.md]"}'
    )
    assert "Set-Cookie" in got["headers"]  # the caller's response stays whole


def test_a_recording_keeps_no_secret(tmp_path: Path) -> None:
    """The whole way: whatever a client sends and a service answers, the file holds none of it but the named headers."""
    target = tmp_path / "tape.yaml"
    with LocalMeibel(record.DOCUMENTS, seed=1) as local:
        scrubber = tape.Scrubber(local.base_url, {local.api_key: "[key]"})
        headers = {"Meibel-API-Key": local.api_key, "Authorization": "Bearer 0123456789", "X-Odd": "odd-value"}
        about = {"note": "A test.", "from": "local service"}
        with (
            tape.record(target, scrubber, about),
            httpx.Client(headers=headers, cookies={"c": "cookie-value"}, trust_env=False, verify=False) as http,
        ):
            url = f"{local.base_url}/agents/{local.agent_id}/sessions"
            assert http.get(url, params={"token": "query-value", "limit": "1"}).is_success
            session_id = http.post(url).json()["session_id"]
            answer = http.post(
                f"{local.base_url}/sessions/{session_id}/chat", json={"user_message": "Where do herons nest?"}
            )
            assert str(record.DOCUMENTS) in answer.text
        text = target.read_text("utf-8")
        assert offences(text) == []
        for secret in (local.api_key, "0123456789", "odd-value", "cookie-value", "query-value", str(record.DOCUMENTS)):
            assert secret not in text
        assert "herons.md" in text


def test_a_failed_recording_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "tape.yaml"
    target.write_text("the old one")
    with pytest.raises(ZeroDivisionError), tape.record(target, tape.Scrubber("http://h/v2"), {"note": ""}):
        raise ZeroDivisionError
    assert target.read_text() == "the old one"
    assert list(tmp_path.iterdir()) == [target]
