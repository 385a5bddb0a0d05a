"""The trial of runtimes on this machine, with a tiny classifier; and what happens where one is no good."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import structlog.testing

from ragline.encoder import PairClassifier
from ragline.encoder.runtimes import OTHERS, REFERENCE, Name, flags, missing, processor
from ragline.settings import SettingsError
from services.reranker.roster import hook
from services.reranker.scorers import Candidate, Parts
from services.reranker.scorers._open import open_scorer
from services.reranker.scorers._runtime import Choice, Judges, SelfTest, batches, choose, disordered, probes
from services.reranker.scorers._verdicts import MOST, Trial, Verdict, Verdicts

QUERY = "how is it retried?"
TEXTS = ["After a back-off.", "nine o'clock", "", "a long one, cut to the limit " * 10]
HERE = [name for name in OTHERS if not missing(name)]


def chances(logits: npt.NDArray[np.float32]) -> Sequence[float]:
    made: list[float] = (1 / (1 + np.exp(-logits[:, 0].astype(np.float64)))).tolist()
    return made


JUDGES = Judges(chances, chances)


class Opener:
    """Opens the tiny classifier on any runtime, and notes on which."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[Name] = []
        self.broken: set[Name] = set()
        self.shift: dict[Name, float] = {}

    def __call__(self, name: Name) -> PairClassifier:
        self.asked.append(name)
        if name in self.broken:
            raise RuntimeError("no such instruction")
        made = PairClassifier.open(self.folder, threads=1, runtime=name)
        if name in self.shift:
            return dataclasses.replace(made, session=Shifted(made.session, self.shift[name]))
        return made


class Shifted:
    """A runtime whose logits are off."""

    def __init__(self, inner: Any, shift: float) -> None:
        self.inner = inner
        self.shift = shift

    def run(self, batch: Any, outputs: Sequence[str]) -> list[npt.NDArray[np.float32]]:
        return [values + np.float32(self.shift) for values in self.inner.run(batch, outputs)]


@pytest.fixture
def opener(classifier: Path) -> Opener:
    return Opener(classifier)


@pytest.fixture
def verdicts(tmp_path: Path) -> Verdicts:
    return Verdicts(tmp_path / "models", "a model", 1)


@pytest.mark.parametrize("name", OTHERS)
def test_agrees_with_the_reference(opener: Opener, name: Name) -> None:
    if lack := missing(name):
        pytest.skip(lack)
    trial = SelfTest(opener(REFERENCE), JUDGES).trial(name, opener)
    assert not trial.fault
    assert trial.ratio > 0
    assert trial.difference < 0.02


@pytest.mark.parametrize("name", HERE)
async def test_any_runtime_can_be_asked_for(parts: Parts, classifier: Path, name: Name) -> None:
    passages = [Candidate(text) for text in TEXTS]
    made, prints = [], set()
    for runtime in (REFERENCE, name):
        scorer: Any = open_scorer("cross_encoder", parts, {"model": str(classifier), "runtime": runtime})
        await hook(scorer, "start")()
        made.append(await scorer.score(QUERY, passages, None))
        await hook(scorer, "close")()
        prints.add(scorer.fingerprint)
    assert list(made[1]) == pytest.approx(list(made[0]), abs=0.02)
    assert len(prints) == 2


def test_the_verdict_is_kept_and_believed(opener: Opener, verdicts: Verdicts) -> None:
    with structlog.testing.capture_logs() as logs:
        first = choose("auto", opener, JUDGES, verdicts)
    assert {entry["runtime"] for entry in logs if entry["event"] == "runtime tried"} == set(OTHERS)
    [chosen] = [entry for entry in logs if entry["event"] == "runtime chosen"]
    assert chosen["runtime"] == first.runtime
    assert chosen["ratio"] >= 1
    assert chosen["difference"] < 0.02
    opener.asked.clear()
    again = choose("auto", opener, JUDGES, verdicts)
    assert opener.asked == [first.runtime]
    assert again.runtime == first.runtime


def test_runtimes_that_break_or_disagree_are_passed_over(opener: Opener, verdicts: Verdicts) -> None:
    opener.broken = {"openvino-int8", "openvino"}
    opener.shift = {"openvino-bf16": 1.0, "onnxruntime-int8": np.nan}
    with structlog.testing.capture_logs() as logs:
        assert choose("auto", opener, JUDGES, verdicts).runtime == REFERENCE
    faults = {entry["runtime"]: entry["fault"] for entry in logs if entry["event"] == "runtime tried"}
    assert set(faults) == set(OTHERS)
    assert all(faults.values())
    assert faults["onnxruntime-int8"] == "its scores are not all numbers"


