"""Who gets an LLM's next slot, and who none."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragline import context
from ragline.context import Caller
from ragline.errors import Overloaded, TimedOut
from services.generator.llms._bounds import Slots
from services.generator.llms._turns import Turns


def names(turns: Turns[str]) -> list[str]:
    return list(iter(turns.next, None))


def test_tenants_take_turns_then_their_clients() -> None:
    turns: Turns[str] = Turns()
    for at in range(90):
        turns.add(Caller("big", "a"), f"big a{at}")
    for at in range(2):
        turns.add(Caller("big", "b"), f"big b{at}")
        turns.add(Caller("small"), f"small {at}")
    assert len(turns) == 94
    assert names(turns)[:7] == ["big a0", "small 0", "big b0", "small 1", "big a1", "big b1", "big a2"]
    assert len(turns) == 0


def test_the_tenant_with_the_most_makes_room_for_others() -> None:
    turns: Turns[str] = Turns()
    for at in range(4):
        turns.add(Caller("big", "a"), f"big a{at}")
    turns.add(Caller("big", "b"), "big b")
    turns.add(Caller("small"), "small")
    assert turns.displaced(Caller("big", "c")) is None
    assert turns.displaced(Caller("small")) == "big a3"
    assert turns.displaced(Caller("new")) == "big a2"
    assert turns.remove(Caller("big", "b"), "big b")
    assert not turns.remove(Caller("big", "b"), "big b")
    assert turns.displaced(Caller("small")) is None  # both would have two, and then the other is the next to go
    assert names(turns) == ["big a0", "small", "big a1"]
    assert turns.displaced(Caller("new")) is None


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xy"), st.integers(0, 3)), max_size=60))
def test_nothing_is_lost_and_nobody_waits_longer_than_a_round(steps: list[tuple[str, str, int]]) -> None:
    turns: Turns[int] = Turns()
    inside: dict[int, Caller] = {}
    passed: Counter[str] = Counter()
    for number, (tenant, client, step) in enumerate(steps):
        if step:
            turns.add(Caller(tenant, client), number)
            inside[number] = Caller(tenant, client)
        elif (item := turns.next()) is not None:
            served = inside.pop(item).tenant
            waiting = {caller.tenant for caller in inside.values()} - {served}
            passed = Counter({name: passed[name] + 1 for name in waiting})
            assert max(passed.values(), default=0) <= 2  # as there are two others
        assert len(turns) == len(inside)
    assert sorted(iter(turns.next, None)) == sorted(inside)


async def queued(slots: Slots, caller: Caller, order: list[str], name: str) -> None:
    with context.bind(caller=caller):
        await slots.take()
        order.append(name)
        slots.give_back()


async def test_ten_of_one_tenant_are_done_before_ninety_of_another() -> None:
    slots = Slots(1, 100, "fair")
    await slots.take()
    order: list[str] = []
    async with asyncio.TaskGroup() as group:
        for _ in range(90):
            group.create_task(queued(slots, Caller("big"), order, "big"))
        for _ in range(10):
            group.create_task(queued(slots, Caller("small"), order, "small"))
        await asyncio.sleep(0)
        assert slots.waiting == 100
        slots.give_back()
    assert order[:20].count("small") == 10
    assert (slots.free, slots.waiting) == (1, 0)


async def test_a_full_queue_refuses_or_displaces() -> None:
    slots = Slots(1, 2, "full")
    await slots.take()
    order: list[str] = []
    big = [asyncio.create_task(queued(slots, Caller("big"), order, f"big {at}")) for at in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded, match="2 texts wait for full") as caught:
        await queued(slots, Caller("big"), order, "one too many")
    assert caught.value.retry_after_s == 1
    small = asyncio.create_task(queued(slots, Caller("small"), order, "small"))
    with pytest.raises(Overloaded):
        await big[1]
    slots.give_back()
    await asyncio.gather(small, big[0])
    assert order == ["big 0", "small"]


async def test_a_deadline_passes_while_waiting() -> None:
    slots = Slots(1, 2, "slow")
    await slots.take()
    with context.bind(timeout_s=0.01), pytest.raises(TimedOut, match="before slow had a slot"):
        await slots.take()
    assert (slots.free, slots.waiting) == (0, 0)
    slots.give_back()
    assert slots.free == 1


@pytest.mark.parametrize("handed_over", [False, True])
async def test_who_leaves_while_waiting_takes_no_slot(handed_over: bool) -> None:
    slots = Slots(1, 2, "left")
    await slots.take()
    order: list[str] = []
    leaves = asyncio.create_task(queued(slots, Caller("a"), order, "leaves"))
    stays = asyncio.create_task(queued(slots, Caller("b"), order, "stays"))
    await asyncio.sleep(0)
    if handed_over:
        slots.give_back()  # to the one that is about to leave
    leaves.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaves
    if not handed_over:
        slots.give_back()
    await stays
    assert order == ["stays"]
    assert (slots.free, slots.waiting) == (1, 0)


async def test_tells_how_long_to_stay_away() -> None:
    slots = Slots(1, 3, "steady")
    slots.every_s = 7.0
    await slots.take()
    waiting = [asyncio.create_task(slots.take()) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded) as caught:
        await slots.take()
    assert caught.value.retry_after_s == 21
    for task in waiting:
        task.cancel()
    slots.give_back()
    assert 0 <= slots.every_s <= 7
