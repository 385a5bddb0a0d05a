"""Reads the Retry-After header that a server sends with a refusal (RFC 9110, section 10.2.3)."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_S = 3600.0  # more is no pause but a mistake


def seconds(header: str) -> float | None:
    """What the header asks for, in seconds from now, by number or date; None where that makes no sense."""
    try:
        wait_s = float(header)
    except ValueError:
        try:
            wait_s = (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return None
    return min(wait_s, LONGEST_S) if 0 < wait_s < math.inf else None
