"""Reads the passages around others, and the source text that they span, from the record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from services.retriever.stores import Around
from services.retriever.stores._reader import PASSAGES, Reader, passage

PLACES = (
    "SELECT p.row, d.id, d.first_row, d.passages FROM passages p JOIN documents d ON d.id = p.document "
    "WHERE p.row IN "
)


def around(reader: Reader, rows: Sequence[int], count: int) -> Mapping[int, Around]:
    """Each of ``rows`` that is still there with up to ``count`` passages before and after it; see ``View``."""
    found: dict[int, Around] = {}
    sources: dict[int, str] = {}
    with reader.moment() as db:
        places = db.execute(f"{PLACES}({', '.join('?' * len(rows))})", list(rows)).fetchall()
        for row, document, first, passages in places:
            if document not in sources:
                kept = db.execute("SELECT source FROM sources WHERE document = ?", (document,)).fetchone()
                sources[document] = kept[0] if kept else ""
            span = (max(first, row - count), min(first + passages - 1, row + count))
            near = db.execute(f"{PASSAGES} WHERE p.row BETWEEN ? AND ? ORDER BY p.row", span).fetchall()
            made = [passage(*columns) for _, *columns in near]
            begin, end = min(one.start for one in made), max(one.end for one in made)
            found[row] = Around(made, row - span[0], sources[document][begin:end])
    return found
