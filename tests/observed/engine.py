"""What steps read of dlcore's own objects, and change of them."""

import types

import dlcore as dl
from dlcore import nn, optim

Space = types.SimpleNamespace


class Scale(nn.Module):
    def __init__(self, k=1.0):
        self.k = k

    def forward(self, x):
        return x * self.k


class Counts(nn.Module):
    def __init__(self):
        self.n = 0

    def forward(self, x):
        self.n += 1
        return x * self.n


class Gives(nn.Module):
    def __init__(self, value):
        self.value = value

    def forward(self, x):
        return self.value


class Held(dl.Recordable):
    def __init__(self):
        self.k, self.values = 1.0, [1.0]


def one():
    return dl.ones(1)


def seven():
    return dl.full((1,), 7.0)


def sgd(**options):
    return optim.SGD([nn.Parameter(dl.ones(1))], lr=1.0, **options)


def linear():
    return nn.Linear(1, 1, bias=False)


def summed(values):
    total = 0.0
    for value in values:
        total = total + value.sum()
    return total


def set_entry(key, value):
    return lambda v: v.__setitem__(key, value)


MODELS = {
    "number": (Scale, lambda v: v(one()), lambda v: setattr(v, "k", 7.0)),
    "number, read": (Scale, lambda v: v.k, lambda v: setattr(v, "k", 7.0)),
    "number by vars": (Scale, lambda v: v(one()), lambda v: vars(v).update(k=7.0)),
    "number by __dict__": (Scale, lambda v: v.k, lambda v: v.__dict__.update(k=7.0)),
    "number by object.__setattr__": (Scale, lambda v: v(one()), lambda v: object.__setattr__(v, "k", 7.0)),
    "forward replaced": (
        lambda: type("S", (Scale,), {})(),
        lambda v: v(one()),
        lambda v: setattr(type(v), "forward", lambda self, x: x * 7),
    ),
    "forward replaced inside": (
        lambda: nn.Sequential(type("S", (Scale,), {})()),
        lambda v: v(one()),
        lambda v: setattr(type(v[0]), "forward", lambda self, x: x * 7),
    ),
    "forward on the object": (Scale, lambda v: v(one()), lambda v: setattr(v, "forward", lambda x: x * 7)),
    "class set": (
        lambda: type("S", (Scale,), {})(),
        lambda v: v(one()),
        lambda v: setattr(v, "__class__", type("T", (Scale,), {"forward": lambda self, x: x * 7})),
    ),
    "training": (Scale, lambda v: 2.0 if v.training else 3.0, lambda v: v.eval()),
    "dropout": (lambda: nn.Dropout(0.5), lambda v: v(dl.ones(1)) * 0 + v.p, lambda v: setattr(v, "p", 0.75)),
    "parameter replaced": (
        linear,
        lambda v: v(one()),
        lambda v: setattr(v, "weight", nn.Parameter(dl.full((1, 1), 70.0))),
    ),
    "parameter by vars": (
        linear,
        lambda v: v(one()),
        lambda v: vars(v).update(weight=nn.Parameter(dl.full((1, 1), 70.0))),
    ),
    "parameters": (linear, lambda v: summed(v.parameters()), lambda v: setattr(v, "more", nn.Parameter(seven()))),
    "named parameters": (
        linear,
        lambda v: float(sum(len(n) for n, _ in v.named_parameters())),
        lambda v: setattr(v, "more", nn.Parameter(seven())),
    ),
    "state_dict": (linear, lambda v: float(len(v.state_dict())), lambda v: setattr(v, "more", nn.Parameter(seven()))),
    "text of": (linear, lambda v: float(len(repr(v))), lambda v: setattr(v, "more", nn.Linear(1, 1))),
    "layer of a Sequential": (lambda: nn.Sequential(Scale()), lambda v: v(one()), lambda v: setattr(v[0], "k", 7.0)),
    "Sequential longer": (lambda: nn.Sequential(Scale()), lambda v: v(one()), lambda v: v.append(Scale(7.0))),
    "Sequential set": (lambda: nn.Sequential(Scale()), lambda v: v(one()), set_entry(0, Scale(7.0))),
    "Sequential, its length": (lambda: nn.Sequential(Scale()), lambda v: float(len(v)), lambda v: v.append(Scale(7.0))),
    "Sequential, entry": (lambda: nn.Sequential(Scale()), lambda v: v[0].k, lambda v: setattr(v[0], "k", 7.0)),
    "Sequential, slice": (
        lambda: nn.Sequential(Scale(), Scale()),
        lambda v: v[:1](one()),
        lambda v: setattr(v[0], "k", 7.0),
    ),
    "Sequential, loop": (lambda: nn.Sequential(Scale()), lambda v: sum(m.k for m in v), lambda v: v.append(Scale(7.0))),
    "ModuleList": (
        lambda: nn.ModuleList([Scale()]),
        lambda v: sum(m(one()) for m in v),
        lambda v: setattr(v[0], "k", 7.0),
    ),
    "ModuleList longer": (
        lambda: nn.ModuleList([Scale()]),
        lambda v: sum(m(one()) for m in v),
        lambda v: v.append(Scale(7.0)),
    ),
    "list of modules": (lambda: [Scale()], lambda v: sum(m(one()) for m in v), lambda v: v.append(Scale(7.0))),
    "list in a module": (
        lambda: Gives([Scale()]),
        lambda v: sum(m(one()) for m in v.value),
        lambda v: v.value.append(Scale(7.0)),
    ),
    "dict in a module": (
        lambda: Gives({"a": Scale()}),
        lambda v: v.value["a"](one()),
        lambda v: v.value.update(a=Scale(7.0)),
    ),
    "list in a list in a module": (
        lambda: Gives([[1.0]]),
        lambda v: v.value[0][0],
        lambda v: v.value[0].__setitem__(0, 7.0),
    ),
    "config in a module": (lambda: Gives(Space(k=1.0)), lambda v: v.value.k, lambda v: setattr(v.value, "k", 7.0)),
    "module returns an old list": (lambda: Gives([1.0]), lambda v: v(1)[0], lambda v: v.value.__setitem__(0, 7.0)),
    "module returns an old dict": (lambda: Gives({"k": 1.0}), lambda v: v(1)["k"], lambda v: v.value.update(k=7.0)),
    "Sequential returns an old list": (
        lambda: nn.Sequential(Gives([1.0])),
        lambda v: v(one())[0],
        lambda v: v[0].value.__setitem__(0, 7.0),
    ),
    "lists of parameters": (
        lambda: nn.Sequential(nn.Linear(1, 1)),
        lambda v: summed(list(v.parameters())),
        lambda v: setattr(v[0], "bias", None),
    ),
    "modules()": (
        lambda: nn.Sequential(Scale()),
        lambda v: float(sum(getattr(m, "k", 0.0) for m in v.modules())),
        lambda v: setattr(v[0], "k", 7.0),
    ),
    "Recordable": (Held, lambda v: v.k, lambda v: setattr(v, "k", 7.0)),
    "list of a Recordable": (Held, lambda v: v.values[0], lambda v: v.values.__setitem__(0, 7.0)),
    "Recordable by vars": (Held, lambda v: v.k, lambda v: vars(v).update(k=7.0)),
    "requires_grad": (
        lambda: nn.Parameter(dl.ones(1)),
        lambda v: 2.0 if v.requires_grad else 3.0,
        lambda v: setattr(v, "requires_grad", False),
    ),
    "gradient": (
        lambda: nn.Parameter(dl.ones(1)),
        lambda v: 2.0 if v.grad is None else 3.0,
        lambda v: setattr(v, "grad", dl.ones(1)),
    ),
    "gradient, used": (
        lambda: (lambda p: (setattr(p, "grad", dl.ones(1)), p)[1])(nn.Parameter(dl.ones(1))),
        lambda v: v.grad,
        lambda v: setattr(v, "grad", seven()),
    ),
    "tensor in a dict": (lambda: {"t": dl.ones(1)}, lambda v: v["t"], lambda v: v.update(t=seven())),
    "tensor of a list": (lambda: [1.0], lambda v: dl.tensor(v), set_entry(0, 7.0)),
    "full of a list's entry": (lambda: [1.0], lambda v: dl.full((1,), v[0]), set_entry(0, 7.0)),
    "shape by a list": (lambda: [1], lambda v: dl.ones(*v).sum(), set_entry(0, 7)),
    "shape by a list, whole": (lambda: [1], lambda v: dl.ones(v).sum(), set_entry(0, 7)),
    "stack of a list": (lambda: [dl.ones(1)], lambda v: dl.stack(v).sum(), lambda v: v.append(seven())),
    "concat of a dict": (
        lambda: {"a": dl.ones(1)},
        lambda v: dl.concat(list(v.values())).sum(),
        lambda v: v.update(b=seven()),
    ),
    "index by a list": (lambda: [0], lambda v: dl.tensor([1.0, 7.0])[v], set_entry(0, 1)),
    "index by an array": (
        lambda: __import__("numpy").zeros(1, int),
        lambda v: dl.tensor([1.0, 7.0])[v],
        lambda v: v.fill(1),
    ),
    "threads": (
        lambda: dl,
        lambda v: float(v.get_num_threads()),
        lambda v: v.set_num_threads(1 if v.get_num_threads() > 1 else 2),
    ),
    "hook in a list": (lambda: [lambda x: x], lambda v: v[0](one()), set_entry(0, lambda x: x * 7)),
    "loss in a table": (lambda: {"loss": dl.relu}, lambda v: v["loss"](seven() - 14), lambda v: v.update(loss=dl.exp)),
    "captured inside": (
        lambda: (k := [1.0], dl.capture(lambda x: x * k[0])),
        lambda v: v[1](one()),
        lambda v: v[0].__setitem__(0, 7.0),
    ),
    "subclass of Sequential": (
        lambda: type("S", (nn.Sequential,), {"forward": lambda self, x: x * self.gain})(),
        lambda v: (setattr(v, "gain", getattr(v, "gain", 1.0)), v(one()))[1],
        lambda v: setattr(v, "gain", 7.0),
    ),
}

