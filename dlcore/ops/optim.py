"""Optimizer steps: one launch for all parameters, whatever their number, shapes and groups.

The arithmetic is PyTorch's, in the parameter's dtype; 16-bit parameters compute in float32 and keep float32 moments.
Parameters that are not contiguous are copied and written back. What they share is in `dlcore/ops/_update.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from dlcore.op import Shape, Spec
from dlcore.ops._update import Update, update

__all__ = [
    "adadelta", "adagrad", "adam", "adamax", "amsgrad", "lamb", "lion", "nadam", "radam", "rmsprop",
    "rmsprop_centered", "schedule_free_adamw", "schedule_free_sgd", "sgd", "weight_average",
]  # fmt: skip

_PARAMETERS = """weights = [torch.nn.Parameter(p) for p in params]
for p, g in zip(weights, grads): p.grad = g
"""
_TORCH_SGD = f"""{_PARAMETERS}
lr, momentum, dampening, decay, nesterov, _ = settings[0].tolist()
update = torch.optim.SGD(weights, lr, momentum, dampening, decay, bool(nesterov), fused=True)
for p, b in zip(weights, moments): update.state[p] = dict(momentum_buffer=b)"""
_TORCH_ADAM = f"""{_PARAMETERS}
lr, beta1, beta2, eps, decay, _, _ = settings[0].tolist()
update = torch.optim.Adam(weights, lr, (beta1, beta2), eps, decay, fused=True)
for p, m, v, t in zip(weights, first_moments, second_moments, steps):
    update.state[p] = dict(step=t.float(), exp_avg=m, exp_avg_sq=v)"""


def _torch(kind: str, names: str, arguments: str, **state: str) -> str:
    """What makes PyTorch's optimizer ``kind`` from settings of these ``names``; ``state``: its names -> operands."""
    lists = ", ".join(["weights", *state.values(), "steps"])
    entries = ", ".join(f"{name}={name}_" for name in state)
    return f"""{_PARAMETERS}{names} = settings[0].tolist()
update = torch.optim.{kind}(weights, {arguments}, foreach=True)
for p, {"".join(f"{name}_, " for name in state)}t in zip({lists}):
    update.state[p] = dict(step=t.float(), {entries})"""


_RMSPROP = "lr, alpha, eps, decay, momentum, _"
_TORCH_RMSPROP = _torch("RMSprop", _RMSPROP, "lr, alpha, eps, decay", square_avg="second_moments")
_TORCH_RMSPROP_CENTERED = _torch(
    "RMSprop", _RMSPROP, "lr, alpha, eps, decay, centered=True", square_avg="second_moments", grad_avg="means"
)
_TORCH_ADAGRAD = _torch("Adagrad", "lr, lr_decay, decay, eps, _", "lr, lr_decay, decay, 0, eps", sum="sums")
_TORCH_ADADELTA = _torch(
    "Adadelta", "lr, rho, eps, decay, _", "lr, rho, eps, decay", square_avg="second_moments", acc_delta="deltas"
)
_ADAM = "lr, beta1, beta2, eps, decay, _, _"
_MEANS = {"exp_avg": "first_moments", "exp_avg_sq": "second_moments"}
_TORCH_ADAMAX = _torch(
    "Adamax", "lr, beta1, beta2, eps, decay, _", "lr, (beta1, beta2), eps, decay",
    exp_avg="first_moments", exp_inf="norms",
)  # fmt: skip
_TORCH_AMSGRAD = _torch(
    "Adam", _ADAM, "lr, (beta1, beta2), eps, decay, True", **_MEANS, max_exp_avg_sq="largest"
)  # fmt: skip
_TORCH_NADAM = _torch(
    "NAdam", "lr, beta1, beta2, eps, decay, momentum_decay, _, _", "lr, (beta1, beta2), eps, decay, momentum_decay",
    **_MEANS, mu_product="products",
)  # fmt: skip
_TORCH_RADAM = _torch("RAdam", _ADAM, "lr, (beta1, beta2), eps, decay", **_MEANS)

# ---- steps --------------------------------------------------------------------------------------------------------


