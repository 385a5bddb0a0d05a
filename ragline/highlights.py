"""Which words of a passage answered a query: the reranker's matches as places in the passage's own text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ragline.spans import embedded_text
from ragline.v1.passage_pb2 import Passage
from ragline.v1.reranker_pb2 import Match


def highlights(
    query: str, passage: Passage, matches: Iterable[Match], own: tuple[int, int] | None = None
) -> list[dict[str, Any]]:
    """One object a word piece of the query, JSON types only; offsets count code points.

    The reranker saw the title and section above the text. ``passage.text[start:end]`` is what matched; both are
    None where that is a word of the heading. ``own`` is where the passage itself stands in a widened one's text.
    """
    begin, end = own or (0, len(passage.text))
    seen = embedded_text(passage.title, passage.section, passage.text[begin:end])
    head = len(seen) - (end - begin)
    return [
        {
            "query": query[match.query_start : match.query_end],
            "query_start": match.query_start,
            "query_end": match.query_end,
            "text": seen[match.start : match.end],
            "start": match.start - head + begin if match.start >= head else None,
            "end": match.end - head + begin if match.start >= head else None,
            "similarity": round(match.similarity, 4),
        }
        for match in matches
    ]
