"""A text under change that remembers where each of its characters came from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

Span = tuple[int, int]
Edit = tuple[int, int, str]  # text[start:end] becomes the string
Offsets = npt.NDArray[np.int64]


class Draft:
    """A text under change, with the runs that lead back to where it came from."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._begins: Offsets = np.zeros(1, np.int64)
        self._sources: Offsets = np.zeros(1, np.int64)

    def offsets(self) -> list[int]:
        """The runs as one flat list of pairs."""
        offsets: list[int] = np.stack([self._begins, self._sources], axis=1).ravel().tolist()
        return offsets

    def edit(self, edits: Iterable[Edit]) -> None:
        """Make the edits, which are in order and do not overlap."""
        starts: list[int] = []
        ends: list[int] = [0]
        pieces: list[str] = []
        lengths: list[int] = []
        for start, end, new in edits:
            pieces += (self.text[ends[-1] : start], new)
            starts.append(start)
            ends.append(end)
            lengths.append(len(new))
        if starts:
            self.text = "".join([*pieces, self.text[ends[-1] :]])
            self._compose(*_runs(np.array(starts), np.array(ends[1:]), np.array(lengths)))

    def inside(self, offsets: list[int], spans: list[Span]) -> list[bool]:
        """Which of the offsets in the text lie in the source's ``spans``."""
        if not spans or not offsets:
            return [False] * len(offsets)
        sources = self._to_source(np.array(offsets))
        starts, ends = np.array(spans).T
        span = np.searchsorted(starts, sources, "right") - 1
        return [bool(hit) for hit in (span >= 0) & (sources < ends[span])]

    def _to_source(self, at: Offsets) -> Offsets:
        run = np.searchsorted(self._begins, at, "right") - 1
        return self._sources[run] + at - self._begins[run]

    def _compose(self, begins: Offsets, middles: Offsets) -> None:
        """Puts new runs, which lead to the text as it was, before those that lead on to the source."""
        last = np.append(begins[1:] != begins[:-1], True)  # of runs without length only the last counts
        begins, middles = begins[last], middles[last]
        lengths = np.diff(np.append(begins, len(self.text)))
        run = np.searchsorted(middles, self._begins, "right") - 1
        run = np.maximum(run, 0)
        into = self._begins - middles[run]
        cut = (into > 0) & (into < lengths[run])
        starts = np.union1d(begins, begins[run][cut] + into[cut])
        run = np.searchsorted(begins, starts, "right") - 1
        sources = self._to_source(middles[run] + starts - begins[run])
        shift = sources - starts
        new = np.append(True, shift[1:] != shift[:-1])
        self._begins, self._sources = starts[new], sources[new]


def _runs(starts: Offsets, ends: Offsets, lengths: Offsets) -> tuple[Offsets, Offsets]:
    """The runs of a text after edits: where each begins, and where that was before the edits."""
    grown = np.cumsum(lengths - (ends - starts))  # how far each edit moves what follows it
    after = ends + grown
    # Of what became longer, each character is a run of its own and leads to the begin.
    longer = np.flatnonzero(lengths > ends - starts)
    extra = lengths[longer] - 1
    first = np.repeat(after[longer] - lengths[longer], extra)
    nth = np.arange(extra.sum()) - np.repeat(np.cumsum(extra) - extra, extra) + 1
    begins = np.concatenate([[0], after, first + nth])
    sources = np.concatenate([[0], ends, np.repeat(starts[longer], extra)])
    order = np.lexsort((sources, begins))
    return begins[order], sources[order]


def merged(spans: Sequence[Span]) -> list[Span]:
    """The spans in order, those that overlap as one, empty ones left out."""
    merged: list[Span] = []
    for start, end in sorted(span for span in spans if span[0] < span[1]):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
