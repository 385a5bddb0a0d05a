"""When a breaker lets calls through."""

import pytest

from ragline.breaker import Breaker


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker("test", first_s=1, longest_s=5, clock=clock)


def test_it_refuses_at_once_after_a_failure(breaker: Breaker, clock: Clock) -> None:
    assert breaker.admit()
    assert breaker.admit()
    breaker.failed(OSError())
    assert not breaker.closed
    assert not breaker.admit()
    clock.now += 0.9
    assert not breaker.admit()


def test_one_is_let_through_after_the_pause(breaker: Breaker, clock: Clock) -> None:
    breaker.failed(OSError())
    clock.now += 1
    assert breaker.admit()
    assert not breaker.admit()
    breaker.passed()
    assert breaker.closed
    assert breaker.admit()
    assert breaker.admit()


def test_the_pauses_grow_up_to_a_bound_and_begin_small_again(breaker: Breaker, clock: Clock) -> None:
    breaker.failed(OSError())
    for pause in (1, 2, 4, 5, 5):
        clock.now += pause - 0.1
        assert not breaker.admit()
        clock.now += 0.1
        assert breaker.admit()
        breaker.failed(OSError())
    clock.now += 5
    assert breaker.admit()
    breaker.passed()
    breaker.failed(OSError())
    clock.now += 1
    assert breaker.admit()


def test_several_in_a_row_may_be_needed(clock: Clock) -> None:
    breaker = Breaker("test", what="scorer", after=3, clock=clock)
    for _ in range(3):
        breaker.failed(OSError())
        breaker.failed(OSError())
        assert breaker.admit()
        breaker.passed()
    for _ in range(3):
        assert breaker.admit()
        breaker.failed(OSError())
    assert not breaker.admit()
    clock.now += 1
    assert breaker.admit()
    breaker.failed(OSError())
    assert not breaker.admit()


def test_those_under_way_when_it_opens_do_not_lengthen_the_pause(breaker: Breaker, clock: Clock) -> None:
    for _ in range(100):
        assert breaker.admit()
    for _ in range(100):
        breaker.failed(OSError())
    clock.now += 1
    assert breaker.admit()


def test_a_try_that_is_given_up_lets_the_next_one_try(breaker: Breaker, clock: Clock) -> None:
    breaker.failed(OSError())
    clock.now += 1
    assert breaker.admit()
    breaker.left()
    assert breaker.admit()


def test_a_late_success_of_before_closes_it(breaker: Breaker) -> None:
    assert breaker.admit()
    assert breaker.admit()
    breaker.failed(OSError())
    breaker.passed()
    assert breaker.closed
