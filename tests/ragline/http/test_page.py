"""The page as the all-in-one serves it."""

from contextlib import AbstractAsyncContextManager
from pathlib import Path

import httpx
import pytest

from ragline import rates
from ragline.http import create_app, page
from ragline.http.page import INDEX, POLICY, TYPES, Page
from tests.ragline.shop import client

WEB = Path(__file__).parent.parent.parent.parent / "web"
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def serving(shown: Page | None) -> AbstractAsyncContextManager[httpx.AsyncClient]:
    return client(create_app("Ragline", [], checks={}, page=shown))


@pytest.fixture
def shown() -> Page:
    return page.read(WEB)


def test_a_clone_has_the_page(shown: Page) -> None:
    found = page.find()
    assert found is not None
    assert found.files == shown.files
    assert set(found.files) == {path.name for path in WEB.iterdir() if path.suffix in TYPES}


def test_an_installed_package_has_the_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(page, "__file__", str(tmp_path / "lib" / "ragline" / "http" / "page.py"))
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path / name))
    assert page.find() is None
    folder = tmp_path / "data" / "share" / "ragline" / "web"
    folder.mkdir(parents=True)
    (folder / INDEX).write_text("<!doctype html>")
    found = page.find()
    assert found is not None
    assert list(found.files) == [INDEX]


async def test_browsers_get_the_page_and_programs_json(shown: Page) -> None:
    async with serving(shown) as inside:
        answer = await inside.get("/", headers=BROWSER)
        assert answer.content == (WEB / INDEX).read_bytes()
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        said = await inside.get("/")
        assert said.json()["docs"] == "/docs"
        assert answer.headers["vary"] == said.headers["vary"] == "Accept"


async def test_without_a_page_everybody_gets_json() -> None:
    async with serving(None) as inside:
        assert (await inside.get("/", headers=BROWSER)).json()["name"] == "Ragline"
        assert (await inside.get("/web/main.js")).status_code == 404


async def test_each_part_is_served_as_what_it_is(shown: Page) -> None:
    async with serving(shown) as inside:
        for name in sorted(set(shown.files) - {INDEX}):
            answer = await inside.get(f"/web/{name}")
            assert answer.content == (WEB / name).read_bytes()
            assert answer.headers["content-type"] == TYPES[Path(name).suffix]
            assert answer.headers["content-security-policy"] == POLICY
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cache-control"] == "no-cache"


async def test_what_the_browser_has_is_not_sent_again(shown: Page) -> None:
    async with serving(shown) as inside:
        for path in ("/", "/web/main.js"):
            tag = (await inside.get(path, headers=BROWSER)).headers["etag"]
            for given in (tag, f'"other", W/{tag}'):
                again = await inside.get(path, headers={**BROWSER, "If-None-Match": given})
                assert again.status_code == 304
                assert again.content == b""
                assert again.headers["etag"] == tag
            assert (await inside.head(path, headers=BROWSER)).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/web/",
        "/web/index.html",
        "/web/kustomization.yaml",
        "/web/nothing.js",
        "/web/..%2fREADME.md",
        "/v1/web/main.js",
    ],
)
async def test_no_other_file_is_to_be_had(shown: Page, path: str) -> None:
    async with serving(shown) as inside:
        answer = await inside.get(path)
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"


async def test_the_page_counts_as_no_request(shown: Page) -> None:
    async with client(
        create_app("Ragline", [], checks={}, page=shown, per_minute=(rates.open("memory://"), 1))
    ) as inside:
        assert (await inside.get("/nowhere")).status_code == 404
        assert (await inside.get("/nowhere")).status_code == 429
        assert (await inside.get("/web/main.js")).status_code == 200
        assert (await inside.get("/", headers=BROWSER)).status_code == 200