@update(
    writes="params moments steps", optional=True, flops=6, baselines={"torch": (_TORCH_SGD, "update.step()")},
    settings=[  # lr, momentum, dampening, weight_decay, nesterov, maximize
        [0.1, 0.9, 0.25, 0.5, 0, 0], [0.1, 0.5, 0, 0.25, 1, 1], [0.5, 0, 0, 0, 0, 0],
    ],
    timed_settings=[0.01, 0.9, 0, 0, 0, 0],
)  # fmt: skip
def sgd(
    params: list[Spec], grads: list[Spec], moments: list[Spec], steps: list[Spec], settings: Spec,
    active: Spec | None, groups: Shape,
) -> None:  # fmt: skip
    """A step of gradient descent on all parameters, in place. Returns None.

    g += weight_decay p; b = momentum b + (1 - dampening) g, b = g in a parameter's first step;
    p -= lr (nesterov ? g + momentum b : b). `moments`: the momentum buffers b, or none at all. `steps`: how many steps
    each parameter has made (0-d, int64 or float32). `settings` (groups, 6): lr, momentum, dampening, weight_decay,
    nesterov, maximize. `active`: None, or a bool (0-d); False: everything stays as it is. `groups`: the row of settings
    of each parameter.
    """


@sgd.step
def _(settings: Any, count: int, p: Any, grad: Any, *buffers: Any) -> tuple[Any, ...]:
    lr, momentum, dampening, decay, nesterov, maximize = map(float, settings)
    g = (-grad if maximize else grad) + decay * p
    if not buffers or not momentum:
        return p - lr * g, *buffers
    b = momentum * buffers[0] + (1 - dampening) * g if count else g
    return p - lr * (g + momentum * b if nesterov else b), b


@update(
    writes="params first_moments second_moments steps", flops=15, baselines={"torch": (_TORCH_ADAM, "update.step()")},
    settings=[  # lr, beta1, beta2, eps, weight_decay, decoupled, maximize
        [0.1, 0.9, 0.99, 1e-8, 0.25, 0, 0], [0.1, 0.25, 0.875, 2**-20, 0.25, 1, 1], [0.1, 0.9, 0.999, 1e-8, 0, 0, 0],
    ],
    layer=(2, 2),  # without weight decay: the shortest way through the kernel
    ranges={"second_moments": (0.0, 2.0)},
    timed_settings=[1e-3, 0.9, 0.999, 1e-8, 0, 0, 0],
)  # fmt: skip
def adam(
    params: list[Spec], grads: list[Spec], first_moments: list[Spec], second_moments: list[Spec], steps: list[Spec],
    settings: Spec, active: Spec | None, groups: Shape,
) -> None:  # fmt: skip
    """A step of Adam (Kingma & Ba 2015), or AdamW (Loshchilov & Hutter 2019), on all parameters, in place.

    g += weight_decay p, or, decoupled, p *= 1 - lr weight_decay; m += (1 - beta1) (g - m);
    v = beta2 v + (1 - beta2) g^2; p -= lr / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + eps), t counting the
    parameter's steps. `first_moments`: m; `second_moments`: v; `steps`: t (0-d, int64 or float32). `settings`
    (groups, 7): lr, beta1, beta2, eps, weight_decay, decoupled, maximize. `active` and `groups` as in `sgd`. Returns
    None.
    """


@adam.step
def _(settings: Any, count: int, p: Any, grad: Any, m: Any, v: Any) -> tuple[Any, ...]:
    lr, beta1, beta2, eps, decay, decoupled, maximize = map(float, settings)
    g, t = -grad if maximize else grad, count + 1
    if decoupled:
        p = p * (1 - lr * decay)
    else:
        g = g + decay * p
    m, v = m + (1 - beta1) * (g - m), beta2 * v + (1 - beta2) * g * g
    return p - lr / (1 - beta1**t) * m / (np.sqrt(v) / math.sqrt(1 - beta2**t) + eps), m, v


# Each has the operands that `sgd` describes, and returns None; what is in `settings` stands in order.


