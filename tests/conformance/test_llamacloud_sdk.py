"""The official SDK (``llama-cloud`` from PyPI) and the documentation's own snippets against the local service.

The snippets of LlamaCloud's "Chat" page run as they are printed there, but for the ids in angle brackets: through
``client.beta.chat``, as the page has them, and through ``client.chat``, where the SDK has moved them; with ``await``
and, without that word, with the synchronous client.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import llama_cloud
import pytest

from meibel_integrations.local import Delta, LocalMeibel, Pause, ScriptedAnswerer

CREATE = """
# Session bound to specific indexes
session = await client.beta.chat.create(
    index_ids=["<index-id-1>", "<index-id-2>"],
)
print(session.session_id)


# Unbound session (indexes specified per-message)
session = await client.beta.chat.create()
"""

STREAM = """
import json


response = client.beta.chat.with_streaming_response.stream(
    session.session_id,
    index_ids=["<index-id>"],
    prompt="What are the key findings in the Q3 report?",
)


async with response as stream:
    async for line in stream.iter_lines():
        if not line or line.startswith(":"):
            continue
        if line.startswith("data: "):
            data = json.loads(line[6:])
            if data.get("type") == "text_delta":
                print(data["content"], end="", flush=True)
            elif data.get("type") == "stop":
                print("\\n--- Done ---")
            else:
                print(data)  # handle other event types as needed
"""

LIST = """
sessions = await client.beta.chat.list()


for s in sessions.items:
    print(f"{s.session_id}: {s.generated_title or '(untitled)'}")
"""

DETAILS = """
# Summary only
summary = await client.beta.chat.get_summary(session.session_id)
print(summary.generated_title)
print(summary.job_metadata)


# Full session with event history
full = await client.beta.chat.retrieve(session.session_id)
for event in full.events:
    print(event.type, event.content[:100] if hasattr(event, "content") else "")
