"""docs/how-to/add-a-scorer.md: its code is run as it stands there."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ragline.errors import Unavailable
from ragline.http import create_app
from ragline.http.server import HttpServer
from ragline.settings import SettingsError, load
from services.reranker import api
from services.reranker.__main__ import hook, open_scorers
from services.reranker.rerank import Limits, Reranker
from services.reranker.scorers import Candidate, Parts
from services.reranker.scorers._open import open_scorer
from services.reranker.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs/how-to/add-a-scorer.md").read_text()
PARTS, HOSTED = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
SETTINGS = dict(
    line.split("=", 1)
    for block in re.findall(r"```\n(RERANKER.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
)
QUERY = "torque of AB-1234"
TEXTS = ["The torque is high.", "AB-1234: 12 Nm, as for AB-99.", "AB-99 is out of stock."]


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
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    scorers = open_scorers(load(Settings), parts)
    assert list(scorers) == ["part_numbers", "parts", "words"]
    reranker = Reranker(scorers, "part_numbers", Limits())
    ranking = await reranker.rerank(QUERY, [Candidate(text, 0.5) for text in TEXTS])
    assert [(each.index, each.score) for each in ranking.scores] == [(1, 3.0), (0, 0.5), (2, 0.5)]
    assert ranking.scorer == "part_numbers"
    ranking = await reranker.rerank(QUERY, [Candidate(text) for text in TEXTS], scorer="parts")
    assert [(each.index, each.score) for each in ranking.scores] == [(1, 1.0), (0, 0.0), (2, 0.0)]
    assert ranking.scorer == "parts"


@pytest.mark.usefixtures("written")
async def test_the_pages_hosted_scorer(parts: Parts) -> None:
    overlap = open_scorer("overlap", parts, {})
    there = Reranker({"overlap": overlap}, "overlap", Limits())
    server = HttpServer(create_app("there", [api.router(there)], checks={}), "127.0.0.1", 0)
    url = await server.start()
    scorer = open_scorer("hosted:Hosted", parts, {"url": url})
    passages = [Candidate(text) for text in TEXTS]
    assert list(await scorer.score(QUERY, passages, None)) == list(await overlap.score(QUERY, passages, None))
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
