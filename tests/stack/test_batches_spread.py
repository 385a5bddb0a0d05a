"""Batches over RabbitMQ with two workers, of which one is killed and one freezes."""

import time
from pathlib import Path

import pytest

from tests.stack.batch_client import DOCUMENTS, WITHOUT_MODELS, ended, hold, line, post, results
from tests.stack.spread import Spread

pytestmark = pytest.mark.stack


def test_two_workers_of_which_one_is_killed_and_one_freezes(
    tmp_path: Path, redis_installed: None, rabbitmq_installed: None
) -> None:
    given = [line(n, route) for n in range(150) for route in ("generate", "retrieve", "embed")]
    with Spread(tmp_path / "spread", {"generator-worker": 2}, WITHOUT_MODELS) as running:
        running.put(DOCUMENTS)
        first, second = running.of("generator-worker")
        with running.client("generator") as client:
            batch_id = post(client, given)
            while not client.get(f"/batches/{batch_id}").json()["done"]:
                time.sleep(0.02)
            first.kill()
            second.pause()
            early = results(client, batch_id, order="finished")
            first.start()
            view = ended(client, batch_id)
            second.resume()
            found = results(client, batch_id)
    assert (view["state"], view["failed"]) == ("done", 0)
    hold({result["line"]: result for result in early}, found)
    assert [result["line"] for result in found] == list(range(1, len(given) + 1))