OPTIMIZERS = {
    "lr": (sgd, lambda v: v.lr, lambda v: setattr(v, "lr", 7.0)),
    "lr of a group": (sgd, lambda v: v.param_groups[0]["lr"], lambda v: v.param_groups[0].__setitem__("lr", 7.0)),
    "get of a group": (sgd, lambda v: v.param_groups[0].get("lr"), lambda v: setattr(v, "lr", 7.0)),
    "dict of a group": (sgd, lambda v: dict(v.param_groups[0])["lr"], lambda v: setattr(v, "lr", 7.0)),
    "items of a group": (
        sgd,
        lambda v: [k for n, k in v.param_groups[0].items() if n == "lr"][0],
        lambda v: setattr(v, "lr", 7.0),
    ),
    "groups": (
        sgd,
        lambda v: float(len(v.param_groups)),
        lambda v: v.add_param_group({"params": [nn.Parameter(dl.ones(1))]}),
    ),
    "parameters of a group": (
        sgd,
        lambda v: summed(v.param_groups[0]["params"]),
        lambda v: v.param_groups[0]["params"].append(nn.Parameter(seven())),
    ),
    "state_dict": (sgd, lambda v: float(str(v.state_dict()).count("7.0")), lambda v: setattr(v, "lr", 7.0)),
    "text of": (sgd, lambda v: float(len(repr(v))), lambda v: setattr(v, "lr", 77.125)),
    "lr by vars": (sgd, lambda v: float(str(vars(v)).count("7.5")), lambda v: setattr(v, "lr", 7.5)),
}

