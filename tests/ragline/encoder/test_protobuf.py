"""The bytes that are written are what ONNX Runtime reads."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest

from ragline.encoder import protobuf
from ragline.encoder.graph import INLINE_BYTES, Graph


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0, "00"), (1, "01"), (127, "7f"), (128, "8001"), (300, "ac02"), (-1, "ffffffffffffffffff01")],
)
def test_numbers_are_written_seven_bits_a_byte(number: int, expected: str) -> None:
    assert protobuf.varint(number).hex() == expected


def test_a_model_with_every_kind_of_field_runs() -> None:
    graph = Graph()
    ids = graph.input("ids", "batch", 3)
    floats = graph.node("Cast", ids, to=protobuf.FLOAT)
    scaled = graph.node("LeakyRelu", graph.node("Sub", floats, graph.constant(1.0)), alpha=0.5)
    graph.output("result", graph.node("Transpose", scaled, perm=[1, 0]), 3, "batch")
    session = ort.InferenceSession(graph.to_bytes(), providers=["CPUExecutionProvider"])
    (result,) = session.run(["result"], {"ids": np.array([[0, 1, 2], [-3, 5, 1]])})
    np.testing.assert_array_equal(result, [[-0.5, -2], [0, 4], [1, 0]])
    assert session.get_outputs()[0].shape == [3, "batch"]


def test_large_weights_stay_outside_and_are_handed_over() -> None:
    graph = Graph()
    weight = np.arange(INLINE_BYTES, dtype=np.float32).reshape(-1, 4)
    x = graph.node("Cast", graph.input("ids", "batch", 4), to=protobuf.FLOAT)
    graph.output("result", graph.linear(x, weight), "batch", len(weight))
    assert [each.shape for each in graph.weights.values()] == [weight.shape]
    options = ort.SessionOptions()
    values = [ort.OrtValue.ortvalue_from_numpy(each) for each in graph.weights.values()]
    options.add_external_initializers(list(graph.weights), values)
    content = graph.to_bytes()
    assert len(content) < INLINE_BYTES
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {"ids": np.array([[1, 0, 0, 1]])})
    np.testing.assert_array_equal(result[0], weight[:, 0] + weight[:, 3])


def test_a_scalar_keeps_no_axis() -> None:
    graph = Graph()
    graph.output("result", graph.node("Gather", graph.node("Cast", graph.input("ids", "batch", 2), to=1),
                                      graph.constant(0), axis=1), "batch")  # fmt: skip
    session = ort.InferenceSession(graph.to_bytes(), providers=["CPUExecutionProvider"])
    assert session.run(None, {"ids": np.array([[4, 5], [6, 7]])})[0].tolist() == [4, 6]
