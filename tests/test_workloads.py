"""What definitions say of benchmarks: workloads can be drawn and are accepted, and baselines compute the same."""

import ast
import builtins
import math

import numpy as np
import pytest

import dlcore as dl
from dlcore import testing
from dlcore.bench.cases import Case, cases
from dlcore.dtypes import DType, float32
from dlcore.op import REGISTRY, Input, Workload, flat, shape_of
from dlcore.ops import operations

OPERATIONS = operations()
LIBRARIES = {"torch": {"torch", "F"}, "jax": {"jax", "jnp"}, "numpy": {"np"}}
SMALL = 1 << 16  # elements of an operand that is drawn here
NO_BASELINE = {  # operations that no library has the like of
    "philox": "the words of Philox themselves",
    "dropout_backward": "its mask comes from a state, other libraries keep the mask",
    "reserve": "other libraries copy a generator's state by hand",
    "attention_packed_backward": "other libraries take one projection apart",
    "lamb": "PyTorch has none",
    "lion": "PyTorch has none",
    "weight_average": "PyTorch averages tensor by tensor",
    "schedule_free_sgd": "PyTorch has none",
    "schedule_free_adamw": "PyTorch has none",
    **dict.fromkeys(
        [f"{kind}_{which}" for kind in ("lstm", "gru", "rnn") for which in ("forward", "backward")],
        "others have whole layers, with the product with the input, or cells (bench/layers.py)",
    ),
}
EXPECTED = {  # the operations of the project's goals, and what of them is timed in float32
    "add": ("8 @ 8", "16777216 @ 16777216"),
    "tanh": ("1048576",), "exp": ("1048576",), "sigmoid": ("1048576",), "gelu": ("1048576 tanh",),
    "softmax": ("4096x1000",), "cross_entropy": ("4096x1000 @ 4096", "2048x32000 @ 2048"),
    "argmax": ("1048576",), "sum": ("1048576",),
    "matmul": (
        *(f"{n}x{n} @ {n}x{n}" for n in (64, 128, 256, 512, 1024, 2048)),
        *(f"{n}x{n} @ {n}x{n}T" for n in (128, 256, 512, 1024)),
        *(f"{n}x{n}T @ {n}x{n}" for n in (128, 256, 512, 1024)),
        "64x64 @ 64x128", "128x784 @ 784x256", "128x128 @ 128x10", "8x1024 @ 1024x1024", "4096x64 @ 64x64",
        "2048x32 @ 32x2048", "64x4096 @ 4096x64", "128x784 @ 784x256T", "128x784T @ 784x256", "8x1024 @ 1024x1024T",
    ),
    "linear": ("64x64 @ 128x64 @ 128 relu", "128x784 @ 256x784 @ 256 relu"),
}  # fmt: skip


def name_of(value):
    return value.name if hasattr(value, "name") else str(value)


def workloads():
    return [pytest.param(op, workload, id=f"{op.name}-{Case(op, workload, float32).shape}-{k}")
            for op in OPERATIONS for k, workload in enumerate(op.timed())]  # fmt: skip


def elements(workload):
    return max(math.prod(shape_of(x) or ()) for x in flat(workload.operands))


@pytest.mark.parametrize("op", OPERATIONS, ids=name_of)
def test_every_operation_is_timed_beside_others(op):
    ways = op.ways()
    assert op.timed(), f"{op.name}: no workloads"
    assert bool(ways) != (op.name in NO_BASELINE), f"{op.name}: baselines are {ways}"
    assert {k.partition(" ")[0] for k in ways} <= set(LIBRARIES)
    for key in ways:
        assert key.partition(" ")[0] in ways, f"{op.name}: {key} without the library's first way"


@pytest.mark.parametrize("name, shapes", EXPECTED.items(), ids=EXPECTED)
def test_what_the_goals_are_about_is_timed(name, shapes):
    there = {case.shape for case in cases([REGISTRY[name]], [float32], ["forward"])}
    assert set(shapes) <= there


@pytest.mark.parametrize("op, workload", workloads())
def test_workloads_are_accepted(op, workload):
    assert isinstance(workload, Workload) and set(workload.devices) <= {"cpu", "cuda"} and workload.why
    assert len(workload.operands) == len(op.input_names)
    assert set(workload.dtypes) <= set(op.dtypes) and workload.quick in ("", "forward", "both")
    for dtype in workload.dtypes or [d for d in op.dtypes if d.is_float]:
        case = Case(op, workload, dtype)
        flops, moved = case.work  # infer and cost take the shapes
        assert flops >= 0 and moved >= 0 and case.bytes > 0


@pytest.mark.parametrize("op, workload", [p for p in workloads() if elements(p.values[1]) <= SMALL])
def test_small_workloads_run(op, workload):
    case = Case(op, workload, (workload.dtypes or [d for d in op.dtypes if d.is_float])[-1])
    arrays = case.arrays()
    assert [None if x is None else np.shape(x) for x in arrays] == [s if s is None else s.shape for s in case.specs]
    with dl.no_grad():
        results = testing.call(op, operands_of(arrays), case.attrs, case.lengths)
    assert any(r is not None and r.size for r in results)


