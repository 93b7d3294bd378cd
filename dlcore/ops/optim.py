"""Optimizer steps and gradient clipping: one launch for all parameters, whatever their number, shapes and groups.

Operands are groups of tensors, one of each for every parameter: parameters, gradients, moments, step counts; and the
matrix of settings (groups, settings) in float64. All that changes from step to step is in these tensors, so a recorded
step stays valid. The arithmetic is PyTorch's, in the parameter's dtype; 16-bit parameters compute in float32 and keep
float32 moments. Parameters that are not contiguous are copied and written back.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from dlcore.dtypes import DType, float32, float64, int64
from dlcore.errors import DTypeError, ShapeError
from dlcore.op import ErrorInput, Input, Op, Sample, Shape, Spec, Workload, as_given, operation
from dlcore.ops._domains import limited
from dlcore.ops._workloads import MODELS, bytes_of

__all__ = ["adam", "clip_grad_norm", "sgd"]

Tensors = Sequence[Any]

# ---- the family ---------------------------------------------------------------------------------------------------

_SHAPES = ((33, 5), (7,), (), (0, 3))


def _settings_wide(specs: Sequence[Spec | None]) -> Sequence[DType | None]:
    return [*(s and s.dtype for s in specs[:-1]), float64]


class Update(Op):
    """A step of an optimizer: params, grads, groups of moments, steps, settings, and the group of each parameter."""

    family = "optim"
    promote = staticmethod(_settings_wide)
    outputs = ""
    dtypes = (float32, float64)
    ulp = 2
    settings: Sequence[Sequence[float]] = ()
    """Rows of settings to test; the first is timed."""
    flops: float = 0
    """Arithmetic operations an element."""
    step: Any = None
    """step(p, grad, moments, count, settings) -> (p, moments): the reference, of one parameter."""
    optional: bool = False
    """Whether there may be no moments at all."""

    def infer(self, params: list[Spec], grads: list[Spec], *rest: Any) -> tuple[()]:
        """Nothing is returned; raises where tensors, settings and groups do not belong together."""
        *moments, steps, settings, groups = rest
        n, columns = len(params), len(self.settings[0])
        lengths = [len(grads), *map(len, moments), len(steps)]
        if n < 1 or any(m not in ((0, n) if self.optional and 0 < k < len(lengths) - 1 else (n,))
                        for k, m in enumerate(lengths)):  # fmt: skip
            raise ShapeError(f"{self.name}: {n} parameters with groups of {', '.join(map(str, lengths))} tensors")
        if len(settings.shape) != 2 or settings.shape[1] != columns:
            raise ShapeError(f"{self.name}: the settings have shape {settings.shape}, not (groups, {columns})")
        if len(groups) != n or not all(0 <= g < settings.shape[0] for g in groups):
            raise ShapeError(f"{self.name}: groups {groups} for {n} parameters and {settings.shape[0]} groups")
        for k, (p, g) in enumerate(zip(params, grads, strict=True)):
            states, wide = [m[k] for m in moments if m], p.dtype if p.dtype is float64 else float32
            if not p.dtype.is_float or g.dtype is not p.dtype or any(s.dtype is not wide for s in states):
                found = ", ".join(s.dtype.name for s in (p, g, *states))
                raise DTypeError(f"{self.name}: parameter {k}, its gradient and moments have dtypes {found}")
            if any(s.shape != p.shape for s in (g, *states)):
                shapes = ", ".join(str(s.shape) for s in (p, g, *states))
                raise ShapeError(f"{self.name}: parameter {k}, its gradient and moments have shapes {shapes}")
            if steps[k].shape != () or steps[k].dtype not in (int64, float32):
                found = f"shape {steps[k].shape} and dtype {steps[k].dtype.name}"
                raise DTypeError(f"{self.name}: step count {k} has {found}")
        return ()

    def params(self, groups: tuple[int, ...]) -> tuple[int, ...]:
        """The number of parameters, and the group of each."""
        return len(groups), *groups

    def cost(self, params: list[Spec], grads: list[Spec], *rest: Any) -> tuple[float, float]:
        """All but the settings read; all but gradients and settings written."""
        *states, _, _ = rest
        read = bytes_of(*params, *grads, *(s for group in states for s in group))
        return float(self.flops * sum(math.prod(p.shape) for p in params)), 2 * read - bytes_of(*grads)

    def family_kernels(self) -> dict[str, str]:
        return {"cpu": f"optim:{self.name}", "cuda": f"optim.multi_tensor:{self.name}"}

    def reference(self, params: Tensors, grads: Tensors, *rest: Any) -> tuple[Any, ...]:
        """The step of each parameter by itself."""
        *moments, steps, settings, groups = rest
        done = [
            self.step(p, grads[k], [m[k] for m in moments if m], int(steps[k]), settings[groups[k]])
            for k, p in enumerate(params)
        ]
        states = [states[j] for j in range(sum(map(bool, moments))) for _, states in done]
        return (*(p for p, _ in done), *states, *(t + 1 for t in steps))

    def magnitude(self, *args: Any) -> list[Any]:
        """What errors of the written operands are measured against: sums of terms of a few units."""
        return [4.0 + np.abs(r) for r in self.reference(*args)]

    def _sample(
        self, shapes: Sequence[Any], settings: Any, groups: tuple[int, ...], why: str, dtype: Any = None, step: int = 2,
        moments: bool = True,
    ) -> Sample:  # fmt: skip
        """Parameters and gradients of ``dtype``, moments as they are after some steps."""
        wide = None if dtype is None else np.float32

        def normal(shape: Any, rng: np.random.Generator) -> Any:
            return np.asarray(rng.standard_normal(shape)).astype(dtype or np.float64)

        def moment(shape: Any, rng: np.random.Generator) -> Any:
            return np.abs(np.asarray(rng.standard_normal(shape))).astype(wide or np.float64)

        tensors = [[Input(s, draw=partial(normal, s)) for s in shapes] for _ in range(2)]
        states = [Input(s, draw=partial(moment, s)) for s in shapes] if moments else []
        tensors += [states] * self._moments
        counts = [np.array(step + k) for k in range(len(shapes))]
        return Sample(*tensors, counts, np.array(settings, np.float64), groups=groups, why=why)

    @property
    def _moments(self) -> int:
        """How many groups of moments there are."""
        return len(self.signature.operands) - 4

    def family_samples(self) -> Iterator[Sample]:
        every = self.settings
        yield self._sample(_SHAPES, every, (0, 1, 2, 0), "three groups")
        yield self._sample(_SHAPES, every, (1, 2, 0, 1), "first step", step=0)
        if self.optional:
            yield self._sample(_SHAPES, every[2:], (0, 0, 0, 0), "no momentum", moments=False)
        yield self._sample(_SHAPES, every, (0, 1, 2, 0), "float16 parameters", np.float16)
        yield self._sample(((784, 256), (256,)), every, (0, 0), "a layer")

    def family_error_inputs(self) -> Iterator[ErrorInput]:
        p, step, columns = np.zeros(2), [np.array(0)], len(self.settings[0])
        settings = np.zeros((1, columns))
        moments: list[list[Any]] = [[] if self.optional else [p] for _ in range(self._moments)]
        shapes = ", ".join(["(2,)", "(3,)"] + ["(2,)"] * sum(map(bool, moments)))
        text = f"{self.name}: parameter 0, its gradient and moments have shapes {shapes}"
        yield ErrorInput(ShapeError, text, [p], [np.zeros(3)], *moments, step, settings, groups=(0,))
        text = f"{self.name}: groups (1,) for 1 parameters and 1 groups"
        yield ErrorInput(ShapeError, text, [p], [p], *moments, step, settings, groups=(1,))
        text = f"{self.name}: the settings have shape (1, 2), not (groups, {columns})"
        yield ErrorInput(ShapeError, text, [p], [p], *moments, step, np.zeros((1, 2)), groups=(0,))
        found = ", ".join(map(str, [0, *map(len, moments), 1]))
        text = f"{self.name}: 1 parameters with groups of {found} tensors"
        yield ErrorInput(ShapeError, text, [p], [], *moments, step, settings, groups=(0,))

    def family_workloads(self) -> Iterator[Workload]:
        """All parameters of the two networks, and one of 16 million elements."""
        shapes = {f"all of model {name}": model.parameters for name, model in MODELS.items()}
        for why, parameters in (shapes | {"16M": [(4096, 4096)]}).items():
            moments = [[Input(shape, 0.0, 1.0) for shape in parameters] for _ in range(self._moments)]
            steps = [np.array(3) for _ in parameters]
            operands = (parameters, parameters, *moments, steps, np.array(self.settings[:1]))
            yield Workload(operands, ((0,) * len(parameters),), why, (float32,) if why == "16M" else ())

    def restrict(self, operands: list[Any], lengths: Sequence[int]) -> None:
        """Settings mean something. The bound is one for values of a few units: (1 - beta2) g^2 would overflow with
        others. All are finite, but that a gradient may be NaN: kernels multiply by a weight of 0, and
        (1 - beta1) (g - m) is taken from g where beta1 is small, as PyTorch does, which makes NaN of infinity."""
        at = self.signature.positions(lengths)
        for k, x in enumerate(operands[:-1]):
            if isinstance(x, np.ndarray) and x.dtype == np.float64:
                nan = np.nan if k in at["grads"] else 0.0
                operands[k] = np.nan_to_num(limited(x, 4.0), nan=nan, posinf=4.0, neginf=-4.0)
                operands[k] = np.abs(operands[k]) if k in at.get("second_moments", ()) else operands[k]
        if operands[-1].ndim == 2 and operands[-1].shape[1] == len(self.settings[0]):
            operands[-1] = np.resize(np.array(self.settings), operands[-1].shape)


update = Update.definition

_PARAMETERS = """weights = [torch.nn.Parameter(p) for p in params]
for p, g in zip(weights, grads): p.grad = g
"""

# ---- SGD ----------------------------------------------------------------------------------------------------------
# Settings: lr, momentum, dampening, weight_decay, nesterov, maximize.


def _sgd(p: Any, grad: Any, moments: Tensors, count: int, settings: Any) -> tuple[Any, Tensors]:
    lr, momentum, dampening, decay, nesterov, maximize = map(float, settings)
    g = (-grad if maximize else grad) + decay * p
    if not moments or not momentum:
        return p - lr * g, moments
    b = g if count == 0 else momentum * moments[0] + (1 - dampening) * g
    return p - lr * (g + momentum * b if nesterov else b), [b]


_TORCH_SGD = f"""{_PARAMETERS}
lr, momentum, dampening, decay, nesterov, _ = settings[0].tolist()
update = torch.optim.SGD(weights, lr, momentum, dampening, decay, bool(nesterov), fused=True)
for p, b in zip(weights, moments): update.state[p] = dict(momentum_buffer=b)"""


@update(
    writes="params moments steps", step=_sgd, optional=True, flops=6,
    settings=[[0.1, 0.9, 0.25, 0.5, 0, 0], [0.1, 0.5, 0, 0.25, 1, 1], [0.5, 0, 0, 0, 0, 0]],
    baselines={"torch": (_TORCH_SGD, "update.step()")},
)  # fmt: skip
def sgd(
    params: list[Spec], grads: list[Spec], moments: list[Spec], steps: list[Spec], settings: Spec, groups: Shape
) -> None:
    """A step of gradient descent on all parameters, in place. Returns None.

    g += weight_decay p; b = momentum b + (1 - dampening) g, b = g in a parameter's first step;
    p -= lr (nesterov ? g + momentum b : b). `moments`: the momentum buffers b, or none at all. `steps`: how many steps
    each parameter has made (0-d, int64 or float32). `settings` (groups, 6): lr, momentum, dampening, weight_decay,
    nesterov, maximize. `groups`: the row of settings of each parameter.
    """


# ---- Adam ---------------------------------------------------------------------------------------------------------
# Settings: lr, beta1, beta2, eps, weight_decay, decoupled, maximize.


def _adam(p: Any, grad: Any, moments: Tensors, count: int, settings: Any) -> tuple[Any, Tensors]:
    lr, beta1, beta2, eps, decay, decoupled, maximize = map(float, settings)
    g, t, (m, v) = -grad if maximize else grad, count + 1, moments
    if decoupled:
        p = p * (1 - lr * decay)
    else:
        g = g + decay * p
    m, v = m + (1 - beta1) * (g - m), beta2 * v + (1 - beta2) * g * g
    return p - lr / (1 - beta1**t) * m / (np.sqrt(v) / math.sqrt(1 - beta2**t) + eps), [m, v]


_TORCH_ADAM = f"""{_PARAMETERS}
lr, beta1, beta2, eps, decay, _, _ = settings[0].tolist()
update = torch.optim.Adam(weights, lr, (beta1, beta2), eps, decay, fused=True)
for p, m, v, t in zip(weights, first_moments, second_moments, steps):
    update.state[p] = dict(step=t.float(), exp_avg=m, exp_avg_sq=v)"""


@update(
    writes="params first_moments second_moments steps", step=_adam, flops=15,
    settings=[
        [0.125, 0.875, 0.96875, 2**-20, 0.25, 0, 0],
        [0.125, 0.25, 0.875, 2**-20, 0.25, 1, 1],
        [0.125, 0.875, 0.96875, 2**-20, 0, 0, 0],
    ],
    baselines={"torch": (_TORCH_ADAM, "update.step()")},
)  # fmt: skip
def adam(
    params: list[Spec], grads: list[Spec], first_moments: list[Spec], second_moments: list[Spec], steps: list[Spec],
    settings: Spec, groups: Shape,
) -> None:  # fmt: skip
    """A step of Adam (Kingma & Ba 2015), or AdamW (Loshchilov & Hutter 2019), on all parameters, in place.

    g += weight_decay p, or, decoupled, p *= 1 - lr weight_decay; m += (1 - beta1) (g - m);
    v = beta2 v + (1 - beta2) g^2; p -= lr / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + eps), t counting the
    parameter's steps. `first_moments`: m; `second_moments`: v; `steps`: t (0-d, int64 or float32). `settings`
    (groups, 7): lr, beta1, beta2, eps, weight_decay, decoupled, maximize. `groups`: the row of settings of each
    parameter. Returns None.
    """


# ---- clipping -----------------------------------------------------------------------------------------------------

_TORCH_CLIP = """weights = [torch.nn.Parameter(torch.empty_like(g)) for g in grads]
for p, g in zip(weights, grads): p.grad = g"""


@operation(
    family="optim", kernels={"cuda": "optim.multi_tensor:clip_grad_norm"}, promote=as_given, outputs="norm",
    writes="grads",
    ulp=6,  # float64: chains of 32 and of n / 512 additions, which equal elements round to one side
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
def _(grads: Tensors, max_norm: float, norm_type: float) -> tuple[Any, ...]:
    flat = np.concatenate([np.abs(g).ravel() for g in grads]) if grads else np.zeros(0)
    norm = flat.max(initial=0.0) if math.isinf(norm_type) else (flat**norm_type).sum() ** (1 / norm_type)
    factor = np.minimum(1.0, max_norm / (norm + 1e-6))  # NaN where the norm is
    return (*(g * factor for g in grads), norm)


@clip_grad_norm.samples
def _() -> Iterator[Sample]:
    grads = [(33, 65), (7,), (), (0, 3)]
    for norm_type, why in ((2.0, "clipped"), (math.inf, "largest element"), (1.0, "sum"), (3.0, "another order")):
        yield Sample(grads, max_norm=0.5, norm_type=norm_type, why=why)
    yield Sample(grads, max_norm=1e6, why="left as they are")
    nan = Input((2,), draw=lambda rng: np.array([0.0, np.nan]))
    equal = [Input((9747,), draw=partial(_equal, v)) for v in (0.9, 0.1)]
    yield Sample([equal[0], nan], max_norm=1e6, norm_type=1.0, why="NaN: all become NaN", grad=False)
    yield Sample([equal[1]], max_norm=0.5, norm_type=1.0, why="equal elements: all round to one side")
    yield Sample([(784, 256), (256,)], max_norm=1.0, why="a layer")


def _equal(value: float, rng: np.random.Generator) -> Any:
    return np.full(9747, value)


@clip_grad_norm.restrict
def _(operands: list[Any]) -> None:
    """The powers are summed in float64, where they must be numbers, and the factor has the gradients' dtype: for a norm
    of 1e38 it would be a subnormal number."""
    operands[:] = [limited(x, 1e30) for x in operands]
