"""Cuts a text at its headings, and within a section at its paragraphs and sentences."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from services.preprocess.chunkers import Chunk, CountTokens, Parts
from services.preprocess.chunkers._packing import pack
from services.preprocess.chunkers._units import MAX_CHARS_PER_TOKEN, Budget, Unit, split
from services.preprocess.parsers import Heading

SEPARATOR = " > "
MAX_SECTION_CHARS = 150
SAMPLE = 64  # passages
MAX_LINE = 400  # characters of a heading's line


def load(parts: Parts, *, barrier_level: int = 3, tiny_share: float = 0.25) -> HeadingChunker:
    """The heading chunker.

    No passage crosses a heading of level ``barrier_level`` or higher, but neighbouring sections below the same
    parent are joined while one of them has less than ``tiny_share`` of the budget.
    """
    return HeadingChunker(parts.max_tokens, parts.overlap_tokens, barrier_level, tiny_share)


@dataclass
class _Group:
    """Sections that are cut as one, and whether they are no more than headings."""

    path: tuple[str, ...]
    units: list[Unit]
    tokens: int
    only_headings: bool


@dataclass(frozen=True)
class _Draft:
    """A passage, the tokens of its units, and whether some of them are parts of one word."""

    chunk: Chunk
    tokens: int
    parted: bool


class HeadingChunker:
    """Packs whole sentences up to a budget of tokens, paragraphs and tables in one piece where they fit.

    A passage begins with the last sentences of the one before it in its section, up to ``overlap_tokens``.
    """

    def __init__(self, max_tokens: int, overlap_tokens: int, barrier_level: int, tiny_share: float) -> None:
        self._budget = Budget(max_tokens, max_tokens * MAX_CHARS_PER_TOKEN)
        self._overlap = min(overlap_tokens, max_tokens // 2)
        self._barrier = barrier_level
        self._tiny = int(max_tokens * tiny_share)

    def chunk(self, text: str, headings: Sequence[Heading], count_tokens: CountTokens) -> list[Chunk]:
        """Passages in order; together they hold every non-blank character, and none is over the budget."""
        ordered = sorted(headings, key=lambda heading: heading.start)
        units = split(text, [heading.start for heading in ordered], self._budget, count_tokens)
        starts, paths = _paths(ordered)
        drafts: list[_Draft] = []
        for group in self._groups(text, units, ordered):
            titles = [_is_heading(text, unit, starts) for unit in group.units]
            for first, last in pack(group.units, titles, self._budget, self._overlap):
                held = group.units[first:last]
                chunk = Chunk(held[0].start, held[-1].end, _section(_common_path(held, starts, paths)))
                parted = any(before.end == after.start for before, after in pairwise(held))
                drafts.append(_Draft(chunk, sum(unit.tokens for unit in held), parted))
        return self._checked(text, drafts, count_tokens)

    def _groups(self, text: str, units: list[Unit], headings: list[Heading]) -> list[_Group]:
        """The units by section; tiny sections are joined with their neighbour below the same parent."""
        starts, paths = _paths(headings)
        barriers = [heading.start for heading in headings if heading.level <= self._barrier]
        groups: list[_Group] = []
        at = 0
        for stop in [*barriers, None]:
            end = len(units) if stop is None else bisect_left(units, stop, key=lambda unit: unit.start)
            if end > at:
                path = paths[bisect_right(starts, units[at].start)]
                only = all(_is_heading(text, unit, starts) for unit in units[at:end])
                section = _Group(path, units[at:end], sum(unit.tokens for unit in units[at:end]), only)
                if groups and self._belong_together(groups[-1], section):
                    _join(groups[-1], section)
                else:
                    groups.append(section)
            at = end
        return groups

    def _belong_together(self, group: _Group, section: _Group) -> bool:
        below = section.path[: len(group.path)] == group.path
        if group.only_headings and below:
            return True
        siblings = group.path[:-1] == section.path[:-1] and len(group.path) == len(section.path)
        tiny = min(group.tokens, section.tokens) < self._tiny
        return tiny and (below or siblings) and group.tokens + section.tokens <= self._budget.tokens

    def _checked(self, text: str, drafts: list[_Draft], count_tokens: CountTokens) -> list[Chunk]:
        """Parts the passages that count for more as a whole than their units did.

        Where a tokenizer looks at each word alone, as WordPiece does, only parted words can make that happen;
        whether it does shows in the first passages. Counting all of them again would take as long as all else.
        """
        first = drafts[:SAMPLE]
        counts = count_tokens([text[draft.chunk.start : draft.chunk.end] for draft in first])
        adds_up = all(count == draft.tokens or draft.parted for draft, count in zip(first, counts, strict=True))
        doubtful = [draft for draft in drafts if draft.parted or not adds_up]
        counts = count_tokens([text[draft.chunk.start : draft.chunk.end] for draft in doubtful])
        over = {draft.chunk for draft, count in zip(doubtful, counts, strict=True) if count > self._budget.tokens}
        fitting: list[Chunk] = []
        for draft in drafts:
            fitting += self._parted(text, draft.chunk, count_tokens) if draft.chunk in over else [draft.chunk]
        return fitting

    def _parted(self, text: str, chunk: Chunk, count_tokens: CountTokens) -> list[Chunk]:
        half = Budget(self._budget.tokens // 2, self._budget.chars // 2)
        units = split(text[chunk.start : chunk.end], (), half, count_tokens)
        return [Chunk(chunk.start + unit.start, chunk.start + unit.end, chunk.section) for unit in units]


def _section(path: Sequence[str]) -> str:
    """The heading path in words; of a long one the end, since it goes before each passage into the model."""
    parts = [part for part in path if part]
    while len(parts) > 1 and len(SEPARATOR.join(parts)) > MAX_SECTION_CHARS:
        parts.pop(0)
    return SEPARATOR.join(parts)[:MAX_SECTION_CHARS].rstrip()


def _paths(headings: Sequence[Heading]) -> tuple[list[int], list[tuple[str, ...]]]:
    """Where each heading begins, and the heading path from there on; the first path is that before any heading."""
    stack: list[Heading] = []
    paths: list[tuple[str, ...]] = [()]
    for heading in headings:
        while stack and stack[-1].level >= heading.level:
            stack.pop()
        stack.append(heading)
        paths.append(tuple(above.text for above in stack))
    return [heading.start for heading in headings], paths


def _is_heading(text: str, unit: Unit, starts: list[int]) -> bool:
    """Whether the unit is no more than a heading's line."""
    at = bisect_right(starts, unit.end - 1) - 1
    if at < 0 or unit.start - starts[at] > MAX_LINE:
        return False
    return "\n" not in text[starts[at] : unit.end].lstrip()


def _common_path(units: Sequence[Unit], starts: list[int], paths: list[tuple[str, ...]]) -> tuple[str, ...]:
    """What the heading paths of the units have in common; a heading right above another does not count."""
    found = [paths[at] for at in sorted({bisect_right(starts, unit.start) for unit in units})]
    deepest = [path for path, after in pairwise(found) if after[: len(path)] != path] + found[-1:]
    common = deepest[0]
    for path in deepest[1:]:
        same = sum(1 for _ in _while_equal(common, path))
        common = common[:same]
    return common


def _while_equal(left: tuple[str, ...], right: tuple[str, ...]) -> Iterator[str]:
    for one, other in zip(left, right, strict=False):
        if one != other:
            return
        yield one


def _join(group: _Group, section: _Group) -> None:
    group.units += section.units
    group.tokens += section.tokens
    if group.only_headings:
        group.path = section.path
    group.only_headings = group.only_headings and section.only_headings
