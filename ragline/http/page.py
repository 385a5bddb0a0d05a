"""The page for people: its files, read once at the start, with validators and the headers that browsers obey."""

from __future__ import annotations

import hashlib
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse

from ragline.errors import NotFound
from ragline.http.problems import clipped

INDEX = "index.html"
FOLDER = "/web"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# The same as in nginx/headers.conf.template; tests/web holds both to it.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "form-action 'none'; frame-ancestors 'none'; base-uri 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {
    "cache-control": "no-cache",  # asked for again each time, and sent again only where it changed
    "content-security-policy": POLICY,
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


@dataclass(frozen=True)
class File:
    """What is sent, and the tag that tells whether a browser has it already."""

    content: bytes
    media_type: str
    tag: str


class Page:
    """The files of one folder, no others: a path from outside is only ever looked up among their names."""

    def __init__(self, files: Mapping[str, File]) -> None:
        self.files = files

    def index(self, request: Request) -> Response:
        """The page itself."""
        return self.answer(INDEX, request)

    def answer(self, name: str, request: Request) -> Response:
        """A file, or 304 where the browser has it. Raises NotFound for a name that is none of them."""
        file = self.files.get(name)
        if file is None:
            raise NotFound(f"There is no {FOLDER}/{clipped(name)} here; GET / is the page.")
        headers = {**HEADERS, "etag": file.tag, "vary": "Accept" if name == INDEX else "Accept-Encoding"}
        if file.tag in known(request):
            return Response(status_code=304, headers=headers)
        return Response(file.content, headers=headers, media_type=file.media_type)

    def router(self) -> APIRouter:
        """What the page loads; the page itself stands at ``/``."""
        routes = APIRouter(include_in_schema=False)

        @routes.api_route(FOLDER + "/{name}", methods=["GET", "HEAD"])
        async def part(name: str, request: Request) -> Response:
            """A script, a style sheet or a picture."""
            return self.answer("" if name == INDEX else name, request)

        return routes


def entrance(index: Mapping[str, str], page: Page | None) -> APIRouter:
    """``/``: the page for browsers, ``index`` as JSON for everybody else."""
    routes = APIRouter(include_in_schema=False)

    @routes.api_route("/", methods=["GET", "HEAD"])
    async def enter(request: Request) -> Response:
        """The page, or what this is and where its description lies."""
        if page is not None and "text/html" in request.headers.get("accept", "").lower():
            return page.index(request)
        return JSONResponse(dict(index), headers={"vary": "Accept"})

    return routes


def known(request: Request) -> set[str]:
    """The tags that the browser has, weak or strong."""
    given = request.headers.get("if-none-match", "")
    return {tag.strip().removeprefix("W/") for tag in given.split(",")}


def read(folder: Path) -> Page:
    """The page whose files stand in ``folder``; what is of another kind is left out. Raises OSError."""
    found = sorted(path for path in folder.iterdir() if path.suffix in TYPES and path.is_file())
    return Page({path.name: opened(path) for path in found})


def opened(path: Path) -> File:
    """A file with its tag."""
    content = path.read_bytes()
    return File(content, TYPES[path.suffix], f'"{hashlib.sha256(content).hexdigest()[:32]}"')


def find() -> Page | None:
    """The page of a clone or of the installed package; None where there is none."""
    clone = Path(__file__).parents[2] / "web"
    installed = Path(sysconfig.get_path("data")) / "share" / "ragline" / "web"
    return next((read(folder) for folder in (clone, installed) if (folder / INDEX).is_file()), None)
