"""Puts something else in the place of what a guard found, and keeps a passage's way back to its source."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from ragline.spans import to_source
from ragline.v1.passage_pb2 import Passage
from ragline.v1.retriever_pb2 import Hit
from services.generator.guards import Match

# Stands for each letter of a source that may not be shown, so that a quote is still as long as its span.
BLANK = "\u2588"


def merged(found: Iterable[Match]) -> list[Match]:
    """The finds in order, those that overlap as one, of the kind of the longest."""
    result: list[Match] = []
    for each in sorted(found, key=lambda match: (match.start, -match.end)):
        if not result or each.start >= result[-1].end:
            result.append(each)
            continue
        last = result[-1]
        longest = max(last, each, key=lambda match: match.end - match.start)
        result[-1] = Match(
            last.start,
            max(last.end, each.end),
            longest.kind,
            longest.stands,
            always=last.always and each.always,
            verbatim=last.verbatim and each.verbatim,
        )
    return result


def masked(text: str, found: Sequence[Match]) -> str:
    """The text with what stands in the place of each find; ``found`` as ``merged`` gives it."""
    pieces: list[str] = []
    at = 0
    for each in found:
        pieces += [text[at : each.start], each.stands]
        at = each.end
    return "".join([*pieces, text[at:]])


def rewritten(hit: Hit, found: Sequence[Match], blanked: Sequence[Match]) -> Hit:
    """A copy of the hit whose passage shows what stands in the place of each find.

    A quotation of the source shows a BLANK for each letter of it, and of ``blanked``, which stay in the text; so
    a quote is as long as its span says, and everything else in it is the source's. Both as ``merged`` gives them.
    """
    made = Hit()
    made.CopyFrom(hit)
    old, new = hit.passage, made.passage
    new.source = blank(old, [each for each in (*found, *blanked) if not each.verbatim])
    new.text = masked(old.text, found)
    if found:
        del new.offsets[:]
        new.offsets.extend(runs(old, found))
    if hit.own_end:
        made.own_start, made.own_end = moved(found, hit.own_start), moved(found, hit.own_end)
    return made


def blank(passage: Passage, found: Sequence[Match]) -> str:
    """The passage's source with a BLANK for each letter of the finds."""
    source = list(passage.source or passage.text)
    for each in found:
        first = to_source(passage.offsets, passage.start, each.start) - passage.start
        last = to_source(passage.offsets, passage.start, each.end - 1) + 1 - passage.start
        source[first:last] = BLANK * (last - first)
    return "".join(source)


def runs(passage: Passage, found: Sequence[Match]) -> list[int]:
    """The offsets of the rewritten text: what stands for a find begins and ends where the find does."""
    begins = list(passage.offsets[::2]) or [0]
    result: list[int] = []
    at = shift = 0

    def source(place: int) -> int:
        return to_source(passage.offsets, passage.start, place)

    def keep(start: int, end: int) -> None:
        inner = begins[bisect_left(begins, start + 1) : bisect_left(begins, end)]
        for begin in [start, *inner] if start < end else ():
            result.extend((begin + shift, source(begin)))

    for each in found:
        keep(at, each.start)
        begin, length = each.start + shift, len(each.stands)
        if length:
            result.extend((begin, source(each.start)))
        if length > 1:
            result.extend((begin + length - 1, source(each.end - 1)))
        at = each.end
        shift += length - (each.end - each.start)
    keep(at, len(passage.text))
    return result or [0, passage.start]


def moved(found: Sequence[Match], at: int) -> int:
    """Where a place in the text is once the text is masked; a place within a find is at its begin or its end."""
    shift = 0
    for each in found:
        if each.start >= at:
            break
        if at < each.end:
            return each.start + shift + len(each.stands)
        shift += len(each.stands) - (each.end - each.start)
    return at + shift
