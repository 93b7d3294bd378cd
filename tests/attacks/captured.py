"""Random functions, called captured and eagerly with random forms of arguments.

Each function is a few lines of Python: operations, writes in place, branches on shapes and numbers, several results in
several structures, sometimes with a backward pass inside. It is called a number of times: with other shapes, dtypes,
strides and numbers, with arguments that are one tensor or share memory, that require a gradient or have a history, with
gradients switched off, with parameters frozen, changed or set, followed by a backward pass or two.

What must never happen: a captured call gives other bits than the eager one, in its results, its arguments, the
gradients, the parameters or the state that it keeps; or it raises another error. It may raise CaptureError.
"""

from __future__ import annotations

import random
from collections import namedtuple
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

import dlcore as dl
from dlcore import nn

UNIT = "calls"
SMALL, LARGE = 300, 60_000
CALLS = 12  # of each function

Pair = namedtuple("Pair", "left right")


@dataclass
class Box:
    """A result of a user's own class."""

    content: Any
    number: float


UNARY = (
    "tanh({})", "relu({})", "exp(-{}.abs())", "{} * 0.5", "1.0 - {}", "-{}", "{}.softmax(1)", "{}.T.contiguous().T",
    "{}.reshape(-1).reshape({}.shape)", "{}[::-1]", "{} - {}.mean(axis=0, keepdims=True)", "{}.clone()", "{} * k",
    "{}.detach()", "dropout({}, 0.3)", "{}.sum(axis=1, keepdims=True) * {}", "({} @ w.T) @ w",
    "where({} > 0, {}, w[0] * {})",
)  # fmt: skip
BINARY = (
    "{} + {}", "{} * {}", "maximum({}, {})", "{} - {} * w[0]", "({} @ {}.T).sum(axis=1, keepdims=True) + w[1]",
    "concat([{}, {}], 0)[: a.shape[0]]",
)  # fmt: skip
IN_PLACE = ("{}.mul_(0.5)", "{}.add_({})", "{}[0] = {}[-1] * 2", "{}[:, 1:2] = 0.25", "{} += w[0].detach()")
LAYOUTS: tuple[tuple[str, Callable[[np.ndarray], Any]], ...] = (
    ("plain", dl.tensor),
    ("transposed", lambda x: dl.tensor(np.ascontiguousarray(x.T)).T),
    ("part", lambda x: dl.tensor(np.pad(x, ((1, 1), (1, 2))))[1:-1, 1:-2]),
    ("reversed", lambda x: dl.tensor(x[::-1].copy())[::-1]),
)


def source(rng: random.Random) -> str:
    """The text of a function of two tensors and a number."""
    names = ["a", "b"]
    lines = ["def step(a, b, k=1):"]
    for number in range(rng.randint(1, 6)):
        name = f"v{number}"
        kind = rng.random()
        pick = lambda: rng.choice(names)  # noqa: E731
        if kind < 0.5:
            first = pick()
            lines.append(f"{name} = {rng.choice(UNARY).replace('{}', first)}")
        elif kind < 0.8:
            lines.append(f"{name} = {rng.choice(BINARY).format(pick(), pick())}")
        elif kind < 0.9:
            condition = rng.choice(("a.shape[0] > 2", "k > 1", "b.requires_grad", "type(k) is int", "mode['on']"))
            lines.append(f"{name} = {pick()} * 2 if {condition} else {pick()} + 1")
        else:
            target = rng.choice([*names, "state"] if number else ["a", "state"])
            other = "state" if target == "state" else pick()
            lines += [rng.choice(IN_PLACE).replace("{}", target, 1).format(other), f"{name} = {target} + 0"]
        names.append(name)
    if rng.random() < 0.3:
        lines += [f"loss = ({names[-1]} * w[0]).sum()", f"loss.backward({rng.choice(('', 'retain_graph=True'))})"]
        names.append("loss")
    parts = [rng.choice(names) for _ in range(rng.randint(1, 3))]
    kinds = ("{0}", "{0}, {1}", "[{0}, {1}]", "{{'x': {0}, 'y': ({1}, 3)}}", "Pair({0}, {1})", "Box({0}, k)",
             "None, {0}, {0}", "{0}[1:], {0}", "{0}.shape, {1}")  # fmt: skip
    kind = rng.choice(kinds if names[-1] != "loss" else kinds[:7])
    return "\n    ".join([*lines, "return " + kind.format(parts[0], parts[-1])])


class World:
    """A function with the parameter, the state and the mode that it reads: one for eager calls, one for captured."""

    def __init__(self, text: str, captured: bool):
        self.captured = captured
        rng = np.random.default_rng(5)
        self.w = nn.Parameter(dl.tensor(rng.standard_normal((3, 3)).astype(np.float32)))
        self.state = dl.tensor(rng.standard_normal((4, 3)).astype(np.float32))
        self.mode = {"on": False}
        names = ("tanh", "relu", "exp", "dropout", "where", "maximum", "concat")
        scope = {name: getattr(dl, name) for name in names}
        scope |= {"w": self.w, "state": self.state, "mode": self.mode, "Pair": Pair, "Box": Box}
        exec(compile(text, "<attack>", "exec"), scope)
        self.step = dl.capture(scope["step"]) if captured else scope["step"]


