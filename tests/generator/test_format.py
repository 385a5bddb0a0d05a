"""Answers that follow a JSON schema, over the real read path with an LLM that writes what it is told to."""

import json
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragline.cache.memory import MemoryCache
from ragline.errors import InvalidRequest, Refused, Unavailable
from services.generator import rpc, wire
from services.generator.answer import Answerer
from services.generator.events import Cited, Done, Policy, Question, Token
from services.generator.format import Shape, allow, leaves, put, written_out
from services.generator.llms import Piece, Usage
from services.generator.llms.extractive import Extractive
from services.generator.prompt import Prompt, Style
from tests.generator import world

SCHEMA = {
    "type": "object",
    "properties": {
        "length": {"type": "string"},
        "covers": {"type": ["string", "null"]},
        "kind": {"enum": ["good", "bad"]},
    },
    "required": ["length"],
    "additionalProperties": False,
}
RIGHT = '{"length": "two-year warranty", "covers": "the power supply", "kind": "good"}'


class Writer(Extractive):
    """Writes the given texts, one a call, in pieces of seven characters."""

    name = "writer"
    style: Style = "passages"

    def __init__(self, *texts: str, constrained: bool = True) -> None:
        super().__init__()
        self.texts = list(texts)
        self.constrained = constrained
        self.prompts: list[Prompt] = []

    async def generate(
        self, prompt: Prompt, *, max_tokens: int, temperature: float
    ) -> AsyncGenerator[Piece, None]:
        self.prompts.append(prompt)
        if prompt.schema is not None and not self.constrained:
            raise InvalidRequest("This server knows no response_format.")
        text = self.texts.pop(0)
        for at in range(0, len(text), 7):
            yield Piece(text[at : at + 7])
        yield Piece(usage=Usage(10, 5), finish="stop")


def asked(schema: Any = SCHEMA, unsupported: Policy = "drop") -> Question:
    query = "How long is the warranty of the Kestrel router, and what does it cover?"
    return Question("default", "default", query, 3, 60, schema_json=json.dumps(schema), unsupported=unsupported)


def made(retriever: grpc.aio.Channel, reranker: grpc.aio.Channel | None, llm: Writer, **more: Any) -> Answerer:
    return world.answerer(retriever, reranker, llm=llm, **more)


async def test_each_value_is_cited_by_its_pointer(retriever: grpc.aio.Channel, reranker: grpc.aio.Channel) -> None:
    llm = Writer(RIGHT)
    events = [event async for event in made(retriever, reranker, llm).stream(asked())]
    done = events[-1]
    assert isinstance(done, Done)
    outcome = done.outcome
    assert json.loads(outcome.answer) == json.loads(RIGHT)
    assert [event.text for event in events if isinstance(event, Token)] == [outcome.answer]
    assert [event.citation for event in events if isinstance(event, Cited)] == list(outcome.citations)
    assert dict(outcome.pointers) == {"/length": ("[1]",), "/covers": ("[2]",)}
    assert [each.quote for each in outcome.citations] == [
        "The Kestrel router comes with a two-year warranty.",
        "The warranty covers the power supply.",
    ]
    assert wire.answer(done)["pointers"] == {"/length": ["[1]"], "/covers": ["[2]"]}
    assert [(each.pointer, list(each.markers)) for each in rpc.message(done).done.pointers] == [
        ("/length", ["[1]"]),
        ("/covers", ["[2]"]),
    ]
    assert llm.prompts[0].schema == SCHEMA
    assert json.dumps(SCHEMA) in llm.prompts[0].user
    assert outcome.usage == Usage(10, 5)


async def test_broken_json_is_mended_and_told(retriever: grpc.aio.Channel, reranker: grpc.aio.Channel) -> None:
    llm = Writer("Here you are:\n```json\n{'length': 'two-year warranty',\n```")
    done = await made(retriever, reranker, llm).answer(asked())
    assert json.loads(done.outcome.answer) == {"length": "two-year warranty"}
    assert [(each.guard, each.action, each.detail) for each in done.findings] == [
        ("format", "mask", "mended JSON")
    ]


async def test_it_is_asked_once_more_and_shown_what_was_wrong(
    retriever: grpc.aio.Channel, reranker: grpc.aio.Channel
) -> None:
    llm = Writer('{"duration": "two years"}', RIGHT)
    done = await made(retriever, reranker, llm).answer(asked())
    assert json.loads(done.outcome.answer) == json.loads(RIGHT)
    assert '"duration": "two years"' in llm.prompts[1].user
    assert done.outcome.usage == Usage(20, 10)


