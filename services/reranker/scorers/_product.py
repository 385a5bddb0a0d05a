"""Products of small whole numbers, which CPUs have instructions for that numpy does not use: ONNX Runtime does."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from ragline.encoder import protobuf
from ragline.encoder.graph import Graph

WARNINGS = 3


def product(left: npt.NDArray[np.uint8], right: npt.NDArray[np.int8]) -> npt.NDArray[np.int32]:
    """``left`` (n, k) times ``right`` (k, m), exact while |right| <= 63; from any number of threads at once.

    A CPU without VNNI adds up pairs of products in 16 bits, and 2 x 255 x 63 is within those.
    """
    result: npt.NDArray[np.int32] = session().run(None, {"left": left, "right": right})[0]
    return result


@functools.lru_cache(maxsize=1)
def session() -> ort.InferenceSession:
    """One for the process; each call runs in its caller's thread alone."""
    graph = Graph()
    left = graph.typed("left", protobuf.UINT8, "rows", "inner")
    right = graph.typed("right", protobuf.INT8, "inner", "columns")
    multiplied = graph.node("MatMulInteger", left, right)
    graph.output("product", multiplied, "rows", "columns", element=protobuf.INT32)
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # patterns are kept for every new shape, and passages come in every length
    options.log_severity_level = WARNINGS
    return ort.InferenceSession(graph.to_bytes(), options, providers=["CPUExecutionProvider"])
