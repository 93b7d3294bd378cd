"""Device functions and planning shared by the recurrent layers: a product that goes from step to step, states, lengths.

Letters: T steps, B rows of the batch, H units. A program has BLOCK_B rows of the batch and all units of them, from the
first step to the last, so that nothing waits for another program. Tiles lie as (units, rows): the long side is that
of the weights, which are the left operand of the product.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from dlcore.dtypes import DType, float32, float64
from dlcore.kernels.common.math import sigmoid_, tanh_
from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import (
    BAD_LENGTH,
    Arch,
    Call,
    In,
    Launch,
    Out,
    Program,
    Temp,
    View,
    Workspace,
    accumulator,
    ceil_div,
    index_dtype,
    power_of_2,
)
from dlcore.kernels.matmul.epilogue import multiply_add
from dlcore.kernels.matmul.tiles import family
from dlcore.kernels.movement.index import report

BAD = tl.constexpr(BAD_LENGTH)


# ---- device -------------------------------------------------------------------------------------------------------
@jit
def weights_of(
    w, gate, first, H: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_K: tl.constexpr, BACK: tl.constexpr
):
    """Of a gate's weights (H, H), all units and BLOCK_K terms from `first` on; BACK: of the transposed ones."""
    j, k = tl.arange(0, BLOCK_H)[:, None], first + tl.arange(0, BLOCK_K)[None, :]
    if BACK:
        at = (gate * H + k) * H + j
    else:
        at = (gate * H + j) * H + k
    if H == BLOCK_H:
        found = tl.load(w + at)
    else:
        found = tl.load(w + at, (j < H) & (k < H), 0)
    return found


@jit
def product(
    acc, tile, w, gate, x, state, place, inside, H: tl.constexpr, BLOCK_K: tl.constexpr, BACK: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """acc + a gate's weights times x: by `tile`, which has them, or block by block, when x is read from `state`, where
    row b of the batch begins at place."""
    if tile is not None:
        acc = multiply_add(tile, x.to(tile.dtype), acc, PRECISION)
    else:
        for first in range(0, H, BLOCK_K):
            k = first + tl.arange(0, BLOCK_K)[:, None]
            block = weights_of(w, gate, first, H, acc.shape[0], BLOCK_K, BACK)
            y = tl.load(state + place + k, inside & (k < H), 0)
            acc = multiply_add(block, y, acc, PRECISION)
    return acc


@jit
def shared(state, at, x, mask, RESIDENT: tl.constexpr):
    """Puts x where all threads of this program find it, unless it stays with those that have it."""
    if not RESIDENT:
        tl.store(state + at, x.to(state.dtype.element_ty), mask)
        tl.debug_barrier()  # the next product reads what other threads have stored


@jit
def read(x, at, mask, C: tl.constexpr):
    """Elements as what states are kept in; zeros of an operand that is absent."""
    if x is None:
        found = tl.zeros(at.shape, C)
    else:
        found = tl.load(x + at, mask, 0).to(C)
    return found


@jit
def write(x, at, value, mask):
    """Unless it is not wanted."""
    if x is not None:
        tl.store(x + at, value.to(x.dtype.element_ty), mask)


@jit
def steps_of(lengths, errors, b, batch, steps):
    """How many steps rows b of the batch have; reports the first that has none or more than there are."""
    n = b * 0 + steps
    if lengths is not None:
        given = tl.load(lengths + b, b < batch, 1)
        if errors is not None:  # of a backward pass, the forward pass has told
            report(errors, (b < batch) & ((given < 1) | (given > steps)), b, BAD)
        n = given.to(tl.int32)
    return n


@jit
def sigmoid_of(x, FAST: tl.constexpr):
    if FAST:
        return tl.sigmoid(x)
    else:
        return sigmoid_(x)


@jit
def tanh_of(x, FAST: tl.constexpr):
    """FAST: to about 1e-7, far below what 16 bits tell apart."""
    if FAST:
        return 2 * tl.sigmoid(2 * x) - 1
    else:
        return tanh_(x)


# ---- planning -----------------------------------------------------------------------------------------------------
ROWS = 16  # of the batch in a program: as few as tensor cores take, for the programs run side by side
KEPT = {"sm_80": 128 << 10, "sm_90": 128 << 10, "sm_100": 128 << 10, "sm_120": 64 << 10}
"""Bytes of weights that stay with a program."""


class Layer(NamedTuple):
    """Lengths of a call and how its kernel goes about it."""

    steps: int
    batch: int
    units: int
    dtype: DType
    constants: dict[str, Any]
    warps: int
    stages: int

    @property
    def grid(self) -> tuple[int]:
        """Programs."""
        return (ceil_div(self.batch, ROWS),)

    @property
    def room(self) -> int:
        """Bytes of two states of all rows, for each gate."""
        return 2 * self.batch * self.units * self.dtype.itemsize


def layer_of(
    steps: int, batch: int, units: int, gates: int, dtype: DType, reverse: bool, arch: Arch, back: bool = False
) -> Layer:  # fmt: skip
    """What follows from lengths. Products of float32 are exact to its rounding ("ieee"): 16 rows would leave tensor
    cores waiting, and what a step rounds goes through all that follow."""
    block, half = max(power_of_2(units), 16), dtype.itemsize == 2
    resident = half and gates * block * block * dtype.itemsize <= KEPT[family(arch)] and block <= 128
    block_k = min(block, 32 if half and block <= 128 else 16)
    constants = {
        "H": units, "BLOCK_H": block, "BLOCK_B": ROWS, "BLOCK_K": block_k, "RESIDENT": resident, "REVERSE": reverse,
        "FAST": half, "PRECISION": "ieee", "C": accumulator(dtype),
        "INDEX": index_dtype(steps * batch * gates * units + 4 * units),
    }  # fmt: skip
    # What follows keeps registers from spilling (few warps have more of them each), as ptxas told for each case.
    full = resident and gates * block >= 512 and family(arch) != "sm_90"  # no room for gates that are loaded ahead
    few = block <= 64 or (block == 128 and (dtype is float32 or (half and family(arch) == "sm_100" and not back)))
    ahead = not full and (resident or block > 128 or dtype is float64)
    return Layer(steps, batch, units, dtype, constants, 4 if few else 8, 2 if ahead else 1)



def view(views: Sequence[View | None], k: int) -> View:
    """An operand that is there."""
    found = views[k]
    assert found is not None
    return found


def inputs(call: Call, names: str) -> dict[str, In | None]:
    """Pointers to operands by the kernels' names for them, null where they are absent; "-": none of the kernel's."""
    return {n: In(k) if call.inputs[k] else None for k, n in enumerate(names.split()) if n != "-"}


def outputs(call: Call, names: str) -> dict[str, Out | None]:
    """The same of outputs."""
    return {n: Out(k) if call.outputs[k] else None for k, n in enumerate(names.split()) if n != "-"}


def planned(call: Call, kernel: Any, layer: Layer, states: int, operands: dict[str, Any]) -> Program:
    """One launch over operands in one piece; weights that do not stay want room for ``states`` states."""
    if not layer.batch * layer.units:
        return Program(())
    streams = not layer.constants["RESIDENT"]
    args = {
        **operands, "state": Temp(0, layer.dtype) if streams else None, "steps": layer.steps, "batch": layer.batch,
        **layer.constants,
    }  # fmt: skip
    launch = Launch(kernel, layer.grid, args, layer.warps, layer.stages)
    temps = (Workspace(states * layer.room),) if streams else ()
    return Program((launch,), temps, tuple(k for k, v in enumerate(call.inputs) if v is not None))
