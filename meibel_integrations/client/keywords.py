"""The settings of ``options`` as keywords of engines and histories: what type checkers and editors show.

``tests/client/test_options.py`` holds the two against each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from pydantic import SecretStr

from meibel_integrations.config import Timeouts
from meibel_integrations.ledgers.interface import Ledger
from meibel_integrations.models import CreateSessionRequest
from meibel_integrations.protocol.agents import SharedAccess
from meibel_integrations.transports.httpx_async import AsyncHttpClient
from meibel_integrations.transports.httpx_sync import HttpClient

__all__ = [
    "ClientKeywords",
    "LlamaCloudAgentKeywords",
    "LlamaCloudSessionKeywords",
    "MeibelAgentKeywords",
    "MeibelSessionKeywords",
]


class ClientKeywords(TypedDict, total=False):
    """See :class:`~meibel_integrations.client.options.ClientOptions`."""

    api_key: str | SecretStr | None
    base_url: str | None
    timeout: Timeouts | float | None
    max_retries: int
    allow_insecure_http: bool
    default_headers: Mapping[str, str] | None
    http_client: HttpClient | None
    http_async_client: AsyncHttpClient | None
    ledger: Ledger | None
    client: Any
    async_client: Any


class MeibelSessionKeywords(TypedDict, total=False):
    """See :class:`~meibel_integrations.client.options.MeibelAgentOptions`."""

    session_options: CreateSessionRequest | Mapping[str, Any] | None


class MeibelAgentKeywords(MeibelSessionKeywords, total=False):
    """The same with the agent."""

    agent_id: str | None
    agent_name: str | None


class LlamaCloudSessionKeywords(TypedDict, total=False):
    """See :class:`~meibel_integrations.client.options.LlamaCloudAgentOptions`."""

    bound: bool
    require_all_indexes: bool
    shared_access: SharedAccess | None
    organization_id: str | None
    project_id: str | None
    max_prompt_chars: int | None


class LlamaCloudAgentKeywords(LlamaCloudSessionKeywords, total=False):
    """The same with the indexes."""

    index_ids: Sequence[str] | None
