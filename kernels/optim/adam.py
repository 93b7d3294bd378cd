"""Adam in Triton over one contiguous arena: the twin of adam.cu, to be compared. The operation uses adam.cu.

The same 28 bytes a float32 parameter, the same arithmetic, the same bits; in two launches, as adam.cu's first version:
one makes the factors of the step and raises its count, the other updates.

Why CUDA C++ is the default: parameters are many tensors, and one Triton launch takes one base pointer and one length.
To cover many, a Triton kernel would read its pointers from a table in device memory: they would have no known alignment
(scalar accesses, 4 times as many instructions), and the table a place, an owner and an upload. The parameter struct of
adam.cu needs none of these and asks each pointer for its alignment where it is used. An arena would have to be the only
layout, whereas views, tied, frozen and late parameters are welcome in a table. Triton's advantage is its length: half.

Compiled for sm_90, float32: 70 registers of 128 threads with 8 elements each (adam.cu: 62 of 256 with 4), 16-byte
accesses in both. Unmeasured: not yet run on hardware.
"""

from __future__ import annotations

from dlcore.kernels.common.math import divide, pow_double, root
from dlcore.kernels.language import jit, tl
from dlcore.kernels.launch import Call, In, Launch, Program, Temp, Workspace, accumulator, ceil_div

BLOCK = 1024


@jit
def factors_kernel(settings, count, factors):
    """One program: what a step needs of settings and count, in the factors' dtype; the count rises by 1."""
    one = tl.arange(0, 1)
    to: tl.constexpr = factors.dtype.element_ty
    t = tl.load(count + one) + 1
    lr, beta1, beta2 = tl.load(settings + one), tl.load(settings + 1 + one), tl.load(settings + 2 + one)
    eps, decay = tl.load(settings + 3 + one), tl.load(settings + 4 + one)
    decoupled, maximize = tl.load(settings + 5 + one) != 0, tl.load(settings + 6 + one) != 0
    weight1 = 1.0 - beta1
    from_gradient = weight1 >= 0.5
    steps = t.to(tl.float64)
    tl.store(factors + one, tl.where(maximize, -1.0, 1.0).to(to))
    tl.store(factors + 1 + one, tl.where(decoupled, 0.0, decay).to(to))
    tl.store(factors + 2 + one, tl.where(decoupled, 1.0 - lr * decay, 1.0).to(to))
    tl.store(factors + 3 + one, tl.where(from_gradient, weight1 - 1.0, weight1).to(to))
    tl.store(factors + 4 + one, beta2.to(to))
    tl.store(factors + 5 + one, (1.0 - beta2).to(to))
    tl.store(factors + 6 + one, (1.0 / root(1.0 - pow_double(beta2, steps))).to(to))
    tl.store(factors + 7 + one, eps.to(to))
    tl.store(factors + 8 + one, (-lr / (1.0 - pow_double(beta1, steps))).to(to))
    tl.store(factors + 9 + one, (decay != 0.0).to(to))
    tl.store(factors + 10 + one, from_gradient.to(to))
    tl.store(count + one, t)


@jit
def step(p, g, m, v, at, mask, factors):
    """Elements `at` of an arena."""
    wide: tl.constexpr = m.dtype.element_ty
    x = tl.load(p + at, mask).to(wide)
    grad = tl.load(factors) * tl.load(g + at, mask).to(wide)  # sign
    mean = tl.load(m + at, mask)
    square = tl.load(v + at, mask)
    has_decay = tl.load(factors + 9) != 0
    from_gradient = tl.load(factors + 10) != 0
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
def adam_kernel(p, g, m, v, factors, n, BLOCK: tl.constexpr):
    first = tl.program_id(0).to(tl.int64) * BLOCK
    at = first + tl.arange(0, BLOCK)
    if first + BLOCK <= n:  # without a mask: vectors whatever n is
        step(p, g, m, v, at, None, factors)
    else:
        step(p, g, m, v, at, at < n, factors)


def adam_arena(call: Call) -> Program:
    """Launches of `adam` for one contiguous parameter (an arena seen as one tensor) with an integer count."""
    p = call.inputs[0]
    assert p is not None
    factors = Temp(0, accumulator(p.dtype))
    block = BLOCK * 4 // max(p.dtype.itemsize, 4)
    exact = {"enable_fp_fusion": False}
    making = {"settings": In(5), "count": In(4), "factors": factors}
    updating = {**dict(zip("pgmv", map(In, range(4)), strict=True)), "factors": factors, "n": p.size, "BLOCK": block}
    made = Launch(factors_kernel, (1,), making, num_warps=1, options=exact)
    return Program((made, Launch(adam_kernel, (ceil_div(p.size, block),), updating, options=exact)), (Workspace(88),))
