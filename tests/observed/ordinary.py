"""Ordinary steps and models: each is recorded, and its replays give the bits of the eager step.

A row of STEPS is a function of a tensor (4, 8), or makes one. A row of CONFIGS is (make, run, change): `run(it, x)`
follows a configuration, which `change(it)` changes.
"""

import argparse
import contextlib
import dataclasses
import enum
import functools
import itertools
import logging
import math
import operator
import types
import typing

import numpy as np

import dlcore as dl
from dlcore import nn, optim

Y = dl.tensor([0, 1, 2, 0])
LOGGER = logging.getLogger("observed.ordinary")
GAIN = 2.0
ACTIVATIONS = {"relu": dl.relu, "tanh": dl.tanh}
STEPS = {}
CONFIGS = {}


def add(name):
    def register(f):
        STEPS[name] = f
        return f

    return register


@add("what a dtype is")
def _(x):
    dtype = x.dtype
    return x * 2 + dtype.eps if dtype.is_float and dtype.largest > 1e30 and dtype.tiny < 1 else x


def model(name, *args):
    def register(cls):
        STEPS[name] = lambda: cls(*args)
        STEPS[name].makes = True
        return cls

    return register


def mlp():
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))


def trained(name):
    """A training step: `body(model, optimizer)` gives a function of a tensor."""

    def register(body):
        def make():
            net = mlp()
            return body(net, optim.Adam(net.parameters(), lr=1e-3))

        make.makes = True
        STEPS[name] = make
        return body

    return register


# ---- training steps -----------------------------------------------------------------------------------------------


@trained("training step")
def _(net, opt):
    def step(x):
        opt.zero_grad()
        loss = dl.cross_entropy(net(x), Y)
        loss.backward()
        opt.step()
        return loss

    return step


@trained("clipped gradients")
def _(net, opt):
    def step(x):
        opt.zero_grad()
        loss = dl.cross_entropy(net(x), Y)
        loss.backward()
        norm = optim.clip_grad_norm_(net.parameters(), 1.0)
        opt.step()
        return {"loss": loss, "norm": norm}

    return step


@trained("regularisation over parameters")
def _(net, opt):
    def step(x):
        opt.zero_grad()
        loss = dl.cross_entropy(net(x), Y)
        loss = loss + 1e-4 * sum((p * p).sum() for n, p in net.named_parameters() if not n.endswith("bias"))
        loss.backward()
        opt.step()
        return loss.detach()

    return step


@trained("moving average of weights")
def _(net, opt):
    averages = [dl.zeros(p.shape) for p in net.parameters()]

    def step(x):
        opt.zero_grad()
        dl.cross_entropy(net(x), Y).backward()
        opt.step()
        with dl.no_grad():
            for average, p in zip(averages, net.parameters(), strict=True):
                average *= 0.9
                average += 0.1 * p
        return averages[0].sum()

    return step


@trained("label smoothing")
def _(net, opt):
    def step(x, smoothing=0.1):
        scores = net(x).log_softmax(-1)
        classes = scores.shape[-1]
        right = dl.gather(scores, Y.reshape(-1, 1), -1).reshape(-1)
        return -((1 - smoothing) * right + smoothing / classes * scores.sum(-1)).mean()

    return step


@trained("gradient accumulation over parts")
def _(net, opt):
    def step(x):
        opt.zero_grad()
        losses = []
        for i in range(0, x.shape[0], 2):
            loss = dl.cross_entropy(net(x[i : i + 2]), Y[i : i + 2]) / 2
            loss.backward()
            losses.append(loss.detach())
        opt.step()
        return sum(losses)

    return step


@trained("optimizer chosen by name, loss in a table")
def _(net, opt):
    losses = {"ce": dl.cross_entropy, "mse": dl.mse_loss}
    optimizers = {"adam": opt}

    def step(x):
        o = optimizers["adam"]
        o.zero_grad()
        loss = losses["ce"](net(x), Y)
        loss.backward()
        o.step()
        return loss

    return step


@trained("class with a step method")
def _(net, opt):
    class Trainer:
        def __init__(self):
            self.net, self.opt, self.weight = net, opt, 0.5

        def loss(self, x):
            return dl.cross_entropy(self.net(x), Y) * self.weight

        def step(self, x):
            self.opt.zero_grad()
            loss = self.loss(x)
            loss.backward()
            self.opt.step()
            return loss

    return Trainer().step


