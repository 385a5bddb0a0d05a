"""DOCX is read in the order of the document; bombs are refused before they are unpacked."""

import docx
import pytest

from ragline.errors import InvalidRequest, TooLarge
from services.preprocess.parsers import Parsed, Parts
from services.preprocess.parsers.docx import load
from tests.preprocess.files import archive, handbook_docx, saved

NAMESPACE = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def parse(data: bytes, limit: int = 1_000_000) -> Parsed:
    [found] = load(Parts(limit)).parse(data, "x.docx")
    return found


def body(xml: str) -> bytes:
    return archive({"word/document.xml": f"<w:document {NAMESPACE}><w:body>{xml}</w:body></w:document>".encode()})


def test_a_document() -> None:
    found = parse(handbook_docx())
    assert found.text == (
        "The Handbook\n\nLeave\n\nYou get 25 days. Two more after a year.\n\n- Ask early\n- Ask in writing\n\n"
        "Sick leave\n\n| Illness | Days |\n| Flu or cold | 3 |\n\nAfter the table\na new line."
    )
    assert found.title == "The Handbook"
    assert [(h.level, h.text, found.text[h.start :][: len(h.text)]) for h in found.headings] == [
        (1, "Leave", "Leave"),
        (2, "Sick leave", "Sick leave"),
    ]


def test_the_title_of_the_properties() -> None:
    document = docx.Document()
    document.core_properties.title = "Stated"
    document.add_paragraph("Some text.")
    assert parse(saved(document)).title == "Stated"


def test_changes_are_accepted_and_links_are_read() -> None:
    found = parse(
        body(
            "<w:p><w:r><w:t>Pay </w:t></w:r><w:del><w:r><w:delText>10</w:delText></w:r></w:del>"
            "<w:ins><w:r><w:t>20</w:t></w:r></w:ins><w:hyperlink><w:r><w:t> euros</w:t></w:r></w:hyperlink>"
            "<w:r><w:instrText>PAGE</w:instrText></w:r></w:p>"
            "<w:sdt><w:sdtContent><w:p><w:r><w:t>In a control</w:t></w:r></w:p></w:sdtContent></w:sdt>"
        )
    )
    assert found.text == "Pay 20 euros\n\nIn a control"


def test_styles_that_are_based_on_each_other_in_a_ring() -> None:
    styles = "".join(
        f'<w:style w:styleId="{one}"><w:name w:val="{one}"/><w:basedOn w:val="{other}"/></w:style>'
        for one, other in (("A", "B"), ("B", "A"))
    )
    found = parse(
        archive(
            {
                "word/document.xml": f'<w:document {NAMESPACE}><w:body><w:p><w:pPr><w:pStyle w:val="A"/></w:pPr>'
                "<w:r><w:t>text</w:t></w:r></w:p></w:body></w:document>".encode(),
                "word/styles.xml": f"<w:styles {NAMESPACE}>{styles}</w:styles>".encode(),
            }
        )
    )
    assert found.text == "text"


def test_a_bomb_is_not_unpacked() -> None:
    with pytest.raises(TooLarge, match="bomb"):
        parse(archive({"word/document.xml": b"<w:p>" + b" " * 60_000_000}))


def test_too_many_parts() -> None:
    with pytest.raises(TooLarge, match="parts"):
        parse(archive({f"word/{number}.xml": b"" for number in range(20_001)}))


def test_entities_are_not_expanded() -> None:
    laughs = "".join(f'<!ENTITY l{n + 1} "{f"&l{n};" * 10}">' for n in range(9))
    kinds = f'<!DOCTYPE w:document [<!ENTITY l0 "ha">{laughs}]>'
    xml = f"{kinds}<w:document {NAMESPACE}><w:body>&l9;</w:body></w:document>"
    with pytest.raises(InvalidRequest, match=r"document type|cannot be read"):
        parse(archive({"word/document.xml": xml.encode()}))


@pytest.mark.parametrize(
    "data",
    [
        archive({"word/styles.xml": b"<x/>"}),
        archive({"word/document.xml": b"<broken"}),
        archive({"word/document.xml": b""}),
        handbook_docx()[:5000],
        body("<w:p/>"),
        b"PK\x03\x04word/" + bytes(100),
    ],
)
def test_broken_or_empty(data: bytes) -> None:
    with pytest.raises(InvalidRequest):
        parse(data)


def test_damaged() -> None:
    data = handbook_docx()
    for at in range(30, len(data), 611):
        try:
            parse(data[:at] + b"\xff\x00\xff" + data[at + 3 :])
        except InvalidRequest:
            continue


def test_deep_nesting() -> None:
    with pytest.raises(InvalidRequest):
        parse(body("<w:tbl><w:tr><w:tc>" * 5000))


def test_sizes_are_bounded() -> None:
    with pytest.raises(TooLarge, match="PREPROCESS_MAX_TEXT_CHARS"):
        parse(handbook_docx(), limit=50)
