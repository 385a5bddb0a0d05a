"""The recipe on the real model: kept vectors are found, numbers are right, the answer wins."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
import structlog

from ragline import token_vectors
from ragline.encoder import Encoder, Tokens
from ragline.token_vectors import Layout, PackedTokens
from services.reranker.scorers import Candidate, Parts, Statistics, _token_vectors
from services.reranker.scorers.late_interaction import LateInteraction, load

pytestmark = pytest.mark.models

QUERY = "How is a lost message retried?"
TEXTS = [
    "The office opens at nine and closes at five.",
    "When a message is lost, the worker sends it again after a back-off, at most five times.",
    "Messages are small: they hold the id of the document, never its text.",
]


@pytest.fixture(scope="module")
def encoder(minilm: Path) -> Encoder:
    return Encoder.open(minilm, threads=2)


@pytest_asyncio.fixture
async def scorer(parts: Parts, minilm: Path) -> AsyncIterator[LateInteraction]:
    made = load(parts, model=str(minilm))
    await made.start()
    yield made
    await made.close()


def candidates(texts: list[str]) -> list[Candidate]:
    return [Candidate(text) for text in texts]


def floats(encoder: Encoder, text: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids, words and unit vectors of a text's own word pieces."""
    [tokens] = encoder.tokenize([text])
    vectors = encoder.encode([tokens], token_vectors=True).token_vectors
    assert vectors is not None
    own = ~tokens.special
    rows = vectors[0][own]
    return tokens.ids[own], tokens.words[own], rows / np.linalg.norm(rows, axis=1, keepdims=True)


def recipe(encoder: Encoder, query: str, passages: list[Candidate], statistics: Statistics | None) -> list[float]:
    """The recipe as it is written down, with no regard to speed."""
    ids, words, q = floats(encoder, query)
    idf = (
        np.log(1 + statistics.passages / (1 + np.array([statistics.frequencies.get(i, 0) for i in ids.tolist()])))
        if statistics
        else np.ones(len(ids))
    )
    w = np.where(words, idf / idf[words].max() + 0.25, 0) if statistics else words.astype(float)
    sparse = np.array([p.sparse_score or 0 for p in passages])
    dense = np.array([p.dense_score or 0 for p in passages])
    flat = sparse.min() / sparse.max() if sparse.any() else 0.0  # of fewer than ten the last
    length = min(max(len(ids) / 12, 1), 4)
    firsts = 6 * flat * dense + length * (1 - flat) * sparse / (sparse.max() or 1)
    firsts = firsts - firsts.max()
    scores = []
    for passage, first in zip(passages, firsts, strict=True):
        _, kept, rows = floats(encoder, passage.text)
        x = np.where(rows[kept] > 0, 1, -1) / np.sqrt(rows.shape[1])
        scores.append(float((w * (q @ x.T).max(axis=1)).sum() / w.sum() + 0.1 * first))
    return scores


async def test_the_answer_wins(scorer: LateInteraction) -> None:
    scores = await scorer.score(QUERY, candidates(TEXTS), None)
    assert int(np.argmax(scores)) == 1


@pytest.mark.parametrize("query", [QUERY, " ".join([QUERY] * 4)])
@pytest.mark.parametrize("known", [True, False])
async def test_scores_are_the_recipes(
    scorer: LateInteraction, encoder: Encoder, query: str, *, known: bool
) -> None:
    statistics = Statistics(5000, {i: 10 * n for n, i in enumerate(floats(encoder, query)[0].tolist())})
    passages = [Candidate(t, d, s) for t, d, s in zip(TEXTS, (0.1, 0.5, 0.4), (2.0, 9.5, 4.0), strict=True)]
    given = statistics if known else None
    scores = await scorer.score(query, passages, given)
    assert scores == pytest.approx(recipe(encoder, query, passages, given), abs=2e-3)


