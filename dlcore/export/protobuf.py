"""The few messages of an ONNX file in the wire format of protocol buffers.

Numbers of the fields: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

__all__ = ["DTYPES", "model", "node", "tensor", "value"]

DTYPES = {"float32": 1, "uint8": 2, "int8": 3, "int16": 5, "int32": 6, "int64": 7, "bool": 9, "float64": 11}
"""TensorProto.DataType by the names of NumPy."""


def _number(n: int) -> bytes:
    """A varint; negative numbers in two's complement of 64 bits."""
    n &= (1 << 64) - 1
    parts = bytearray()
    while n > 127:
        parts.append(n & 127 | 128)
        n >>= 7
    parts.append(n)
    return bytes(parts)


def _field(number: int, value: int | str | bytes) -> bytes:
    """A field of a message: a number, or a text, bytes or another message."""
    if isinstance(value, int):
        return _number(number << 3) + _number(value)
    data = value.encode() if isinstance(value, str) else value
    return _number(number << 3 | 2) + _number(len(data)) + data


def tensor(name: str, array: np.ndarray) -> bytes:
    """A TensorProto."""
    dims = b"".join(_field(1, n) for n in array.shape)
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return dims + _field(2, DTYPES[array.dtype.name]) + _field(8, name) + _field(9, little.tobytes())


def value(name: str, dtype: str, shape: Sequence[int | str]) -> bytes:
    """A ValueInfoProto: a name, a dtype, and lengths, of which those that are texts are free."""
    dims = b"".join(_field(1, _field(2 if isinstance(n, str) else 1, n)) for n in shape)
    return _field(1, name) + _field(2, _field(1, _field(1, DTYPES[dtype]) + _field(2, dims)))


def _attribute(name: str, given: Any) -> bytes:
    """An AttributeProto of a float, an integer, a text or a list of integers."""
    head = _field(1, name)
    if isinstance(given, float):
        return head + _number(2 << 3 | 5) + struct.pack("<f", given) + _field(20, 1)
    if isinstance(given, int):
        return head + _field(3, given) + _field(20, 2)
    if isinstance(given, str):
        return head + _field(4, given) + _field(20, 3)
    return head + b"".join(_field(8, n) for n in given) + _field(20, 7)


def node(kind: str, inputs: Iterable[str], outputs: Iterable[str], name: str, line: str, **attributes: Any) -> bytes:
    """A NodeProto; ``line``: where it comes from, for people."""
    parts = [*(_field(1, n) for n in inputs), *(_field(2, n) for n in outputs), _field(3, name), _field(4, kind)]
    parts += [_field(5, _attribute(key, given)) for key, given in attributes.items()]
    return b"".join(parts) + (_field(6, line) if line else b"")


def model(
    nodes: Iterable[bytes], constants: Iterable[bytes], inputs: Iterable[bytes], outputs: Iterable[bytes],
    name: str, opset: int, version: str,
) -> bytes:  # fmt: skip
    """A ModelProto: a whole file."""
    parts = [*(_field(1, n) for n in nodes), _field(2, name), *(_field(5, c) for c in constants)]
    parts += [*(_field(11, i) for i in inputs), *(_field(12, o) for o in outputs)]
    head = _field(1, _IR_VERSION) + _field(2, "dlcore") + _field(3, version)
    return head + _field(7, b"".join(parts)) + _field(8, _field(2, opset))


_IR_VERSION = 9  # of ONNX 1.15, the first with opset 20
