import asyncio
import gc
import weakref

import pytest

from ragline.errors import Conflict, InvalidRequest, NotFound, Unavailable
from services.reranker.roster import Loaded, Roster
from services.reranker.scorers import Parts
from services.reranker.scorers._open import open_scorer
from services.reranker.settings import Choice
from tests.reranker import broken


def loaded(parts: Parts, name: str, scorer: str = "Guessing") -> Loaded:
    choice = Choice(scorer=f"tests.reranker.broken:{scorer}")
    return Loaded(name, open_scorer(choice.scorer, parts, {}), choice)


async def test_the_first_serves_until_there_is_a_switch(parts: Parts) -> None:
    roster = Roster([loaded(parts, "one"), loaded(parts, "two")])
    with roster.lease() as before:
        assert roster.switch("two") == "one"
        with roster.lease() as after:
            assert (before.name, after.name) == ("one", "two")
    assert roster.names() == ["one", "two"]


async def test_names_are_unique_and_known(parts: Parts) -> None:
    roster = Roster([loaded(parts, "one")])
    with pytest.raises(Conflict):
        roster.add(loaded(parts, "one"))
    with (
        pytest.raises(InvalidRequest, match="No scorer 'three' is loaded here; there is one"),
        roster.lease("three"),
    ):
        pass
    for refused in (roster.switch, roster.get):
        with pytest.raises(NotFound):
            refused("three")
    with pytest.raises(NotFound):
        await roster.remove("three")
    with pytest.raises(Conflict, match="serves"):
        await roster.remove("one")


async def test_a_scorer_is_closed_after_its_last_request(parts: Parts) -> None:
    broken.CLOSED.clear()
    roster = Roster([loaded(parts, "one"), loaded(parts, "two")])
    with roster.lease("two") as first:
        with roster.lease("two"):
            removal = asyncio.create_task(roster.remove("two"))
            await asyncio.sleep(0)
            assert roster.draining() == {"two": 2}
            assert roster.names() == ["one"]
            roster.add(loaded(parts, "two"))  # the name is free at once
            with roster.lease("two") as newer:
                assert newer is not first
        await asyncio.sleep(0)
        assert not removal.done()
        assert broken.CLOSED == []
    await removal
    assert broken.CLOSED == ["guessing"]
    assert roster.draining() == {}


async def test_nothing_of_a_removed_scorer_stays(parts: Parts) -> None:
    roster = Roster([loaded(parts, "one"), loaded(parts, "two")])
    there = weakref.ref(roster.get("one").scorer)
    with roster.lease():
        roster.switch("two")
    await roster.remove("one")
    gc.collect()
    assert there() is None


async def test_ready_where_the_serving_one_or_a_fallback_works(parts: Parts) -> None:
    roster = Roster([loaded(parts, "away", "Away"), loaded(parts, "good"), loaded(parts, "too", "Away")])
    for fallback in ([], ["too"]):
        with pytest.raises(Unavailable):
            await roster.check(fallback)
    await roster.check(["too", "good"])
    roster.switch("good")
    await roster.check()


async def test_one_that_does_not_close_holds_up_no_other(parts: Parts) -> None:
    broken.CLOSED.clear()
    roster = Roster([loaded(parts, "bad", "FailsToClose"), loaded(parts, "good")])
    await roster.close()
    assert broken.CLOSED == ["guessing"]
