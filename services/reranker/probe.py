"""Tries a scorer on questions with known answers before it serves: is it sound, steady, quick, and any good?"""

from __future__ import annotations

import asyncio
import itertools
import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from ragline.errors import InvalidRequest, RaglineError
from ragline.settings import SettingsError
from services.reranker.scorers import Candidate, Scorer

FILE = Path(__file__).with_name("probes.jsonl")
LUCK = 0.001  # how seldom a scorer that only guesses may pass
TIMED = 6  # rankings that are timed
PASSAGES = 20  # in each of them
STEADY = 3  # questions that are asked again, and in another order
TOLERANCE = 0.02  # of the spread of a question's scores; batches of other lengths round otherwise
LONG = "The quick brown fox jumps over the lazy dog. " * 333  # 3,000 words: longer than any model reads
EMOJI = "\N{SLIGHTLY SMILING FACE}\N{ZERO WIDTH JOINER}\N{ADULT}"
ODD = ("", " ", EMOJI, "nul \0 byte", "\u65e5\u672c\u8a9e", "\ufffd[SEP]")
ODD_QUERIES = (EMOJI, "?", LONG[:4000])
PLAIN = "What is it?"


class Question(BaseModel):
    """A query and passages of which ``right`` alone answers it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    query: Annotated[str, Field(min_length=1)]
    passages: Annotated[list[str], Field(min_length=2)]
    right: Annotated[int, Field(ge=0)]


@dataclass(frozen=True, slots=True)
class Report:
    """What came out: ``right`` of ``questions`` first, the median time of 20 short passages, and on how many of
    the questions the scorer that serves puts the same passage first (None: it was not asked, or did not answer).
    """

    questions: int
    right: int
    needed: int
    p50_ms: float
    agreement: float | None = None
    serving_right: int | None = None


def read(file: Path) -> list[Question]:
    """The questions in a file, one JSON object a line; raises SettingsError for one that is none."""
    adapter = TypeAdapter(Question)
    found = []
    try:
        lines = file.read_bytes().splitlines()
    except OSError as error:
        raise SettingsError(f"RERANKER_PROBES={file} cannot be read: {error.strerror}.") from error
    for number, line in enumerate(filter(None, lines), 1):
        try:
            question = adapter.validate_python(orjson.loads(line))
        except (orjson.JSONDecodeError, ValidationError) as error:
            raise SettingsError(f"{file}, line {number}, is no question: {error}") from None
        if question.right >= len(question.passages):
            raise SettingsError(f"{file}, line {number}: there is no passage {question.right}.")
        found.append(question)
    if not found:
        raise SettingsError(f"{file} holds no questions.")
    return found


def needed(questions: Sequence[Question]) -> int:
    """The fewest right answers that guessing reaches with a chance below ``LUCK``, at most all."""
    chances = [1.0]  # of 0, 1, 2 … right answers by guessing
    for question in questions:
        hit = 1 / len(question.passages)
        chances = [less * hit + same * (1 - hit) for less, same in itertools.pairwise([0.0, *chances, 0.0])]
    for count in range(len(questions)):
        if sum(chances[count:]) < LUCK:
            return count
    return len(questions)


async def sound(scorer: Scorer) -> None:
    """Raise InvalidRequest unless the scorer gives one finite number a passage, also for odd texts."""
    await ask(scorer, PLAIN, [*ODD, LONG])
    for query in ODD_QUERIES:
        await ask(scorer, query, ODD)
    if list(await scorer.score(PLAIN, [], None)):
        raise InvalidRequest("it gives scores where there are no passages", field="scorer")


async def ask(scorer: Scorer, query: str, texts: Sequence[str]) -> list[float]:
    """The scores of texts; raises InvalidRequest where they are not what a scorer promises."""
    scores = [float(score) for score in await scorer.score(query, [Candidate(text) for text in texts], None)]
    if len(scores) != len(texts):
        raise InvalidRequest(f"it gives {len(scores)} scores for {len(texts)} passages", field="scorer")
    bad = next((score for score in scores if not math.isfinite(score)), None)
    if bad is not None:
        raise InvalidRequest(f"it gives {bad} as a score", field="scorer")
    return scores


async def probe(
    scorer: Scorer, questions: Sequence[Question], *, limit_ms: float, serving: Scorer | None = None
) -> Report:
    """Ask the questions; raises InvalidRequest that says which check failed."""
    await sound(scorer)
    p50_ms = await timed(scorer, questions, limit_ms)
    await steady(scorer, questions[:STEADY])
    answers = [await ask(scorer, each.query, each.passages) for each in questions]
    least = needed(questions)
    right = sum(first(scores) == each.right for scores, each in zip(answers, questions, strict=True))
    if right < least:
        raise InvalidRequest(
            f"it puts the right passage first for {right} of {len(questions)} questions, where one that guesses "
            f"would reach {least - 1}; are its weights those of a reranker, with the right head and label?",
            field="scorer",
        )
    agreement, theirs = await compared(answers, questions, serving)
    return Report(len(questions), right, least, p50_ms, agreement, theirs)


async def timed(scorer: Scorer, questions: Sequence[Question], limit_ms: float) -> float:
    """The median time of ranking 20 passages, in ms; raises InvalidRequest where it is over the limit.

    No passage comes twice with a query, so nothing but what is kept of passages in a cache makes it look quicker.
    """
    texts = itertools.cycle(text for each in questions for text in each.passages)
    took: list[float] = []
    for number in range(TIMED):
        some = [next(texts) for _ in range(PASSAGES)]
        begun = time.perf_counter()
        await ask(scorer, questions[number % len(questions)].query, some)
        took.append((time.perf_counter() - begun) * 1000)
        # Half of them over the limit is a median over it: a scorer of a minute is not asked six times.
        if sum(each > limit_ms for each in took) > TIMED // 2:
            raise InvalidRequest(
                f"it takes {statistics.median(took):.0f} ms for {PASSAGES} short passages, over "
                f"RERANKER_PROBE_LIMIT_MS={limit_ms:g}",
                field="scorer",
            )
    return statistics.median(took)


async def steady(scorer: Scorer, questions: Sequence[Question]) -> None:
    """Raise InvalidRequest where the same input, or another order of the passages, gives other scores.

    One whose ``listwise`` is true looks at the passages together: it owes neither.
    """
    if getattr(scorer, "listwise", False):
        return
    for each in questions:
        scores = await ask(scorer, each.query, each.passages)
        again = await ask(scorer, each.query, each.passages)
        turned = (await ask(scorer, each.query, each.passages[::-1]))[::-1]
        slack = max(TOLERANCE * (max(scores) - min(scores)), 1e-6)
        if furthest(scores, again) > slack:
            raise InvalidRequest("it gives the same input other scores the second time", field="scorer")
        if furthest(scores, turned) > slack:
            raise InvalidRequest("its scores depend on the order of the passages", field="scorer")


async def compared(
    answers: Sequence[Sequence[float]], questions: Sequence[Question], serving: Scorer | None
) -> tuple[float | None, int | None]:
    """The share of questions where the serving scorer puts the same passage first, and how often it is right."""
    if serving is None:
        return None, None
    theirs = []
    try:
        for each in questions:
            theirs.append(best(await ask(serving, each.query, each.passages)))
            await asyncio.sleep(0)  # traffic goes first
    except RaglineError:
        return None, None
    same = sum(best(mine) == other for mine, other in zip(answers, theirs, strict=True))
    right = sum(other == each.right for other, each in zip(theirs, questions, strict=True))
    return same / len(questions), right


def best(scores: Sequence[float]) -> int:
    """Where the highest score is; of equals the earliest, as in a ranking."""
    return max(range(len(scores)), key=lambda index: scores[index])


def first(scores: Sequence[float]) -> int | None:
    """Where the highest score is; None where it is not alone."""
    top = max(scores)
    return scores.index(top) if list(scores).count(top) == 1 else None


def furthest(one: Sequence[float], other: Sequence[float]) -> float:
    """The largest difference of two lists of scores."""
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


def described(report: Report | None) -> dict[str, Any] | None:
    """The report as the wire has it."""
    if report is None:
        return None
    return {
        "questions": report.questions,
        "right": report.right,
        "needed": report.needed,
        "p50_ms": round(report.p50_ms, 3),
        "agreement": report.agreement,
        "serving_right": report.serving_right,
    }
