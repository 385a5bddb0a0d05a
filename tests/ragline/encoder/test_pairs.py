"""Pair classifiers as their callers see them; their numbers are held to transformers' in test_families."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ragline.encoder import PairClassifier
from ragline.settings import SettingsError
from tests.ragline.encoder import tiny

TEXTS = ["a b c", "", "d e f g " * 40, "\ud800"]


def classifier(folder: Path, **options: Any) -> PairClassifier:
    random = np.random.default_rng(2)
    shapes = {
        "pooler.dense.weight": (8, 8),
        "pooler.dense.bias": (8,),
        "classifier.weight": (2, 8),
        "classifier.bias": (2,),
    }
    tensors = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return PairClassifier.open(tiny.bert(folder, None, **tensors), threads=1, **options)


def test_each_text_has_one_logit_a_label(tmp_path: Path) -> None:
    model = classifier(tmp_path)
    logits = model.score(model.tokenize("a b", TEXTS))
    assert logits.shape == (len(TEXTS), model.labels) == (4, 2)
    assert logits.dtype == np.float32


def test_nothing_to_score_gives_no_rows(tmp_path: Path) -> None:
    model = classifier(tmp_path)
    assert model.tokenize("a", []) == []
    assert model.score([]).shape == (0, 2)


def test_neighbours_do_not_change_a_score(tmp_path: Path) -> None:
    model = classifier(tmp_path)
    together = model.score(model.tokenize("a b", TEXTS))
    for text, logits in zip(TEXTS, together, strict=True):
        np.testing.assert_allclose(model.score(model.tokenize("a b", [text]))[0], logits, atol=1e-5)


def test_the_order_of_a_pair_counts(tmp_path: Path) -> None:
    model = classifier(tmp_path)
    one, two = (model.score(model.tokenize(*pair)) for pair in [("a", ["b"]), ("b", ["a"])])
    assert np.abs(one - two).max() > 1e-4


def test_a_pair_is_cut_to_the_limit_and_the_query_stays(tmp_path: Path) -> None:
    model = classifier(tmp_path, max_tokens=12)
    (tokens,) = model.tokenize("a b", ["d e f g " * 40])
    assert (len(tokens), tokens.truncated, model.max_tokens) == (12, True, 12)
    assert tokens.types.tolist().count(0) == 4


def test_an_encoder_without_a_head_is_no_classifier(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"no sequence classifier.*sentence_transformer"):
        PairClassifier.open(tiny.bert(tmp_path), threads=1)


def test_the_fingerprint_follows_the_head(tmp_path: Path) -> None:
    one = classifier(tmp_path / "one")
    tensors = {"pooler.dense.weight": np.eye(8, dtype=np.float32), "pooler.dense.bias": np.zeros(8, np.float32)}
    tensors |= {"classifier.weight": np.ones((2, 8), np.float32), "classifier.bias": np.zeros(2, np.float32)}
    two = PairClassifier.open(tiny.bert(tmp_path / "two", None, **tensors), threads=1)
    assert one.fingerprint != two.fingerprint
