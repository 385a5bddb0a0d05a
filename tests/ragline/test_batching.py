"""Batching: everyone gets their own result, nothing waits for ever, and the bounds hold."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragline.batching import Batcher
from ragline.errors import Internal, Overloaded, RaglineError, Unavailable
from ragline.lanes import TURN

LIMIT_S = 60


class Model:
    """A model that squares numbers, notes its batches and can be held at a gate."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.entered.set()
        assert self.gate.wait(LIMIT_S)
        self.batches.append(list(items))
        return [item * item for item in items]

    def hold(self) -> None:
        self.gate.clear()
        self.entered.clear()

    async def until_entered(self) -> None:
        assert await asyncio.to_thread(self.entered.wait, LIMIT_S)


Make = Callable[..., Batcher[int, int]]


def make_batcher(
    run: Callable[[Sequence[int]], Sequence[int]],
    *,
    max_batch: int = 100,
    max_queue: int = 10_000,
    ageing: int = 4,
) -> Batcher[int, int]:
    return Batcher(
        run, size=lambda item: item, max_batch=max_batch, max_queue=max_queue, name="squares", ageing=ageing
    )


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    made: list[Batcher[int, int]] = []

    def build(
        run: Callable[[Sequence[int]], Sequence[int]], start: bool = True, **bounds: int
    ) -> Batcher[int, int]:
        batcher = make_batcher(run, **bounds)
        made.append(batcher)
        if start:
            batcher.start()
        return batcher

    yield build
    for batcher in made:
        await batcher.close()


async def queue(batcher: Batcher[int, int], items: Sequence[int], lane: int = 0) -> list[asyncio.Task[int]]:
    """Submit items one by one; they are queued when this returns."""
    tasks = [asyncio.create_task(batcher.submit(item, lane)) for item in items]
    await asyncio.sleep(0)
    return tasks


async def test_a_lone_item_runs_at_once(make: Make) -> None:
    model = Model()
    batcher = make(model)
    assert await batcher.submit(7) == 49
    assert await batcher.submit_many([3, 1, 2]) == [9, 1, 4]
    assert await batcher.submit_many([]) == []
    assert model.batches[0] == [7]


async def test_what_queued_while_the_model_was_busy_is_the_next_batch(make: Make) -> None:
    model = Model()
    model.hold()
    batcher = make(model)
    first = await queue(batcher, [5])
    await model.until_entered()
    rest = await queue(batcher, [4, 3, 2, 1])
    model.gate.set()
    assert await asyncio.gather(*first, *rest) == [25, 16, 9, 4, 1]
    assert model.batches == [[5], [1, 2, 3, 4]]


async def test_similar_lengths_go_together_under_the_padded_budget(make: Make) -> None:
    model = Model()
    batcher = make(model, start=False, max_batch=1_000)
    tasks = await queue(batcher, [500, 40, 450, 45, 480, 50, 5_000, 42])
    batcher.start()
    await asyncio.gather(*tasks)
    assert model.batches == [[480, 500], [40, 42, 45, 50], [450], [5_000]]


async def test_the_oldest_item_is_always_in_the_next_batch(make: Make) -> None:
    model = Model()
    batcher = make(model, start=False, max_batch=100)
    tasks = await queue(batcher, [100, *[10] * 25])
    batcher.start()
    await asyncio.gather(*tasks)
    assert [len(batch) for batch in model.batches] == [1, 10, 10, 5]


async def test_a_short_call_does_not_wait_for_all_of_a_long_one(make: Make) -> None:
    model = Model()
    batcher = make(model, start=False, max_batch=100)
    calls = [[10] * 200, [9, 9], [8] * 200, [7]]
    tasks = [asyncio.create_task(batcher.submit_many(call)) for call in calls]
    await asyncio.sleep(0)
    batcher.start()
    assert await asyncio.gather(*tasks) == [[item * item for item in call] for call in calls]
    first = {size: next(at for at, batch in enumerate(model.batches) if size in batch) for size in (10, 9, 8, 7)}
    assert first == {10: 0, 9: TURN, 8: TURN + 1, 7: 2 * TURN + 1}


