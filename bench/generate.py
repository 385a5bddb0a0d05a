"""`/generate`: the time that is spent outside the models."""

from __future__ import annotations

import statistics

import httpx

from bench.report import Row
from tests.suite import put

MODELS = ("embed", "rerank", "evidence", "generate")
QUESTIONS = 30
TOWNS = ("Brell", "Kestrel", "Orvan", "Tamsin", "Uldale", "Weymark", "Yarrow", "Zennor", "Aldham", "Corvey")


def measure(client: httpx.Client) -> Row:
    """The median of what remains of an answer's time when the models' own stages are taken off."""
    put(client, [{"id": town, "title": town, "text": story(town, n)} for n, town in enumerate(TOWNS)], "bench")
    outside, total = [], []
    for number in range(QUESTIONS):
        town = TOWNS[number % len(TOWNS)]
        body = {
            "query": f"How many boats lie in the harbour of {town} in year {1900 + number}?",
            "collection": "bench",
        }
        answer = client.post("/generate", json=body)
        answer.raise_for_status()
        times = answer.json()["timings_ms"]
        outside.append(times["total"] - sum(times.get(stage, 0.0) for stage in MODELS))
        total.append(times["total"])
    value = statistics.median(outside)
    detail = f"whole answer {statistics.median(total):.0f} ms"
    return Row("generate: ms outside the models", value, "≤ 10", value <= 10, detail)


def story(town: str, number: int) -> str:
    """A few sentences with one fact that can be asked for."""
    return (
        f"{town} is a town on the coast. In its harbour lie {17 + number} boats. The market is held on a square "
        f"behind the church. Its {3 + number} mills were closed long ago. Most people work at the railway."
    )
