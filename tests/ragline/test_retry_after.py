"""What a Retry-After header asks for."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from ragline import retry_after


@pytest.mark.parametrize(
    ("header", "asked"),
    [("7", 7), ("7.5", 7.5), ("1e9", 3600), *((wrong, None) for wrong in ("", "soon", "0", "-1", "inf", "nan"))],
)
def test_a_number(header: str, asked: float | None) -> None:
    assert retry_after.seconds(header) == asked


def test_a_date() -> None:
    soon = retry_after.seconds(format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True))
    assert soon is not None
    assert 0 < soon <= 90
    assert retry_after.seconds("Fri, 01 Jan 2100 00:00:00 GMT") == 3600
    assert retry_after.seconds("Fri, 01 Jan 2010 00:00:00 GMT") is None
    assert retry_after.seconds("Fri, 01 Jan 2010 00:00:00") is None
