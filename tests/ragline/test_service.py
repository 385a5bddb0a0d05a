import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import orjson
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ragline import service
from ragline.errors import Unavailable
from ragline.grpc_client import call, channel
from ragline.settings import Settings, SettingsError
from ragline.v1.reranker_pb2 import RerankRequest
from ragline.v1.reranker_pb2_grpc import RerankerStub
from tests.ragline.lamp import Lamp

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "SERVING_POLL_S", 0.01)
    monkeypatch.setattr(service, "STARTING_POLL_S", 0.01)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


class Running:
    """``serve`` in this process, until ``end``."""

    def __init__(self, lamps: Sequence[Lamp], **settings: Any) -> None:
        self.addresses = {lamp.name: f"127.0.0.1:{free_port()}" for lamp in lamps}
        self.url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(
            service.serve(
                [lamp.service() for lamp in lamps],
                http_address=("127.0.0.1", 0),
                grpc_addresses=self.addresses,
                settings=Settings(**{"drain_s": 20.0, **settings}),
                title="lamps",
                on_ready=self.url.set_result,
            )
        )

    async def ready(self) -> str:
        told: set[asyncio.Future[Any]] = {self.url, self.task}
        await asyncio.wait(told, return_when=asyncio.FIRST_COMPLETED)
        return self.url.result()

    async def health(self, name: str) -> int:
        async with grpc.aio.insecure_channel(self.addresses[name]) as plain:
            answer = await health_pb2_grpc.HealthStub(plain).Check(health_pb2.HealthCheckRequest())
            return int(answer.status)

    async def becomes(self, name: str, status: int) -> None:
        async with grpc.aio.insecure_channel(self.addresses[name]) as plain:
            watch = health_pb2_grpc.HealthStub(plain).Watch(health_pb2.HealthCheckRequest())
            async for answer in watch:
                if answer.status == status:
                    return


@asynccontextmanager
async def running(*lamps: Lamp, **settings: Any) -> AsyncIterator[tuple[Running, httpx.AsyncClient]]:
    it = Running(lamps, **settings)
    try:
        async with httpx.AsyncClient(base_url=await it.ready(), timeout=60) as outside:
            yield it, outside
    finally:
        for lamp in lamps:
            lamp.go.set()
        os.kill(os.getpid(), signal.SIGTERM)
        await it.task


async def rerank(address: str, query: str) -> str:
    async with channel(address, max_message_mb=4) as ours:
        return (await call(RerankerStub(ours).Rerank, RerankRequest(query=query), timeout_s=20)).scorer


async def test_several_services_share_a_rest_port_and_have_a_grpc_port_each() -> None:
    one, two = Lamp("one"), Lamp("two")
    one.go.set()
    two.go.set()
    async with running(one, two) as (it, outside):
        assert (await outside.get("/one/slow")).json() == "rest"
        assert (await outside.get("/v1/two/slow")).json() == "rest"
        assert await rerank(it.addresses["two"], "rpc") == "rpc"
        states = {"process": "ok", "one.oil": "ok", "two.oil": "ok"}
        assert (await outside.get("/readyz")).json() == {"status": "ready", "checks": states}
        assert (await outside.get("/")).json()["name"] == "lamps"
    assert one.seen == ["start", "served rest", "stop"]
    assert two.seen == ["start", "served rest", "served rpc", "stop"]


async def test_it_is_ready_only_when_every_check_passes() -> None:
    lamp = Lamp()
    lamp.lit = False
    it = Running([lamp])
    await lamp.started.wait()
    assert not it.url.done()
    assert await it.health("lamp") == NOT_SERVING
    lamp.lit = True
    assert (await it.ready()).startswith("http://127.0.0.1:")
    assert await it.health("lamp") == SERVING
    it.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await it.task
    assert lamp.seen == ["start", "stop"]


async def test_health_follows_the_checks_of_its_own_service() -> None:
    one, two = Lamp("one"), Lamp("two")
    async with running(one, two) as (it, outside):
        one.lit = False
        await it.becomes("one", NOT_SERVING)
        assert await it.health("two") == SERVING
        answer = await outside.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["checks"]["one.oil"] == "There is no oil."


