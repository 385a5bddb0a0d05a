"""Each path leads to the service that serves it, as the client wrote it; nothing else leads anywhere."""

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.nginx.replica import Replica
from tests.servers.nginx import SERVICES, Nginx

POSTS = {
    "/embed": "preprocess",
    "/retrieve": "retriever",
    "/rerank": "reranker",
    "/generate": "generator",
    "/summarize": "generator",
    "/feedback": "generator",
    "/sessions": "generator",
}
DIALECTS = {
    ("POST", "/v1/chat/completions"): "generator",
    ("POST", "/v1/embeddings"): "preprocess",
    ("GET", "/v1/models"): "generator",
    ("GET", "/v1/models/manuals:short"): "generator",
}
READS = {
    "/documents": "preprocess",
    "/documents/a": "preprocess",
    "/collections": "preprocess",
    "/collections/a": "preprocess",
    "/jobs/job-1": "preprocess",
    "/jobs/job-1/events": "preprocess",
    "/batches/batch-1": "generator",
    "/batches/batch-1/results": "generator",
    "/sessions/s-1": "generator",
}


@pytest.mark.parametrize("prefix", ["", "/v1"])
@pytest.mark.parametrize("path", [*POSTS, *READS])
def test_a_path_leads_to_its_service(client: httpx.Client, prefix: str, path: str) -> None:
    method = "POST" if path in POSTS else "GET"
    answer = client.request(method, prefix + path, json={} if path in POSTS else None)
    assert answer.json()["name"] == (POSTS | READS)[path]
    assert answer.json()["path"] == prefix + path


def test_feedback_is_given_but_not_read(client: httpx.Client) -> None:
    answer = client.get("/feedback")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(("method", "path"), DIALECTS)
def test_other_clients_find_their_routes_under_v1_alone(client: httpx.Client, method: str, path: str) -> None:
    answer = client.request(method, path, json={} if method == "POST" else None)
    assert answer.json()["name"] == DIALECTS[method, path]
    assert client.request(method, path.removeprefix("/v1")).status_code == 404


@pytest.mark.parametrize("path", ["/chat", "/v1/chat"])
def test_a_websocket_passes(door: Nginx, path: str) -> None:
    """Beyond what HTTP needs: the upgrade, both ways, and the code that the service closes with."""
    with connect(door.url.replace("http", "ws") + path, proxy=None) as chat:
        for text in ("one", "two"):
            chat.send(text)
            assert chat.recv() == f"generator {path} {text}"
        chat.send("close")
        with pytest.raises(ConnectionClosed) as closed:
            chat.recv()
    assert closed.value.rcvd
    assert closed.value.rcvd.code == 4321


@pytest.mark.parametrize("path", ["/documents", "/batches", "/v1/documents", "/v1/batches"])
def test_uploads_lead_to_their_service(client: httpx.Client, replicas: dict[str, Replica], path: str) -> None:
    identity = path.replace("/", "-")
    answer = client.post(path, json=[1, 2], headers={"X-Request-Id": identity})
    assert answer.status_code == 202
    assert answer.json() == {"bytes": 5}
    assert replicas["generator" if "batches" in path else "preprocess"].arrived(identity) == 1


@pytest.mark.parametrize(
    "path", ["/documents/a%2Fb%20c", "/documents/a//b", "/documents/%C3%A4?x=%2F&y=1", "/documents/a%252e"]
)
def test_a_path_arrives_as_it_was_written(client: httpx.Client, path: str) -> None:
    request = client.build_request("DELETE", "/")
    request.url = request.url.copy_with(raw_path=path.encode())
    arrived = client.send(request).json()
    assert arrived["path"] == path.partition("?")[0]
    assert arrived["query"] == path.partition("?")[2]
    assert arrived["method"] == "DELETE"


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/x",
            "/embeds",
            "/embed/x",
            "/v1",
            "/v2/embed",
            "/metrics",
            "/v1/metrics",
            "/docs/x",
            "/status",
            "/.git",
        ),
        *("/admin/reranker", "/v1/admin/reranker", "/admin", "/feedback/export", "/v1/feedback/export"),
    ],
)
def test_an_unknown_path_is_a_problem(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "about:blank",
        "title": "Not found",
        "status": 404,
        "detail": f"There is no {path} here; GET /docs lists what there is.",
        "instance": answer.headers["x-request-id"],
    }


def test_the_door_lives_without_any_service(tmp_path_factory: pytest.TempPathFactory) -> None:
    with Nginx(tmp_path_factory.mktemp("alone")) as door, door.client() as client:
        assert client.get("/healthz").json() == {"status": "ok"}
        assert client.head("/healthz").content == b""
        refused = client.post("/healthz")
        assert refused.status_code == 405
        assert refused.headers["allow"] == "GET, HEAD"
        assert refused.json()["detail"] == "This path does not take POST."
        assert client.get("/").json()["docs"] == "/docs"
        assert client.get("/readyz").status_code == 503


def test_ready_is_what_the_generator_is(client: httpx.Client, door: Nginx) -> None:
    assert client.get("/readyz").json()["status"] == "ready"


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_describes_itself(client: httpx.Client, service: str) -> None:
    assert f"/docs/{service}" in client.get("/docs").text
    page = client.get(f"/docs/{service}")
    assert page.headers["content-type"].startswith("text/html")
    assert f"/openapi/{service}.json" in page.text
    assert "'/openapi.json'" not in page.text
    schema = client.get(f"/openapi/{service}.json").json()
    assert schema["info"]["title"] == service
    assert f"/openapi/{service}.json" in client.get("/").json()["openapi"]


def test_the_pages_find_their_scripts(client: httpx.Client) -> None:
    page = client.get("/docs/retriever").text
    scripts = [part.split('"')[0] for part in page.split('src="')[1:]]
    assert scripts
    for script in scripts:
        assert client.get(script).headers["content-type"].startswith("text/javascript"), script


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "PATCH", "HEAD"])
def test_what_a_service_refuses_comes_back_as_it_said(client: httpx.Client, method: str) -> None:
    answer = client.request(method, "/embed")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
    if method != "HEAD":
        assert answer.json()["detail"] == f"/embed does not take {method}; it takes POST."


def test_the_counters_are_not_on_the_public_port(door: Nginx, client: httpx.Client) -> None:
    assert "Active connections" in httpx.get(door.status_url, trust_env=False).text
    assert client.get("/status").status_code == 404