@pytest.mark.parametrize("texts", [("No.", "Never."), ('{"length": 2}', '{"length": 3}')])
async def test_what_never_follows_the_schema_is_refused(
    retriever: grpc.aio.Channel, reranker: grpc.aio.Channel, texts: Sequence[str]
) -> None:
    with pytest.raises(Refused, match="does not follow the schema") as refused:
        await made(retriever, reranker, Writer(*texts)).answer(asked())
    assert refused.value.guard == "format"


async def test_an_unsupported_value_is_null_where_it_may_be_or_else_noted(
    retriever: grpc.aio.Channel, reranker: grpc.aio.Channel
) -> None:
    text = '{"length": "nine hundred days", "covers": "sunken treasure chests"}'
    done = await made(retriever, reranker, Writer(text)).answer(asked(unsupported="drop"))
    assert done.outcome.abstained, "of nothing supported nothing is said"
    mixed = '{"length": "two-year warranty", "covers": "sunken treasure chests"}'
    done = await made(retriever, reranker, Writer(mixed)).answer(asked(unsupported="drop"))
    assert json.loads(done.outcome.answer) == {"length": "two-year warranty", "covers": None}
    done = await made(retriever, reranker, Writer(mixed)).answer(asked(unsupported="flag"))
    (noted,) = done.outcome.unsupported
    assert done.outcome.answer[noted.start : noted.end] == '"sunken treasure chests"'
    assert set(done.outcome.pointers) == {"/length"}


async def test_a_server_without_constraints_is_asked_in_words(
    retriever: grpc.aio.Channel, reranker: grpc.aio.Channel
) -> None:
    llm = Writer(RIGHT, constrained=False)
    done = await made(retriever, reranker, llm).answer(asked())
    assert json.loads(done.outcome.answer) == json.loads(RIGHT)
    assert [each.schema is None for each in llm.prompts] == [False, True]


async def test_declining_abstains(retriever: grpc.aio.Channel, reranker: grpc.aio.Channel) -> None:
    done = await made(retriever, reranker, Writer("NO ANSWER")).answer(asked())
    assert done.outcome.abstained


async def test_a_kept_answer_keeps_its_pointers(retriever: grpc.aio.Channel, reranker: grpc.aio.Channel) -> None:
    answerer = made(retriever, reranker, Writer(RIGHT), cache=MemoryCache(1 << 20))
    first = await answerer.answer(asked())
    second = await answerer.answer(asked())
    assert second.cached
    assert second.outcome.pointers == first.outcome.pointers
    assert second.outcome.answer == first.outcome.answer


async def test_without_an_llm_that_writes_it_is_refused_before_the_search(
    retriever: grpc.aio.Channel, shelf: world.Shelf
) -> None:
    with pytest.raises(InvalidRequest, match="needs an LLM that writes") as wrong:
        await world.answerer(retriever, None).answer(asked())
    assert wrong.value.errors[0]["field"] == "schema"
    assert shelf.searches == 0


async def test_where_the_llm_fails_nothing_stands_in(
    retriever: grpc.aio.Channel, reranker: grpc.aio.Channel
) -> None:
    with pytest.raises(Unavailable):
        await made(retriever, reranker, Failing()).answer(asked())


class Failing(Writer):
    async def generate(
        self, prompt: Prompt, *, max_tokens: int, temperature: float
    ) -> AsyncGenerator[Piece, None]:
        if not self.texts:
            raise Unavailable("It is away.")
        yield Piece()


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "objekt"},
        {"$ref": "https://example.com/schema.json"},
        {"$ref": "file:///etc/hosts"},
        {"pattern": "(?=a)b"},
        {"$schema": "https://example.com/unknown"},
    ],
)
def test_what_is_no_schema_is_said_so(schema: Any) -> None:
    with pytest.raises(InvalidRequest, match="schema") as wrong:
        allow(asked(schema), Writer())
    assert wrong.value.errors[0]["field"] == "schema"


def test_a_pattern_takes_no_more_time_than_the_text() -> None:
    shape = Shape(json.dumps({"type": "string", "pattern": "^(a+)+$"}))
    assert shape.fault("a" * 50_000 + "!") == 'the value does not match "^(a+)+$"'


values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


@given(values)
def test_a_value_is_written_as_json_with_the_places_of_its_leaves(value: Any) -> None:
    said, places = written_out(value)
    assert json.loads(said) == value
    for leaf in leaves(value):
        start, end = places[leaf.pointer]
        read = json.loads(said[start:end])
        assert (read if isinstance(read, str) else json.dumps(read)) == leaf.text
        assert json.loads(written_out(put(value, leaf.path, "x"))[0]) == put(value, leaf.path, "x")