async def test_what_is_in_flight_at_a_signal_is_served_before_the_services_stop() -> None:
    lamp, rpc = Lamp("rest"), Lamp("rpc")
    it = Running([lamp, rpc])
    async with httpx.AsyncClient(base_url=await it.ready(), timeout=60) as outside:
        asking = asyncio.create_task(outside.get("/rest/slow"))
        calling = asyncio.create_task(rerank(it.addresses["rpc"], "late"))
        await lamp.arrived.wait()
        await rpc.arrived.wait()
        os.kill(os.getpid(), signal.SIGTERM)
        await until_refused(outside.base_url.port or 0)
        lamp.go.set()
        rpc.go.set()
        assert (await asking).json() == "rest"
        assert await calling == "late"
    await it.task
    assert lamp.seen == ["start", "served rest", "stop"]
    assert rpc.seen == ["start", "served late", "stop"]


async def until_refused(port: int) -> None:
    while True:
        if refused(port):
            return
        await asyncio.sleep(0)


def refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return True
    return False


async def test_what_takes_longer_than_the_drain_is_cut() -> None:
    lamp = Lamp()
    it = Running([lamp], drain_s=0.0)
    address = it.addresses["lamp"]
    await it.ready()
    calling = asyncio.create_task(rerank(address, "too late"))
    await lamp.arrived.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    await it.task
    with pytest.raises(Unavailable):
        await calling
    assert lamp.seen == ["start", "stop"]


async def test_a_start_that_fails_stops_everything_and_is_raised() -> None:
    good, bad = Lamp("good"), Lamp("bad")
    bad.fault = "start"
    it = Running([good, bad])
    with pytest.raises(RuntimeError, match="no match"):
        await it.task
    assert good.seen == ["start", "stop"]
    assert bad.seen == ["start", "stop"]


async def test_a_rest_port_in_use_names_its_setting_and_stops_what_was_built() -> None:
    lamp = Lamp()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            SettingsError, match=rf"127\.0\.0\.1:{port}: address already in use; set PORT to another"
        ):
            await service.serve(
                [lamp.service()],
                http_address=("127.0.0.1", port),
                grpc_addresses={"lamp": "127.0.0.1:0"},
                settings=Settings(),
                title="lamps",
            )
    assert lamp.seen == ["stop"]


# As processes of their own


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    root = Path(__file__).parents[2]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LAMP_", "RAGLINE_"))}
    return {**kept, "PYTHONPATH": str(root), "LAMP_GRPC_PORT": str(free_port())}


def command() -> list[str]:
    return [sys.executable, "-m", "tests.ragline.lamp"]


@pytest.fixture
def process(environment: dict[str, str], tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    started = subprocess.Popen(command(), env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    yield started
    started.kill()
    started.communicate()


def until_ready(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    for line in process.stderr:
        event = orjson.loads(line)
        if event["event"] == "ready":
            return str(event["url"])
    raise AssertionError("it ended before it was ready")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_in_order(process: subprocess.Popen[str], number: int) -> None:
    assert httpx.get(until_ready(process) + "/readyz").status_code == 200
    process.send_signal(number)
    assert process.wait(60) == 0


def test_a_second_ctrl_c_ends_the_process_at_once(process: subprocess.Popen[str]) -> None:
    url = until_ready(process)
    port = int(url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as held:
        held.sendall(b"GET /lamp/slow HTTP/1.1\r\nHost: lamp\r\n\r\n")
        process.send_signal(signal.SIGINT)
        while not refused(port):
            pass
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == service.INTERRUPTED


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("LAMP_PORT", "x", "LAMP_PORT='x' is no good: "),
        ("LAMP_PROT", "1", "LAMP_PROT is no setting; did you mean LAMP_PORT?"),
        ("LAMP_FAULT", "build", "The wick is missing; buy one."),
        ("LAMP_HOST", "203.0.113.1", "set LAMP_GRPC_PORT"),
    ],
)
def test_a_bad_setting_is_one_sentence_and_exit_2(
    environment: dict[str, str], tmp_path: Path, name: str, value: str, sentence: str
) -> None:
    ended = subprocess.run(
        command(),
        env={**environment, name: value},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == service.BAD_SETTINGS
    assert re.fullmatch(r"ragline: [^\n]+\n", ended.stderr)
    assert sentence in ended.stderr
    assert ended.stdout == ""
