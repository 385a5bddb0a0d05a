"""Builds what comes after the encoder: pooling to one vector, or a classifier's logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ragline.encoder.architecture import Architecture
from ragline.encoder.graph import Graph
from ragline.encoder.layers import Encoded
from ragline.encoder.modules import CLS, MAX, MEAN, Dense, Head
from ragline.encoder.protobuf import FLOAT
from ragline.encoder.safetensors import WAY_OUT, Weights
from ragline.settings import SettingsError

LOWEST = -3.4e38
Steps = tuple[Sequence[tuple[str, str]], str]
"""(Layer, activation) up to the last layer of a classifier, and that one, which gives the logits."""
USUAL: Steps = ([("classifier.dense", "Tanh")], "classifier.out_proj")
STEPS: Mapping[str, Steps] = {
    "bert": ([("pooler.dense", "Tanh")], "classifier"),
    "distilbert": ([("pre_classifier", "Relu")], "classifier"),
    "electra": ([("classifier.dense", "Gelu")], "classifier.out_proj"),
}


def embedder(graph: Graph, encoded: Encoded, head: Head, width: int) -> int:
    """Add the outputs ``vector`` (batch, dimensions) and ``token_vectors`` (batch, length, width).

    ``vector`` is of unit length; returns its dimensions. Reimers and Gurevych 2019 (sentence-BERT).
    """
    vector, dimensions = pool(graph, encoded, head.pooling), width
    for layer in head.dense:
        vector, dimensions = dense(graph, vector, layer, dimensions)
    norm = graph.node("ReduceL2", vector, graph.constant([1]), keepdims=1)
    unit = graph.node("Div", vector, graph.node("Max", norm, graph.constant(1e-12)))
    graph.output("vector", unit, "batch", dimensions)
    graph.output("token_vectors", encoded.hidden, "batch", "length", width)
    return dimensions


def pool(graph: Graph, encoded: Encoded, mode: str) -> str:
    """One vector a text, (batch, width), of its token vectors; padding is left out."""
    if mode == CLS:
        return first(graph, encoded)
    mask = graph.node("Cast", encoded.mask, to=FLOAT)
    if mode == MAX:
        beyond = graph.node("Mul", graph.node("Sub", graph.constant(1.0), mask), graph.constant(LOWEST))
        raised = graph.node("Add", encoded.hidden, graph.node("Unsqueeze", beyond, graph.constant([2])))
        return graph.node("ReduceMax", raised, graph.constant([1]), keepdims=0)
    total = graph.node("MatMul", graph.node("Unsqueeze", mask, graph.constant([1])), encoded.hidden)
    count = graph.node("ReduceSum", mask, graph.constant([1]), keepdims=1)
    count = graph.node("Max", count, graph.constant(1e-9))
    divisor = count if mode == MEAN else graph.node("Sqrt", count)
    return graph.node("Div", graph.node("Squeeze", total, graph.constant([1])), divisor)


def first(graph: Graph, encoded: Encoded) -> str:
    """The first token's vector, (batch, width)."""
    return graph.node("Gather", encoded.hidden, graph.constant(0), axis=1)


def dense(graph: Graph, vector: str, layer: Dense, width: int) -> tuple[str, int]:
    """A Dense module's output and its width."""
    weights = Weights(layer.folder)
    weight = weights.array("linear.weight", (None, width))
    bias = weights.array("linear.bias", (len(weight),)) if "linear.bias" in weights else None
    vector = graph.linear(vector, weight, bias)
    return (graph.node(layer.activation, vector) if layer.activation else vector), len(weight)


def classifier(graph: Graph, encoded: Encoded, weights: Weights, model: Architecture) -> int:
    """Add the output ``logits`` (batch, labels), as the transformers classes compute it; returns the labels."""
    steps, last = STEPS.get(model.family, USUAL)
    vector = first(graph, encoded)
    for name, activation in steps:
        vector = graph.node(activation, affine(graph, vector, weights, name, model.width))
    graph.output("logits", affine(graph, vector, weights, last, model.width), "batch", labels(weights, model))
    return labels(weights, model)


def labels(weights: Weights, model: Architecture) -> int:
    """How many labels a classifier's weights tell apart."""
    _, last = STEPS.get(model.family, USUAL)
    return len(weights.array(place(weights, last) + ".weight", (None, model.width)))


def affine(graph: Graph, vector: str, weights: Weights, name: str, width: int) -> str:
    """One of the classifier's linear layers."""
    where = place(weights, name)
    weight = weights.array(where + ".weight", (None, width))
    return graph.linear(vector, weight, weights.array(where + ".bias", (len(weight),)))


def place(weights: Weights, name: str) -> str:
    """The full name of a classifier's layer."""
    prefix = weights.find(name + ".weight")
    if prefix is None:
        raise SettingsError(f"{weights.folder} has no {name}: it is no sequence classifier; {WAY_OUT}")
    return prefix + name
