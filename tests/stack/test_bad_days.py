"""The bad days of a suite of processes, each with load running: nothing acknowledged is lost, questions go on."""

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack.load import KNOWN, Load
from tests.stack.problems import problem
from tests.stack.spread import Spread

pytestmark = [pytest.mark.models, pytest.mark.stack, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, bool]]:
    """The folder of the suite, and whether what it shares lies on a small disk of its own (root may do that)."""
    folder = tmp_path_factory.mktemp("spread")
    shared = folder / "shared"
    shared.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", shared], check=False)  # noqa: S607
    yield folder, mounted.returncode == 0
    if mounted.returncode == 0:
        subprocess.run(["umount", shared], check=True)  # noqa: S607


@pytest.fixture(scope="module")
def spread(
    disk: tuple[Path, bool], minilm: Path, redis_installed: None, rabbitmq_installed: None
) -> Iterator[Spread]:
    """Two of what answers questions and two workers; the tests leave it as they found it."""
    replicas = {"preprocess": 2, "preprocess-worker": 2, "reranker": 2, "generator": 2}
    with Spread(disk[0], replicas) as running:
        assert running.put([KNOWN])["state"] == "done"
        yield running


@pytest.fixture
def small_disk(disk: tuple[Path, bool]) -> Path:
    """Where raw documents lie, if that can be filled without filling the machine."""
    folder, mounted = disk
    if not mounted:
        pytest.skip("no file system can be mounted here; it takes root")
    return folder / "shared"


def test_a_quiet_day(spread: Spread) -> None:
    with Load(spread) as load:
        load.wait_for(answers=20, jobs=10)
    load.check()
    assert not load.refused
    assert not load.degraded
    for job in load.jobs:
        assert spread.job(job)["state"] == "done"


def test_rabbitmq_is_restarted(spread: Spread) -> None:
    with Load(spread) as load:
        load.wait_for(jobs=5)
        spread.rabbitmq.stop()
        load.wait_for(answers=10)
        spread.rabbitmq.start()
        load.wait_for(answers=10, jobs=5)
    load.check()
    for job in load.jobs:
        assert spread.job(job)["state"] == "done"


def test_rabbitmq_is_killed(spread: Spread) -> None:
    with Load(spread) as load:
        load.wait_for(jobs=5)
        spread.rabbitmq.kill()
        spread.rabbitmq.start()
        load.wait_for(answers=10, jobs=5)
    load.check()


def test_rabbitmq_is_frozen(spread: Spread) -> None:
    with Load(spread) as load:
        load.wait_for(jobs=2)
        spread.rabbitmq.pause()
        load.wait_for(answers=20)
        spread.rabbitmq.resume()
        load.wait_for(answers=10, jobs=5)
    load.check()


def test_redis_is_killed_and_comes_back_empty(spread: Spread) -> None:
    with Load(spread) as load:
        load.wait_for(jobs=5)
        spread.redis.kill()
        load.wait_for(answers=20, jobs=3)
        spread.redis.start()
        load.wait_for(answers=10, jobs=5)
    load.check()


def test_redis_is_flushed(spread: Spread) -> None:
    with Load(spread) as load:
        for _ in range(5):
            load.wait_for(answers=4, jobs=3)
            spread.redis.flush()
        load.wait_for(answers=5, jobs=3)
    load.check()


def test_redis_is_frozen(spread: Spread) -> None:
    with Load(spread) as load:
        load.wait_for(jobs=3)
        spread.redis.pause()
        load.wait_for(answers=20, jobs=2)
        spread.redis.resume()
        load.wait_for(answers=10, jobs=3)
    load.check()


def test_workers_are_killed_at_random_moments(spread: Spread) -> None:
    workers = spread.of("preprocess-worker")
    with Load(spread) as load:
        for n in range(8):
            load.wait_for(jobs=1 + n % 3)
            victim = workers[n % 2]
            victim.kill()
            victim.start()
        load.wait_for(answers=5, jobs=3)
    for worker in workers:
        worker.wait_for(200)
    load.check()
    for job in load.jobs:
        assert spread.job(job)["state"] == "done"


