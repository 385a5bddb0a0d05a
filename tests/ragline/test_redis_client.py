"""How a Redis is named, guarded and reached over TLS."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import uuid
from pathlib import Path

import pytest
from redis.exceptions import ResponseError

from ragline import redis_client
from ragline.errors import Unavailable
from ragline.redis_client import address_of
from tests.servers.redis import HOST, RedisServer
from tests.suite import free_ports


def test_a_url_is_taken_apart() -> None:
    plain = address_of("redis://host")
    assert (plain.hosts, plain.db, plain.username, plain.password) == ((("host", 6379),), 0, None, None)
    full = address_of("rediss://me:p%40ss%2F%23@[::1]:7000/3?timeout_s=2&prefix=mine:&ca_certs=/ca.pem")
    assert (full.hosts, full.db, full.username, full.password) == ((("::1", 7000),), 3, "me", "p@ss/#")
    assert (full.options.timeout_s, full.options.prefix, full.options.ca_certs) == (2.0, "mine:", "/ca.pem")
    assert full.name == "rediss://[::1]:7000/3"
    trio = address_of("redis+sentinel://:secret@one:26380,two/main/1?sentinel_password=other")
    assert trio.hosts == (("one", 26380), ("two", 26379))
    assert (trio.group, trio.db, trio.password, trio.options.sentinel_password) == ("main", 1, "secret", "other")
    assert trio.name == "redis+sentinel://one:26380,two:26379/main/1"
    nodes = address_of("rediss+cluster://one,two:7001")
    assert nodes.hosts == (("one", 6379), ("two", 7001))


async def test_what_redis_says_passes_and_its_silence_is_unavailable(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    there = redis_client.open(f"{redis_server.url}?timeout_s=10")
    key = uuid.uuid4().hex
    async with there.guard() as client:
        await client.set(key, b"text", ex=60)
    with pytest.raises(ResponseError):
        async with there.guard() as client:
            await client.lpush(key, b"1")
    assert there.breaker.closed
    with pytest.raises(Unavailable, match=f"{HOST}:{redis_server.port}"):
        async with there.guard(timeout_s=0.05):
            await asyncio.Event().wait()
    assert there.breaker.pause_s > 0
    await there.close()
    nobody = redis_client.open(RedisServer(tmp_path).url)
    for _ in range(3):
        with pytest.raises(Unavailable):
            async with nobody.guard() as client:
                await client.get(key)
    await nobody.close()


async def test_no_more_connections_than_allowed(redis_server: RedisServer) -> None:
    server = redis_client.open(f"{redis_server.url}?timeout_s=10&max_connections=3")
    name = uuid.uuid4().hex

    async def use() -> int:
        async with server.guard() as client:
            await client.client_setname(name)
            await asyncio.sleep(0.01)
            return sum(name in line for line in str(await client.execute_command("CLIENT", "LIST")).split("addr="))

    assert max(await asyncio.gather(*(use() for _ in range(30)))) <= 3
    await server.close()


async def connections(server: RedisServer, name: str) -> int:
    """How many connections there are of clients that gave themselves that name."""
    watch = redis_client.open(f"{server.url}?timeout_s=10")
    async with watch.guard() as client:
        found: int = sum(each["name"] == name for each in await client.client_list())
    await watch.close()
    return found


async def test_it_closes_when_the_commands_under_way_are_done(redis_server: RedisServer) -> None:
    server = redis_client.open(f"{redis_server.url}?timeout_s=10")
    name, key, begun = uuid.uuid4().hex, uuid.uuid4().hex, asyncio.Event()

    async def wait_for_one() -> bytes:
        async with server.guard() as client:
            begun.set()
            pipeline = client.pipeline(transaction=False).client_setname(name).blpop([key])
            popped: bytes = (await pipeline.execute())[1][1]
            return popped

    waiting = asyncio.create_task(wait_for_one())
    await begun.wait()
    while not await connections(redis_server, name):  # noqa: ASYNC110 - Redis has none to wait on
        await asyncio.sleep(0.01)
    closing = asyncio.create_task(server.close())
    await asyncio.sleep(0.05)  # it has begun, and would have broken off what is under way
    other = redis_client.open(f"{redis_server.url}?timeout_s=10")
    async with other.guard() as client:
        await client.rpush(key, b"done")
    await other.close()
    assert await waiting == b"done"
    await closing
    assert await connections(redis_server, name) == 0
    await server.close()
    with pytest.raises(Unavailable, match="not asked any more"):
        async with server.guard():
            pass


async def test_it_closes_without_what_hangs(redis_server: RedisServer) -> None:
    server = redis_client.open(f"{redis_server.url}?timeout_s=2")
    name, begun = uuid.uuid4().hex, asyncio.Event()

    async def hang() -> None:
        async with server.guard(timeout_s=60) as client:
            await client.client_setname(name)
            begun.set()
            await asyncio.Event().wait()

    hanging = asyncio.create_task(hang())
    await begun.wait()
    await server.close()
    assert await connections(redis_server, name) == 0
    hanging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hanging


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A key, and a certificate of this machine that is signed with it."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl is not installed; apt-get install openssl")
    folder = tmp_path_factory.mktemp("tls")
    key, made = folder / "key.pem", folder / "certificate.pem"
    command = [program, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=redis"]
    command += ["-addext", f"subjectAltName=IP:{HOST}", "-keyout", str(key), "-out", str(made)]
    subprocess.run(command, check=True, capture_output=True)
    return key, made


async def test_tls(tmp_path: Path, certificate: tuple[Path, Path], redis_installed: None) -> None:
    key, made = certificate
    [port] = free_ports(1)
    options = {
        "tls-port": str(port),
        "tls-cert-file": str(made),
        "tls-key-file": str(key),
        "tls-auth-clients": "no",
    }
    with RedisServer(tmp_path, options={**options, "tls-ca-cert-file": str(made)}):
        url = f"rediss://{HOST}:{port}/0?timeout_s=10"
        trusting = redis_client.open(f"{url}&ca_certs={made}")
        async with trusting.guard() as client:
            assert await client.ping()
        await trusting.close()
        doubting = redis_client.open(url)
        with pytest.raises(Unavailable):
            async with doubting.guard() as client:
                await client.ping()
        await doubting.close()
