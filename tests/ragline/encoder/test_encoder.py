"""The encoder as its callers see it, with a tiny model made without PyTorch."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ragline.encoder import Encoder
from ragline.settings import SettingsError
from tests.ragline.encoder import tiny

TEXTS = ["a b c", "", "a", "c b a, d. " * 9, "[MASK] [CLS]", "\x00", "\ud800 a"]


@pytest.fixture
def encoder(tmp_path: Path) -> Encoder:
    return Encoder.open(tiny.bert(tmp_path), threads=1)


def module(folder: Path, number: int, kind: str, **config: Any) -> dict[str, Any]:
    """An entry of modules.json, with its folder."""
    path = "" if number == 0 else f"{number}_{kind}"
    (folder / path).mkdir(exist_ok=True)
    if number:
        (folder / path / "config.json").write_text(json.dumps(config))
    return {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}


def pooled(folder: Path, *steps: tuple[str, dict[str, Any]]) -> Path:
    tiny.bert(folder)
    entries = [module(folder, 0, "Transformer")]
    entries += [module(folder, at, kind, **config) for at, (kind, config) in enumerate(steps, 1)]
    (folder / "modules.json").write_text(json.dumps(entries))
    return folder


def test_vectors_are_of_unit_length_and_one_a_text(encoder: Encoder) -> None:
    encoded = encoder.encode(encoder.tokenize(TEXTS))
    assert encoded.vectors.shape == (len(TEXTS), 8)
    assert encoded.token_vectors is None
    np.testing.assert_allclose(np.linalg.norm(encoded.vectors, axis=1), 1, atol=1e-6)


def test_an_empty_batch_gives_no_rows(encoder: Encoder) -> None:
    assert encoder.encode([]).vectors.shape == (0, 8)
    assert encoder.encode([], token_vectors=True).token_vectors == []
    assert encoder.tokenize([]) == []


def test_neighbours_do_not_change_a_vector(encoder: Encoder) -> None:
    together = encoder.encode(encoder.tokenize(TEXTS), token_vectors=True)
    assert together.token_vectors is not None
    for text, vector, rows in zip(TEXTS, together.vectors, together.token_vectors, strict=True):
        alone = encoder.encode(encoder.tokenize([text]), token_vectors=True)
        assert alone.token_vectors is not None
        np.testing.assert_allclose(alone.vectors[0], vector, atol=1e-5)
        np.testing.assert_allclose(alone.token_vectors[0], rows, atol=1e-5)


def test_threads_get_their_own_results(encoder: Encoder) -> None:
    expected = encoder.encode(encoder.tokenize(TEXTS)).vectors

    def alone(at: int) -> Any:
        return encoder.encode(encoder.tokenize([TEXTS[at]])).vectors[0]

    with ThreadPoolExecutor(8) as pool:
        for at, vector in zip(range(len(TEXTS)), pool.map(alone, range(len(TEXTS))), strict=True):
            np.testing.assert_allclose(vector, expected[at], atol=1e-5)


def test_a_long_text_is_cut_to_the_limit(tmp_path: Path) -> None:
    encoder = Encoder.open(tiny.bert(tmp_path), threads=1, max_tokens=5)
    long, short = encoder.tokenize(["a b c d e f", "a b c"])
    assert (len(long), long.truncated) == (5, True)
    assert (len(short), short.truncated) == (5, False)
    np.testing.assert_array_equal(long.ids, short.ids)
    assert encoder.count_tokens(["a b c d e f", ""]) == [6, 0]


@pytest.mark.parametrize("limit", [2, 65])
def test_a_limit_out_of_range_is_refused(tmp_path: Path, limit: int) -> None:
    with pytest.raises(SettingsError, match="from 3 to 64"):
        Encoder.open(tiny.bert(tmp_path), threads=1, max_tokens=limit)


def test_the_limit_comes_from_the_folder(tmp_path: Path) -> None:
    tiny.bert(tmp_path)
    assert Encoder.open(tmp_path, threads=1).max_tokens == 60
    (tmp_path / "sentence_bert_config.json").write_text('{"max_seq_length": 20}')
    assert Encoder.open(tmp_path, threads=1).max_tokens == 20
    (tmp_path / "sentence_bert_config.json").write_text('{"max_seq_length": 512}')
    assert Encoder.open(tmp_path, threads=1).max_tokens == tiny.POSITIONS


def test_lower_casing_is_followed(tmp_path: Path) -> None:
    tiny.bert(tmp_path)
    (tmp_path / "sentence_bert_config.json").write_text('{"do_lower_case": true}')
    upper, lower = Encoder.open(tmp_path, threads=1).tokenize(["A B", "a b"])
    np.testing.assert_array_equal(upper.ids, lower.ids)


@pytest.mark.parametrize("mode", ["mean", "cls", "max", "mean_sqrt_len_tokens"])
@pytest.mark.parametrize("old", [True, False])
def test_every_pooling_is_what_numpy_makes_of_the_token_vectors(tmp_path: Path, mode: str, old: bool) -> None:
    flag = {"mean": "mean_tokens", "cls": "cls_token", "max": "max_tokens"}.get(mode, mode)
    config = {f"pooling_mode_{flag}": True} if old else {"pooling_mode": mode}
    encoder = Encoder.open(pooled(tmp_path, ("Pooling", config), ("Normalize", {})), threads=1)
    encoded = encoder.encode(encoder.tokenize(TEXTS), token_vectors=True)
    assert encoded.token_vectors is not None
    for rows, vector in zip(encoded.token_vectors, encoded.vectors, strict=True):
        expected = {"cls": rows[0], "max": rows.max(axis=0)}.get(mode, rows.mean(axis=0))
        np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=1e-5)


def test_dense_layers_follow_the_pooling(tmp_path: Path) -> None:
    pooled(tmp_path, ("Pooling", {"pooling_mode": "mean"}), ("Dense", {"activation_function": "torch.nn.Tanh"}))
    weight = np.random.default_rng(3).normal(size=(6, 8)).astype(np.float32)
    bias = np.arange(6, dtype=np.float32)
    tiny.write(tmp_path / "2_Dense" / "model.safetensors", {"linear.weight": weight, "linear.bias": bias})
    encoder = Encoder.open(tmp_path, threads=1)
    assert encoder.dimensions == 6
    encoded = encoder.encode(encoder.tokenize(TEXTS), token_vectors=True)
    assert encoded.token_vectors is not None
    for rows, vector in zip(encoded.token_vectors, encoded.vectors, strict=True):
        expected = np.tanh(weight @ rows.mean(axis=0) + bias)
        np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=1e-5)


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([("Pooling", {"pooling_mode": "lasttoken"})], "lasttoken pooling"),
        ([("Pooling", {"pooling_mode": ["cls", "max"]})], r"cls \+ max pooling"),
        (
            [("Pooling", {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True})],
            r"cls \+ mean pooling",
        ),
        ([("Pooling", {"pooling_mode": "mean"}), ("LSTM", {})], "LSTM module"),
        ([("Pooling", {}), ("Dense", {"activation_function": "torch.nn.Softsign"})], "activation Softsign"),
    ],
)
def test_what_is_not_built_is_refused_with_the_way_out(
    tmp_path: Path, steps: list[tuple[str, dict[str, Any]]], said: str
) -> None:
    with pytest.raises(SettingsError, match=f"{said}.*sentence_transformer"):
        Encoder.open(pooled(tmp_path, *steps), threads=1)


def test_an_old_layout_has_the_model_in_a_folder_of_its_own(tmp_path: Path) -> None:
    inner = tiny.bert(tmp_path / "0_Transformer")
    (tmp_path / "modules.json").write_text(
        '[{"type": "sentence_transformers.models.Transformer", "path": "0_Transformer"}]'
    )
    encoder, plain = Encoder.open(tmp_path, threads=1), Encoder.open(inner, threads=1)
    assert encoder.tokenizer_file == inner / "tokenizer.json"
    batch = plain.tokenize(TEXTS)
    np.testing.assert_array_equal(encoder.encode(batch).vectors, plain.encode(batch).vectors)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "fetch it again"),
        ('[{"type": "x"}]', "fetch it again"),
        ("[]", "begins with nothing"),
        ('[{"type": "a.b.CLIPModel", "path": ""}]', "begins with CLIPModel"),
    ],
)
def test_a_list_of_modules_that_makes_no_sense_is_refused(tmp_path: Path, content: str, said: str) -> None:
    (tiny.bert(tmp_path) / "modules.json").write_text(content)
    with pytest.raises(SettingsError, match=said):
        Encoder.open(tmp_path, threads=1)


def test_equal_content_has_an_equal_fingerprint_wherever_it_lies(tmp_path: Path) -> None:
    one, two = (Encoder.open(tiny.bert(tmp_path / name), threads=1) for name in ("one", "two"))
    assert one.fingerprint == two.fingerprint
    assert len(one.fingerprint) == 32


def test_whatever_changes_a_vector_changes_the_fingerprint(tmp_path: Path) -> None:
    tensors = tiny.bert_tensors()
    tensors["encoder.layer.0.output.dense.bias"] = np.full(8, 0.5, np.float32)
    folders = [
        tiny.bert(tmp_path / "plain"),
        tiny.bert(tmp_path / "weights", None, **tensors),
        tiny.bert(tmp_path / "heads", {"num_attention_heads": 4}),
        pooled(tmp_path / "cls", ("Pooling", {"pooling_mode": "cls"})),
    ]
    found = [Encoder.open(folder, threads=1).fingerprint for folder in folders]
    found.append(Encoder.open(folders[0], threads=1, max_tokens=10).fingerprint)
    assert len(set(found)) == len(found)
