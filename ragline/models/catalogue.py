"""Which models there are to pull by name: read from ``catalogue.toml`` beside this file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from ragline.models.files import File


@dataclass(frozen=True)
class Model:
    """One model of the catalogue: where its files come from and what they must hash to.

    ``prefix`` is the folder inside the wheel of ``package`` that the paths of ``files`` are under;
    ``upstream`` and ``revision`` name the hub repository that the wheel was made from.
    """

    id: str
    kind: str
    licence: str
    package: str
    version: str
    prefix: str
    upstream: str
    revision: str
    files: tuple[File, ...]

    @property
    def source(self) -> str:
        """Where the files come from, for people."""
        return f"pypi: {self.package}=={self.version}"

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


def shipped() -> dict[str, Model]:
    """The catalogue that comes with this version, by id."""
    text = files("ragline.models").joinpath("catalogue.toml").read_text(encoding="utf-8")
    return parse(tomllib.loads(text))


def parse(table: Mapping[str, Any]) -> dict[str, Model]:
    """The models of a catalogue's TOML table, by id."""
    models = {}
    for entry in table["model"]:
        listed = tuple(File(**file) for file in entry["files"])
        models[entry["id"]] = Model(**{**entry, "files": listed})
    return models
