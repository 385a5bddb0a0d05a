"""Read before any module of the tests: a failed assertion of their helpers, too, says what it compared."""

import pytest

pytest.register_assert_rewrite("tests")
