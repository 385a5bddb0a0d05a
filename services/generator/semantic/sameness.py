"""Says whether two questions may be taken for the same, by what they turn on: never by how near they are alone.

Two questions can share all words but one and ask for something else: another year, name or unit, a "not", the
other way round. So numbers, quotations, names, negations, comparatives and opposites, units, persons, tenses, what
is asked and the order of words have to agree; a word that only one has must mean what one of the other's does.
What is not certain is refused: a refusal costs a little time, an error a wrong answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

from services.generator.checks.citations import stem
from services.generator.checks.evidence import PLAIN, WORD, fold, words
from services.generator.semantic.lexicon import (
    AROUND,
    ASKED,
    EMPTY,
    FUTURE,
    LEAST_ROOT,
    NEGATIONS,
    NUMBERS,
    PAST,
    PERSONS,
    PREFIXES,
    PREPOSITIONS,
    PRESENT,
    TURNING,
    UNITS,
)

Near = Callable[[bool, "Word"], int]

_QUOTED = re.compile(
    r'"([^"]+)"|\u201c([^\u201d]+)\u201d|\u201e([^\u201c\u201d]+)[\u201c\u201d]|\u00ab([^\u00bb]+)\u00bb|`([^`]+)`'
    r"|(?<!\w)['\u2018]([^'\u2019]+)['\u2019](?!\w)"
)
_AROUND = re.compile(rf"^(?:(?:{'|'.join(AROUND)})\b[\s,:]*)+(?:me\b\s*)?", re.IGNORECASE)
_WHEN = re.compile(r"\b(?:in|on)?\s*(?:what|which) year\b", re.IGNORECASE)
_WHERE = re.compile(r"\b(?:at|in|on) (?:what|which) (?:place|location)\b", re.IGNORECASE)
_SYMBOLS = re.compile(r"[$\u20ac\u00a3\u00a5%\u00b0+#<>=&@/\\*^~|-]")
_ASKING = ("who", "whom", "whose", "what", "which", "when", "where", "why", "how")
_SAME_ASKING = {"whom": "who", "which": "what", "whose": "whose"}
_BE = frozenset(words("is are was were do does did can could may might must shall should will would has have had"))


@dataclass(frozen=True)
class Word:
    """A word of a question: as it stands there, as it is compared, and the one before it."""

    text: str
    form: str
    before: str
    start: int
    end: int


class Sense:
    """What a question turns on."""

    def __init__(self, question: str) -> None:
        plain = _AROUND.sub("", question.lstrip()) or question
        found = [match.group() for match in WORD.finditer(plain)]
        folded = [fold(word) for word in found]
        self.quotes = tuple(sorted(" ".join(filter(None, q)).casefold() for q in _QUOTED.findall(question)))
        self.symbols = tuple(sorted(_SYMBOLS.findall(question)))
        self.numbers = tuple(sorted(filter(None, map(counted, folded))))
        self.negations = sum(word in NEGATIONS or word.endswith("n't") for word in folded) % 2
        self.asks, asked = asking(plain, folded)
        self.turning = tuple(sorted({maximal(w) for w in folded if w in TURNING} - asked))
        self.units = tuple(sorted({UNITS[w.casefold()] for w in found if w.casefold() in UNITS} - asked))
        self.persons = tuple(sorted({PERSONS[w] for w in folded if w in PERSONS}))
        self.tense = tense(folded)
        self.names = {fold(word) for word in found[1:] if word[:1].isupper() and word != "I"} - PLAIN
        self.words = [
            each for each in content(question, len(question) - len(plain)) if fold(each.text) not in asked
        ]
        self.forms = [each.form for each in self.words]


def content(question: str, begin: int) -> list[Word]:
    """The words from ``begin`` on that say what it is about, in order."""
    found: list[Word] = []
    before = ""
    for match in WORD.finditer(question, begin):
        word = fold(match.group())
        if word not in PLAIN and word not in NEGATIONS:
            form = counted(word) or UNITS.get(match.group().casefold()) or stem(word)
            found.append(Word(match.group(), form, before, match.start(), match.end()))
            before = ""
        elif word in PREPOSITIONS:
            before = PREPOSITIONS[word]
    return found


def counted(word: str) -> str:
    """A number in one spelling; empty for what is none."""
    if any(letter.isdigit() for letter in word):
        return re.sub(r"(?<=\d)(?:st|nd|rd|th)$", ".", word.replace(",", ""))
    return NUMBERS.get(word, "")


def maximal(word: str) -> str:
    """A word that turns a question, in one spelling."""
    return {
        "soonest": "earliest",
        "newest": "latest",
        "big": "large",
        "biggest": "largest",
        "bigger": "larger",
    }.get(word, word)


def tense(folded: Iterable[str]) -> str:
    """Past, present or future, where it can be told; else empty."""
    found = set(folded)
    marks = [name for name, of in (("past", PAST), ("present", PRESENT), ("future", FUTURE)) if of & found]
    return marks[0] if len(marks) == 1 else ""


def asking(question: str, folded: list[str]) -> tuple[str, set[str]]:
    """What kind of answer is asked for, and the words that say so."""
    if when := _WHEN.search(question):
        return "when", {fold(word) for word in when.group().split()}
    if where := _WHERE.search(question):
        return "where", {fold(word) for word in where.group().split()}
    for at, word in enumerate(folded):
        if word in _ASKING:
            following = folded[at + 1] if at + 1 < len(folded) else ""
            if word == "how" and following in ASKED:
                return (
                    ("how often", {following}) if following == "frequently" else (f"how {following}", {following})
                )
            return _SAME_ASKING.get(word, word), set()
    return ("whether" if folded and folded[0] in _BE else ""), set()


def differ(one: Sense, other: Sense, near: Near | None = None) -> str:
    """Why they may not be taken for the same; empty where they may.

    ``near`` finds for a word that only the first question has (True), or the second, what means the same in the
    other one: where that begins, or -1. Without it such words are passed over.
    """
    for reason in ("numbers", "quotes", "symbols", "negations", "units", "turning", "persons", "asks"):
        if getattr(one, reason) != getattr(other, reason):
            return reason
    if one.tense and other.tense and one.tense != other.tense:
        return "tense"
    if not one.names <= words_of(other) or not other.names <= words_of(one):
        return "names"
    if not in_order(one, other):
        return "order"
    if near is None:
        return ""
    return strange(one, other, partial(near, True)) or strange(other, one, partial(near, False))


def strange(mine: Sense, its: Sense, near: Callable[[Word], int]) -> str:
    """Why a word that only one question has sets them apart; empty where none does."""
    places = []
    for word in mine.words:
        if word.form in its.forms:
            places.append(its.words[its.forms.index(word.form)].start)
        elif fold(word.text) not in EMPTY:
            place = near(word)
            if place < 0 or any(opposed(word.form, each) for each in its.forms):
                return "words"
            places.append(place)
    repeated = len(set(mine.forms)) < len(mine.forms)
    return "" if repeated or places == sorted(places) else "order"


def words_of(sense: Sense) -> set[str]:
    """All words of a question that say something, whatever their case."""
    return {fold(word.text) for word in sense.words}


def in_order(one: Sense, other: Sense) -> bool:
    """Whether the words that both have stand in the same order, each after the same preposition, if after any."""
    shared = set(one.forms) & set(other.forms)
    mine = [word for word in one.words if word.form in shared]
    its = [word for word in other.words if word.form in shared]
    if [word.form for word in mine] != [word.form for word in its]:
        return False
    return all(not (a.before and b.before) or a.before == b.before for a, b in zip(mine, its, strict=True))


def opposed(one: str, other: str) -> bool:
    """Whether two words are the same but for what makes one the other's opposite."""
    for prefix in PREFIXES:
        for left, right in ((one, other), (other, one)):
            root = left.removeprefix(prefix)
            if root == left or len(root) < LEAST_ROOT:
                continue
            if root == right or any(right == each + root for each in PREFIXES):
                return True
    return False
