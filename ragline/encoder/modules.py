"""Reads how a sentence-transformers folder turns token vectors into one vector: modules.json and its folders."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ragline.encoder.architecture import document
from ragline.encoder.safetensors import WAY_OUT
from ragline.settings import SettingsError

MEAN, CLS, MAX, MEAN_SQRT = "mean", "cls", "max", "mean_sqrt_len_tokens"
POOLINGS = (MEAN, CLS, MAX, MEAN_SQRT)
FLAGS = {
    "pooling_mode_cls_token": CLS,
    "pooling_mode_max_tokens": MAX,
    "pooling_mode_mean_tokens": MEAN,
    "pooling_mode_mean_sqrt_len_tokens": MEAN_SQRT,
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
ACTIVATIONS = {"Identity": "", "Tanh": "Tanh", "ReLU": "Relu", "GELU": "Gelu", "Sigmoid": "Sigmoid"}
SILENT = {"Normalize", "Dropout"}


@dataclass(frozen=True)
class Dense:
    """A linear layer after pooling: its folder, and the ONNX operator that is its activation (empty: none)."""

    folder: Path
    activation: str


@dataclass(frozen=True)
class Head:
    """Pooling, then dense layers in order. The result is always brought to unit length.

    ``folder`` is where the transformer itself lies: in old layouts not the model's folder but one in it.
    """

    folder: Path
    pooling: str = MEAN
    dense: tuple[Dense, ...] = ()


def head(folder: Path) -> Head:
    """What modules.json asks for; averaging where there is none. SettingsError for a step not built here."""
    file = folder / "modules.json"
    if not file.is_file():
        return Head(folder)
    try:
        steps = [
            (entry["type"].rpartition(".")[2], folder / entry["path"]) for entry in json.loads(file.read_bytes())
        ]
    except (ValueError, TypeError, KeyError) as error:
        raise SettingsError(f"{file} is no list of modules ({error}); fetch it again.") from None
    if not steps or steps[0][0] != "Transformer":
        kind = steps[0][0] if steps else "nothing"
        raise SettingsError(f"{folder} begins with {kind} and not with a Transformer module; {WAY_OUT}")
    found, dense = MEAN, []
    for kind, place in steps[1:]:
        if kind == "Pooling":
            found = pooling(place / "config.json")
        elif kind == "Dense":
            dense.append(Dense(place, activation(place / "config.json")))
        elif kind not in SILENT:
            raise SettingsError(f"{folder} ends in a {kind} module, which is not built here; {WAY_OUT}")
    return Head(steps[0][1], found, tuple(dense))


def pooling(file: Path) -> str:
    """The one pooling that a Pooling module's config names, in its old form (flags) or its new one."""
    config = document(file)
    modes = config.get("pooling_mode") or [mode for flag, mode in FLAGS.items() if config.get(flag)] or MEAN
    modes = [modes] if isinstance(modes, str) else list(modes)
    if len(modes) != 1 or modes[0] not in POOLINGS:
        known = ", ".join(POOLINGS)
        raise SettingsError(f"{file} asks for {' + '.join(modes)} pooling; built here are {known}; {WAY_OUT}")
    return str(modes[0])


def activation(file: Path) -> str:
    """The ONNX operator of a Dense module's activation."""
    name = str(document(file).get("activation_function", "Tanh")).rpartition(".")[2]
    if name not in ACTIVATIONS:
        raise SettingsError(
            f"{file} has the activation {name}; built here are {', '.join(ACTIVATIONS)}; {WAY_OUT}"
        )
    return ACTIVATIONS[name]
