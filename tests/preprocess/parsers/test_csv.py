"""Tables give a document a row, or one document with a line a row."""

import pytest

from ragline.errors import InvalidRequest
from services.preprocess.parsers import Parsed, Parts, Rejected
from services.preprocess.parsers.csv import load


def parse(text: str) -> list[Parsed | Rejected]:
    return load(Parts(max_text_chars=1_000_000)).parse(text.encode(), "x.csv")


def test_a_column_of_text_makes_documents() -> None:
    found = parse(
        'id,Title,text,Team\n1,"One, two","He said ""hi""\nand left",sales\n2,,,x\n3,T,c,d,extra\n4,,last,\n'
    )
    first, blank, wide, last = found
    assert isinstance(first, Parsed)
    assert (first.id, first.title, first.text) == ("1", "One, two", 'He said "hi"\nand left')
    assert first.metadata == {"Team": "sales"}
    assert blank == Rejected(4, "2", "Line 4 has no text.")
    assert isinstance(wide, Rejected)
    assert "5 cells" in wide.reason
    assert isinstance(last, Parsed)
    assert last.metadata == {}


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_other_tables_are_one_document(delimiter: str) -> None:
    rows = [["name", "age", "note"], ["Ann", "31", "likes\ntea"], ["Bob", "", "x"]]
    text = "\n".join(delimiter.join(f'"{cell}"' for cell in row) for row in rows)
    [found] = parse(text)
    assert isinstance(found, Parsed)
    assert found.text == "name: Ann; age: 31; note: likes tea\nname: Bob; note: x"


def test_without_a_heading_columns_are_numbered() -> None:
    [found] = parse("1,2\n3,4\n")
    assert isinstance(found, Parsed)
    assert found.text == "column 1: 1; column 2: 2\ncolumn 1: 3; column 2: 4"


def test_huge_cells_and_stray_quotes() -> None:
    huge = "x" * 500_000
    [found] = parse(f"id,text\n1,{huge}\n")
    assert isinstance(found, Parsed)
    assert found.text == huge
    assert parse('a,b\n"1,2\n3,4\n')


@pytest.mark.parametrize("text", ["", " \n,,\n"])
def test_nothing_in_it(text: str) -> None:
    with pytest.raises(InvalidRequest):
        parse(text)


def test_a_heading_alone() -> None:
    assert isinstance(parse("id,text\n")[0], Rejected)
