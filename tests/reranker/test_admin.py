"""POST /admin/reranker and its neighbours: who may, what they do, and what they refuse."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from ragline.http import create_app
from ragline.settings import SettingsError, load
from services.reranker.__main__ import build
from services.reranker.settings import Settings
from services.reranker.showing import masked

URL = "/admin/reranker"
BARE = {"scorer": "overlap", "options": {"phrases": 0}, "name": "bare"}
ASKED = {"query": "lost message", "passages": ["nine", "a lost message"]}


class Door:
    """The service as a client at some address sees it."""

    def __init__(self, app: Any) -> None:
        self.app = app

    def client(self, host: str = "127.0.0.1", url: str = "http://127.0.0.1:8003") -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.app, client=(host, 4242))
        return httpx.AsyncClient(transport=transport, base_url=url)

    async def ask(self, method: str, path: str = "", body: Any = None, status: int = 200) -> dict[str, Any]:
        async with self.client() as client:
            answer = await client.request(method, URL + path, json=body)
        assert answer.status_code == status, answer.text
        said: dict[str, Any] = answer.json()
        return said

    async def scorer(self, **more: Any) -> str:
        """Who answers."""
        async with self.client() as client:
            said: str = (await client.post("/rerank", json=ASKED | more)).json()["scorer"]
        return said


@asynccontextmanager
async def opened(folder: Path, **values: Any) -> AsyncIterator[Door]:
    settings = load(Settings, data_dir=folder, threads=2, **{"scorer": "overlap", **values})
    service = await build(settings)
    await service.start()
    try:
        yield Door(create_app(service.name, [service.router], checks=service.checks))
    finally:
        await service.stop()


@pytest_asyncio.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with opened(tmp_path, extra_scorers={"extra": {"scorer": "overlap"}}) as each:
        yield each


@pytest_asyncio.fixture
async def locked(tmp_path: Path) -> AsyncIterator[Door]:
    (tmp_path / "token").write_text("open sesame\n")
    async with opened(tmp_path, admin_token_file=tmp_path / "token") as each:
        yield each


async def test_a_switch_and_back(door: Door) -> None:
    done = await door.ask("POST", body=BARE)
    assert (done["name"], done["outcome"], done["action"]) == ("bare", "done", "serve")
    assert done["probe"]["right"] >= done["probe"]["needed"]
    assert done["probe"]["agreement"] > 0.5
    assert await door.scorer() == "bare"
    state = await door.ask("GET")
    assert state["serving"]["name"] == "bare"
    assert state["previous"]["name"] == "overlap"
    assert 0 < state["previous"]["held_s"] <= 60
    assert state["persists"] is False
    assert state["settings"] == ["RERANKER_SCORER=overlap", 'RERANKER_SCORER_OPTIONS={"phrases":0}']
    assert (await door.ask("POST", "/back"))["name"] == "overlap"
    state = await door.ask("GET")
    assert (state["serving"]["name"], state["previous"]["name"], state["persists"]) == ("overlap", "bare", True)
    assert [event["action"] for event in state["history"]] == ["back", "serve"]


async def test_back_after_the_hold_loads_again(tmp_path: Path) -> None:
    async with opened(tmp_path, hold_s=0) as door:
        await door.ask("POST", body=BARE)
        while (state := await door.ask("GET"))["others"] or state["draining"]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert state["previous"] == {"name": "overlap", "scorer": "overlap", "loaded": False, "held_s": None}
        done = await door.ask("POST", "/back")
        assert done["name"] == "overlap"
        assert done["probe"]["right"] >= done["probe"]["needed"]


async def test_one_loaded_under_a_taken_name_gets_a_number(door: Door) -> None:
    assert (await door.ask("POST", body={"scorer": "overlap", "role": "load"}))["name"] == "overlap-2"
    assert await door.scorer(scorer="overlap-2") == "overlap-2"
    assert await door.scorer() == "overlap"
    assert (await door.ask("POST", body={"name": "overlap-2"}))["name"] == "overlap-2"
    assert await door.scorer() == "overlap-2"
    assert "loaded already" in (await door.ask("POST", body=BARE | {"name": "extra"}, status=409))["detail"]


async def test_trials(door: Door) -> None:
    await door.ask("POST", body=BARE | {"role": "canary", "share": 1})
    assert await door.scorer() == "bare"
    assert (await door.ask("GET"))["canary"]["name"] == "bare"
    await door.ask("POST", body=BARE | {"name": "more", "role": "canary"}, status=409)
    await door.ask("DELETE", "/loaded/bare", status=409)
    assert (await door.ask("POST", "/promote"))["name"] == "bare"
    state = await door.ask("GET")
    assert (state["canary"], state["serving"]["name"]) == (None, "bare")
    await door.ask("POST", "/promote", status=404)
    await door.ask("POST", body={"name": "extra", "role": "shadow", "judge": "overlap", "probe": False})
    assert (await door.ask("GET"))["shadow"]["judge"] == "overlap"
    assert (await door.ask("DELETE", "/shadow"))["name"] == "extra"
    await door.ask("DELETE", "/shadow", status=404)
    assert await door.scorer(scorer="extra") == "extra"  # the settings want it


async def test_a_trial_that_ends_is_unloaded(door: Door) -> None:
    await door.ask("POST", body=BARE | {"role": "canary", "share": 0.5})
    await door.ask("DELETE", "/canary")
    assert "bare" not in [each["name"] for each in (await door.ask("GET"))["others"]]


async def test_a_trial_that_cannot_begin_leaves_nothing(door: Door) -> None:
    await door.ask("POST", body=BARE | {"role": "shadow", "judge": "nobody"}, status=404)
    await door.ask("POST", body=BARE | {"role": "shadow", "judge": "bare"}, status=404)
    assert [each["name"] for each in (await door.ask("GET"))["others"]] == ["extra"]


async def test_unloading(door: Door) -> None:
    await door.ask("POST", body=BARE | {"role": "load"})
    assert (await door.ask("DELETE", "/loaded/bare"))["outcome"] == "done"
    await door.ask("DELETE", "/loaded/bare", status=404)
    assert "settings want" in (await door.ask("DELETE", "/loaded/extra", status=409))["detail"]
    assert "serves" in (await door.ask("DELETE", "/loaded/overlap", status=409))["detail"]


async def test_what_is_refused_stands_in_the_history(door: Door) -> None:
    secret = {"scorer": "tests.reranker.broken:Guessing", "options": {"seed": 3}, "name": "mine"}
    problem = await door.ask("POST", body=secret, status=400)
    assert "right passage first" in problem["detail"]
    assert problem["errors"][0]["field"] == "scorer"
    state = await door.ask("GET")
    assert state["serving"]["name"] == "overlap"
    assert (state["history"][0]["outcome"], state["history"][0]["reason"]) == ("refused", problem["detail"])
    await door.ask("POST", "/back", status=409)
    for body in ({}, {"options": {"a": 1}}, {"name": "a b"}, {"scorer": "overlap", "share": 0}):
        await door.ask("POST", body=body, status=400)
    await door.ask("POST", body={"name": "nobody"}, status=404)


async def test_history_and_loaded_scorers_are_bounded(tmp_path: Path) -> None:
    async with opened(tmp_path, max_loaded=2) as door:
        await door.ask("POST", body=BARE | {"role": "load", "probe": False})
        refused = await door.ask("POST", body=BARE | {"name": "third"}, status=409)
        assert "RERANKER_MAX_LOADED" in refused["detail"]
        for _ in range(25):
            await door.ask("POST", body={"name": "bare", "role": "load", "probe": False})
        assert len((await door.ask("GET"))["history"]) == 20


def test_what_is_masked() -> None:
    options = {
        "url": "https://me:hush@host/x",
        "api_key_file": "/run/key",
        "max_tokens": 5,
        "headers": {"Authorization": "Bearer hush", "X-Api-Key": "hush", "Accept": "a"},
        "tokens": ["hush"],
    }
    assert masked(options) == {
        "url": "https://***@host/x",
        "api_key_file": "/run/key",
        "max_tokens": 5,
        "headers": {"Authorization": "***", "X-Api-Key": "***", "Accept": "a"},
        "tokens": ["***"],
    }


async def test_the_one_held_longest_makes_room(tmp_path: Path) -> None:
    async with opened(tmp_path, max_loaded=2) as door:
        for name in ("one", "two", "three"):
            await door.ask("POST", body=BARE | {"name": name, "probe": False})
        state = await door.ask("GET")
        assert (state["serving"]["name"], state["previous"]["name"]) == ("three", "two")
        assert [each["name"] for each in state["others"]] == ["two"]


async def test_secrets_of_options_are_not_shown(door: Door) -> None:
    body = {"scorer": "tests.reranker.broken:Keyed", "options": {"api_key": "hush"}, "probe": False}
    await door.ask("POST", body=body)
    async with door.client() as client:
        said = (await client.get(URL)).text
    assert "hush" not in said
    assert '"api_key":"***"' in said.replace(" ", "")


@pytest.mark.parametrize(
    ("host", "url", "headers", "status"),
    [
        ("127.0.0.1", "http://127.0.0.1:8003", {}, 200),
        ("127.0.0.1", "http://localhost:8003", {"Origin": "http://localhost:8003"}, 200),
        ("::1", "http://[::1]:8003", {}, 200),
        ("::ffff:127.0.0.1", "http://localhost", {}, 200),
        ("10.1.2.3", "http://127.0.0.1:8003", {}, 403),
        ("10.1.2.3", "http://127.0.0.1:8003", {"X-Forwarded-For": "127.0.0.1"}, 403),
        ("127.0.0.1", "http://127.0.0.1:8003", {"X-Forwarded-For": "127.0.0.1"}, 403),
        ("127.0.0.1", "http://127.0.0.1:8003", {"Forwarded": "for=127.0.0.1"}, 403),
        ("127.0.0.1", "http://evil.example", {}, 403),
        ("127.0.0.1", "http://127.0.0.1:8003", {"Origin": "http://evil.example"}, 403),
        ("127.0.0.1", "http://127.0.0.1:8003", {"Origin": "null"}, 403),
    ],
)
async def test_without_a_token_only_this_machine(
    door: Door, host: str, url: str, headers: dict[str, str], status: int
) -> None:
    async with door.client(host, url) as client:
        for path in ("", "/v1"):
            answer = await client.get(path + URL, headers=headers)
            assert answer.status_code == status
            assert (await client.post(path + URL + "/back", headers=headers)).status_code in {status, 409}
    if status == 403:
        assert "RERANKER_ADMIN_TOKEN" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ("Bearer open sesame", 200),
        ("bearer open sesame", 200),
        ("Bearer open", 401),
        ("Basic open sesame", 401),
        ("", 401),
        ("Bearer öpen", 401),
    ],
)
async def test_with_a_token_whoever_has_it(locked: Door, given: str, status: int) -> None:
    async with locked.client("10.1.2.3", "http://reranker:8003") as client:
        headers = {b"Authorization": given.encode()} if given else {}
        assert (await client.get(URL, headers=headers)).status_code == status
    async with locked.client() as client:
        assert (await client.get(URL)).status_code == 401


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"admin_token": "a", "admin_token_file": "b"}, "not both"),
        ({"admin_token_file": "nowhere"}, "RERANKER_ADMIN_TOKEN_FILE cannot be read"),
        ({"admin_token": ""}, "RERANKER_ADMIN_TOKEN is empty"),
        ({"probes": "nowhere"}, "RERANKER_PROBES="),
    ],
)
async def test_what_stops_the_start(tmp_path: Path, values: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        await build(load(Settings, data_dir=tmp_path, scorer="overlap", **values))
    assert says in str(caught.value)
