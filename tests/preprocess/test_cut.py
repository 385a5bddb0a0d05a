"""Bytes in, passages with exact source offsets out; and nothing but a RaglineError for what cannot be read."""

from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragline.errors import InvalidRequest, RaglineError, TooLarge, Unsupported
from ragline.settings import SettingsError
from ragline.spans import to_source
from services.preprocess.cut import CutDocument, CutOptions, Cutter, Rejected
from tests.preprocess.files import archive, handbook_docx, pdf

CUTTER = Cutter(CutOptions(max_tokens=50, overlap_tokens=8))

GUIDE = (
    """\
---
title: The Guide
---
# The Guide

Intro text.

## Install

Install it with care. Then  start it.

### On Linux

"""
    + "Run the script and wait for it to end. " * 12
)


def one(data: bytes | str, cutter: Cutter = CUTTER, **said: str) -> CutDocument:
    [found] = cutter.cut(data if isinstance(data, bytes) else data.encode(), **said)  # type: ignore[arg-type]
    assert isinstance(found, CutDocument)
    return found


def test_a_markdown_file() -> None:
    found = one(GUIDE, name="guide.md")
    assert found.title == "The Guide"
    assert found.source == GUIDE
    assert found.media_type == "text/markdown"
    assert "---" not in found.passages[0].text
    assert found.passages[0].section == "Install"  # what is tiny goes with what follows
    assert {piece.section for piece in found.passages[1:]} == {"Install > On Linux"}
    holds(found)


def test_ordinary_text_is_verbatim() -> None:
    text = "First paragraph, with a sentence. And another.\n\nSecond paragraph: caf\u00e9, 日本語, 😀.\n" * 20
    found = one(text, kind="text")
    assert len(found.passages) > 5
    assert all(found.source[piece.start : piece.end] == piece.text for piece in found.passages)
    assert not any(piece.offsets for piece in found.passages)


def test_text_that_was_cleaned_leads_back() -> None:
    text = "Zero\u200bwidth and  two spaces.\r\nCafe\u0301 at the end: cafe\u0301"
    found = one(text, kind="text")
    [piece] = found.passages
    assert piece.text == "Zerowidth and two spaces.\nCaf\u00e9 at the end: caf\u00e9"
    assert (piece.start, piece.end) == (0, len(text))
    at = piece.text.index("Caf")
    assert text[to_source(piece.offsets, piece.start, at) :].startswith("Cafe\u0301")


def test_pages() -> None:
    lines = [("The words of this page are these and no others at all.", 10)] * 4
    found = one(pdf([lines, lines, [*lines, ("A word on page three.", 10)]]))
    last = found.passages[-1]
    assert "page three" in last.text
    assert last.page + sum(start <= found.source.index("A word") for start in last.page_starts) == 3
    assert found.passages[0].page == 1
    holds(found)


def test_the_senders_title_goes_first() -> None:
    assert one("# Own\n\ntext\n", name="x.md", title="Said").title == "Said"
    assert one("# Own\n\ntext\n", name="x.md").title == "Own"
    assert one("just text", name="leave-policy.txt").title == "leave-policy"
    assert one("just text", kind="text").title == ""


def test_text_is_taken_as_it_is() -> None:
    for text in ('{"text": "x"}', "<html><p>x</p></html>", "a,b\n1,2\n3,4\n", "%PDF-1.4"):
        assert one(text, kind="text").source == text


def test_headings_of_given_text_are_found() -> None:
    found = one("# Top\n\nA word.\n\n## Low\n\n" + "Some text with **bold** words. " * 10, kind="text")
    assert found.passages[-1].section == "Low"


def test_many_documents_in_one_file() -> None:
    lines = [
        {"id": "a", "text": "First."},
        {"id": "a", "text": "The same id."},
        {"id": "b", "text": "\u200b"},
        {"id": "c"},
        {"id": "d", "text": "Last.", "title": "T"},
    ]
    found = CUTTER.cut(b"\n".join(map(orjson.dumps, lines)), name="x.jsonl", title="ignored")
    assert [type(each) for each in found] == [CutDocument, Rejected, Rejected, Rejected, CutDocument]
    assert [each.id for each in found] == ["a", "a", "b", "c", "d"]
    assert isinstance(found[4], CutDocument)
    assert found[4].title == "T"
    assert "more than once" in found[1].reason  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", InvalidRequest),
        (b" \n\t", InvalidRequest),
        ("\u200b\u200b".encode(), InvalidRequest),
        (b"\x7fELF" + bytes(100), Unsupported),
        (b"%PDF-1.7 broken", InvalidRequest),
        (archive({"word/document.xml": b" " * 60_000_000}), TooLarge),
        (handbook_docx()[:3000], InvalidRequest),
        (b"<html>" + b"<div>" * 50_000, InvalidRequest),
    ],
)
def test_what_cannot_be_read(data: bytes, error: type[RaglineError]) -> None:
    with pytest.raises(error):
        CUTTER.cut(data, name="x.txt")


