"""Which segments to make one, and how they are to be searched: a log-structured merge with bounded rewriting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.retriever.dense._segments import HNSW, SQ8


@dataclass(frozen=True)
class Policy:
    """When segments change their kind or become one.

    ``hnsw_rows``: living rows of a collection from which its sealed segments get graphs. ``merge_share``: the
    newer segments are joined with an older one once they hold this share of it, ``quiet_share`` while nothing
    is written. ``dead_share``: of a segment, from which it is rebuilt without the dead. ``tail_rows``: from
    which the tail gets a graph of its own, where others have one and nothing is written.
    """

    hnsw_rows: int
    merge_share: float
    quiet_share: float
    dead_share: float
    tail_rows: int


@dataclass(frozen=True)
class Size:
    """A segment's kind, rows, and how many of them live."""

    kind: str
    rows: int
    living: int


def planned(policy: Policy, sizes: Sequence[Size], tail: int, quiet: bool) -> tuple[int, int, str] | None:
    """The segments ``first`` to ``stop`` to make one of a kind; a ``stop`` past the last takes the tail along.

    With a share s, each row is rewritten at most log(n) / log(1 + s) times while n rows come in, and there are
    never more than log(n) / log(1 + 1 / s) segments.
    """
    total = sum(size.living for size in sizes) + tail
    kind = HNSW if total >= policy.hnsw_rows else SQ8
    share, newest = (policy.quiet_share, tail) if quiet else (policy.merge_share, 0)
    stop = len(sizes) + bool(newest)
    newer, first = newest, None
    for at in reversed(range(len(sizes))):
        if newer and newer >= share * sizes[at].living:
            first = at
        newer += sizes[at].living
    if first is not None and (kind == HNSW or stop - first > 1):
        return first, stop, kind
    for at, size in enumerate(sizes):
        if size.living <= (1 - policy.dead_share) * size.rows or (kind == HNSW and size.kind == SQ8):
            return at, at + 1, kind
    if quiet and kind == HNSW and tail >= policy.tail_rows:
        return len(sizes), len(sizes) + 1, kind
    return None
