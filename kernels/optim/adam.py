"""Adam in Triton over one contiguous arena: the twin of adam.cu, to be compared. The row uses adam.cu.

The same 28 bytes a float32 parameter, the same arithmetic, the same bits, after the same first launch, which makes the
factors of a step (see adam.cu).

Why CUDA C++ is the default: parameters are many tensors, and one Triton launch takes one base pointer and one length.
To cover many, a Triton kernel would read its pointers from a table in device memory: they would have no known alignment
(scalar accesses, 4 times as many instructions), and the table a place, an owner and an upload. The parameter struct of
adam.cu needs none of these and asks each pointer for its alignment where it is used. An arena would have to be the only
layout, whereas views, tied, frozen and late parameters are welcome in a table. Triton's advantage is its length: half.

Compiled for sm_90, float32: 70 registers of 128 threads with 8 elements each (adam.cu: 32 of 256 with 4), 16-byte
accesses in both. Unmeasured: not yet run on hardware.
"""

from __future__ import annotations

from dlcore.dtypes import float32, float64, int32
from dlcore.kernels.elementwise.math import divide, root
from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import Call, In, Launch, Program, Temp, Workspace, ceil_div
from dlcore.kernels.optim.multi_tensor import SLOT_ADAM, factors

BLOCK = 1024


@jit
def step(p, g, m, v, at, mask, factors, flags):
    """Elements `at` of an arena; the factors and flags are those of struct Factors in adam.cu."""
    wide: tl.constexpr = m.dtype.element_ty
    x = tl.load(p + at, mask).to(wide)
    grad = tl.load(factors) * tl.load(g + at, mask).to(wide)  # sign
    mean = tl.load(m + at, mask)
    square = tl.load(v + at, mask)
    has_decay = tl.load(flags) != 0
    from_gradient = tl.load(flags + 1) != 0
    if has_decay or from_gradient:
        x *= tl.load(factors + 2)  # keep
        grad = tl.fma(tl.load(factors + 1), x, grad)  # decay
    mean = tl.fma(tl.load(factors + 3), grad - mean, tl.where(from_gradient, grad, mean))  # weight1
    square = tl.fma(tl.load(factors + 5) * grad, grad, square * tl.load(factors + 4))  # weight2, beta2
    below = tl.fma(root(square), tl.load(factors + 6), tl.load(factors + 7))  # inverse_root2, eps
    x += divide(tl.load(factors + 8) * mean, below)  # step
    tl.store(p + at, x.to(p.dtype.element_ty), mask)
    tl.store(m + at, mean, mask)
    tl.store(v + at, square, mask)


@jit
def adam_kernel(p, g, m, v, factors, flags, n, BLOCK: tl.constexpr):
    first = tl.program_id(0).to(tl.int64) * BLOCK
    at = first + tl.arange(0, BLOCK)
    if first + BLOCK <= n:  # without a mask: vectors whatever n is
        step(p, g, m, v, at, None, factors, flags)
    else:
        step(p, g, m, v, at, at < n, factors, flags)


def adam_arena(call: Call) -> Program:
    """Launches of the row `adam` for one contiguous parameter: an arena seen as one tensor."""
    p, settings = call.inputs[0], len(call.inputs) - 1
    assert p is not None
    wide = p.dtype is float64
    args = {
        **dict(zip("pgmv", map(In, range(4)), strict=True)),
        "factors": Temp(0, float64 if wide else float32),
        "flags": Temp(0, int32, 72 if wide else 36),
        "n": p.size,
        "BLOCK": BLOCK * 4 // max(p.dtype.itemsize, 4),
    }
    update = Launch(adam_kernel, (ceil_div(p.size, args["BLOCK"]),), args, options={"enable_fp_fusion": False})
    made = factors(call, "adam", SLOT_ADAM, call.attrs[1], 4)
    return Program((*made, update), (Workspace(SLOT_ADAM),), () if call.inputs[settings].contiguous else (settings,))
