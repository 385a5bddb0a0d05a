"""Search quality over REST: each mode, each way to fuse, and the reranker behind them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from ragline.evaluation.beir import Dataset
from ragline.evaluation.metrics import ndcg, recall, reciprocal_rank
from tests.suite import put

DEPTH = 100  # passages asked for, as many as each side offers by default: more would change what is scaled
POOL = 50  # passages that the reranker orders by default; it changes no recall below that
WEIGHTS = (0.3, 0.4, 0.5, 0.6, 0.7)  # of the dense side, beside the default
SYSTEMS: Mapping[str, dict[str, Any]] = {
    "sparse": {"mode": "sparse", "top_k": DEPTH},
    "dense": {"mode": "dense", "top_k": DEPTH},
    "rrf": {"mode": "hybrid", "fusion": "rrf", "top_k": DEPTH},
    **{
        f"weighted {weight}": {"mode": "hybrid", "fusion": "weighted", "dense_weight": weight, "top_k": DEPTH}
        for weight in WEIGHTS
    },
    "hybrid": {"mode": "hybrid", "top_k": DEPTH},
    "auto": {"mode": "auto", "top_k": DEPTH},
    "hybrid + reranker": {"mode": "hybrid", "top_k": POOL, "rerank": True},
    "auto + reranker": {"mode": "auto", "top_k": POOL, "rerank": True},
}
ENVIRONMENT = {"RETRIEVER_MAX_TOP_K": str(DEPTH)}
DOCUMENTS_A_REQUEST = 500
QUERIES_A_REQUEST = 50


def ingest(client: httpx.Client, data: Dataset) -> None:
    """Put the corpus into a collection of the set's name; raises RuntimeError when a document is refused."""
    rows = [{"id": key, **row} for key, row in data.corpus.items() if row["text"].strip() or row["title"].strip()]
    rows = [{**row, "text": row["text"] if row["text"].strip() else row["title"]} for row in rows]
    for start in range(0, len(rows), DOCUMENTS_A_REQUEST):
        job = put(client, rows[start : start + DOCUMENTS_A_REQUEST], collection=data.name)
        if job["errors"]:
            raise RuntimeError(f"{len(job['errors'])} documents refused, the first: {job['errors'][0]}")


def measure(client: httpx.Client, data: Dataset, limit: int) -> dict[str, dict[str, list[float]]]:
    """Per system and metric, one value a query: ndcg@10, recall@100, mrr@10."""
    answered = [
        (key, text) for key, text in data.queries.items() if any(g > 0 for g in data.judgements[key].values())
    ]
    queries = dict(answered[:limit])  # where nothing is relevant no order is better than another
    return {
        name: evaluate(data, dict(rankings(client, data.name, queries, options)), options["top_k"])
        for name, options in SYSTEMS.items()
    }


def evaluate(data: Dataset, found: Mapping[str, list[str]], passages: int) -> dict[str, list[float]]:
    """The metrics of one system's rankings; recall only where they are deep enough."""
    pairs = [(ranking, data.judgements[query]) for query, ranking in found.items()]
    metrics = {
        "ndcg@10": [ndcg(ranking, grades) for ranking, grades in pairs],
        "mrr@10": [reciprocal_rank(ranking, grades) for ranking, grades in pairs],
    }
    if passages == DEPTH:
        metrics["recall@100"] = [recall(ranking, grades) for ranking, grades in pairs]
    return metrics


def rankings(
    client: httpx.Client, collection: str, queries: Mapping[str, str], options: Mapping[str, Any]
) -> Iterator[tuple[str, list[str]]]:
    """Each query's documents, best passage first."""
    items = list(queries.items())
    for start in range(0, len(items), QUERIES_A_REQUEST):
        part = items[start : start + QUERIES_A_REQUEST]
        body = {"queries": [text for _, text in part], "collection": collection, **options}
        answer = client.post("/retrieve", json=body)
        answer.raise_for_status()
        for (query, _), result in zip(part, answer.json()["results"], strict=True):
            yield query, list(dict.fromkeys(passage["document_id"] for passage in result["passages"]))
