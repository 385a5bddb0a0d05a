"""How a request wants to be searched: the same checks at both doors, with errors that name the field."""

from __future__ import annotations

from typing import TypedDict

from ragline.errors import InvalidRequest
from services.retriever.stores import MAX_SEQ

MODES = ("hybrid", "dense", "sparse", "auto")
FUSIONS = ("weighted", "rrf")
MAX_NEIGHBOURS = 10


class Wishes(TypedDict):
    """The fields of ``Request`` of the same names."""

    mode: str
    fusion: str | None
    dense_weight: float | None
    diversity: float
    neighbours: int
    collapse: bool
    wait_for: int


def checked(wishes: Wishes) -> Wishes:
    """The wishes, if they can be fulfilled; raises InvalidRequest."""
    one_of("mode", wishes["mode"], MODES)
    if wishes["fusion"] is not None:
        one_of("fusion", wishes["fusion"], FUSIONS)
    share("diversity", wishes["diversity"])
    if wishes["dense_weight"] is not None:
        share("dense_weight", wishes["dense_weight"])
        if wishes["fusion"] == "rrf":
            raise InvalidRequest(
                "dense_weight is of weighted fusion, and rrf goes by ranks alone; leave one of them out.",
                field="dense_weight",
            )
    if not 0 <= wishes["neighbours"] <= MAX_NEIGHBOURS:
        raise InvalidRequest(
            f"neighbours is {wishes['neighbours']}; it must be 0 to {MAX_NEIGHBOURS}.", field="neighbours"
        )
    if not 0 <= wishes["wait_for"] <= MAX_SEQ:
        raise InvalidRequest(
            "wait_for is no generation; take it from the answer of a write or of a job.", field="wait_for"
        )
    return wishes


def one_of(field: str, value: str, known: tuple[str, ...]) -> None:
    """Raise InvalidRequest for a word that means nothing here."""
    if value not in known:
        raise InvalidRequest(f"{field} is {value[:40]!r}; it must be one of {', '.join(known)}.", field=field)


def share(field: str, value: float) -> None:
    """Raise InvalidRequest for what is no share; also for nan."""
    if not 0 <= value <= 1:
        raise InvalidRequest(f"{field} is {value:g}; it must be from 0 to 1.", field=field)
