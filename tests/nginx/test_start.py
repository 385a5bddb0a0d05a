"""The start script: settings, what it refuses, what it needs of the machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.servers.nginx import SCRIPT, SERVICES, Nginx, wait_until

NOBODY = 65_534
DOCS = SCRIPT.parent.parent / "docs"
PAGES = ("how-to/nginx.md", "decisions/0012-the-door-is-given-addresses.md")


def refusal(tmp_path: Path, variables: dict[str, str]) -> str:
    """What the script says before it ends with the status of bad settings."""
    environment = {**Nginx(tmp_path / "door").environment, **variables}
    ended = subprocess.run(
        ["/bin/sh", str(SCRIPT)], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 2, ended.stderr
    return ended.stderr


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("NGINX_PROT", "8080", "NGINX_PROT is no setting; known are"),
        ("NGINX_PORT", "http", "NGINX_PORT=http is no good: a whole number from 1 to 65535"),
        ("NGINX_PORT", "tcp://10.0.0.1:80", "NGINX_PORT=tcp://10.0.0.1:80 is no good"),
        ("NGINX_PORT", "0", "a whole number from 1 to 65535"),
        ("NGINX_RATE", "0", "NGINX_RATE=0 is no good"),
        ("RAGLINE_MAX_BODY_MB", "64m", "RAGLINE_MAX_BODY_MB=64m is no good"),
        ("NGINX_HSTS_S", "12345678901", "NGINX_HSTS_S=12345678901 is no good"),
        ("NGINX_TRUSTED_PROXIES", "10.0.0.1; }", "NGINX_TRUSTED_PROXIES=10.0.0.1; } is no good: it has signs"),
        ("NGINX_ACCESS_LOG", "x\nuser root", "it has signs that nginx would misread"),
        ("NGINX_HOST", '"', "it has signs that nginx would misread"),
        ("NGINX_GENERATOR_ADDRESS", "generator", "generator is no host:port of generator"),
        ("NGINX_GENERATOR_ADDRESS", "a:8004 b:x", "b:x is no host:port of generator"),
        ("NGINX_TLS_CERT", "/etc/hostname", "NGINX_TLS_KEY is not set; a certificate needs its key"),
        ("NGINX_LOG_LEVEL", "loud", "loud"),
        ("NGINX_TRUSTED_PROXIES", "somewhere", "somewhere"),
    ],
)
def test_a_bad_setting_stops_the_start(tmp_path: Path, name: str, value: str, said: str) -> None:
    assert said in refusal(tmp_path, {name: value})


def test_files_that_are_not_there_stop_the_start(tmp_path: Path) -> None:
    said = refusal(tmp_path, {"NGINX_TLS_CERT": "/none.pem", "NGINX_TLS_KEY": "/none.key"})
    assert "NGINX_TLS_CERT=/none.pem is no good: there is no such file" in said


def test_what_others_put_into_the_environment_is_let_be(tmp_path: Path) -> None:
    """The image's own variables and those that Kubernetes derives from a service named nginx."""
    given = {
        "NGINX_VERSION": "1.28.0",
        "NGINX_ENTRYPOINT_QUIET_LOGS": "1",
        "NGINX_SERVICE_HOST": "10.0.0.1",
        "NGINX_PORT_8080_TCP_ADDR": "10.0.0.1",
    }
    door = Nginx(tmp_path / "door")
    door.environment.update(given)
    with door:
        assert door.answers()


def test_an_empty_value_is_none(tmp_path: Path) -> None:
    """As Compose hands on a variable that has no value."""
    with Nginx(tmp_path / "door", NGINX_RATE="", NGINX_TLS_CERT="", RAGLINE_MAX_BODY_MB="") as door:
        assert "client_max_body_size 64m;" in (door.run / "nginx.conf").read_text()


