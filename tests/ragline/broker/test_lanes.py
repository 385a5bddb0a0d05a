"""Of each lane one after the other, in order, and never more at once than the limit."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from ragline.broker._lanes import Lanes


@given(st.lists(st.sampled_from("abc")), st.integers(1, 4), st.randoms())
def test_all_run_in_the_order_of_their_lane(lanes: list[str], limit: int, choice: Random) -> None:
    waiting: Lanes[int] = Lanes(limit)
    for number, lane in enumerate(lanes):
        waiting.add(lane, number)
    running: list[tuple[str, int]] = []
    done: list[tuple[str, int]] = []
    while len(done) < len(lanes):
        while started := waiting.start():
            running.append(started)
        busy = [lane for lane, _ in running]
        assert len(set(busy)) == len(busy) <= limit
        assert running
        ended = running.pop(choice.randrange(len(running)))
        waiting.end(ended[0])
        done.append(ended)
    for lane in "abc":
        assert [number for of, number in done if of == lane] == [n for n, of in enumerate(lanes) if of == lane]


def test_what_is_not_wanted_is_forgotten() -> None:
    waiting: Lanes[int] = Lanes(1)
    for number in range(4):
        waiting.add("a", number)
    assert waiting.start() == ("a", 0)
    assert waiting.start() is None
    waiting.keep(lambda number: number % 2 == 1)
    assert len(waiting) == 2
    waiting.end("a")
    assert waiting.start() == ("a", 1)
