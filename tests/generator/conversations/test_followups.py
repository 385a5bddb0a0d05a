"""Follow-ups by rules: what points back or is left out is added, what stands alone is left as it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.generator.checks.evidence import words
from services.generator.conversations.followups import MOST_NAMES, MOST_WORDS, alone, follows, names
from services.generator.events import Turn

TESLA = Turn("Where was Nikola Tesla born?", "Nikola Tesla was born in Smiljan in 1856. [1]")


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("When did he die?", "When did he die? (Nikola Tesla)"),
        ("And his father?", "And his father? (Nikola Tesla, born)"),
        ("When?", "When? (Smiljan, Nikola Tesla, born)"),
        ("What is there to see there?", "What is there to see there? (Smiljan, Nikola Tesla)"),
        ("Which unit was called after that?", "Which unit was called after that? (Smiljan, Nikola Tesla)"),
        ("Who runs the town?", "Who runs the town? (Smiljan, Nikola Tesla)"),
    ],
)
def test_a_follow_up_gets_the_names_it_needs(question: str, expected: str) -> None:
    assert alone(question, [TESLA]) == expected


@pytest.mark.parametrize(
    "question",
    [
        "Where did Thomas Edison die?",
        "When did Edison sell his company?",
        "How is a lost message retried after the first failure?",
        "How many people is it estimated live in Warsaw?",
        "What is an anda?",
        "メッセージはいつ再送されますか?",
        "Wie lange gilt die Garantie?",
    ],
)
def test_what_stands_alone_is_left_as_it_is(question: str) -> None:
    assert alone(question, [TESLA]) == question
    assert alone(question, []) == question


def test_the_subject_holds_over_several_follow_ups() -> None:
    turns = [
        Turn("Which society founded the University of Chicago?", "The American Baptist Education Society."),
        Turn("Whose money helped?", "It was John D. Rockefeller's."),
        Turn("Who was its first president?", "William Rainey Harper."),
    ]
    asked = alone("When did he take office?", turns)
    assert "William Rainey Harper" in asked
    assert "University of Chicago" in asked


def test_a_new_subject_replaces_the_old_one() -> None:
    turns = [TESLA, Turn("How long is the Rhine in kilometres?", "About 1,230 km.")]
    assert alone("Where does it end?", turns) == "Where does it end? (Rhine)"


def test_without_names_the_words_of_the_question_before_are_added() -> None:
    turns = [Turn("how often is a lost message retried?", "Three times.")]
    assert alone("and after that?", turns) == "and after that? (lost, message, retried)"
    assert alone("Where does it go then?", turns) == "Where does it go then? (lost, message, retried)"


def test_what_an_abstention_says_is_no_name() -> None:
    assert alone("When did he die?", [Turn("Who was the first mayor of Brell?", "")]) == "When did he die? (Brell)"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Who played in Super Bowl 50?", ["Super Bowl 50"]),
        ("the University of Chicago and the Bank of England", ["University of Chicago", "Bank of England"]),
        ("Was Tesla's father a priest?", ["Tesla"]),
        ("Leonardo da Vinci, Ada Lund", ["Leonardo da Vinci", "Ada Lund"]),
        ("nothing here", []),
    ],
)
def test_names(text: str, expected: list[str]) -> None:
    assert names(text) == expected


TEXT = st.text(
    st.sampled_from("abcXYZ 019?.,'()[]-\n") | st.characters(codec="utf-8"), max_size=60
) | st.sampled_from(["And it?", "Who is he, Ada?", "there", "What about that?", "The The of of", "\u2019s"])


@given(question=TEXT, turns=st.lists(st.builds(Turn, TEXT, TEXT), max_size=4))
def test_a_question_keeps_its_words_and_gains_only_what_was_said(question: str, turns: list[Turn]) -> None:
    asked = alone(question, turns)
    assert asked.startswith(question)
    spoken = {word for turn in turns for word in (*words(turn.question), *words(turn.answer))}
    gained = words(asked[len(question) :])
    assert set(gained) <= spoken
    assert len(gained) <= 60 * (MOST_NAMES + MOST_WORDS)
    follows(question)