@trained("two networks against each other")
def _(net, opt):
    judge = nn.Linear(3, 1)
    judge_opt = optim.SGD(judge.parameters(), lr=0.1)

    def step(x):
        fake = net(x)
        judge_opt.zero_grad()
        against = ((judge(x[:, :3]) - 1) ** 2).mean() + (judge(fake.detach()) ** 2).mean()
        against.backward()
        judge_opt.step()
        opt.zero_grad()
        loss = ((judge(fake) - 1) ** 2).mean()
        loss.backward()
        opt.step()
        return against, loss

    return step


# ---- models -------------------------------------------------------------------------------------------------------


@model("residual", 8)
class Residual(nn.Module):
    def __init__(self, n, depth=3):
        self.blocks = nn.ModuleList([nn.Linear(n, n) for _ in range(depth)])
        self.scale = 1 / math.sqrt(depth)

    def forward(self, x):
        for i, block in enumerate(self.blocks):
            x = x + dl.relu(block(x)) * self.scale if i % 2 == 0 else x - block(x)
        return x


@model("dict of layers")
class Heads(nn.Module):
    def __init__(self):
        self.heads = {"a": nn.Linear(8, 2), "b": nn.Linear(8, 3)}

    def forward(self, x):
        return {name: head(x) for name, head in self.heads.items()}


@model("list of layers, zip")
class Listed(nn.Module):
    def __init__(self):
        self.layers = [nn.Linear(8, 8), nn.Linear(8, 8)]

    def forward(self, x):
        for layer, k in zip(self.layers, (1.0, 0.5), strict=True):
            x = layer(x) * k
        return x


@model("flag of training, dropout")
class Dropping(nn.Module):
    def __init__(self):
        self.layer, self.drop = nn.Linear(8, 8), nn.Dropout(0.5)

    def forward(self, x: dl.Tensor) -> dl.Tensor:
        y: dl.Tensor = self.layer(x)
        return self.drop(y) if self.training else y


@model("tied weights")
class Tied(nn.Module):
    def __init__(self):
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)
        self.b.weight = self.a.weight

    def forward(self, x):
        return self.b(self.a(x))


class Norm(nn.Module):
    def __init__(self, d, eps=1e-5):
        self.gain, self.shift, self.eps = nn.Parameter(dl.ones(d)), nn.Parameter(dl.zeros(d)), eps

    def forward(self, x):
        c = x - x.mean(-1, keepdims=True)
        return c / ((c * c).mean(-1, keepdims=True) + self.eps).sqrt() * self.gain + self.shift


