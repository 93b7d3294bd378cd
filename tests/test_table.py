"""Every operation, checked by what its definition says (dlcore/testing). No operation is named here.

There is a test for each sample of each operation; inside, it goes through dtypes and memory layouts. Pairwise: every
sample in every dtype, in every layout, and every dtype in every layout, but not all three crossed. `make test-all`
takes the whole product.
"""

import dis
import inspect
import types

import pytest

import dlcore as dl
from dlcore import _C, _dispatch, testing
from dlcore.dtypes import DType, bfloat16, float16, float32, float64
from dlcore.op import Op, Sample, flat, shape_of
from dlcore.ops import operations

OPERATIONS = operations()
LARGE = 1 << 18  # elements of a sample whose small ones tell as much
SMALL = 5000  # of one of which each example takes a turn


def text_of(x):
    shape = shape_of(x)
    return type(x).__name__ if shape is None else "x".join(map(str, shape)) or "0d"


def name_of(value):
    if isinstance(value, Op | DType):
        return value.name
    if isinstance(value, Sample):
        shapes = ",".join(text_of(x) for x in list(flat(value.inputs))[:4])
        return f"{shapes}-{value.why.replace(' ', '_')}" if value.why else shapes
    return str(value)


def cases(*, differentiable=False, most=None):
    """(operation, sample, its number) for every sample, or those worth a gradient or of ``most`` elements."""
    return [
        pytest.param(op, sample, k, id=f"{op.name}-{name_of(sample)}")
        for op in OPERATIONS
        for k, sample in enumerate(testing.samples(op))
        if not (differentiable and not (sample.grad and op.differentiable)) and not (most and sample.size > most)
    ]


def each(op, given, check):
    """``check(x)`` for each of ``given``; all failures in one."""
    failures = []
    for x in given:
        try:
            check(*x)
        except AssertionError as error:
            failures.append(str(error))
    assert not failures, f"{op.name}: {len(failures)} of {len(given)}:\n" + "\n".join(failures)


@pytest.fixture
def chosen(request):
    """The dtypes asked for, in their order; all where none are."""
    names = request.config.getoption("--dtypes").split(",")
    return lambda dtypes: [d for d in dtypes if names == [""] or d.name in names]


@pytest.mark.parametrize("op, sample, number", cases())
def test_forward(op, sample, number, chosen, request):
    dtypes, layouts = chosen(op.dtypes) or op.dtypes[:1], testing.LAYOUTS
    turns = max(len(dtypes), len(layouts))
    pairs = [(dtypes[k % len(dtypes)], layouts[(number + k) % len(layouts)]) for k in range(turns)]
    if request.config.getoption("--all-combinations"):
        pairs = [(d, layout) for d in dtypes for layout in layouts]
    each(op, pairs, lambda dtype, layout: testing.check_forward(op, sample, dtype, layout))


@pytest.mark.parametrize("op", OPERATIONS, ids=name_of)
def test_operands_of_other_dtypes(op):
    for sample in sorted((s for s in testing.samples(op) if s.size), key=lambda s: s.size)[:2]:
        testing.check_other_dtypes(op, sample)


@pytest.mark.parametrize("op, sample, number", cases(differentiable=True))
def test_gradient(op, sample, number, chosen):
    testing.check_gradient(op, sample)
    testing.check_second_order(op, sample)
    narrow = [(d,) for d in chosen((float32, float16, bfloat16)) if d in op.dtypes]
    each(op, narrow, lambda dtype: testing.check_gradient(op, sample, dtype))


@pytest.mark.parametrize("op, sample, number", cases())
def test_same_bits_again(op, sample, number, chosen):
    dtypes = [(d,) for d in chosen((float32, float64, bfloat16)) if d in op.dtypes]
    each(op, dtypes, lambda dtype: testing.check_repeatable(op, sample, dtype))


@pytest.mark.parametrize("op, sample, number", cases(most=LARGE))
def test_replay(op, sample, number, request):
    dtypes = [d for d in (float32, float64, float16, bfloat16) if d in op.dtypes]
    if number and not request.config.getoption("--all-combinations"):
        dtypes = dtypes[:1]
    each(op, [(d,) for d in dtypes or op.dtypes[:1]], lambda dtype: testing.check_replay(op, sample, dtype))


@pytest.mark.parametrize("op", OPERATIONS, ids=name_of)
def test_batching(op):
    each(op, [(s,) for s in testing.samples(op) if s.size <= SMALL], lambda sample: testing.check_batching(op, sample))


@pytest.mark.parametrize("op", OPERATIONS, ids=name_of)
def test_wrong_inputs_are_refused(op):
    testing.check_errors(op)


@pytest.mark.parametrize("op", OPERATIONS, ids=name_of)
def test_definition_is_complete(op):
    assert op.doc.strip(), "documentation, first line: what it returns"
    assert op.reference is not None, "a NumPy reference"
    assert testing.samples(op), "samples"
    assert op.cost is not None, "FLOPs and bytes"
    assert op.kernel_choices("cpu") or op.composite or op.view, "a kernel, a composite or a view"
    assert inspect.signature(op.call).parameters, "a signature"
    for device in ("cpu", "cuda"):
        names = {kernel for kernel, _ in op.kernel_choices(device) if isinstance(kernel, str)}
        there = set(_C.kernel_names()) if device == "cpu" else {n for n in names if callable(_dispatch.planner(n))}
        assert names <= there, f"{names}: no such kernel"


@pytest.mark.parametrize("op", OPERATIONS, ids=name_of)
def test_cost_is_positive_where_there_is_work(op):
    worked = False
    for sample in testing.samples(op):
        if sample.size > LARGE:
            continue
        operands, attrs = testing.tensors(testing.drawn(op, sample)), testing.attributes(op, sample)
        sizes, specs = testing.lengths(op, sample), testing.specs(op, operands)
        values = op.values(specs, op.bind(attrs, specs, sizes), sizes)
        flops, moved = op.work(values)
        assert flops >= 0 and moved >= 0
        worked = worked or flops + moved > 0
    assert worked or op.view, f"{op.name}: no sample costs anything"


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


@pytest.mark.parametrize("op", [o for o in OPERATIONS if isinstance(o.reference, types.FunctionType)], ids=name_of)
def test_reference_shares_no_code_with_kernels(op):
    for name, value in functions_used(op.reference):
        assert not isinstance(value, _C.Function | dl.Tensor | Op), f"{op.name}: its reference uses {name} of dlcore"
        if isinstance(value, types.ModuleType):
            assert not value.__name__.startswith("dlcore"), f"{op.name}: its reference uses {value.__name__}"
