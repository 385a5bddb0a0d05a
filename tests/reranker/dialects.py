"""The dialects that the scorers http and llm speak, as servers that take what is documented and no more.

What they say of a passage is what the shipped overlap scorer says of it.
"""

from __future__ import annotations

import json
import math
import re
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from ragline.encoder import PairClassifier, Tokens
from services.reranker.pool import Pool
from services.reranker.scorers.overlap import Overlap

KEY = "the-key-of-the-tests"


def overlap(query: str, texts: Sequence[str]) -> list[float]:
    """What every server here says of passages."""
    pool = Pool(1, 1)
    try:
        return Overlap(pool, 0.6, 0.3, 0.3).scores(query, texts)
    finally:
        pool.close()


class Body(BaseModel):
    """A request that may hold nothing else."""

    model_config = ConfigDict(extra="forbid", strict=True)


Texts = Annotated[list[str], Field(min_length=1, max_length=1000)]
Blankless = Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1, max_length=1000)]


class CohereBody(Body):
    """https://docs.cohere.com/reference/rerank"""

    model: str
    query: str
    documents: Texts
    top_n: int | None = None
    max_tokens_per_doc: int | None = None
    priority: int | None = None


class JinaBody(Body):
    """https://api.jina.ai/redoc"""

    model: str | None = None
    query: str
    documents: Texts
    top_n: int | None = None
    return_documents: bool = True


class VoyageBody(Body):
    """https://docs.voyageai.com/reference/reranker-api"""

    model: str
    query: Annotated[str, Field(min_length=1)]
    documents: Blankless
    top_k: int | None = None
    return_documents: bool = False
    truncation: bool = True


class TeiBody(Body):
    """https://huggingface.github.io/text-embeddings-inference"""

    query: str
    texts: Texts
    truncate: bool = False
    truncation_direction: Literal["Left", "Right"] = "Right"
    raw_scores: bool = False
    return_text: bool = False


class Tensor(Body):
    """A tensor of the Open Inference Protocol."""

    name: str
    shape: list[int]
    datatype: Literal["BYTES", "INT64"]
    data: list[str] | list[int]


class Wanted(Body):
    """An output that is asked for."""

    name: str


class InferBody(Body):
    """https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol"""

    id: str = ""
    inputs: list[Tensor]
    outputs: list[Wanted] = []


def ranked(scores: Sequence[float], key: str) -> list[dict[str, Any]]:
    """Entries, best first."""
    entries = [{"index": index, key: score} for index, score in enumerate(scores)]
    return sorted(entries, key=lambda entry: -entry[key])


def cohere(app: FastAPI) -> None:
    @app.post("/v2/rerank")
    def rerank(body: CohereBody) -> dict[str, Any]:
        results = ranked(overlap(body.query, body.documents), "relevance_score")
        meta = {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}}
        return {"id": secrets.token_hex(8), "results": results, "meta": meta}


def jina(app: FastAPI) -> None:
    @app.post("/v1/rerank")
    def rerank(body: JinaBody) -> dict[str, Any]:
        results = ranked(overlap(body.query, body.documents), "relevance_score")
        if body.return_documents:
            results = [each | {"document": {"text": body.documents[each["index"]]}} for each in results]
        return {"model": body.model, "usage": {"total_tokens": 1}, "results": results}


def voyage(app: FastAPI) -> None:
    @app.post("/v1/rerank")
    def rerank(body: VoyageBody) -> dict[str, Any]:
        data = ranked(overlap(body.query, body.documents), "relevance_score")
        return {"object": "list", "data": data, "model": body.model, "usage": {"total_tokens": 1}}


def tei(app: FastAPI) -> None:
    @app.post("/rerank", response_model=None)
    def rerank(body: TeiBody) -> list[dict[str, Any]] | Response:
        if len(body.texts) > 32:
            says = f"batch size {len(body.texts)} > maximum allowed batch size 32"
            return JSONResponse({"error": says, "error_type": "Validation"}, 413)
        return ranked(overlap(body.query, body.texts), "score")


def triton(app: FastAPI) -> None:
    @app.post("/v2/models/words/infer", response_model=None)
    def infer(body: InferBody) -> dict[str, Any] | Response:
        given = {tensor.name: tensor for tensor in body.inputs}
        if set(given) != {"QUERY", "TEXT"} or any(t.shape != [len(t.data), 1] for t in body.inputs):
            return JSONResponse({"error": "unexpected inputs"}, 400)
        queries, texts = ([str(each) for each in given[name].data] for name in ("QUERY", "TEXT"))
        scores = [overlap(query, [text])[0] for query, text in zip(queries, texts, strict=True)]
        tensor = {"name": "SCORE", "datatype": "FP32", "shape": [len(scores), 1], "data": scores}
        return {"model_name": "words", "model_version": "1", "outputs": [tensor]}