def test_every_setting_is_used_and_nothing_else() -> None:
    lines = (SCRIPT.parent / "settings.env").read_text().splitlines()
    names = {line.partition("=")[0] for line in lines if line and not line.startswith("#")}
    script = SCRIPT.read_text()
    rendered = "".join(file.read_text() for file in SCRIPT.parent.glob("*.template"))
    put_together = {f"NGINX_{service.upper()}_ADDRESS" for service in SERVICES}  # by the script
    assert [name for name in names - put_together if name not in script + rendered] == []
    derived = {word.partition("=")[0] for line in re.findall(r"export (NGINX.*)", script) for word in line.split()}
    assert set(re.findall(r"\$\{([A-Z0-9_]+)\}", rendered)) <= names | derived


def test_settings_that_pages_name_are_there_with_the_defaults_that_they_name() -> None:
    defaults = dict(re.findall(r"^([A-Z_]+)=(.*)$", (SCRIPT.parent / "settings.env").read_text(), re.MULTILINE))
    text = "".join((DOCS / page).read_text() for page in PAGES)
    assert set(re.findall(r"\bNGINX_[A-Z_]*[A-Z]\b", text)) <= set(defaults)
    rows = re.findall(r"^\| (`[A-Z_`, ]+`) \| ([\d, ]+) \|", text, re.MULTILINE)
    assert len(rows) > 5
    for names, values in rows:
        assert [defaults[name.strip("` ")] for name in names.split(",")] == values.split(", ")


def test_the_command_of_the_page_starts_a_door(tmp_path: Path) -> None:
    """As it stands there, on a port and in a folder that disturb nobody."""
    command = re.findall(r"```\n(NGINX_[^`]*start\.sh)\n```", (DOCS / PAGES[0]).read_text())[0]
    door = Nginx(tmp_path / "door")
    fixed = {name: value for name, value in door.environment.items() if not name.endswith("S_ADDRESS")}
    door.command = ["/bin/sh", "-c", f"cd {SCRIPT.parent.parent} && exec env {command}"]
    door.environment = fixed | {"NGINX_STATUS_ADDRESS": door.environment["NGINX_STATUS_ADDRESS"]}
    with door:
        assert door.listed("generator") == ["127.0.0.1:8004"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become someone else")
def test_it_runs_as_someone_who_may_write_nowhere_else(tmp_path: Path) -> None:
    """As in a container with a read-only file system and a user of its own."""
    folder = Path("/tmp") / f"ragline-nginx-{tmp_path.name}-{os.getpid()}"  # noqa: S108 - pytest's are not open to others
    try:
        door = Nginx(folder, NGINX_USER="", NGINX_ACCESS_LOG="/dev/stdout")
        door.run.mkdir()
        os.chown(door.run, NOBODY, NOBODY)
        (folder / "log").touch()
        os.chown(folder / "log", NOBODY, NOBODY)  # as a container's standard output is its user's
        door.user = NOBODY
        with door:
            assert door.answers()
            written = {path.relative_to(folder).parts[0] for path in folder.rglob("*")}
            assert written <= {"run", "names", "log", "resolve.sh"}
            with door.client() as client:
                client.get("/somewhere")
            door.stop()
            assert '"path":"/somewhere"' in door.log
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("addresses", ["127.0.0.1:7001 127.0.0.1:7002", "[::1]:7001", "localhost:7001"])
def test_addresses_need_no_resolver(tmp_path: Path, addresses: str) -> None:
    """Given as they are, several at once, or as names that the machine's own command knows."""
    with Nginx(
        tmp_path / "door", NGINX_RERANKER_ADDRESS=addresses, NGINX_RESOLVE="getent ahostsv4", NGINX_PROBE_S="0"
    ) as door:
        wanted = addresses.replace("localhost", "127.0.0.1").split()
        # A name is asked for again where the command took longer than it may.
        wait_until(lambda: door.listed("reranker") == wanted, lambda: door.log)


def test_the_configuration_has_no_warnings(tmp_path: Path) -> None:
    with Nginx(tmp_path / "door") as door:
        assert "[warn]" not in door.log
        assert "[emerg]" not in door.log
