"""Reads DOCX: paragraphs, headings, lists and tables in the order of the document."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import lxml.etree

from ragline.errors import InvalidRequest
from services.preprocess.parsers import Heading, Parsed, Parts
from services.preprocess.parsers._archive import entry, opened
from services.preprocess.parsers._docx_styles import TITLE, W, heading_levels, outline_level
from services.preprocess.parsers._lines import check_length, first_line_title, short

Element = Any  # lxml has no types

MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"

_SPACES = re.compile("[ \u00a0]+")
_MATH = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
# Parts of a paragraph that are not in the text as it stands: what was deleted or moved away, fields' commands, and
# the second, older form of a drawing.
_NOT_TEXT = {f"{W}del", f"{W}moveFrom", f"{W}instrText", f"{W}delText", f"{W}pPr", f"{W}rPr", _FALLBACK}
_SIGNS = {f"{W}tab": "\t", f"{W}br": "\n", f"{W}cr": "\n", f"{W}noBreakHyphen": "-"}


def load(parts: Parts) -> Docx:
    """The DOCX parser."""
    return Docx(parts.max_text_chars)


class Docx:
    """Reads word/document.xml and its notes; pictures, comments, headers and footers are left out."""

    def __init__(self, max_text_chars: int) -> None:
        self._max_text_chars = max_text_chars

    def parse(self, data: bytes, name: str) -> list[Parsed]:
        """One document. Raises InvalidRequest for a broken, locked or empty file, TooLarge for a zip bomb."""
        with opened(data) as archive:
            body = _tree(entry(archive, "word/document.xml"))
            if body is None:
                raise InvalidRequest("The DOCX is broken: there is no word/document.xml in it.")
            levels = heading_levels(_tree(entry(archive, "word/styles.xml")))
            core = _tree(entry(archive, "docProps/core.xml"))
            notes = [_tree(entry(archive, f"word/{kind}.xml")) for kind in ("footnotes", "endnotes")]
        writer = _Writer(levels, self._max_text_chars)
        writer.write(body)
        for note in notes:
            if note is not None:
                writer.write(note)
        text = writer.text()
        if not text.strip():
            raise InvalidRequest("There is no text in this document.")
        stated = "" if core is None else short("".join(core.xpath("string(//*[local-name()='title'])")))
        return [
            Parsed(
                text,
                MEDIA_TYPE,
                title=writer.title or stated or first_line_title(text),
                headings=tuple(writer.headings),
            )
        ]


class _Writer:
    """Writes blocks of the body as text, and notes where its headings begin."""

    def __init__(self, levels: dict[str, int], max_chars: int) -> None:
        self.title = ""
        self.headings: list[Heading] = []
        self._levels = levels
        self._max_chars = max_chars
        self._pieces: list[str] = []
        self._length = 0
        self._last = ""  # what the last block was

    def text(self) -> str:
        """What was written so far."""
        return "".join(self._pieces)

    def write(self, root: Element) -> None:
        """Write every paragraph and table in ``root``; what lies within a table belongs to it."""
        walk = lxml.etree.iterwalk(root, events=("start",), tag=(f"{W}p", f"{W}tbl", *_NOT_TEXT))
        for _, element in walk:
            if element.tag == f"{W}p":
                self._paragraph(element)
                if element.find(f".//{W}txbxContent") is None:
                    walk.skip_subtree()
            elif element.tag == f"{W}tbl":
                self._table(element)
                walk.skip_subtree()
            else:
                walk.skip_subtree()

    def _paragraph(self, paragraph: Element) -> None:
        words = _text(paragraph).strip()
        if not words:
            return
        properties = paragraph.find(f"{W}pPr")
        level = self._level(properties)
        numbering = None if properties is None else properties.find(f"{W}numPr")
        if level is None and (numbering is not None or self._style(properties).startswith("List")):
            self._append("- " + words, "item")
            return
        start = self._append(words, "paragraph")
        if level == TITLE:
            self.title = self.title or short(words)
        elif level is not None:
            self.headings.append(Heading(start, level, short(words)))

    def _level(self, properties: Element | None) -> int | None:
        own = outline_level(properties)
        return own if own is not None else self._levels.get(self._style(properties))

    def _style(self, properties: Element | None) -> str:
        style = None if properties is None else properties.find(f"{W}pStyle")
        return "" if style is None else style.get(f"{W}val") or ""

    def _table(self, table: Element) -> None:
        rows = [[" ".join(_text(cell).split()) for cell in row.iterfind(f"{W}tc")] for row in _rows(table)]
        filled = [row for row in rows if any(row)]
        lines = [" ".join(row) if len(row) == 1 else f"| {' | '.join(row)} |" for row in filled]
        if lines:
            self._append("\n".join(lines), "table")

    def _append(self, block: str, kind: str) -> int:
        """Adds a block and gives where it begins. List items follow each other without a blank line."""
        if self._pieces:
            between = "\n" if kind == self._last == "item" else "\n\n"
            self._pieces.append(between)
            self._length += len(between)
        start = self._length
        self._pieces.append(block)
        self._length += len(block)
        self._last = kind
        check_length(self._length, self._max_chars)
        return start


def _rows(table: Element) -> Iterator[Element]:
    """The rows of a table, those of tables within it left to their cells."""
    for child in table:
        if child.tag == f"{W}tr":
            yield child
        elif child.tag in {f"{W}sdt", f"{W}ins", f"{W}customXml"}:
            yield from child.iter(f"{W}tr")


def _text(element: Element) -> str:
    """The text of a paragraph or a cell, as it stands with all changes accepted."""
    pieces: list[str] = []
    outer = element.tag
    walk = lxml.etree.iterwalk(element, events=("start", "end"))
    for event, part in walk:
        tag = part.tag
        if event == "end":
            if tag == f"{W}p" and part is not element:
                pieces.append("\n")
        elif tag in _NOT_TEXT or (outer == f"{W}p" and tag == f"{W}txbxContent"):
            walk.skip_subtree()
        elif tag in {f"{W}t", f"{_MATH}t"}:
            pieces.append(part.text or "")
        else:
            pieces.append(_SIGNS.get(tag, ""))
    lines = _SPACES.sub(" ", "".join(pieces)).split("\n")
    return "\n".join(line.strip() for line in lines if line.strip())


def _tree(data: bytes | None) -> Element | None:
    """The root of an XML part. Entities are not resolved and nothing is loaded from elsewhere."""
    if data is None:
        return None
    parser = lxml.etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root: Element = lxml.etree.fromstring(data, parser=parser)
    except (lxml.etree.XMLSyntaxError, ValueError) as error:
        raise InvalidRequest(f"The DOCX is broken: its XML cannot be read ({error}).") from None
    if root.getroottree().docinfo.doctype:
        raise InvalidRequest("The DOCX is not safe to read: its XML declares a document type.")
    return root