async def test_kept_vectors_are_found(scorer: LateInteraction, parts: Parts, encoder: Encoder) -> None:
    tokens = encoder.tokenize(TEXTS)
    vectors = encoder.encode(tokens, token_vectors=True).token_vectors
    assert vectors is not None
    keys = [token_vectors.key(encoder.fingerprint, text) for text in TEXTS]
    kept = {k: token_vectors.pack(t, v) for k, t, v in zip(keys, tokens, vectors, strict=True)}
    await parts.cache.set_many(kept)
    scores = await scorer.score(QUERY, candidates(TEXTS), None)
    assert scorer.vectors.encoded == 0
    assert scores == pytest.approx(recipe(encoder, QUERY, candidates(TEXTS), None), abs=2e-3)


async def test_what_is_missing_is_encoded_once_and_kept(scorer: LateInteraction, parts: Parts) -> None:
    first = await scorer.score(QUERY, candidates([*TEXTS, TEXTS[0]]), None)
    assert scorer.vectors.encoded == len(TEXTS)
    assert await scorer.score(QUERY, candidates([*TEXTS, TEXTS[0]]), None) == first
    assert scorer.vectors.encoded == len(TEXTS)
    keys = [token_vectors.key(scorer.vectors.encoder.fingerprint, text) for text in TEXTS]
    assert all(value is not None for value in await parts.cache.get_many(keys))


