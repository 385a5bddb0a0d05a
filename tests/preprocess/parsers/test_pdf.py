"""PDFs are read with their pages, headings and running heads."""

import pytest

from ragline.errors import InvalidRequest, TooLarge
from services.preprocess.clean import clean
from services.preprocess.parsers import Parsed, Parts
from services.preprocess.parsers.pdf import load
from tests.preprocess.files import pdf, scanned_pdf

BODY = [
    ("The library describes how data is kept, and how it is moved from one", 10),
    ("place to another without loss. It has been in use for many years.", 10),
    ("Further lines follow so that this size is the most common of the page.", 10),
]


def parse(data: bytes, limit: int = 1_000_000) -> Parsed:
    [found] = load(Parts(limit)).parse(data, "x.pdf")
    return found


def test_pages_and_headings() -> None:
    found = parse(pdf([[("User Guide", 24), *BODY], [("Install", 16), *BODY], [("Use", 16), *BODY]]))
    assert found.title == "User Guide"
    assert [(h.level, h.text) for h in found.headings] == [(1, "User Guide"), (2, "Install"), (2, "Use")]
    assert len(found.pages) == 3
    assert [found.text[page : page + 4] for page in found.pages] == ["User", "Inst", "Use\n"]
    assert [found.text[page - 1] for page in found.pages[1:]] == ["\f", "\f"]
    assert "how it is moved from one\nplace to another" in found.text
    assert found.hyphenated


def test_the_stated_title_goes_first_unless_it_is_junk() -> None:
    assert parse(pdf([BODY], title="Data at Rest")).title == "Data at Rest"
    assert parse(pdf([[("Real Title", 20), *BODY]], title="Microsoft Word - draft.doc")).title == "Real Title"


def test_the_outline_tells_headings_that_are_set_like_text() -> None:
    pages = [[("Intro", 10), *BODY], [("1.2 Details", 10), *BODY]]
    found = parse(pdf(pages, outline=[("Intro", 0, 0), ("Details", 1, 1)]))
    assert [(h.level, h.text) for h in found.headings] == [(1, "Intro"), (2, "Details")]
    assert found.text[found.headings[1].start :].startswith("1.2 Details")


def test_running_heads_and_page_numbers_are_skipped() -> None:
    texts = [f"Page text number {number} is different from all others here." for number in range(6)]
    pages = [[(words, 10), (words.upper(), 10)] for words in texts]
    found = parse(pdf(pages, header="Acme Confidential 2024", numbers=True))
    cleaned = clean(found.text, found.skip).text
    assert "Confidential" in found.text
    assert "Confidential" not in cleaned
    assert "of 6" not in cleaned
    assert all(words in cleaned for words in texts)


def test_contents_lists_are_skipped() -> None:
    found = parse(pdf([[("Install . . . . . . . . . 7", 10), ("Use ............ 9", 10), *BODY]]))
    assert "Install" not in clean(found.text, found.skip).text


def test_locked() -> None:
    with pytest.raises(InvalidRequest, match="password"):
        parse(pdf([BODY], password="secret"))


def test_scanned() -> None:
    with pytest.raises(InvalidRequest, match="no text layer"):
        parse(scanned_pdf())


@pytest.mark.parametrize("keep", [20, 300, 0.5, 0.9, 0.99])
def test_cut_off(keep: float) -> None:
    data = pdf([BODY] * 5)
    try:
        found = parse(data[: int(keep if keep > 1 else keep * len(data))])
    except InvalidRequest as error:
        assert "PDF" in error.detail  # noqa: PT017
    else:
        assert "library" in found.text


def test_damaged() -> None:
    data = pdf([BODY] * 3)
    for at in range(50, len(data), 97):
        harmed = data[:at] + b"\xff\x00" + data[at + 2 :]
        try:
            parse(harmed)
        except InvalidRequest:
            continue


def test_sizes_are_bounded() -> None:
    with pytest.raises(TooLarge, match="PREPROCESS_MAX_TEXT_CHARS"):
        parse(pdf([BODY] * 10), limit=1000)
