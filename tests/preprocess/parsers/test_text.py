"""Plain text comes through in whatever encoding it was written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.preprocess.parsers import Parts
from services.preprocess.parsers._decoding import decode
from services.preprocess.parsers.text import load, read_text


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Le café est très bon à l'été, garçon.", "latin-1"),
        ("El niño comió", "latin-1"),
        ("naïve", "latin-1"),
        ("\u201cQuoted\u201d \u2014 it\u2019s fine", "cp1252"),
        ("Die Größe der Straße über München", "cp1252"),
        ("日本語のテキストです。これは文章です。", "shift-jis"),
        ("日本語のテキストです。これは文章です。", "euc-jp"),
        ("中文简体文本测试一下编码识别。", "gbk"),
        ("한국어 텍스트입니다", "euc-kr"),
        ("Za\u017c\u00f3\u0142\u0107 g\u0119\u015bl\u0105 ja\u017a\u0144", "cp1250"),
        ("Hello there", "utf-16-le"),
        ("Hello there", "utf-16-be"),
        ("Hello é", "utf-16"),
        ("x日", "utf-32"),
        ("\u00e9 plain", "utf-8"),
        ("\u00e9 with a mark", "utf-8-sig"),
    ],
)
def test_encodings(text: str, encoding: str) -> None:
    [found] = load(Parts()).parse(text.encode(encoding), "x.txt")
    assert found.text == text


def test_damaged_utf8_is_still_read_as_utf8() -> None:
    text = "Größe und Länge für alle Straßen"
    assert decode(text.encode() + b"\xff").startswith(text)
    assert decode("日本語".encode()[:-1]) == "日本\ufffd"


@given(st.binary(max_size=300))
def test_no_bytes_raise(data: bytes) -> None:
    decode(data).encode("utf-8", errors="strict")


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("Annual Report\n\nThe year was good.", "Annual Report"),
        ("Annual Report\n=====\nThe year was good.", "Annual Report"),
        ("The year was good.\n\nIt was.", ""),
        ("A line\nthat goes on\n\nand ends", ""),
        ("12345\n\nnumbers", ""),
        ("", ""),
    ],
)
def test_a_first_line_that_stands_alone_is_the_title(text: str, title: str) -> None:
    assert read_text(text).title == title
