"""The page that the door shows to browsers: its files and no others, with what browsers obey."""

from pathlib import Path

import httpx
import pytest

from ragline.http.page import INDEX, POLICY, TYPES
from tests.nginx.raw import say
from tests.servers.nginx import Nginx

WEB = Path(__file__).parent.parent.parent / "web"
PARTS = sorted(path for path in WEB.iterdir() if path.suffix in TYPES and path.name != INDEX)
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.mark.parametrize("path", ["/", "/?x=1"])
def test_browsers_get_the_page(client: httpx.Client, path: str) -> None:
    answer = client.get(path, headers=BROWSER)
    assert answer.content == (WEB / INDEX).read_bytes()
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "Accept" in answer.headers.get_list("vary", split_commas=True)


@pytest.mark.parametrize("accept", ["*/*", "application/json", ""])
def test_programs_get_json(client: httpx.Client, accept: str) -> None:
    answer = client.get("/", headers={"Accept": accept})
    assert answer.json()["docs"] == "/docs"
    assert "Accept" in answer.headers.get_list("vary", split_commas=True)
    assert "script-src" not in answer.headers["content-security-policy"]


@pytest.mark.parametrize("path", PARTS, ids=lambda path: path.name)
def test_each_part_is_served_as_what_it_is(client: httpx.Client, path: Path) -> None:
    answer = client.get(f"/web/{path.name}")
    assert answer.content == path.read_bytes()
    assert answer.headers["content-type"] == TYPES[path.suffix]


@pytest.mark.parametrize("path", ["/", "/web/main.js", "/web/nothing.js"])
def test_the_page_runs_its_own_scripts_only(client: httpx.Client, path: str) -> None:
    answer = client.get(path, headers=BROWSER)
    assert answer.headers.get_list("content-security-policy") == [POLICY]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("path", ["/", "/web/style.css"])
def test_what_the_browser_has_is_not_sent_again(client: httpx.Client, path: str) -> None:
    tag = client.get(path, headers=BROWSER).headers["etag"]
    again = client.get(path, headers={**BROWSER, "If-None-Match": tag})
    assert again.status_code == 304
    assert again.content == b""


def test_heads_and_nothing_but_reading(client: httpx.Client) -> None:
    for path in ("/", "/web/main.js"):
        head = client.head(path, headers=BROWSER)
        assert head.status_code == 200
        assert head.content == b""
        refused = client.post(path, headers=BROWSER)
        assert refused.status_code == 405
        assert refused.headers["allow"] == "GET, HEAD"
        assert refused.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "path",
    [
        *("/web", "/web/", "/web/index.html", "/web/kustomization.yaml", "/web/nothing.js", "/web/a/main.js"),
        *("/web/../README.md", "/web/..%2fREADME.md", "/web/%2e%2e/nginx/start.sh", "/web/main.js%00.css"),
    ],
)
def test_no_other_file_is_to_be_had(door: Nginx, path: str) -> None:
    answer = say(door.port, f"GET {path} HTTP/1.1\r\nHost: door\r\nConnection: close\r\n\r\n".encode())
    assert answer.status in {400, 404}
    assert "application/problem+json" in answer.head


def test_another_folder_may_hold_the_page(tmp_path: Path) -> None:
    own = tmp_path / "my page"
    own.mkdir()
    (own / INDEX).write_text("<!doctype html><title>Ours</title>")
    with Nginx(tmp_path / "door", NGINX_WEB_DIR=str(own)) as door, door.client() as client:
        assert "Ours" in client.get("/", headers=BROWSER).text


def test_a_door_without_a_page_says_so(tmp_path: Path) -> None:
    with Nginx(tmp_path / "door", NGINX_WEB_DIR=str(tmp_path)) as door, door.client() as client:
        assert "There is no page in" in door.log
        assert client.get("/", headers=BROWSER).status_code == 404
        assert client.get("/").json()["name"] == "Ragline"
