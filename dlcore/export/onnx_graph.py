"""The nodes and constants of an ONNX graph while it is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dlcore.export import protobuf
from dlcore.export.trace import Affine

__all__ = ["Graph", "Value"]

Length = int | Affine


class Value:
    """A tensor of the graph: its name, its dtype by NumPy's name, its lengths, and its values if it is a constant."""

    __slots__ = ("dtype", "name", "shape", "values")

    def __init__(self, name: str, dtype: str, shape: Sequence[Length], values: Any = None):
        self.name, self.dtype, self.shape, self.values = name, dtype, tuple(shape), values

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def is_float(self) -> bool:
        """Whether it holds floating-point numbers."""
        return self.dtype.startswith("float")


class Graph:
    """What is written so far.

    ``line``: the line of the user's code that the next nodes come from, and ``prefix`` the operation there.
    """

    def __init__(self, source: Value):
        self.source = source
        self.nodes: list[bytes] = []
        self.constants: list[bytes] = []
        self.bytes = 0
        self.line = self.prefix = ""
        self._names = {source.name}
        self._small: dict[Any, Value] = {}
        self._batch: Value | None = None

    def fresh(self, name: str) -> str:
        """``name``, or the name with a number where it is taken."""
        found, k = name, 1
        while found in self._names:
            found, k = f"{name}_{k}", k + 1
        self._names.add(found)
        return found

    def constant(self, values: Any, name: str = "") -> Value:
        """A constant; small ones without a name are kept once."""
        array = np.asarray(values)
        key = None if name or array.size > 64 else (array.dtype.name, array.shape, array.tobytes())
        if key is not None and key in self._small:
            return self._small[key]
        made = Value(self.fresh(name or "constant"), array.dtype.name, array.shape, array)
        self.constants.append(protobuf.tensor(made.name, array))
        self.bytes += array.nbytes
        if key is not None:
            self._small[key] = made
        return made

    def like(self, x: Value, number: float) -> Value:
        """A number in the dtype of ``x``."""
        return self.constant(np.asarray(number, x.dtype))

    def add(
        self, kind: str, *inputs: Value | None, dtype: str = "", shape: Sequence[Length] | None = None,
        **attributes: Any,
    ) -> Value:  # fmt: skip
        """The output of a node; ``dtype`` and ``shape``: those of the first input if they are not given."""
        first = inputs[0]
        assert first is not None
        out = Value(self.fresh(f"{self.prefix}_{kind}".lower()), dtype or first.dtype,
                    first.shape if shape is None else shape)  # fmt: skip
        names = ["" if i is None else i.name for i in inputs]
        self.nodes.append(protobuf.node(kind, names, [out.name], out.name, self.line, **attributes))
        return out

    def several(
        self, kind: str, *inputs: Value, results: Sequence[tuple[str, Sequence[Length]]], **attributes: Any
    ) -> list[Value]:  # fmt: skip
        """The outputs of a node with several; ``results``: the dtype and shape of each."""
        outs = [Value(self.fresh(f"{self.prefix}_{kind}".lower()), dtype, shape) for dtype, shape in results]
        names = [out.name for out in outs]
        self.nodes.append(protobuf.node(kind, [i.name for i in inputs], names, names[0], self.line, **attributes))
        return outs

    def cast(self, x: Value, dtype: str) -> Value:
        """``x`` in another dtype."""
        return x if x.dtype == dtype else self.add("Cast", x, dtype=dtype, to=protobuf.DTYPES[dtype])

    @property
    def batch(self) -> Value:
        """The size of the batch, as a vector of one."""
        if self._batch is None:
            self._batch = self.add("Shape", self.source, dtype="int64", shape=(1,), start=0, end=1)
        return self._batch

    def length(self, n: Length) -> Value:
        """A length as a vector of one."""
        if isinstance(n, int):
            return self.constant(np.array([n], np.int64))
        scaled = self.batch if n.slope == 1 else self.add("Mul", self.batch, self.constant(np.array([n.slope])))
        return scaled if n.offset == 0 else self.add("Add", scaled, self.constant(np.array([n.offset])))

    def lengths(self, shape: Sequence[Length]) -> Value:
        """Lengths as a vector."""
        if all(isinstance(n, int) for n in shape):
            return self.constant(np.array(shape, np.int64))
        return self.add("Concat", *map(self.length, shape), dtype="int64", shape=(len(shape),), axis=0)

    def number(self, n: Length, dtype: str) -> Value:
        """A number that may depend on the size of the batch, 0-d."""
        if isinstance(n, int):
            return self.constant(np.asarray(n, dtype))
        scalar = self.add("Squeeze", self.length(n), self.constant(np.array([0])), shape=())
        return self.cast(scalar, dtype)

    def reshape(self, x: Value, shape: Sequence[Length]) -> Value:
        """The elements of ``x`` in another shape."""
        if tuple(shape) == x.shape:
            return x
        free = [k for k, n in enumerate(shape) if not isinstance(n, int)]
        if len(free) == 1 and 0 not in shape:  # the length left open is found from the number of elements
            asked = self.constant(np.array([-1 if k in free else n for k, n in enumerate(shape)], np.int64))
        else:
            asked = self.lengths(shape)
        return self.add("Reshape", x, asked, shape=shape, allowzero=1 if 0 in shape else 0)
