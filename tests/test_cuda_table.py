"""Every operation on a GPU, by what its definition says (dlcore/testing).

On a machine with a GPU those samples run there, in those dtypes and layouts, that `testing.combinations` chooses: their
kernels are in dlcore's packs; `make test-all` takes the whole product, and compiles. Without a GPU, under
DLCORE_CUDA=interpreter (`make test` does so in a process of its own), a few small ones run in Triton's interpreter.
Operations without a kernel for a GPU are skipped, by name.
"""

import functools
import itertools
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


def chosen(op):
    """The combinations of sample, dtype and layout that are checked."""
    if not INTERPRETED:
        return testing.combinations(op)
    few, wide = samples(op), widest(op)
    narrow = [d for d in (float16, bfloat16) if d in op.dtypes and op.kernel_choices("cuda")]
    found = [testing.Combination(s, wide, "contiguous", True) for s in few]
    found += [testing.Combination(s, d, "contiguous", False) for s in few[:1] for d in narrow]
    return found + [testing.Combination(s, wide, "transposed", False) for s in few[:1]]


def thorough(op):
    return [(sample, dtype) for sample, dtype, _, thorough in chosen(op) if thorough]


def with_gradient(op):
    return [(s, d) for s, d in thorough(op) if s.grad and op.differentiable and d.is_float]


def on_gpu(check, *args):
    try:
        check(*args, device=DEVICE)
    except dl.DTypeError as error:
        if "no kernel for" not in str(error):
            raise
        pytest.skip(str(error))


@pytest.mark.parametrize("op, sample, dtype, layout", cases(lambda op: [c[:3] for c in chosen(op)]))
def test_forward(op, sample, dtype, layout):
    on_gpu(testing.check_forward, op, sample, dtype, layout)


@pytest.mark.parametrize("op", OPERATIONS, ids=name_of)
def test_every_combination(op, request):
    if INTERPRETED or not request.config.getoption("--all-combinations"):
        pytest.skip("see --all-combinations")
    for sample, dtype, layout in itertools.product(samples(op), op.dtypes, testing.LAYOUTS):
        on_gpu(testing.check_forward, op, sample, dtype, layout)


@pytest.mark.parametrize("op, sample, dtype", cases(with_gradient))
def test_gradient(op, sample, dtype):
    on_gpu(testing.check_gradient, op, sample, dtype)


@pytest.mark.parametrize("op, sample, dtype", cases(lambda op: thorough(op)[: 1 if INTERPRETED else None]))
def test_same_bits_again(op, sample, dtype):
    on_gpu(testing.check_repeatable, op, sample, dtype)


@pytest.mark.parametrize("op", OPERATIONS, ids=name_of)
def test_wrong_inputs_are_refused(op):
    on_gpu(testing.check_errors, op)
