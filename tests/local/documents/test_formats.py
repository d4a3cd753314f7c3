"""What each reader makes of its format: title, headings, visible text."""

import json
import zipfile
from io import BytesIO

import pytest

from meibel_integrations.local.documents import reader_process
from meibel_integrations.local.documents.chunking import chunk
from meibel_integrations.local.documents.document import Extracted
from meibel_integrations.local.documents.extract import extract
from meibel_integrations.local.documents.formats import office
from meibel_integrations.local.documents.reading import UnreadableError, decode


@pytest.mark.parametrize(
    ("name", "content", "title"),
    [
        ("a.md", "# The *Title*\n\ntext", "The Title"),
        ("a.md", "Intro\n=====\n\ntext", "Intro"),
        ("a.md", '---\ntitle: "From the front"\n---\n# Other\n', "From the front"),
        ("a.md", "+++\ntitle = 'Toml'\n+++\ntext\n", "Toml"),
        ("a.md", "# [Linked](http://x) title { #anchor }\n", "Linked title"),
        ("a.md", "```\n# not a heading\n```\n\n# Real\n", "Real"),
        ("a.md", "no heading", "a.md"),
        ("docs/a.rst", "=====\nTitle\n=====\n\ntext", "Title"),
        ("a.rst", ":mod:`asyncio` --- Async\n========================\n", "asyncio --- Async"),
        ("a.txt", 'The "with" statement\n********************\n\ntext', 'The "with" statement'),
        ("a.txt", "a table\n--\n", "a.txt"),
        ("README", "# Hash title\n\ntext\n", "Hash title"),
        ("a.html", "<html><head><title>Page &amp; more</title></head><body><h1>H</h1></body>", "Page & more"),
        ("a.html", "<h1>Only <em>this</em></h1><p>x</p>", "Only this"),
        ("pkg/mod.py", "import x\n\ndef f():\n    pass\n", "pkg/mod.py"),
        ("data/a.csv", "x,y\n1,2\n", "a.csv"),
    ],
)
def test_titles(name: str, content: str, title: str) -> None:
    assert extract(name, content.encode()).title == title


def headings(document: Extracted) -> list[str]:
    return [section.heading for section in document.sections]


def test_levels_of_underlines_are_in_order_of_use() -> None:
    text = "=\n" + "Top\n***\n\na\n\nSub\n===\n\nb\n\nDeep\n---\n\nc\n\nSub2\n====\n\nd\n"
    assert headings(extract("a.rst", text.encode()))[1:] == ["Top", "Top > Sub", "Top > Sub > Deep", "Top > Sub2"]


def test_a_heading_with_nothing_below_goes_with_the_next() -> None:
    document = extract("a.md", b"# A\n\n## B\n\ntext\n")
    assert headings(document) == ["A > B"]
    assert document.text[document.sections[0].start :].startswith("# A")


def test_python_is_divided_at_definitions() -> None:
    one = "@cached\ndef one(a):\n    return a\n\n\n"
    text = f'"""Doc."""\n\n{one}class Two(Base):\n    x = 1\n\n    def three(self):\n        pass\n'
    document = extract("m.py", text.encode())
    assert headings(document) == ["", "def one", "class Two", "class Two > def three"]
    assert document.text[document.sections[1].start :].startswith("@cached")


def test_html_shows_what_a_reader_sees() -> None:
    page = """<!doctype html><html><head><title>T</title><style>p {}</style><script>var hidden = 1 < 2;</script></head>
    <body><nav><ul><li>Home</li></ul></nav><div role="navigation"><div>Side</div>bar</div><!-- comment -->
    <main><h1>Head<a class="headerlink" href="#x">¶</a></h1><p title="a > b">One
    two<br>three &copy;</p><ul><li>item</li></ul><table><tr><td>a</td><td>b</td></tr></table></main>
    <footer>Foot</footer></body></html>"""
    text = extract("a.html", page.encode()).text
    assert text == "Head\n\nOne two three ©\n\n- item\n\n| a | b |"


