"""Answers in the form of a schema.

A hosted agent is told the schema with the question, and its answer is read leniently. ``with_structured_output`` asks
in a session of its own; there an answer that does not fit is asked for once more. ``response_format=`` in a call, which
is what LangChain's ``ProviderStrategy`` binds, stays in its conversation, where a second question would be in the way.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from langchain_core.output_parsers import BaseOutputParser
from langchain_core.utils.function_calling import convert_to_json_schema
from langchain_core.utils.pydantic import is_basemodel_subclass

from meibel_integrations.conversation.messages import NeutralMessage
from meibel_integrations.conversation.options import RunOptions
from meibel_integrations.conversation.results import RunResult
from meibel_integrations.conversation.run import ConversationRun
from meibel_integrations.errors import InvalidInputError
from meibel_integrations.langchain.errors import StructuredOutputError
from meibel_integrations.protocol.commands import Flow

__all__ = ["AnswerForm", "FormParser", "FormedRun"]

_TOLD = "Answer with one JSON value and nothing else: no words around it, no Markdown."
_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
}


class AnswerForm:
    """A form that an answer has to have, and how it is read.

    Args:
        wanted: a pydantic class, a TypedDict or a JSON schema; or a ``response_format`` as OpenAI's models take it.

    Attributes:
        schema: the form as a JSON schema.
    """

    def __init__(self, wanted: Any) -> None:
        if isinstance(wanted, Mapping) and "json_schema" in wanted:  # OpenAI's form, which LangChain passes around
            inner = wanted["json_schema"]
            wanted = inner.get("schema", inner) if isinstance(inner, Mapping) else inner
        elif isinstance(wanted, Mapping) and wanted.get("type") == "json_object":
            wanted = {"type": "object", "title": "answer"}
        self._wanted = wanted
        try:
            self.schema: dict[str, Any] = (
                dict(wanted)
                if isinstance(wanted, Mapping) and "title" not in wanted and "name" not in wanted
                else convert_to_json_schema(wanted)
            )
        except (ValueError, TypeError, KeyError) as error:
            raise InvalidInputError(f"This is no schema that an answer could have: {error}") from None

    @property
    def instructions(self) -> str:
        """What the agent is told."""
        schema = json.dumps(self.schema, ensure_ascii=False, separators=(",", ":"))
        return f"{_TOLD} It has to fit this JSON schema:\n{schema}"

    def repair(self, problem: str) -> str:
        """What the agent is told about an answer that does not fit."""
        return f"That was not the form that was asked for ({problem[:300]}). Give the same answer again. {_TOLD}"

    def read(self, text: str) -> Any:
        """The answer as an object of the schema's kind.

        Raises:
            ValueError: it does not fit.
        """
        data = self._data(text)
        if isinstance(self._wanted, type) and is_basemodel_subclass(self._wanted):
            validate: Callable[[Any], Any] = getattr(self._wanted, "model_validate", None) or self._wanted.parse_obj  # type: ignore[attr-defined]
            return validate(data)
        return data

    def as_json(self, text: str) -> str:
        """The bare JSON of an answer; the answer as it is, if it holds none that fits."""
        try:
            return json.dumps(self._data(text), ensure_ascii=False)
        except ValueError:
            return text

    def problem(self, text: str) -> str | None:
        """What is wrong with an answer; ``None`` if it fits."""
        try:
            self.read(text)
        except ValueError as error:  # pydantic's own is one
            return " ".join(str(error).split())
        return None

    def _data(self, text: str) -> Any:
        data = self._json(text)
        expected = _TYPES.get(str(self.schema.get("type")), object)
        if not isinstance(data, expected):
            raise ValueError(f"it is no {self.schema.get('type')}")
        missing = [name for name in self.schema.get("required", ()) if isinstance(data, dict) and name not in data]
        if missing:
            raise ValueError(f"it lacks {', '.join(missing)}")
        return data

    @staticmethod
    def _json(text: str) -> Any:
        """The JSON of a text: bare, in a Markdown block, or with words around it."""
        with suppress(ValueError):
            return json.loads(text)
        decoder = json.JSONDecoder()
        for at, letter in enumerate(text):
            if letter in "{[":
                with suppress(ValueError):
                    return decoder.raw_decode(text, at)[0]
        raise ValueError("it holds no JSON")


class FormParser(BaseOutputParser[Any]):
    """Reads answers that have a form."""

    form: Any

    def parse(self, text: str) -> Any:
        try:
            return self.form.read(text)
        except ValueError as error:
            problem = " ".join(str(error).split())
            raise StructuredOutputError(
                f"The agent's answer does not have the form that was asked for ({problem}). It says: {text}",
                answer=text,
            ) from error


@dataclasses.dataclass(slots=True)
class FormedRun:
    """A call whose answer has to have a form. In a session of its own, one that does not is asked for once more."""

    run: ConversationRun
    form: AnswerForm
    result: RunResult | None = None

    @property
    def options(self) -> RunOptions:
        return self.run.options

    def flow(self) -> Flow[RunResult]:
        """Emits the events of one turn or two."""
        result = yield from self.run.flow()
        problem = self.form.problem(result.reply.message)
        if problem is not None and self.options.ephemeral:
            pinned = {"session_id": self.run.session_id, "ephemeral": False, "on_divergence": None}
            again = dataclasses.replace(
                self.run,
                messages=[NeutralMessage("user", self.form.repair(problem))],
                options=self.options.model_copy(update=pinned),
                files=(),
                result=None,
            )
            result = dataclasses.replace((yield from again.flow()), ephemeral=True)
        self.result = result
        return result
