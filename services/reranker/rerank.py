"""Orders the passages of a search by how well they answer the query: score, sort, cut, whatever fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from ragline.errors import InvalidRequest, TooLarge
from services.reranker import figures
from services.reranker.attempts import CALLERS, Attempts, Failed
from services.reranker.chain import Budget, Safety, given
from services.reranker.keeping import Scores
from services.reranker.roster import Loaded, Roster
from services.reranker.scorers import Candidate, Match, Statistics
from services.reranker.scorers._calibration import Calibration
from services.reranker.scoring import Answer, Asked, Scoring
from services.reranker.trials import Trials

ASKED, SERVING, CANARY, FALLBACK = "asked", "serving", "canary", "fallback"


@dataclass(frozen=True, slots=True)
class Link:
    """A scorer to ask and why; no name is the one that serves when it is asked."""

    role: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that one request may hold; the settings of the same names."""

    max_passages: int = 1000
    max_passage_chars: int = 100_000
    max_query_chars: int = 4096
    max_total_chars: int = 10_000_000
    max_spans: int = 10_000


@dataclass(frozen=True, slots=True)
class Score:
    """The score of the candidate at ``index``: from 0 to 1, and ``raw`` as the scorer gave it.

    ``matches`` where they were asked for; ``spans`` are the raw scores of the candidate's spans.
    """

    index: int
    score: float
    matches: Sequence[Match] | None = None
    raw: float = 0.0
    spans: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Ranking:
    """The candidates' scores, best first, and the name of the scorer that gave them.

    ``scorer`` is empty where none could: the order is the one given. ``degraded`` names those that failed before;
    ``name:matches`` and ``name:spans`` where the scorer answered without them. ``trial``: it is a canary.
    """

    scores: Sequence[Score]
    scorer: str
    degraded: Sequence[str] = ()
    trial: bool = False


