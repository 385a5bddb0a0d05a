"""Questions that look alike and ask for something else are told apart, by what they turn on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from services.generator.semantic.sameness import Sense, Word, differ, opposed

PAIRS = Path(__file__).parents[3] / "eval" / "semantic_pairs" / "pairs.jsonl"


def strict(_first: bool, _word: Word) -> int:
    """Nothing that is not equal means the same."""
    return -1


def lenient(_first: bool, word: Word) -> int:
    """Everything means the same, where it stands."""
    return word.start


@pytest.mark.parametrize(
    ("one", "other", "reason"),
    [
        ("Who won the 1998 final?", "Who won the 2002 final?", "numbers"),
        ("What comes after three failures?", "What comes after five failures?", "numbers"),
        ("Who was the third king?", "Who was the fourth king?", "numbers"),
        ("What does 'retry' do?", "What does 'replay' do?", "quotes"),
        ("What is C++?", "What is C#?", "symbols"),
        ("Which plans include support?", "Which plans do not include support?", "negations"),
        ("Can I log in with a password?", "Can I log in without a password?", "negations"),
        ("Can I return it after 30 days?", "Can I return it after 30 weeks?", "units"),
        ("How much does it weigh in kg?", "How much does it weigh in pounds?", "units"),
        ("What is the minimum size?", "What is the maximum size?", "turning"),
        ("What happens before the backup?", "What happens after the backup?", "turning"),
        ("How old is he?", "How old is she?", "persons"),
        ("When was it opened?", "Why was it opened?", "asks"),
        ("How long is the bridge?", "How old is the bridge?", "asks"),
        ("How many employees are there?", "Which employees are there?", "asks"),
        ("When does it open?", "At what time does it open?", "asks"),
        ("Who is the mayor of Brell?", "Who was the mayor of Brell?", "tense"),
        ("Who is the mayor of Brell?", "Who is the mayor of Tolvar?", "names"),
        ("How do trains go from Brell to Tolvar?", "How do trains go from Tolvar to Brell?", "order"),
        ("Who did Kasparov beat?", "Who beat Kasparov?", "order"),
        ("Which book is by Ada Lund?", "Which book is for Ada Lund?", "order"),
        ("Which cells import glucose?", "Which cells export glucose?", "turning"),
        ("Is the change reversible?", "Is the change irreversible?", "words"),
        ("Who designed the tower?", "Who painted the tower?", "words"),
        ("What is the first campaign for?", "What is the name of the first campaign?", "words"),
        ("In what city was it founded?", "In what state was it founded?", "words"),
        ("In which year was it founded?", "On which date was it founded?", "asks"),
    ],
)
def test_what_sets_two_questions_apart(one: str, other: str, reason: str) -> None:
    for left, right in ((one, other), (other, one)):
        assert differ(Sense(left), Sense(right), strict) == reason


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Who is the mayor of Brell?", "who's the mayor of brell"),
        ("How do I reset my password?", "How can I reset my password?"),
        ("What port does it listen on?", "Which port does it listen on?"),
        ("When was the tower built?", "In what year was the tower built?"),
        ("What comes after three failures?", "What comes after 3 failures?"),
        ("How long is 5 km?", "How long is 5 kilometres?"),
        ("Please tell me how to configure TLS.", "How do I configure TLS?"),
        ("How often is the backup made?", "How frequently are backups made?"),
        ("Where is the head office?", "Where is the head office located?"),
    ],
)
def test_what_does_not(one: str, other: str) -> None:
    for left, right in ((one, other), (other, one)):
        assert differ(Sense(left), Sense(right), strict) == ""


def test_a_word_that_means_the_same_sets_nothing_apart() -> None:
    one, other = Sense("When was the tower built?"), Sense("When was the tower constructed?")
    assert differ(one, other, lenient) == ""
    assert differ(one, other, strict) == "words"
    assert differ(one, other) == ""  # nobody was asked
    # "sue" and "sued" are no equal forms, but they stand in another order.
    swapped = Sense("Which company did Ortano sue?"), Sense("Which company sued Ortano?")
    places = {(True, "sue"): 14, (False, "sued"): 25}
    assert differ(*swapped, lambda first, word: places[first, word.text]) == "order"


@pytest.mark.parametrize(
    ("one", "other", "is_so"),
    [("legal", "illegal", True), ("import", "export", True), ("lock", "unlock", True), ("port", "report", True),
     ("able", "cable", False), ("built", "construct", False), ("in", "un", False)],
)  # fmt: skip
def test_what_is_an_opposite(one: str, other: str, is_so: bool) -> None:
    assert opposed(one, other) == opposed(other, one) == is_so


def test_none_of_our_look_alikes_gets_through_on_equal_words_alone() -> None:
    pairs = [json.loads(line) for line in PAIRS.read_text().splitlines()]
    assert sum(pair["same"] for pair in pairs) >= 100
    assert sum(not pair["same"] for pair in pairs) >= 150
    through = [p for p in pairs if not p["same"] and not differ(Sense(p["one"]), Sense(p["other"]), strict)]
    assert through == []
