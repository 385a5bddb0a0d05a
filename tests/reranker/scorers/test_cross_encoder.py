"""The classifier on ONNX Runtime against transformers and sentence-transformers, on a tiny random model."""

import asyncio
import math
from pathlib import Path
from typing import Any

import pytest

from ragline.settings import SettingsError
from services.reranker.roster import hook
from services.reranker.scorers import Candidate, Parts
from services.reranker.scorers._calibration import calibrated
from services.reranker.scorers._open import open_scorer
from tests.reranker import tiny

QUERY = "how is it retried?"
TEXTS = ["After a back-off.", "nine o'clock", "", "a long one, cut to the limit " * 10]
IDENTITY = {"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}}


async def scores(name: str, parts: Parts, **options: Any) -> list[float]:
    runtime = {"runtime": "onnxruntime"} if name == "cross_encoder" else {}
    scorer = open_scorer(name, parts, options | runtime)
    await hook(scorer, "start")()
    try:
        return list(await scorer.score(QUERY, [Candidate(text) for text in TEXTS], None))
    finally:
        await hook(scorer, "close")()


def transformers_logits(folder: Path) -> list[list[float]]:
    torch = pytest.importorskip("torch", reason="parity needs the [torch] extra")
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    batch = tokenizer([QUERY] * len(TEXTS), TEXTS, padding=True, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        logits: list[list[float]] = model(**batch).logits.tolist()
    return logits


@pytest.mark.torch
async def test_equals_transformers(parts: Parts, classifier: Path) -> None:
    expected = [1 / (1 + math.exp(-row[0])) for row in transformers_logits(classifier)]
    assert await scores("cross_encoder", parts, model=str(classifier)) == pytest.approx(expected, abs=1e-5)


@pytest.mark.torch
@pytest.mark.parametrize("config", [{}, IDENTITY, {"sbert_ce_default_activation_function": "torch.nn.Identity"}])
async def test_equals_sentence_transformers(parts: Parts, tmp_path: Path, config: dict[str, Any]) -> None:
    pytest.importorskip("sentence_transformers", reason="parity needs the [torch] extra")
    folder = str(tiny.write(tmp_path / "tiny", **config))
    ours = await scores("cross_encoder", parts, model=folder)
    assert ours == pytest.approx(await scores("sentence_transformer", parts, model=folder), abs=1e-5)
    mine = open_scorer("cross_encoder", parts, {"model": folder, "runtime": "onnxruntime"})
    theirs = open_scorer("sentence_transformer", parts, {"model": folder})
    assert calibrated(mine, [-1.0, 0.5, 2.0]) == calibrated(theirs, [-1.0, 0.5, 2.0])
    assert (calibrated(mine, [0.25]) == [0.25]) == (not config)


@pytest.mark.torch
async def test_one_of_several_labels(parts: Parts, tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers", reason="parity needs the [torch] extra")
    folder = tiny.write(tmp_path / "tiny", labels=3)
    expected = [row[2] for row in transformers_logits(folder)]
    for name in ("cross_encoder", "sentence_transformer"):
        by_number = await scores(name, parts, model=str(folder), label=2)
        assert by_number == await scores(name, parts, model=str(folder), label="label 2")
        assert by_number == pytest.approx(expected, abs=1e-5)


async def test_softmax(parts: Parts, tmp_path: Path) -> None:
    folder = str(tiny.write(tmp_path / "tiny", labels=3))
    each = [await scores("cross_encoder", parts, model=folder, label=n, activation="softmax") for n in range(3)]
    assert [sum(row) for row in zip(*each, strict=True)] == pytest.approx([1.0] * len(TEXTS))


async def test_concurrent_requests_share_batches_and_keep_their_scores(parts: Parts, classifier: Path) -> None:
    scorer = open_scorer("cross_encoder", parts, {"model": str(classifier), "runtime": "onnxruntime"})
    queries = [f"question {number}" for number in range(20)]
    passages = [Candidate(text) for text in TEXTS]
    await hook(scorer, "start")()
    together = await asyncio.gather(*(scorer.score(query, passages, None) for query in queries))
    alone = [await scorer.score(query, passages, None) for query in queries]
    await hook(scorer, "close")()
    for one, other in zip(together, alone, strict=True):
        assert list(one) == pytest.approx(list(other), abs=1e-5)


@pytest.mark.parametrize(
    ("labels", "config", "options", "says"),
    [
        (3, {}, {}, "set the option label to one of 0 (label 0), 1 (label 1)"),
        (3, {}, {"label": 3}, "no label 3"),
        (3, {}, {"label": "yes"}, "no label 'yes'"),
        (1, {"sentence_transformers": {"activation_fn": "their.Own"}}, {}, "their.Own is not known"),
        (1, {}, {"activation": "tanh"}, "option 'activation'"),
        (1, {}, {"max_tokens": 1000}, "max_tokens=1000"),
        (1, {}, {"modle": "x"}, "no option 'modle'"),
    ],
)
async def test_what_stops_the_start(
    parts: Parts, tmp_path: Path, labels: int, config: dict[str, Any], options: dict[str, Any], says: str
) -> None:
    folder = tiny.write(tmp_path / "tiny", labels=labels, **config)
    with pytest.raises(SettingsError) as caught:
        open_scorer("cross_encoder", parts, {"model": str(folder)} | options)
    assert says in str(caught.value)


@pytest.mark.parametrize("name", ["cross_encoder", pytest.param("sentence_transformer", marks=pytest.mark.torch)])
async def test_no_such_model_stops_the_start(parts: Parts, tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError):
        open_scorer(name, parts, {"model": str(tmp_path / "nowhere")})
