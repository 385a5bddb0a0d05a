"""Which questions a canary gets, and when it gives up."""

import pytest

from ragline.errors import Unavailable
from ragline.metrics import REGISTRY
from services.reranker.canary import LEAST, Canary, place

QUESTIONS = [f"How is message {number} retried?" for number in range(4000)]


def withdrawals(scorer: str, reason: str) -> float:
    labels = {"scorer": scorer, "reason": reason}
    return REGISTRY.get_sample_value("ragline_reranker_canary_withdrawn_total", labels) or 0.0


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 1.0])
def test_its_share_is_within_the_bounds_of_chance(share: float) -> None:
    canary = Canary("new", share)
    taken = sum(map(canary.takes, QUESTIONS))
    deviation = (len(QUESTIONS) * share * (1 - share)) ** 0.5
    assert abs(taken - len(QUESTIONS) * share) <= 4 * deviation


def test_the_same_questions_in_every_process_and_version() -> None:
    # Pinned: replicas of two versions that run side by side must agree.
    assert place("new", "How is a lost message retried?") == pytest.approx(0.4642991073095299)
    assert place("new", " How is a lost message retried?\n") == place("new", "How is a lost message retried?")
    assert 0 <= place("new", "\ud800") < 1


def test_a_larger_share_has_the_questions_of_a_smaller_one() -> None:
    small, large = Canary("new", 0.1), Canary("new", 0.3)
    assert all(large.takes(question) for question in QUESTIONS if small.takes(question))


def test_another_canary_gets_others() -> None:
    one, other = Canary("new", 0.1), Canary("newer", 0.1)
    both = sum(one.takes(question) and other.takes(question) for question in QUESTIONS)
    assert both < 0.03 * len(QUESTIONS)


def test_it_withdraws_once_more_than_a_tenth_failed() -> None:
    canary, before = Canary("failing", 1.0), withdrawals("failing", "failures")
    for number in range(LEAST):
        assert canary.takes("any")
        if number < 3:
            canary.failed(Unavailable("It is away."))
        else:
            canary.served(0.01)
    assert not canary.takes("any")
    assert canary.reason == "3 of its last 20 requests failed"
    state = canary.describe()
    assert (state["state"], state["requests"], state["failures"]) == ("withdrawn", 20, 3)
    assert withdrawals("failing", "failures") == before + 1
    canary.failed(Unavailable("late"))
    assert withdrawals("failing", "failures") == before + 1


def test_it_says_the_last_failure() -> None:
    canary = Canary("away", 1.0)
    for _ in range(LEAST):
        canary.failed(Unavailable("It is away."))
    assert canary.reason == "20 of its last 20 requests failed, the last one: It is away."
    assert canary.p95_s() is None


def test_a_tenth_is_not_too_much_and_only_the_last_fifty_count() -> None:
    canary = Canary("fair", 1.0)
    for number in range(200):
        if number % 10 == 9:
            canary.failed(Unavailable("now and then"))
        else:
            canary.served(0.01)
    assert canary.takes("any")
    for _ in range(3):
        canary.failed(Unavailable("too often"))
    assert not canary.takes("any")


def test_it_withdraws_when_it_is_slow() -> None:
    canary, calm = Canary("slow", 1.0, max_p95_s=0.5), Canary("calm", 1.0)
    for number in range(LEAST):
        for each in (canary, calm):
            each.served(0.9 if number in {3, 7} else 0.1)
    assert canary.reason == "the 95th percentile of its times is 0.9 s, over 0.5 s"
    assert calm.takes("any")
    one = Canary("once", 1.0, max_p95_s=0.5)
    for number in range(LEAST):
        one.served(0.9 if number == 3 else 0.1)
    assert one.takes("any")
