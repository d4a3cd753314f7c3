"""How calls behave, whichever framework they come from, and whom they ask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator

from meibel_integrations.config import OnAmbiguous, RecoveryPolicy
from meibel_integrations.errors import ConfigurationError
from meibel_integrations.protocol.agents import NOBODY, AgentRef, SessionOptions
from meibel_integrations.protocol.text import Partials

__all__ = ["CheckHead", "EditedAnswers", "OnDivergence", "RunOptions", "Target"]

OnDivergence = Literal["fork", "error", "ignore"]
CheckHead = Literal["auto", "always"]
EditedAnswers = Literal["fork", "continue"]


class RunOptions(BaseModel):
    """How one call behaves. Times are in seconds."""

    model_config = ConfigDict(use_attribute_docstrings=True, hide_input_in_errors=True)

    session_id: str | None = None
    """Go on in this session whatever the messages say. A call may name one, too, which is stronger."""
    on_divergence: OnDivergence | None = None
    """What to do when the messages are not what their session holds: ``"fork"`` (a new session with these messages; the
    default), ``"error"``, or ``"ignore"`` (the default with ``session_id``)."""
    edited_answers: EditedAnswers = "fork"
    """What to do when nothing but the agent's own answers was changed, as middleware that redacts them or adds a footer
    does: ``"fork"``, or ``"continue"`` in the session, which holds the answers as they were given."""
    check_head: CheckHead = "auto"
    """``"always"`` asks the server before each continuation whether the session went on elsewhere."""
    ephemeral: bool = False
    """Use a session of its own for each call, which no later call goes on in."""
    max_seed_chars: int = Field(default=100_000, gt=0)
    """The longest text that a new session is started with; older messages are left out of a longer one. A service's own
    limit counts, too."""
    include_thinking: bool = False
    """Ask for the agent's thinking and show it with the answer."""
    include_tool_activity: bool = False
    """Ask for the agent's own tool calls and show them with the answer."""
    include_usage: bool = False
    """Ask the session for the token usage after a turn whose stream did not tell it (one more request)."""
    timeout_seconds: int | None = Field(default=None, gt=0)
    """How long the service may work on an answer."""
    partials: Partials = "auto"
    """Whether the stream's pieces are deltas or snapshots; ``"auto"`` finds out."""
    on_ambiguous: OnAmbiguous = "raise"
    """What to do about a turn that may not have arrived and does not show in the history: ``"raise"``, or
    ``"resend_once"``, which may repeat it if it was merely late."""
    reconcile_grace: float = Field(default=5.0, ge=0)
    """Seconds until a turn whose answer did not arrive, and that does not show in the history, counts as absent."""
    reconcile_deadline: float = Field(default=120.0, ge=0)
    """Seconds to wait for such a turn while it runs."""

    @field_validator("session_id", mode="before")
    @classmethod
    def _check_session_id(cls, value: object) -> object:
        if value is not None and not (isinstance(value, str) and value.strip()):
            raise ConfigurationError(
                f"session_id must be the id of a session, as text, not {type(value).__name__} {value!r:.60}."
            )
        return value

    @field_validator("on_divergence", "edited_answers", "check_head", "partials", "on_ambiguous", mode="before")
    @classmethod
    def _check_word(cls, value: object, info: object) -> object:
        name = getattr(info, "field_name", "")
        allowed = _WORDS[name]
        if value not in allowed:
            known = ", ".join(repr(each) for each in allowed if each is not None)
            raise ConfigurationError(f"{name} must be one of {known}, not {value!r}.")
        return value

    @property
    def recovery(self) -> RecoveryPolicy:
        """How a turn is looked for whose answer got lost."""
        return RecoveryPolicy(self.reconcile_grace, self.reconcile_deadline, self.on_ambiguous)


_WORDS: dict[str, tuple[object, ...]] = {
    "on_divergence": (None, *get_args(OnDivergence)),
    "edited_answers": get_args(EditedAnswers),
    "check_head": get_args(CheckHead),
    "partials": get_args(Partials),
    "on_ambiguous": get_args(OnAmbiguous),
}


@dataclass(frozen=True, slots=True)
class Target:
    """Whom a call asks.

    Attributes:
        agent: the agent; nobody where only a session is known.
        opening: how a new session is opened.
        require_all_indexes: whether an index that cannot be queried fails a turn.
    """

    agent: AgentRef = NOBODY
    opening: SessionOptions | None = None
    require_all_indexes: bool = False