def _without_tiny_state(op: Update, operands: list[Any], lengths: Sequence[int]) -> None:
    """The family's restriction, and no gradients and moments that are nearly subnormal numbers."""
    Update.restrict(op, operands, lengths)
    for k, x in enumerate(operands[:-2]):
        if isinstance(x, np.ndarray) and x.dtype == np.float64:
            operands[k] = np.where(np.abs(x) < 1e-12, 0.0, x)


def _coupled(p: Any, grad: Any, decay: float, maximize: float) -> Any:
    """The gradient with weight decay."""
    return (-grad if maximize else grad) + decay * p


def _moments(
    p: Any, grad: Any, m: Any, v: Any, lr: float, beta1: float, beta2: float, decay: float, decoupled: float,
    maximize: float,
) -> tuple[Any, ...]:  # fmt: skip
    """p and the gradient with weight decay, and Adam's moments with it."""
    g = -grad if maximize else grad
    if decoupled:
        p = p * (1 - lr * decay)
    else:
        g = g + decay * p
    return p, g, beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g


@update(
    writes="params moments steps", flops=8,
    settings=[  # lr, beta1, beta2, weight_decay, maximize
        [0.1, 0.9, 0.99, 0.25, 0],
        [0.1, 0.75, 0.5, 0, 1],
        [0.25, 0.9, 0.99, 0, 0],
    ],
    timed_settings=[1e-4, 0.9, 0.99, 0, 0],
)  # fmt: skip
def lion(
    params: list[Spec], grads: list[Spec], moments: list[Spec], steps: list[Spec],
    settings: Spec, active: Spec | None, groups: Shape,
) -> None:  # fmt: skip
    """Lion (Chen et al. 2023): u = sign(beta1 m + (1 - beta1) g); p = (1 - lr weight_decay) p - lr u.

    Then m = beta2 m + (1 - beta2) g. `settings` (groups, 5): lr, beta1, beta2, weight_decay, maximize.
    """


@lion.step
def _(settings: Any, count: int, p: Any, grad: Any, m: Any) -> tuple[Any, ...]:
    lr, beta1, beta2, decay, maximize = map(float, settings)
    g = -grad if maximize else grad
    return p * (1 - lr * decay) - lr * np.sign(beta1 * m + (1 - beta1) * g), beta2 * m + (1 - beta2) * g


@lion.restrict
def _(operands: list[Any], lengths: Sequence[int]) -> None:
    """The sign of a sum of subnormal numbers may be another after rounding."""
    _without_tiny_state(lion.op, operands, lengths)

@update(
    writes="params second_moments buffers steps", optional=True, flops=10,
    baselines={"torch": (_TORCH_RMSPROP, "update.step()")},
    settings=[  # lr, alpha, eps, weight_decay, momentum, maximize
        [0.1, 0.9, 1e-8, 0.25, 0.5, 0],
        [0.1, 0.75, 2**-10, 0, 0.9, 1],
        [0.1, 0.9, 1e-8, 0, 0, 0],
    ],
    ranges={"second_moments": (0.0, 2.0)},
    timed_settings=[1e-2, 0.99, 1e-8, 0, 0, 0],
)  # fmt: skip
def rmsprop(
    params: list[Spec], grads: list[Spec], second_moments: list[Spec], buffers: list[Spec], steps: list[Spec],
    settings: Spec, active: Spec | None, groups: Shape,
) -> None:  # fmt: skip
    """RMSprop (Hinton 2012): v = alpha v + (1 - alpha) g^2; u = g / (sqrt(v) + eps); p -= lr u.

    With momentum b = momentum b + u takes the place of u. `buffers`: b, or none at all. `settings` (groups, 6): lr,
    alpha, eps, weight_decay, momentum, maximize.
    """


@rmsprop.step
def _(settings: Any, count: int, p: Any, grad: Any, v: Any, *buffers: Any) -> tuple[Any, ...]:
    lr, alpha, eps, decay, momentum, maximize = map(float, settings)
    g = _coupled(p, grad, decay, maximize)
    v = alpha * v + (1 - alpha) * g * g
    u = g / (np.sqrt(v) + eps)
    if not buffers or not momentum:
        return p - lr * u, v, *buffers
    b = momentum * buffers[0] + u
    return p - lr * b, v, b

