"""Compares JSON with the shape that the contract gives it."""

from collections.abc import Mapping
from typing import Any

NUMBER = (int, float)
PASSAGE = {
    "id": str,
    "document_id": str,
    "title": str,
    "text": str,
    "score": NUMBER,
    "page?": int,
    "start": int,
    "end": int,
    "metadata": dict,
}
RETRIEVED = {"passages": [PASSAGE], "generation": int, "timings_ms": {"total": NUMBER}}
CITATION = {
    "marker": str,
    "document_id": str,
    "passage_id": str,
    "quote": str,
    "start": int,
    "end": int,
    "page?": int,
    "score": NUMBER,
}
ANSWER = {
    "id": str,
    "answer": str,
    "citations": [CITATION],
    "abstained": bool,
    "degraded": [str],
    "usage": {"prompt_tokens": int, "completion_tokens": int, "cost": NUMBER},
    "timings_ms": {"total": NUMBER},
    "generation": int,
    "cached": bool,
    "model": str,
    "prompt": str,
    "finish": str,
    "query?": str,
    "session_id?": str,
    "unsupported?": [{"start": int, "end": int, "reason": str}],
    "findings?": [{"guard": str, "stage": str, "action": str, "detail": str, "count": int}],
}
JOB = {
    "id": str,
    "state": str,
    "done": int,
    "total": int,
    "errors": [{"document_id": str, "reason": str}],
}


def check(value: Any, shape: Any, path: str = "body") -> None:
    """Fail unless ``value`` has ``shape``: types, [shape of all], {name: shape}; ``name?`` may be absent."""
    if isinstance(shape, Mapping):
        assert isinstance(value, dict), f"{path} is {value!r}"
        for name, inner in shape.items():
            key = name.removesuffix("?")
            assert key in value or name != key, f"{path} has no {key}"
            if key in value:
                check(value[key], inner, f"{path}.{key}")
    elif isinstance(shape, list):
        assert isinstance(value, list), f"{path} is {value!r}"
        for n, each in enumerate(value):
            check(each, shape[0], f"{path}[{n}]")
    else:
        assert isinstance(value, shape), f"{path} is {value!r}"
        assert not isinstance(value, bool) or shape is bool, f"{path} is {value!r}"
