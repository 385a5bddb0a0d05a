"""How the rerank servers of the world are asked, and what their answers mean: one shape each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ragline.errors import Unavailable
from services.reranker.scorers import _http_tensors as tensors
from services.reranker.scorers._http_tensors import Malformed, Tensors, numbers, whole

Name = Literal["cohere", "jina", "voyage", "tei", "triton", "ragline"]


@dataclass(frozen=True)
class Told:
    """What of the options a request's body depends on; ``extra`` goes into it as it is."""

    model: str
    extra: Mapping[str, Any]
    tensors: Tensors


@dataclass(frozen=True)
class Shape:
    """One way of asking.

    ``path`` is where, if the URL does not say; ``most`` passages go into one call; ``pairwise`` says that each is
    scored for itself, ``unit`` that scores are from 0 to 1, ``needs_model`` that a model must be named.
    """

    path: str
    most: int
    body: Callable[[Told, str, Sequence[str]], dict[str, Any]]
    scores: Callable[[Told, Any, int], list[float]]
    pairwise: bool = True
    unit: bool = True
    needs_model: bool = False


def documents(told: Told, query: str, texts: Sequence[str]) -> dict[str, Any]:
    """Cohere's v2 body, which Voyage, vLLM, llama.cpp, SiliconFlow, Infinity and others take as well."""
    model = {"model": told.model} if told.model else {}
    return {**model, "query": query, "documents": list(texts), **told.extra}


def jina_body(told: Told, query: str, texts: Sequence[str]) -> dict[str, Any]:
    """Jina's: Cohere's, and else the passages would come back."""
    return {"return_documents": False} | documents(told, query, texts)


def tei_body(told: Told, query: str, texts: Sequence[str]) -> dict[str, Any]:
    """Text Embeddings Inference's: longer texts than the model's are cut, scores are chances."""
    return {"query": query, "texts": list(texts), "truncate": True, "raw_scores": False, **told.extra}


def ragline_body(told: Told, query: str, texts: Sequence[str]) -> dict[str, Any]:
    """That of another reranker of this suite; ``model`` is the scorer asked for."""
    scorer = {"scorer": told.model} if told.model else {}
    return {"query": query, "passages": list(texts), **scorer, **told.extra}


def results(told: Told, answer: Any, count: int) -> list[float]:
    """The scores in ``results``, as Cohere and Jina have them."""
    return by_place(member(answer, "results"), "relevance_score", count)


def data(told: Told, answer: Any, count: int) -> list[float]:
    """The scores in ``data``, as Voyage has them."""
    return by_place(member(answer, "data"), "relevance_score", count)


def ranks(told: Told, answer: Any, count: int) -> list[float]:
    """The scores of a bare list, as Text Embeddings Inference has them."""
    return by_place(answer, "score", count)


def ragline_scores(told: Told, answer: Any, count: int) -> list[float]:
    """The scores of another reranker, unless others than the scorer asked for made them."""
    if member(answer, "degraded", ()) or not member(answer, "scorer"):
        raise Unavailable("The scorer of the server of http failed, and others stood in for it.")
    return by_place(member(answer, "results"), "score", count)


def member(answer: Any, name: str, default: Any = None) -> Any:
    """A member of the answer. Raises Malformed where there is none and no default."""
    if isinstance(answer, dict) and (name in answer or default is not None):
        return answer.get(name, default)
    raise Malformed(f"it has no {name}")


def by_place(found: Any, key: str, count: int) -> list[float]:
    """One finite score for each of ``count`` passages, from entries that name a passage by its index.

    Raises Malformed where an index is missing, foreign or there twice, or a score is no finite number.
    """
    if not isinstance(found, list):
        raise Malformed("it has no list of results")
    scores: dict[int, float] = {}
    for entry in found:
        index = entry.get("index") if isinstance(entry, dict) else None
        if not whole(index) or not 0 <= index < count:
            raise Malformed(f"it has a result for passage {index!r} of {count}")
        if index in scores:
            raise Malformed(f"it has two results for passage {index}")
        [scores[index]] = numbers([entry.get(key)])
    if len(scores) != count:
        missing = next(index for index in range(count) if index not in scores)
        raise Malformed(f"it has no result for passage {missing}")
    return [scores[index] for index in range(count)]


def tensor_body(told: Told, query: str, texts: Sequence[str]) -> dict[str, Any]:
    """The body of the Open Inference Protocol."""
    return {**tensors.body(told.tensors, query, texts), **told.extra}


def tensor_scores(told: Told, answer: Any, count: int) -> list[float]:
    """The scores in an output tensor."""
    return tensors.scores(told.tensors, answer, count)


SHAPES: dict[Name, Shape] = {
    "cohere": Shape("/v2/rerank", 1000, documents, results, needs_model=True),
    "jina": Shape("/v1/rerank", 1000, jina_body, results),
    "voyage": Shape("/v1/rerank", 1000, documents, data, needs_model=True),
    # Its --max-client-batch-size is 32 unless it is told otherwise.
    "tei": Shape("/rerank", 32, tei_body, ranks),
    "triton": Shape("/v2/models/{model}/infer", 64, tensor_body, tensor_scores, unit=False, needs_model=True),
    # What its scorers look at besides the pair is not known here.
    "ragline": Shape("/rerank", 1000, ragline_body, ragline_scores, pairwise=False),
}
