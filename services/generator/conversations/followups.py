"""Makes a follow-up stand alone by rules: what it leaves out or points back to is added from the turns before."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from services.generator.checks.evidence import PLAIN, WORD, fold, words
from services.generator.events import Turn

MOST_NAMES = 3  # of the turns before, that are added to a question
ANSWER_NAMES = 1  # of them, from the last answer
MOST_WORDS = 12  # added where nothing has a name

# Words that stand for something said before. "that" and "there" do so only in some places; see ``points_back``.
POINTING = frozenset(
    [
        "he",
        "she",
        "it",
        "they",
        "him",
        "her",
        "them",
        "his",
        "hers",
        "its",
        "their",
        "theirs",
        "this",
        "these",
        "those",
        "such",
        "latter",
        "former",
    ]
)
PERSONS = frozenset(["he", "she", "him", "her", "his", "hers"])
THINGS = frozenset(["it", "its"])
VAGUE = 3
SHORT = 3  # words of an answer that may be a name and little else
_THAT = re.compile(
    r"\b(?:that|that one)\s*(?:[?.!,]|$)|\b(?:is|was|were|did|does|do|of|from|for|about|after|before|with|like"
    r"|than|in|to|by|on|at|and|can|could|will|would|had|has)\s+that\b(?!\s+(?:the|a|an|he|she|it|they|there|we|you|i)\b)",
    re.IGNORECASE,
)
_THERE = re.compile(r"\bfrom there\b|\bthere\s*(?:[?.!,]|$)", re.IGNORECASE)
# "It" that stands for nothing: "how long is it said to last", "what does it mean to".
_EMPTY = re.compile(
    r"\bit(?: is|'s| was)? (?:estimated|believed|thought|said|known|possible|important|necessary|better|true"
    r"|mean (?:to|for|when|if|that))\b|\b(?:is|was) it (?:estimated|believed|thought|said|known|possible|important"
    r"|necessary|better|true)\b",
    re.IGNORECASE,
)
_DEFINES = re.compile(r"what (?:is|are|was|were|does) (?:an? )?(?!the\b)[\w-]+(?: mean)?\s*\??$", re.IGNORECASE)
_DEFINITE = re.compile(r"\bthe (?!same\b|most\b|first\b|only\b)(\w+)(?! of\b)\b", re.IGNORECASE)
_MARKER = re.compile(r"\s*\[\d+\]")
_OPENING = re.compile(r"(?:and|but|or|also|so|then|what about|how about|what of)\b", re.IGNORECASE)
_ASKS = re.compile(
    r"\b(?:who|whom|whose|where|when|which|why|how(?! about)|what(?! about| of)"
    r"|is|are|was|were|do|does|did|can)\b",
    re.IGNORECASE,
)
_ASKS_A_NAME = re.compile(r"(?:\w+\s+){0,2}?(who|whom|whose|where|which|what)\b", re.IGNORECASE)

# Words that say little of what a question is about, beside those that say little anywhere.
THIN = PLAIN | frozenset(
    words(
        "about after again all also another because before besides between both called during each else ever "
        "exactly first further get give happen happened how just kind last later least less let like long many me "
        "mean more most much name next no not off often once one only other out over per please same say since "
        "sort still tell thing time too two under until up use very way year yes yet"
    )
)
# Between the words of a name: "Bank of England", "Leonardo da Vinci".
_JOINING = frozenset(["of", "the", "de", "la", "du", "da", "di", "von", "van", "den", "der", "del", "al", "upon"])


def alone(question: str, turns: Sequence[Turn]) -> str:
    """The question with what it leaves out; as it is where it stands alone, or where nothing was said before.

    The rules are for English; a question in another language is left as it is.
    """
    topic: list[str] = []
    before = Turn("", "")
    for turn in turns:
        if not topic or opens(turn.question):
            topic = names(turn.question) or telling(turn.question)[:MOST_WORDS]
        before = turn
    if not topic or not follows(question):
        return question
    return with_(question, [*meant(question, before), *names(before.question), *topic], before)


def with_(question: str, found: Sequence[str], before: Turn) -> str:
    """The question with the best of the names ``found``, and the words of the turn before if it has few itself."""
    own = set(words(question))
    added: list[str] = []
    for each in found:
        if not own.issuperset(words(each)):
            added.append(each)
            own.update(words(each))
    added = added[:MOST_NAMES]
    if fragment(question):
        kept = set(words(" ".join([question, *added])))
        added += [word for word in telling(before.question) if fold(word) not in kept][:MOST_WORDS]
    return f"{question} ({', '.join(added)})" if added else question


def meant(question: str, before: Turn) -> list[str]:
    """The name that the last answer gave to who asked for one, where the question may point back to it."""
    asked = _ASKS_A_NAME.match(before.question)
    if not asked:
        return []
    person = asked[1].casefold().startswith("who")
    pointing = {fold(word) for word in WORD.findall(question)}
    if pointing & (THINGS if person else PERSONS):
        return []
    said = _MARKER.sub("", before.answer)
    known = set(words(before.question))
    return [name for name in names(said, first=len(said.split()) <= SHORT) if not known.issuperset(words(name))][
        :ANSWER_NAMES
    ]


def follows(question: str) -> bool:
    """Whether a question needs what was said before: it points back, opens as a sequel, or says too little."""
    if not question.isascii() and not any(fold(word) in PLAIN for word in WORD.findall(question)):
        return False
    return bool(_OPENING.match(question)) or bare(question) or points_back(question) or vague(question)


def opens(question: str) -> bool:
    """Whether a question begins a subject of its own: it stands alone and says what it is about."""
    pointing = any(word.casefold() in POINTING for word in WORD.findall(question))
    return not pointing and not follows(question) and bool(names(question) or len(telling(question)) > VAGUE)


def points_back(question: str) -> bool:
    """Whether a word of it stands for something that is not in it before that word.

    A name before it is what it stands for, unless it is the last word: "which Florida venue was chosen for it".
    """
    found = list(WORD.finditer(_EMPTY.sub(" ", question)))
    for match in found:
        if match.group().casefold() in POINTING:
            return match is found[-1] or not names(question[: match.start()])
    return bool(_THAT.search(question) or _THERE.search(question))


def bare(question: str) -> bool:
    """Whether it holds less than two words that say what it is about, and no name."""
    return len(telling(question)) < 2 and not names(question) and not _DEFINES.match(question)


def fragment(question: str) -> bool:
    """Whether it leaves out what the question before asked of its thing: "When?", "And the windows?"."""
    return not telling(question) or (len(telling(question)) <= VAGUE and not _ASKS.search(question))


def vague(question: str) -> bool:
    """Whether it is short, names nothing, and speaks of "the" one of a kind, as if that were known."""
    return len(telling(question)) <= VAGUE and not names(question) and bool(_DEFINITE.search(question))


def telling(text: str) -> list[str]:
    """The words that say what a text is about, in order, each once."""
    found = {fold(word): word for word in WORD.findall(text) if fold(word) not in THIN}
    return list(found.values())


def names(text: str, *, first: bool = True) -> list[str]:
    """What is written as a name, in order: "Nikola Tesla", "Super Bowl 50", "University of Chicago".

    ``first``: whether the first word alone may be one, which has a capital in any case.
    """
    found: list[str] = []
    run: list[str] = []
    end = 0
    for match in WORD.finditer(text):
        word = match.group()
        gap = text[end : match.start()]
        if run and gap.strip(" '\u2019-&."):
            found += ended(run)
            run = []
        capital = word[0].isupper() and fold(word) not in THIN
        if capital or (run and (word.casefold() in _JOINING or word[0].isdigit())):
            run.append(word)
        elif run:
            found += ended(run)
            run = []
        end = match.end()
    found += ended(run)
    opening = WORD.search(text)
    if found and not first and opening and found[0] == opening.group():
        del found[0]
    return list(dict.fromkeys(found))


def ended(run: Sequence[str]) -> Iterable[str]:
    """The name in a run of words, without the small words at its end."""
    last = len(run)
    while last and run[last - 1].casefold() in _JOINING:
        last -= 1
    if last:
        yield " ".join(run[:last]).removesuffix("'s").removesuffix("\u2019s")
