"""All sparse back ends rank the same real text, the project's own documentation, alike."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from services.retriever.sparse import Entry, Searcher
from tests.retriever.sparse.conftest import shipped

DOCS = Path(__file__).parents[3] / "docs"
DEPTH = 10


def passages() -> list[Entry]:
    """The paragraphs of the documentation, each under its page's title and its heading."""
    entries: list[Entry] = []
    for page in sorted(DOCS.rglob("*.md")):
        title = section = ""
        for paragraph in re.split(r"\n\s*\n", page.read_text()):
            if heading := re.match(r"(#+) (.+)", paragraph):
                title, section = (heading[2], "") if len(heading[1]) == 1 else (title, heading[2])
            else:
                entries.append(Entry(len(entries), title, section, paragraph))
    return entries


ENTRIES = passages()
QUERIES = [
    *sorted({entry.section for entry in ENTRIES if entry.section}),
    *(" ".join(entry.text.split()[:8]).replace('"', " ") for entry in ENTRIES[::7]),
]


@pytest.fixture(scope="module")
def searchers(tmp_path_factory: pytest.TempPathFactory) -> list[Searcher]:
    folder = tmp_path_factory.mktemp("agreement")
    return [backend.build(folder / str(n), [ENTRIES]).searcher() for n, backend in enumerate(shipped())]


def test_rankings_agree(searchers: list[Searcher]) -> None:
    assert len(ENTRIES) > 200
    rankings = [[s.search(query, DEPTH) for query in QUERIES] for s in searchers]
    for other in rankings[1:]:
        pairs = list(zip(rankings[0], other, strict=True))
        overlaps = [len(set(a.tolist()) & set(b.tolist())) / max(1, len(a)) for (a, _), (b, _) in pairs if len(a)]
        firsts = [a[0] == b[0] for (a, _), (b, _) in pairs if len(a)]
        assert np.mean(overlaps) > 0.9
        assert np.mean(firsts) > 0.9


def test_scores_agree(searchers: list[Searcher]) -> None:
    """Within what rounding of lengths to a byte makes of them; a phrase is worth what its words are."""
    for query in QUERIES:
        best = [searcher.search(query, 1)[1] for searcher in searchers]
        for other in best[1:]:
            assert other == pytest.approx(best[0], rel=0.3)
