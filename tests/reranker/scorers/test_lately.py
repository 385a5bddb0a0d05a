"""What was used lately is there, what was not is gone, whether anybody asks or not."""

import asyncio

from services.reranker.scorers._lately import Lately


async def test_what_was_used_lately_is_there() -> None:
    lately = Lately[str](100, 60)
    lately.put("a", "A", 10)
    assert (lately.get("a"), lately.get("b")) == ("A", None)
    lately.close()
    assert lately.get("a") is None


async def test_two_ages_without_use_and_it_is_gone() -> None:
    lately = Lately[str](100, 60)
    for key in ("used", "unused"):
        lately.put(key, key, 10)
    for _ in range(3):
        lately.turn()
        assert lately.get("used") == "used"
    assert lately.get("unused") is None
    lately.close()


async def test_bytes_are_bounded() -> None:
    lately = Lately[int](100, 60)
    for number in range(50):
        lately.put(str(number), number, 9)
        assert 9 * (len(lately.young) + len(lately.old)) <= 100
    assert [lately.get(str(number)) for number in (10, 47, 48, 49)] == [None, 47, 48, 49]
    lately.put("large", 1, 51)
    assert lately.get("large") is None
    lately.close()


async def test_it_forgets_without_being_asked_and_then_rests() -> None:
    lately = Lately[str](100, 0.002)
    lately.put("a", "A", 10)
    while lately.timer is not None:  # noqa: ASYNC110 - it calls nobody back
        await asyncio.sleep(0.001)
    assert not lately.young
    assert not lately.old
    lately.put("b", "B", 10)
    assert lately.get("b") == "B"
    lately.close()


async def test_none_are_kept_in_no_bytes() -> None:
    lately = Lately[str](0, 60)
    lately.put("a", "A", 10)
    assert lately.get("a") is None
    assert lately.timer is None
