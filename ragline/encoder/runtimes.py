"""The runtimes that a graph can be run on, by name, and which of them this machine has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from ragline.encoder.feeds import Runtime
from ragline.encoder.graph import Graph
from ragline.encoder.openvino import Compiled
from ragline.encoder.quantised import BlockInt8, ChannelInt8
from ragline.encoder.session import Session

Name = Literal["onnxruntime", "openvino-int8", "openvino-bf16", "openvino", "onnxruntime-int8"]

REFERENCE: Name = "onnxruntime"
OTHERS: tuple[Name, ...] = ("openvino-int8", "openvino-bf16", "openvino", "onnxruntime-int8")
"""Those beside the reference, the one that is likely to be the fastest first."""

BUILDS: Mapping[Name, tuple[type[Graph], Callable[..., Runtime]]] = {
    "onnxruntime": (Graph, Session),
    "onnxruntime-int8": (BlockInt8, Session),
    "openvino": (Graph, partial(Compiled, precision="f32")),
    "openvino-bf16": (Graph, partial(Compiled, precision="bf16")),
    "openvino-int8": (ChannelInt8, partial(Compiled, precision="f32")),
}
CPU = Path("/proc/cpuinfo")
BF16 = frozenset({"avx512_bf16", "amx_bf16"})


def missing(name: Name, cpu: Path = CPU) -> str:
    """Why a runtime cannot be had here, as the end of a sentence with the way out; empty where it can."""
    if name.startswith("openvino") and not installed("openvino"):
        return "openvino is not installed: pip install 'ragline[openvino]'"
    if name.endswith("bf16") and not BF16 & flags(cpu):
        return "this CPU has neither avx512_bf16 nor amx_bf16: take openvino or openvino-int8"
    return ""


def installed(package: str) -> str:
    """The version of a package; empty where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def flags(cpu: Path = CPU) -> frozenset[str]:
    """What the first core says that it can; nothing where there is no such file."""
    return frozenset(line_of(cpu, "flags").split())


def processor(cpu: Path = CPU) -> str:
    """The name of the CPU's model, and what it can that matters here."""
    can = sorted(flag for flag in flags(cpu) if flag.startswith(("avx", "amx")))
    return f"{line_of(cpu, 'model name')} {' '.join(can)}"


def line_of(cpu: Path, key: str) -> str:
    """The first value of a key in the kernel's list of cores; empty where there is none."""
    try:
        lines = cpu.read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == key), "")
