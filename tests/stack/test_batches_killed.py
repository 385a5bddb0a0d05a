"""No line of a batch is lost or doubled, whatever happens to those who work on it."""

import random
import time
from pathlib import Path
from typing import Any

import pytest

from tests.stack.batch_client import DOCUMENTS, TOWNS, WITHOUT_MODELS, ended, hold, line, post, results
from tests.suite import Suite, put

pytestmark = pytest.mark.stack


def test_no_line_is_lost_or_doubled_by_kills(tmp_path: Path) -> None:
    """An answer of /generate has an id of its own: a line done twice would show another one."""
    dice = random.Random(7)
    given = [line(n, route) for n in range(200) for route in ("generate", "retrieve", "embed")]
    seen: dict[int, dict[str, Any]] = {}
    suite = Suite(tmp_path / "killed", WITHOUT_MODELS)
    try:
        suite.start()
        with suite.client() as client:
            put(client, DOCUMENTS)
            batch_id = post(client, given)
        for _ in range(2):
            time.sleep(dice.uniform(0.05, 0.7))
            with suite.client() as client:
                found = results(client, batch_id, order="finished")
            suite.kill()
            hold(seen, found)
            suite.start()
        with suite.client() as client:
            view = ended(client, batch_id)
            hold(seen, found := results(client, batch_id))
    finally:
        suite.stop()
    assert (view["state"], view["done"], view["failed"]) == ("done", len(given), 0)
    assert [result["custom_id"] for result in found] == [each["custom_id"] for each in given]
    for result in found:
        n = int(result["custom_id"].rpartition("/")[2])
        if "answer" in result["body"]:
            assert result["body"]["citations"][0]["document_id"] == TOWNS[n % len(TOWNS)]
        if "passages" in result["body"]:
            assert result["body"]["passages"][0]["document_id"] == TOWNS[n % len(TOWNS)]
