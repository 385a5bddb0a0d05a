"""The gRPC door: ragline.v1.Generator."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import asdict
from typing import Any

import grpc
import orjson

from ragline.errors import InvalidRequest
from ragline.v1 import generator_pb2, generator_pb2_grpc
from services.generator import asking
from services.generator.answer import Answerer
from services.generator.checks.citations import Citation
from services.generator.events import Cited, Done, Event, Passages, Question, Retrieval, Spent, Token, Turn
from services.generator.guards._masking import BLANK
from services.generator.llms import Usage
from services.generator.sources import MODES

NAME: str = generator_pb2.DESCRIPTOR.services_by_name["Generator"].full_name


class GeneratorRpc(generator_pb2_grpc.GeneratorServicer):
    """Turns messages into the use case's plain types and back."""

    def __init__(self, answerer: Answerer, limits: asking.Limits) -> None:
        self.answerer = answerer
        self.limits = limits

    async def Answer(  # noqa: N802 - gRPC's name
        self,
        request: generator_pb2.AnswerRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncGenerator[generator_pb2.AnswerEvent, None]:
        """The events of the answer."""
        if not request.tenant:
            raise InvalidRequest("tenant is empty.", field="tenant")
        asked = asking.question(
            Question(
                tenant=request.tenant,
                collection=request.collection or "default",
                query=request.query,
                top_k=request.top_k,
                max_tokens=request.max_tokens,
                temperature=request.temperature,
                filter_json=request.filter_json,
                explain=request.explain,
                scorer=request.scorer,
                llm=request.llm,
                prompt=request.prompt,
                unsupported=asking.policy(request.unsupported),
                schema_json=request.schema_json,
                session_id=request.session_id,
                turns=tuple(Turn(each.question, each.answer) for each in request.turns),
                expand=request.expand,
                retrieval=retrieval(request),
            ),
            self.limits,
        )
        async with aclosing(self.answerer.stream(asked)) as events:
            async for event in events:
                yield message(event)


def add(answerer: Answerer, limits: asking.Limits) -> Callable[[grpc.aio.Server], Sequence[str]]:
    """What registers the service on a server."""

    def register(server: grpc.aio.Server) -> Sequence[str]:
        generator_pb2_grpc.add_GeneratorServicer_to_server(GeneratorRpc(answerer, limits), server)
        return [NAME]

    return register


def retrieval(request: generator_pb2.AnswerRequest) -> Retrieval:
    """How the passages are searched for."""
    if request.mode not in MODES.values():
        raise InvalidRequest(f"mode is {request.mode}; it must be one of the Mode enumeration.", field="mode")
    return Retrieval(
        mode=next(name for name, mode in MODES.items() if mode == request.mode),
        fusion=request.fusion,
        dense_weight=request.dense_weight if request.HasField("dense_weight") else None,
        diversity=request.diversity,
        neighbours=request.neighbours,
        collapse=request.collapse,
        wait_for=request.wait_for,
    )


def message(event: Event) -> generator_pb2.AnswerEvent:
    """An event as a message."""
    match event:
        case Passages():
            passages = generator_pb2.Passages(
                passages=[each.passage for each in event.ranked], scores=[each.score for each in event.ranked]
            )
            return generator_pb2.AnswerEvent(passages=passages)
        case Token():
            return generator_pb2.AnswerEvent(token=generator_pb2.Token(text=event.text))
        case Cited():
            return generator_pb2.AnswerEvent(citation=citation(event.citation))
        case Spent():
            return generator_pb2.AnswerEvent(usage=usage(event.usage))
        case Done():
            return generator_pb2.AnswerEvent(done=done(event))


def citation(made: Citation) -> generator_pb2.Citation:
    """A citation; page 0 where there are none."""
    return generator_pb2.Citation(
        marker=made.marker,
        document_id=made.document_id,
        passage_id=made.passage_id,
        quote=made.quote,
        start=made.start,
        end=made.end,
        page=made.page or 0,
        score=made.score,
        masked=BLANK in made.quote,
    )


def usage(spent: Usage) -> generator_pb2.Usage:
    """The tokens."""
    return generator_pb2.Usage(
        prompt_tokens=spent.prompt_tokens, completion_tokens=spent.completion_tokens, cost=spent.cost
    )


def done(event: Done) -> generator_pb2.Done:
    """The end of a stream."""
    outcome = event.outcome
    return generator_pb2.Done(
        id=event.id,
        answer=outcome.answer,
        abstained=outcome.abstained,
        degraded=outcome.degraded,
        timings_ms=dict(event.timings_ms),
        generation=event.generation,
        cached=event.cached,
        model=outcome.model,
        explain_json=orjson.dumps(outcome.explain).decode() if outcome.explain is not None else "",
        finish=outcome.finish,
        prompt=outcome.prompt,
        query=event.query,
        session_id=event.session_id,
        like=event.like,
        unsupported=[generator_pb2.Unsupported(**asdict(each)) for each in outcome.unsupported],
        findings=[generator_pb2.GuardFinding(**asdict(each)) for each in event.findings],
        pointers=[
            generator_pb2.Pointer(pointer=pointer, markers=markers)
            for pointer, markers in outcome.pointers.items()
        ],
    )
