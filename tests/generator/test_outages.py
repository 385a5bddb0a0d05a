"""What clients of /generate see when the server of the LLM fails in any way that servers fail."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from ragline import metrics
from tests.generator.outages import EARLY, FIRST, HIDDEN, LATE, SHOWN, Lineup, Outage, outage
from tests.servers.faults import NONE, Fault
from tests.servers.llama import LlamaServer

pytestmark = pytest.mark.models


@asynccontextmanager
async def failing(server: LlamaServer, lineup: Lineup) -> AsyncIterator[Outage]:
    """A generator that has answered the question once, so that its server knows the prompt."""
    async with outage(server, lineup) as made:
        seen = await made.warm()
        assert (seen.end, seen.model, seen.degraded) == ("answer", "smol", [])
        assert seen.said.startswith(FIRST)
        yield made


@pytest.mark.parametrize(
    ("lineup", "model", "degraded", "faults"),
    [
        # python -m bench faults shows them all in each line-up; this is what fits into a test.
        pytest.param(Lineup(), "extractive", ["llm", "llm:smol"], HIDDEN, id="alone"),
        pytest.param(Lineup(second=True), "smol", [], HIDDEN[-4:-2], id="second-endpoint"),
    ],
)
async def test_failures_before_anything_was_said_are_hidden(
    llama_server: LlamaServer, lineup: Lineup, model: str, degraded: list[str], faults: Sequence[Fault]
) -> None:
    async with failing(llama_server, lineup) as made:
        for turn, fault in enumerate(faults):
            seen = await made.stream(fault) if turn % 2 else await made.whole(fault)
            assert (seen.end, seen.model, seen.degraded) == ("answer", model, degraded), fault
            assert FIRST in seen.said, fault
            assert seen.body["answer"] == seen.said


async def test_half_an_answer_never_poses_as_a_whole_one(llama_server: LlamaServer) -> None:
    async with failing(llama_server, Lineup()) as made:
        for fault in SHOWN:
            seen = await made.stream(fault)
            assert (seen.end, seen.said) == ("error", FIRST), fault
            assert "usage" not in seen.names
            assert (seen.body["title"], seen.body["status"]) == ("Unavailable", 503)
            assert "broke off" in seen.body["detail"]
            assert seen.body["retry_after_s"] > 0


@pytest.mark.parametrize(
    ("lineup", "model", "degraded"),
    [
        pytest.param(Lineup(second=True), "smol", [], id="second-endpoint"),
        pytest.param(Lineup(spare=True), "spare", ["llm:smol"], id="spare-model"),
    ],
)
async def test_a_whole_answer_that_was_cut_is_made_anew(
    llama_server: LlamaServer, lineup: Lineup, model: str, degraded: list[str]
) -> None:
    async with outage(llama_server, lineup) as made:
        seen = await made.whole(Fault("cut", LATE))
        assert (seen.end, seen.model, seen.degraded) == ("answer", model, degraded)
        assert seen.said.count(FIRST) == 1


async def test_no_answer_is_later_than_its_deadline(llama_server: LlamaServer) -> None:
    async with outage(llama_server) as made:  # which would wait a minute
        seen = await made.whole(Fault("hang"), timeout_s=2)
        assert (seen.end, seen.model, seen.degraded) == ("answer", "extractive", ["llm", "llm:smol"])
        seen = await made.stream(Fault("hang"), timeout_s=2)
        assert (seen.end, seen.model) == ("answer", "extractive")
        await made.proxy.left.wait()


async def test_a_server_that_is_gone(llama_server: LlamaServer) -> None:
    async with outage(llama_server, Lineup(second=True)) as made:
        await made.proxy.close()
        seen = await made.whole(NONE)
        assert (seen.end, seen.model, seen.degraded) == ("answer", "smol", [])


async def test_what_it_took_is_counted(llama_server: LlamaServer) -> None:
    async with outage(llama_server, Lineup(second=True)) as made:
        seen = await made.whole(Fault("cut", EARLY))
        used = seen.body["usage"]
        assert used["cost"] == pytest.approx(
            used["completion_tokens"] * 2e-6 + used["prompt_tokens"] * 1e-6, rel=0.5
        )
        page = (await metrics.page())[0].decode()
    for line in (
        'ragline_llm_tokens_total{direction="out",model="smol",tenant="default"}',
        'ragline_llm_cost_total{model="smol",tenant="default"}',
        'ragline_llm_texts_total{model="smol",outcome="cut"}',
        'ragline_llm_texts_total{model="smol",outcome="ok"}',
        'ragline_llm_requests_total{endpoint="first",outcome="cut"}',
        'ragline_llm_requests_total{endpoint="second",outcome="ok"}',
        'ragline_llm_up{server="second"} 1.0',
        'ragline_llm_first_token_seconds_count{model="smol"}',
        'ragline_llm_output_token_seconds_count{model="smol"}',
    ):
        assert line in page, line


async def test_another_model_can_be_asked_for(llama_server: LlamaServer) -> None:
    async with outage(llama_server, Lineup(spare=True)) as made:
        seen = await made.whole(Fault("broken"), llm="spare")
        assert (seen.end, seen.model, seen.degraded, made.proxy.asked) == ("answer", "spare", [], 0)
        seen = await made.whole(NONE, llm="gpt-9")
        assert (seen.end, seen.body["errors"][0]["field"]) == ("400", "llm")
        assert seen.body["detail"] == "llm 'gpt-9' is not set up; there are: extractive, smol, spare."


async def test_a_summary_goes_the_same_way(llama_server: LlamaServer) -> None:
    async with outage(llama_server, Lineup(spare=True)) as made:
        made.begin(Fault("broken"))
        body = {"text": "The ferry to Brell does not run in winter. It is blue.", "max_tokens": 40}
        said = (await made.client.post("/summarize", json=body)).json()
        assert said["degraded"] == ["llm:smol"]