@settings(max_examples=60, deadline=None)
@given(
    calls=st.lists(
        st.tuples(st.lists(st.integers(1, 400), max_size=12), st.integers(0, 1), st.booleans()), max_size=20
    ),
    max_batch=st.integers(1, 1_000),
)
async def test_everyone_gets_their_own_results_in_order(
    calls: list[tuple[list[int], int, bool]], max_batch: int
) -> None:
    model = Model()
    batcher = make_batcher(model, max_batch=max_batch, max_queue=10**6)
    tasks = [asyncio.create_task(batcher.submit_many(items, lane)) for items, lane, _ in calls]
    await asyncio.sleep(0)
    assert batcher.queued == sum(sum(items) for items, _, _ in calls)
    for task, (_, _, cancelled) in zip(tasks, calls, strict=True):
        if cancelled:
            task.cancel()
    await asyncio.sleep(0)
    batcher.start()
    results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), LIMIT_S)
    kept: list[int] = []
    for (items, _, cancelled), result in zip(calls, results, strict=True):
        if cancelled and items:
            assert isinstance(result, asyncio.CancelledError)
        else:
            assert result == [item * item for item in items]
            kept += items
    for batch in model.batches:
        assert len(batch) == 1 or len(batch) * max(batch) <= max_batch
        assert max(batch) <= max(32, 2 * min(batch))
    assert sorted(item for batch in model.batches for item in batch) == sorted(kept)
    assert batcher.queued == 0
    await batcher.close()


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(1, 60), max_size=30), max_queue=st.integers(1, 200))
async def test_the_queue_is_bounded_and_an_empty_one_takes_any(sizes: list[int], max_queue: int) -> None:
    batcher = make_batcher(Model(), max_queue=max_queue)
    expected: list[bool] = []
    waiting = 0
    for size in sizes:
        fits = waiting == 0 or waiting + size <= max_queue
        expected.append(fits)
        waiting += size if fits else 0
    tasks = await queue(batcher, sizes)
    assert batcher.queued == waiting
    batcher.start()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [not isinstance(result, Overloaded) for result in results] == expected
    assert all((result.retry_after_s or 0) >= 1 for result in results if isinstance(result, RaglineError))
    await batcher.close()


async def test_the_urgent_lane_goes_first_and_the_other_is_not_starved(make: Make) -> None:
    model = Model()
    batcher = make(model, start=False, max_batch=1, ageing=3)
    background = await queue(batcher, [10, 11, 12], lane=1)
    urgent = await queue(batcher, list(range(1, 9)))
    batcher.start()
    await asyncio.gather(*background, *urgent)
    assert model.batches == [[1], [2], [3], [10], [4], [5], [6], [11], [7], [8], [12]]


async def test_a_bad_item_fails_alone(make: Make) -> None:
    def run(items: Sequence[int]) -> list[int]:
        if 13 in items:
            raise ValueError("unlucky")
        return [item * item for item in items]

    batcher = make(run, start=False)
    tasks = await queue(batcher, [12, 13, 14])
    both = asyncio.create_task(batcher.submit_many([1, 13, 2]))
    await asyncio.sleep(0)
    batcher.start()
    good, bad, fine = await asyncio.gather(*tasks, return_exceptions=True)
    assert (good, fine) == (144, 196)
    assert isinstance(bad, ValueError)
    with pytest.raises(ValueError, match="unlucky"):
        await both
    assert batcher.healthy
    assert await batcher.submit(2) == 4


async def test_an_error_that_a_future_would_refuse_still_reaches_the_caller(make: Make) -> None:
    def run(_items: Sequence[int]) -> list[int]:
        raise StopIteration

    with pytest.raises(RuntimeError, match="StopIteration"):
        await asyncio.wait_for(make(run).submit(1), LIMIT_S)


