"""What an LLM makes of a follow-up or a question is taken only where code can see that it asks the same."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from ragline.errors import Unavailable
from services.generator.accounting import Counted, Tenants
from services.generator.conversations.standalone import How, Standalone, trusted
from services.generator.events import Question, Turn
from services.generator.expansion import Expansions, by_rules, statement
from services.generator.llms import Piece
from services.generator.llms.extractive import Extractive
from services.generator.prompt import Prompt, Style
from services.generator.prompts import shipped
from services.generator.spending import Spending

TURNS = (Turn("Who was the first president of the University of Chicago?", "It was William Rainey Harper. [1]"),)
ASKED = Question("default", "default", "When did he take office?", top_k=5, max_tokens=50)
BY_RULES = "When did he take office? (William Rainey Harper, University of Chicago)"


class Speaker(Extractive):
    """Says the same whatever it is asked, letter by letter, and remembers what that was."""

    name = "speaker"
    style: Style = "passages"

    def __init__(self, says: str, *, fails: bool = False, hangs: bool = False) -> None:
        super().__init__()
        self.says, self.fails, self.hangs = says, fails, hangs
        self.asked: list[Prompt] = []

    async def generate(
        self, prompt: Prompt, *, max_tokens: int, temperature: float
    ) -> AsyncGenerator[Piece, None]:
        self.asked.append(prompt)
        for letter in self.says:
            yield Piece(letter)
        if self.fails:
            raise Unavailable("It went away.")
        if self.hangs:
            await asyncio.Event().wait()


def standalone(speaker: Speaker, how: How = "auto", timeout_s: float = 20.0) -> Standalone:
    return Standalone(lambda question: speaker, shipped(), how, timeout_s)


@pytest.mark.parametrize(
    "said",
    [
        "When did William Rainey Harper take office?",
        ' "When did William Rainey Harper take office?"\nThat is because',
        "Question: When did William Rainey Harper take office?",
        "Standalone question: **When did William Rainey Harper take office?**",
    ],
)
async def test_what_the_llm_writes_is_searched_for(said: str) -> None:
    speaker = Speaker(said)
    assert await standalone(speaker).rewrite(ASKED, TURNS) == "When did William Rainey Harper take office?"
    [prompt] = speaker.asked
    assert TURNS[0].question in prompt.user
    assert ASKED.query in prompt.user


@pytest.mark.parametrize(
    "said",
    [
        "When did Robert Hutchins take office?",  # nobody named him
        "William Rainey Harper took office in 1891.",  # an answer
        "When was the University of Chicago?",  # half of the question is gone
        "When did he take office " + "of the University of Chicago " * 20 + "?",
        "When did he take office?",  # nothing was added
        "",
        "?",
    ],
)
async def test_what_asks_something_else_is_thrown_away(said: str) -> None:
    assert await standalone(Speaker(said)).rewrite(ASKED, TURNS) == BY_RULES


def test_numbers_and_names_of_the_question_must_stay() -> None:
    turns = [Turn("How old is Ada Lund?", "She is 40, and Bo Ek is 50.")]
    assert trusted("Was Ada Lund mayor in 2019?", "Was she mayor in 2019?", turns)
    assert not trusted("Was Ada Lund mayor in 40?", "Was she mayor in 2019?", turns)
    assert not trusted("And is Ada Lund a mayor?", "And is Bo Ek a mayor?", turns)


async def test_an_llm_that_is_away_or_slow_is_no_obstacle() -> None:
    good = "When did William Rainey Harper take office?"
    assert await standalone(Speaker(good, fails=True)).rewrite(ASKED, TURNS) == BY_RULES
    assert await standalone(Speaker(good, hangs=True), timeout_s=0.05).rewrite(ASKED, TURNS) == BY_RULES


@pytest.mark.parametrize(
    "speaker",
    [Speaker("Who knows?\nNobody"), Speaker("When did he", fails=True), Speaker("When did he", hangs=True)],
    ids=["thrown away", "away", "slow"],
)
async def test_what_was_of_no_use_was_spent_all_the_same(speaker: Speaker) -> None:
    counted, spending = Counted(speaker, Tenants(1)), Spending()
    with spending.stage("rewrite"):
        rewriting = Standalone(lambda question: counted, shipped(), "llm", 0.05)
        assert await rewriting.rewrite(ASKED, TURNS) == BY_RULES
    assert list(spending.stages) == ["rewrite"]
    assert spending.usage.prompt_tokens > spending.usage.completion_tokens > 0


@pytest.mark.parametrize(
    ("how", "style", "asks"), [("rules", "passages", 0), ("auto", "extract", 0), ("llm", "extract", 1)]
)
async def test_who_rewrites_is_a_setting(how: How, style: Style, asks: int) -> None:
    speaker = Speaker("nothing")
    speaker.style = style
    assert await standalone(speaker, how).rewrite(ASKED, TURNS) == BY_RULES
    assert len(speaker.asked) == asks


async def test_without_turns_or_with_off_nothing_is_rewritten() -> None:
    speaker = Speaker("nothing")
    assert await standalone(speaker).rewrite(ASKED, ()) == ASKED.query
    assert await standalone(speaker, "off").rewrite(ASKED, TURNS) == ASKED.query
    assert not speaker.asked


async def wordings(speaker: Speaker, query: str, count: int = 3, timeout_s: float = 20.0) -> list[str]:
    question = Question("default", "default", query, top_k=5, max_tokens=50, expand=count)
    return await Expansions(lambda question: speaker, shipped(), "auto", timeout_s).wordings(question)


async def test_wordings_of_the_llm_that_ask_the_same_are_taken_once() -> None:
    speaker = Speaker(
        "1. In which year did Harper begin in 1891?\n"
        "- In which year did Harper begin in 1891?\n"
        "When did Rockefeller begin in 1891?\n"
        "When did Harper begin in 1892?\n"
        "when did Harper start in 1891\n"
    )
    found = await wordings(speaker, "When did Harper start in 1891?", 4)
    assert found == [
        "In which year did Harper begin in 1891?",
        "Harper start in 1891 in the year",
        "Harper start 1891",
    ]


async def test_rules_make_up_for_an_llm_that_is_slow() -> None:
    speaker = Speaker("", hangs=True)
    found = await wordings(speaker, "Where was the tower of Brell built?", 1, timeout_s=0.05)
    assert found == ["the tower of Brell was built in"]
    assert await wordings(speaker, "Where?", 0) == []


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("When did Tesla die?", "Tesla die in the year"),
        ("Who founded Brell?", "founded Brell"),
        ("Which tribe did Toghrul lead?", "did Toghrul lead"),
        ("Ferries in winter", "Ferries in winter"),
    ],
)
def test_a_question_as_a_statement(query: str, expected: str) -> None:
    assert statement(query) == expected
    assert expected in list(by_rules(query))