async def test_what_was_encoded_before_the_caller_left_is_kept(
    scorer: LateInteraction, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts, encode_some = [*TEXTS, *(f"{text} Once more." for text in TEXTS)], scorer.vectors.encode_some
    kept: list[tuple[str, Tokens]] = []

    async def until_second(keys: Mapping[str, str], some: Sequence[tuple[str, Tokens]]) -> dict[str, PackedTokens]:
        if kept:
            raise asyncio.CancelledError
        kept.extend(some)
        return await encode_some(keys, some)

    monkeypatch.setattr(_token_vectors, "AT_ONCE", 4)
    monkeypatch.setattr(scorer.vectors, "encode_some", until_second)
    with pytest.raises(asyncio.CancelledError):
        await scorer.score(QUERY, candidates(texts), None)
    monkeypatch.undo()
    assert scorer.vectors.encoded == 4
    assert len(await scorer.score(QUERY, candidates(texts), None)) == len(texts)
    assert scorer.vectors.encoded == len(texts)


@pytest.mark.parametrize("damaged", [b"", b"TV", b"garbage that is long enough for a header"])
async def test_damaged_vectors_are_encoded_again(
    scorer: LateInteraction, parts: Parts, encoder: Encoder, damaged: bytes
) -> None:
    clean = await scorer.score(QUERY, candidates(TEXTS), None)
    await parts.cache.set_many({token_vectors.key(encoder.fingerprint, TEXTS[0]): damaged})
    scorer.vectors.lately.close()
    assert await scorer.score(QUERY, candidates(TEXTS), None) == pytest.approx(clean, abs=1e-3)


async def test_a_query_that_was_embedded_is_not_encoded_again(
    scorer: LateInteraction, parts: Parts, encoder: Encoder
) -> None:
    scores = await scorer.score(QUERY, candidates(TEXTS), None)
    assert scorer.vectors.asked == 1
    scorer.vectors.queries.clear()
    scorer.vectors.lately.close()
    tokens = encoder.tokenize([QUERY])
    vectors = encoder.encode(tokens, token_vectors=True).token_vectors
    assert vectors is not None
    packed = token_vectors.pack_query(token_vectors.query_tokens(tokens[0], vectors[0]))
    await parts.cache.set_many({token_vectors.query_key(encoder.fingerprint, QUERY): packed})
    assert await scorer.score(QUERY, candidates(TEXTS), None) == pytest.approx(scores, abs=2e-3)
    assert scorer.vectors.asked == 1
    await parts.cache.set_many({token_vectors.query_key(encoder.fingerprint, "lost?"): packed[:-1]})
    await scorer.score("lost?", candidates(TEXTS), None)
    assert scorer.vectors.asked == 2


async def test_passages_of_late_are_not_even_fetched(scorer: LateInteraction, parts: Parts) -> None:
    scores = await scorer.score(QUERY, candidates(TEXTS), None)
    await parts.cache.delete_many([token_vectors.key(scorer.vectors.encoder.fingerprint, text) for text in TEXTS])
    assert await scorer.score(QUERY, candidates(TEXTS), None) == scores
    scorer.vectors.lately.close()  # as half a minute does
    assert await scorer.score(QUERY, candidates(TEXTS), None) == pytest.approx(scores, abs=2e-3)
    assert scorer.vectors.encoded == 2 * len(TEXTS)


@pytest.mark.parametrize("layout", [Layout(2), Layout(8, 192), Layout(1, 128)])
async def test_another_layout_encodes_again_and_orders_alike(
    scorer: LateInteraction, parts: Parts, minilm: Path, layout: Layout
) -> None:
    before = await scorer.score(QUERY, candidates(TEXTS), None)
    other = load(replace(parts, layout=layout), model=str(minilm))
    await other.start()
    scores = await other.score(QUERY, candidates(TEXTS), None)
    assert np.argsort(scores).tolist() == np.argsort(before).tolist()
    assert other.vectors.encoded == len(TEXTS)
    assert await other.score(QUERY, candidates(TEXTS), None) == pytest.approx(scores, abs=1e-5)
    assert other.vectors.encoded == len(TEXTS)
    assert other.fingerprint != scorer.fingerprint
    await other.close()


async def test_frequencies_of_another_encoder_are_left_out(scorer: LateInteraction, encoder: Encoder) -> None:
    counts = {i: 10 * n for n, i in enumerate(floats(encoder, QUERY)[0].tolist())}
    without = await scorer.score(QUERY, candidates(TEXTS), None)
    assert await scorer.score(QUERY, candidates(TEXTS), Statistics(5000, counts, encoder.fingerprint)) != without
    with structlog.testing.capture_logs() as logs:
        for _ in range(2):
            strange = Statistics(5000, counts, "another")
            assert await scorer.score(QUERY, candidates(TEXTS), strange) == without
    assert [entry["embedder"] for entry in logs] == ["another"]


async def test_without_keeping_the_cache_is_left_alone(parts: Parts, minilm: Path) -> None:
    scorer = load(parts, model=str(minilm), keep=False, query_cache_mb=0)
    await scorer.start()
    for _ in range(2):
        await scorer.score(QUERY, candidates(TEXTS), None)
    await scorer.close()
    assert scorer.vectors.encoded == 2 * len(TEXTS)
    key = token_vectors.key(scorer.vectors.encoder.fingerprint, TEXTS[0])
    assert await parts.cache.get_many([key]) == [None]
    assert not scorer.vectors.queries


async def test_without_hybrid_the_first_stage_counts_nothing(parts: Parts, minilm: Path) -> None:
    scorer = load(parts, model=str(minilm), hybrid=0.0)
    await scorer.start()
    with_scores = await scorer.score(QUERY, [Candidate(t, 0.1 * n, 1.0) for n, t in enumerate(TEXTS)], None)
    assert with_scores == await scorer.score(QUERY, candidates(TEXTS), None)
    await scorer.close()


async def test_explain_points_at_like_words(scorer: LateInteraction) -> None:
    [matches] = await scorer.explain("lost message", [TEXTS[1]])
    words = [("lost message"[m.query_start : m.query_end], TEXTS[1][m.start : m.end]) for m in matches]
    assert words == [("lost", "lost"), ("message", "message")]
    assert all(0 < match.similarity <= 1 for match in matches)


async def test_explain_of_nothing(scorer: LateInteraction) -> None:
    assert list(await scorer.explain(QUERY, [])) == []
    assert [list(matches) for matches in await scorer.explain(QUERY, [""])] == [[]]
    assert [list(matches) for matches in await scorer.explain("?", [TEXTS[0]])] == [[]]