def form(rng: random.Random) -> dict[str, Any]:
    """How a call is made."""
    return {
        "rows": rng.choice((4, 4, 4, 2, 1)),
        "dtype": rng.choice(("float32",) * 8 + ("float64",)),
        "layouts": (rng.choice((0, 0, 0, 1, 2, 3)), rng.choice((0, 0, 0, 1, 2, 3))),
        "gradients": (rng.choice((0, 0, 1, 2)), rng.choice((0, 0, 1, 2))),  # none, a leaf, with a history
        "shared": rng.choice(("",) * 6 + ("same", "overlapping", "array")),
        "k": rng.choice((None, None, None, 1, 2, True, 1.0, 0.5, -0.0, 0.0)),
        "grad_mode": rng.random() < 0.85,
        "between": rng.choice(("",) * 8 + ("freeze", "write", "zero", "none", "mode", "thaw")),
        "backward": rng.choice(("once", "once", "no", "twice", "retained", "part")),
        "seed": rng.randrange(1000),
    }


def arguments(how: dict[str, Any], data: np.random.Generator, captured: bool) -> tuple[list[Any], list[Any]]:
    """The two tensors of a call, and everything whose memory and gradients may change with it."""
    made, watched = [], []
    for layout, gradient in zip(how["layouts"], how["gradients"], strict=True):
        t = LAYOUTS[layout][1](data.standard_normal((how["rows"], 3)).astype(how["dtype"]))
        if gradient and not how["shared"]:
            t.requires_grad = True
            watched.append(t)
            t = t * 1.5 if gradient == 2 else t
        made.append(t)
        watched.append(t)
    if how["shared"] == "same":
        made[1] = made[0]
    elif how["shared"] == "overlapping":
        base = dl.tensor(data.standard_normal((how["rows"] + 1, 3)).astype(how["dtype"]))
        made = [base[:-1], base[1:]]
        watched.append(base)
    elif how["shared"] == "array":
        made[1] = np.asarray(made[1]).copy()
        made[1] = made[1] if captured else dl.tensor(made[1])  # a captured function takes arrays as tensors
    return made, watched


def between(world: World, what: str) -> None:
    """What happens to parameters and state before a call."""
    if what in ("freeze", "thaw"):
        world.w.requires_grad = what == "thaw"
    elif what == "write":
        with dl.no_grad():
            world.w.mul_(1.25)
    elif what == "zero" and world.w.grad is not None:
        world.w.grad.zero_()
    elif what == "none":
        world.w.grad = None
    elif what == "mode":
        world.mode["on"] = not world.mode["on"]


def bits(value: Any) -> Any:
    """A value, with every tensor in it to the bit."""
    if isinstance(value, dl.Tensor):
        return "tensor", value.shape, value.dtype.name, np.asarray(value.detach()).tobytes()
    if isinstance(value, Box):
        return "Box", [bits(getattr(value, field.name)) for field in fields(value)]
    if isinstance(value, dict):
        return "dict", [(k, bits(v)) for k, v in value.items()]
    if isinstance(value, list | tuple):
        return type(value).__name__, [bits(v) for v in value]
    return type(value).__name__, repr(value)


def tensors(value: Any) -> Iterator[dl.Tensor]:
    """The tensors in a result, in their order."""
    if isinstance(value, dl.Tensor):
        yield value
    elif isinstance(value, Box):
        yield from tensors(value.content)
    elif isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from tensors(part)


def outcome(world: World, how: dict[str, Any], seed: int) -> list[Any]:
    """All that a call leaves behind: results, gradients, arguments, parameters and state, or the error."""
    made, watched = arguments(how, np.random.default_rng(seed), world.captured)
    between(world, how["between"])
    dl.manual_seed(how["seed"])
    found: list[Any] = []
    keywords = {} if how["k"] is None else {"k": how["k"]}
    try:
        with dl.enable_grad() if how["grad_mode"] else dl.no_grad():
            result = world.step(*made, **keywords)
        found.append(bits(result))
        roots = [t for t in tensors(result) if t.requires_grad and t.node is not None and not t.node.released]
        found.append(len(roots))
        if roots and how["backward"] != "no":
            roots = roots[-1:] if how["backward"] == "part" else roots
            total = sum((t * t).sum() for t in roots)
            for again in range(2 if how["backward"] in ("twice", "retained") else 1):
                total.backward(retain_graph=how["backward"] == "retained" and not again)
    except dl.CaptureError:
        raise
    except Exception as error:
        found.append(type(error).__name__)
    failed = type(found[-1]) is str  # a backward pass that fails may have come to some leaves before
    for t in (*watched, world.w, world.state):
        gradient = bits(t.grad) if t.is_leaf and t.grad is not None and not failed else None
        found.append((bits(t), gradient, t.requires_grad if not failed else None))
    if failed:
        world.w.grad = None
    return found


def attack(count: int, seed: int) -> Iterator[str]:
    """Runs ``count`` calls."""
    for number in range(-(-count // CALLS)):
        rng = random.Random(f"{seed}/{number}")
        text = source(rng)
        eager, captured = World(text, False), World(text, True)
        forms = [form(rng) for _ in range(3)]
        for call in range(CALLS):
            how = forms[rng.choice((0, 0, 0, 1, 1, 2))] if call else forms[0]
            how = {**how, "backward": rng.choice(("once", "no", "twice", "part", how["backward"]))}
            want = outcome(eager, how, call)
            try:
                got = outcome(captured, how, call)
            except dl.CaptureError:
                break  # it says that it cannot be recorded; the step has run, but gave nothing to compare
            if how["shared"] == "overlapping" and "AutogradError" in want:
                break  # versions are counted for whole buffers: parts side by side are told apart only where recorded
            if got != want:
                place = next(k for k, (x, y) in enumerate(zip(want, got, strict=False)) if x != y)
                yield f"seed {seed}, function {number}, call {call}, part {place}: {how}\n{text}"
                break
