"""The Open Inference Protocol (KServe v2) that Triton speaks: texts, or their word pieces, as tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypeGuard

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ragline.encoder import Tokens

NUMBERS = frozenset({"FP16", "FP32", "FP64", "BF16"})

Tokenize = Callable[[str, Sequence[str]], Sequence[Tokens]]


class Malformed(Exception):
    """An answer that breaks the protocol; the text ends the sentence "the answer is no good: …"."""


class Tensors(BaseModel):
    """The names of a model's tensors, of shape (passages, 1) and BYTES, or (passages, word pieces) and INT64.

    With ``tokenizer`` (a model as ``model`` of the cross-encoder) word pieces are sent, as many as ``max_tokens``
    of each pair; an empty name leaves a tensor out. ``output`` is of shape (passages,), (passages, 1) or, with
    ``label``, (passages, labels); empty: the only one there is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    query: str = "QUERY"
    text: str = "TEXT"
    output: str = ""
    label: Annotated[int, Field(ge=0)] = 0
    tokenizer: str = ""
    max_tokens: Annotated[int, Field(ge=8)] = 512
    ids: str = "input_ids"
    mask: str = "attention_mask"
    types: str = "token_type_ids"


def body(names: Tensors, query: str, texts: Sequence[str]) -> dict[str, Any]:
    """Query and passages as two tensors of texts."""
    inputs = [strings(names.query, [query] * len(texts)), strings(names.text, texts)]
    return {"inputs": inputs, **outputs(names)}


def token_body(names: Tensors, pairs: Sequence[Tokens]) -> dict[str, Any]:
    """The word pieces of the pairs as up to three tensors, padded to the longest pair."""
    longest = max(len(pair) for pair in pairs)
    rows = np.zeros((3, len(pairs), longest), np.int64)
    for row, pair in enumerate(pairs):
        rows[:, row, : len(pair)] = pair.ids, np.ones(len(pair), np.int64), pair.types
    named = [(names.ids, rows[0]), (names.mask, rows[1]), (names.types, rows[2])]
    inputs = [
        {"name": name, "shape": list(array.shape), "datatype": "INT64", "data": array.ravel().tolist()}
        for name, array in named
        if name
    ]
    return {"inputs": inputs, **outputs(names)}


def strings(name: str, texts: Sequence[str]) -> dict[str, Any]:
    """A tensor of one text a row."""
    return {"name": name, "shape": [len(texts), 1], "datatype": "BYTES", "data": list(texts)}


def outputs(names: Tensors) -> dict[str, Any]:
    """Which tensor is wanted, where the model has several."""
    return {"outputs": [{"name": names.output}]} if names.output else {}


def scores(names: Tensors, answer: Any, count: int) -> list[float]:
    """One finite score a passage. Raises Malformed."""
    tensor = chosen(names, answer)
    shape, values = tensor.get("shape"), flat(tensor.get("data"))
    if not isinstance(shape, list) or not all(whole(size) for size in shape) or math.prod(shape) != len(values):
        raise Malformed(f"its tensor of shape {shape!r} has {len(values)} numbers")
    if tensor.get("datatype") not in NUMBERS or not shape or shape[0] != count:
        raise Malformed(f"its tensor is {tensor.get('datatype')!r} of shape {shape!r} for {count} passages")
    width = len(values) // max(count, 1)
    if names.label >= width or (width > 1 and "label" not in names.model_fields_set):
        raise Malformed(f"it has {width} numbers a passage; set tensors.label to the one that is the score")
    return numbers(values[names.label :: width])


def chosen(names: Tensors, answer: Any) -> Mapping[str, Any]:
    """The output tensor that is wanted."""
    found = answer.get("outputs") if isinstance(answer, dict) else None
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise Malformed("it has no outputs")
    if not names.output and len(found) == 1:
        return dict(found[0])
    named = [each for each in found if each.get("name") == names.output]
    if len(named) != 1:
        raise Malformed(f"it has the outputs {[each.get('name') for each in found]}; set tensors.output to one")
    return dict(named[0])


def flat(data: Any) -> list[Any]:
    """The numbers of a tensor, which a server may nest by rows."""
    if not isinstance(data, list):
        raise Malformed("its tensor has no data")
    return [one for each in data for one in (flat(each) if isinstance(each, list) else [each])]


def numbers(values: Sequence[Any]) -> list[float]:
    """The values, if each is a finite number."""
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise Malformed(f"it has the score {value!r}")
    return [float(value) for value in values]


def whole(value: Any) -> TypeGuard[int]:
    """Whether a value is a whole number."""
    return isinstance(value, int) and not isinstance(value, bool)
