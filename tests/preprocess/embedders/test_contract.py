"""What every embedder in the folder promises."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from ragline import backends, token_vectors
from ragline.models import ModelStore
from ragline.settings import Settings, SettingsError
from services.preprocess.embedders import Embedder, Parts

PACKAGE = "services.preprocess.embedders"
MARKS = {"hashing": [], "sentence_transformer": [pytest.mark.models, pytest.mark.torch]}
ODD = [
    "",
    " \n\t",
    "\x00",
    "a\x00b",
    "\u200b\u200d",
    "\ud800 lone",
    "é" * 3000,
    "字" * 600,
    "👩‍👩‍👧",
    "x" * 50_000,
]
MIXED = ["cats", "a cat sat on the mat", *ODD, "the price of bread " * 100, "cats"]


def parts() -> Parts:
    return Parts(ModelStore(Settings().models_dir), threads=1)


def build(name: str) -> Embedder:
    embedder: Embedder = backends.load(PACKAGE, name, parts())
    return embedder


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=MARKS.get(name, [pytest.mark.models])) for name in backends.names(PACKAGE)],
)
def embedder(request: pytest.FixtureRequest) -> Embedder:
    name: str = request.param
    if name == "sentence_transformer" and not importlib.util.find_spec("sentence_transformers"):
        pytest.skip("needs the [torch] extra")
    if name != "hashing":
        request.getfixturevalue("minilm")
    return build(name)


def test_vectors_are_unit_float32_rows(embedder: Embedder) -> None:
    result = embedder.embed(MIXED)
    assert result.vectors.shape == (len(MIXED), embedder.dimensions)
    assert result.vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(result.vectors, axis=1), 1, atol=1e-5)


def test_every_column_has_one_entry_a_text(embedder: Embedder) -> None:
    result = embedder.embed(MIXED, token_vectors=True)
    assert len(result.tokens) == len(result.token_ids) == len(result.truncated) == len(MIXED)
    assert result.token_vectors is None or len(result.token_vectors) == len(MIXED)


def test_no_texts_give_no_rows(embedder: Embedder) -> None:
    result = embedder.embed([])
    assert result.vectors.shape == (0, embedder.dimensions)
    assert (result.tokens, result.token_ids, result.truncated) == ([], [], [])
    assert embedder.count_tokens([]) == []


def test_a_text_alone_has_the_vector_it_has_among_others(embedder: Embedder) -> None:
    together = embedder.embed(MIXED).vectors
    for text, vector in zip(MIXED, together, strict=True):
        np.testing.assert_allclose(embedder.embed([text]).vectors[0], vector, atol=1e-5)


def test_like_texts_are_nearer_than_unlike_ones(embedder: Embedder) -> None:
    texts = ["how to bake sourdough bread", "baking sourdough bread at home", "the engine of a diesel train"]
    vectors = embedder.embed(texts).vectors
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2


def test_token_ids_are_distinct_and_ascending(embedder: Embedder) -> None:
    for ids in embedder.embed(MIXED).token_ids:
        assert ids.dtype == np.uint32
        assert (np.diff(ids.astype(np.int64)) > 0).all()
    once, twice, none = embedder.embed(["mat cat", "cat mat cat", ""]).token_ids
    np.testing.assert_array_equal(once, twice)
    assert len(none) == 0


def test_counts_are_of_whole_texts_and_reads_are_cut(embedder: Embedder) -> None:
    long = "word " * (embedder.max_tokens + 10)
    assert embedder.count_tokens(["word", long]) == [1, embedder.max_tokens + 10]
    result = embedder.embed(["word", long])
    assert result.truncated == [False, True]
    assert result.tokens[1] == embedder.max_tokens


def test_token_vectors_come_only_when_asked_for(embedder: Embedder) -> None:
    assert embedder.embed(["a cat"]).token_vectors is None
    found = embedder.embed(["a cat, a mat", ""], token_vectors=True).token_vectors
    if found is not None:
        assert [vectors.shape for _, vectors in found] == [
            (len(tokens), embedder.dimensions) for tokens, _ in found
        ]
        assert [len(token_vectors.unpack(token_vectors.pack(*each))) for each in found] == [4, 2]


def test_another_load_has_the_same_fingerprint(embedder: Embedder) -> None:
    name = type(embedder).__module__.rpartition(".")[2]
    assert build(name).fingerprint == embedder.fingerprint


def test_the_tokenizer_file_is_there_or_not_claimed(embedder: Embedder) -> None:
    assert embedder.tokenizer_file is None or embedder.tokenizer_file.is_file()


def test_fingerprints_tell_embedders_apart() -> None:
    few, many = (backends.load(PACKAGE, "hashing", parts(), {"dimensions": n}) for n in (64, 128))
    assert few.fingerprint != many.fingerprint


def test_a_model_that_is_not_there_stops_the_start() -> None:
    with pytest.raises(SettingsError, match="no model"):
        backends.load(PACKAGE, "onnx", parts(), {"model": "no such model"})


def test_dimensions_out_of_range_stop_the_start() -> None:
    with pytest.raises(SettingsError, match="dimensions"):
        backends.load(PACKAGE, "hashing", parts(), {"dimensions": 1})
