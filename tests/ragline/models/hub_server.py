"""A hub on this machine: as much of the real one's HTTP interface as downloading a repository needs."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """Serves one repository; ``requests`` notes what was asked."""

    daemon_threads = True

    def __init__(self, repository: str, files: Mapping[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repository = repository
        self.files = files
        self.requests: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    """Answers for a ``Hub``."""

    server: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer(body=True)

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that the base class gives it
        self.server.requests.append(format % args)

    def answer(self, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        api, raw = f"/api/models/{self.server.repository}", f"/{self.server.repository}/resolve/{COMMIT}/"
        if path in {f"{api}/revision/main", f"{api}/revision/{COMMIT}", api}:
            self.send_json(self.info(), body)
        elif path == f"{api}/tree/{COMMIT}":
            self.send_json([self.entry(name) for name in self.server.files], body)
        elif path.startswith(raw) and path.removeprefix(raw) in self.server.files:
            self.send(200, self.server.files[path.removeprefix(raw)], "application/octet-stream", body)
        else:
            missing = "RevisionNotFound" if path.startswith(api) else "RepoNotFound"
            self.send(404, b"{}", "application/json", body, {"X-Error-Code": missing})

    def info(self) -> dict[str, object]:
        siblings = [{"rfilename": name} for name in self.server.files]
        return {"id": self.server.repository, "sha": COMMIT, "siblings": siblings, "private": False, "tags": []}

    def entry(self, name: str) -> dict[str, object]:
        data = self.server.files[name]
        return {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}  # noqa: S324

    def send_json(self, value: object, body: bool) -> None:
        self.send(200, json.dumps(value).encode(), "application/json", body)

    def send(
        self, status: int, data: bytes, kind: str, body: bool, headers: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(data)


@contextmanager
def serve(repository: str, files: Mapping[str, bytes]) -> Iterator[Hub]:
    """Run a hub with one repository until the block ends."""
    hub = Hub(repository, files)
    thread = Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        thread.join()
        hub.server_close()
