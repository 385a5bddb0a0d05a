"""Runs a built graph on OpenVINO, in bfloat16 or int8 where the CPU can; needs the extra [openvino]."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragline.encoder.feeds import feeds
from ragline.encoder.graph import Graph
from ragline.encoder.tokenizer import Tokens
from ragline.settings import SettingsError

LARGEST = 2_000_000_000
"""Bytes of weights: OpenVINO is handed one protobuf with everything in it, and those end at 2 GB."""
KERNELS = 256
"""Compiled steps kept for late batches' shapes; OpenVINO would keep thousands, and texts come in every length."""

GROUP = 128
"""A fifth faster than OpenVINO's own 32 for MiniLM; scores moved by 0.009 instead of 0.006, root mean square."""


class Compiled:
    """A graph that is ready to run; calls from several threads wait for each other.

    ``precision`` is f32 or bf16: of whatever is not int8 in the graph. Raises SettingsError for a graph over 2 GB.
    """

    def __init__(self, graph: Graph, *, threads: int, precision: str) -> None:
        import openvino  # noqa: PLC0415 - an extra, and half a second: only for those who chose it

        size = sum(array.nbytes for array in graph.weights.values())
        if size > LARGEST:
            raise SettingsError(
                f"the model has {size / 1e9:.1f} GB of weights and OpenVINO can be handed {LARGEST / 1e9:.0f} GB; "
                "set the option runtime to onnxruntime."
            )
        core = openvino.Core()
        options = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            # Pinned threads of two models would share cores while others idle.
            "ENABLE_CPU_PINNING": False,
            "CPU_RUNTIME_CACHE_CAPACITY": KERNELS,
            # Only where the graph has weights in bytes: numbers that come in share a scale by so many.
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": GROUP,
        }
        model = core.read_model(graph.to_bytes(whole=True))
        self.compiled: Any = core.compile_model(model, "CPU", options)
        self.inputs = [each.get_any_name() for each in self.compiled.inputs]
        self.request: Any = self.compiled.create_infer_request()
        self.lock = threading.Lock()

    def run(self, batch: Sequence[Tokens], outputs: Sequence[str]) -> list[NDArray[np.float32]]:
        """The named outputs."""
        arrays = feeds(batch, self.inputs)
        with self.lock:
            self.request.infer(arrays)
            # The next call writes over the tensors, so what is handed out is a copy.
            return [np.array(self.request.get_tensor(name).data, np.float32) for name in outputs]