def test_text_that_is_not_utf8() -> None:
    with pytest.raises(InvalidRequest, match="UTF-8"):
        CUTTER.cut(b"caf\xe9", kind="text")


def test_limits_are_named() -> None:
    with pytest.raises(TooLarge, match="PREPROCESS_MAX_TEXT_CHARS"):
        Cutter(CutOptions(max_text_chars=100)).cut(b"word " * 100, kind="text")
    with pytest.raises(TooLarge, match="PREPROCESS_MAX_PASSAGES"):
        Cutter(CutOptions(max_tokens=16, max_passages=3)).cut(b"Some words. " * 100, kind="text")


def test_a_limit_in_a_file_of_many_is_its_documents_own() -> None:
    data = b'{"text": "short"}\n{"text": "' + b"word " * 100 + b'"}\n'
    found = Cutter(CutOptions(max_text_chars=100)).cut(data)
    assert [type(each) for each in found] == [CutDocument, Rejected]


def test_the_fingerprint_changes_with_what_changes_the_cut(tmp_path: Path) -> None:
    tokenizer = tmp_path / "tokenizer.json"
    tokenizer.write_text("{}")
    options = [CutOptions(), CutOptions(max_tokens=100), CutOptions(overlap_tokens=0), CutOptions(tokenizer)]
    assert len({each.fingerprint() for each in options}) == 4
    assert CutOptions().fingerprint() == CUTTER.__class__(CutOptions()).fingerprint
    with pytest.raises(SettingsError, match="tokenizer"):
        Cutter(CutOptions(tokenizer))


def test_an_unknown_chunker_stops_the_start() -> None:
    with pytest.raises(SettingsError, match="headings"):
        Cutter(CutOptions(chunker="nosuch"))


@pytest.mark.models
def test_the_models_own_tokenizer_counts(minilm: Path) -> None:
    cutter = Cutter(CutOptions(minilm / "tokenizer.json"))
    long = "Internationalisation of antidisestablishmentarianism, " * 200
    for text in (long, "x" * 50_000, "日本語" * 3000, "word " * 20_000, GUIDE * 5):
        found = one(text, cutter, kind="text")
        counts = cutter._count_tokens([piece.text for piece in found.passages])
        assert max(counts) <= 200
        holds(found)


@given(st.binary(max_size=600), st.sampled_from(["", "a.md", "a.csv", "a.html", "a.jsonl", "a.pdf"]))
@settings(max_examples=200)
def test_any_bytes(data: bytes, name: str) -> None:
    check(data, name)


@given(
    st.sampled_from(
        [
            b"%PDF-1.4\n",
            b"PK\x03\x04word/",
            b"<html>",
            b"<p>",
            b'{"text":',
            b"[{",
            b"a,b\n",
            b"# h\n\n",
            b"---\na:",
        ]
    ),
    st.binary(max_size=300),
)
@settings(max_examples=200)
def test_any_bytes_behind_a_sign_of_a_format(sign: bytes, data: bytes) -> None:
    check(sign + data, "")


@given(st.text(max_size=500))
def test_any_text(text: str) -> None:
    check(text.encode(errors="surrogatepass"), "x.md")
    try:
        found = CUTTER.cut(text.encode(), kind="text")
    except (RaglineError, UnicodeEncodeError):
        return
    assert isinstance(found[0], CutDocument)
    assert found[0].source == text


def check(data: bytes, name: str) -> None:
    try:
        found = CUTTER.cut(data, name=name)
    except RaglineError:
        return
    orjson.dumps(found)
    for each in found:
        if isinstance(each, CutDocument):
            holds(each)


def holds(document: CutDocument) -> None:
    assert document.passages
    for piece in document.passages:
        assert piece.text == piece.text.strip() != ""
        assert 0 <= piece.start < piece.end <= len(document.source)
        assert to_source(piece.offsets, piece.start, 0) == piece.start
        assert to_source(piece.offsets, piece.start, len(piece.text) - 1) < piece.end
        if not piece.offsets:
            assert piece.end - piece.start >= len(piece.text)
