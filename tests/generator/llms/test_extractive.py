"""The LLM without weights."""

from services.generator.checks.evidence import Sentence
from services.generator.llms import Usage
from services.generator.llms.extractive import Extractive
from services.generator.prompt import Prompt

FOUND = tuple(
    Sentence(0, at * 10, at * 10 + 9, f"Sentence {at}.", score=score)
    for at, score in ((2, 0.9), (0, 0.85), (1, 0.5))
)


async def text(llm: Extractive, prompt: Prompt, max_tokens: int = 100) -> str:
    pieces = [piece async for piece in llm.generate(prompt, max_tokens=max_tokens, temperature=0)]
    assert pieces[-1].usage == Usage(0, 0)
    return "".join(piece.text for piece in pieces)


async def test_takes_the_best_and_what_is_hardly_worse() -> None:
    ask = Prompt("answer", "", "", FOUND)
    assert await text(Extractive(3, 0.1), ask) == "Sentence 2.\nSentence 0.\n"
    assert await text(Extractive(3, 1.0), ask) == "Sentence 0.\nSentence 1.\nSentence 2.\n"
    assert await text(Extractive(1, 1.0), ask) == "Sentence 2.\n"
    assert await text(Extractive(), Prompt("answer", "", "")) == ""


async def test_neighbours_come_in_the_order_of_their_passage() -> None:
    found = (*FOUND, Sentence(1, 0, 9, "Another 0.", score=0.8), Sentence(1, 90, 99, "Another 9.", score=0.9))
    ask = Prompt("answer", "", "", (found[4], found[0], found[3], found[2]))
    assert await text(Extractive(4, 1.0), ask) == "Another 9.\nSentence 1.\nSentence 2.\nAnother 0.\n"


async def test_a_summary_keeps_the_texts_order_and_the_budget() -> None:
    ask = Prompt("summary", "", "", FOUND)
    assert await text(Extractive(), ask) == "Sentence 0.\nSentence 1.\nSentence 2.\n"
    assert await text(Extractive(), ask, max_tokens=8) == "Sentence 0.\nSentence 2.\n"
    assert await text(Extractive(), ask, max_tokens=1) == "Sentence 2.\n"