@pytest.mark.parametrize("broken", ["<p", "<p title='x>y", "a < b > c", "<!-- never closed", "</div></div>x", "<a<b<c"])
def test_broken_html_is_survived(broken: str) -> None:
    assert "visible" in extract("a.html", f"<p>visible</p>{broken}".encode()).text


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("é".encode(), "é"),
        ("é\r\nx\ry".encode("utf-8-sig"), "é\nx\ny"),
        ("\ufeffé".encode("utf-16-le"), "é"),
        ("\ufeffé".encode("utf-16-be"), "é"),
        (b"", ""),
    ],
)
def test_encodings(content: bytes, text: str) -> None:
    assert decode(content) == text


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("naïve café".encode("latin-1"), "not UTF-8"),
        (b"abc\0def", "binary"),
        (bytes(range(1, 255)) * 4, "binary"),
        (b"\xff\xfea", "not UTF-16"),
    ],
)
def test_reasons_why_not(content: bytes, reason: str) -> None:
    with pytest.raises(UnreadableError, match=reason) as caught:
        decode(content)
    assert "\n" not in str(caught.value)


def make_pdf(text: str, *, password: str = "") -> bytes:
    import pypdf
    from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

    writer = pypdf.PdfWriter()
    page = writer.add_blank_page(300, 300)
    font = DictionaryObject(
        {NameObject("/Type"): NameObject("/Font"), NameObject("/Subtype"): NameObject("/Type1")}
        | {NameObject("/BaseFont"): NameObject("/Helvetica")}
    )
    page[NameObject("/Resources")] = DictionaryObject(
        {NameObject("/Font"): DictionaryObject({NameObject("/F1"): font})}
    )
    stream = DecodedStreamObject()
    stream.set_data(f"BT /F1 12 Tf 20 200 Td ({text}) Tj ET".encode())
    page[NameObject("/Contents")] = writer._add_object(stream)
    writer.add_metadata({"/Title": "A small PDF"})
    if password:
        writer.encrypt(password, algorithm="RC4-128")
    out = BytesIO()
    writer.write(out)
    return out.getvalue()


def test_pdf_text_and_title() -> None:
    document = extract("a.pdf", make_pdf("Words on a page"))
    assert (document.title, document.text) == ("A small PDF", "Words on a page")
    assert headings(document) == ["Page 1"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"%PDF-1.4 nothing of the kind", "broken PDF"), (make_pdf("", password=""), "without text")],
)
def test_pdf_without_use(content: bytes, reason: str) -> None:
    with pytest.raises(UnreadableError, match=reason):
        extract("a.pdf", content)


def test_encrypted_pdf() -> None:
    with pytest.raises(UnreadableError, match="encrypted"):
        extract("a.pdf", make_pdf("secret", password="x"))


def test_pdf_without_pypdf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(office.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UnreadableError, match="pip install"):
        extract("a.pdf", b"%PDF-1.4")


def test_a_file_that_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_process, "_SECONDS", 0.001)
    with pytest.raises(UnreadableError, match="within"):
        reader_process.read_apart("a.pdf", make_pdf("never seen"))


def test_a_document_read_apart_is_the_same() -> None:
    content = "# Tïtle\n\nOne \u2028 line.\n\n## Second\n\n```\ncode\n```\n".encode()
    document = extract("a.md", content)
    assert reader_process.read_apart("a.md", content) == (document.title, list(chunk(document)))
    with pytest.raises(UnreadableError, match="binary"):
        reader_process.read_apart("a.md", b"\0")


# Word documents and notebooks

_WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


def make_docx(body: str) -> bytes:
    types = (
        '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Override PartName="/word/document.xml" ContentType="application/vnd.openxmlformats-officedocument.'
        'wordprocessingml.document.main+xml"/></Types>'
    )
    relations = (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1"'
        ' Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"'
        ' Target="word/document.xml"/></Relationships>'
    )
    out = BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("[Content_Types].xml", types)
        packed.writestr("_rels/.rels", relations)
        packed.writestr("word/document.xml", f'<w:document xmlns:w="{_WORD}"><w:body>{body}</w:body></w:document>')
    return out.getvalue()


def paragraph(text: str, style: str = "") -> str:
    named = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f"<w:p>{named}<w:r><w:t>{text}</w:t></w:r></w:p>"


