"""Reads tables: a document a row where there is a column of text, else one document with a line a row."""

from __future__ import annotations

import csv
import io

from ragline.errors import InvalidRequest
from services.preprocess.parsers import Parsed, Parts, Rejected
from services.preprocess.parsers._decoding import decode
from services.preprocess.parsers._given import read_given
from services.preprocess.parsers._lines import check_length, short
from services.preprocess.parsers._sniff import HEAD, dialect

MEDIA_TYPE = "text/csv"


def load(parts: Parts) -> Csv:
    """The CSV parser."""
    return Csv(parts.max_text_chars)


class Csv:
    """Reads comma, tab, semicolon and bar separated values, with or without quotation marks."""

    def __init__(self, max_text_chars: int) -> None:
        self._max_text_chars = max_text_chars

    def parse(self, data: bytes, name: str) -> list[Parsed | Rejected]:
        """Documents as the module says. A row without text or with too many cells is Rejected, with its line."""
        rows = self._rows(decode(data))
        header = [cell.strip() for cell in rows[0][1]]
        columns = [cell.lower() for cell in header]
        if "text" in columns:
            return [self._document(header, columns, line, row) for line, row in rows[1:]] or [
                Rejected(1, None, "There is a heading, but no row.")
            ]
        return [self._table(header, rows)]

    def _rows(self, text: str) -> list[tuple[int, list[str]]]:
        """The rows that are not blank, each with the line that it ends on."""
        csv.field_size_limit(max(self._max_text_chars, 1))
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=dialect(text[:HEAD]) or ",")
        try:
            rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
        except csv.Error as error:
            if "field larger" in str(error):
                check_length(len(text), min(self._max_text_chars, len(text) - 1))
            raise InvalidRequest(f"The table is broken at line {reader.line_num}: {error}.") from None
        if not rows:
            raise InvalidRequest("There is no text: the table is empty.")
        return rows

    def _document(self, header: list[str], columns: list[str], line: int, row: list[str]) -> Parsed | Rejected:
        cells = dict(zip(columns, row, strict=False))
        id_ = (cells.get("id") or cells.get("_id") or "").strip() or None
        if len(row) > len(header):
            return Rejected(line, id_, f"Line {line} has {len(row)} cells, the heading {len(header)}.")
        text = cells.get("text", "")
        if not text.strip():
            return Rejected(line, id_, f"Line {line} has no text.")
        given = read_given(text)
        known = {"text", "id", "_id", "title"}
        metadata = {
            key: value.strip()
            for key, column, value in zip(header, columns, row, strict=False)
            if key and column not in known and value.strip()
        }
        title = short(cells.get("title", "")) or given.title
        return Parsed(text, MEDIA_TYPE, id_, title, given.headings, (), given.skip, given.keep, metadata=metadata)

    def _table(self, header: list[str], rows: list[tuple[int, list[str]]]) -> Parsed:
        named = len(rows) > 1 and len(set(header)) == len(header) and all(_is_name(cell) for cell in header)
        lines: list[str] = []
        length = 0
        for _, row in rows[1:] if named else rows:
            names = header if named else []
            cells = [
                f"{names[n] if n < len(names) else f'column {n + 1}'}: {' '.join(cell.split())}"
                for n, cell in enumerate(row)
                if cell.strip()
            ]
            lines.append("; ".join(cells))
            length += len(lines[-1]) + 1
            check_length(length, self._max_text_chars)
        return Parsed("\n".join(lines), MEDIA_TYPE)


def _is_name(cell: str) -> bool:
    """Whether a cell looks like a column's name: it holds a letter, and is no number with a unit."""
    return any(letter.isalpha() for letter in cell) and not cell[0].isdigit()