async def test_a_wrong_number_of_results_fails_everyone_in_the_batch(make: Make) -> None:
    batcher = make(lambda items: [1] * (len(items) + 1), start=False)
    tasks = await queue(batcher, [1, 2])
    batcher.start()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [Internal, Internal]


async def test_a_cancelled_caller_costs_nothing(make: Make) -> None:
    model = Model()
    model.hold()
    batcher = make(model)
    first = await queue(batcher, [5])
    await model.until_entered()
    gone, kept = await queue(batcher, [6, 7])
    gone.cancel()
    await asyncio.sleep(0)
    assert batcher.queued == 7
    model.gate.set()
    assert await kept == 49
    assert await first[0] == 25
    assert model.batches == [[5], [7]]


async def test_a_caller_cancelled_while_its_item_runs_harms_nobody(make: Make) -> None:
    model = Model()
    model.hold()
    batcher = make(model)
    (task,) = await queue(batcher, [5])
    await model.until_entered()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    model.gate.set()
    assert await batcher.submit(6) == 36


async def test_a_dead_worker_fails_its_callers(make: Make) -> None:
    entered, gate = threading.Event(), threading.Event()

    def run(_items: Sequence[int]) -> list[int]:
        entered.set()
        assert gate.wait(LIMIT_S)
        raise SystemExit

    batcher = make(run)
    running = await queue(batcher, [1])
    assert await asyncio.to_thread(entered.wait, LIMIT_S)
    waiting = await queue(batcher, [2, 3])
    gate.set()
    results = await asyncio.wait_for(asyncio.gather(*running, *waiting, return_exceptions=True), LIMIT_S)
    assert [type(result) for result in results] == [Unavailable] * 3
    assert not batcher.healthy
    with pytest.raises(Unavailable, match="worker died"):
        await batcher.submit(4)


async def test_closing_finishes_the_batch_in_hand_and_fails_the_waiting(make: Make) -> None:
    model = Model()
    model.hold()
    batcher = make(model)
    running = await queue(batcher, [5])
    await model.until_entered()
    waiting = await queue(batcher, [6])
    closing = asyncio.create_task(batcher.close())
    with pytest.raises(Unavailable, match="shutting down"):
        await waiting[0]
    model.gate.set()
    await closing
    assert await running[0] == 25
    with pytest.raises(Unavailable):
        await batcher.submit(7)
    await batcher.close()
    assert not batcher.healthy


async def test_one_that_was_never_started_is_not_healthy_and_closes(make: Make) -> None:
    batcher = make(Model(), start=False)
    assert not batcher.healthy
    (task,) = await queue(batcher, [1])
    await batcher.close()
    with pytest.raises(Unavailable):
        await task


async def test_callers_on_several_loops_are_served(make: Make) -> None:
    batcher = make(Model(), max_queue=10**6)

    async def many(start: int) -> list[int]:
        return await asyncio.gather(*(batcher.submit(n) for n in range(start, start + 50)))

    loops = [asyncio.to_thread(asyncio.run, many(start)) for start in (1, 101, 201)]
    results = await asyncio.gather(*loops, many(301))
    for start, result in zip((1, 101, 201, 301), results, strict=True):
        assert result == [n * n for n in range(start, start + 50)]


async def test_a_loop_that_has_gone_harms_nobody(make: Make) -> None:
    model = Model()
    model.hold()
    batcher = make(model)
    loop = asyncio.new_event_loop()

    def begin_and_leave() -> None:
        left.append(loop.create_task(batcher.submit(5)))
        loop.run_until_complete(asyncio.sleep(0))
        loop.set_exception_handler(lambda *_: None)  # it would complain of the task that is left behind
        loop.close()

    left: list[asyncio.Task[int]] = []
    await asyncio.to_thread(begin_and_leave)
    await model.until_entered()
    model.gate.set()
    assert await batcher.submit(6) == 36
    assert not left[0].done()