def test_a_word_document() -> None:
    cells = "".join(f"<w:tc>{paragraph(text)}</w:tc>" for text in ("lamp", "whale oil"))
    body = (
        paragraph("The lighthouse", "Heading1") + paragraph("Built in 1848.") + f"<w:tbl><w:tr>{cells}</w:tr></w:tbl>"
    )
    document = extract("a.docx", make_docx(body))
    assert document.title == "The lighthouse"
    assert document.text == "The lighthouse\n\nBuilt in 1848.\n\n| lamp | whale oil |"
    assert headings(document) == ["The lighthouse"]


def test_a_word_document_that_is_a_bomb_or_broken() -> None:
    for content, reason in ((b"PK nothing", "broken"), (make_docx(paragraph("x" * 60_000_000)), "unpacks to 60 MB")):
        with pytest.raises(UnreadableError, match=reason):
            reader_process.read_apart("a.docx", content)


def test_a_notebook() -> None:
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": ["# Lamps\n", "Oil first."], "id": "a"},
        {"cell_type": "code", "metadata": {}, "source": "light()", "outputs": [], "execution_count": 1, "id": "b"},
    ]
    content = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    document = extract("a.ipynb", json.dumps(content).encode())
    assert (document.title, document.text) == ("Lamps", "# Lamps\nOil first.\n\n```\nlight()\n```")
    with pytest.raises(UnreadableError, match="not a notebook"):
        extract("a.ipynb", b"[1, 2]")


# Shapes of HTML

_SHAPES = {
    "a list": ("<p>Steps:<ol><li>One<ul><li>sub</ul><li><p>Two</ol><p>End", "Steps:\n\n1. One\n  - sub\n2. Two\n\nEnd"),
    "a table": (
        "<table><tr><th>Name<th>Value<tr><td><p>a</p><td>x|y</table>",
        "| Name | Value |\n| --- | --- |\n| a | x\\|y |",
    ),
    "a table without head": ("<table><tr><td>a<td>b<tr><td>c<td>d</table>", "| a | b |\n| c | d |"),
    "a table for layout": ("<table><tr><td><h1>H</h1><p>text<td>side</table>", "H\n\ntext\n\nside"),
    "definitions": ("<dl><dt>lamp<dd>gives light<dt>oil<dd>burns</dl>", "lamp\n    gives light\n\noil\n    burns"),
    "code": ("<p>Run:<pre>  a &lt; b\n\tc</pre>then", "Run:\n\n```\n  a < b\n    c\n```\n\nthen"),
    "hidden things": ("<p hidden>x<div class='a sidebar b'>y</div><p>seen<style>z</style>", "seen"),
}


@pytest.mark.parametrize("name", _SHAPES)
def test_html_keeps_its_shape(name: str) -> None:
    source, text = _SHAPES[name]
    assert extract("a.html", f"<!doctype html><body>{source}".encode()).text == text


@pytest.mark.parametrize(
    ("title", "heading", "shown"),
    [
        ("Core Features - Apache HTTP Server Version 2.4", "Core Features", "Core Features"),
        ("mod_x - Apache HTTP Server Version 2.4", "Apache Module mod_x", "mod_x"),
        (
            "asyncio — Asynchronous I/O — Python 3 documentation",
            "asyncio — Asynchronous I/O",
            "asyncio — Asynchronous I/O",
        ),
        ("Site | Lamps", "Lamps", "Lamps"),
        ("A page", "Something else", "A page"),
        ("", "Heading", "Heading"),
        ("Only a title", "", "Only a title"),
    ],
)
def test_a_title_without_the_sites_name(title: str, heading: str, shown: str) -> None:
    assert extract("a.html", f"<title>{title}</title><h1>{heading}</h1><p>x".encode()).title == shown


# AsciiDoc

_MANUAL = """= Not this :-
:toc:

Git User Manual
===============

To clone:

------------------------------------------------
$ man git-clone
------------------------------------------------

[listing]
----
== no heading
----

=== Deeper
text
"""


@pytest.mark.parametrize("name", ["manual.txt", "manual.adoc"])
def test_an_asciidoc_listing_is_no_heading(name: str) -> None:
    document = extract(name, _MANUAL.removeprefix("= Not this :-\n").encode())
    assert document.title == "Git User Manual"
    assert headings(document)[-2:] == ["Git User Manual", "Git User Manual > Deeper"]
    assert [document.text[a:b].splitlines()[1] for a, b in document.blocks] == ["$ man git-clone", "== no heading"]
