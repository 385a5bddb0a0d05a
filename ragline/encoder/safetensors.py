"""Reads a model's weights from its safetensors files by mapping them into memory.

Format: https://huggingface.co/docs/safetensors (8 bytes of header length, a JSON header, then the data).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragline.settings import SettingsError

ONE_FILE = "model.safetensors"
INDEX = "model.safetensors.index.json"
MAX_HEADER = 100_000_000
WIDTHS = {"F32": 4, "F16": 2, "BF16": 2}


class Weights:
    """The tensors of a model folder, read when asked for.

    float32 tensors are views of the mapped file: they cost no memory of their own and are shared between
    processes. float16 and bfloat16 are widened to float32, which is exact.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = list(files(folder))
        self.places: dict[str, tuple[NDArray[np.uint8], dict[str, Any]]] = {}
        for file in self.files:
            data, header = opened(file)
            self.places.update({name: (data, entry) for name, entry in header.items()})

    def __contains__(self, name: str) -> bool:
        return name in self.places

    def find(self, ending: str) -> str | None:
        """What precedes ``ending`` in the shortest name that ends so; None where none does."""
        found = [name for name in self.places if name == ending or name.endswith("." + ending)]
        return min(found, key=len).removesuffix(ending) if found else None

    def array(self, name: str, shape: tuple[int | None, ...] | None = None) -> NDArray[np.float32]:
        """The tensor as float32; SettingsError where it is missing, of another type or not of ``shape``.

        None in ``shape`` allows any size there.
        """
        if name not in self.places:
            raise SettingsError(f"{self.folder} has no tensor {name}; {WAY_OUT}")
        data, entry = self.places[name]
        real = tuple(entry["shape"])
        if shape is not None and not fits(real, shape):
            wanted = " x ".join("any" if size is None else str(size) for size in shape)
            raise SettingsError(
                f"tensor {name} of {self.folder} is {real}, not {wanted} as config.json says; fetch both again."
            )
        return floats(data, entry).reshape(real)


WAY_OUT = "the `sentence_transformer` back end (extra [torch]) reads models of any kind."


def fits(real: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    """Whether a shape is as wanted."""
    return len(real) == len(wanted) and all(w is None or r == w for r, w in zip(real, wanted, strict=True))


def files(folder: Path) -> Iterator[Path]:
    """The files that hold the weights: one, or the parts that an index lists."""
    if (folder / ONE_FILE).is_file():
        yield folder / ONE_FILE
    elif (folder / INDEX).is_file():
        parts = json.loads((folder / INDEX).read_text())["weight_map"].values()
        yield from (folder / part for part in sorted(set(parts)))
    else:
        raise SettingsError(
            f"{folder} has no {ONE_FILE}; convert its weights (save_pretrained writes that file), or: {WAY_OUT}"
        )


def opened(file: Path) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    """The mapped bytes, and the header's entries with their data in place of the offsets."""
    try:
        mapped = np.memmap(file, dtype=np.uint8, mode="r")
        start, header = read_header(mapped)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"{file} is no whole safetensors file ({error}); fetch it again.") from None
    for entry in header.values():
        begin, end = entry["data_offsets"]
        entry["data"] = slice(start + begin, start + end)
    return mapped, header


def read_header(mapped: NDArray[np.uint8]) -> tuple[int, dict[str, Any]]:
    """Where the data begins, and the checked entry of each tensor; ValueError where the file is cut or wrong."""
    start = 8 + int.from_bytes(mapped[:8].tobytes(), "little")
    if start > min(len(mapped), MAX_HEADER):
        raise ValueError("its header is cut")
    header: dict[str, Any] = json.loads(mapped[8:start].tobytes())
    header.pop("__metadata__", None)
    for name, entry in header.items():
        check(name, entry, len(mapped) - start)
    return start, header


def check(name: str, entry: dict[str, Any], room: int) -> None:
    """Raise ValueError where an entry does not lie in the file or is not as long as its shape says."""
    begin, end = entry["data_offsets"]
    if not 0 <= begin <= end <= room:
        raise ValueError(f"{name} ends at byte {end} of {room}")
    width = WIDTHS.get(entry["dtype"])
    if width and width * math.prod(entry["shape"]) != end - begin:
        raise ValueError(f"{name} is not as long as its shape says")


def floats(data: NDArray[np.uint8], entry: dict[str, Any]) -> NDArray[np.float32]:
    """A tensor's data as one row of float32: a view where it is stored so, a copy where it is widened."""
    part: NDArray[np.uint8] = data[entry["data"]]
    if entry["dtype"] == "F32":
        return np.require(part.view(np.float32), np.float32, "A")
    if entry["dtype"] == "F16":
        return part.view(np.float16).astype(np.float32)
    if entry["dtype"] == "BF16":
        wide: NDArray[np.uint32] = part.view(np.uint16).astype(np.uint32) << np.uint32(16)
        return wide.view(np.float32)
    raise SettingsError(f"the weights are stored as {entry['dtype']}, not as F32, F16 or BF16; {WAY_OUT}")
