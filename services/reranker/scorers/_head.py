"""Makes one score of a sequence classifier's logits: which label, through which activation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ragline.settings import SettingsError
from services.reranker.scorers._calibration import DEFAULT, UNIT, Calibration

Activation = Literal["auto", "sigmoid", "identity", "softmax"]

CLASSES: Mapping[str, Activation] = {
    "torch.nn.modules.activation.Sigmoid": "sigmoid",
    "torch.nn.Sigmoid": "sigmoid",
    "torch.nn.modules.linear.Identity": "identity",
    "torch.nn.Identity": "identity",
    "torch.nn.modules.activation.Softmax": "softmax",
    "torch.nn.Softmax": "softmax",
}


@dataclass(frozen=True, slots=True)
class Head:
    """The label that is the score, and what its logit goes through."""

    activation: Activation
    label: int

    @property
    def calibration(self) -> Calibration:
        """What makes a score a chance: nothing where the activation did, the logistic function for a logit."""
        return DEFAULT if self.activation == "identity" else UNIT

    def scores(self, logits: npt.NDArray[np.float32]) -> list[float]:
        """One score a row of (n, labels) logits."""
        chosen: list[float] = activated(logits, self.activation)[:, self.label].tolist()
        return chosen


def head(config: Mapping[str, Any], labels: int, activation: Activation, label: int | str | None) -> Head:
    """The head that the options ask for, where they leave it open the model's config.json.

    Raises SettingsError for an activation or a label that is not known.
    """
    return Head(resolved_activation(config, labels, activation), resolved_label(config, labels, label))


def resolved_activation(config: Mapping[str, Any], labels: int, chosen: Activation) -> Activation:
    """As sentence-transformers: the class named in the config, else sigmoid for one label, none for several."""
    if chosen != "auto":
        return chosen
    named = config.get("sentence_transformers") or {}
    path = named.get("activation_fn") or config.get("sbert_ce_default_activation_function")
    if path is None:
        return "sigmoid" if labels == 1 else "identity"
    if path not in CLASSES:
        raise SettingsError(f"the model's activation {path} is not known here; set the option activation.")
    return CLASSES[path]


def resolved_label(config: Mapping[str, Any], labels: int, chosen: int | str | None) -> int:
    """The column of the logits that is the score, chosen by number or by name."""
    names = {str(name): int(number) for number, name in (config.get("id2label") or {}).items()}
    known = ", ".join(f"{number} ({name})" for name, number in names.items()) or f"0 to {labels - 1}"
    if chosen is None:
        if labels == 1:
            return 0
        raise SettingsError(f"the model has {labels} labels; set the option label to one of {known}.")
    number = names.get(chosen, -1) if isinstance(chosen, str) else chosen
    if not 0 <= number < labels:
        raise SettingsError(f"the model has no label {chosen!r}; it has {known}.")
    return number


def activated(logits: npt.NDArray[np.float32], how: Activation) -> npt.NDArray[np.float64]:
    """The logits through the activation; in double precision, so that two sure scores do not tie at 1."""
    values = logits.astype(np.float64)
    if how == "sigmoid":
        return np.asarray(np.exp(-np.logaddexp(0.0, -values)))
    if how == "softmax":
        return np.asarray(np.exp(values - np.logaddexp.reduce(values, axis=1, keepdims=True)))
    return values
