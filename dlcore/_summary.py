"""`summary`: the layers of a model with shapes, parameters and work, without running a kernel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from dlcore._arguments import instance, integer, shown
from dlcore._autograd import no_grad
from dlcore._capture import Captured
from dlcore._commands import work
from dlcore._explain import MemoryPlan
from dlcore._memory import readable
from dlcore._tables import plain_table, rich_table
from dlcore._tensor import Tensor, empty, tensor
from dlcore.nn.calls import watched_calls
from dlcore.nn.module import Module, device_of

__all__ = ["Layer", "Summary", "summary"]

_RIGHT = (3, 4, 5)  # the columns of numbers


class Layer(NamedTuple):
    """One call of a module.

    ``name``: dotted, "" for the model itself; ``depth``: how many modules it is inside of. ``inputs`` and ``outputs``:
    shapes of the tensors among its arguments and results. ``parameters``, ``trained`` and ``bytes``: how many
    parameters it and the modules below it have, those that require a gradient, and their bytes; 0 in all calls of a
    module but its first. ``flops``: of one call, those of the modules below it among them; a multiplication with an
    addition is two.
    """

    name: str
    kind: str
    depth: int
    inputs: tuple[tuple[int, ...], ...]
    outputs: tuple[tuple[int, ...], ...]
    parameters: int
    trained: int
    bytes: int
    flops: float


class Summary:
    """What `summary` returns: ``print`` shows the table, ``rows`` has the `Layer` of every call in its order.

    ``parameters``, ``trained``, ``bytes`` and ``flops``: of the whole model. ``memory``: the bytes in use at the peak
    of a forward pass without gradients: parameters, inputs, results and intermediates.
    """

    def __init__(self, rows: list[Layer], memory: int):
        self.rows, self.memory = rows, memory
        self.parameters, self.trained, self.bytes, self.flops = rows[0][5:]

    def _table(self) -> tuple[list[str], list[list[str]]]:
        head = ["layer", "kind", "output", "parameters", "bytes", "FLOPs"]
        body = []
        for row in self.rows:
            name = "  " * row.depth + (row.name.rpartition(".")[2] or "model")
            outputs = ", ".join(map(str, row.outputs))
            own = [f"{row.parameters:,}", readable(row.bytes)] if row.parameters else ["", ""]
            body.append([name, row.kind, outputs, *own, _short(row.flops)])
        return head, body

    @property
    def totals(self) -> str:
        """The totals, in one line."""
        fixed = self.parameters - self.trained
        still = f", {fixed:,} of them not trained" if fixed else ""
        return (
            f"{self.parameters:,} parameters ({readable(self.bytes)}{still}), "
            f"{_short(self.flops) or 0} FLOPs, {readable(self.memory)} in use at the peak of a forward pass"
        )

    def __str__(self) -> str:
        return f"{plain_table(*self._table(), right=_RIGHT, flexible=2)}\n\n{self.totals}"

    __repr__ = __str__

    def __rich__(self) -> Any:
        return rich_table(*self._table(), right=_RIGHT, caption=self.totals)


def _short(flops: float) -> str:
    """Three digits that matter: 1.05 M."""
    for size, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if flops >= size:
            return f"{flops / size:.3g} {letter}"
    return f"{flops:.0f}" if flops else ""


def summary(model: Module, *inputs: Any) -> Summary:
    """The layers of ``model`` when it is called with ``inputs``: shapes, parameters, bytes and FLOPs, as a `Summary`.

    inputs: tensors, arrays, or shapes such as ``(32, 784)``, which stand for tensors of the model's floating-point
    dtype on its device. The model's Python code runs, in the mode in which the model is, and no kernel does: a model of
    any size takes milliseconds, and nothing about it or about random numbers changes. A module that is called several
    times has several rows; its parameters are counted in the first. Raises CaptureError where the model reads values,
    which a run without kernels has not got.

    >>> model = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))
    >>> print(dl.summary(model, (32, 784)))
    layer  kind        output     parameters    bytes   FLOPs
    model  Sequential  (32, 10)      203,530   814 kB    13 M
      0    Linear      (32, 256)     200,960   804 kB  12.9 M
      1    ReLU        (32, 256)                       8.19 k
      2    Linear      (32, 10)        2,570  10.3 kB   164 k
    <BLANKLINE>
    203,530 parameters (814 kB), 13 M FLOPs, 949 kB in use at the peak of a forward pass
    """
    instance(model, Module, "summary: model", "a Module")
    given = [_operand(k, value, model) for k, value in enumerate(inputs)]
    names = {id(module): name for name, module in model.named_modules()}
    calls: list[list[Any]] = []
    depth = 0

    def around(module: Module, args: tuple[Any, ...], kwargs: dict[str, Any], call: Any) -> Any:
        nonlocal depth
        entry = [module, depth, _specs(args), _specs(kwargs), None]
        calls.append(entry)
        depth += 1
        outputs = call()
        depth -= 1
        entry[-1] = _shapes(outputs)
        return outputs

    with no_grad():
        with watched_calls(model, around):
            whole = Captured(model.__call__).dry_run(*given)
        rows, seen = [], set[int]()
        for module, level, args, kwargs, outputs in calls:
            made = Captured(module.__call__).dry_run(*_made(args), **_made(kwargs)) if level else whole
            own = [] if id(module) in seen else list(module.parameters())
            seen.add(id(module))
            trained, size = sum(p.size for p in own if p.requires_grad), sum(p.size * p.dtype.itemsize for p in own)
            counts, shapes = (sum(p.size for p in own), trained, size), _shapes((args, kwargs))
            rows.append(Layer(names[id(module)], type(module).__name__, level, shapes, outputs, *counts, work(made)[0]))
    return Summary(rows, MemoryPlan(whole).peak)


class _Spec(NamedTuple):
    """What stands for a tensor, until one is made."""

    shape: tuple[int, ...]
    dtype: Any
    device: Any


def _operand(k: int, value: Any, model: Module) -> Tensor:
    where = f"summary: inputs[{k}]"
    if isinstance(value, Tensor):
        return value
    if isinstance(value, np.ndarray):
        return tensor(value, device=device_of(model))
    if not isinstance(value, tuple | list):
        raise TypeError(f"{where} is a tensor, an array or a shape, not {shown(value)}")
    shape = tuple(integer(n, f"{where}[{i}]", 0) for i, n in enumerate(value))
    dtype = next((p.dtype for p in model.parameters() if p.dtype.is_float), "float32")
    return empty(shape, dtype=dtype, device=device_of(model))


def _specs(value: Any) -> Any:
    if isinstance(value, Tensor):
        return _Spec(value.shape, value.dtype, value.device)
    if isinstance(value, Mapping):
        return {key: _specs(entry) for key, entry in value.items()}
    return type(value)(map(_specs, value)) if type(value) in (list, tuple) else value


def _made(value: Any) -> Any:
    if isinstance(value, _Spec):
        return empty(value.shape, dtype=value.dtype, device=value.device)
    if isinstance(value, Mapping):
        return {key: _made(entry) for key, entry in value.items()}
    return type(value)(map(_made, value)) if type(value) in (list, tuple) else value


def _shapes(value: Any) -> tuple[tuple[int, ...], ...]:
    """The shapes of all tensors in a nested value."""
    if isinstance(value, Tensor | _Spec):
        return (value.shape,)
    parts: Iterable[Any] = value.values() if isinstance(value, Mapping) else value
    return tuple(s for part in parts for s in _shapes(part)) if isinstance(value, Mapping | list | tuple) else ()
