"""What becomes of sentences that no passage supports: by setting, by request, kept, streamed and explained."""

from collections.abc import AsyncGenerator
from dataclasses import replace

import grpc
import pytest

import ragline.cache
from services.generator import rpc, wire
from services.generator.events import Done, Policy, Question, Token
from services.generator.llms import Finish, Piece, Usage
from services.generator.llms.extractive import Extractive
from services.generator.prompt import Prompt, Style
from tests.generator import world
from tests.generator.test_answer import everything

ASKED = Question("default", "default", "How long is the warranty of the Kestrel router?", 3, 100)
SUPPORTED = "The Kestrel router comes with a two-year warranty."
INVENTED = "It can be extended to 7 years [1]."
FLAGGED = "It can be extended to 7 years."


class Writer(Extractive):
    """Writes what it is told to, in pieces of three letters, and says why it ended."""

    name = "writer"
    style: Style = "passages"

    def __init__(self, text: str, finish: Finish = "stop") -> None:
        super().__init__()
        self.text = text
        self.ended: Finish = finish

    async def generate(
        self, prompt: Prompt, *, max_tokens: int, temperature: float
    ) -> AsyncGenerator[Piece, None]:
        for at in range(0, len(self.text), 3):
            yield Piece(self.text[at : at + 3])
        yield Piece(usage=Usage(5, 5), finish=self.ended)


@pytest.mark.parametrize(
    ("setting", "asked", "flagged"),
    [("drop", "", False), ("flag", "", True), ("drop", "flag", True), ("flag", "drop", False)],
)
async def test_the_request_goes_before_the_setting(
    retriever: grpc.aio.Channel, reranker: grpc.aio.Channel, setting: Policy, asked: Policy, flagged: bool
) -> None:
    choices = replace(world.CHOICES, unsupported=setting)
    llm = Writer(f"{SUPPORTED} {INVENTED}")
    events = await everything(
        world.answerer(retriever, reranker, llm=llm, choices=choices).stream(replace(ASKED, unsupported=asked))
    )
    done = events[-1]
    assert isinstance(done, Done)
    outcome = done.outcome
    assert outcome.answer == f"{SUPPORTED} [1]" + (f" {FLAGGED}" if flagged else "")
    assert "".join(event.text for event in events if isinstance(event, Token)) == outcome.answer
    assert [outcome.answer[each.start : each.end] for each in outcome.unsupported] == [FLAGGED] * flagged
    body = wire.answer(done)
    assert body.get("unsupported", []) == (
        [{"start": 55, "end": 85, "reason": "no passage has the number 7"}] if flagged else []
    )


async def test_a_kept_answer_keeps_its_flags(retriever: grpc.aio.Channel, reranker: grpc.aio.Channel) -> None:
    llm = Writer(f"{INVENTED} {SUPPORTED}")
    cache = ragline.cache.open("memory://?max_mb=1")
    asked = world.answerer(retriever, reranker, llm=llm, cache=cache)
    flagged = replace(ASKED, unsupported="flag")
    first, again = await asked.answer(flagged), await asked.answer(flagged)
    assert (first.cached, again.cached) == (False, True)
    assert again.outcome.unsupported == first.outcome.unsupported
    assert len(first.outcome.unsupported) == 1
    assert not (await asked.answer(ASKED)).outcome.unsupported


async def test_grpc_says_what_is_flagged(retriever: grpc.aio.Channel, reranker: grpc.aio.Channel) -> None:
    asked = world.answerer(retriever, reranker, llm=Writer(f"{SUPPORTED} {INVENTED}"))
    done = await asked.answer(replace(ASKED, unsupported="flag"))
    (made,) = rpc.done(done).unsupported
    assert done.outcome.answer[made.start : made.end] == FLAGGED
    assert made.reason == "no passage has the number 7"


async def test_a_sentence_that_was_cut_is_not_shown(
    retriever: grpc.aio.Channel, reranker: grpc.aio.Channel
) -> None:
    llm = Writer(f"{SUPPORTED} The warranty covers the power", "length")
    outcome = (
        await world.answerer(retriever, reranker, llm=llm).answer(replace(ASKED, unsupported="flag"))
    ).outcome
    assert outcome.answer == f"{SUPPORTED} [1]"
    assert (outcome.finish, outcome.unsupported) == ("length", ())


async def test_explains_each_claim_and_what_the_chance_is_made_of(
    retriever: grpc.aio.Channel, reranker: grpc.aio.Channel
) -> None:
    llm = Writer(f"{SUPPORTED} {INVENTED}")
    done = await world.answerer(retriever, reranker, llm=llm).answer(replace(ASKED, explain=True))
    told = done.outcome.explain
    assert told is not None
    said, dropped = told["claims"]
    assert (said["text"], said["fate"], said["rule"], said["marker"]) == (SUPPORTED, "said", "words", "[1]")
    passage = world.passage("kestrel")
    assert passage.text[said["start"] : said["end"]] == SUPPORTED
    assert (dropped["fate"], dropped["reason"]) == ("dropped", "no passage has the number 7")
    assert told["llm"] == "writer"
    assert told["abstention"]["log_odds"]["found"]["sentence"] > 0
    assert set(told["abstention"]["signs"]) == {"lead", "negated", "opposed", "number", "name"}
