"""Pieces of passages, scored by the vectors that were kept of the whole."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from ragline.token_vectors import Layout, PackedTokens
from services.reranker.scorers import Candidate, Parts
from services.reranker.scorers._spans import pieces
from services.reranker.scorers.late_interaction import LateInteraction, load

QUERY = "How long is the warranty?"
TEXT = (
    "Kestrel router\nIt comes with a two-year warranty. The office opens at nine. Reset it with the small button."
)
SPANS = ((15, 50), (51, 76), (77, len(TEXT)))


@pytest.mark.parametrize(
    ("spans", "tokens"),
    [
        ([(0, 3)], [[0]]),
        ([(0, 12)], [[0, 1, 2]]),
        ([(4, 7)], [[1]]),
        ([(5, 6)], [[1]]),  # within a word: the whole word
        ([(3, 4)], [[]]),
        ([(0, 0), (12, 12)], [[], []]),
        ([(8, 12), (0, 7)], [[2], [0, 1]]),
    ],
)
def test_a_span_has_the_tokens_that_stand_in_it(spans: list[tuple[int, int]], tokens: list[list[int]]) -> None:
    offsets = np.array([[0, 3], [4, 7], [8, 12]], np.int32)
    packed = PackedTokens(np.arange(3, dtype=np.uint8)[:, None], Layout(1, 8))
    assert [piece.codes[:, 0].tolist() for piece in pieces(packed, offsets, spans)] == tokens


@pytest_asyncio.fixture
async def scorer(parts: Parts, minilm: Path) -> AsyncIterator[LateInteraction]:
    made = load(parts, model=str(minilm))
    await made.start()
    yield made
    await made.close()


@pytest.mark.models
async def test_the_sentence_that_answers_has_the_best_score(scorer: LateInteraction) -> None:
    [scores] = await scorer.spans(QUERY, [Candidate(TEXT, spans=SPANS)], None)
    assert len(scores) == len(SPANS)
    assert int(np.argmax(scores)) == 0
    [whole] = await scorer.score(QUERY, [Candidate(TEXT)], None)
    [[same]] = await scorer.spans(QUERY, [Candidate(TEXT, spans=[(0, len(TEXT))])], None)
    assert same == pytest.approx(whole, abs=1e-6)
    assert max(scores) <= whole + 1e-6


@pytest.mark.models
async def test_nothing_is_encoded_or_cut_again_for_spans(scorer: LateInteraction) -> None:
    await scorer.score(QUERY, [Candidate(TEXT)], None)
    encoded, asked = scorer.vectors.encoded, scorer.vectors.asked
    first = await scorer.spans(QUERY, [Candidate(TEXT, spans=SPANS), Candidate(TEXT, spans=SPANS[:1])], None)
    assert (scorer.vectors.encoded, scorer.vectors.asked) == (encoded, asked)
    assert len(scorer.places.known) == 1
    assert [len(scores) for scores in first] == [3, 1]
    assert first[1][0] == first[0][0]


@pytest.mark.models
async def test_what_the_model_did_not_read_is_scored_by_itself(parts: Parts, minilm: Path) -> None:
    short = load(parts, model=str(minilm), max_tokens=12)
    await short.start()
    [scores] = await short.spans(
        QUERY, [Candidate("Nothing of it. " * 9 + TEXT, spans=[(0, 14), (150, 185)])], None
    )
    assert -1 < scores[0] < scores[1]
    assert await short.spans(QUERY, [], None) == []
    assert await short.spans(QUERY, [Candidate(""), Candidate("x", spans=[(0, 0)])], None) == [[], [-1.0]]
    await short.close()
