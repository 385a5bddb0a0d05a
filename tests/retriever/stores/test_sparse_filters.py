"""Search by words under a filter: as many results as there are, the same as a search of everything picked over."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from services.retriever import filters
from services.retriever.stores import Content
from services.retriever.stores.embedded import EmbeddedStore
from tests.retriever.parts import KEY, content, open_store

DOCUMENTS, PASSAGES = 300, 20
DEPTH = 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("filters")


@pytest.fixture
def store(folder: Path) -> Iterator[EmbeddedStore]:
    opened = open_store(folder)
    yield opened
    opened.close()


def made(n: int) -> Content:
    """Every passage holds ``common``; a word is rare where the others are not, so filters go against words."""
    texts = [f"common {'rare ' if n < 3 else 'usual ' * (i % 7)}passage {i} of {n}" for i in range(PASSAGES)]
    return content(f"d{n}", texts, metadata=f'{{"n":{n},"part":{n % 10}}}')


@pytest.mark.parametrize(
    ("chosen", "documents"),
    [({"n": 7}, 1), ({"n": {"$lt": 3}}, 3), ({"part": 1}, 30), ({"part": {"$in": [1, 2, 3, 4, 5]}}, 150)],
)
@pytest.mark.parametrize("query", ["common", "usual common", "rare", '"rare passage"', '"passage 3"', "absent"])
async def test_as_many_as_there_are(store: EmbeddedStore, chosen: object, documents: int, query: str) -> None:
    if not store.view(KEY).passages:
        await asyncio.gather(*(store.upsert(KEY, made(n)) for n in range(DOCUMENTS)))
    view = store.view(KEY)
    allowed = view.allowed(filters.checked(chosen))
    assert allowed is not None
    assert len(allowed) == documents * PASSAGES
    found = view.sparse(query, DEPTH, allowed)
    everything = view.sparse(query, DOCUMENTS * PASSAGES, None)
    kept = view.held(everything.rows, allowed.mask)
    assert len(found) == min(DEPTH, np.count_nonzero(kept))
    assert set(found.rows.tolist()) <= set(everything.rows[kept].tolist())
    assert found.scores == pytest.approx(everything.scores[kept][:DEPTH], rel=1e-4)
