"""What the reranker's tests are handed."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

import ragline.cache
from ragline.http import create_app
from ragline.models import ModelStore
from ragline.settings import Settings
from services.reranker import api
from services.reranker.pool import Pool
from services.reranker.rerank import Limits, Reranker
from services.reranker.scorers import Parts
from services.reranker.scorers._open import open_scorer
from tests.reranker import tiny
from tests.reranker.rosters import roster


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny cross-encoder with one label."""
    return tiny.write(tmp_path_factory.mktemp("models") / "tiny")


@pytest_asyncio.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    """What the service hands a scorer, with a cache in a file of the test's own."""
    made = Parts(
        model=ModelStore(Settings().models_dir).resolve,
        cache=ragline.cache.open(f"sqlite://{tmp_path / 'cache.db'}"),
        pool=Pool(2, max_waiting=64),
        threads=2,
        max_batch_tokens=4096,
        max_queue_tokens=65_536,
    )
    yield made
    made.pool.close()
    await made.cache.close()


@pytest_asyncio.fixture
async def client(parts: Parts) -> AsyncIterator[httpx.AsyncClient]:
    """The REST door, with two scorers."""
    scorers = {
        "overlap": open_scorer("overlap", parts, {}),
        "bare": open_scorer("overlap", parts, {"phrases": 0.0}),
    }
    app = create_app("reranker", [api.router(Reranker(roster(scorers), Limits(max_passages=5)))], checks={})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield client