@update(
    writes="params second_moments means buffers steps", optional=True, ulp=8, flops=13,
    baselines={"torch": (_TORCH_RMSPROP_CENTERED, "update.step()")},
    settings=[  # lr, alpha, eps, weight_decay, momentum, maximize
        [0.1, 0.9, 1e-8, 0.25, 0.5, 0],
        [0.1, 0.75, 2**-10, 0, 0.9, 1],
        [0.1, 0.9, 1e-8, 0, 0, 0],
    ],
    ranges={"second_moments": (1.25, 2.0), "means": (0.25, 0.75)},
    timed_settings=[1e-2, 0.99, 1e-8, 0, 0, 0],
)  # fmt: skip
def rmsprop_centered(
    params: list[Spec], grads: list[Spec], second_moments: list[Spec], means: list[Spec], buffers: list[Spec],
    steps: list[Spec],
    settings: Spec, active: Spec | None, groups: Shape,
) -> None:  # fmt: skip
    """RMSprop by the variance (Graves 2013): a = alpha a + (1 - alpha) g; u = g / (sqrt(v - a^2) + eps).

    `means`: a. All else, the settings too, is as in `rmsprop`.
    """


@rmsprop_centered.step
def _(settings: Any, count: int, p: Any, grad: Any, v: Any, a: Any, *buffers: Any) -> tuple[Any, ...]:
    lr, alpha, eps, decay, momentum, maximize = map(float, settings)
    g = _coupled(p, grad, decay, maximize)
    v, a = alpha * v + (1 - alpha) * g * g, alpha * a + (1 - alpha) * g
    u = g / (np.sqrt(v - a * a) + eps)
    if not buffers or not momentum:
        return p - lr * u, v, a, *buffers
    b = momentum * buffers[0] + u
    return p - lr * b, v, a, b

@update(
    writes="params sums steps", flops=9,
    baselines={"torch": (_TORCH_ADAGRAD, "update.step()")},
    settings=[  # lr, lr_decay, weight_decay, eps, maximize
        [0.1, 0.5, 0.25, 1e-8, 0],
        [0.1, 0.125, 0, 2**-10, 1],
        [0.1, 0, 0, 1e-10, 0],
    ],
    ranges={"sums": (0.0, 2.0)},
    timed_settings=[1e-2, 0, 0, 1e-10, 0],
)  # fmt: skip
def adagrad(
    params: list[Spec], grads: list[Spec], sums: list[Spec], steps: list[Spec],
    settings: Spec, active: Spec | None, groups: Shape,
) -> None:  # fmt: skip
    """Adagrad (Duchi et al. 2011): v += g^2; p -= lr / (1 + (t - 1) lr_decay) g / (sqrt(v) + eps).

    `sums`: v. `settings` (groups, 5): lr, lr_decay, weight_decay, eps, maximize.
    """


@adagrad.step
def _(settings: Any, count: int, p: Any, grad: Any, v: Any) -> tuple[Any, ...]:
    lr, lr_decay, decay, eps, maximize = map(float, settings)
    g = _coupled(p, grad, decay, maximize)
    v = v + g * g
    return p - lr / (1 + count * lr_decay) * g / (np.sqrt(v) + eps), v

@update(
    writes="params second_moments deltas steps", ulp=8, flops=16,
    baselines={"torch": (_TORCH_ADADELTA, "update.step()")},
    settings=[  # lr, rho, eps, weight_decay, maximize
        [0.5, 0.9, 1e-6, 0.25, 0],
        [0.25, 0.75, 2**-10, 0, 1],
        [1.0, 0.9, 1e-6, 0, 0],
    ],
    ranges={"second_moments": (0.0, 2.0), "deltas": (0.0, 2.0)},
    timed_settings=[1.0, 0.9, 1e-6, 0, 0],
)  # fmt: skip
def adadelta(
    params: list[Spec], grads: list[Spec], second_moments: list[Spec], deltas: list[Spec], steps: list[Spec],
    settings: Spec, active: Spec | None, groups: Shape,
) -> None:  # fmt: skip
    """Adadelta (Zeiler 2012): u = sqrt(a + eps) / sqrt(v + eps) g; p -= lr u; a = rho a + (1 - rho) u^2.

    Before it v = rho v + (1 - rho) g^2. `deltas`: a. `settings` (groups, 5): lr, rho, eps, weight_decay, maximize.
    """


