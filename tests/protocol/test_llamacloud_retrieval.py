"""Sources out of what a retrieval tool returned, in whichever shape it came."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from meibel_integrations.models import Source
from meibel_integrations.protocol.dialects.llamacloud_retrieval import read_retrieved

from .test_lenient_json import JSON

PASSAGE: dict[str, Any] = {
    "content": "Revenue grew.",
    "metadata": {"file_name": "q4.pdf", "url": "https://x.test/q4", "year": 2026, "tags": ["a"], "nested": {}},
    "score": 0.25,
    "rerank_score": 0.75,
    "static_fields": {
        "chunk_index": 3,
        "chunk_start_char": 10,
        "chunk_end_char": 23,
        "chunk_token_count": 4,
        "page_range_start": 7,
        "page_range_end": 8,
        "parsed_directory_file_id": "file-1",
        "attachments": [{"attachment_name": "p7.png", "source_id": "src-1", "type": "image"}],
    },
}


def read(result: Any, **image: Any) -> list[Source]:
    return read_retrieved(result, tool_name="search", image=image or None)


def test_a_passage_of_the_retrieval_api() -> None:
    (source,) = read({"results": [PASSAGE]})
    assert source.title == "q4.pdf"
    assert source.url == "https://x.test/q4"
    assert source.snippet == "Revenue grew."
    assert source.score == 0.75, "what was reranked counts"
    assert source.data_element_id == "file-1"
    assert (source.origin, source.tool_name) == ("retrieved", "search")
    assert source.metadata == {
        "file_name": "q4.pdf",
        "url": "https://x.test/q4",
        "year": 2026,
        "tags": ["a"],
        "chunk_token_count": 4,
        "chunk_index": 3,
        "chunk_start_char": 10,
        "chunk_end_char": 23,
        "page_range_start": 7,
        "page_range_end": 8,
        "attachments": PASSAGE["static_fields"]["attachments"],
    }


@pytest.mark.parametrize(
    "result",
    [
        {"results": [PASSAGE]},
        {"items": [PASSAGE]},
        {"nodes": [PASSAGE], "results": None},
        [PASSAGE],
        [PASSAGE, "text", None, 7],
        json.dumps({"results": [PASSAGE]}),
        json.dumps([PASSAGE]),
    ],
    ids=["results", "items", "nodes", "list", "mixed list", "JSON text", "JSON list"],
)
def test_a_passage_is_found_in_every_shape(result: Any) -> None:
    assert read(result) == read({"results": [PASSAGE]})


def test_the_old_pipelines_nodes() -> None:
    node = {"text": "Costs fell.", "metadata": {"title": "Notes", "file_id": "file-2", "page_label": "3"}}
    (source,) = read({"retrieval_nodes": [{"node": node, "score": 0.5}]})
    assert (source.title, source.snippet, source.score, source.data_element_id) == (
        "Notes",
        "Costs fell.",
        0.5,
        "file-2",
    )
    assert source.metadata["page_label"] == "3"


def test_files_that_were_found_by_name() -> None:
    (source,) = read([{"file_id": "file-3", "file_name": "plan.docx"}])
    assert (source.title, source.snippet, source.data_element_id) == ("plan.docx", None, "file-3")


def test_without_a_name_the_document_or_nothing_is_the_title() -> None:
    assert [source.title for source in read([{"file_id": "file-4"}, {"content": "text"}])] == ["file-4", ""]


def test_an_image_stays_with_its_passages() -> None:
    image = {"source_id": "src-1", "attachment_name": "p7.png"}
    assert read([PASSAGE], **image)[0].metadata["image_attachment"] == image


@pytest.mark.parametrize("score", ["high", None, True, float("nan"), [1]], ids=str)
def test_a_score_that_is_none_is_not_known(score: Any) -> None:
    assert read([{"content": "x", "score": score}])[0].score is None


@pytest.mark.parametrize(
    "result",
    [
        None,
        7,
        "",
        "not JSON",
        '"text"',
        {},
        [],
        {"results": "none"},
        {"results": {}},
        [{}],
        [{"title": "Birds"}],
        [["x"]],
    ],
    ids=str,
)
def test_what_does_not_look_like_passages_gives_no_sources(result: Any) -> None:
    assert read(result) == []


@given(JSON)
def test_no_result_breaks_the_reader(value: Any) -> None:
    for result in (value, [value], {"results": [value]}, [{"content": "x", "metadata": value, "static_fields": value}]):
        assert all(source.origin == "retrieved" for source in read(result))


@pytest.mark.parametrize(
    ("tool", "result", "found"),
    [
        ("find", [{"file_id": "f-1", "file_name": "q4.pdf"}], ("q4.pdf", "f-1", None, {})),
        (
            "grep",
            [{"content": "grew", "start_char": 8, "end_char": 12}],
            ("", None, "grew", {"start_char": 8, "end_char": 12}),
        ),
        ("read", {"content": "Revenue grew."}, ("", None, "Revenue grew.", {})),
        ("read", '{"content": "x", "file_id": "f", "file_name": "n"}', ("n", "f", "x", {})),
    ],
)
def test_the_other_tools_of_an_index_give_sources(tool: str, result: Any, found: tuple[Any, ...]) -> None:
    (source,) = read_retrieved(result, tool_name=tool, image=None)
    assert (source.title, source.data_element_id, source.snippet, source.metadata) == found
    assert (source.tool_name, source.origin) == (tool, "retrieved")