SHAPES: dict[str, Callable[[FastAPI], None]] = {
    "cohere": cohere,
    "jina": jina,
    "voyage": voyage,
    "tei": tei,
    "triton": triton,
}


def classifying(folder: Path) -> Callable[[FastAPI], None]:
    """A server that takes word pieces and runs a cross-encoder on them, two numbers a passage."""
    classifier = PairClassifier.open(folder, threads=1)

    def add(app: FastAPI) -> None:
        @app.post("/v2/models/pieces/infer")
        def infer(body: InferBody) -> dict[str, Any]:
            given = {tensor.name: tensor for tensor in body.inputs}
            rows, width = given["input_ids"].shape
            logits = []
            for row in range(rows):
                ids, mask, types = (
                    [int(each) for each in given[name].data[row * width : (row + 1) * width]]
                    for name in ("input_ids", "attention_mask", "token_type_ids")
                )
                logits.append(float(classifier.score([pieces(ids[: sum(mask)], types[: sum(mask)])])[0, 0]))
            nested = [[0.0, logit] for logit in logits]
            tensor = {"name": "logits", "datatype": "FP32", "shape": [rows, 2], "data": nested}
            other = {"name": "pooled", "datatype": "FP32", "shape": [1], "data": [0.0]}
            return {"model_name": "pieces", "outputs": [other, tensor]}

    return add


def pieces(ids: Sequence[int], types: Sequence[int]) -> Tokens:
    """Word pieces as the classifier takes them."""
    none = np.zeros(len(ids), np.bool_)
    return Tokens(np.array(ids), none, none, np.zeros((len(ids), 2), np.int32), np.array(types))


class Said(Body):
    """A message."""

    role: Literal["system", "user", "assistant"]
    content: str


class ChatBody(Body):
    """https://platform.openai.com/docs/api-reference/chat/create, as far as it is used."""

    model: str
    messages: Annotated[list[Said], Field(min_length=1)]
    temperature: float | None = None
    seed: int | None = None
    max_tokens: int | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: dict[str, Any] | None = None


def chat(*, schemas: bool = True, logprobs: bool = True) -> Callable[[FastAPI], None]:
    """A chat server whose model is the overlap scorer: it can rank passages and say yes or no."""

    def add(app: FastAPI) -> None:
        @app.post("/v1/chat/completions", response_model=None)
        def complete(body: ChatBody) -> dict[str, Any] | Response:
            if body.response_format and not schemas:
                return JSONResponse({"error": {"message": "response_format is not supported"}}, 400)
            asked = body.messages[-1].content
            query = asked.split("\n", 1)[0].removeprefix("Query: ")
            texts = re.findall(r"<passage[^>]*>\n(.*?)\n</passage>", asked)
            scores = overlap(query, texts)
            numbers = [entry["index"] + 1 for entry in ranked(scores, "score")]
            said = (
                json.dumps({"ranking": numbers})
                if body.response_format
                else " > ".join(map("[{}]".format, numbers))
            )
            choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
            if body.logprobs:
                said = "Yes" if scores[0] > 0.5 else "No"
                choice |= (
                    {"logprobs": {"content": [{"token": said, "top_logprobs": words(scores[0])}]}}
                    if logprobs
                    else {}
                )
            return {
                "object": "chat.completion",
                "choices": [choice | {"message": {"role": "assistant", "content": said}}],
            }

    return add


def words(score: float) -> list[dict[str, Any]]:
    """The likeliest first tokens of one who is so sure of yes."""
    chances = {"Yes": 0.9 * score, "No": 0.9 * (1 - score), "Maybe": 0.1}
    return [{"token": token, "logprob": math.log(max(p, 1e-9))} for token, p in chances.items()]


def app_of(add: Callable[[FastAPI], None], key: str = KEY) -> FastAPI:
    """The application of one dialect; without the key nothing is told."""
    app = FastAPI()
    add(app)

    @app.middleware("http")
    async def guarded(request: Request, call_next: Any) -> Response:
        if request.headers.get("authorization") != f"Bearer {key}":
            sent = request.headers.get("authorization", "")
            return JSONResponse({"message": f"invalid api token {sent}"}, 401)
        response: Response = await call_next(request)
        return response

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        return JSONResponse({"message": str(error.errors()[0])}, 422)

    return app
