"""What a file is shows in what it holds."""

import pytest

from ragline.errors import InvalidRequest, Unsupported
from services.preprocess.parsers._sniff import sniff
from tests.preprocess.files import archive, handbook_docx, pdf

MARKDOWN = b"# Title\n\nSome text with **bold** words.\n"
HTML = b"<!-- saved --><!DOCTYPE html><html><body><p>x</p></body></html>"
JSONL = b'{"id": 1, "text": "a"}\n{"id": 2, "text": "b"}\n'
CSV = b"name,age\nAnn,31\nBob,42\n"


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (MARKDOWN, "markdown"),
        (HTML, "html"),
        (b"<div><p>one</p><p>two</p></div>", "html"),
        (JSONL, "jsonl"),
        (b'{bad\n{"text": "a"}\n{"text": "b"}\n', "jsonl"),
        (b'[{"text": "a"}, {"text": "b"}]', "jsonl"),
        (b'{\n  "text": "a"\n}', "jsonl"),
        (CSV, "csv"),
        (b"a;b\n1;2\n3;4\n", "csv"),
        (b"Plain text, with a comma.\nAnd another, line.\nAnd so on.", "text"),
        (b'{"name": "package", "version": 1}', "text"),
        ("Größe, Länge".encode("utf-16"), "text"),
        (b"mail\x00with a few NULs in very much text that is otherwise plain", "text"),
    ],
)
@pytest.mark.parametrize("name", ["", "wrong.pdf", "wrong.docx"])
def test_content_decides(data: bytes, kind: str, name: str) -> None:
    assert sniff(data, name) == kind


@pytest.mark.parametrize("name", ["x.txt", "x.md", "x.html", "x.csv", "x.jsonl"])
def test_binary_kinds_do_not_depend_on_the_name(name: str) -> None:
    assert sniff(pdf([[("Hello", 12)]]), name) == "pdf"
    assert sniff(handbook_docx(), name) == "docx"
    assert sniff(HTML, name) == "html"


def test_the_name_or_the_media_type_decides_between_kinds_of_text() -> None:
    prose = b"Just a paragraph of text, no signs at all."
    assert sniff(prose) == "text"
    assert sniff(prose, "x.md") == "markdown"
    assert sniff(prose, "", "text/markdown; charset=utf-8") == "markdown"
    assert sniff(b"a,b\n1,2\n", "x.csv") == "csv"
    code = b"# comment\n\n# another\n\ndef f(): ...\n"
    assert sniff(code, "x.py") == "text"


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\x7fELF\x02\x01\x01\x00" + bytes(100), "ELF"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(50), "PNG"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(50), "JPEG"),
        (b"\x1f\x8b\x08\x00" + bytes(50), "gzip"),
        (b"{\\rtf1 text}", "RTF"),
        (archive({"xl/workbook.xml": b"<x/>"}), "Excel"),
        (archive({"a.txt": b"x"}), "zip archive"),
        (b"PK\x03\x04" + bytes(range(256)), "broken zip"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "old Office"),
        (bytes(range(256)) * 20, "binary data"),
    ],
)
@pytest.mark.parametrize("name", ["", "x.txt", "x.md"])
def test_binary_posing_as_text_is_named(data: bytes, what: str, name: str) -> None:
    with pytest.raises(Unsupported, match=what) as raised:
        sniff(data, name)
    assert "JSONL" in raised.value.detail


@pytest.mark.parametrize("data", [b"", b" \n\t ", b"\xef\xbb\xbf", b"\x00\x00", b"\xff\xfe"])
def test_nothing_is_no_document(data: bytes) -> None:
    with pytest.raises(InvalidRequest, match="no text"):
        sniff(data)


def test_a_locked_office_file_is_said_to_be_locked() -> None:
    data = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500) + "EncryptedPackage".encode("utf-16-le")
    with pytest.raises(InvalidRequest, match="password"):
        sniff(data)
