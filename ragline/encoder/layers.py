"""Builds the encoder itself, from token ids to one vector a token, with ONNX Runtime's fused operators.

Devlin et al. 2019 (BERT), Liu et al. 2019 (RoBERTa), Conneau et al. 2020 (XLM-R), Sanh et al. 2019
(DistilBERT), Clark et al. 2020 (ELECTRA), Song et al. 2020 (MPNet).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ragline.encoder.architecture import GELU, GELU_TANH, Architecture
from ragline.encoder.graph import Graph
from ragline.encoder.safetensors import WAY_OUT, Weights
from ragline.settings import SettingsError

WORDS = "embeddings.word_embeddings.weight"
MPNET_BUCKETS, MPNET_DISTANCE = 32, 128
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Encoded:
    """Names in the graph: of the (batch, length, width) token vectors and of the (batch, length) int32 mask."""

    hidden: str
    mask: str
    positions: int
    """Longest text in tokens, special ones included."""
    words: int
    """Word pieces that have a vector."""


class Layers:
    """Writes one model's layers into a graph."""

    def __init__(self, graph: Graph, weights: Weights, model: Architecture) -> None:
        prefix = weights.find(WORDS)
        if prefix is None:
            raise SettingsError(f"{weights.folder} has no tensor {WORDS}; {WAY_OUT}")
        self.graph, self.weights, self.model, self.prefix = graph, weights, model, prefix

    def array(self, name: str, *shape: int | None) -> Floats:
        """A tensor below the model's prefix."""
        return self.weights.array(self.prefix + name, shape)

    def pair(self, name: str, out: int | None, width: int | None) -> tuple[Floats, Floats]:
        """Weight (out, width) and bias (out,) of a linear layer."""
        weight = self.array(name + ".weight", out, width)
        return weight, self.array(name + ".bias", len(weight))

    def norm(self, name: str, width: int) -> tuple[str, str]:
        """Scale and shift of a layer normalisation; old checkpoints call them gamma and beta."""
        old = self.prefix + name + ".gamma" in self.weights
        scale, shift = ("gamma", "beta") if old else ("weight", "bias")
        return tuple(self.graph.weight(self.array(f"{name}.{each}", width)) for each in (scale, shift))  # type: ignore[return-value]

    def build(self, *, pairs: bool) -> Encoded:
        """All layers. With ``pairs``, models that tell two segments apart read ``token_type_ids`` too, and of the
        last layer there is only the first token, (batch, 1, width), as no classifier reads another.
        """
        mask = self.graph.input("attention_mask", "batch", "length")
        hidden, positions, words = self.embed(pairs=pairs)
        bias = self.relative(positions) if self.model.family == "mpnet" else ""
        for layer in range(self.model.layers):
            last = pairs and layer == self.model.layers - 1
            hidden = self.layer(layer, hidden, mask, bias, first=last)
        return Encoded(hidden, mask, positions, words)

    def embed(self, *, pairs: bool) -> tuple[str, int, int]:
        """Word, position and type vectors, added and normalised; how many positions and words there are."""
        g = self.graph
        # Only this family's words may be narrower than its layers.
        words = self.array(WORDS, None, None if self.model.family == "electra" else self.model.width)
        width = words.shape[1]
        table = self.array("embeddings.position_embeddings.weight", None, width)[self.model.first_position :]
        types, segment, kind = self.types(width), "", ""
        if types is not None and pairs and self.model.two_segments:
            segment, kind = g.input("token_type_ids", "batch", "length"), g.weight(types)
        elif types is not None:
            table = table + types[0]
        scale, shift = self.norm("embeddings.LayerNorm", width)
        ids = g.input("input_ids", "batch", "length")
        inputs = (ids, segment, g.weight(words), g.weight(table), kind, scale, shift)
        hidden = g.contrib("EmbedLayerNormalization", *inputs, epsilon=self.model.epsilon, spare=1)
        if width != self.model.width:
            hidden = g.linear(hidden, *self.pair("embeddings_project", self.model.width, width))
        return hidden, len(table), len(words)

    def types(self, width: int) -> Floats | None:
        """The table of segment types; None in families without."""
        name = "embeddings.token_type_embeddings.weight"
        return self.array(name, None, width) if self.prefix + name in self.weights else None

    def layer(self, number: int, x: str, mask: str, bias: str, *, first: bool = False) -> str:
        """Attention and feed-forward, each with its residual and normalisation; ``first``: of the first token."""
        g, names, width, epsilon = self.graph, self.model.names, self.model.width, self.model.epsilon
        every, x = x, self.begin(x, 1) if first else x
        mixed = self.attention(number, x, every, mask, self.begin(bias, 2) if first and bias else bias)
        weight, shift = self.pair(names.mixed.format(number), width, width)
        norm = self.norm(names.mixed_norm.format(number), width)
        x = g.contrib(
            "SkipLayerNormalization", g.linear(mixed, weight), x, *norm, g.weight(shift), epsilon=epsilon
        )
        weight, shift = self.pair(names.up.format(number), None, width)
        inner = self.activated(g.linear(x, weight), g.weight(shift))
        weight, shift = self.pair(names.down.format(number), width, len(weight))
        norm = self.norm(names.norm.format(number), width)
        down = g.linear(inner, weight)
        return g.contrib("SkipLayerNormalization", down, x, *norm, g.weight(shift), epsilon=epsilon)

    def begin(self, x: str, axis: int) -> str:
        """The first of ``x`` along an axis, which stays."""
        g = self.graph
        return g.node("Slice", x, g.constant([0]), g.constant([1]), g.constant([axis]))

    def attention(self, number: int, x: str, every: str, mask: str, bias: str) -> str:
        """Multi-head attention of ``x`` to ``every`` token, with the raw mask: the form by lengths would ignore
        holes.
        """
        names, width = self.model.names, self.model.width
        parts = [self.pair(name.format(number), width, width) for name in (names.query, names.key, names.value)]
        read = (x, every, every)
        query, key, value = (self.graph.linear(of, weight) for of, (weight, _) in zip(read, parts, strict=True))
        shift = self.graph.weight(np.concatenate([shift for _, shift in parts]))
        inputs = (query, key, value, shift, mask) + ((bias,) if bias else ())
        return self.graph.contrib("MultiHeadAttention", *inputs, num_heads=self.model.heads)

    def activated(self, x: str, shift: str) -> str:
        """The feed-forward's activation of ``x + shift``."""
        if self.model.activation == GELU:
            return self.graph.contrib("BiasGelu", x, shift)
        if self.model.activation == GELU_TANH:
            return self.graph.contrib("FastGelu", x, shift)
        return self.graph.node("Relu", self.graph.node("Add", x, shift))

    def relative(self, positions: int) -> str:
        """MPNet's bias by distance, (1, heads, length, length), cut from a table of every distance."""
        g = self.graph
        table = self.array("encoder.relative_attention_bias.weight", MPNET_BUCKETS, self.model.heads)
        bias = table[buckets(positions)].transpose(2, 0, 1)[None]
        length = g.node("Shape", "input_ids", start=1, end=2)
        zeros, ends = g.constant([0, 0]), g.node("Concat", length, length, axis=0)
        return g.node("Slice", g.weight(bias), zeros, ends, g.constant([2, 3]))


def buckets(positions: int) -> NDArray[np.int64]:
    """The bucket (0..31) of every pair of positions: near distances alone, far ones in logarithmic groups.

    As T5's (Raffel et al. 2020), in both directions.
    """
    distance = np.arange(positions)[:, None] - np.arange(positions)[None, :]
    half, far = MPNET_BUCKETS // 2, np.abs(distance)
    exact = half // 2
    with np.errstate(divide="ignore"):
        ratio = np.log(far.astype(np.float32) / exact) / np.log(np.float32(MPNET_DISTANCE / exact))
    steps = ratio * (half - exact)
    logarithmic = np.minimum(exact + np.where(far < exact, 0, steps).astype(np.int64), half - 1)
    return np.where(distance < 0, half, 0) + np.where(far < exact, far, logarithmic)
