"""The law of chunking: a passage is exactly the stretch of text that its offsets name."""

from hypothesis import given
from hypothesis import strategies as st

from meibel_integrations.local.documents.chunking import MAXIMUM, chunk
from meibel_integrations.local.documents.extract import extract
from meibel_integrations.local.documents.formats import html, markup, source
from meibel_integrations.local.documents.reading import UnreadableError

PIECES = st.sampled_from(
    [
        "# One\n",
        "Two\n===\n",
        "***\nX\n***\n",
        "\n\n",
        "\n",
        " ",
        "word ",
        "A sentence. ",
        "```\n",
        "    code()\n",
        "- item\n",
        "<p>",
        "</p>",
        "<h2>T</h2>",
        "<pre>",
        "</pre>",
        "&amp;",
        "<",
        ">",
        '"',
        "def f():\n",
        "class A:\n",
        "é",
        "不知道",
        "🙂",
        "x" * 400,
        "words and more words. " * 40,
        "a\n" * 300,
    ]
)
TEXTS = st.one_of(st.text(max_size=400), st.lists(PIECES, max_size=60).map("".join))


@given(TEXTS, st.sampled_from(["a.md", "a.rst", "a.txt", "a.html", "a.py", "a.js", "a.csv", "a"]))
def test_a_passage_is_what_its_offsets_say(text: str, name: str) -> None:
    try:
        document = extract(name, text.encode())
    except UnreadableError:
        return
    passages = list(chunk(document))
    assert passages or not document.sections
    at = 0
    for passage in passages:
        assert document.text[passage.start : passage.end] == passage.text
        assert passage.text.strip()
        assert at <= passage.start
        assert not document.text[at : passage.start].strip() or not document.sections or at == 0
        at = passage.end


@given(TEXTS)
def test_nothing_but_space_is_lost(text: str) -> None:
    document = source.data(text, "data")
    kept = "".join(passage.text for passage in chunk(document))
    assert "".join(kept.split()) == "".join(text.split())


def test_prose_passages_stay_below_the_maximum() -> None:
    text = "A sentence that is of no great length at all. " * 400
    passages = list(chunk(markup.underlined(text)))
    assert len(passages) > 5
    assert all(len(passage.text) <= MAXIMUM for passage in passages)
    assert all(passage.text.endswith(".") for passage in passages)


def test_fenced_code_is_not_divided() -> None:
    code = "```python\n" + "\n\n".join(f"line_{i} = {i}" for i in range(150)) + "\n```"
    text = "# Title\n\n" + "Some words. " * 150 + "\n\n" + code + "\n\nAfter.\n"
    holding = [passage for passage in chunk(markup.markdown(text)) if "line_75" in passage.text]
    assert code in holding[0].text


def test_an_indented_block_stays_with_its_introduction() -> None:
    text = (
        ("Filler words here.\n\n" * 60) + "An example::\n\n    first()\n\n    second()\n\nDone.\n" + "More.\n\n" * 200
    )
    holding = [passage.text for passage in chunk(markup.underlined(text)) if "An example::" in passage.text]
    assert "second()" in holding[0]


def test_headings_make_paths() -> None:
    text = "# A\n\nin a\n\n## B\n\nin b\n\n### C\n\nin c\n\n## D\n\nin d\n"
    assert [passage.heading for passage in chunk(markup.markdown(text))] == ["A", "A > B", "A > B > C", "A > D"]


def test_html_offsets_with_entities() -> None:
    document = html.html("<h1>T&eacute;</h1><p>a &lt;b&gt; <b>c</b></p><pre>x\n  y</pre>")
    (passage,) = chunk(document)
    assert document.text[passage.start : passage.end] == passage.text == "Té\n\na <b> c\n\n```\nx\n  y\n```"
