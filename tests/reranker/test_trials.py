"""Canary and shadow beside a scorer that serves."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from ragline import context
from ragline.errors import Conflict, InvalidRequest
from ragline.metrics import REGISTRY
from services.reranker.canary import LEAST
from services.reranker.chain import Safety
from services.reranker.rerank import Limits, Reranker
from services.reranker.scorers import Parts, Scorer
from services.reranker.scorers._calibration import Logistic
from services.reranker.scorers._open import Threaded
from services.reranker.trials import Trials
from tests.reranker.odd import FAILURES, Blocking, Odd, passages
from tests.reranker.rosters import roster


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> Iterator[None]:
    """Nobody reads the traces here, and making them readable takes long."""
    with capture_logs():
        yield


def reranker(scorers: dict[str, Scorer], safety: Safety | None = None, **options: Any) -> Reranker:
    loaded = roster(scorers)
    return Reranker(loaded, Limits(), safety=safety, trials=Trials(loaded, **options))


def state(chosen: Reranker, role: str = "shadow") -> dict[str, Any]:
    found = chosen.trials.describe()[role]
    assert isinstance(found, dict)
    return found


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"ragline_reranker_{name}", labels) or 0.0


async def settled(chosen: Reranker) -> None:
    """Wait until the shadow is at nothing."""
    await asyncio.gather(*chosen.trials.running)


# Canary.


async def test_a_canary_serves_its_questions_and_no_others() -> None:
    chosen = reranker({"old": Odd(), "new": Odd(sign=-1)})
    chosen.trials.begin_canary("new", 0.3)
    questions = [f"question {number}" for number in range(50)]
    scorers = [(await chosen.rerank(question, passages(3))).scorer for question in questions]
    assert set(scorers) == {"old", "new"}
    assert scorers == [chosen.trials.pick(question) or "old" for question in questions]
    assert state(chosen, "canary")["requests"] == scorers.count("new")
    assert metric("trial_share", role="canary", scorer="new") == 0.3
    assert chosen.trials.end_canary() == "new"
    assert {(await chosen.rerank(question, passages(3))).scorer for question in questions} == {"old"}
    assert metric("trial_share", role="canary", scorer="new") == 0.0
    assert chosen.trials.end_canary() is None


async def test_who_asks_for_a_scorer_gets_that_one() -> None:
    chosen = reranker({"old": Odd(), "new": Odd()})
    chosen.trials.begin_canary("new", 1.0)
    assert (await chosen.rerank("q", passages(1), scorer="old")).scorer == "old"
    assert (await chosen.rerank("q", passages(1))).scorer == "new"


@pytest.mark.parametrize("does", FAILURES)
async def test_a_broken_canary_harms_nobody_and_withdraws(does: str) -> None:
    chosen = reranker({"old": Odd(), "new": Odd(does)})
    chosen.trials.begin_canary("new", 1.0)
    rankings = [await chosen.rerank("q", passages(3)) for _ in range(LEAST + 1)]
    assert {each.scorer for each in rankings} == {"old"}
    assert [each.degraded for each in rankings] == [["new"]] * LEAST + [[]]
    assert state(chosen, "canary")["state"] == "withdrawn"
    assert state(chosen, "canary")["reason"].startswith("20 of its last 20 requests failed")


async def test_a_hanging_canary_leaves_the_serving_scorer_time() -> None:
    scorers = {"old": Odd(), "new": Odd("hang")}
    chosen = reranker({**scorers}, Safety((), 0.2))
    chosen.trials.begin_canary("new", 1.0)
    ranking = await chosen.rerank("q", passages(2))
    assert (ranking.scorer, ranking.degraded) == ("old", ["new"])
    assert state(chosen, "canary")["failures"] == 1
    with context.bind(timeout_s=0.05):
        assert (await chosen.rerank("q", passages(2))).degraded == ["new"]
    assert state(chosen, "canary")["failures"] == 1  # the caller was in a hurry


async def test_a_canary_that_serves_everybody_by_now_is_none() -> None:
    chosen = reranker({"old": Odd(), "new": Odd()})
    chosen.trials.begin_canary("new", 1.0)
    chosen.roster.switch("new")
    assert chosen.trials.pick("q") is None
    chosen.roster.switch("old")
    await chosen.roster.remove("new")
    assert (await chosen.rerank("q", passages(1))).degraded == []


@pytest.mark.parametrize("begin", ["begin_canary", "begin_shadow"])
async def test_what_cannot_begin(begin: str) -> None:
    trials = reranker({"old": Odd(), "new": Odd(), "newer": Odd()}).trials
    start: Callable[..., None] = getattr(trials, begin)
    for name, share, error, says in (
        ("newest", 0.5, InvalidRequest, "there is new, newer, old"),
        ("old", 0.5, Conflict, "serves already"),
        ("new", 0.0, InvalidRequest, "A share is over 0"),
        ("new", 1.1, InvalidRequest, "A share is over 0"),
    ):
        with pytest.raises(error, match=says):
            start(name, share)
    start("new", 0.5)
    with pytest.raises(Conflict, match="'new'; stop it first"):
        start("newer", 0.5)


# Shadow.


async def test_a_shadow_is_compared_with_what_was_served() -> None:
    chosen = reranker({"old": Odd(), "new": Odd(sign=-1)}, calibrations={"new": Logistic(1.0, -2.0)})
    before = metric("shadow_requests_total", scorer="new")
    chosen.trials.begin_shadow("new", 1.0)
    for _ in range(2):
        ranking = await chosen.rerank("q", passages(3), top_n=1)
        assert (ranking.scorer, [each.index for each in ranking.scores]) == ("old", [2])
        await settled(chosen)
    found = state(chosen)
    means = {what: mean["mean"] for what, mean in found["means"].items()}
    assert (found["requests"], found["failures"], found["dropped"]) == (2, 0, 0)
    assert (means["first"], means["overlap"], means["kendall"]) == (0.0, 1.0, -1.0)
    ours, theirs = [0.5, 0.7310585786, 0.8807970780], [0.8807970780, 0.7310585786, 0.5]
    assert means["difference"] == pytest.approx(sum(abs(a - b) for a, b in zip(ours, theirs, strict=True)) / 3)
    assert {mean["count"] for mean in found["means"].values()} == {2}
    assert metric("shadow_requests_total", scorer="new") == before + 2
    assert metric("shadow_agreement_sum", scorer="new", measure="overlap") >= 2
    assert metric("seconds_count", scorer="new", role="shadow") >= 2


async def test_the_shadow_gets_its_share_evenly() -> None:
    new = Odd()
    chosen = reranker({"old": Odd(), "new": new})
    chosen.trials.begin_shadow("new", 0.25)
    for _ in range(40):
        await chosen.rerank("the same question", passages(1))
        await settled(chosen)
    assert new.calls == 10


async def test_an_answer_never_waits_for_the_shadow() -> None:
    new = Odd("hang")
    chosen = reranker({"old": Odd(), "new": new}, timeout_s=60.0)
    before = metric("shadow_dropped_total", scorer="new")
    chosen.trials.begin_shadow("new", 1.0)
    with context.bind(timeout_s=30, request_id="one"):
        assert (await chosen.rerank("q", passages(2))).scorer == "old"
        await new.came.wait()
        assert [(await chosen.rerank("q", passages(2))).scorer for _ in range(5)] == ["old"] * 5
        # The request's deadline is none of the shadow's business.
        assert new.deadlines[0] is not None
        assert new.deadlines[0] > (context.deadline() or 0)
    assert (new.calls, state(chosen)["dropped"], len(chosen.trials.running)) == (1, 5, 1)
    assert metric("shadow_dropped_total", scorer="new") == before + 5
    new.go.set()
    await settled(chosen)
    assert state(chosen)["means"]["first"] == {"mean": 1.0, "count": 1}


async def test_an_answer_never_waits_for_the_shadows_thread(parts: Parts) -> None:
    blocking = Blocking()
    pool = parts.pool.branch()
    chosen = reranker({"old": Odd(), "new": Threaded(blocking, pool)}, timeout_s=60.0)
    chosen.trials.begin_shadow("new", 1.0)
    assert (await chosen.rerank("q", passages(2))).scorer == "old"
    await asyncio.to_thread(blocking.came.acquire)
    assert (await chosen.rerank("q", passages(2))).scorer == "old"
    assert not blocking.go.is_set()
    blocking.go.set()
    await settled(chosen)
    assert state(chosen)["means"]["first"]["count"] == 1


async def test_several_may_be_under_way_where_that_is_allowed() -> None:
    new = Odd("hang")
    chosen = reranker({"old": Odd(), "new": new}, timeout_s=60.0, concurrency=3)
    chosen.trials.begin_shadow("new", 1.0)
    for _ in range(5):
        await chosen.rerank("q", passages(2))
    assert (len(chosen.trials.running), state(chosen)["dropped"]) == (3, 2)
    assert chosen.trials.end_shadow() == "new"
    await asyncio.gather(*chosen.trials.running, return_exceptions=True)
    assert not chosen.trials.running
    assert chosen.roster.places["new"].users == 0


@pytest.mark.parametrize("does", [*FAILURES, "caller", "hang"])
async def test_a_broken_shadow_is_counted_and_nothing_else(does: str) -> None:
    chosen = reranker({"old": Odd(), "new": Odd(does)}, timeout_s=0.05 if does == "hang" else 60.0)
    chosen.trials.begin_shadow("new", 1.0)
    ranking = await chosen.rerank("q", passages(2))
    await settled(chosen)
    assert (ranking.scorer, ranking.degraded) == ("old", [])
    assert (state(chosen)["failures"], state(chosen)["means"]) == (1, {})
    assert state(chosen)["last_failure"]


async def test_only_what_the_serving_scorer_answered_is_compared() -> None:
    new = Odd()
    chosen = reranker({"old": Odd("nan"), "new": new, "third": Odd()}, Safety(("third",), 60.0))
    chosen.trials.begin_shadow("new", 1.0)
    await chosen.rerank("q", passages(2))
    await chosen.rerank("q", passages(2), scorer="third")
    await chosen.rerank("q", [])
    await settled(chosen)
    assert new.calls == 0


async def test_the_judge_says_whose_order_is_better() -> None:
    # The judge holds with the one that serves, which puts the higher numbers first.
    chosen = reranker({"old": Odd(), "new": Odd(sign=-1), "judge": Odd()})
    chosen.trials.begin_shadow("new", 1.0, "judge")
    await chosen.rerank("q", passages(3))
    await settled(chosen)
    assert (state(chosen)["wins"], state(chosen)["ties"], state(chosen)["losses"]) == (0, 0, 1)
    chosen.roster.switch("judge")
    chosen.trials.end_shadow()
    chosen.trials.begin_shadow("new", 1.0, "old")
    before = metric("shadow_wins_total", scorer="new", outcome="tie")
    await chosen.rerank("q", passages(1))
    await settled(chosen)
    assert (state(chosen)["wins"], state(chosen)["ties"], state(chosen)["losses"]) == (0, 1, 0)
    assert metric("shadow_wins_total", scorer="new", outcome="tie") == before + 1


async def test_a_shadow_can_win() -> None:
    chosen = reranker({"old": Odd(), "new": Odd(sign=-1), "judge": Odd(sign=-1)})
    chosen.trials.begin_shadow("new", 1.0, "judge")
    await chosen.rerank("q", passages(30))
    await settled(chosen)
    assert (state(chosen)["wins"], state(chosen)["losses"]) == (1, 0)


async def test_a_judge_that_fails_says_nothing() -> None:
    chosen = reranker({"old": Odd(), "new": Odd(sign=-1), "judge": Odd("nan")})
    chosen.trials.begin_shadow("new", 1.0, "judge")
    await chosen.rerank("q", passages(3))
    await settled(chosen)
    found = state(chosen)
    assert (found["wins"], found["ties"], found["losses"], found["unjudged"]) == (0, 0, 0, 1)
    assert found["means"]["first"]["count"] == 1


async def test_nobody_judges_in_their_own_case() -> None:
    chosen = reranker({"old": Odd(), "new": Odd(sign=-1), "late_interaction": Odd()})
    with pytest.raises(InvalidRequest, match="own case"):
        chosen.trials.begin_shadow("new", 1.0, "new")
    with pytest.raises(InvalidRequest, match="No scorer 'nobody'"):
        chosen.trials.begin_shadow("new", 1.0, "nobody")
    chosen.trials.begin_shadow("new", 1.0, "old")
    await chosen.rerank("q", passages(3))
    await settled(chosen)
    assert (state(chosen)["wins"], state(chosen)["losses"]) == (0, 0)
    chosen.trials.end_shadow()
    chosen.trials.begin_shadow("new", 1.0)
    assert state(chosen)["judge"] == "late_interaction"
    chosen.trials.end_shadow()
    chosen.trials.begin_shadow("late_interaction", 1.0)
    assert state(chosen)["judge"] == ""
    chosen.trials.end_shadow()
    chosen.roster.switch("late_interaction")
    chosen.trials.begin_shadow("new", 1.0)
    assert state(chosen)["judge"] == ""
    await chosen.trials.close()
    assert chosen.trials.describe() == {"canary": None, "shadow": None}
