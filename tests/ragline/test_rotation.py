"""The projection is a rotation cut short, and the same for ever: what was kept depends on it."""

import hashlib

import numpy as np
import pytest

from ragline.rotation import projection


@pytest.mark.parametrize("width", [1, 3, 16, 300, 384])
def test_columns_are_orthonormal(width: int) -> None:
    for dimensions in {1, (width + 1) // 2, width}:
        made = projection(width, dimensions)
        assert made.shape == (width, dimensions)
        np.testing.assert_allclose(made.T @ made, np.eye(dimensions), atol=1e-6)


def test_every_column_draws_on_all_dimensions() -> None:
    made = projection(384, 64)
    assert np.abs(made).max() < 0.3
    assert (np.abs(made) > 1e-6).mean() > 0.9


def test_it_never_changes() -> None:
    # Passages kept before would be taken for others': then the version of their layout has to change as well.
    numbers = np.rint(projection(384, 96) * 2**14).astype("<i4").tobytes()
    assert hashlib.sha256(numbers).hexdigest()[:16] == "8de26885be84e5ff"


def test_more_dimensions_than_there_are_are_refused() -> None:
    with pytest.raises(ValueError, match="16 dimensions cannot be projected to 17"):
        projection(16, 17)
