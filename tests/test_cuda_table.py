"""Every operation on a GPU, by what its definition says (dlcore/testing.py).

On a machine with a GPU all samples run there. Without one, under DLCORE_CUDA=interpreter (`make test` does so in a
process of its own), a few small ones do, in Triton's interpreter. Operations without a kernel for a GPU are skipped,
by name.
"""

import functools
import math
import os

import pytest
from test_table import OPERATIONS, name_of

import dlcore as dl
from dlcore import testing
from dlcore.dtypes import bfloat16, float16, float32
from dlcore.op import flat

INTERPRETED = os.environ.get("DLCORE_CUDA") == "interpreter"
try:
    DEVICE = dl.device("cuda")
except dl.DeviceError as error:
    pytest.skip(str(error), allow_module_level=True)

SAMPLES, ELEMENTS = 3, 4096  # of an operation, and of a sample at most, where they are interpreted


def elements(op, sample):
    """Of the operands or of the results, whichever are more."""
    if sample.size > ELEMENTS:
        return sample.size
    specs, sizes = testing.specs(op, testing.tensors(testing.drawn(op, sample))), testing.lengths(op, sample)
    results = op.inferred(op.values(specs, op.bind(testing.attributes(op, sample), specs, sizes), sizes))
    return max(sample.size, sum(math.prod(s.shape) for s in results if s is not None))


@functools.cache
def samples(op):
    every = testing.samples(op)
    if not INTERPRETED:
        return every
    small = [s for s in every if elements(op, s) <= ELEMENTS]
    numbers = [s for s in small[SAMPLES:] if any(isinstance(x, int | float) for x in flat(s.inputs))]
    return [*small[: SAMPLES - len(numbers[:1])], *numbers[:1]]  # one with a Python number among its operands


def widest(op):
    return float32 if float32 in op.dtypes else op.dtypes[0]


def cases(choose):
    """(operation, sample, ...) for what ``choose(op)`` gives, as pytest parameters."""
    every = [(op, *values) for op in OPERATIONS for values in choose(op)]
    return [pytest.param(*values, id="-".join(map(name_of, values))) for values in every]


def in_dtypes(op):
    dtypes = [widest(op)] if INTERPRETED else op.dtypes
    return [(s, d) for s in samples(op) for d in dtypes]


def in_narrow_dtypes(op):
    dtypes = [d for d in (float16, bfloat16) if d in op.dtypes and op.kernel_choices("cuda")]
    return [(s, d) for s in samples(op)[:1] for d in dtypes]


def in_layouts(op):
    if INTERPRETED:
        return [(s, layout) for s, layout in zip(samples(op)[:1], testing.LAYOUTS[1:], strict=False)]
    return [(s, layout) for s in samples(op) for layout in testing.LAYOUTS[1:]]


def with_gradient(op):
    return [(s, d) for s, d in in_dtypes(op) if s.grad and op.differentiable and d.is_float]


def on_gpu(check, *args):
    try:
        check(*args, device=DEVICE)
    except dl.DTypeError as error:
        if "no kernel for" not in str(error):
            raise
        pytest.skip(str(error))


@pytest.mark.parametrize("op, sample, dtype", cases(in_dtypes))
def test_forward(op, sample, dtype):
    on_gpu(testing.check_forward, op, sample, dtype, "contiguous")


@pytest.mark.parametrize("op, sample, dtype", cases(in_narrow_dtypes))
def test_forward_in_narrow_dtypes(op, sample, dtype):
    on_gpu(testing.check_forward, op, sample, dtype, "contiguous")


@pytest.mark.parametrize("op, sample, layout", cases(in_layouts))
def test_any_memory_layout(op, sample, layout):
    on_gpu(testing.check_forward, op, sample, widest(op), layout)


@pytest.mark.parametrize("op, sample, dtype", cases(with_gradient))
def test_gradient(op, sample, dtype):
    on_gpu(testing.check_gradient, op, sample, dtype)


@pytest.mark.parametrize("op, sample", cases(lambda op: [(s,) for s in samples(op)[:1]]))
def test_same_bits_again(op, sample):
    on_gpu(testing.check_repeatable, op, sample, widest(op))


@pytest.mark.parametrize("op", OPERATIONS, ids=name_of)
def test_wrong_inputs_are_refused(op):
    on_gpu(testing.check_errors, op)