class Reranker:
    """Scores with one of several loaded scorers, and with the next one where that fails."""

    def __init__(
        self,
        roster: Roster,
        limits: Limits,
        kept: Scores | None = None,
        safety: Safety | None = None,
        trials: Trials | None = None,
        calibrations: Mapping[str, Calibration] | None = None,
    ) -> None:
        self.roster = roster
        self.limits = limits
        self.safety = safety or Safety()
        self.scoring = Scoring(kept or Scores(None, 0), calibrations or {})
        self.trials = trials or Trials(roster, calibrations)
        self.attempts = Attempts(self.safety.failures)

    async def rerank(
        self,
        query: str,
        candidates: Sequence[Candidate],
        *,
        top_n: int | None = None,
        statistics: Statistics | None = None,
        scorer: str | None = None,
        explain: bool = False,
    ) -> Ranking:
        """The ``top_n`` best candidates (None: all), best first; of equal scores the earlier candidate goes first.

        A scorer that fails, or takes its share of the budget, is followed by the next of the chain, at last by the
        order given; ``degraded`` says who failed. Raises InvalidRequest for an empty query or a scorer that is not
        loaded (or cannot explain), TooLarge over a limit, TimedOut after the deadline, and InvalidRequest and
        TooLarge of the scorer asked for.
        """
        self.check(query, candidates)
        asked = Asked(query, candidates, statistics, top_n, explain)
        links = self.links(asked, scorer)
        if not candidates:
            return Ranking([], scorer or self.roster.default)
        budget = Budget(self.safety.budget_s)
        degraded: list[str] = []
        for place, link in enumerate(links):
            # Looked up now: another may have come to serve while the one before was asked.
            name = link.name or self.roster.default
            if name in degraded:
                continue
            try:
                answer = await self.ask(name, link, asked, budget, len(links) - place - 1)
            except Failed as failed:
                degraded.append(name)
                figures.degraded(name, failed.reason)
                if link.role == CANARY:
                    self.trials.failed(name, failed.error, fair=failed.fair)
            else:
                return replace(ranking(name, answer, degraded), trial=link.role == CANARY)
        figures.unranked()
        scores = given(candidates)[:top_n]
        return Ranking([Score(index, score, raw=score) for index, score in enumerate(scores)], "", degraded)

    def links(self, asked: Asked, scorer: str | None) -> list[Link]:
        """Who is asked, in this order. Raises InvalidRequest for one that is not loaded or cannot explain."""
        if scorer == "":
            raise InvalidRequest("scorer is empty; leave it out for the one that serves.", field="scorer")
        first = [Link(ASKED, scorer)] if scorer else [Link(SERVING)]
        with self.roster.lease(scorer) as loaded:
            if asked.explain and not explains(loaded):
                raise InvalidRequest(f"The scorer {loaded.name} cannot explain its scores.", field="explain")
        canary = None if scorer else self.trials.pick(asked.query)
        if canary is not None and (not asked.explain or explains(self.roster.get(canary))):
            first.insert(0, Link(CANARY, canary))
        return [*first, *(Link(FALLBACK, name) for name in self.safety.fallback)]

    async def ask(self, name: str, link: Link, asked: Asked, budget: Budget, after: int) -> Answer:
        """What the scorer says, where ``after`` more stand behind it; raises Failed, and what is the caller's."""
        answer = Answer()
        work = partial(self.scoring.answer, asked, answer)
        try:
            await self.attempts.run(self.roster.lease(name), work, budget.share(after), fair=budget.fair)
        except Failed:
            if answer.scored is None:
                raise
        except CALLERS as error:
            # Nobody asked for a canary or a fallback, so what these cannot take is no fault of the request.
            if link.role in {ASKED, SERVING}:
                raise
            raise Failed("refused", error) from error
        for what in answer.missing():
            figures.degraded(name, what)
        if answer.took is not None:
            figures.scored(name, link.role, answer.took)
            if link.role == CANARY:
                self.trials.served(name, answer.took)
        if link.role == SERVING and answer.scored is not None:
            self.trials.shadow(asked, name, answer.scored, answer.took)
        return answer

    def check(self, query: str, candidates: Sequence[Candidate]) -> None:
        """Raise for an empty query and for what is over a limit, naming it."""
        if not query.strip():
            raise InvalidRequest("The query is empty; say what to look for.", field="query")
        within("query", "characters", len(query), "max_query_chars", self.limits.max_query_chars)
        within("passages", "passages", len(candidates), "max_passages", self.limits.max_passages)
        lengths = [len(candidate.text) for candidate in candidates]
        longest = max(range(len(lengths)), key=lengths.__getitem__, default=0)
        size, most = lengths[longest] if lengths else 0, self.limits.max_passage_chars
        within(f"passages[{longest}]", "characters", size, "max_passage_chars", most)
        within("passages", "characters in all", sum(lengths), "max_total_chars", self.limits.max_total_chars)
        spans = sum(len(candidate.spans) for candidate in candidates)
        within("passages", "spans in all", spans, "max_spans", self.limits.max_spans)


def explains(loaded: Loaded) -> bool:
    """Whether a scorer can say which words made its scores."""
    return getattr(loaded.scorer, "explain", None) is not None


def ranking(name: str, answer: Answer, failed: Sequence[str]) -> Ranking:
    """A scorer's answer as the caller gets it, after those that failed."""
    assert answer.scored is not None  # noqa: S101 - else the attempt had failed
    raw, chances = answer.scored.raw, answer.scored.calibrated
    matches, spans = answer.matches or {}, answer.spans or {}
    scores = [Score(i, chances[i], matches.get(i), raw[i], spans.get(i, ())) for i in answer.order]
    return Ranking(scores, name, [*failed, *(f"{name}:{what}" for what in answer.missing())])


def within(field: str, unit: str, size: int, limit: str, most: int) -> None:
    """Raise TooLarge where ``size`` is over ``most``, naming the setting."""
    if size > most:
        setting = f"RERANKER_{limit.upper()}"
        raise TooLarge(f"{field} has {size} {unit}, over the limit {setting}={most}.", field=field)
