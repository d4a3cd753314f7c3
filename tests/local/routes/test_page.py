"""The page's files: what is served, under which policy, how large they are, and how the key gets there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path

import httpx
import pytest

from meibel_integrations.local import LocalMeibel, ScriptedAnswerer
from meibel_integrations.local.page_tokens import PageTokens
from meibel_integrations.local.routes.page import assets

FOLDER = Path(str(resources.files("meibel_integrations.local"))) / "page"


@pytest.fixture
def local(start: Callable[..., LocalMeibel]) -> LocalMeibel:
    return start(answerer=ScriptedAnswerer([]))


@pytest.fixture
def http(local: LocalMeibel) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=local.llama_cloud_base_url, trust_env=False, verify=False) as client:
        yield client


def test_the_page_and_its_files_hold_no_secret_and_run_nothing_foreign(local: LocalMeibel, http: httpx.Client) -> None:
    for path in ("/", *(f"/page/{name}" for name in assets())):
        response = http.get(path)
        assert response.status_code == 200
        assert local.api_key not in response.text
        policy = response.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy
        assert "*" not in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert local.request_log() == []


@pytest.mark.parametrize("path", ["/page/nothing.js", "/page/vendored.json", "/page/..%2fapp.py", "/page/../app.py"])
def test_nothing_else_is_served(http: httpx.Client, path: str) -> None:
    assert http.get(path).status_code == 404


def test_all_files_together_are_small() -> None:
    assert sum(map(len, assets().values())) <= 150_000


def test_vendored_files_are_those_that_the_record_names() -> None:
    record = json.loads((FOLDER / "vendored.json").read_text("utf-8"))
    assert {item["file"] for item in record} == {"marked.esm.js", "purify.min.js"}
    for item in record:
        content = (FOLDER / item["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == item["sha256"]
        assert item["version"] in content[:400].decode()
        assert (FOLDER / item["licence_file"]).is_file()


def test_the_pictures_of_the_page_are_small() -> None:
    pictures = list((Path(__file__).parents[3] / "docs" / "images").glob("page-*.png"))
    assert pictures
    assert all(picture.stat().st_size < 200_000 for picture in pictures)


def test_no_file_names_another_host() -> None:
    for name, content in assets().items():
        if name not in ("marked.esm.js", "purify.min.js"):
            text = content.decode().replace("http://www.w3.org/2000/svg", "")
            assert "://" not in text.replace("/^file:\\/\\//", ""), name


# The key


def trade(http: httpx.Client, token: object, **headers: str) -> httpx.Response:
    return http.post("/_local/key", json={"token": token}, headers=headers)


def token_of(link: str) -> str:
    return link.partition("#token=")[2]


def test_a_token_is_traded_for_the_key_once(local: LocalMeibel, http: httpx.Client) -> None:
    link = local.page_link()
    assert link.startswith(f"{local.llama_cloud_base_url}/#token=")
    assert local.api_key not in link
    first = trade(http, token_of(link))
    assert first.json() == {"key": local.api_key}
    assert first.headers["Cache-Control"] == "no-store"
    for wrong in (token_of(link), "", "wröng", "\udcff", 3, None):
        body = json.dumps({"token": wrong})
        answer = http.post("/_local/key", content=body)
        assert answer.status_code in (401, 422)
        assert local.api_key not in answer.text


def test_a_page_of_another_origin_trades_nothing(local: LocalMeibel, http: httpx.Client) -> None:
    token = token_of(local.page_link())
    for origin in ("https://elsewhere.test", "null", "http://127.0.0.1:1"):
        answer = trade(http, token, Origin=origin)
        assert answer.status_code == 403
        assert local.api_key not in answer.text
    assert trade(http, token, Origin=local.llama_cloud_base_url).status_code == 200


def test_tokens_expire_and_make_room() -> None:
    now = [0.0]
    tokens = PageTokens(clock=lambda: now[0])
    old = tokens.issue("key")
    now[0] = 3601.0
    assert tokens.redeem(old) is None
    oldest, *others = [tokens.issue("key") for _ in range(101)]
    assert tokens.redeem(oldest) is None
    assert tokens.redeem(others[-1]) == "key"


def test_open_and_notebooks_use_such_a_link(local: LocalMeibel, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda link: opened.append(link) or True)
    assert local.open()
    assert opened[0].startswith(f"{local.llama_cloud_base_url}/#token=")
    shown = local._repr_html_()
    assert "#token=" in shown
    assert local.api_key not in shown
    assert "&lt;" in LocalMeibel()._repr_html_()
