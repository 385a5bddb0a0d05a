"""Chooses what computes a cross-encoder: the fastest runtime here whose scores are those of the reference.

A runtime's speed depends on the CPU and its threads, and a smaller arithmetic suits one model and not another, so
each is tried once on questions of our own; the verdict is kept, and the next start believes it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import structlog

from ragline.encoder import PairClassifier, Tokens
from ragline.encoder.runtimes import OTHERS, REFERENCE, Name, missing
from ragline.settings import SettingsError
from services.reranker import probe
from services.reranker.scorers._verdicts import Trial, Verdict, Verdicts

Choice = Literal["auto", Name]
Open = Callable[[Name], PairClassifier]
Judge = Callable[[npt.NDArray[np.float32]], Sequence[float]]  # of logits: raw scores, or chances of 0 to 1

TOLERANCE = 0.02  # of a chance
CLEAR = 0.1  # of the spread of raw scores: two that differ by more must not change places
QUESTIONS = 12
BATCH = 8
ROUNDS = 3
LIMIT_S = 60.0  # once it is spent no more runtimes are tried: a large model starts late enough

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Judges:
    """What a classifier's logits mean: the scorer's ``raw`` scores, and the ``chances`` that those stand for."""

    raw: Judge
    chances: Judge


def choose(asked: Choice, opened: Open, judges: Judges, verdicts: Verdicts) -> PairClassifier:
    """The classifier on the runtime that was asked for; with "auto" on the fastest that agrees with the reference.

    Raises SettingsError for an ``asked`` one that cannot be had, fails or disagrees; "auto" never fails for one.
    """
    if asked == REFERENCE:
        return opened(REFERENCE)
    if asked != "auto" and (lack := missing(asked)):
        raise SettingsError(f"the runtime {asked} cannot be had: {lack}.")
    if (kept := verdicts.get(asked)) is not None:
        with contextlib.suppress(Exception):  # whatever a library raises now: the trial below will say it
            classifier = opened(kept.runtime)
            log.info(
                "runtime as chosen before", runtime=kept.runtime, ratio=kept.ratio, difference=kept.difference
            )
            return classifier
    verdict, reference = tried(asked, opened, judges)
    verdicts.keep(asked, verdict)
    log.info("runtime chosen", runtime=verdict.runtime, ratio=verdict.ratio, difference=verdict.difference)
    return reference if verdict.runtime == REFERENCE else opened(verdict.runtime)


def tried(asked: Choice, opened: Open, judges: Judges) -> tuple[Verdict, PairClassifier]:
    """The fastest runtime that agrees, or that which was asked for, and the reference that it was held against."""
    reference = opened(REFERENCE)
    test = SelfTest(reference, judges)
    best, began = Trial(REFERENCE, 1.0, 0.0), time.monotonic()
    for name in OTHERS if asked == "auto" else (asked,):
        trial = test.trial(name, opened)
        if trial.fault and asked != "auto":
            raise SettingsError(f"the runtime {asked} is no good for {reference.name}: {trial.fault}.")
        log.info("runtime tried", runtime=name, ratio=trial.ratio, difference=trial.difference, fault=trial.fault)
        if not trial.fault and (asked != "auto" or trial.ratio > best.ratio):
            best = trial
        if time.monotonic() - began > LIMIT_S:
            log.info("runtimes tried for long enough", last=name, limit_s=LIMIT_S)
            break
    return Verdict(best.runtime, best.ratio, best.difference), reference


class SelfTest:
    """Scores the same pairs with the reference and with another runtime, in turn, and compares."""

    def __init__(self, reference: PairClassifier, judges: Judges) -> None:
        self.reference = reference
        self.judges = judges
        self.batches = batches(reference)
        self.logits = scored(reference, self.batches)[0]

    def trial(self, name: Name, opened: Open) -> Trial:
        """How a runtime did: how many times as fast, the greatest difference of a chance, and what is wrong."""
        if lack := missing(name):
            return Trial(name, 0.0, 0.0, lack)
        try:
            other = opened(name)
            logits = scored(other, self.batches)[0]
            difference, fault = self.compared(logits)
            ratio = 0.0 if fault else self.ratio(other)
        except Exception as error:  # noqa: BLE001 - whatever a library raises: another runtime can do the work
            return Trial(name, 0.0, 0.0, f"{type(error).__name__}: {error}".rstrip("."))
        return Trial(name, round(ratio, 3), round(difference, 6), fault)

    def compared(self, logits: npt.NDArray[np.float32]) -> tuple[float, str]:
        """The greatest difference of a chance, and what is wrong with the scores."""
        if not np.isfinite(logits).all():
            return 1.0, "its scores are not all numbers"
        difference = float(np.abs(self.values(self.judges.chances, logits, minus=True)).max())
        if difference > TOLERANCE:
            return (
                difference,
                f"a score differs by {difference:.3f} from {REFERENCE}'s, and at most {TOLERANCE} is fine",
            )
        ours, theirs = self.values(self.judges.raw, self.logits), self.values(self.judges.raw, logits)
        if disordered(ours, theirs):
            return difference, f"it orders pairs otherwise than {REFERENCE} whose scores lie far apart"
        return difference, ""

    def values(
        self, judge: Judge, logits: npt.NDArray[np.float32], *, minus: bool = False
    ) -> npt.NDArray[np.float64]:
        """What the judge makes of the logits, ``minus`` what it makes of the reference's."""
        made = np.asarray(judge(logits), np.float64)
        return made - np.asarray(judge(self.logits), np.float64) if minus else made

    def ratio(self, other: PairClassifier) -> float:
        """How many times as fast as the reference; both ran once before, and by turns, so neighbours slow both."""
        ours = theirs = np.full(len(self.batches), np.inf)
        began = time.monotonic()
        for _ in range(ROUNDS):
            ours = np.minimum(ours, scored(self.reference, self.batches)[1])
            theirs = np.minimum(theirs, scored(other, self.batches)[1])
            if time.monotonic() - began > LIMIT_S / 4:
                break
        return float(ours.sum() / theirs.sum())


def scored(
    classifier: PairClassifier, work: Sequence[Sequence[Tokens]]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """The logits of all pairs, and the seconds of each batch."""
    logits, seconds = [], []
    for batch in work:
        began = time.perf_counter()
        logits.append(classifier.score(batch))
        seconds.append(time.perf_counter() - began)
    return np.concatenate(logits), np.asarray(seconds)


def disordered(reference: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> bool:
    """Whether two pairs whose scores lie far apart changed places."""
    far = CLEAR * (reference.max() - reference.min())
    above = reference[:, None] - reference[None, :] > far
    return bool((above & (other[:, None] <= other[None, :])).any())


def batches(classifier: PairClassifier) -> list[list[Tokens]]:
    """Questions beside passages from one sentence to a page, with the answer in every other one, by length."""
    pairs = [tokens for query, texts in probes() for tokens in classifier.tokenize(query, texts)]
    pairs.sort(key=len)
    return [pairs[first : first + BATCH] for first in range(0, len(pairs), BATCH)]


def probes(file: Path = probe.FILE) -> list[tuple[str, list[str]]]:
    """Four passages for each question: the answer and none, alone and among ever more that is beside the point."""
    questions = probe.read(file)[:QUESTIONS]
    made = []
    for number, question in enumerate(questions):
        wrong = [text for at, text in enumerate(question.passages) if at != question.right]
        others = [text for each in questions if each is not question for text in each.passages][: 2 + number]
        right = question.passages[question.right]
        beside = " ".join([*wrong[:1], *others])
        made.append((question.query, [right, wrong[0], f"{right} {beside}", beside]))
    return made
