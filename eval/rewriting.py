"""Makes true and false claims out of questions, their answers and the passages that hold them, by rules.

True ones are the sentence that holds the answer, that sentence with words left out, and the question turned into a
statement with its answer. False ones are these with one thing changed, and sentences of other passages.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ragline.sentences import sentences
from services.generator.checks.citations import negates
from services.generator.checks.evidence import PLAIN, fold
from services.generator.checks.opposites import OPPOSITES, opposites

WORD = re.compile(r"[^\W_]+(?:['.,-][^\W_]+)*")
NUMBER = re.compile(r"\b\d[\d,.]*\b")
NAME = re.compile(r"(?<=[a-z,] )[A-Z][a-zA-Z]+(?: [A-Z][a-zA-Z]+)*")
BE = re.compile(r"^(what|who|which \w+) (is|was|are|were) (.+)$", re.IGNORECASE)
SUBJECT = re.compile(
    r"^(?:who|what|which(?: \w+){1,3}|what (?!did|does|do|is|was|are|were)\w+) "
    r"((?!did|does|do|is|was|are|were|can|could|will|would|has|have|had|kind|type|year)\w+(?:ed|es|s|t|d|e) .+)$",
    re.IGNORECASE,
)
PASSIVE = re.compile(
    r"^(?:(?P<time>when|in (?:what|which) year)|(?P<place>where)) (?P<be>was|were|is|are) (?P<rest>.+)$",
    re.IGNORECASE,
)
DID = re.compile(
    r"^(?P<wh>when|where|why|what|who|which \w+|in (?:what|which) \w+) did (?P<rest>.+)$", re.IGNORECASE
)
MANY = re.compile(r"^how many ([\w ]+?) (are|were|did|do|does|is|was|have|had|has|can) (.+)$", re.IGNORECASE)


@dataclass(frozen=True)
class Claim:
    """A claim about a passage; ``kind`` says how it was made, ``true`` whether the passage says it."""

    text: str
    kind: str
    true: bool


@dataclass(frozen=True)
class Gold:
    """A question whose passage is known, with a gold answer that stands in it."""

    question: str
    answer: str
    passage: str


def holding(gold: Gold) -> str:
    """The sentence of the passage that holds the answer; empty where none does."""
    for start, end in sentences(gold.passage):
        if gold.answer in gold.passage[start:end]:
            return gold.passage[start:end]
    return ""


def stated(question: str, answer: str) -> str:
    """The question with its answer as a statement; empty where no rule fits. Grammar is not always kept."""
    asked = question.strip().rstrip("?").strip()
    answer = answer.strip().rstrip(".")
    if found := MANY.match(asked):
        return f"{found[3]} {found[2]} {answer} {found[1]}." if found[2] in ("did", "do", "does") else ""
    if found := DID.match(asked):
        where = {"when": "in", "where": "in", "why": "because of"}.get(found["wh"].lower(), "")
        return f"{capital(found['rest'])} {where} {answer}.".replace("  ", " ")
    if found := PASSIVE.match(asked):
        return f"{capital(found['rest'])}, that {found['be']} in {answer}."
    if found := BE.match(asked):
        return f"{capital(found[3])} {found[2]} {answer}."
    if found := SUBJECT.match(asked):
        return f"{capital(answer)} {found[1]}."
    return ""


def capital(text: str) -> str:
    """With a capital first letter."""
    return text[:1].upper() + text[1:]


def shortened(sentence: str, draw: random.Random, share: float = 0.25) -> str:
    """The sentence without some of its words; numbers, names and negations stay."""
    parts = sentence.split()
    kept = [
        part
        for at, part in enumerate(parts)
        if at == 0 or part[:1].isupper() or not part.isalpha() or negates(part.lower()) or draw.random() > share
    ]
    return " ".join(kept) if len(kept) < len(parts) else ""


def renumbered(text: str, draw: random.Random) -> str:
    """With another number; empty where there is none."""
    found = list(NUMBER.finditer(text))
    if not found:
        return ""
    picked = draw.choice(found)
    digits = picked[0]
    other = digits
    while other == digits:
        other = "".join(str(draw.randint(1, 9)) if each.isdigit() else each for each in digits)
    return text[: picked.start()] + other + text[picked.end() :]


def renamed(text: str, names: Sequence[str], draw: random.Random) -> str:
    """With another of the names in place of one; empty where there is none."""
    found = list(NAME.finditer(text))
    others = [name for name in names if name not in text]
    if not found or not others:
        return ""
    picked = draw.choice(found)
    return text[: picked.start()] + draw.choice(others) + text[picked.end() :]


def exchanged(text: str, draw: random.Random) -> str:
    """With two of its names exchanged, so that each word is still there."""
    found = list(NAME.finditer(text))
    pairs = [(one, two) for one in found for two in found if one.end() < two.start() and one[0] != two[0]]
    if not pairs:
        return ""
    one, two = draw.choice(pairs)
    return text[: one.start()] + two[0] + text[one.end() : two.start()] + one[0] + text[two.end() :]


def negated(text: str) -> str:
    """Said the other way round, with or without "not"; empty where no rule fits."""
    if re.search(r"\bnot\b", text):
        return re.sub(r"\bnot ", "", text, count=1)
    turned = re.sub(r"\b(is|was|are|were|can|could|will|would|should|has|had) (?!not)", r"\1 not ", text, count=1)
    if turned != text:
        return turned
    turned = re.sub(r"\b(did|does|do) (\w+) ", r"\1 \2 not ", text, count=1)
    return turned if turned != text else ""


def opposed(text: str, draw: random.Random) -> str:
    """With a word's opposite in its place; empty where none is known."""
    found = [match for match in WORD.finditer(text) if fold(match[0]) in OPPOSITES]
    if not found:
        return ""
    picked = draw.choice(found)
    return text[: picked.start()] + draw.choice(sorted(opposites(fold(picked[0])))) + text[picked.end() :]