@model("attention")
class Attention(nn.Module):
    def __init__(self, d=8, heads=2):
        self.heads, self.d = heads, d
        self.q, self.k, self.v, self.o = (nn.Linear(d, d) for _ in range(4))

    def forward(self, x):
        x = x.reshape(1, *x.shape)
        b, t, d = x.shape
        q, k, v = (
            f(x).reshape(b, t, self.heads, d // self.heads).permute(0, 2, 1, 3) for f in (self.q, self.k, self.v)
        )
        scores = (q @ k.permute(0, 1, 3, 2)) * (d // self.heads) ** -0.5
        mask = dl.arange(t).reshape(t, 1) >= dl.arange(t).reshape(1, t)
        return self.o((dl.where(mask, scores, -1e9).softmax(-1) @ v).permute(0, 2, 1, 3).reshape(b, t, d))


class Block(nn.Module):
    def __init__(self, d):
        self.norms = nn.ModuleList([Norm(d), Norm(d)])
        self.attention = Attention(d)
        self.mlp = nn.Sequential(nn.Linear(d, 4 * d), nn.GELU(), nn.Linear(4 * d, d))

    def forward(self, x):
        x = x + self.attention(self.norms[0](x)).reshape(*x.shape)
        return x + self.mlp(self.norms[1](x))


@model("transformer")
class Transformer(nn.Module):
    def __init__(self, depth=2, d=8):
        self.blocks = nn.ModuleList([Block(d) for _ in range(depth)])
        self.head = nn.Linear(d, 5)

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.head(x)


class Base(nn.Module):
    def __init__(self):
        self.layer = nn.Linear(8, 8)

    def forward(self, x):
        return self.layer(x)


@model("super().forward")
class Child(Base):
    def __init__(self):
        super().__init__()
        self.k = 2

    def forward(self, x):
        return super().forward(x) * self.k


@model("property, static and class methods")
class Methods(nn.Module):
    SHIFT = 3.0

    def __init__(self):
        self.w = nn.Parameter(dl.ones(8))

    @property
    def width(self):
        return self.w.shape[0]

    @staticmethod
    def twice(x):
        return x * 2

    @classmethod
    def shifted(cls, x):
        return x + cls.SHIFT

    def forward(self, x):
        return self.shifted(self.twice(x * self.w)) / self.width


class Mode(enum.Enum):
    SUM = "sum"
    MEAN = "mean"


@model("enum")
class WithEnum(nn.Module):
    def __init__(self):
        self.mode = Mode.MEAN

    def forward(self, x):
        if self.mode is Mode.SUM:
            return x.sum()
        return x.mean() if self.mode == Mode.MEAN else x


@model("mixture of experts by hand")
class Mixture(nn.Module):
    def __init__(self):
        self.experts = nn.ModuleList([nn.Linear(8, 4) for _ in range(3)])
        self.gate = nn.Linear(8, 3)

    def forward(self, x):
        weights = self.gate(x).softmax(-1)
        return sum(weights[:, i : i + 1] * expert(x) for i, expert in enumerate(self.experts))


@model("recurrent cell")
class Recurrent(nn.Module):
    def __init__(self):
        self.cell, self.hidden = nn.Linear(16, 8), 8

    def forward(self, x):
        h = dl.zeros(x.shape[0], self.hidden)
        for _ in range(3):
            h = dl.tanh(self.cell(dl.concat([x, h], -1)))
        return h


@model("captured constants and buffers")
class Buffers(nn.Module):
    def __init__(self):
        self.table = dl.arange(8).astype("float32") / 8
        self.sizes = (4, 2)

    def forward(self, x):
        return (x + self.table).reshape(-1, *self.sizes).sum(-1)


# ---- Python -------------------------------------------------------------------------------------------------------


@add("mask from shapes")
def _(x):
    n = x.shape[0]
    i = dl.arange(n).reshape(n, 1)
    return dl.where(i >= dl.arange(n).reshape(1, n), x[:, :1], -1e9)


@add("positions by math")
def _(x):
    n, dim = x.shape
    table = [
        [
            math.sin(p / 10000 ** (2 * (i // 2) / dim)) if i % 2 == 0 else math.cos(p / 100 ** (i / dim))
            for i in range(dim)
        ]
        for p in range(n)
    ]
    return x + dl.tensor(table)


def rearrange(x, pattern, **axes):
    left, right = (side.split() for side in pattern.split("->"))
    sizes = {n: axes.get(n, s) for n, s in zip(left, x.shape, strict=True)}
    return x.permute(*[left.index(n) for n in right]).reshape(tuple(sizes[n] for n in right))


@add("axes by a pattern")
def _(x):
    return rearrange(x, "b d -> d b")


@add("assert, f-string not taken")
def _(x):
    assert x.ndim == 2, f"expected two axes, not {x.shape}"
    if x.shape[1] != 8:
        raise ValueError(f"{x.shape[1]} != 8 of {x}")
    return x * 2


def focal(scores, y, gamma=2.0, *, eps=1e-6):
    p = scores.softmax(-1)
    return -(((1 - p) ** gamma) * (p + eps).log()).mean()


@add("own loss")
def _(x):
    return focal(x, Y)


@add("partial")
def _(x):
    return functools.partial(dl.softmax, axis=-1)(x)


@add("activations by name")
def _(x):
    return ACTIVATIONS["relu"](x) + ACTIVATIONS.get("none", ACTIVATIONS["tanh"])(x)


@add("getattr by name")
def _(x):
    return getattr(dl, "relu")(x) + getattr(x, "shape")[0]


@add("sum, zip and range")
def _(x):
    return sum([x * k for k, _ in zip((1.0, 2.0), range(2), strict=True)])


@add("any, all, sorted, min, max")
def _(x):
    k = 2 if all(s > 0 for s in x.shape) and any(map(bool, x.shape)) else 1
    return x * max(1, min(x.shape)) * k * sorted(x.shape, reverse=True)[0]


@add("isinstance, try and except")
def _(x):
    try:
        k = float("1.5x")
    except ValueError:
        k = 0.5
    return x * k if isinstance(x, dl.Tensor) else None


@add("no_grad")
def _(x):
    with dl.no_grad():
        return x * 3


@add("null context")
def _(x):
    with contextlib.nullcontext():
        return x * 2


@contextlib.contextmanager
def scaled(k):
    yield k


@add("own context manager")
def _(x):
    with scaled(2.0) as k:
        return x * k


def doubled(f):
    @functools.wraps(f)
    def inner(*args, **kwargs):
        return f(*args, **kwargs) * 2

    return inner


@add("decorator")
@doubled
def _(x):
    return x + 1


class Pair(typing.NamedTuple):
    a: typing.Any
    b: float = 2.0


@add("named tuple")
def _(x):
    pair = Pair(x)
    a, b = pair
    return a * b * pair.b


@dataclasses.dataclass
class Config:
    width: int = 8
    scale: float = 0.5
    kind: str = "relu"
    sizes: list = dataclasses.field(default_factory=lambda: [8, 8])


@add("dataclass made inside")
def _(x):
    config = Config(scale=2.0)
    return x * config.scale * len(config.sizes)


@add("dataclass of tensors as result")
def _(x):
    batch = {"x": x, "y": Y}
    return {"x": batch["x"] * 2, "n": (batch["y"] == 0).sum()}


@add("list built and appended")
def _(x):
    outs = []
    for i in range(3):
        outs.append(x * i)
    outs.reverse()
    return dl.stack(outs)


@add("while over scales")
def _(x):
    s = 1
    while s < x.shape[0]:
        x, s = x * 2, s * 2
    return x


@add("slices and ellipsis")
def _(x):
    h = x.shape[-1] // 2
    return dl.concat([-x[..., h:], x[..., :h]], -1)


@add("numpy numbers")
def _(x):
    return x * float(np.sqrt(x.shape[-1])) * np.float32(2) * np.prod(x.shape)


@add("disabled logger")
def _(x):
    LOGGER.debug("x %s", 1)
    return x * 2


@add("guarded logger")
def _(x):
    if LOGGER.isEnabledFor(logging.DEBUG):
        LOGGER.debug(f"{x}")
    return x * 2


@add("keywords")
def _(x):
    options = {"axis": -1}
    return x.softmax(**options)


@add("closure inside")
def _(x):
    k = 2.0

    def f(z):
        return z * k

    return f(x)


@add("nonlocal inside")
def _(x):
    n = 0

    def f(z):
        nonlocal n
        n += 1
        return z * n

    return f(x) + f(x)


@add("recursion")
def _(x):
    def f(z, n):
        return z if n == 0 else f(z * 2, n - 1)

    return f(x, 3)


@add("import inside")
def _(x):
    import math as m

    return x * m.pi


@add("reduce over functions")
def _(x):
    fs = [lambda z: z + 1, lambda z: z * 2]
    return functools.reduce(lambda z, f: f(z), fs, x)


@add("keys as f-strings")
def _(x):
    parts = {f"layer{i}": x * i for i in range(2)}
    return parts["layer0"] + parts["layer{}".format(1)] + parts["layer%d" % 1]


@functools.lru_cache
def table(n):
    return math.sqrt(n)


@add("cached number")
def _(x):
    return x * table(8)


@add("match on a shape")
def _(x):
    match x.shape:
        case (_, b):
            return x * b
        case _:
            return x


@add("walrus")
def _(x):
    if (n := x.shape[0]) > 2:
        return x * n
    return x


@add("starred arguments")
def _(x):
    def f(first, *rest, scale=1.0, **options):
        return first * scale + sum(rest) * options.get("k", 1.0)

    return f(x, *[x, x], **{"scale": 2.0, "k": 3.0})


@add("generator")
def _(x):
    def powers(z):
        for i in range(1, 4):
            yield z**i

    return sum(powers(x))


@add("product and chain")
def _(x):
    pairs = itertools.product(range(2), range(2))
    return sum(x[i, j] for i, j in pairs) + sum(itertools.chain([1.0], (2.0,)))


@add("operator")
def _(x):
    return operator.mul(x, 2) + operator.itemgetter(0)(x.shape)


@add("annotations and constants")
def _(x: dl.Tensor, k: float = math.tau) -> dl.Tensor:
    return x * k * GAIN


@add("comprehension over a set and a dict")
def _(x):
    return x * sum({n for n in x.shape}) * len({n: 1 for n in x.shape})


@add("string methods")
def _(x):
    kind = "ReLU-Tanh".lower().split("-")
    return getattr(dl, kind[0])(x) + getattr(dl, kind[-1].strip())(x)


@add("a dict of keywords")
def _(x):
    given = dict(axis=0, keepdims=True, scale=GAIN)
    return dict({"more": x}, bias=x)["more"] * given.pop("scale") + dl.sum(x, **given)


@add("bool and comparison chains")
def _(x):
    return x if 0 < x.shape[0] <= 4 and not x.ndim == 3 else x * 2


@add("try, else and finally")
def _(x):
    k = 1
    try:
        k += {"a": 1}["b"]
    except KeyError:
        k += 2
    else:
        k += 3
    finally:
        k += 4
    return x * k


@add("assertion of dtype")
def _(x):
    assert x.dtype == dl.float32
    assert str(x.dtype).endswith("32")
    return x.astype(dl.float64)


@add("own classes made inside")
def _(x):
    class_ = Accumulator()
    for k in range(3):
        class_.add(x * k)
    return class_.total


class Accumulator:
    def __init__(self):
        self.total, self.count = 0.0, 0

    def add(self, value):
        self.total = self.total + value
        self.count += 1


class Average(dl.Recordable):
    def __init__(self):
        self.decay, self.value = 0.5, dl.zeros(())

    def __call__(self, x):
        self.value *= self.decay
        self.value += (1 - self.decay) * x.mean()
        return self.value


STEPS["own Recordable"] = lambda: Average()
STEPS["own Recordable"].makes = True


# ---- configurations -----------------------------------------------------------------------------------------------


def follow(config, x):
    return getattr(dl, config.kind)(x) * config.scale


class AttrDict(dict):
    __getattr__ = dict.__getitem__
    __setattr__ = dict.__setitem__


class Slotted:
    __slots__ = ("kind", "scale")

    def __init__(self):
        self.kind, self.scale = "relu", 0.5


class Shared:
    kind, scale = "relu", 0.5


class FromConfig(nn.Module):
    def __init__(self, config):
        self.config, self.layer = config, nn.Linear(8, 8)

    def forward(self, x):
        return follow(self.config, self.layer(x))


def setting(value):
    return lambda c: setattr(c, "scale", value)


CONFIGS = {
    "dataclass": (Config, follow, setting(2.0)),
    "namespace": (lambda: types.SimpleNamespace(kind="relu", scale=0.5), follow, setting(2.0)),
    "argparse": (lambda: argparse.Namespace(kind="relu", scale=0.5), follow, setting(2.0)),
    "attribute dict": (lambda: AttrDict(kind="relu", scale=0.5), follow, setting(2.0)),
    "slots": (Slotted, follow, setting(2.0)),
    "class": (lambda: Shared, follow, setting(2.0)),
    "dict": (lambda: {"scale": 0.5}, lambda c, x: x * c["scale"], lambda c: c.update(scale=2.0)),
    "nested dict": (
        lambda: {"a": [{"scale": 0.5}]},
        lambda c, x: x * c["a"][0]["scale"],
        lambda c: c["a"][0].update(scale=2.0),
    ),
    "dict with a default": (dict, lambda c, x: x * c.get("scale", 0.5), lambda c: c.update(scale=2.0)),
    "config of a module": (lambda: FromConfig(Config()), lambda m, x: m(x), lambda m: setattr(m.config, "scale", 2.0)),
    "kind of a module": (lambda: FromConfig(Config()), lambda m, x: m(x), lambda m: setattr(m.config, "kind", "tanh")),
    "list of scales": (lambda: [0.5, 1.0], lambda c, x: sum(x * k for k in c), lambda c: c.append(3.0)),
    "keywords from a dict": (lambda: {"axis": 0}, lambda c, x: x.sum(**c), lambda c: c.update(axis=1)),
    "callable object": (lambda: Scaled(0.5), lambda c, x: c(x), lambda c: setattr(c, "k", 2.0)),
    "copied dataclass": (Config, lambda c, x: x * dataclasses.replace(c, width=3).scale, setting(2.0)),
}


class Scaled:
    def __init__(self, k):
        self.k = k

    def __call__(self, x):
        return x * self.k