@adadelta.step
def _(settings: Any, count: int, p: Any, grad: Any, v: Any, a: Any) -> tuple[Any, ...]:
    lr, rho, eps, decay, maximize = map(float, settings)
    g = _coupled(p, grad, decay, maximize)
    v = rho * v + (1 - rho) * g * g
    u = np.sqrt(a + eps) / np.sqrt(v + eps) * g
    return p - lr * u, v, rho * a + (1 - rho) * u * u

@update(
    writes="params first_moments norms steps", flops=11,
    baselines={"torch": (_TORCH_ADAMAX, "update.step()")},
    settings=[  # lr, beta1, beta2, eps, weight_decay, maximize
        [0.1, 0.9, 0.99, 1e-8, 0.25, 0],
        [0.1, 0.25, 0.875, 2**-10, 0, 1],
        [0.1, 0.9, 0.999, 1e-8, 0, 0],
    ],
    ranges={"norms": (0.0, 2.0)},
    timed_settings=[2e-3, 0.9, 0.999, 1e-8, 0, 0],
)  # fmt: skip
def adamax(
    params: list[Spec], grads: list[Spec], first_moments: list[Spec], norms: list[Spec], steps: list[Spec],
    settings: Spec, active: Spec | None, groups: Shape,
) -> None:  # fmt: skip
    """Adamax (Kingma & Ba 2015, section 7): u = max(beta2 u, |g| + eps); p -= lr / (1 - beta1^t) m / u.

    m is that of `adam`. `norms`: u. `settings` (groups, 6): lr, beta1, beta2, eps, weight_decay, maximize.
    """


@adamax.step
def _(settings: Any, count: int, p: Any, grad: Any, m: Any, u: Any) -> tuple[Any, ...]:
    lr, beta1, beta2, eps, decay, maximize = map(float, settings)
    g = _coupled(p, grad, decay, maximize)
    m, u = beta1 * m + (1 - beta1) * g, np.maximum(beta2 * u, np.abs(g) + eps)
    return p - lr / (1 - beta1 ** (count + 1)) * m / u, m, u

@update(
    writes="params first_moments second_moments largest steps", flops=15,
    baselines={"torch": (_TORCH_AMSGRAD, "update.step()")},
    settings=[  # lr, beta1, beta2, eps, weight_decay, decoupled, maximize
        [0.1, 0.9, 0.99, 1e-8, 0.25, 0, 0],
        [0.1, 0.25, 0.875, 2**-20, 0.25, 1, 1],
        [0.1, 0.9, 0.999, 1e-8, 0, 0, 0],
    ],
    ranges={"second_moments": (0.0, 2.0), "largest": (0.0, 2.0)},
    timed_settings=[1e-3, 0.9, 0.999, 1e-8, 0, 0, 0],
)  # fmt: skip
def amsgrad(
    params: list[Spec], grads: list[Spec], first_moments: list[Spec], second_moments: list[Spec], largest: list[Spec],
    steps: list[Spec],
    settings: Spec, active: Spec | None, groups: Shape,
) -> None:  # fmt: skip
    """Adam with the largest second moment (Reddi et al. 2018): w = max(w, v) takes the place of v.

    `largest`: w. All else, the settings too, is as in `adam`.
    """


@amsgrad.step
def _(settings: Any, count: int, p: Any, grad: Any, m: Any, v: Any, w: Any) -> tuple[Any, ...]:
    lr, beta1, beta2, eps, decay, decoupled, maximize = map(float, settings)
    p, _, m, v = _moments(p, grad, m, v, lr, beta1, beta2, decay, decoupled, maximize)
    w, t = np.maximum(w, v), count + 1
    return p - lr / (1 - beta1**t) * m / (np.sqrt(w) / math.sqrt(1 - beta2**t) + eps), m, v, w

