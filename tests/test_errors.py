from __future__ import annotations

import inspect
import pickle

import pytest

from meibel_integrations import errors
from meibel_integrations.errors import APIError, MeibelIntegrationError, RateLimitError, TurnError

ALL = [getattr(errors, name) for name in errors.__all__]


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_error_survives_pickling(kind: type[MeibelIntegrationError]) -> None:
    fields: dict[str, object] = {}
    if issubclass(kind, APIError):
        fields = {"status_code": 418, "server_message": "words", "body": {"a": [1]}, "session_id": "s"}
    elif issubclass(kind, TurnError):
        cause = errors.NotSentError("inner")
        fields = {"session_id": "s", "signal_id": "g", "phase": "sent", "partial_text": "par", "cause": cause}
    error = kind("what happened", **fields)
    if isinstance(error, RateLimitError):
        error.retry_after = 3.5
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert str(copy) == "what happened"
    assert {k: repr(v) for k, v in vars(copy).items()} == {k: repr(v) for k, v in vars(error).items()}


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn = errors.__doc__ or ""
    for kind in ALL:
        assert kind.__name__ in drawn, f"{kind.__name__} is not in the tree"
    defined = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, MeibelIntegrationError)
    }
    assert defined == set(errors.__all__)


def test_turn_errors_are_left_alone_by_generic_retry_layers() -> None:
    assert issubclass(TurnError, RuntimeError)
    assert not issubclass(TurnError, ConnectionError | OSError)
