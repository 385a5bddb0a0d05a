"""Joining over arrays gives, to the last bit, what plain functions give."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.retriever.fusion import DENSE_WEIGHT
from services.retriever.joining import NOTHING, joined
from services.retriever.stores import Ranking, Rows, Vectors
from tests.retriever.plain_fusion import fuse, scored

numbers = st.floats(-1, 1, width=32)
positive = st.floats(0.015625, 50, width=32)


def ranking(found: dict[int, float]) -> Ranking:
    ordered = sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))
    rows = np.array([row for row, _ in ordered], dtype=np.int64)
    return Ranking(rows, np.array([score for _, score in ordered], dtype=np.float32))


@given(
    st.dictionaries(st.integers(0, 40), numbers, max_size=30),
    st.dictionaries(st.integers(0, 40), positive, max_size=30),
    st.sampled_from(["weighted", "rrf"]),
    st.floats(0, 1),
    st.integers(1, 70),
)
def test_the_same_as_the_plain_functions(
    near: dict[int, float], matching: dict[int, float], method: str, weight: float, limit: int
) -> None:
    dense, sparse = ranking(near), ranking(matching)

    def cosines(rows: Rows) -> Vectors:
        return np.cos(rows).astype(np.float32)

    both = joined(dense, sparse, cosines)
    alone = np.array([row for row in sparse.rows.tolist() if row not in near], dtype=np.int64)
    known = dict(scored(dense)) | dict(zip(alone.tolist(), cosines(alone).tolist(), strict=True))
    assert both.cosines is not None
    assert dict(zip(both.rows.tolist(), both.cosines.tolist(), strict=True)) == known
    fused, how = both.best("hybrid", method, weight, limit)
    assert fused == fuse(method, scored(dense), scored(sparse), known, limit, weight)
    assert how.low == min(known.values(), default=None)
    assert how.high == max(known.values(), default=None)
    assert how.best == max((score for _, score in scored(sparse)), default=None)


@given(st.dictionaries(st.integers(0, 40), positive, min_size=1, max_size=30), st.integers(1, 40))
def test_one_ranking_alone_keeps_its_own_scores(found: dict[int, float], limit: int) -> None:
    one = ranking(found)
    words, how = joined(NOTHING, one, None).best("sparse", "single", DENSE_WEIGHT, limit)
    assert words == fuse("single", (), scored(one), {}, limit)
    assert (how.dense_weight, how.low, how.high) == (None, None, None)
    vectors, _ = joined(one, NOTHING, lambda rows: rows.astype(np.float32)).best("dense", "single", 0.5, limit)
    assert vectors == fuse("single", scored(one), (), dict(scored(one)), limit)


def test_a_choice_of_one_side_keeps_the_ranks_of_both() -> None:
    dense, sparse = ranking({1: 0.9, 2: 0.5}), ranking({2: 7.0, 3: 1.0})
    both = joined(dense, sparse, lambda rows: np.full(len(rows), 0.1, dtype=np.float32))
    near, _ = both.best("dense", "single", 0.5, 9)
    assert [(one.id, one.dense_rank, one.sparse_rank) for one in near] == [(1, 1, None), (2, 2, 1)]
    words, _ = both.best("sparse", "single", 0.5, 9)
    assert [(one.id, one.dense_rank, one.sparse_rank) for one in words] == [(2, 2, 1), (3, None, 2)]
