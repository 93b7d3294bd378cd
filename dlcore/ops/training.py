"""What a training step does around the optimizer's update: rates of a schedule, clipping, loss scaling.

As in optim.py, one launch works on all gradients, whatever their number and shapes, and all that changes from step to
step is in memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dlcore.dtypes import bool_, float32, float64, int64
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import ErrorInput, Input, Sample, Spec, Workload, as_given, operation
from dlcore.ops._domains import limited
from dlcore.ops._workloads import MODELS, bytes_of

__all__ = ["clip_grad_norm", "clip_grad_value", "scheduled_rates", "unscale_grads", "update_scale"]

Arrays = Sequence[Any]

_TORCH_CLIP = """weights = [torch.nn.Parameter(torch.empty_like(g)) for g in grads]
for p, g in zip(weights, grads): p.grad = g"""

# ---- schedules ----------------------------------------------------------------------------------------------------


@operation(
    family="optim", kernels={"cuda": "optim.multi_tensor:scheduled_rates"}, promote=as_given, outputs="",
    writes="settings position", dtypes=(float64,), params=lambda: (),
    cost=lambda settings, position, rates: (1.0, 8.0 * (2 * settings.shape[0] + 2)),
    error_inputs=[
        ErrorInput(
            ShapeError, "scheduled_rates: rates (4, 3) and settings (2, 5); there is one rate a group in each row",
            np.zeros((2, 5)), np.array(0), np.zeros((4, 3)),
        ),
        ErrorInput(
            DTypeError, "scheduled_rates: the position has shape () and dtype float64, not () and int64",
            np.zeros((2, 5)), np.array(0.0), np.zeros((4, 2)),
        ),
    ],
    workloads=[Workload(((2, 7), np.array(0), (10_000, 2)), (), "two groups", (float64,))],
    baselines={"torch": "settings.select(1, 0).copy_(rates[int(position)])"},
)  # fmt: skip
def scheduled_rates(settings: Spec, position: Spec, rates: Spec) -> None:
    """The learning rates of a step, from a table, to column 0 of the settings of an optimizer; the position rises by 1.

    settings[:, 0] = rates[min(position, steps - 1)]. `settings` (groups, columns), `rates` (steps, groups): float64;
    `position`: 0-d int64, how many steps were made before. Returns None.
    """
    if len(rates.shape) != 2 or len(settings.shape) != 2 or rates.shape[1] != settings.shape[0] or 0 in (
        *rates.shape, settings.shape[1]
    ):  # fmt: skip
        raise ShapeError(
            f"scheduled_rates: rates {rates.shape} and settings {settings.shape}; there is one rate a group in each row"
        )
    if position.shape != () or position.dtype is not int64:
        found = f"shape {position.shape} and dtype {position.dtype.name}"
        raise DTypeError(f"scheduled_rates: the position has {found}, not () and int64")
    if settings.dtype is not float64 or rates.dtype is not float64:
        found = f"{settings.dtype.name} and {rates.dtype.name}"
        raise DTypeError(f"scheduled_rates: settings and rates have dtypes {found}, not float64")


@scheduled_rates.reference
def _(settings: Any, position: Any, rates: Any) -> tuple[Any, ...]:
    done = settings.copy()
    done[:, 0] = rates[min(max(int(position), 0), len(rates) - 1)]
    return done, position + 1


@scheduled_rates.samples
def _() -> Iterator[Sample]:
    for groups, at, why in ((2, 0, "first step"), (1, 2, "between"), (300, 3, "last row"), (2, 99, "beyond the end")):
        yield Sample((groups, 7), np.array(at), (4, groups), why=why)


# ---- clipping -----------------------------------------------------------------------------------------------------


@operation(
    family="optim", kernels={"cuda": "optim.multi_tensor:clip_grad_norm"}, promote=as_given, outputs="norm",
    writes="grads", ulp=6,  # float64: chains of 32 and of n / 512 additions, which equal elements round to one side
    cost=lambda grads: (4.0 * sum(math.prod(g.shape) for g in grads), 3 * bytes_of(*grads)),
    error_inputs=[
        ErrorInput(
            ValueError, "clip_grad_norm: max_norm is -1.0, norm_type 2.0; neither may be negative, nor norm_type 0",
            [np.zeros(2)], max_norm=-1.0,
        ),
        ErrorInput(DTypeError, "clip_grad_norm: gradient 0 has dtype int64", [np.zeros(2, np.int64)], max_norm=1.0),
    ],
    workloads=[  # to the norm 0: with any other there is nothing to scale in the second call
        *(Workload((list(m.parameters),), (0.0,), f"all of model {name}") for name, m in MODELS.items()),
        Workload(([(4096, 4096)],), (0.0,), "16M", (float32,)),
    ],
    baselines={"torch": (_TORCH_CLIP, "torch.nn.utils.clip_grad_norm_(weights, max_norm, norm_type, foreach=True)")},
)  # fmt: skip
def clip_grad_norm(grads: list[Spec], max_norm: float, norm_type: float = 2.0) -> Spec:
    """The norm of all gradients together; they are scaled in place so that it is at most `max_norm`.

    norm = (sum |g|^norm_type)^(1 / norm_type), infinity: max |g|; g *= min(1, max_norm / (norm + 1e-6)). The sum is in
    float64 in a fixed order; the norm is a 0-d float32 (float64 where a gradient is).
    """
    for k, g in enumerate(grads):
        if not g.dtype.is_float:
            raise DTypeError(f"clip_grad_norm: gradient {k} has dtype {g.dtype.name}")
    if not max_norm >= 0 or not norm_type > 0:
        raise ValueError(
            f"clip_grad_norm: max_norm is {max_norm}, norm_type {norm_type}; neither may be negative, nor norm_type 0"
        )
    return Spec((), float64 if any(g.dtype is float64 for g in grads) else float32)


@clip_grad_norm.reference
def _(grads: Arrays, max_norm: float, norm_type: float) -> tuple[Any, ...]:
    flat = np.concatenate([np.abs(g).ravel() for g in grads]) if grads else np.zeros(0)
    norm = flat.max(initial=0.0) if math.isinf(norm_type) else (flat**norm_type).sum() ** (1 / norm_type)
    factor = np.minimum(1.0, max_norm / (norm + 1e-6))  # NaN where the norm is
    return (*(g * factor for g in grads), norm)


@clip_grad_norm.samples
def _() -> Iterator[Sample]:
    grads, equal = [(33, 65), (7,), (), (0, 3)], Input((9747,), 0.1, 0.1)
    for norm_type, why in ((2.0, "clipped"), (math.inf, "largest element"), (1.0, "sum"), (3.0, "another order")):
        yield Sample(grads, max_norm=0.5, norm_type=norm_type, why=why)
    yield Sample(grads, max_norm=1e6, why="left as they are")
    one_nan = [Input((9747,), 0.9, 0.9), np.array([0.0, np.nan])]
    yield Sample(one_nan, max_norm=1e6, norm_type=1.0, why="NaN: all become NaN", grad=False)
    yield Sample([equal], max_norm=0.5, norm_type=1.0, why="equal elements: all round to one side")
    yield Sample([(784, 256), (256,)], max_norm=1.0, why="a layer")


@clip_grad_norm.restrict
def _(operands: list[Any]) -> None:
    """The powers are summed in float64, where they must be numbers, and the factor has the gradients' dtype: for a norm
    of 1e38 it would be a subnormal number."""
    operands[:] = [limited(x, 1e30) for x in operands]


@operation(
    family="optim", kernels={"cuda": "optim.multi_tensor:clip_grad_value"}, promote=as_given, outputs="",
    writes="grads", params=lambda clip_value: (clip_value,),
    cost=lambda grads: (2.0 * sum(math.prod(g.shape) for g in grads), 2 * bytes_of(*grads)),
    error_inputs=[
        ErrorInput(
            ValueError, "clip_grad_value: clip_value is -1.0; it must be at least 0", [np.zeros(2)], clip_value=-1.0
        ),
        ErrorInput(
            DTypeError, "clip_grad_value: gradient 0 has dtype int64", [np.zeros(2, np.int64)], clip_value=1.0
        ),
    ],
    workloads=[
        *(Workload((list(m.parameters),), (0.5,), f"all of model {name}") for name, m in MODELS.items()),
        Workload(([(4096, 4096)],), (0.5,), "16M", (float32,)),
    ],
    baselines={"torch": (_TORCH_CLIP, "torch.nn.utils.clip_grad_value_(weights, clip_value, foreach=True)")},
)  # fmt: skip
def clip_grad_value(grads: list[Spec], clip_value: float) -> None:
    """Each element of the gradients brought into [-clip_value, clip_value], in place; NaN stays. Returns None."""
    for k, g in enumerate(grads):
        if not g.dtype.is_float:
            raise DTypeError(f"clip_grad_value: gradient {k} has dtype {g.dtype.name}")
    if not clip_value >= 0:
        raise ValueError(f"clip_grad_value: clip_value is {clip_value}; it must be at least 0")


@clip_grad_value.reference
def _(grads: Arrays, clip_value: float) -> tuple[Any, ...]:
    return tuple(np.clip(g, -clip_value, clip_value) for g in grads)


@clip_grad_value.samples
def _() -> Iterator[Sample]:
    yield Sample([(33, 65), (7,), (), (0, 3)], clip_value=0.5, why="several")
    yield Sample([np.array([np.nan, np.inf, -np.inf, 0.25])], clip_value=0.5, why="NaN and infinity", grad=False)
    yield Sample([(784, 256), (256,)], clip_value=1.0, why="a layer")


# ---- loss scaling -------------------------------------------------------------------------------------------------


@operation(
    family="optim", kernels={"cuda": "optim.multi_tensor:unscale_grads"}, promote=as_given, outputs="finite",
    writes="grads", ulp=1, params=lambda: (),
    cost=lambda grads: (2.0 * sum(math.prod(g.shape) for g in grads), 3 * bytes_of(*grads)),
    error_inputs=[
        ErrorInput(DTypeError, "unscale_grads: gradient 0 has dtype int64", [np.zeros(2, np.int64)], np.float32(1)),
        ErrorInput(
            DTypeError, "unscale_grads: the scale has shape (1,) and dtype float32, not () and float32",
            [np.zeros(2)], np.ones(1, np.float32),
        ),
    ],
    workloads=[
        *(Workload((list(m.parameters), Input((), 1, 1, float32)), (), f"all of model {k}") for k, m in MODELS.items()),
        Workload(([(4096, 4096)], Input((), 1, 1, float32)), (), "16M", (float32,)),
    ],
    baselines={
        "torch": (
            "found, inverse = torch.zeros(1), scale.reciprocal().reshape(1)",
            "torch._amp_foreach_non_finite_check_and_unscale_(grads, found, inverse)",
        )
    },
)  # fmt: skip
def unscale_grads(grads: list[Spec], scale: Spec) -> Spec:
    """Whether all elements of the gradients are finite (0-d bool); they are divided by `scale` in place.

    g = g (1 / scale), in the gradient's dtype, 16-bit ones in float32. `scale`: 0-d float32, what the loss was
    multiplied by (Micikevicius et al. 2018).
    """
    for k, g in enumerate(grads):
        if not g.dtype.is_float:
            raise DTypeError(f"unscale_grads: gradient {k} has dtype {g.dtype.name}")
    _check_number("unscale_grads", "scale", scale)
    return Spec((), bool_)


def _check_number(name: str, what: str, spec: Spec) -> None:
    if spec.shape != () or spec.dtype is not float32:
        raise DTypeError(
            f"{name}: the {what} has shape {spec.shape} and dtype {spec.dtype.name}, not () and float32"
        )


@unscale_grads.reference
def _(grads: Arrays, scale: Any) -> tuple[Any, ...]:
    return *(g * (1 / scale) for g in grads), np.array(all(np.isfinite(g).all() for g in grads))


@unscale_grads.samples
def _() -> Iterator[Sample]:
    grads, scale = [(33, 65), (7,), (), (0, 3)], Input((), 1024.0, 1024.0, float32)
    yield Sample(grads, scale, why="several")
    yield Sample([(784, 256), (256,)], scale, why="a layer")
    for bad in (np.nan, np.inf, -np.inf):
        yield Sample([(33, 65), np.array([1.0, bad, 2.0])], scale, why=f"{bad}", grad=False)
    yield Sample([(0, 3)], scale, why="no elements")


@unscale_grads.restrict
def _(operands: list[Any], largest: float) -> None:
    """Quotients that are subnormal numbers, or too large, have another relative error; a scale is a power of two."""
    operands[-1] = np.array(1024.0)
    operands[:-1] = [np.where(np.abs(x) < 1e-3, 0.0, x) for x in operands[:-1]]


@operation(
    family="optim", kernels={"cuda": "optim.multi_tensor:update_scale"}, promote=as_given, outputs="",
    writes="scale good skipped", dtypes=(float32,), ulp=0, cost=lambda: (4.0, 42.0),
    error_inputs=[
        ErrorInput(
            DTypeError, "update_scale: the scale has shape () and dtype float64, not () and float32",
            np.ones(()), np.array(0), np.array(0), np.array(True), growth=2.0, backoff=0.5, interval=2000,
        ),
        ErrorInput(
            DTypeError, "update_scale: good has shape () and dtype float32, not () and int64",
            np.float32(1), np.float32(1), np.array(0), np.array(True), growth=2.0, backoff=0.5, interval=2000,
        ),
    ],
    workloads=[
        Workload(
            (Input((), 1024.0, 1024.0, float32), np.array(0), np.array(0), np.array(True)), (2.0, 0.5, 2000), "a step",
            (float32,),
        )
    ],
    baselines={
        "torch": (
            "tracker, found = torch.zeros((), dtype=torch.int32), (~finite).float()",
            "torch._amp_update_scale_(scale, tracker, found, growth, backoff, interval)",
        )
    },
)  # fmt: skip
def update_scale(
    scale: Spec, good: Spec, skipped: Spec, finite: Spec, growth: float, backoff: float, interval: int
) -> None:
    """The scale of the next step's loss, in place (Micikevicius et al. 2018). Returns None.

    finite: good += 1, and after `interval` such steps in a row scale *= growth (where that stays finite) and good = 0;
    else scale *= backoff, good = 0 and skipped += 1. `scale`: 0-d float32; `good` and `skipped`: 0-d int64; `finite`:
    0-d bool.
    """
    _check_number("update_scale", "scale", scale)
    for what, spec, dtype in (("good", good, int64), ("skipped", skipped, int64), ("finite", finite, bool_)):
        if spec.shape != () or spec.dtype is not dtype:
            found = f"shape {spec.shape} and dtype {spec.dtype.name}"
            raise DTypeError(f"update_scale: {what} has {found}, not () and {dtype.name}")


@update_scale.reference
def _(
    scale: Any, good: Any, skipped: Any, finite: Any, growth: float, backoff: float, interval: int
) -> tuple[Any, ...]:
    if not finite:
        return scale * backoff, good * 0, skipped + 1
    if good + 1 < interval:
        return scale, good + 1, skipped
    grown = scale * growth
    return grown if grown <= np.finfo(np.float32).max else scale, good * 0, skipped


@update_scale.samples
def _() -> Iterator[Sample]:
    cases = (
        (1024.0, 3, True, "one more"), (1024.0, 9, True, "it grows"), (2.0**127, 9, True, "it cannot grow"),
        (1024.0, 9, False, "it shrinks"),
    )  # fmt: skip
    for scale, good, finite, why in cases:
        given = Input((), scale, scale, float32), np.array(good), np.array(5), np.array(finite)
        yield Sample(*given, growth=2.0, backoff=0.5, interval=10, why=why)
