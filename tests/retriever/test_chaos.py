"""A few of the kills of ``python -m tests.retriever.chaos``, and that the ledger knows what is wrong."""

from pathlib import Path

import pytest

from tests.retriever import chaos
from tests.retriever.ledger import Ledger, passages


@pytest.mark.stack
async def test_nothing_is_lost_or_back_after_kills(tmp_path: Path) -> None:
    ledger = await chaos.run(tmp_path, kills=3, seed=11)
    assert ledger.counts["upserts"] > 0
    assert ledger.counts["checks"] >= 2


def test_both_states_are_right_until_a_request_is_answered() -> None:
    ledger = Ledger()
    ledger.ask("a", 1)
    assert ledger.states["a"] == {None, 1}
    assert ledger.settled("a") is None
    ledger.acknowledge("a", 1, 5)
    before = ledger.settled("a")
    assert before == (2, 1)
    ledger.ask("a", None)
    ledger.acknowledge("a", None, 4)
    assert ledger.settled("a") != before
    assert ledger.generation == 5
    assert list(ledger.alive()) == []


def test_versions_have_one_to_six_passages() -> None:
    assert {len(passages("a", version)) for version in range(100)} == set(range(1, 7))
