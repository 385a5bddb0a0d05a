"""Words that say the opposite of each other: one instead of the other turns a claim or a question round."""

from __future__ import annotations

from services.generator.checks.evidence import fold

_PAIRS = """
first last, largest smallest, largest least, greatest least, biggest smallest, highest lowest, before after,
north south, east west, northern southern, eastern western, increase decrease, increased decreased, increasing
decreasing, more less, more fewer, most least, most fewest, early late, earlier later, earliest latest, old new,
older younger, oldest newest, oldest youngest, high low, higher lower, long short, longer shorter, longest
shortest, best worst, better worse, winning losing, won lost, win lose, winner loser, begin end, began ended,
beginning end, start stop, start end, started stopped, open closed, opened closed, male female, men women, man
woman, rich poor, same different, good bad, like dislike, always never, positive negative, with without, above
below, over under, minimum maximum, public private, legal illegal, possible impossible, strong weak, stronger
weaker, strongest weakest, hot cold, hottest coldest, light dark, easy difficult, easy hard, major minor, left
right, inside outside, arrive leave, arrived left, accept reject, accepted rejected, support oppose, supported
opposed, buy sell, bought sold, cause prevent, caused prevented, cheap expensive, full empty, front back, top
bottom, up down, upper lower, internal external, many few, allow forbid, allowed forbidden, success failure,
succeeded failed, succeed fail, true false, common rare, main secondary, gain lose, gained lost, rise fall, rose
fell, grow shrink, grew shrank, attack defend, attacked defended, enter exit, known unknown, complete
incomplete, dependent independent, direct indirect, formal informal, regular irregular, active inactive, able
unable, agree disagree, agreed disagreed, approve disapprove, include exclude, included excluded, majority
minority, ancestor descendant, parent child, teacher student, employer employee, wet dry, hard soft, fast slow,
faster slower, fastest slowest, safe dangerous, rural urban, day night, summer winter, love hate, remember
forget, create destroy, created destroyed, built destroyed, join leave, joined left, import export, richest
poorest, heaviest lightest, heavier lighter, wide narrow, wider narrower, deep shallow, thick thin, ancient
modern, permanent temporary, natural artificial, legalized banned, allowed banned, peace war, victory defeat,
ally enemy, encourage discourage, encouraged discouraged, discourages encourages, likely unlikely, popular
unpopular, equal unequal
"""


def _both() -> dict[str, frozenset[str]]:
    """Each folded word with its opposites."""
    found: dict[str, set[str]] = {}
    for pair in " ".join(_PAIRS.split()).split(", "):
        left, right = (fold(word) for word in pair.split())
        found.setdefault(left, set()).add(right)
        found.setdefault(right, set()).add(left)
    return {word: frozenset(others) for word, others in found.items()}


OPPOSITES = _both()
NONE: frozenset[str] = frozenset()


def opposites(word: str) -> frozenset[str]:
    """The opposites of a folded word, as far as they are known here."""
    return OPPOSITES.get(word, NONE)