@pytest.mark.parametrize("kind", ["reranker", "preprocess"])
def test_a_replica_is_frozen(spread: Spread, kind: str) -> None:
    frozen = spread.of(kind)[1]
    with Load(spread) as load:
        load.wait_for(answers=10)
        frozen.pause()
        try:
            load.wait_for(answers=60)
        finally:
            frozen.resume()
        load.wait_for(answers=10, jobs=2)
    load.check()


@pytest.mark.parametrize("kind", ["reranker", "preprocess"])
def test_a_replica_is_killed_and_one_is_upgraded(spread: Spread, kind: str) -> None:
    first, second = spread.of(kind)
    with Load(spread) as load:
        load.wait_for(answers=10)
        second.kill()
        load.wait_for(answers=20)
        second.start()
        second.wait_for(200)
        load.wait_for(answers=5)
        if kind != "preprocess":  # the load writes to the first one's own door, which a client of one door notices
            assert first.stop() == 0
            load.wait_for(answers=20)
            first.start()
            first.wait_for(200)
        load.wait_for(answers=10)
    load.check()
    assert not load.degraded


def test_the_retriever_is_upgraded(spread: Spread) -> None:
    """There is one: while it is away there is no answer, but what was acknowledged goes in."""
    retriever = spread.of("retriever")[0]
    load = Load(spread, askers=0)
    with load:
        load.wait_for(jobs=5)
        assert retriever.stop() == 0
        retriever.start()
        retriever.wait_for(200)
        load.wait_for(jobs=5)
    load.check()
    with spread.client("generator") as client:
        load.one_answer(client, "When does the ferry to Skarvøy leave, after the upgrade?")
    assert not load.failures


def test_the_disk_for_documents_is_full(spread: Spread, small_disk: Path) -> None:
    with Load(spread) as load:
        load.wait_for(jobs=3)
        filler = small_disk / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 16))
        try:
            load.wait_for(answers=20)
            with spread.client("preprocess") as client:
                refused = client.post("/documents", json={"documents": [{"id": "big", "text": "word " * 100_000}]})
            assert "full" in problem(refused, 503)["detail"]
        finally:
            filler.unlink()
        load.wait_for(jobs=5)
    load.check()


def test_rabbitmq_is_away_at_the_start(
    tmp_path: Path, minilm: Path, redis_installed: None, rabbitmq_installed: None
) -> None:
    with Spread(tmp_path, {"generator-worker": 0}, rabbitmq_is_up=False) as spread:
        with spread.client("preprocess") as client:
            assert client.post("/embed", json={"input": "harbour"}).status_code == 200
            problem(client.post("/documents", json={"documents": [{"id": "a", "text": "A harbour."}]}), 503)
        spread.rabbitmq.start()
        spread.of("preprocess-worker")[0].wait_for(200)
        assert spread.put([KNOWN])["state"] == "done"
        with Load(spread) as load:
            load.wait_for(answers=5, jobs=3)
        load.check()


def test_the_clock_jumps(
    tmp_path: Path, minilm: Path, redis_installed: None, rabbitmq_installed: None, faketime: str
) -> None:
    clock = tmp_path / "clock"
    clock.write_text("+0")
    environment = {
        "LD_PRELOAD": faketime,
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    with Spread(tmp_path / "spread", {"generator-worker": 0}, environment) as spread:
        assert spread.put([KNOWN])["state"] == "done"
        began = time.time()
        with Load(spread) as load:
            for jump in ("+1d", "-2d", "+0"):
                clock.write_text(jump)
                load.wait_for(answers=6, jobs=4)
        load.check()
        jobs = [spread.job(job) for job in load.jobs]
    assert {job["state"] for job in jobs} == {"done"}
    written = [job["created_at"] - began for job in jobs]
    assert max(written) > 80_000  # the clock did jump
    assert min(written) < -150_000
