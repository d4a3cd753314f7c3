"""LangChain's own standard tests, the integration suite over the local service."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from meibel_integrations.langchain import ChatMeibel
from meibel_integrations.local import LocalMeibel, ScriptedAnswerer
from meibel_integrations.local.answerers.base import Delta, Done

# The suites set `temperature` and the like, and use interfaces that LangChain calls beta.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.* has no effect; the hosted agent is configured at the service"),
    pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning"),
]


class _NoTools:
    """A hosted agent runs its own tools and takes none from the caller; `bind_tools` is there to say so."""

    @property
    def has_tool_calling(self) -> bool:
        return False

    @property
    def has_tool_choice(self) -> bool:
        return False

    @property
    def has_structured_output(self) -> bool:
        return False


class TestUnit(_NoTools, ChatModelUnitTests):  # type: ignore[misc]
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatMeibel

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"agent_id": "agent-1", "api_key": "key-1"}

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        return {"MEIBEL_API_KEY": "key-env"}, {"agent_id": "agent-1"}, {"meibel_api_key": "key-env"}


@pytest.fixture(scope="module")
def service() -> Iterator[LocalMeibel]:
    usage = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
    answerer = ScriptedAnswerer(lambda question: [Delta("You said "), Delta(question.text), Done(usage=usage)])
    with LocalMeibel(answerer=answerer) as local:
        yield local


class TestIntegration(_NoTools, ChatModelIntegrationTests):  # type: ignore[misc]
    @pytest.fixture(autouse=True)
    def _service(self, service: LocalMeibel) -> None:
        self.local = service

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatMeibel

    @property
    def chat_model_params(self) -> dict[str, Any]:
        local = self.local
        return {"agent_id": local.agent_id, "api_key": local.api_key, "base_url": local.base_url}
