"""The whole read path with SmolLM2: whatever it writes, the answer keeps its promises."""

import re
from pathlib import Path

import grpc
import pytest

from services.generator.events import Question
from services.generator.llms import Parts, llamacpp
from services.generator.summaries.summarize import Texts
from tests.generator import world

pytestmark = pytest.mark.models

QUERIES = [
    "How long is the warranty of the Kestrel router?",
    "What happens to a message after three failures?",
    "How many inhabitants does Brell have?",
]


@pytest.mark.parametrize("style", ["extract", "passages"])
async def test_answers_are_cited_and_literal(
    retriever: grpc.aio.Channel, reranker: grpc.aio.Channel, smollm2: Path, style: str
) -> None:
    parts = Parts(model=lambda _: smollm2, api_key=None, threads=1, timeout_s=120.0)
    llm = llamacpp.load(parts, slots=1, style="extract" if style == "extract" else "passages")
    asked = world.answerer(retriever, reranker, llm=llm)
    for query in QUERIES:
        outcome = (await asked.answer(Question("default", "default", query, 3, 60))).outcome
        assert outcome.citations
        assert set(re.findall(r"\[\d+\]", outcome.answer)) == {each.marker for each in outcome.citations}
        for each in outcome.citations:
            assert each.quote == world.SOURCES[each.document_id][1][each.start : each.end]
        assert outcome.usage.prompt_tokens > 0
        assert outcome.degraded == ()
    made = await world.summarizer(retriever, llm=llm).summarize(
        Texts("default", "default", None, tuple(world.SOURCES)), 60
    )
    assert made.summary
    assert made.usage.completion_tokens > 0
    await llm.close()
