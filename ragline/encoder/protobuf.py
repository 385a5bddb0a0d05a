"""Writes the few ONNX protobuf messages that a graph needs, so that neither ``onnx`` nor ``protobuf`` is.

Field numbers are those of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Attribute = int | float | Sequence[int]

FLOAT, UINT8, INT8, INT32, INT64 = 1, 2, 3, 6, 7
ELEMENTS = {
    np.dtype(np.float32): FLOAT,
    np.dtype(np.uint8): UINT8,
    np.dtype(np.int8): INT8,
    np.dtype(np.int32): INT32,
    np.dtype(np.int64): INT64,
}
IR_VERSION = 10
DOMAINS = {"": 20, "com.microsoft": 1}


def varint(number: int) -> bytes:
    """Seven bits a byte, lowest first; negative numbers as 64-bit two's complement."""
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def integer(field: int, number: int) -> bytes:
    """A varint field."""
    return varint(field << 3) + varint(number)


def block(field: int, content: bytes | str) -> bytes:
    """A field of bytes, text or an embedded message."""
    data = content.encode() if isinstance(content, str) else content
    return varint(field << 3 | 2) + varint(len(data)) + data


def attribute(name: str, value: Attribute) -> bytes:
    """An AttributeProto."""
    if isinstance(value, float):
        body, kind = varint(2 << 3 | 5) + struct.pack("<f", value), 1
    elif isinstance(value, int):
        body, kind = integer(3, value), 2
    else:
        body, kind = b"".join(integer(8, each) for each in value), 7
    return block(1, name) + body + integer(20, kind)


def node(
    op: str, domain: str, inputs: Sequence[str], outputs: Sequence[str], given: Mapping[str, Attribute]
) -> bytes:
    """A NodeProto; an input left out is an empty name, which keeps the places of those after it."""
    body = b"".join(block(1, name) for name in inputs) + b"".join(block(2, name) for name in outputs)
    body += block(3, outputs[0]) + block(4, op) + b"".join(block(5, attribute(k, v)) for k, v in given.items())
    return body + (block(7, domain) if domain else b"")


def tensor(name: str, array: NDArray[np.generic], *, external: bool) -> bytes:
    """A TensorProto: with its bytes, or, if ``external``, only with its type and shape."""
    body = b"".join(integer(1, size) for size in array.shape) + integer(2, ELEMENTS[array.dtype]) + block(8, name)
    if external:
        return body + block(13, block(1, "location") + block(2, name)) + integer(14, 1)
    return body + block(9, array.tobytes())


def value(name: str, element: int, dims: Sequence[int | str]) -> bytes:
    """A ValueInfoProto of a tensor; a dimension given by name may differ from run to run."""
    sizes = b"".join(block(1, integer(1, d) if isinstance(d, int) else block(2, d)) for d in dims)
    return block(1, name) + block(2, block(1, integer(1, element) + block(2, sizes)))


def model(
    nodes: Sequence[bytes], tensors: Sequence[bytes], inputs: Sequence[bytes], outputs: Sequence[bytes]
) -> bytes:
    """A ModelProto of one graph."""
    fields = ((1, nodes), (5, tensors), (11, inputs), (12, outputs))
    graph = b"".join(block(number, each) for number, messages in fields for each in messages)
    opsets = b"".join(block(8, block(1, domain) + integer(2, version)) for domain, version in DOMAINS.items())
    return integer(1, IR_VERSION) + block(2, "ragline") + block(7, graph + block(2, "encoder")) + opsets
