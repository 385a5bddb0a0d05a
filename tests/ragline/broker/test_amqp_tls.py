"""RabbitMQ over TLS: a server that a known authority has signed is talked to, any other is not."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ragline import broker as brokers
from ragline.errors import Unavailable
from tests.ragline.broker.inbox import QUEUE, Inbox, letters
from tests.servers.fixtures import require
from tests.servers.rabbitmq import USER, RabbitmqServer
from tests.suite import free_ports

pytestmark = pytest.mark.stack


def sign(folder: Path) -> None:
    """An authority and a certificate of 127.0.0.1 that it has signed."""
    subject = ["-newkey", "rsa:2048", "-nodes", "-days", "2", "-addext"]
    authority = ["-x509", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=authority"]
    server = [
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-x509",
        "-keyout",
        "key.pem",
        "-out",
        "cert.pem",
        "-subj",
        "/CN=it",
    ]
    for words in (
        [*authority, *subject, "keyUsage=critical,keyCertSign"],
        [*server, *subject, "subjectAltName=IP:127.0.0.1"],
    ):
        subprocess.run(
            [shutil.which("openssl") or "openssl", "req", *words], cwd=folder, check=True, capture_output=True
        )


@pytest.fixture(scope="module")
def server(rabbitmq_installed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Where it listens, and the authority's certificate."""
    require("openssl", "openssl")
    folder = tmp_path_factory.mktemp("rabbitmq")
    sign(folder)
    (port,) = free_ports(1)
    config = (
        f"listeners.ssl.default = 127.0.0.1:{port}\nssl_options.cacertfile = {folder}/ca.pem\n"
        f"ssl_options.certfile = {folder}/cert.pem\nssl_options.keyfile = {folder}/key.pem\n"
        "ssl_options.versions.1 = tlsv1.2\nssl_options.verify = verify_none\n"
    )
    with RabbitmqServer(folder, config=config):
        yield f"{USER}:{USER}@127.0.0.1:{port}", folder / "ca.pem"


async def test_a_signed_server_is_trusted(server: tuple[str, Path]) -> None:
    place, authority = server
    broker, inbox = brokers.open(f"amqps://{place}?cafile={authority}"), Inbox()
    await broker.publish(QUEUE, letters("secret"))
    await broker.consume(QUEUE, inbox, concurrency=1)
    await inbox.wait(1)
    await broker.close()


async def test_a_server_that_nobody_known_has_signed_is_not(server: tuple[str, Path]) -> None:
    broker = brokers.open(f"amqps://{server[0]}")
    with pytest.raises(Unavailable):
        await broker.publish(QUEUE, letters("secret"))
    await broker.close()
