"""Scorers as the service holds them, for tests that make their own."""

from collections.abc import Mapping

from services.reranker.roster import Loaded, Roster
from services.reranker.scorers import Scorer
from services.reranker.settings import Choice


def roster(scorers: Mapping[str, Scorer]) -> Roster:
    """The scorers by name; the first one serves."""
    return Roster([loaded(name, scorer) for name, scorer in scorers.items()])


def loaded(name: str, scorer: Scorer) -> Loaded:
    """A scorer under a name."""
    return Loaded(name, scorer, Choice(scorer="tests"))
