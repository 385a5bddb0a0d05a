"""docs/how-to/add-a-scorer.md: its code is run as it stands there."""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from ragline.errors import Unavailable
from ragline.http import create_app
from ragline.http.server import HttpServer
from ragline.settings import SettingsError, load
from services.reranker import api
from services.reranker.__main__ import build, open_scorers
from services.reranker.canary import place
from services.reranker.rerank import Limits, Reranker
from services.reranker.roster import Roster, hook
from services.reranker.scorers import Candidate, Parts
from services.reranker.scorers._open import open_scorer
from services.reranker.settings import Settings
from tests.reranker.rosters import roster

PAGE = (Path(__file__).parents[2] / "docs/how-to/add-a-scorer.md").read_text()
PARTS, HOSTED = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
ENVIRONMENTS = [
    dict(line.split("=", 1) for line in block.splitlines())
    for block in re.findall(r"```\n(RERANKER.*?)```", PAGE, re.DOTALL)
]
ONE, CALIBRATED, SEVERAL, SHADOW, CANARY, FOR_ALL = ENVIRONMENTS
[LIVE] = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
QUERY = "torque of AB-1234"
TEXTS = ["The torque is high.", "AB-1234: 12 Nm, as for AB-99.", "AB-99 is out of stock."]
BODY = {"query": QUERY, "passages": TEXTS}


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The page's two modules, where Python finds them."""
    (tmp_path / "part_numbers.py").write_text(PARTS)
    (tmp_path / "hosted.py").write_text(HOSTED)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for module in ("part_numbers", "hosted"):
        sys.modules.pop(module, None)


