"""Reads what a model is from its config.json: the family, its sizes, and where its tensors lie."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragline.encoder.safetensors import WAY_OUT
from ragline.settings import SettingsError

GELU, GELU_TANH, RELU = "gelu", "gelu_tanh", "relu"
ACTIVATIONS = {
    "gelu": GELU,
    "gelu_python": GELU,
    "gelu_new": GELU_TANH,
    "gelu_fast": GELU_TANH,
    "gelu_pytorch_tanh": GELU_TANH,
    "relu": RELU,
}


@dataclass(frozen=True)
class Names:
    """Where a family keeps the tensors of layer ``{}``, below the model's prefix."""

    query: str = "encoder.layer.{}.attention.self.query"
    key: str = "encoder.layer.{}.attention.self.key"
    value: str = "encoder.layer.{}.attention.self.value"
    mixed: str = "encoder.layer.{}.attention.output.dense"
    mixed_norm: str = "encoder.layer.{}.attention.output.LayerNorm"
    up: str = "encoder.layer.{}.intermediate.dense"
    down: str = "encoder.layer.{}.output.dense"
    norm: str = "encoder.layer.{}.output.LayerNorm"


BERT = Names()
DISTILBERT = Names(
    query="transformer.layer.{}.attention.q_lin",
    key="transformer.layer.{}.attention.k_lin",
    value="transformer.layer.{}.attention.v_lin",
    mixed="transformer.layer.{}.attention.out_lin",
    mixed_norm="transformer.layer.{}.sa_layer_norm",
    up="transformer.layer.{}.ffn.lin1",
    down="transformer.layer.{}.ffn.lin2",
    norm="transformer.layer.{}.output_layer_norm",
)
MPNET = Names(
    query="encoder.layer.{}.attention.attn.q",
    key="encoder.layer.{}.attention.attn.k",
    value="encoder.layer.{}.attention.attn.v",
    mixed="encoder.layer.{}.attention.attn.o",
    mixed_norm="encoder.layer.{}.attention.LayerNorm",
)
FAMILIES = {
    "bert": BERT,
    "roberta": BERT,
    "xlm-roberta": BERT,
    "camembert": BERT,
    "electra": BERT,
    "distilbert": DISTILBERT,
    "mpnet": MPNET,
}
SHIFTED = {"roberta", "xlm-roberta", "camembert", "mpnet"}
"""Families whose first position is not 0: it is one past the padding token's id."""


@dataclass(frozen=True)
class Architecture:
    """A model's family and sizes. ``first_position`` is the row of the position table that the first token has."""

    family: str
    width: int
    heads: int
    layers: int
    epsilon: float
    activation: str
    first_position: int

    @property
    def two_segments(self) -> bool:
        """Whether the second text of a pair has a type of its own; the shifted families are trained without."""
        return self.family not in SHIFTED

    @property
    def names(self) -> Names:
        """Where the tensors lie."""
        return FAMILIES[self.family]


def document(file: Path) -> dict[str, Any]:
    """A JSON object from a file; SettingsError where it is missing or is none."""
    try:
        content = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise SettingsError(f"{file} is missing: {file.parent} is no model folder.") from None
    except ValueError as error:
        raise SettingsError(f"{file} is no JSON ({error}); fetch it again.") from None
    if not isinstance(content, dict):
        raise SettingsError(f"{file} holds no JSON object; fetch it again.")
    return content


def architecture(config: Mapping[str, Any], source: Path) -> Architecture:
    """The architecture that a config.json names; SettingsError where it is none that is built here."""
    family = str(config.get("model_type"))
    if family not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise SettingsError(f"{source} is a {family!r} model; built here are {known}; {WAY_OUT}")
    refuse_variants(config, source)
    act = config.get("activation" if family == "distilbert" else "hidden_act", "gelu")
    if act not in ACTIVATIONS:
        raise SettingsError(
            f"{source} has the activation {act!r}; built here are {', '.join(ACTIVATIONS)}; {WAY_OUT}"
        )
    try:
        distil = family == "distilbert"
        found = Architecture(
            family=family,
            width=int(config["dim" if distil else "hidden_size"]),
            heads=int(config["n_heads" if distil else "num_attention_heads"]),
            layers=int(config["n_layers" if distil else "num_hidden_layers"]),
            epsilon=1e-12 if distil else float(config.get("layer_norm_eps", 1e-12)),
            activation=ACTIVATIONS[act],
            first_position=first_position(family, config),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise SettingsError(f"the config.json of {source} lacks or misstates {error}; fetch it again.") from None
    if found.heads < 1 or found.width % found.heads:
        raise SettingsError(f"the config.json of {source} has {found.heads} heads for a width of {found.width}.")
    return found


def first_position(family: str, config: Mapping[str, Any]) -> int:
    """The row of the position table that the first token has."""
    if family not in SHIFTED:
        return 0
    padding = config.get("pad_token_id")
    return 2 if family == "mpnet" or padding is None else int(padding) + 1


def refuse_variants(config: Mapping[str, Any], source: Path) -> None:
    """Raise for options of a known family that change what its layers compute."""
    position = config.get("position_embedding_type") or "absolute"
    if position != "absolute":
        raise SettingsError(f"{source} has {position} positions; only absolute ones are built here; {WAY_OUT}")
    for name in ("is_decoder", "add_cross_attention", "is_encoder_decoder"):
        if config.get(name):
            raise SettingsError(f"{source} is a decoder ({name}); only encoders are built here; {WAY_OUT}")