@update(
    writes="params first_moments second_moments products steps", numbers=1, ulp=4, flops=18,
    baselines={"torch": (_TORCH_NADAM, "update.step()")},
    settings=[  # lr, beta1, beta2, eps, weight_decay, momentum_decay, decoupled, maximize
        [0.1, 0.9, 0.99, 1e-8, 0.25, 0.004, 0, 0],
        [0.1, 0.25, 0.875, 2**-20, 0.25, 0.5, 1, 1],
        [0.1, 0.9, 0.999, 1e-8, 0, 0.004, 0, 0],
    ],
    ranges={"second_moments": (0.0, 2.0), "products": (0.125, 0.875)},
    timed_settings=[2e-3, 0.9, 0.999, 1e-8, 0, 4e-3, 0, 0],
)  # fmt: skip
def nadam(
    params: list[Spec], grads: list[Spec], first_moments: list[Spec], second_moments: list[Spec],
    products: list[Spec], steps: list[Spec],
    settings: Spec, active: Spec | None, groups: Shape,
) -> None:  # fmt: skip
    """NAdam (Dozat 2016): p -= lr ((1 - mu_t) / (1 - M) g + mu_{t+1} / (1 - M mu_{t+1}) m) / (sqrt(v') + eps).

    v' = v / (1 - beta2^t); mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2); M is the product of mu_1 ... mu_t, kept in
    `products` (0-d, 1 at first); m and v are those of `adam`. `settings` (groups, 8): lr, beta1, beta2, eps,
    weight_decay, momentum_decay, decoupled, maximize.
    """


@nadam.step
def _(settings: Any, count: int, p: Any, grad: Any, m: Any, v: Any, product: Any) -> tuple[Any, ...]:
    lr, beta1, beta2, eps, decay, momentum_decay, decoupled, maximize = map(float, settings)
    p, g, m, v = _moments(p, grad, m, v, lr, beta1, beta2, decay, decoupled, maximize)
    t = count + 1
    mu, after = (beta1 * (1 - 0.5 * 0.96 ** (k * momentum_decay)) for k in (t, t + 1))
    product = product * mu
    below = np.sqrt(v) / math.sqrt(1 - beta2**t) + eps
    return p - lr * ((1 - mu) / (1 - product) * g + after / (1 - product * after) * m) / below, m, v, product

@update(
    writes="params first_moments second_moments steps", ulp=4, flops=15,
    baselines={"torch": (_TORCH_RADAM, "update.step()")},
    settings=[  # lr, beta1, beta2, eps, weight_decay, decoupled, maximize
        [0.1, 0.9, 0.99, 1e-8, 0.25, 0, 0],
        [0.1, 0.25, 0.875, 2**-20, 0.25, 1, 1],
        [0.1, 0.9, 0.999, 1e-8, 0, 0, 0],
    ],
    ranges={"second_moments": (0.0, 2.0)},
    timed_settings=[1e-3, 0.9, 0.999, 1e-8, 0, 0, 0],
)  # fmt: skip
def radam(
    params: list[Spec], grads: list[Spec], first_moments: list[Spec], second_moments: list[Spec], steps: list[Spec],
    settings: Spec, active: Spec | None, groups: Shape,
) -> None:  # fmt: skip
    """RAdam (Liu et al. 2020): p -= lr / (1 - beta1^t) m, and where r_t > 5 times rect / sqrt(v / (1 - beta2^t)).

    r = 2 / (1 - beta2) - 1; r_t = r - 2 t beta2^t / (1 - beta2^t); rect = sqrt((r_t - 4) (r_t - 2) r / ((r - 4) (r - 2)
    r_t)); to sqrt(v) eps is added; m and v are those of `adam`. `settings` as those of `adam`.
    """


