"""Clients find replicas as they come, and lose one without losing a call: real processes behind a real DNS."""

import asyncio
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc
import pytest
from dnslib import QTYPE, RR, A, DNSRecord
from dnslib.server import DNSLogger, DNSServer

from ragline.grpc_client import call, channel
from ragline.v1.reranker_pb2 import RerankRequest
from ragline.v1.reranker_pb2_grpc import RerankerStub
from tests.servers.freezing import freeze
from tests.suite import free_ports

AGE_S = 1.0
LIMIT_S = 60.0


class Names:
    """Answers every question with the addresses of the replicas that there are now, as a headless service does."""

    def __init__(self) -> None:
        self.addresses: list[str] = []

    def resolve(self, request: DNSRecord, handler: Any) -> DNSRecord:
        reply = request.reply()
        if request.q.qtype == QTYPE.A:
            for address in self.addresses:
                reply.add_answer(RR(request.q.qname, QTYPE.A, rdata=A(address), ttl=1))
        return reply


class Replicas:
    """Processes on 127.0.0.2, .3 and so on, all on one port, and the name that stands for them."""

    def __init__(self) -> None:
        self.port, dns_port = free_ports(2)
        self.names = Names()
        self.dns = DNSServer(self.names, port=dns_port, address="127.0.0.1", logger=DNSLogger(log=""))
        self.dns.start_thread()
        self.target = f"dns://127.0.0.1:{dns_port}/reranker.test:{self.port}"
        self.processes: dict[str, subprocess.Popen[str]] = {}

    def start(self) -> str:
        address = f"127.0.0.{len(self.processes) + 2}"
        command = [sys.executable, "-m", "tests.ragline.replica", f"{address}:{self.port}", address, str(AGE_S)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        self.processes[address] = process
        self.names.addresses.append(address)
        return address

    def close(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.communicate()
        self.dns.stop()
        self.dns.server.server_close()


@pytest.fixture
def replicas() -> Iterator[Replicas]:
    running = Replicas()
    yield running
    running.close()


@pytest.fixture
async def ours(replicas: Replicas) -> AsyncIterator[grpc.aio.Channel]:
    async with channel(replicas.target, max_message_mb=4) as opened:
        yield opened


async def ask(ours: grpc.aio.Channel) -> str:
    return str((await call(RerankerStub(ours).Rerank, RerankRequest(), timeout_s=LIMIT_S)).scorer)


async def asked(ours: grpc.aio.Channel, calls: int) -> Counter[str]:
    return Counter([await ask(ours) for _ in range(calls)])


async def test_a_new_replica_is_used_without_a_restart(replicas: Replicas, ours: grpc.aio.Channel) -> None:
    first = replicas.start()
    assert set(await asked(ours, 10)) == {first}
    second = replicas.start()
    end = time.monotonic() + LIMIT_S
    while await ask(ours) != second:
        assert time.monotonic() < end
    counts = await asked(ours, 200)
    assert min(counts[first], counts[second]) >= 80


@pytest.mark.parametrize("wish", [signal.SIGTERM, signal.SIGKILL])
async def test_no_call_fails_when_a_replica_goes(
    replicas: Replicas, ours: grpc.aio.Channel, wish: signal.Signals
) -> None:
    first, second, third = (replicas.start() for _ in range(3))
    ended = asyncio.Event()
    counts: Counter[str] = Counter()

    answered = asyncio.Condition()

    async def keep_asking() -> None:
        while not ended.is_set():
            name = await ask(ours)
            async with answered:
                counts[name] += 1
                answered.notify_all()

    async def until(enough: Callable[[], bool]) -> None:
        async with asyncio.timeout(LIMIT_S), answered:
            await answered.wait_for(enough)

    askers = [asyncio.create_task(keep_asking()) for _ in range(8)]
    await until(lambda: len(counts) == 3)
    replicas.processes[second].send_signal(wish)
    await asyncio.to_thread(replicas.processes[second].wait)
    replicas.names.addresses.remove(second)
    counts.clear()
    await until(lambda: min(counts[first], counts[third]) >= 200)
    ended.set()
    await asyncio.gather(*askers)


async def test_a_frozen_replica_is_left(replicas: Replicas, ours: grpc.aio.Channel) -> None:
    first, second = replicas.start(), replicas.start()
    while set(await asked(ours, 4)) != {first, second}:
        pass
    frozen = replicas.processes[second]
    freeze(frozen.pid)
    try:
        assert set(await asked(ours, 50)) == {first}
    finally:
        frozen.send_signal(signal.SIGCONT)
    end = time.monotonic() + LIMIT_S
    while await ask(ours) != second:
        assert time.monotonic() < end


async def test_a_call_that_lasts_longer_than_a_connection_is_finished(
    replicas: Replicas, ours: grpc.aio.Channel
) -> None:
    """The age of a connection ends the connection, not what is asked over it."""
    replicas.start()
    calls = [asyncio.create_task(ask(ours)) for _ in range(3)]
    end = time.monotonic() + 3 * AGE_S
    while time.monotonic() < end:
        calls.append(asyncio.create_task(ask(ours)))
        await asyncio.sleep(0.01)
    assert len(await asyncio.gather(*calls)) == len(calls)
