"""What the reranker's tests are handed."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

import ragline.cache
from ragline.models import ModelStore
from ragline.settings import Settings
from services.reranker.pool import Pool
from services.reranker.scorers import Parts
from tests.reranker import tiny


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