@pytest.mark.skipif(bool(missing("openvino")), reason=missing("openvino"))
def test_a_kept_verdict_that_does_not_open_is_tried_again(opener: Opener, verdicts: Verdicts) -> None:
    verdicts.keep("auto", Verdict("openvino", 3.0, 0.001))
    opener.broken = set(OTHERS)
    assert choose("auto", opener, JUDGES, verdicts).runtime == REFERENCE
    kept = verdicts.get("auto")
    assert kept is not None
    assert kept.runtime == REFERENCE


@pytest.mark.parametrize(
    ("broken", "shift", "says"),
    [
        ({"onnxruntime-int8"}, 0.0, "no such instruction"),
        (set(), 3.0, "a score differs by"),
        (set(), np.inf, "numbers"),
    ],
)
def test_one_that_was_asked_for_stops_the_start(
    opener: Opener, verdicts: Verdicts, broken: set[Name], shift: float, says: str
) -> None:
    opener.broken, opener.shift = broken, {"onnxruntime-int8": shift}
    with pytest.raises(SettingsError, match=says):
        choose("onnxruntime-int8", opener, JUDGES, verdicts)
    assert verdicts.get("onnxruntime-int8") is None


def test_one_that_cannot_be_had_says_what_to_do(tmp_path: Path) -> None:
    plain = tmp_path / "cpuinfo"
    plain.write_text("processor : 0\nmodel name : A CPU\nflags : fpu avx2\n")
    assert "neither avx512_bf16 nor amx_bf16" in missing("openvino-bf16", plain) or missing("openvino")
    assert flags(plain) == {"fpu", "avx2"}
    assert processor(plain) == "A CPU avx2"
    assert missing("onnxruntime-int8", tmp_path / "nothing") == ""


async def test_an_unknown_runtime_stops_the_start(parts: Parts, classifier: Path) -> None:
    with pytest.raises(SettingsError, match="option 'runtime'"):
        open_scorer("cross_encoder", parts, {"model": str(classifier), "runtime": "tensorrt"})


async def test_auto_keeps_its_verdict_in_the_data_folder(parts: Parts, classifier: Path, tmp_path: Path) -> None:
    parts = dataclasses.replace(parts, data_dir=tmp_path, threads=1)
    scorer: Any = open_scorer("cross_encoder", parts, {"model": str(classifier)})
    [verdict] = json.loads((tmp_path / "models" / "runtimes.json").read_bytes()).values()
    assert verdict["runtime"] == REFERENCE or scorer.fingerprint.endswith(verdict["runtime"])


def test_verdicts_are_of_one_model_threads_and_question(tmp_path: Path) -> None:
    verdict = Verdict("openvino", 2.0, 0.001)
    kept = Verdicts(tmp_path, "a model", 2)
    kept.keep("auto", verdict)
    assert kept.get("auto") == verdict
    others: list[tuple[str, int, Choice]] = [
        ("a model", 1, "auto"),
        ("another", 2, "auto"),
        ("a model", 2, "openvino"),
    ]
    assert [Verdicts(tmp_path, model, threads).get(asked) for model, threads, asked in others] == [None] * 3
    for number in range(2 * MOST):
        Verdicts(tmp_path, f"model {number}", 2).keep("auto", verdict)
    assert len(kept.read()) == MOST
    assert kept.get("auto") is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"a": {"runtime": "gone"}}'])
def test_a_damaged_file_is_no_verdict(tmp_path: Path, content: bytes) -> None:
    kept = Verdicts(tmp_path, "a model", 2)
    (tmp_path / "runtimes.json").write_bytes(content)
    assert kept.get("auto") is None
    kept.keep("auto", Verdict("openvino", 2.0, 0.001))
    assert kept.get("auto") is not None


def test_a_folder_that_takes_nothing_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    kept = Verdicts(tmp_path / "file", "a model", 2)
    kept.keep("auto", Verdict("openvino", 2.0, 0.001))
    assert kept.get("auto") is None
    assert Verdicts(None, "a model", 2).get("auto") is None


def test_what_is_far_apart_must_not_change_places() -> None:
    reference = np.array([0.0, 0.05, 1.0])
    assert not disordered(reference, np.array([0.05, 0.0, 1.0]))
    assert disordered(reference, np.array([0.0, 1.0, 0.5]))
    assert disordered(reference, np.array([1.0, 1.0, 1.0]))


def test_probes_are_of_many_lengths(opener: Opener) -> None:
    lengths = sorted(len(text.split()) for _, texts in probes() for text in texts)
    assert len(lengths) >= 36
    assert lengths[0] < 20
    assert lengths[-1] > 150
    work = batches(opener(REFERENCE))
    assert sum(map(len, work)) == len(lengths)
    assert Trial("openvino", 1.0, 0.0).fault == ""