@radam.step
def _(settings: Any, count: int, p: Any, grad: Any, m: Any, v: Any) -> tuple[Any, ...]:
    lr, beta1, beta2, eps, decay, decoupled, maximize = map(float, settings)
    p, _, m, v = _moments(p, grad, m, v, lr, beta1, beta2, decay, decoupled, maximize)
    t, limit = count + 1, 2 / (1 - beta2) - 1
    r = limit - 2 * t * beta2**t / (1 - beta2**t)
    mean = m / (1 - beta1**t)
    if r > 5:
        rect = math.sqrt((r - 4) * (r - 2) * limit / ((limit - 4) * (limit - 2) * r))
        mean = mean * rect * math.sqrt(1 - beta2**t) / (np.sqrt(v) + eps)
    return p - lr * mean, m, v

def _averaged(
    p: Any, z: Any, u: Any, lr: float, beta: float, r: float, power: float, count: int, largest: Any, total: Any
) -> tuple[Any, ...]:
    """The new p, z, largest rate and sum of weights."""
    largest = max(lr, float(largest))
    weight = (count + 1) ** r * largest**power
    total = float(total) + weight
    c = weight / total if total > 0 else 0.0
    return (1 - c) * p + c * z - lr * (1 - beta * (1 - c)) * u, z - lr * u, np.array(largest), np.array(total)


@update(
    writes="params averages largest_rates weight_sums steps", numbers=2, flops=9, ulp=4,
    settings=[  # lr, momentum, weight_decay, r, power, maximize
        [0.1, 0.9, 0.25, 0, 2, 0],
        [0.5, 0.75, 0, 1, 1, 1],
        [0.5, 0.9, 0, 0, 2, 0],
    ],
    ranges={"averages": (-2.0, 2.0), "largest_rates": (0.125, 0.5), "weight_sums": (0.25, 2.0)},
    timed_settings=[1.0, 0.9, 0, 0, 2, 0],
)  # fmt: skip
def schedule_free_sgd(
    params: list[Spec], grads: list[Spec], averages: list[Spec], largest_rates: list[Spec], weight_sums: list[Spec],
    steps: list[Spec],
    settings: Spec, active: Spec | None, groups: Shape,
) -> None:  # fmt: skip
    """Schedule-free SGD (Defazio et al. 2024): p = (1 - c) p + c z - lr (1 - momentum (1 - c)) g; z -= lr g.

    c = w / W, w = t^r lr_max^power, W the sum of all w. p is the point where gradients are taken. `averages`: z;
    `largest_rates`: lr_max; `weight_sums`: W (0-d, 0 at first). `settings` (groups, 6): lr, momentum,
    weight_decay, r, power, maximize.
    """


@schedule_free_sgd.step
def _(settings: Any, count: int, p: Any, grad: Any, z: Any, largest: Any, total: Any) -> tuple[Any, ...]:
    lr, momentum, decay, r, power, maximize = map(float, settings)
    return _averaged(p, z, _coupled(p, grad, decay, maximize), lr, momentum, r, power, count, largest, total)

@update(
    writes="params averages second_moments largest_rates weight_sums steps", numbers=2, ulp=4, flops=18,
    settings=[  # lr, beta1, beta2, eps, weight_decay, r, power, maximize
        [0.1, 0.9, 0.99, 1e-8, 0.25, 0, 2, 0],
        [0.1, 0.75, 0.875, 2**-20, 0.25, 1, 1, 1],
        [0.1, 0.9, 0.999, 1e-8, 0, 0, 2, 0],
    ],
    ranges={
        "averages": (-2.0, 2.0), "second_moments": (0.0, 2.0), "largest_rates": (0.125, 0.5),
        "weight_sums": (0.25, 2.0),
    },
    timed_settings=[2.5e-3, 0.9, 0.999, 1e-8, 0, 0, 2, 0],
)  # fmt: skip
def schedule_free_adamw(
    params: list[Spec], grads: list[Spec], averages: list[Spec], second_moments: list[Spec],
    largest_rates: list[Spec], weight_sums: list[Spec], steps: list[Spec],
    settings: Spec, active: Spec | None, groups: Shape,
) -> None:  # fmt: skip
    """Schedule-free AdamW (Defazio et al. 2024): `schedule_free_sgd` with u in place of g.

    u = g / (sqrt(v / (1 - beta2^t)) + eps) + weight_decay p; v = beta2 v + (1 - beta2) g^2; beta1 stands for the
    momentum. `settings` (groups, 8): lr, beta1, beta2, eps, weight_decay, r, power, maximize.
    """


