"""What comes back when scorers fail: who is asked next, in which time, and that it is always a ranking."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from ragline import context
from ragline.errors import InvalidRequest, RaglineError
from ragline.metrics import REGISTRY
from services.reranker.attempts import FIRST_PAUSE_S, STUCK
from services.reranker.chain import Budget, Safety
from services.reranker.chain import given as given_scores
from services.reranker.rerank import Limits, Ranking, Reranker
from services.reranker.roster import Roster
from services.reranker.scorers import Candidate, Parts
from services.reranker.scorers._open import Threaded
from services.reranker.scorers.overlap import Overlap
from tests.reranker.odd import FAILURES, REASONS, Blocking, Explaining, Odd, passages
from tests.reranker.rosters import roster

PATIENT = Safety(("second",), budget_s=60.0)


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> Iterator[None]:
    """Nobody reads the traces here, and making them readable takes long."""
    with capture_logs():
        yield


def reranker(scorers: dict[str, Odd], safety: Safety = PATIENT) -> Reranker:
    return Reranker(roster(scorers), Limits(), safety=safety)


def order(ranking: Ranking) -> list[int]:
    return [each.index for each in ranking.scores]


def counted(scorer: str, reason: str) -> float:
    labels = {"scorer": scorer, "reason": reason}
    return REGISTRY.get_sample_value("ragline_reranker_degraded_total", labels) or 0.0


def users(scorers: Roster) -> list[int]:
    return [place.users for place in scorers.places.values()]


@pytest.mark.parametrize("does", FAILURES)
@pytest.mark.parametrize("link", ["asked", "serving", "canary", "fallback"])
async def test_whatever_fails_the_next_one_answers(does: str, link: str) -> None:
    scorers = {"first": Odd(), "second": Odd(), "third": Odd(), "broken": Odd(does)}
    chosen = reranker(scorers, Safety(("second", "third"), 60.0))
    asked, failed, scorer = None, ["broken"], "second"
    if link == "asked":
        asked = "broken"
    elif link == "serving":
        chosen.roster.switch("broken")
    elif link == "canary":
        chosen.trials.begin_canary("broken", 1.0)
        scorer = "first"
    else:
        scorers["first"].does = "unavailable"
        chosen.safety = replace(chosen.safety, fallback=("broken", "third"))
        failed, scorer = ["first", "broken"], "third"
    before = counted("broken", REASONS.get(does, does))
    ranking = await chosen.rerank("q", passages(3), scorer=asked)
    assert (order(ranking), ranking.scorer, ranking.degraded) == ([2, 1, 0], scorer, failed)
    assert counted("broken", REASONS.get(does, does)) == before + 1
    assert not any(users(chosen.roster))


@pytest.mark.parametrize("calibration", [lambda raw: float("nan"), lambda raw: 1 / 0, "no function"])
async def test_a_broken_calibration_is_a_failure_like_others(calibration: object) -> None:
    broken = Odd()
    broken.calibration = calibration
    ranking = await reranker({"first": broken, "second": Odd()}).rerank("q", passages(2))
    assert (ranking.scorer, ranking.degraded) == ("second", ["first"])


async def test_what_nobody_foresaw_is_logged_with_its_trace_and_never_shown() -> None:
    with capture_logs() as logs:
        ranking = await reranker({"first": Odd("error"), "second": Odd()}).rerank("q", passages(1))
    [line] = [each for each in logs if each["event"] == "scorer failed"]
    assert (line["scorer"], str(line["exc_info"])) == ("first", "a secret of the scorer")
    assert "secret" not in str(ranking)


@pytest.mark.parametrize("does", ["caller", "large"])
@pytest.mark.parametrize("scorer", [None, "first"])
async def test_what_is_the_callers_to_mend_is_not_fallen_back_from(does: str, scorer: str | None) -> None:
    scorers = {"first": Odd(does), "second": Odd()}
    with pytest.raises(RaglineError, match="The scorer takes no"):
        await reranker(scorers).rerank("q", passages(2), scorer=scorer)
    assert scorers["second"].calls == 0


@pytest.mark.parametrize("does", ["caller", "large"])
async def test_nobody_asked_for_a_canary_or_a_fallback_so_they_refuse_nothing(does: str) -> None:
    scorers = {"first": Odd("unavailable"), "second": Odd(does), "canary": Odd(does)}
    chosen = reranker(scorers)
    chosen.trials.begin_canary("canary", 1.0)
    ranking = await chosen.rerank("q", passages(2))
    assert (ranking.scorer, ranking.degraded) == ("", ["canary", "first", "second"])


async def test_a_fallback_that_is_not_loaded_any_more_is_named_too() -> None:
    ranking = await reranker({"first": Odd("nan")}, Safety(("gone", "first"), 60.0)).rerank("q", passages(2))
    assert (ranking.scorer, ranking.degraded) == ("", ["first", "gone"])


async def test_a_hanging_scorer_leaves_the_next_one_time() -> None:
    scorers = {"first": Odd("hang"), "second": Odd()}
    with context.bind(timeout_s=60):
        ranking = await reranker(scorers, Safety(("second",), 0.3)).rerank("q", passages(2))
    await scorers["first"].left.wait()
    assert (ranking.scorer, ranking.degraded) == ("second", ["first"])
    deadlines = [scorers[name].deadlines[0] for name in ("first", "second")]
    assert deadlines[0] is not None
    assert deadlines[1] is not None
    assert deadlines[0] < deadlines[1]


async def test_all_hang_and_the_order_given_is_back_before_the_deadline() -> None:
    chosen = reranker({"first": Odd("hang"), "second": Odd("hang")}, Safety(("second",), 60.0))
    with context.bind(timeout_s=0.3):
        ranking = await chosen.rerank("q", passages(3), top_n=2)
        assert context.remaining_s(1) > 0
    assert (order(ranking), ranking.scorer, ranking.degraded) == ([0, 1], "", ["first", "second"])
    # The caller gave too little time, so nobody is to blame.
    assert all(breaker.in_a_row == 0 for breaker in chosen.attempts.breakers.values())


def test_a_budget_is_split_so_that_each_has_its_turn() -> None:
    budget = Budget(90.0)
    assert [round(budget.share(after)) for after in (0, 1, 2)] == [90, 60, 45]
    with context.bind(timeout_s=10):
        assert round(Budget(90.0).share(0)) == 9
        assert not Budget(90.0).fair
        assert Budget(5.0).fair


async def test_a_scorer_that_fails_again_and_again_is_skipped_then_tried_then_back() -> None:
    scorers = {"first": Odd("unavailable"), "second": Odd()}
    chosen, now = reranker(scorers, Safety(("second",), 60.0, failures=3)), 1000.0
    breaker = chosen.attempts.breaker(chosen.roster.get("first"))
    breaker.clock = lambda: now
    rankings = [await chosen.rerank("q", passages(2)) for _ in range(5)]
    assert {(each.scorer, tuple(each.degraded)) for each in rankings} == {("second", ("first",))}
    assert scorers["first"].calls == 3
    assert counted("first", "skipped") >= 2
    now += FIRST_PAUSE_S
    await chosen.rerank("q", passages(2))
    await chosen.rerank("q", passages(2))
    assert scorers["first"].calls == 4
    scorers["first"].does = ""
    now += 2 * FIRST_PAUSE_S
    ranking = await chosen.rerank("q", passages(2))
    assert (ranking.scorer, ranking.degraded, scorers["first"].calls) == ("first", [], 5)


async def test_another_scorer_of_the_same_name_begins_with_a_clean_sheet() -> None:
    chosen = reranker({"first": Odd("unavailable"), "second": Odd()}, Safety((), 60.0, failures=1))
    await chosen.rerank("q", passages(1))
    assert (await chosen.rerank("q", passages(1))).degraded == ["first"]
    chosen.roster.switch("second")
    await chosen.roster.remove("first")
    chosen.roster.add(roster({"first": Odd()}).get("first"))
    assert (await chosen.rerank("q", passages(1), scorer="first")).degraded == []


async def test_a_caller_who_leaves_takes_the_call_along() -> None:
    scorers = {"first": Odd("hang"), "second": Odd()}
    chosen = reranker(scorers)
    asking = asyncio.ensure_future(chosen.rerank("q", passages(2)))
    await scorers["first"].came.wait()
    assert users(chosen.roster) == [1, 0]
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await scorers["first"].left.wait()
    await asyncio.sleep(0)
    assert users(chosen.roster) == [0, 0]
    assert scorers["second"].calls == 0
    assert chosen.attempts.breaker(chosen.roster.get("first")).in_a_row == 0


async def test_calls_that_cannot_be_ended_pile_up_to_a_bound_and_keep_the_scorer_open() -> None:
    scorers = {"first": Odd("stay")}
    chosen = reranker(scorers, Safety((), 0.01, failures=1000))
    for _ in range(STUCK + 3):
        assert (await chosen.rerank("q", passages(1))).degraded == ["first"]
    assert scorers["first"].calls == STUCK
    assert users(chosen.roster) == [STUCK]
    scorers["first"].go.set()
    scorers["first"].does = ""
    async with asyncio.timeout(60):
        await chosen.roster.places["first"].free.wait()
    chosen.safety = Safety((), 60.0)
    assert (await chosen.rerank("q", passages(1))).degraded == []


async def test_threads_that_hang_leave_other_scorers_theirs(parts: Parts) -> None:
    blocking = Blocking()
    pool = parts.pool.branch()
    scorers = roster({"first": Threaded(blocking, pool), "second": Overlap(parts.pool.branch(), 0.6, 0.3, 0.3)})
    chosen = Reranker(scorers, Limits(), safety=Safety(("second",), 0.2, failures=1000))
    for _ in range(pool.threads):
        assert (await chosen.rerank("passage 1", passages(2))).scorer == "second"
    assert pool.abandoned == pool.threads
    before = counted("first", "overloaded")
    assert order(await chosen.rerank("passage 1", passages(2))) == [1, 0]
    assert counted("first", "overloaded") == before + 1
    pool.close()
    blocking.go.set()
    for thread in blocking.threads:
        await asyncio.to_thread(thread.join)
    assert (pool.abandoned, pool.waiting) == (0, 0)


async def test_many_at_once_each_get_their_own() -> None:
    class Flaky(Odd):
        async def score(self, query: str, passages: Sequence[Candidate], statistics: object) -> Sequence[float]:
            await asyncio.sleep(0)
            if int(query) % 3 == 0:
                raise ZeroDivisionError
            return [-abs(int(query) - index) for index in range(len(passages))]

    chosen = reranker({"first": Flaky(), "second": Odd()}, Safety(("second",), 60.0, failures=1000))
    rankings = await asyncio.gather(*(chosen.rerank(str(n), passages(30), top_n=1) for n in range(30)))
    for n, ranking in enumerate(rankings):
        expected = (29, "second", ["first"]) if n % 3 == 0 else (n, "first", [])
        assert (ranking.scores[0].index, ranking.scorer, ranking.degraded) == expected


@pytest.mark.parametrize("explains", ["error", "unavailable", "caller", "few", "hang"])
async def test_scores_stand_without_their_explanation(explains: str) -> None:
    scorer = Explaining()
    scorer.explains = explains
    chosen = Reranker(roster({"first": scorer}), Limits(), safety=Safety((), 0.2 if explains == "hang" else 60.0))
    ranking = await chosen.rerank("q", passages(2), explain=True)
    assert (order(ranking), ranking.scorer, ranking.degraded) == ([1, 0], "first", ["first:matches"])
    assert ranking.scores[0].matches is None


async def test_a_fallback_or_a_canary_need_not_explain() -> None:
    scorers = {"first": Explaining("nan"), "second": Odd(), "canary": Odd()}
    chosen = reranker(scorers)
    chosen.trials.begin_canary("canary", 1.0)
    ranking = await chosen.rerank("q", passages(2), explain=True)
    assert (ranking.scorer, ranking.degraded, scorers["canary"].calls) == ("second", ["first"], 0)
    assert ranking.scores[0].matches is None
    with pytest.raises(InvalidRequest, match="second cannot explain"):
        await chosen.rerank("q", passages(2), scorer="second", explain=True)


@pytest.mark.parametrize(
    ("fused", "dense", "expected"),
    [
        ([0.9, 0.6, 0.4], [None] * 3, [1.0, 0.4, 0.0]),
        ([None] * 3, [0.9, 0.6, 0.4], [1.0, 0.4, 0.0]),
        ([0.9, None, 0.4], [3.0, 3.0, 1.0], [1.0, 1.0, 0.0]),
        ([0.4, 0.6, 0.9], [None] * 3, [1.0, 2 / 3, 1 / 3]),
        ([0.4, 0.4, 0.4], [None] * 3, [1.0, 2 / 3, 1 / 3]),
        ([0.4], [None], [1.0]),
    ],
)
def test_the_order_given_has_the_searchs_scores_where_they_fall(
    fused: list[float | None], dense: list[float | None], expected: list[float]
) -> None:
    candidates = [Candidate("", dense_score=d, fused=f) for f, d in zip(fused, dense, strict=True)]
    assert given_scores(candidates) == pytest.approx(expected)


NUMBERS = st.none() | st.floats(-1e6, 1e6)


@settings(max_examples=60, deadline=None)
@given(
    does=st.lists(st.sampled_from(["", *FAILURES, "caller"]), min_size=1, max_size=4),
    canary=st.booleans(),
    fused=st.lists(NUMBERS, min_size=1, max_size=8),
    top_n=st.none() | st.integers(1, 10),
)
async def test_it_is_always_a_permutation(
    does: list[str], canary: bool, fused: list[float | None], top_n: int | None
) -> None:
    scorers = {str(place): Odd(what) for place, what in enumerate(does)} | {"canary": Odd("error")}
    chosen = reranker(scorers, Safety(tuple(scorers)[1:-1], 60.0))
    if canary:
        chosen.trials.begin_canary("canary", 1.0)
    asked = [replace(each, fused=score) for each, score in zip(passages(len(fused)), fused, strict=True)]
    try:
        ranking = await chosen.rerank("q", asked, top_n=top_n)
    except InvalidRequest:
        assert does[0] == "caller"
        return
    places, count = order(ranking), len(fused)
    assert len(places) == min(count, top_n or count)
    assert set(places) <= set(range(count))
    assert len(set(places)) == len(places)
    scores = [each.score for each in ranking.scores]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    works = next((place for place, what in enumerate(does) if not what), None)
    assert ranking.scorer == ("" if works is None else str(works))
    assert ranking.degraded == ["canary"] * canary + [str(place) for place in range(len(does))][:works]
    if works is None:
        assert places == list(range(len(places)))
