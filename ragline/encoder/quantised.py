"""Graphs whose large weights are int8, quantised by numpy as they are added: smaller, and faster to multiply."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ragline.encoder.graph import Graph

NARROW = 32
"""Layers with fewer outputs stay float32: a classifier's last layer costs nothing and decides the score."""
BLOCK = 32
LEAST = np.float32(1e-12)


class ChannelInt8(Graph):
    """One scale for each output of a layer, in standard operators: what OpenVINO multiplies as bytes."""

    def linear(self, x: str, weight: NDArray[np.float32], bias: NDArray[np.float32] | None = None) -> str:
        """``x @ weight.T + bias``, each row of ``weight`` (out, in) as -127..127 times its scale."""
        if len(weight) < NARROW:
            return super().linear(x, weight, bias)
        scales = np.maximum(np.abs(weight).max(axis=1), LEAST) / np.float32(127)
        # Unsigned beside a middle: the processor multiplies unsigned by signed bytes, and what comes in is signed.
        whole = (np.round(weight / scales[:, None]) + 128).astype(np.uint8)
        middle = np.full(len(weight), 128, np.uint8)
        stored = (self.weight(whole), self.weight(scales), self.weight(middle))
        wide = self.node("DequantizeLinear", *stored, axis=0)
        product = self.node("MatMul", x, self.node("Transpose", wide, perm=[1, 0]))
        return product if bias is None else self.node("Add", product, self.weight(bias))


class BlockInt8(Graph):
    """One scale for each 32 weights, in ONNX Runtime's own operator, which scales what comes in by block, too.

    So no text's result depends on its neighbours in the batch.
    """

    def linear(self, x: str, weight: NDArray[np.float32], bias: NDArray[np.float32] | None = None) -> str:
        """``x @ weight.T + bias``; a layer whose inputs do not come in whole blocks stays float32."""
        outputs, inputs = weight.shape
        if outputs < NARROW or inputs % BLOCK:
            return super().linear(x, weight, bias)
        blocks = weight.reshape(outputs, inputs // BLOCK, BLOCK)
        # Bytes reach one further below their middle, 128, than above it, so the largest weight goes to the bottom.
        largest = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=2)[..., None], axis=2)
        scales = np.where(largest == 0, LEAST, largest / np.float32(-128))
        whole = (np.clip(np.round(blocks / scales), -128, 127) + 128).astype(np.uint8)
        product = self.contrib(
            "MatMulNBits",
            x,
            self.weight(whole),
            self.weight(scales[..., 0]),
            K=inputs,
            N=outputs,
            bits=8,
            block_size=BLOCK,
            accuracy_level=4,
        )
        return product if bias is None else self.node("Add", product, self.weight(bias))
