"""A user's program with every public name, for type checkers. It is checked and imported, never run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import assert_type

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.schema import NodeWithScore
from llama_index.core.tools import FunctionTool
from pydantic import SecretStr

from meibel_integrations import (
    AsyncLlamaCloudChatClient,
    AsyncMeibelClient,
    LlamaCloudChatClient,
    MeibelClient,
    errors,
)
from meibel_integrations.client import AsyncChatStream, ChatStream
from meibel_integrations.langchain import (
    ChatLlamaCloud,
    ChatMeibel,
    LlamaCloudChatMessageHistory,
    MeibelChatMessageHistory,
)
from meibel_integrations.llamaindex import (
    HostedChatResponse,
    HostedStreamingResponse,
    LlamaCloudChatEngine,
    MeibelChatEngine,
)
from meibel_integrations.local import Delta, Done, LocalMeibel, QuotingAnswerer, ScriptedAnswerer
from meibel_integrations.models import (
    Agent,
    ChatEvent,
    ChatMessageRequest,
    Citation,
    CitationsEvent,
    ConnectedEvent,
    ContentEvent,
    CreateSessionRequest,
    DoneEvent,
    Message,
    Reply,
    Session,
    Source,
    StatusEvent,
    ThinkingEvent,
    ToolActivity,
    ToolCallEvent,
    ToolResultEvent,
    UnknownEvent,
    Usage,
    WarningEvent,
)


def read(reply: Reply) -> None:
    assert_type(reply.message, str)
    assert_type(reply.citations, list[Citation])
    assert_type(reply.sources, list[Source])
    assert_type(reply.usage, Usage | None)
    assert_type(reply.thinking, str | None)
    assert_type(reply.tool_activity, list[ToolActivity])
    assert_type(reply.signal_id, str | None)
    assert_type(reply.recovered, bool)
    assert_type(reply.warnings, list[str])
    for citation in reply.citations:
        print(reply.sources[citation.source].title, citation.start, citation.end)


def by_class(event: ChatEvent) -> str:
    match event:
        case ContentEvent(delta=delta):
            return assert_type(delta, str)
        case ThinkingEvent():
            return event.delta
        case ToolCallEvent(tool=tool) | ToolResultEvent(tool=tool):
            return tool.name or ""
        case DoneEvent(reply=reply):
            return assert_type(reply, Reply).message
        case StatusEvent() | WarningEvent() | UnknownEvent():
            return event.message
        case CitationsEvent():
            return str(len(event.sources))
        case ConnectedEvent():
            return event.signal_id or ""


def by_type(event: ChatEvent) -> str:
    """As the guide writes it."""
    if event.type == "content":
        print(event.delta, end="", flush=True)
        assert_type(event, ContentEvent)
    elif event.type == "citations":
        print(event.citations, event.sources)
    elif event.type == "done":
        return event.reply.message
    return event.delta


def client() -> None:
    with MeibelClient(api_key="key", base_url="https://api.meibel.test/v2", timeout=30, max_retries=1) as client:
        assert_type(client.agents.list(), Iterator[Agent])
        assert_type(client.agents.get("agent_123"), Agent)
        session = client.agents.create_session(agent_id="agent_123")
        assert_type(session, Session)
        client.agents.create_session(agent_name="docs", body=CreateSessionRequest(prompt="Be brief."))
        print(session.id, session.agent_id, session.created_at, session.status, session.title)
        body = ChatMessageRequest(user_message="What are the key findings?")
        reply = client.sessions.send_chat_message(session_id=session.id, body=body)
        read(assert_type(reply, Reply))
        client.sessions.send_chat_message(session.id, user_message="And?", timeout_seconds=20)
        stream = client.sessions.send_chat_message_stream(
            session_id=session.id, body=body, files=["a.pdf", ("b", b"c")]
        )
        with assert_type(stream, ChatStream) as events:
            for event in events:
                print(by_class(event), by_type(event))
        stream.close()
        assert_type(stream.reply, Reply | None)
        history = client.sessions.get_session_messages(session_id=session.id, include_tools=True)
        assert_type(history, list[Message])
        print([(m.role, m.message, m.timestamp, m.signal_id) for m in history])
        assert_type(client.sessions.get_session(session_id=session.id), Session)
        assert_type(client.agents.list_sessions(agent_id="agent_123"), Iterator[Session])


async def aclient() -> None:
    async with AsyncMeibelClient(api_key=SecretStr("key")) as client:
        assert_type(client.agents.list(), AsyncIterator[Agent])
        assert_type(await client.agents.get("agent_123"), Agent)
        session = await client.agents.create_session(agent_id="agent_123")
        read(assert_type(await client.sessions.send_chat_message(session.id, user_message="hi"), Reply))
        stream = client.sessions.send_chat_message_stream(session.id, user_message="hi")
        async with assert_type(stream, AsyncChatStream) as events:
            async for event in events:
                print(by_class(event), by_type(event))
        await stream.close()
        assert_type(await client.sessions.get_session_messages(session.id), list[Message])
        assert_type(await client.sessions.get_session(session.id), Session)
        async for each in client.agents.list_sessions("agent_123"):
            assert_type(each, Session)


async def llama_cloud() -> None:
    with LlamaCloudChatClient(api_key="key", organization_id="o", project_id="p") as client:
        session = client.create(index_ids=["index_1"], shared_access="read_only")
        assert_type(session, Session)
        assert_type(client.list(), Iterator[Session])
        assert_type(client.retrieve(session.id), Session)
        assert_type(client.get_summary(session.id), Session)
        assert_type(client.get_messages(session.id), list[Message])
        with client.stream(session.id, index_ids=["index_1"], prompt="hi") as events:
            for event in events:
                print(by_class(event))
        client.delete(session.id)
    async with AsyncLlamaCloudChatClient("key") as other:
        session = await other.create(["index_1"])
        async for event in other.stream(session.id, prompt="hi"):
            print(by_type(event))
        await other.delete(session.id)
        assert_type(other.list(), AsyncIterator[Session])


async def langchain() -> None:
    model = ChatMeibel(
        agent_id="agent_123",
        api_key="key",
        base_url="https://api.meibel.test/v2",
        timeout=30,
        max_retries=2,
        include_thinking=True,
        include_tool_activity=True,
        include_usage=True,
        session_options={"prompt": "Be brief."},
        partials="auto",
        on_divergence="fork",
        on_ambiguous="raise",
        reconcile_grace=5.0,
        reconcile_deadline=120.0,
        max_seed_chars=1000,
        check_head="auto",
        ephemeral=False,
        timeout_seconds=60,
        default_headers={"X-Team": "herons"},
    )
    ChatMeibel(agent_name="docs", api_key=SecretStr("key"))
    ChatMeibel(session_id="s", client=MeibelClient("key"), async_client=AsyncMeibelClient("key"))
    ChatLlamaCloud(index_ids=["index_1"], api_key="key")
    answer = model.invoke("hi", session_id="s", include_thinking=True, timeout_seconds=5, ephemeral=True)
    assert_type(answer, AIMessage)
    print(answer.text, answer.response_metadata["sources"], answer.content_blocks)
    for chunk in model.stream("hi"):
        print(assert_type(chunk, AIMessageChunk).text)
    assert_type(await model.ainvoke("hi"), AIMessage)
    async for chunk in model.astream("hi"):
        print(chunk.text)
    model.bind(session_id="s").with_retry()
    model.close()
    await model.aclose()

    history = MeibelChatMessageHistory.create(agent_id="agent_123", api_key="key")
    assert_type(history, MeibelChatMessageHistory)
    assert_type(history.session_id, str)
    assert_type(history.messages, list[BaseMessage])
    history.add_messages([answer])
    history.clear()
    MeibelChatMessageHistory(session_id="s", api_key="key").close()
    LlamaCloudChatMessageHistory(session_id="s", api_key="key", index_ids=["index_1"])
    LlamaCloudChatMessageHistory.create(index_ids=["index_1"], api_key="key")


async def llamaindex() -> None:
    engine = MeibelChatEngine.from_defaults(
        agent_id="agent_123", api_key="key", include_thinking=True, on_divergence="fork", node_postprocessors=[]
    )
    assert_type(engine, MeibelChatEngine)
    MeibelChatEngine(agent_name="docs", api_key=SecretStr("key"), session_id="s")
    cloud = LlamaCloudChatEngine.from_defaults(index_ids=["index_1"], api_key="key", bound=False)
    assert_type(cloud, LlamaCloudChatEngine)
    response = engine.chat("hi", chat_history=[ChatMessage(role="user", content="hi")])
    assert_type(response, HostedChatResponse)
    assert_type(response.response, str)
    assert_type(response.source_nodes, list[NodeWithScore])
    assert_type(response.citations, list[Citation])
    assert_type(response.message, ChatMessage | None)
    print(response.metadata, response.sources)
    streaming = engine.stream_chat("hi")
    assert_type(streaming, HostedStreamingResponse)
    with streaming:
        for piece in streaming.response_gen:
            assert_type(piece, str)
    assert_type(await engine.achat("hi"), HostedChatResponse)
    other = await engine.astream_chat("hi")
    async for piece in assert_type(other, HostedStreamingResponse).async_response_gen():
        assert_type(piece, str)
    await other.aclose()
    assert_type(engine.session_id, str | None)
    assert_type(engine.chat_history, list[ChatMessage])
    assert_type(engine.with_session("s"), MeibelChatEngine)
    engine.reset()
    engine.close()
    FunctionTool.from_defaults(fn=engine.chat, async_fn=engine.achat)


def failures(client: MeibelClient) -> str | float | None:
    try:
        client.sessions.send_chat_message("s", user_message="hi")
    except errors.TurnOutcomeUnknown as error:
        return error.session_id or error.signal_id or error.phase or error.partial_text
    except (
        errors.AgentTurnError,
        errors.StreamInterrupted,
        errors.SessionBusyError,
        errors.SessionEndedError,
    ) as error:
        return str(error.cause)
    except errors.RateLimitError as error:
        return error.retry_after
    except errors.APIError as error:
        return error.server_message
    except (errors.PromptTooLongError, errors.ConfigurationError, errors.MeibelIntegrationError) as error:
        return str(error)
    return None


def local() -> None:
    with LocalMeibel(documents=["docs/"], database=":memory:", agent="docs", dialect="v2") as service:
        assert_type(service.base_url, str)
        assert_type(service.api_key, str)
        assert_type(service.agent_id, str)
        assert_type(service.index_id, str)
        assert_type(service.llama_cloud_base_url, str)
        MeibelClient(service.api_key, service.base_url)
    LocalMeibel(answerer=ScriptedAnswerer([[Delta("hi"), Done()]]), seed=7)
    LocalMeibel(answerer=QuotingAnswerer())