def reworded(text: str, pool: Sequence[str], draw: random.Random, count: int = 1) -> str:
    """With other words in place of ``count`` of its own that are no names; empty where it has too few."""
    found = [
        match
        for match in WORD.finditer(text)
        if match[0].islower() and match[0] not in PLAIN and len(match[0]) > 4
    ]
    if len(found) < count + 2:
        return ""
    for picked in sorted(draw.sample(found, count), key=lambda each: -each.start()):
        text = text[: picked.start()] + draw.choice(pool) + text[picked.end() :]
    return text


def claims(
    gold: Gold, wrong: Sequence[str], names: Sequence[str], pool: Sequence[str], draw: random.Random
) -> Iterator[Claim]:
    """True and false claims about a passage.

    ``wrong`` are answers to other questions about the passage, ``names`` other names, ``pool`` other words.
    """
    sentence, statement = holding(gold), stated(gold.question, gold.answer)
    if sentence:
        yield Claim(sentence, "copied", True)
        if short := shortened(sentence, draw):
            yield Claim(short, "shortened", True)
    if statement:
        yield Claim(statement, "stated", True)
        others = [each for each in wrong if each.lower() not in gold.answer.lower() and gold.answer not in each]
        if others:
            yield Claim(stated(gold.question, draw.choice(others)), "stated, another answer", False)
    for text, of in ((sentence, "copied"), (statement, "stated")):
        if text:
            made = {
                "another number": renumbered(text, draw),
                "another name": renamed(text, names, draw),
                "names exchanged": exchanged(text, draw),
                "negated": negated(text),
                "opposite": opposed(text, draw),
                "one other word": reworded(text, pool, draw),
                "three other words": reworded(text, pool, draw, 3),
            }
            yield from (Claim(changed, f"{of}, {kind}", False) for kind, changed in made.items() if changed)
