"""Widens hits with the passages around them, so that offsets and pages still lead to the document's text."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace

from ragline.v1.passage_pb2 import Passage
from services.retriever.asking import Hit
from services.retriever.stores import Around

BREAK = "\n\n"  # between passages that do not follow each other without a gap


def survivors(hits: Sequence[Hit], neighbours: int, count: int) -> list[Hit]:
    """The ``count`` best hits that do not stand in the widened text of a better one."""
    taken: set[tuple[str, int]] = set()
    result: list[Hit] = []
    for hit in hits:
        name, _, ordinal = hit.passage.id.rpartition("#")
        at = int(ordinal)
        if (name, at) in taken:
            continue
        if len(result) == count:
            break
        result.append(hit)
        taken.add((name, at))
        for step in (-1, 1):
            for distance in range(1, neighbours + 1):
                if (name, at + step * distance) in taken:
                    break
                taken.add((name, at + step * distance))
    return result


def widened(hits: Sequence[Hit], around: Mapping[int, Around]) -> list[Hit]:
    """The hits with their neighbours; no passage is shown twice.

    Where the texts of two would overlap the weaker one's ends where the better one's begins.
    """
    taken: set[str] = set()  # ids of the passages that stand in some hit's text
    result: list[Hit] = []
    for hit in hits:
        near = around.get(hit.fused.id)
        made = hit if near is None else joined(hit, near, *free(near, taken))  # None: deleted meanwhile
        taken.update((made.passage.id, *made.joined))
        result.append(made)
    return result


def free(near: Around, taken: Container[str]) -> tuple[int, int]:
    """The run of passages around the hit that no better hit has taken, as places in ``near.passages``."""
    low = high = near.place
    while low > 0 and near.passages[low - 1].id not in taken:
        low -= 1
    while high + 1 < len(near.passages) and near.passages[high + 1].id not in taken:
        high += 1
    return low, high + 1


def joined(hit: Hit, near: Around, low: int, high: int) -> Hit:
    """The hit with the passages from ``low`` to ``high`` as one text."""
    parts = near.passages[low:high]
    if len(parts) == 1:
        return hit
    start = min(part.start for part in near.passages)
    made = Passage()
    made.CopyFrom(hit.passage)
    made.start, made.end = parts[0].start, max(part.end for part in parts)
    made.page = parts[0].page
    made.source = near.source[made.start - start : made.end - start]
    text, offsets, own = merged(parts, near.place - low)
    made.text = text
    del made.offsets[:], made.page_starts[:]
    made.offsets.extend(offsets)
    made.page_starts.extend(pages(parts))
    if made.source == made.text and offsets == [0, made.start]:
        made.source = ""
    names = tuple(part.id for part in parts if part.id != hit.passage.id)
    return replace(hit, passage=made, own=own, joined=names)


def merged(parts: Sequence[Passage], place: int) -> tuple[str, list[int], tuple[int, int]]:
    """The text of all, the verbatim runs of it in the source, and where the passage at ``place`` stands in it.

    What two neighbours share is there once.
    """
    text, offsets, end = "", [], parts[0].start
    own = (0, 0)
    for at, part in enumerate(parts):
        runs = list(part.offsets) or [0, part.start]
        cut = cut_at(part, runs, end) if at else 0
        if text and part.start > end:
            text += BREAK
        begin = len(text)
        shared = cut if text.endswith(part.text[:cut]) else 0
        text += part.text[cut:]
        offsets += shifted(runs, cut, begin) if cut < len(part.text) else []
        end = max(end, part.end)
        if at == place:
            own = (begin - shared, len(text))
    return text, offsets, own


def cut_at(part: Passage, runs: Sequence[int], end: int) -> int:
    """How many characters of the passage's text come from before the source's ``end``."""
    for run in range(0, len(runs), 2):
        stop = runs[run + 2] if run + 2 < len(runs) else len(part.text)
        cut = runs[run] + max(0, end - runs[run + 1])
        if cut < stop:
            return cut
    return len(part.text)


def shifted(runs: Sequence[int], cut: int, begin: int) -> list[int]:
    """The runs of a text from ``cut`` on, which stands at ``begin`` of another."""
    texts, sources = runs[::2], runs[1::2]
    first = bisect_left(texts, cut + 1) - 1
    result = [begin, sources[first] + cut - texts[first]]
    for text, source in zip(texts[first + 1 :], sources[first + 1 :], strict=True):
        result += [begin + text - cut, source]
    return result


def pages(parts: Sequence[Passage]) -> list[int]:
    """Where in the source new pages begin, after the start of the first part."""
    starts = list(parts[0].page_starts)
    end = parts[0].end
    for part in parts[1:]:
        if not part.page:
            continue
        known = parts[0].page + len(starts)
        starts += [part.start] * max(0, part.page - known) if part.start >= end else []
        starts += [start for start in part.page_starts if start >= end]
        end = max(end, part.end)
    return starts
