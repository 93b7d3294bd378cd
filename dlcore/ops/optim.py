"""Optimizer steps and gradient clipping: one launch for all parameters, whatever their number, shapes and groups.

Operands come as one list: parameters, gradients, moments (a list each), step counts, and last the matrix of settings
(groups, settings) in float64. All that changes from step to step is in these tensors, so a recorded step stays valid.
The arithmetic is PyTorch's, in the parameter's dtype; 16-bit parameters compute in float32 and keep float32 moments.
Parameters that are not contiguous are copied and written back.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dlcore.dtypes import DType, float32, float64, int64
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import REQUIRED, Op, Operand, Sample, Size, Spec, Wrong
from dlcore.ops._sizes import MODELS

__all__ = ["adam", "clip_grad_norm", "sgd"]

Groups = tuple[int, ...]


# ---- what the two optimizers share --------------------------------------------------------------------------------


def _settings_wide(specs: Sequence[Spec | None]) -> tuple[DType | None, ...]:
    return (*(s and s.dtype for s in specs[:-1]), float64)


def _lists(name: str, operands: Sequence[Any], n: int, moments: Sequence[int]) -> tuple[list[Sequence[Any]], Any]:
    """The lists of n operands each, and the settings behind them."""
    count = (len(operands) - 1) // n if n > 0 else 0
    if n < 1 or count * n + 1 != len(operands) or count - 3 not in moments:
        raise ShapeError(f"{name}: {len(operands)} operands for {n} parameters")
    return [operands[k * n : (k + 1) * n] for k in range(count)], operands[-1]


def _infer(name: str, columns: int, moments: Sequence[int], *args: Any) -> tuple[Spec, ...]:
    *operands, n, groups = args
    (params, grads, *states, steps), settings = _lists(name, operands, n, moments)
    if len(settings.shape) != 2 or settings.shape[1] != columns:
        raise ShapeError(f"{name}: the settings have shape {settings.shape}, not (groups, {columns})")
    if len(groups) != n or not all(0 <= g < settings.shape[0] for g in groups):
        raise ShapeError(f"{name}: groups {groups} for {n} parameters and {settings.shape[0]} groups")
    for k, (p, g) in enumerate(zip(params, grads, strict=True)):
        wide = p.dtype if p.dtype is float64 else float32
        if not p.dtype.is_float or g.dtype is not p.dtype or any(s[k].dtype is not wide for s in states):
            found = ", ".join(s.dtype.name for s in (p, g, *(s[k] for s in states)))
            raise DTypeError(f"{name}: parameter {k}, its gradient and moments have dtypes {found}")
        if g.shape != p.shape or any(s[k].shape != p.shape for s in states):
            shapes = ", ".join(str(s.shape) for s in (p, g, *(s[k] for s in states)))
            raise ShapeError(f"{name}: parameter {k}, its gradient and moments have shapes {shapes}")
        if steps[k].shape != () or steps[k].dtype not in (int64, float32):
            raise DTypeError(f"{name}: step count {k} has shape {steps[k].shape} and dtype {steps[k].dtype.name}")
    return ()


def _written(attrs: tuple[Any, ...], count: int) -> list[int]:
    """Everything but the gradients and the settings."""
    n = attrs[0]
    return [*range(n), *range(2 * n, count - 1)]


def _params(*args: Any) -> tuple[int, ...]:
    *_, n, groups = args
    return (n, *groups)


def _cost(flops: int) -> Any:
    def cost(*args: Any) -> tuple[float, float]:
        *operands, n, _ = args
        size = sum(math.prod(p.shape) for p in operands[:n])
        read = sum(math.prod(s.shape) * s.dtype.itemsize for s in operands[:-1])
        written = read - sum(math.prod(g.shape) * g.dtype.itemsize for g in operands[n : 2 * n])
        return float(flops * size), float(read + written)

    return cost


_SHAPES = ((33, 5), (7,), (), (0, 3))


def _operands(
    rng: np.random.Generator, shapes: Any, moments: int, settings: Any, dtype: Any = np.float64, step: int = 2
) -> tuple[Any, ...]:
    """Parameters and gradients of ``dtype``, moments as they are after some steps."""
    wide = np.float32 if np.dtype(dtype).itemsize == 2 else np.float64
    lists = [[np.asarray(rng.standard_normal(s)).astype(dtype) for s in shapes] for _ in range(2)]
    lists += [[np.asarray(np.abs(rng.standard_normal(s))).astype(wide) for s in shapes] for _ in range(moments)]
    lists.append([np.array(step + k) for k in range(len(shapes))])
    return (*(x for xs in lists for x in xs), np.array(settings, np.float64))


def _terms(ref: Any) -> Any:
    """What errors of the written operands are measured against: sums of terms of a few units."""
    return lambda *args: [4.0 + np.abs(r) for r in ref(*args)]


def _wrong(row: str, columns: int) -> list[Wrong]:
    p, step, settings = np.zeros(2), np.array(0), np.zeros((1, columns))
    moments = [np.zeros(2)] * (2 if row == "adam" else 0)
    shapes = ", ".join(["(2,)", "(3,)"] + ["(2,)"] * len(moments))
    narrow = np.zeros((1, 2))
    return [
        Wrong((p, np.zeros(3), *moments, step, settings), (1, (0,)), ShapeError,
              f"{row}: parameter 0, its gradient and moments have shapes {shapes}"),
        Wrong((p, p, *moments, step, settings), (1, (1,)), ShapeError,
              f"{row}: groups (1,) for 1 parameters and 1 groups"),
        Wrong((p, p, *moments, step, narrow), (1, (0,)), ShapeError,
              f"{row}: the settings have shape (1, 2), not (groups, {columns})"),
        Wrong((p, p), (1, (0,)), ShapeError, f"{row}: 2 operands for 1 parameters"),
    ]  # fmt: skip


def _sizes(moments: int, settings: Sequence[float]) -> Iterator[Size]:
    """All parameters of the two networks, and one of 16 million elements."""
    shapes = {f"all of model {name}": model.parameters for name, model in MODELS.items()}
    for why, parameters in (shapes | {"16M": [(4096, 4096)]}).items():
        n = len(parameters)
        lists: list[Any] = [*parameters, *parameters]
        lists += [Operand(shape, 0.0, 1.0) for _ in range(moments) for shape in parameters]
        operands = (*lists, *(np.array(3) for _ in parameters), np.array([settings]))
        yield Size(operands, (n, (0,) * n), why, (float32,) if why == "16M" else ())


_PARAMETERS = """params = [torch.nn.Parameter(p) for p in tensors[:n]]
for p, g in zip(params, tensors[n : 2 * n]): p.grad = g
"""

# ---- SGD ----------------------------------------------------------------------------------------------------------
# Settings: lr, momentum, dampening, weight_decay, nesterov, maximize.


def _sgd_one(p: Any, grad: Any, b: Any, step: int, h: Any) -> tuple[Any, Any]:
    lr, momentum, dampening, decay, nesterov, maximize = map(float, h)
    g = (-grad if maximize else grad) + decay * p
    if b is None or not momentum:
        return p - lr * g, b
    b = g if step == 0 else momentum * b + (1 - dampening) * g
    return p - lr * (g + momentum * b if nesterov else b), b


def _sgd_ref(operands: Sequence[Any], n: int, groups: Groups) -> tuple[Any, ...]:
    (params, grads, *moments, steps), settings = _lists("sgd", operands, n, (0, 1))
    kept = moments[0] if moments else [None] * n
    rows = [
        _sgd_one(p, g, b, int(t), settings[k]) for p, g, b, t, k in zip(params, grads, kept, steps, groups, strict=True)
    ]
    return (*(p for p, _ in rows), *(b for _, b in rows if b is not None), *(t + 1 for t in steps))


def _sgd_samples(rng: np.random.Generator) -> Iterator[Sample]:
    settings = [[0.1, 0.9, 0.25, 0.5, 0, 0], [0.1, 0.5, 0, 0.25, 1, 1], [0.5, 0, 0, 0, 0, 0]]
    yield Sample(_operands(rng, _SHAPES, 1, settings), (4, (0, 1, 2, 0)), "three groups")
    yield Sample(_operands(rng, _SHAPES, 1, settings, step=0), (4, (1, 0, 2, 1)), "first step")
    yield Sample(_operands(rng, _SHAPES, 0, settings[2:]), (4, (0, 0, 0, 0)), "no momentum")
    yield Sample(_operands(rng, _SHAPES, 1, settings, np.float16), (4, (0, 1, 2, 0)), "float16 parameters")
    yield Sample(_operands(rng, ((784, 256), (256,)), 1, settings), (2, (0, 0)), "a layer")


_TORCH_SGD = f"""{_PARAMETERS}
lr, momentum, dampening, decay, nesterov, _ = tensors[-1][0].tolist()
update = torch.optim.SGD(params, lr, momentum, dampening, decay, bool(nesterov), fused=True)
for p, b in zip(params, tensors[2 * n : 3 * n]): update.state[p] = dict(momentum_buffer=b)"""

SGD = Op(
    name="sgd",
    doc="""A step of gradient descent on all parameters, in place. Returns None.

    g += weight_decay p; b = momentum b + (1 - dampening) g, b = g in a parameter's first step;
    p -= lr (nesterov ? g + momentum b : b). `tensors`: n parameters, n gradients, n momentum buffers (or none at all),
    n step counts (0-d, int64 or float32), settings (groups, 6): lr, momentum, dampening, weight_decay, nesterov,
    maximize. `groups`: the row of settings of each parameter.""",
    inputs="*tensors",
    attrs={"n": REQUIRED, "groups": REQUIRED},
    outputs="",
    infer=lambda *args: _infer("sgd", 6, (0, 1), *args),
    promote=_settings_wide,
    writes=_written,
    kernels={"cpu": "optim:sgd", "cuda": "optim.multi_tensor:sgd"},
    params=_params,
    ref=_sgd_ref,
    samples=_sgd_samples,
    sizes=tuple(_sizes(1, [0.01, 0.9, 0, 0, 0, 0])),
    peers={"torch": (_TORCH_SGD, "update.step()")},
    errors=lambda: _wrong("sgd", 6),
    dtypes=(float32, float64),
    ulp=2,
    magnitude=_terms(_sgd_ref),
    cost=_cost(6),
)
sgd = SGD.call


# ---- Adam ---------------------------------------------------------------------------------------------------------
# Settings: lr, beta1, beta2, eps, weight_decay, decoupled, maximize.


def _adam_one(p: Any, grad: Any, m: Any, v: Any, step: int, h: Any) -> tuple[Any, Any, Any]:
    lr, beta1, beta2, eps, decay, decoupled, maximize = map(float, h)
    g, t = -grad if maximize else grad, step + 1
    if decoupled:
        p = p * (1 - lr * decay)
    else:
        g = g + decay * p
    m, v = m + (1 - beta1) * (g - m), beta2 * v + (1 - beta2) * g * g
    return p - lr / (1 - beta1**t) * m / (np.sqrt(v) / math.sqrt(1 - beta2**t) + eps), m, v


def _adam_ref(operands: Sequence[Any], n: int, groups: Groups) -> tuple[Any, ...]:
    (params, grads, first, second, steps), settings = _lists("adam", operands, n, (2,))
    rows = [
        _adam_one(p, g, m, v, int(t), settings[k])
        for p, g, m, v, t, k in zip(params, grads, first, second, steps, groups, strict=True)
    ]
    return (*(p for p, _, _ in rows), *(m for _, m, _ in rows), *(v for _, _, v in rows), *(t + 1 for t in steps))


def _adam_samples(rng: np.random.Generator) -> Iterator[Sample]:
    settings = [
        [0.125, 0.875, 0.96875, 2**-20, 0.25, 0, 0],
        [0.125, 0.25, 0.875, 2**-20, 0.25, 1, 1],
        [0.125, 0.875, 0.96875, 2**-20, 0, 0, 0],
    ]
    yield Sample(_operands(rng, _SHAPES, 2, settings), (4, (0, 1, 2, 0)), "three groups")
    yield Sample(_operands(rng, _SHAPES, 2, settings, step=0), (4, (1, 2, 0, 1)), "first step")
    yield Sample(_operands(rng, _SHAPES, 2, settings, np.float16), (4, (0, 1, 2, 0)), "float16 parameters")
    yield Sample(_operands(rng, ((784, 256), (256,)), 2, settings), (2, (2, 2)), "a layer")


_TORCH_ADAM = f"""{_PARAMETERS}
lr, beta1, beta2, eps, decay, _, _ = tensors[-1][0].tolist()
update = torch.optim.Adam(params, lr, (beta1, beta2), eps, decay, fused=True)
for p, m, v, t in zip(params, *(tensors[k * n : (k + 1) * n] for k in (2, 3, 4))):
    update.state[p] = dict(step=t.float(), exp_avg=m, exp_avg_sq=v)"""

ADAM = Op(
    name="adam",
    doc="""A step of Adam (Kingma & Ba 2015), or AdamW (Loshchilov & Hutter 2019), on all parameters, in place.

    g += weight_decay p, or, decoupled, p *= 1 - lr weight_decay; m += (1 - beta1) (g - m);
    v = beta2 v + (1 - beta2) g^2; p -= lr / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + eps), t counting the
    parameter's steps. `tensors`: n parameters, n gradients, n first and n second moments, n step counts (0-d, int64 or
    float32), settings (groups, 7): lr, beta1, beta2, eps, weight_decay, decoupled, maximize. `groups`: the row of
    settings of each parameter. Returns None.""",
    inputs="*tensors",
    attrs={"n": REQUIRED, "groups": REQUIRED},
    outputs="",
    infer=lambda *args: _infer("adam", 7, (2,), *args),
    promote=_settings_wide,
    writes=_written,
    kernels={"cpu": "optim:adam", "cuda": "optim.multi_tensor:adam"},
    params=_params,
    ref=_adam_ref,
    samples=_adam_samples,
    sizes=tuple(_sizes(2, [1e-3, 0.9, 0.999, 1e-8, 0, 0, 0])),
    peers={"torch": (_TORCH_ADAM, "update.step()")},
    errors=lambda: _wrong("adam", 7),
    dtypes=(float32, float64),
    ulp=2,
    magnitude=_terms(_adam_ref),
    cost=_cost(15),
)
adam = ADAM.call


# ---- clipping -----------------------------------------------------------------------------------------------------


def _clip_infer(*args: Any) -> Spec:
    *grads, max_norm, norm_type = args
    for k, g in enumerate(grads):
        if not g.dtype.is_float:
            raise DTypeError(f"clip_grad_norm: gradient {k} has dtype {g.dtype.name}")
    if not max_norm >= 0 or not norm_type > 0:
        raise ValueError(
            f"clip_grad_norm: max_norm is {max_norm}, norm_type {norm_type}; neither may be negative, nor norm_type 0"
        )
    return Spec((), float64 if any(g.dtype is float64 for g in grads) else float32)


def _clip_ref(grads: Sequence[Any], max_norm: float, norm_type: float) -> tuple[Any, ...]:
    flat = np.concatenate([np.abs(g).ravel() for g in grads]) if grads else np.zeros(0)
    norm = flat.max(initial=0.0) if math.isinf(norm_type) else (flat**norm_type).sum() ** (1 / norm_type)
    factor = np.minimum(1.0, max_norm / (norm + 1e-6))  # NaN where the norm is
    return (*(g * factor for g in grads), norm)


def _clip_samples(rng: np.random.Generator) -> Iterator[Sample]:
    grads = [np.asarray(rng.standard_normal(s)) for s in ((33, 65), (7,), (), (0, 3))]
    for norm_type, why in ((2.0, "clipped"), (math.inf, "largest element"), (1.0, "sum"), (3.0, "another order")):
        yield Sample(tuple(grads), (0.5, norm_type), why)
    yield Sample(tuple(grads), (1e6, 2.0), "left as they are")
    yield Sample((np.full(9747, 0.9), np.array([0.0, np.nan])), (1e6, 1.0), "NaN: all become NaN", grad=False)
    yield Sample((np.full(9747, 0.1),), (0.5, 1.0), "equal elements: all round to one side")
    yield Sample((rng.standard_normal((784, 256)), rng.standard_normal(256)), (1.0, 2.0), "a layer")


def _clip_cost(*args: Any) -> tuple[float, float]:
    sizes = [(math.prod(g.shape), g.dtype.itemsize) for g in args[:-2]]
    return 4.0 * sum(n for n, _ in sizes), 3.0 * sum(n * item for n, item in sizes)


_TORCH_CLIP = """params = [torch.nn.Parameter(torch.empty_like(g)) for g in grads]
for p, g in zip(params, grads): p.grad = g"""

CLIP_GRAD_NORM = Op(
    name="clip_grad_norm",
    doc="""The norm of all gradients together; they are scaled in place so that it is at most `max_norm`.

    norm = (sum |g|^norm_type)^(1 / norm_type), infinity: max |g|; g *= min(1, max_norm / (norm + 1e-6)). The sum is in
    float64 in a fixed order; the norm is a 0-d float32 (float64 where a gradient is).""",
    inputs="*grads",
    attrs={"max_norm": REQUIRED, "norm_type": 2.0},
    outputs="norm",
    infer=_clip_infer,
    promote=None,
    writes=lambda attrs, count: range(count),
    kernels={"cpu": "optim:clip_grad_norm", "cuda": "optim.multi_tensor:clip_grad_norm"},
    params=lambda *args: (float(args[-2]), float(args[-1])),
    ref=_clip_ref,
    samples=_clip_samples,
    sizes=[  # to the norm 0: with any other there is nothing to scale in the second call
        *(Size(tuple(m.parameters), (0.0,), f"all of model {name}") for name, m in MODELS.items()),
        Size(((4096, 4096),), (0.0,), "16M", (float32,)),
    ],
    peers={"torch": (_TORCH_CLIP, "torch.nn.utils.clip_grad_norm_(params, max_norm, norm_type, foreach=True)")},
    errors=lambda: [
        Wrong((np.zeros(2),), (-1.0, 2.0), ValueError,
              "clip_grad_norm: max_norm is -1.0, norm_type 2.0; neither may be negative, nor norm_type 0"),
        Wrong((np.zeros(2, np.int64),), (1.0, 2.0), DTypeError, "clip_grad_norm: gradient 0 has dtype int64"),
    ],
    ulp=6,  # float64: chains of 32 and of n / 512 additions, which equal elements round to one side
    cost=_clip_cost,
)  # fmt: skip
clip_grad_norm = CLIP_GRAD_NORM.call
