"""An ONNX graph being put together: nodes, small constants in it, and weights beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ragline.encoder import protobuf

CONTRIB = "com.microsoft"
INLINE_BYTES = 4096


class Graph:
    """Nodes in the order in which they run. Every method returns the name of what it made.

    Weights stay where they are (a mapped file): the graph holds their type and shape only, and
    ``weights`` has the arrays, to be handed to ONNX Runtime with it. So there is no copy of them in
    the graph and no 2 GB limit, which protobuf has.
    """

    def __init__(self) -> None:
        self.nodes: list[bytes] = []
        self.tensors: list[bytes] = []
        self.inputs: list[bytes] = []
        self.outputs: list[bytes] = []
        self.weights: dict[str, NDArray[Any]] = {}
        self.made = 0

    def name(self) -> str:
        """A name not used yet."""
        self.made += 1
        return f"v{self.made}"

    def node(self, op: str, *inputs: str, domain: str = "", spare: int = 0, **given: protobuf.Attribute) -> str:
        """Add an operator with attributes ``given``; of its outputs the first is used, ``spare`` more are not."""
        outputs = [self.name() for _ in range(1 + spare)]
        self.nodes.append(protobuf.node(op, domain, inputs, outputs, given))
        return outputs[0]

    def contrib(self, op: str, *inputs: str, spare: int = 0, **given: protobuf.Attribute) -> str:
        """Add one of ONNX Runtime's own operators, fused ones."""
        return self.node(op, *inputs, domain=CONTRIB, spare=spare, **given)

    def constant(self, numbers: NDArray[Any] | Sequence[int] | float) -> str:
        """A small tensor kept in the graph; Python's whole numbers become int64, fractions float32.

        ``order="C"`` and not ``ascontiguousarray``, which would give a scalar an axis.
        """
        array = np.array(numbers, order="C")
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        name = self.name()
        self.tensors.append(protobuf.tensor(name, array, external=False))
        return name

    def weight(self, array: NDArray[Any]) -> str:
        """A tensor of the model: of float32, or of what it was quantised to."""
        if array.nbytes <= INLINE_BYTES:
            return self.constant(array)
        name = self.name()
        array = np.require(array, requirements=("C", "A"))
        self.weights[name] = array
        return name

    def input(self, name: str, *dims: int | str) -> str:
        """An int64 input, cast to int32, which is what the fused operators read."""
        self.inputs.append(protobuf.value(name, protobuf.INT64, dims))
        return self.node("Cast", name, to=protobuf.INT32)

    def typed(self, name: str, element: int, *dims: int | str) -> str:
        """An input of one of ``protobuf``'s element types, as it comes."""
        self.inputs.append(protobuf.value(name, element, dims))
        return name

    def output(self, name: str, source: str, *dims: int | str, element: int = protobuf.FLOAT) -> None:
        """Give a result its public name; it is float32 unless another ``element`` is told."""
        self.nodes.append(protobuf.node("Identity", "", [source], [name], {}))
        self.outputs.append(protobuf.value(name, element, dims))

    def linear(self, x: str, weight: NDArray[np.float32], bias: NDArray[np.float32] | None = None) -> str:
        """``x @ weight.T + bias``; ``weight`` is (out, in), as PyTorch stores it.

        The transpose is folded when the session is made, so its copy is the only one kept.
        """
        product = self.node("MatMul", x, self.node("Transpose", self.weight(weight), perm=[1, 0]))
        return product if bias is None else self.node("Add", product, self.weight(bias))

    def to_bytes(self, *, whole: bool = False) -> bytes:
        """The ONNX model; with its weights only where it is to be ``whole``, which protobuf limits to 2 GB."""
        weights = (protobuf.tensor(name, array, external=not whole) for name, array in self.weights.items())
        return protobuf.model(self.nodes, [*self.tensors, *weights], self.inputs, self.outputs)
