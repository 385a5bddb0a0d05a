"""Reads PDF: the text of its pages with page numbers, headings and running heads told apart."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from dataclasses import replace

import pypdfium2 as pdfium
from pypdfium2 import raw

from ragline.errors import InvalidRequest
from services.preprocess.parsers import Heading, Parsed, Parts, Span
from services.preprocess.parsers._lines import check_length, first_line_title, short
from services.preprocess.parsers._pdf_layout import (
    Bookmark,
    Line,
    boilerplate,
    gap,
    headings_by_outline,
    headings_by_size,
    usual_distance,
)

PAGE_END = "\f"
MAX_BOOKMARKS = 5000

_BROKEN_WORD = "\ufffe"  # PDFium's sign for a hyphen at a line's end, after which it leaves the line end out
_JUNK_TITLE = re.compile(
    r"untitled.*|microsoft (?:word|powerpoint|excel).*|.*\.(?:docx?|pdf|tex|indd|dvi|ps|pptx?|odt|rtf)|\W*|title",
    re.IGNORECASE,
)


def load(parts: Parts) -> Pdf:
    """The PDF parser."""
    return Pdf(parts.max_text_chars)


class Pdf:
    """Reads PDFs that have a text layer and no password."""

    def __init__(self, max_text_chars: int) -> None:
        self._max_text_chars = max_text_chars

    def parse(self, data: bytes, name: str) -> list[Parsed]:
        """One document; ``text`` is that of the pages, one form feed between them.

        Raises InvalidRequest for a broken or locked file and for one without text.
        """
        document = _opened(data)
        try:
            pages = self._pages(document)
            outline = _outline(document)
            stated = " ".join(document.get_metadata_value("Title").split())
        finally:
            document.close()
        text, starts, pages = _laid_out(pages)
        if not text.strip(PAGE_END + " \n"):
            raise InvalidRequest(
                "The PDF has no text layer, only images: run it through text recognition (OCR) and send it again."
            )
        lines = [line for page in pages for line in page]
        large = headings_by_size(lines)
        headings = headings_by_outline(lines, outline) or large
        return [
            Parsed(
                text,
                "application/pdf",
                title=_title(stated, text, large, starts),
                headings=tuple(headings),
                pages=tuple(starts),
                skip=tuple(_whole_lines(text, boilerplate(pages, [*headings, *large]))),
                hyphenated=True,
            )
        ]

    def _pages(self, document: pdfium.PdfDocument) -> list[list[Line]]:
        """The lines of each page. A damaged page is empty; that all are is an InvalidRequest."""
        pages: list[list[Line]] = []
        length, damaged = 0, 0
        for number in range(len(document)):
            try:
                lines = list(_lines(document, number))
            except pdfium.PdfiumError:
                lines = []
                damaged += 1
            length += 1 + sum(len(line.text) + 1 for line in lines)
            check_length(length, self._max_text_chars)
            pages.append(lines)
        if damaged == len(pages):
            raise InvalidRequest("The PDF is broken: none of its pages can be read.")
        return pages


def _opened(data: bytes) -> pdfium.PdfDocument:
    try:
        return pdfium.PdfDocument(data)
    except pdfium.PdfiumError as error:
        if error.err_code in {raw.FPDF_ERR_PASSWORD, raw.FPDF_ERR_SECURITY}:
            raise InvalidRequest(
                "The PDF is locked with a password: save it without one and send it again."
            ) from None
        raise InvalidRequest("The PDF is broken or cut off: it cannot be opened.") from None


def _lines(document: pdfium.PdfDocument, number: int) -> Iterator[Line]:
    """The lines of a page that are not blank."""
    page = document[number]
    try:
        layer = page.get_textpage()
        try:
            text = layer.get_text_range()
            placed = len(text) == layer.count_chars()  # else character numbers do not fit
            at = 0
            for line in text.split("\r\n"):
                words = line.strip()
                if words:
                    size, top = _place(layer, at + line.index(words[0])) if placed else (0.0, 0.0)
                    for part in words.replace("\r", "").replace(_BROKEN_WORD, "-\n").split("\n"):
                        if part.strip():
                            yield Line(part.strip(), size, top, number)
                            top -= size
                at += len(line) + 2
        finally:
            layer.close()
    finally:
        page.close()


def _place(layer: pdfium.PdfTextPage, index: int) -> tuple[float, float]:
    """The height of a character's font, and of its upper edge on the page, in points."""
    box = raw.FS_RECTF()
    if not raw.FPDFText_GetLooseCharBox(layer, index, ctypes.byref(box)):
        return 0.0, 0.0
    matrix = raw.FS_MATRIX()
    size = raw.FPDFText_GetFontSize(layer, index)
    if raw.FPDFText_GetMatrix(layer, index, ctypes.byref(matrix)):
        size *= (matrix.c**2 + matrix.d**2) ** 0.5
    return size, box.bottom


def _laid_out(pages: list[list[Line]]) -> tuple[str, list[int], list[list[Line]]]:
    """The text, where each page begins in it, and the lines with their places in it."""
    usual = usual_distance([line for page in pages for line in page])
    pieces: list[str] = []
    starts: list[int] = []
    placed: list[list[Line]] = []
    length = 0
    for page in pages:
        if starts:
            pieces.append(PAGE_END)
            length += 1
        starts.append(length)
        placed.append([])
        above: Line | None = None
        for line in page:
            if above:
                between = "\n" if above.text.endswith("-") else gap(above, line, usual)
                pieces.append(between)
                length += len(between)
            placed[-1].append(replace(line, start=length))
            pieces.append(line.text)
            length += len(line.text)
            above = line
    return "".join(pieces), starts, placed


def _outline(document: pdfium.PdfDocument) -> list[Bookmark]:
    entries: list[Bookmark] = []
    try:
        for mark in document.get_toc(max_depth=6):
            target = mark.get_dest()
            page = target.get_index() if target else None
            if page is not None and len(entries) < MAX_BOOKMARKS:
                entries.append(Bookmark(mark.get_title()[:500], mark.level + 1, page))
    except pdfium.PdfiumError:
        return []
    return entries


def _title(stated: str, text: str, headings: list[Heading], pages: list[int]) -> str:
    """The file's own title, if it is one; else the highest heading of the first page, or a first line like one."""
    if stated and not _JUNK_TITLE.fullmatch(stated):
        return short(stated)
    second = pages[1] if len(pages) > 1 else len(text)
    first = [heading for heading in headings if heading.start < second]
    if first and first[0].start < 2000:
        return short(min(first, key=lambda heading: heading.level).text)
    return first_line_title(text)


def _whole_lines(text: str, spans: list[Span]) -> Iterator[Span]:
    """The spans with the line ends after them, but not a page's."""
    for start, end in spans:
        stop = end
        while stop < len(text) and text[stop] == "\n":
            stop += 1
        yield start, stop
