"""Rows survive the cache; anything else is a miss."""

import numpy as np
import pytest

from services.preprocess.vector_rows import Row, pack_row, unpack_row

ROW = Row(np.array([0.6, -0.8], np.float32), 7, np.array([3, 9, 30000], np.uint32), truncated=True)


def test_a_row_comes_back_whole() -> None:
    row = unpack_row(pack_row(ROW), 2)
    assert row is not None
    np.testing.assert_array_equal(row.vector, ROW.vector)
    np.testing.assert_array_equal(row.token_ids, ROW.token_ids)
    assert (row.tokens, row.truncated, row.packed) == (7, True, None)


@pytest.mark.parametrize(
    "data", [b"", b"\x01", b"\x02" + pack_row(ROW)[1:], pack_row(ROW)[:-1], pack_row(ROW) + b"x"]
)
def test_bytes_of_another_form_are_a_miss(data: bytes) -> None:
    assert unpack_row(data, 2) is None


def test_a_row_of_another_width_is_a_miss() -> None:
    assert unpack_row(pack_row(ROW), 4) is None
