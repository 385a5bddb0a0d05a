"""What waits for a model that hangs."""

import asyncio

from ragline.lanes import SLACK, Call, Item, Lane


async def test_items_that_were_given_up_do_not_pile_up() -> None:
    lane, call = Lane(), Call(asyncio.get_running_loop(), 1)
    first = Item("first", 1, 0, call, 0)
    lane.add(first)
    for order in range(1, 10 * SLACK):
        item = Item(b"large", 1, order, call, 0)
        lane.add(item)
        lane.remove(item)
    assert len(lane.arrivals) <= SLACK + 2
    assert lane.oldest() is first
    assert lane.take(8, 2.0) == [first]
