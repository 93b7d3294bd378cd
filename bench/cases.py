"""What is timed: statements as one would write them, over the names that `bench.worker.namespace` gives each engine."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Goal:
    """`engine` must be `factor` times faster than the best of `against`; at this number of threads, if given."""

    factor: float
    against: tuple[str, ...] = ("torch",)
    engine: str = "dlcore"
    threads: int | None = None


@dataclass(frozen=True)
class Case:
    """`stmt` is timed after `setup`; `check` (default: the statement) is evaluated once and compared across engines.

    `work`: bytes that must move, or FLOPs.
    """

    name: str
    setup: str
    stmt: str
    unit: str
    engines: tuple[str, ...]
    check: str = ""
    work: float = 0.0
    goals: tuple[Goal, ...] = ()
    one_thread_only: bool = False


RECORDED = "dlcore, recorded"
TORCH = ("torch", "torch, fused optimizer", "torch.compile")


def _step(model: str, optimizer: str, title: str, *goals: Goal) -> Case:
    peers = ("dlcore", RECORDED, *TORCH, "jax.jit", "NumPy by hand")
    setup = f"step = training_step({model!r}, {optimizer!r})"
    return Case(title, setup, "step()", "us", peers, check="[step().item() for _ in range(5)]", goals=goals)


def _recorded(factor: float, *against: str, threads: int | None = None) -> Goal:
    return Goal(factor, against, RECORDED, threads)


STEPS = (
    _step(
        "a", "adam", "a: MLP 64-128-64-10, batch 64, Adam",
        Goal(4.0), _recorded(8.0, "torch"), _recorded(2.0, "jax.jit"),
    ),
    _step(
        "b", "adam", "b: MLP 784-256-128-10, batch 128, Adam",
        Goal(2.0), _recorded(2.5, "torch"), _recorded(1.9, *TORCH, threads=2), _recorded(1.2, "jax.jit", threads=2),
    ),
    _step("b", "sgd", "b with SGD + momentum", _recorded(1.6, "torch"), _recorded(1.2, "jax.jit", threads=2)),
)  # fmt: skip

EPOCH = (
    Case(
        "epoch of 55,000 images of 28x28 bytes, model b, batch 128, Adam", "run = epoch()", "run()", "ms",
        ("dlcore, fit", "dlcore, 430 recorded steps", "torch, fused optimizer"), check="[0 < run() < 3]",
        goals=(Goal(1 / 1.15, ("dlcore, 430 recorded steps",), "dlcore, fit"),),
    ),
)  # fmt: skip


def _call(name: str, setup: str, stmt: str, unit: str, goal: float, **rest) -> Case:
    return Case(name, setup, stmt, unit, ("dlcore", "torch"), goals=(Goal(goal),), **rest)


def _input(*shape: int) -> str:
    return f"x = tensor(normal(*{shape}))"


def _pointwise(name: str, stmt: str, goal: float) -> Case:
    return _call(f"{name}, 1M", _input(2**20), stmt, "GB/s", work=8 * 2**20, goal=goal)


def _cross_entropy(rows: int, classes: int, goal: float) -> Case:
    setup = f"""
x, y = tensor(normal({rows}, {classes}), requires_grad=True), tensor(labels({rows}, {classes}))
def both():
    x.grad = None
    F.cross_entropy(x, y).backward()
    return x.grad
"""
    name = f"cross-entropy forward + backward, {rows}x{classes}"
    return _call(name, setup, "both()", "GB/s", work=8 * rows * classes, goal=goal)


_PAIR = "a, b = (tensor(normal({}), requires_grad={}) for _ in range(2))"
_CHAIN = """
x = tensor(normal(8), requires_grad=True)
def chain():
    x.grad, y = None, x
    for _ in range(10):
        y = y + x
    y.sum().backward()
    return x.grad
"""

OPERATIONS = (
    _call("a + b, 8 elements", _PAIR.format(8, False), "a + b", "ns", goal=1.0, one_thread_only=True),
    _call("a + b, 8 elements, with gradient", _PAIR.format(8, True), "a + b", "ns", goal=1.0, one_thread_only=True),
    _call("10 adds, sum, backward", _CHAIN, "chain()", "us", goal=2.9, one_thread_only=True),
    _pointwise("tanh", "lib.tanh(x)", 4.0),
    _pointwise("exp", "lib.exp(x)", 4.0),
    _pointwise("sigmoid", "lib.sigmoid(x)", 1.2),
    _pointwise("gelu (tanh)", "F.gelu(x, approximate='tanh')", 4.0),
    _call("softmax, 4096x1000", _input(4096, 1000), "lib.softmax(x, -1)", "GB/s", work=8 * 4096e3, goal=1.2),
    _cross_entropy(4096, 1000, 4.0),
    _cross_entropy(2048, 32000, 8.0),
    _call("argmax, 1M", _input(2**20), "lib.argmax(x)", "GB/s", work=4 * 2**20, goal=8.0),
    _call("sum, 1M", _input(2**20), "lib.sum(x)", "GB/s", work=4 * 2**20, goal=1.3),
    _call("add, 16M", _PAIR.format("2**24", False), "a + b", "GB/s", work=12 * 2**24, goal=3.0),
)


def _gemm(m: int, n: int, k: int, layout: str = "NN") -> Case:
    a = f"tensor(normal({m}, {k}))" if layout[0] == "N" else f"tensor(normal({k}, {m})).T"
    b = f"tensor(normal({k}, {n}))" if layout[1] == "N" else f"tensor(normal({n}, {k})).T"
    name, setup, peers = f"{m}x{n}x{k} {layout}", f"a, b = {a}, {b}", ("torch", "numpy")
    return Case(name, setup, "a @ b", "GFLOP/s", ("dlcore", *peers), work=2.0 * m * n * k, goals=(Goal(0.97, peers),))


_SQUARE = [(n, n, n) for n in (64, 128, 256, 512, 1024, 2048)]
_SKINNY = [(64, 128, 64), (128, 256, 784), (128, 10, 128), (8, 1024, 1024), (4096, 64, 64), (2048, 2048, 32)]
_SKINNY += [(64, 64, 4096)]

GEMM = (
    *(_gemm(*s) for s in _SQUARE + _SKINNY),
    *(_gemm(*s, layout) for layout in ("NT", "TN") for s in (*_SQUARE[1:5], _SKINNY[1], _SKINNY[3])),
)

SUITES = {"steps": STEPS, "epoch": EPOCH, "operations": OPERATIONS, "gemm": GEMM}
