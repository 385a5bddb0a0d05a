"""Packs units into passages: as full as the budget allows, paragraphs whole where they fit, with an overlap."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

from services.preprocess.chunkers._units import Budget, Unit

MAX_TITLES = 4  # one below the other


def pack(
    units: Sequence[Unit], titles: Sequence[bool], budget: Budget, overlap_tokens: int
) -> Iterator[tuple[int, int]]:
    """Ranges ``[first, last)`` of units, each a passage within the budget; together they hold all units.

    The passages come out about equally long. Each begins with the last units of the one before it, up to
    ``overlap_tokens``; none ends with a title (``titles`` tells which units are) while it holds anything else.
    The time taken is linear in the number of units.
    """
    packing = _Packing(units, titles, budget, overlap_tokens)
    first = fresh = 0  # where the passage begins; where what is new in it begins
    while fresh < len(units):
        last = packing.end(first, fresh)
        yield first, last
        first, fresh = packing.begin(fresh, last), last


class _Packing:
    """The units with their running totals."""

    def __init__(self, units: Sequence[Unit], titles: Sequence[bool], budget: Budget, overlap_tokens: int) -> None:
        self._units = units
        self._titles = titles
        self._budget = budget
        self._overlap = overlap_tokens
        self._totals = list(accumulate((unit.tokens for unit in units), initial=0))
        self._block_ends = _block_ends(units)
        room = max(1, budget.tokens - overlap_tokens)
        passages = max(1, -(-(self._totals[-1] - overlap_tokens) // room))
        repeated = overlap_tokens * (passages - 1)
        self._share = min(budget.tokens, -(-(self._totals[-1] + repeated) // passages))

    def end(self, first: int, fresh: int) -> int:
        """Where the passage ends that begins at ``first`` and must hold at least the unit ``fresh``."""
        last = fresh
        while last < len(self._units) and (last == fresh or self._tokens(first, last) < self._share):
            block = self._block_ends[last]
            if self._fits(first, block):
                last = block
                continue
            half_full = self._tokens(first, last) >= self._budget.tokens // 2
            if last > fresh and half_full and self._fits(last, block):
                break  # the next passage has room for all of the block
            last = self._part_of_block(first, last)
            break
        return self._without_titles(fresh, max(last, fresh + 1))

    def begin(self, fresh: int, last: int) -> int:
        """Where the next passage begins: before ``last`` by the overlap, less if the next block needs the room."""
        if last >= len(self._units):
            return last
        block = self._block_ends[last]
        need = last + 1 if not self._fits(last, block) else block
        begin = last
        while begin - 1 > fresh and self._tokens(begin - 1, last) <= self._overlap and self._fits(begin - 1, need):
            begin -= 1
        return begin

    def _without_titles(self, fresh: int, last: int) -> int:
        """Leaves the titles at a passage's end to the next one, whose text they stand above."""
        if last == len(self._units):
            return last
        end = last
        while end - 1 > fresh and self._titles[end - 1] and last - end < MAX_TITLES:
            end -= 1
        return last if self._titles[end - 1] else end

    def _part_of_block(self, first: int, last: int) -> int:
        """Where a passage ends that takes units of a block which it cannot hold as a whole."""
        block = self._block_ends[last]
        while last < block and self._fits(first, last + 1) and self._tokens(first, last) < self._share:
            last += 1
        return last

    def _tokens(self, first: int, last: int) -> int:
        return self._totals[last] - self._totals[first]

    def _fits(self, first: int, last: int) -> bool:
        length = self._units[last - 1].end - self._units[first].start
        return self._tokens(first, last) <= self._budget.tokens and length <= self._budget.chars


def _block_ends(units: Sequence[Unit]) -> list[int]:
    """For each unit, the end of its block."""
    ends = [len(units)] * len(units)
    for at in range(len(units) - 2, -1, -1):
        ends[at] = ends[at + 1] if units[at].block == units[at + 1].block else at + 1
    return ends
