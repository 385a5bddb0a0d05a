"""A JSON schema held to by a real model: llama.cpp constrains what SmolLM2 may write."""

import json
from pathlib import Path

import grpc
import pytest

from services.generator.events import Question
from services.generator.llms import Parts, llamacpp
from tests.generator import world

pytestmark = pytest.mark.models
SCHEMA = {
    "type": "object",
    "properties": {"length": {"type": "string", "maxLength": 40}},
    "required": ["length"],
    "additionalProperties": False,
}


async def test_a_small_model_follows_a_schema(
    retriever: grpc.aio.Channel, reranker: grpc.aio.Channel, smollm2: Path
) -> None:
    parts = Parts(model=lambda _: smollm2, api_key=None, threads=1, timeout_s=120.0)
    llm = llamacpp.load(parts, slots=1, style="passages")
    query = "How long is the warranty of the Kestrel router?"
    asked = Question("default", "default", query, 1, 60, schema_json=json.dumps(SCHEMA), unsupported="flag")
    outcome = (await world.answerer(retriever, reranker, llm=llm).answer(asked)).outcome
    value = json.loads(outcome.answer)
    assert set(value) == {"length"}
    assert isinstance(value["length"], str)
    assert outcome.usage.completion_tokens > 0
    assert not outcome.findings, "nothing had to be mended"
    await llm.close()
