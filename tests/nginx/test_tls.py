"""The door with a certificate: TLS, the way there, HTTP/2, a certificate that is replaced."""

import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.nginx.raw import say
from tests.nginx.replica import Replica
from tests.servers.nginx import HOST, Nginx, wait_until
from tests.suite import free_ports

NAME = "door.test"


def make_certificate(folder: Path) -> None:
    """A certificate that nobody signed but itself."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed; apt-get install openssl")
    made = f"-x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={NAME}".split()
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    names = ["-addext", f"subjectAltName=DNS:{NAME},IP:{HOST}"]
    subprocess.run([openssl, "req", *made, *files, *names], check=True, capture_output=True)


@pytest.fixture
def port() -> int:
    """Of TLS."""
    return free_ports(1)[0]


@pytest.fixture
def secure(tmp_path: Path, replica: Replica, port: int) -> Iterator[Nginx]:
    """A door with a certificate."""
    make_certificate(tmp_path)
    with Nginx(
        tmp_path / "door",
        {"preprocess": [replica.address], "generator": [replica.address]},
        NGINX_TLS_CERT=str(tmp_path / "cert.pem"),
        NGINX_TLS_KEY=str(tmp_path / "key.pem"),
        NGINX_TLS_PORT=str(port),
        NGINX_TLS_PUBLIC_PORT=str(port),
    ) as door:
        yield door


def trusting(folder: Path) -> ssl.SSLContext:
    """What a client needs to believe that certificate."""
    return ssl.create_default_context(cafile=str(folder / "cert.pem"))


def test_requests_over_tls(secure: Nginx, tmp_path: Path, port: int) -> None:
    with httpx.Client(base_url=f"https://{HOST}:{port}", verify=trusting(tmp_path), trust_env=False) as client:
        answer = client.post("/embed", json={})
        assert answer.status_code == 200
        assert answer.headers["strict-transport-security"] == "max-age=31536000"
        assert answer.json()["headers"]["x-forwarded-proto"] == ["https"]
        with client.stream("POST", "/generate", json={"do": "stream", "count": 1, "for": "x"}) as stream:
            assert "event: done" in list(stream.iter_lines())


def test_plain_requests_are_sent_there(secure: Nginx, port: int) -> None:
    with secure.client() as client:
        answer = client.post("/v1/embed?x=1", json={})
        assert answer.status_code == 308
        assert answer.headers["location"] == f"https://{HOST}:{port}/v1/embed?x=1"
        assert "strict-transport-security" not in answer.headers
        assert client.get("/healthz").json() == {"status": "ok"}


def test_plain_words_on_the_port_of_tls_are_a_problem(secure: Nginx, port: int) -> None:
    answer = httpx.get(f"http://{HOST}:{port}/embed", trust_env=False)
    assert answer.status_code == 400
    assert answer.json()["title"] == "Invalid request"


def test_failures_on_the_plain_port_are_problems(secure: Nginx) -> None:
    said = say(secure.port, b"HELLO\r\n\r\n")
    assert said.status == said.problem["status"] == 400


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_old_protocols_are_refused(secure: Nginx, tmp_path: Path, port: int) -> None:
    context = trusting(tmp_path)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with socket.create_connection((HOST, port)) as plain, context.wrap_socket(plain, server_hostname=NAME) as tls:
        assert tls.version() == "TLSv1.3"
        assert tls.selected_alpn_protocol() == "h2"
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with (
        socket.create_connection((HOST, port)) as plain,
        pytest.raises(ssl.SSLError),
        context.wrap_socket(plain, server_hostname=NAME),
    ):
        pass


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_streams_over_http_2(secure: Nginx, tmp_path: Path, port: int) -> None:
    order = '{"do": "stream", "count": 1, "for": "x"}'
    command = [
        "curl",
        "-sS",
        "--http2",
        "--noproxy",
        "*",
        "--cacert",
        str(tmp_path / "cert.pem"),
        "-w",
        "%{http_version}",
    ]
    url = f"https://{HOST}:{port}/generate"
    ended = subprocess.run([*command, "--json", order, url], capture_output=True, text=True, check=True)
    assert "event: done" in ended.stdout
    assert ended.stdout.endswith("2")


def test_a_new_certificate_is_taken_up(secure: Nginx, tmp_path: Path, port: int) -> None:
    old = served(port)
    before = secure.workers()
    make_certificate(tmp_path)
    secure.await_workers(before)
    wait_until(lambda: served(port) != old, lambda: "the old certificate is still served")
    assert served(port) == ssl.PEM_cert_to_DER_cert((tmp_path / "cert.pem").read_text())


def served(port: int) -> bytes:
    """The certificate that the door shows."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with socket.create_connection((HOST, port)) as plain, context.wrap_socket(plain, server_hostname=NAME) as tls:
        return tls.getpeercert(binary_form=True) or b""