def operands_of(arrays):
    """Tensors laid out as the arrays are."""
    found = []
    for x in arrays:
        if not isinstance(x, np.ndarray):
            found.append(x)
        elif x.ndim == 2 and not x.flags.c_contiguous:
            found.append(dl.tensor(np.ascontiguousarray(x.T)).T)
        else:
            found.append(dl.tensor(x))
    return found


def test_operands_are_drawn_as_they_are_described():
    transposed, bytes_, same = Input((3, 5), transposed=True), Input((9,), 0, 4, dl.uint8), Input((), -1.0, -1.0)
    first = Case(REGISTRY["concat"], Workload(([transposed, bytes_, same, (4, 2), 2.5, None],)), dl.bfloat16)
    a, b, c, d, number, nothing = first.arrays()
    assert a.shape == (3, 5) and a.T.flags.c_contiguous and a.dtype == dl.bfloat16.numpy
    assert b.dtype == np.uint8 and set(b) <= {0, 1, 2, 3} and c == -1 and d.shape == (4, 2)
    assert number == 2.5 and nothing is None
    again = first.arrays()
    assert all(np.array_equal(x, y) for x, y in zip((a, b, c, d), again, strict=False))


def test_operands_away_from_zero_have_either_sign():
    (x,) = Case(REGISTRY["elu"], Workload(((200,),), (1.0,)), dl.float32).arrays()
    assert (x > 0).any() and (x < 0).any() and np.abs(x).min() >= 0.1 and x.dtype == np.float32


# ---- baselines ------------------------------------------------------------------------------------------------------

WAYS = [pytest.param(op, key, id=f"{op.name}-{key.replace(' ', '_')}") for op in OPERATIONS for key in op.ways()]


WORKER = {"arrays", "call", "clock", "dy", "first", "jitted", "loop", "number", "out", "start", "wait"}  # its own names


def parts(way):
    return way if isinstance(way, tuple) else ("", way)


def loaded(tree):
    """Names that are read and not bound in the source itself."""
    nodes = list(ast.walk(tree))
    names = [n for n in nodes if isinstance(n, ast.Name)]
    bound = {n.id for n in names if isinstance(n.ctx, ast.Store)} | {n.arg for n in nodes if isinstance(n, ast.arg)}
    bound |= {n.name for n in nodes if isinstance(n, ast.FunctionDef)}
    return {n.id for n in names if isinstance(n.ctx, ast.Load)} - bound, bound


@pytest.mark.parametrize("op, key", WAYS)
def test_expressions_use_known_names(op, key):
    setup, expression = parts(op.ways()[key])
    compile(setup, key, "exec")
    compile(expression, key, "eval")
    known = set(LIBRARIES[key.partition(" ")[0]]) | set(op.input_names) | set(op.attribute_names) | set(dir(builtins))
    used, made = loaded(ast.parse(setup))
    assert used <= known, f"{op.name}: {used - known}"
    assert not made & WORKER, f"{op.name}: {made & WORKER}"
    used, _ = loaded(ast.parse(expression))
    known |= made | ({"out"} if key.endswith(" out") else set())
    assert used <= known, f"{op.name}: {used - known}"
    assert not key.endswith(" out") or "out" not in op.input_names


def in_numpy(case, key, operands, out=None):
    """What a baseline's expression gives for NumPy arrays."""
    op = case.op
    names = {"np": np, "out": out} | {
        k: v.name if isinstance(v, DType) else v for k, v in zip(op.attribute_names, case.attrs, strict=True)
    }
    names |= dict(zip(op.input_names, op.nested(operands, case.lengths), strict=True))
    setup, expression = parts(op.ways()[key])
    exec(setup, names)
    return eval(expression, names)


def in_float32(op):
    """Workloads that are no great effort, in float32 on the CPU."""
    there = [w for w in op.timed() if float32 in (w.dtypes or op.dtypes) and "cpu" in w.devices]
    return [w for w in there if elements(w) <= 1 << 21]


NUMPY = [
    pytest.param(op, key, workload, id=f"{op.name}-{key.replace(' ', '_')}-{Case(op, workload, float32).shape}")
    for op in OPERATIONS for key in op.ways() if key.startswith("numpy") for workload in in_float32(op)
]  # fmt: skip


@pytest.mark.parametrize("op, key, workload", NUMPY)
def test_numpy_computes_the_same(op, key, workload):
    case = Case(op, workload, float32)
    arrays = case.arrays()
    given = [x.copy(order="K") if isinstance(x, np.ndarray) else x for x in arrays]
    out = in_numpy(case, "numpy", given) if key == "numpy out" else None
    got = in_numpy(case, key, given, out)
    assert out is None or got is out
    with dl.no_grad():
        want = testing.call(op, operands_of(arrays), case.attrs, case.lengths)
    got = given[op.written(case.lengths)[0]] if op.outputs == "" else got
    want = np.asarray(want[-1])
    if op.random:
        assert (np.shape(got), got.dtype) == (want.shape, want.dtype)
        return
    assert np.shape(got) == want.shape
    a, b = np.asarray(got).astype(np.float64), want.astype(np.float64)
    scale = np.max(np.abs(b), initial=1e-30)
    assert np.max(np.abs(a - b), initial=0) <= 64 * dl.float32.eps * scale, f"{op.name}: {key} computes something else"