"""

DELETE = """
await client.beta.chat.delete(session.session_id)
"""

QUESTION = "What are the key findings in the Q3 report?"


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalMeibel]:
    folder: Path = tmp_path_factory.mktemp("documents")
    texts = {
        "reports": "# Q3 report\n\nThe key findings of the Q3 report are that revenue rose and costs fell.\n",
        "notes": "# Notes\n\nThe plants need water.\n",
    }
    for name, text in texts.items():
        (folder / name).mkdir()
        (folder / name / f"{name}.md").write_text(text, encoding="utf-8")
    with LocalMeibel(agents={name: [folder / name] for name in texts}) as local:
        yield local


@pytest.fixture
def client(local: LocalMeibel) -> Iterator[llama_cloud.LlamaCloud]:
    with llama_cloud.LlamaCloud(api_key=local.api_key, base_url=local.llama_cloud_base_url, max_retries=0) as client:
        yield client


@pytest.fixture
async def async_client(local: LocalMeibel) -> AsyncIterator[llama_cloud.AsyncLlamaCloud]:
    async with llama_cloud.AsyncLlamaCloud(
        api_key=local.api_key, base_url=local.llama_cloud_base_url, max_retries=0
    ) as client:
        yield client


def _prepared(snippet: str, local: LocalMeibel, resource: str) -> str:
    reports, notes = local.index_ids["reports"], local.index_ids["notes"]
    for name, value in (("<index-id-1>", reports), ("<index-id-2>", notes), ("<index-id>", reports)):
        snippet = snippet.replace(name, value)
    return snippet.replace("client.beta.chat", f"client.{resource}")


Run = Callable[[str], Awaitable[dict[str, Any]]]


@pytest.fixture(params=["chat", "beta.chat"])
def resource(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["async", "sync"])
def page(
    request: pytest.FixtureRequest,
    local: LocalMeibel,
    resource: str,
    client: llama_cloud.LlamaCloud,
    async_client: llama_cloud.AsyncLlamaCloud,
) -> Run:
    """Runs one of the page's snippets after the other, in one namespace."""
    is_async = request.param == "async"
    names: dict[str, Any] = {"client": async_client if is_async else client}

    async def run(snippet: str) -> dict[str, Any]:
        text = _prepared(snippet, local, resource)
        if not is_async:
            text = text.replace("await ", "").replace("async ", "")
        code = compile(text, "page", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            running = eval(code, names)
            if inspect.iscoroutine(running):
                await running
        assert bool(caught) is (resource == "beta.chat")
        assert all(item.category is DeprecationWarning and "beta" in str(item.message) for item in caught)
        return names

    return run


async def test_the_page(page: Run, local: LocalMeibel, capsys: pytest.CaptureFixture[str]) -> None:
    session = (await page(CREATE))["session"]
    bound = capsys.readouterr().out.strip()
    assert bound != session.session_id
    await page(LIST)
    listed = capsys.readouterr().out
    assert f"{session.session_id}: (untitled)" in listed
    assert f"{bound}: (untitled)" in listed
    await page(STREAM)
    out = capsys.readouterr().out
    assert "revenue rose and costs fell." in out
    assert "{'type': 'user_input'" in out
    assert "'tool_result'" in out
    assert "Warning" not in out
    assert out.endswith("\n--- Done ---\n")
    names = await page(DETAILS)
    title, metadata, *events = capsys.readouterr().out.splitlines()
    assert title == QUESTION
    assert "is_error=False" in metadata
    assert f"user_input {QUESTION}" in events
    assert any(line.startswith("text From “Q3 report”") for line in events)
    kinds = [event.type for event in names["full"].events]
    assert [kinds[0], *kinds[-2:]] == ["user_input", "text", "stop"]
    await page(LIST)
    assert f"{session.session_id}: {QUESTION}" in capsys.readouterr().out
    await page(DELETE)
    with pytest.raises(llama_cloud.NotFoundError, match="there is no session"):
        await page(DELETE)


async def test_a_bound_session_asked_by_the_page(page: Run) -> None:
    """The page's TypeScript asks one of the two indexes that it has bound."""
    await page(CREATE.partition("# Unbound")[0])
    names = await page(STREAM)
    assert names["data"]["type"] == "stop"
    assert names["data"]["is_error"] is False


def check_events(full: Any) -> None:
    """The SDK's models hold what we sent: every event is of the class that its type names."""
    for event in full.events:
        words = event.type.replace("_", " ").title().replace(" ", "")
        assert type(event).__name__ == f"Event{words}Event"
        assert not event.model_extra
    call, result = (next(e for e in full.events if e.type == kind) for kind in ("tool_call", "tool_result"))
    assert call.call_id == result.call_id
    assert result.result["results"][0]["metadata"]["file_name"] == "reports.md"
    stop = full.events[-1]
    assert (stop.is_error, stop.error, stop.skipped_index_ids) == (False, None, ["idx_none"])
    assert stop.usage.duration_ms > 0
    assert full.job_metadata.total_output_tokens == stop.usage.total_output_tokens > 0


def test_sync(local: LocalMeibel, client: llama_cloud.LlamaCloud) -> None:
    made = [client.chat.create(shared_access="query", project_id="p", organization_id="o") for _ in range(3)]
    assert {session.shared_access for session in made} == {"query"}
    listed = [item.session_id for item in client.chat.list(page_size=2)]
    assert [item for item in listed if item in {s.session_id for s in made}] == [s.session_id for s in made[::-1]]
    session = client.chat.create(index_ids=[local.index_ids["reports"], "idx_none"])
    raw = client.chat.stream(session.session_id, index_ids=session.index_ids or [], prompt=QUESTION)
    assert isinstance(raw, str)
    assert "event: delta" in raw
    check_events(client.chat.retrieve(session.session_id))
    summary = client.chat.get_summary(session.session_id)
    assert (summary.generated_title, summary.index_ids) == (QUESTION, session.index_ids)
    for made_session in (*made, session):
        assert client.chat.delete(made_session.session_id) is None  # type: ignore[func-returns-value]


async def test_async(local: LocalMeibel, async_client: llama_cloud.AsyncLlamaCloud) -> None:
    chat = async_client.chat
    session = await chat.create(index_ids=[local.index_ids["reports"], "idx_none"])
    await chat.stream(session.session_id, index_ids=session.index_ids or [], prompt=QUESTION)
    check_events(await chat.retrieve(session.session_id))
    second = await chat.create()
    listed = [item.session_id async for item in chat.list(page_size=1)]
    assert listed[:2] == [second.session_id, session.session_id]
    await chat.delete(session.session_id)
    with pytest.raises(llama_cloud.NotFoundError):
        await chat.get_summary(session.session_id)


def test_errors_are_read_by_the_sdk(local: LocalMeibel, client: llama_cloud.LlamaCloud) -> None:
    index_id = local.index_ids["notes"]
    session = client.chat.create(index_ids=[index_id]).session_id
    stream = client.chat.stream
    with pytest.raises(llama_cloud.UnprocessableEntityError, match="1000"):
        stream(session, index_ids=[index_id], prompt="x" * 1001)
    with pytest.raises(llama_cloud.UnprocessableEntityError, match="empty"):
        stream(session, index_ids=[index_id], prompt="")
    with pytest.raises(llama_cloud.UnprocessableEntityError, match=f"locked.*{index_id}.*idx_other"):
        stream(session, index_ids=["idx_other"], prompt="x")
    with pytest.raises(llama_cloud.UnprocessableEntityError, match="at most 10"):
        client.chat.create(index_ids=[f"idx_{n}" for n in range(11)])
    with pytest.raises(llama_cloud.UnprocessableEntityError, match="idx_none"):
        stream(client.chat.create().session_id, index_ids=["idx_none"], prompt="x")
    with (
        llama_cloud.LlamaCloud(api_key="wrong", base_url=local.llama_cloud_base_url, max_retries=0) as stranger,
        pytest.raises(llama_cloud.AuthenticationError),
    ):
        stranger.chat.create()


async def test_a_second_turn_and_a_reader_that_leaves() -> None:
    pause = Pause()
    script = ScriptedAnswerer([[Delta("first "), pause, Delta("last")]])
    with LocalMeibel(answerer=script) as local:
        async with llama_cloud.AsyncLlamaCloud(
            api_key=local.api_key, base_url=local.llama_cloud_base_url, max_retries=0
        ) as client:
            session = (await client.chat.create()).session_id
            turn = {"index_ids": [local.index_id], "prompt": "x"}
            async with client.chat.with_streaming_response.stream(session, **turn) as response:
                async for line in response.iter_lines():
                    if "first" in line:
                        break
                with pytest.raises(llama_cloud.ConflictError, match="still answering"):
                    await client.chat.stream(session, **turn)
            pause.release()
            async with asyncio.timeout(10):
                while len(events := (await client.chat.retrieve(session)).events) < 3:
                    await asyncio.sleep(0.005)
    assert [event.type for event in events] == ["user_input", "text", "stop"]
    assert events[1].content == "first last"
