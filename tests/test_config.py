from __future__ import annotations

from typing import Any

import pytest

from meibel_integrations.config import RetryPolicy, Timeouts, is_loopback, resolve
from meibel_integrations.errors import ConfigurationError
from meibel_integrations.protocol.dialects.meibel import MeibelDialect

SERVICE = MeibelDialect()


def test_the_environment_fills_the_gaps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEIBEL_API_KEY", "from-env")
    monkeypatch.setenv("MEIBEL_BASE_URL", "https://env.test/v2/")
    found = resolve(SERVICE)
    assert (found.api_key.get_secret_value(), found.base_url) == ("from-env", "https://env.test/v2")
    given = resolve(SERVICE, api_key="given", base_url="https://given.test")
    assert (given.api_key.get_secret_value(), given.base_url) == ("given", "https://given.test")
    assert given.origin == "https://given.test"


def test_without_anything_the_hosted_service_is_meant() -> None:
    assert resolve(SERVICE, api_key="k").base_url == "https://api.meibel.ai/v2"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"api_key": None}, "MEIBEL_API_KEY"),
        ({"api_key": "  "}, "MEIBEL_API_KEY"),
        ({"api_key": "a\nb"}, "line breaks"),
        ({"api_key": "kéy"}, "non-ASCII"),
        ({"base_url": "x.test"}, "https://"),
        ({"base_url": "ftp://x.test"}, "https://"),
        ({"base_url": "https://"}, "https://"),
        ({"base_url": "https://x.test:port"}, "not a URL"),
        ({"base_url": "https://me:secret@x.test"}, "password"),
        ({"base_url": "https://x.test?a=1"}, "query"),
        ({"base_url": "http://x.test"}, "unencrypted"),
        ({"base_url": "http://localhost.x.test"}, "unencrypted"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": "soon"}, "timeout"),
        ({"max_retries": -1}, "max_retries"),
        ({"max_retries": True}, "max_retries"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_a_wrong_setting_is_told(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as caught:
        resolve(SERVICE, **{"api_key": "k-secret", **settings})
    assert "secret" not in str(caught.value)


def test_plain_http_is_for_this_machine_or_on_request() -> None:
    for url in ("http://127.0.0.1:8080/v2", "http://localhost:1", "http://[::1]:1", "http://127.9.9.9"):
        assert resolve(SERVICE, api_key="k", base_url=url).is_loopback
    assert not resolve(SERVICE, api_key="k", base_url="http://x.test", allow_insecure_http=True).is_loopback


@pytest.mark.parametrize(
    ("host", "inside"),
    [
        ("localhost", True),
        ("LocalHost", True),
        ("localhost.", True),
        ("a.localhost", True),
        ("[::1]", True),
        ("127.9.9.9", True),
        ("127.1", False),
        ("x", False),
        ("localhost.example", False),
        ("", False),
    ],
)
def test_what_stays_on_this_machine(host: str, inside: bool) -> None:
    assert is_loopback(host) == inside


def test_the_key_is_not_shown_and_settings_compare() -> None:
    found = resolve(SERVICE, api_key="k-secret", timeout=3)
    assert "k-secret" not in repr(found) + str(found)
    assert found == resolve(SERVICE, api_key="k-secret", timeout=Timeouts(idle=3))
    assert hash(found) == hash(resolve(SERVICE, api_key="k-secret", timeout=3))
    assert found != resolve(SERVICE, api_key="another", timeout=3)
    assert found.retry == RetryPolicy()