@pytest.mark.usefixtures("written")
async def test_the_page(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (ONE | SEVERAL).items():
        monkeypatch.setenv(name, value)
    scorers = Roster(open_scorers(load(Settings), parts))
    assert scorers.names() == ["part_numbers", "parts", "words"]
    reranker = Reranker(scorers, Limits())
    ranking = await reranker.rerank(QUERY, [Candidate(text, 0.5) for text in TEXTS])
    assert [(each.index, each.raw) for each in ranking.scores] == [(1, 3.0), (0, 0.5), (2, 0.5)]
    assert ranking.scorer == "part_numbers"
    ranking = await reranker.rerank(QUERY, [Candidate(text) for text in TEXTS], scorer="parts")
    assert [(each.index, each.raw) for each in ranking.scores] == [(1, 1.0), (0, 0.0), (2, 0.0)]
    assert ranking.scorer == "parts"
    both = await reranker.rerank("AB-12 CD-34", [Candidate("AB-12 CD-34")], scorer="parts")
    assert [round(ranked.scores[0].score, 2) for ranked in (ranking, both)] == [0.27, 0.73]


@asynccontextmanager
async def serving(
    monkeypatch: pytest.MonkeyPatch, folder: Path, environment: dict[str, str]
) -> AsyncIterator[httpx.AsyncClient]:
    """The service with the page's settings, beside a scorer that needs no weights."""
    everything = {"RERANKER_SCORER": "overlap", "RERANKER_DATA_DIR": str(folder)} | environment
    with monkeypatch.context() as patch:
        for name, value in everything.items():
            patch.setenv(name, value)
        service = await build(load(Settings))
    app = create_app(service.name, [service.router], checks=service.checks)
    await service.start()
    try:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            yield client
    finally:
        await service.stop()


async def state(client: httpx.AsyncClient, wanted: Callable[[Any], bool]) -> Any:
    """What GET /admin/reranker says once that is as wanted."""
    async with asyncio.timeout(60):
        while True:
            said = (await client.get("/admin/reranker")).json()
            if wanted(said):
                return said
            await asyncio.sleep(0.01)


async def rerank(client: httpx.AsyncClient, **more: Any) -> Any:
    answer = await client.post("/rerank", json=BODY | more)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.usefixtures("written")
async def test_calibrated_by_whoever_runs_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async with serving(monkeypatch, tmp_path, {"RERANKER_SCORER": ONE["RERANKER_SCORER"]} | CALIBRATED) as client:
        [best, *_] = (await rerank(client))["results"]
    assert (best["index"], best["raw"], round(best["score"], 2)) == (1, 1.0, 0.23)


@pytest.mark.usefixtures("written")
async def test_first_a_shadow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async with serving(monkeypatch, tmp_path, SHADOW) as client:
        shadow = (await state(client, lambda said: said["shadow"]))["shadow"]
        assert (shadow["name"], shadow["judge"], shadow["share"]) == ("part_numbers", "", 0.5)
        answers = [await rerank(client) for _ in range(4)]
        assert {(answer["scorer"], *answer["degraded"]) for answer in answers} == {("overlap",)}
        shadow = (await state(client, lambda said: said["shadow"]["means"].get("first", {}).get("count", 0) > 0))[
            "shadow"
        ]
        assert shadow["failures"] == 0
        assert shadow["means"]["first"]["mean"] == 1.0


@pytest.mark.usefixtures("written")
async def test_then_a_canary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async with serving(monkeypatch, tmp_path, CANARY) as client:
        canary = (await state(client, lambda said: said["canary"]))["canary"]
        assert (canary["name"], canary["share"], canary["max_p95_s"]) == ("part_numbers", 0.05, 0.2)
        await asks_both(client)


@pytest.mark.usefixtures("written")
async def test_then_for_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async with serving(monkeypatch, tmp_path, FOR_ALL) as client:
        answer = await rerank(client)
        assert (answer["scorer"], answer["results"][0]["index"], answer["degraded"]) == ("part_numbers", 1, [])
        monkeypatch.setattr(sys.modules["part_numbers"], "NUMBER", None)  # and now it is broken
        answer = await rerank(client)
        assert (answer["scorer"], answer["degraded"]) == ("overlap", ["part_numbers"])
        assert answer["results"][0]["index"] == 1


@pytest.mark.usefixtures("written")
async def test_or_live(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async with serving(monkeypatch, tmp_path, {}) as client:
        begun = await client.post("/admin/reranker", json=json.loads(LIVE))
        assert (begun.status_code, begun.json()["name"]) == (200, "part_numbers"), begun.text
        await asks_both(client)
        assert (await client.post("/admin/reranker/promote")).json()["outcome"] == "done"
        assert (await rerank(client))["scorer"] == "part_numbers"


async def asks_both(client: httpx.AsyncClient) -> None:
    """Ask a question that is the canary's and one that is not."""
    questions = [f"{QUERY} {number}" for number in range(200)]
    by_place = sorted(questions, key=lambda question: place("part_numbers", question))
    assert (await rerank(client, query=by_place[0]))["scorer"] == "part_numbers"
    assert (await rerank(client, query=by_place[-1]))["scorer"] == "overlap"


@pytest.mark.parametrize("broken", ['{"scorer": "nonsense", "share": 0.1}', '{"scorer": "overlap", "share": 0.1}'])
async def test_a_trial_that_cannot_begin_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, broken: str
) -> None:
    good = {"RERANKER_SHADOW": '{"name": "bare", "scorer": "overlap", "options": {"phrases": 0}, "share": 1.0}'}
    async with serving(monkeypatch, tmp_path, good | {"RERANKER_CANARY": broken}) as client:
        said = await state(client, lambda said: said["shadow"])
        assert (said["shadow"]["name"], said["canary"]) == ("bare", None)
        assert said["history"][-1]["outcome"] == "refused"
        assert (await rerank(client))["scorer"] == "overlap"


@pytest.mark.usefixtures("written")
async def test_the_pages_hosted_scorer(parts: Parts) -> None:
    overlap = open_scorer("overlap", parts, {})
    there = Reranker(roster({"overlap": overlap}), Limits())
    server = HttpServer(create_app("there", [api.router(there)], checks={}), "127.0.0.1", 0)
    url = await server.start()
    scorer = open_scorer("hosted:Hosted", parts, {"url": url})
    passages = [Candidate(text) for text in TEXTS]
    ranking = await there.rerank(QUERY, passages)
    chances = {each.index: each.score for each in ranking.scores}
    assert list(await scorer.score(QUERY, passages, None)) == [chances[index] for index in range(len(TEXTS))]
    here = await Reranker(roster({"hosted": scorer}), Limits()).rerank(QUERY, passages)
    assert [(each.index, each.score) for each in here.scores] == [
        (each.index, each.score) for each in ranking.scores
    ]
    assert await scorer.score(QUERY, [], None) == []
    await server.stop(0)
    with pytest.raises(Unavailable):
        await scorer.score(QUERY, passages, None)
    await hook(scorer, "close")()


@pytest.mark.usefixtures("written")
@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("part_numbers:PartNumbers", {"points": "many"}, "option 'points'"),
        ("part_numbers:PartNumbers", {"point": 1}, "no option 'point'; it has points"),
        ("part_numbers:Nothing", {}, "part_numbers has no Nothing that can be called"),
        ("part_numbers:NUMBER", {}, "part_numbers has no NUMBER that can be called"),
        ("builtins:repr", {}, "no scorer"),
        ("no_such_module:Scorer", {}, "no_such_module"),
        ("nonsense", {}, "late_interaction"),
        ("hosted:Hosted", {}, "option 'url'"),
    ],
)
async def test_what_stops_the_start(parts: Parts, name: str, options: dict[str, object], says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        open_scorer(name, parts, options)
    assert says in str(caught.value)