DRAWN = {
    "counter": (Counts, lambda v: v(one()), None),
    "counter in a Sequential": (lambda: nn.Sequential(Counts()), lambda v: v(one()), None),
    "chance in a Sequential": (lambda: nn.Sequential(Chance()), lambda v: v(one()), None),
    "chance in a ModuleList": (lambda: nn.ModuleList([Chance()]), lambda v: v[0](one()), None),
    "chance in a property": (
        lambda: type("S", (Scale,), {"k": property(lambda self: draw(), lambda self, k: None)})(),
        lambda v: v(one()),
        None,
    ),
    "chance in a loss": (lambda: {"loss": lambda x: x * draw()}, lambda v: v["loss"](one()), None),
}


def draw():
    import random

    return random.random()


class Chance(nn.Module):
    def forward(self, x):
        return x * draw()


EFFECTS = {
    "attribute of a module": (Scale, lambda v: setattr(v, "k", v.k + 1), lambda v: v.k),
    "attribute by forward": (Counts, lambda v: v(one()), lambda v: v.n),
    "training": (Scale, lambda v: v.train(not v.training), lambda v: v.training),
    "list of a module": (lambda: Gives([]), lambda v: v.value.append(1), lambda v: len(v.value)),
    "list of parameters": (lambda: Gives([]), lambda v: v(1).append(1), lambda v: len(v.value)),
    "list inside a Sequential": (
        lambda: nn.Sequential(Gives([])),
        lambda v: v(one()).append(1),
        lambda v: len(v[0].value),
    ),
    "Sequential": (lambda: nn.Sequential(Scale()), lambda v: v.append(Scale()), len),
    "lr": (sgd, lambda v: setattr(v, "lr", v.lr + 1), lambda v: v.lr),
    "lr of a group": (sgd, lambda v: v.param_groups[0].__setitem__("lr", v.param_groups[0]["lr"] + 1), lambda v: v.lr),
    "threads": (lambda: dl, lambda v: v.set_num_threads(3 - v.get_num_threads() % 2), lambda v: v.get_num_threads()),
    "kept tensor": (list, lambda v: v.append(one() * 2), len),
    "state of an optimizer": (
        lambda: sgd(momentum=0.9),
        lambda v: v.load_state_dict(v.state_dict()),
        lambda v: object(),
    ),
}
