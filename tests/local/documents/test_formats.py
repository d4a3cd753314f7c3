"""What each reader makes of its format: title, headings, visible text."""

import subprocess
import sys
from io import BytesIO

import pytest

from meibel_integrations.local.documents.document import Extracted
from meibel_integrations.local.documents.extract import extract
from meibel_integrations.local.documents.formats import pdf
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
    assert text == "Head\n\nOne two three ©\n\nitem\n\na b"


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
    monkeypatch.setattr(pdf.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UnreadableError, match="pip install"):
        extract("a.pdf", b"%PDF-1.4")


def test_pdf_that_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: object, **kwargs: object) -> None:
        raise subprocess.TimeoutExpired([sys.executable], 60)

    monkeypatch.setattr(pdf.subprocess, "run", never)
    with pytest.raises(UnreadableError, match="60 seconds"):
        extract("a.pdf", b"%PDF-1.4")