@schedule_free_adamw.step
def _(settings: Any, count: int, p: Any, grad: Any, z: Any, v: Any, largest: Any, total: Any) -> tuple[Any, ...]:
    lr, beta1, beta2, eps, decay, r, power, maximize = map(float, settings)
    g = -grad if maximize else grad
    v = beta2 * v + (1 - beta2) * g * g
    u = g / (np.sqrt(v) / math.sqrt(1 - beta2 ** (count + 1)) + eps) + decay * p
    p, z, largest, total = _averaged(p, z, u, lr, beta1, r, power, count, largest, total)
    return p, z, v, largest, total

@update(
    writes="params first_moments second_moments steps", flops=30, ulp=4,
    settings=[  # lr, beta1, beta2, eps, weight_decay, maximize
        [0.1, 0.9, 0.99, 1e-6, 0.25, 0], [0.1, 0.25, 0.875, 2**-10, 0, 1], [0.1, 0.9, 0.999, 1e-6, 0.5, 0],
    ],
    ranges={"second_moments": (0.0, 2.0)},
    timed_settings=[1e-3, 0.9, 0.999, 1e-6, 0.01, 0],
)  # fmt: skip
def lamb(
    params: list[Spec], grads: list[Spec], first_moments: list[Spec], second_moments: list[Spec], steps: list[Spec],
    settings: Spec, active: Spec | None, groups: Shape,
) -> None:  # fmt: skip
    """LAMB (You et al. 2020): p -= lr |p| / |u| u.

    u = m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps) + weight_decay p; |p| and |u| are norms over a whole
    parameter, summed in float64; where one is 0 the factor is 1. m and v are those of `adam`. `settings` (groups, 6):
    lr, beta1, beta2, eps, weight_decay, maximize.
    """


@lamb.step
def _(settings: Any, count: int, p: Any, grad: Any, m: Any, v: Any) -> tuple[Any, ...]:
    lr, beta1, beta2, eps, decay, maximize = map(float, settings)
    p, _, m, v = _moments(p, grad, m, v, lr, beta1, beta2, 0.0, 0.0, maximize)
    u = m / (1 - beta1 ** (count + 1)) / (np.sqrt(v) / math.sqrt(1 - beta2 ** (count + 1)) + eps) + decay * p
    lengths = (np.sqrt((x * x).sum()) for x in (p, u))
    of_p, of_u = (float(x) for x in lengths)
    return p - lr * (of_p / of_u if of_p > 0 and of_u > 0 else 1.0) * u, m, v


@lamb.restrict
def _(operands: list[Any], lengths: Sequence[int]) -> None:
    """A direction of subnormal numbers has a factor beyond float32."""
    _without_tiny_state(lamb.op, operands, lengths)


@update(
    writes="params steps", flops=3,
    settings=[  # decay, start
        [0.9, 0],
        [1.0, 1],
        [0.5, 8],
    ],
    timed_settings=[0.999, 0],
)  # fmt: skip
def weight_average(
    params: list[Spec], grads: list[Spec], steps: list[Spec], settings: Spec, active: Spec | None, groups: Shape,
) -> None:  # fmt: skip
    """An average p of weights g, in place: p += max(1 - decay, 1 / n) (g - p), n = t - start; p = g until then.

    With decay = 1 it is the mean of all weights after `start` steps (Izmailov et al. 2018), otherwise an exponential
    one (Polyak & Juditsky 1992) that begins as the mean. `params`: the averages; `grads`: the weights of now; `steps`:
    t. `settings` (groups, 2): decay, start.
    """


@weight_average.step
def _(settings: Any, count: int, p: Any, grad: Any) -> tuple[Any, ...]:
    decay, start = map(float, settings)
    n = count + 1 - start
    return (grad if n <= 1 else p + max(1 - decay, 1 / n) * (grad - p),)
