from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meibel_integrations.protocol import lenient_json

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"code": "x", "message": "no such session"}, "no such session"),
        ({"error": "nope"}, "nope"),
        ({"error": {"message": "deep", "type": "t"}}, "deep"),
        ({"error": {"odd": 1}, "detail": "later"}, "later"),
        ({"detail": "plain"}, "plain"),
        ({"detail": [{"loc": ["body", "user_message"], "msg": "missing", "type": "t"}]}, "body.user_message: missing"),
        ({"detail": [{"msg": "m"}, "text", {"loc": ["a"]}, 7, {}]}, "m; text; a; 7"),
        ("  words ", "words"),
        (None, ""),
        (123, ""),
        ([], ""),
        ({"message": None}, ""),
    ],
)
def test_the_services_words_are_found_in_any_shape(body: Any, said: str) -> None:
    assert lenient_json.error_message(body) == said


@given(JSON)
def test_no_shape_of_json_breaks_a_reader(value: Any) -> None:
    assert isinstance(lenient_json.error_message(value), str)
    for read in (
        lenient_json.text,
        lenient_json.integer,
        lenient_json.number,
        lenient_json.timestamp,
        lenient_json.usage,
    ):
        read(value)
    assert isinstance(lenient_json.mappings(value), list)


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        ({"input_tokens": 3, "output_tokens": 4}, (3, 4, 7)),
        ({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 9}, (3, 4, 9)),
        ({"total_input_tokens": "3", "total_output_tokens": 4.0, "turns": 1}, (3, 4, 7)),
    ],
)
def test_usage_is_read_under_its_common_names(raw: Any, found: tuple[int, int, int]) -> None:
    usage = lenient_json.usage(raw)
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == found
    assert set(usage.details) == set(raw)


@pytest.mark.parametrize("raw", [None, {}, {"total_tokens": 9}, {"input_tokens": 3}, {"input_tokens": True}, [1]])
def test_no_usage_is_invented(raw: Any) -> None:
    assert lenient_json.usage(raw) is None


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        ("2026-11-22T10:00:00Z", datetime(2026, 11, 22, 10, tzinfo=UTC)),
        ("2026-11-22T11:00:00+01:00", datetime(2026, 11, 22, 10, tzinfo=UTC)),
        ("2026-11-22T10:00:00", datetime(2026, 11, 22, 10, tzinfo=UTC)),
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        ("yesterday", None),
        (True, None),
        (1e300, None),
    ],
)
def test_times_are_aware_utc(raw: Any, found: datetime | None) -> None:
    assert lenient_json.timestamp(raw) == found


@pytest.mark.parametrize(
    ("raw", "found"),
    [(1, 1.0), ("0.5", 0.5), (float("nan"), None), ("inf", None), (True, None), ("x", None), (10**400, None)],
)
def test_scores_are_finite(raw: Any, found: float | None) -> None:
    assert lenient_json.number(raw) == found


@pytest.mark.parametrize(
    ("raw", "found"), [(3, 3), (3.5, None), ("-3", -3), ("x", None), (True, None), (3.0, 3), (None, None)]
)
def test_whole_numbers(raw: Any, found: int | None) -> None:
    assert lenient_json.integer(raw) == found


def test_half_a_surrogate_pair_becomes_the_replacement_character() -> None:
    assert lenient_json.parse('{"a\\ud83d": ["\\ud83d", 1]}') == {"a\ufffd": ["\ufffd", 1]}
    assert lenient_json.parse('"\\ud83d\\ude00"') == "😀"


def test_what_is_not_json_is_refused() -> None:
    with pytest.raises(ValueError, match="Expecting"):
        lenient_json.parse("<html>")


def test_an_integer_id_is_text() -> None:
    assert [lenient_json.text(7), lenient_json.text(True), lenient_json.text(1.5)] == ["7", None, None]
