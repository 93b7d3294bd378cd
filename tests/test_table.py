"""Every row of the table, checked by what the row itself says (dlcore/testing.py). No operation is named here."""

import dis
import importlib
import inspect
import pkgutil
import types

import numpy as np
import pytest

import dlcore as dl
import dlcore.ops
from dlcore import _C, _dispatch, testing
from dlcore.dtypes import DType, bfloat16, float16, float32, float64
from dlcore.op import REGISTRY, Op, Sample

for module in pkgutil.iter_modules(dlcore.ops.__path__):
    importlib.import_module(f"dlcore.ops.{module.name}")
ROWS = sorted(REGISTRY.values(), key=lambda op: op.name)


def shape_of(x: object) -> str:
    return ("x".join(map(str, x.shape)) or "0d") if isinstance(x, np.ndarray) else type(x).__name__


def name_of(value: object) -> str:
    if isinstance(value, Op | DType):
        return value.name
    if isinstance(value, Sample):
        shapes = ",".join(shape_of(x) for x in value.inputs[:4])
        return f"{shapes}-{value.why.replace(' ', '_')}" if value.why else shapes
    return str(value)


def cases(rows, **choices):
    """(row, sample, ...) for every combination, as pytest parameters."""
    return list(combinations(rows, **choices))


def combinations(rows, *, dtypes=None, layouts=None, differentiable=False):
    for op in rows:
        for sample in testing.samples(op):
            if differentiable and not (sample.grad and op.differentiable):
                continue
            for dtype in [None] if dtypes is None else [d for d in op.dtypes if d in dtypes]:
                for layout in layouts or [None]:
                    values = [v for v in (op, sample, dtype, layout) if v is not None]
                    named = [name_of(v) for v in (op, dtype, sample, layout) if v is not None]
                    yield pytest.param(*values, id="-".join(named))


@pytest.mark.parametrize("op, sample, dtype", cases(ROWS, dtypes=dl.dtypes.DTYPES))
def test_forward(op, sample, dtype):
    testing.check_forward(op, sample, dtype)


@pytest.mark.parametrize("op, sample, layout", cases(ROWS, layouts=testing.LAYOUTS[1:]))
def test_any_memory_layout(op, sample, layout):
    testing.check_forward(op, sample, float32 if float32 in op.dtypes else op.dtypes[0], layout)


@pytest.mark.parametrize("op, sample", cases(ROWS, differentiable=True))
def test_gradient(op, sample):
    testing.check_gradient(op, sample)


@pytest.mark.parametrize("op, sample, dtype", cases(ROWS, dtypes=(float32, float16, bfloat16), differentiable=True))
def test_gradient_in_narrow_dtypes(op, sample, dtype):
    testing.check_gradient(op, sample, dtype)


@pytest.mark.parametrize("op, sample", cases(ROWS, differentiable=True))
def test_second_order(op, sample):
    testing.check_second_order(op, sample)


@pytest.mark.parametrize("op, sample, dtype", cases(ROWS, dtypes=(float32, float64, bfloat16)))
def test_same_bits_again(op, sample, dtype):
    testing.check_repeatable(op, sample, dtype)


@pytest.mark.parametrize("op, sample", cases(ROWS))
def test_replay(op, sample):
    if any(isinstance(x, np.ndarray) and x.size > 1 << 18 for x in sample.inputs):
        pytest.skip("the row's small samples tell as much")
    testing.check_replay(op, sample, float32 if float32 in op.dtypes else op.dtypes[0])


OTHERS = [(op, d) for op in ROWS for d in (float64, float16, bfloat16) if d in op.dtypes]


@pytest.mark.parametrize("op, dtype", OTHERS, ids=name_of)
def test_replay_in_other_dtypes(op, dtype):
    testing.check_replay(op, testing.samples(op)[0], dtype)


@pytest.mark.parametrize("op", ROWS, ids=name_of)
def test_wrong_inputs_are_refused(op):
    testing.check_errors(op)


@pytest.mark.parametrize("op", ROWS, ids=name_of)
def test_row_is_complete(op):
    assert op.doc.strip(), "documentation, first line: what it returns"
    assert op.ref is not None, "a NumPy reference"
    assert op.samples is not None and testing.samples(op), "samples"
    assert op.cost is not None, "FLOPs and bytes"
    assert op.kernels or op.composite or op.view, "a kernel, a composite or a view"
    assert inspect.signature(op.call).parameters, "a signature"
    for device, choices in op.kernels.items():
        names = [choices] if isinstance(choices, str) else [n for n, _ in choices] if isinstance(choices, list) else []
        there = set(_C.kernel_names()) if device == "cpu" else {n for n in names if callable(_dispatch.planner(n))}
        assert set(names) <= there, f"{names}: no such kernel"


@pytest.mark.parametrize("op", [r for r in ROWS if r.cost], ids=name_of)
def test_cost_is_positive_where_there_is_work(op):
    for sample in testing.samples(op):
        specs = testing.specs(op, testing.tensors(sample.inputs))
        flops, bytes_moved = op.cost(*specs, *sample.attrs)
        assert flops >= 0 and bytes_moved >= 0


def functions_used(function, seen=None):
    """The Python functions and other globals that ``function`` refers to, through helpers in the ops modules."""
    seen = set() if seen is None else seen
    for name in {i.argval for i in dis.get_instructions(function) if i.opname == "LOAD_GLOBAL"}:
        value = function.__globals__.get(name)
        if value is None or id(value) in seen:
            continue
        seen.add(id(value))
        yield name, value
        if isinstance(value, types.FunctionType) and value.__module__.startswith("dlcore"):
            yield from functions_used(value, seen)


@pytest.mark.parametrize("op", [r for r in ROWS if isinstance(r.ref, types.FunctionType)], ids=name_of)
def test_reference_shares_no_code_with_kernels(op):
    for name, value in functions_used(op.ref):
        assert not isinstance(value, _C.Function | dl.Tensor | Op), f"{op.name}: its reference uses {name} of dlcore"
        if isinstance(value, types.ModuleType):
            assert not value.__name__.startswith("dlcore"), f"{op.name}: its reference uses {value.__name__}"
