"""Runs a built graph on ONNX Runtime, over batches padded to their longest text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from ragline.encoder.feeds import feeds
from ragline.encoder.graph import Graph
from ragline.encoder.tokenizer import Tokens

WARNINGS = 3


class Session:
    """A graph that is ready to run; ``run`` may be called from several threads at once."""

    def __init__(self, graph: Graph, *, threads: int) -> None:
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Waiting threads would take the cores from the index, the server and the neighbours.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Memory patterns are kept for every new shape, and texts come in every length.
        options.enable_mem_pattern = False
        options.log_severity_level = WARNINGS
        # The values are read where they lie, so the arrays must live as long as the session.
        self.weights = {name: ort.OrtValue.ortvalue_from_numpy(array) for name, array in graph.weights.items()}
        options.add_external_initializers(list(self.weights), list(self.weights.values()))
        self.session = ort.InferenceSession(graph.to_bytes(), options, providers=["CPUExecutionProvider"])
        self.inputs = {each.name for each in self.session.get_inputs()}

    def run(self, batch: Sequence[Tokens], outputs: Sequence[str]) -> list[NDArray[np.float32]]:
        """The named outputs; only what they need is computed."""
        results: list[NDArray[np.float32]] = self.session.run(list(outputs), feeds(batch, self.inputs))
        return results
