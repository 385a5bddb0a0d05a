"""Every family gives the numbers of its transformers class, in batches of mixed lengths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ragline.encoder import Encoder, PairClassifier, Tokens
from tests.ragline.encoder import tiny

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch", reason="needs the [torch] extra")
pytest.importorskip("transformers", reason="needs the [torch] extra")

FAMILIES = ["bert", "roberta", "xlm-roberta", "camembert", "distilbert", "electra", "mpnet"]
TEXTS = ["a b c d e", "", "a", "the quick brown fox, jumped. over " * 3, "abc de, fgh", "zz " * 200]
CLOSE = 2e-5


def reference(model: Any, batch: list[Tokens], *, types: bool) -> Any:
    length = max(len(each) for each in batch)
    ids, mask, kinds = (np.zeros((len(batch), length), np.int64) for _ in range(3))
    for row, each in enumerate(batch):
        ids[row, : len(each)], mask[row, : len(each)], kinds[row, : len(each)] = each.ids, 1, each.types
    feeds = {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}
    with torch.no_grad():
        return model(**feeds, **({"token_type_ids": torch.tensor(kinds)} if types else {}))


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    scaled: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return scaled


@pytest.mark.parametrize("family", FAMILIES)
def test_token_vectors_and_mean_equal_the_transformers_model(family: str, tmp_path: Path) -> None:
    model = tiny.save(tmp_path, family)
    encoder = Encoder.open(tmp_path, threads=1)
    batch = encoder.tokenize(TEXTS)

    encoded = encoder.encode(batch, token_vectors=True)

    hidden = reference(model, batch, types=False).last_hidden_state.numpy()
    assert encoded.token_vectors is not None
    for mine, theirs, tokens in zip(encoded.token_vectors, hidden, batch, strict=True):
        assert mine.shape == (len(tokens), 32)
        np.testing.assert_allclose(mine, theirs[: len(tokens)], atol=CLOSE)
    means = np.stack([rows[: len(tokens)].mean(axis=0) for rows, tokens in zip(hidden, batch, strict=True)])
    np.testing.assert_allclose(encoded.vectors, unit(means), atol=CLOSE)


@pytest.mark.parametrize("activation", ["gelu_new", "gelu_pytorch_tanh", "relu"])
def test_other_activations_equal_the_transformers_model(activation: str, tmp_path: Path) -> None:
    model = tiny.save(tmp_path, "bert", hidden_act=activation)
    encoder = Encoder.open(tmp_path, threads=1)
    batch = encoder.tokenize(TEXTS)

    vectors = encoder.encode(batch, token_vectors=True).token_vectors

    hidden = reference(model, batch, types=False).last_hidden_state.numpy()
    assert vectors is not None
    for mine, theirs in zip(vectors, hidden, strict=True):
        np.testing.assert_allclose(mine, theirs[: len(mine)], atol=CLOSE)


@pytest.mark.parametrize("labels", [1, 3])
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_equal_the_transformers_classifier(family: str, labels: int, tmp_path: Path) -> None:
    model = tiny.save(tmp_path, family, labels=labels)
    classifier = PairClassifier.open(tmp_path, threads=1)
    batch = classifier.tokenize("what is a b", TEXTS)

    logits = classifier.score(batch)

    assert classifier.labels == labels
    assert logits.shape == (len(TEXTS), labels)
    theirs = reference(model, batch, types=family in {"bert", "electra"}).logits.numpy()
    np.testing.assert_allclose(logits, theirs, atol=CLOSE)


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_narrow_weights_are_widened_exactly(kind: str, tmp_path: Path) -> None:
    model = tiny.save(tmp_path, "bert").to(getattr(torch, kind))
    model.save_pretrained(tmp_path, safe_serialization=True)
    encoder = Encoder.open(tmp_path, threads=1)
    batch = encoder.tokenize(TEXTS)

    vectors = encoder.encode(batch, token_vectors=True).token_vectors

    hidden = reference(model.float(), batch, types=False).last_hidden_state.numpy()
    assert vectors is not None
    for mine, theirs in zip(vectors, hidden, strict=True):
        np.testing.assert_allclose(mine, theirs[: len(mine)], atol=CLOSE)


def test_weights_in_several_files_are_read(tmp_path: Path) -> None:
    model = tiny.save(tmp_path, "bert")
    whole = Encoder.open(tmp_path, threads=1)
    parts = tiny.tokenizer(tmp_path / "parts")
    model.save_pretrained(parts, max_shard_size="20KB")

    split = Encoder.open(parts, threads=1)

    assert (parts / "model.safetensors.index.json").is_file()
    batch = whole.tokenize(TEXTS)
    np.testing.assert_array_equal(split.encode(batch).vectors, whole.encode(batch).vectors)
