"""What tests of kernels share: a planner's Program, interpreted, beside the reference."""

import numpy as np

from dlcore import testing
from dlcore._tensor import from_numpy
from dlcore.kernels import interpret
from dlcore.kernels.launch import ARCHES, Call
from dlcore.op import Spec

GUARD = 32  # bytes before and after each output


def at_odd_address(array):
    """A contiguous copy, one element after an aligned address."""
    room = np.empty(array.size + 32, array.dtype)
    start = (-room.ctypes.data % 64) // array.itemsize + 1
    view = room[start : start + array.size].reshape(array.shape)
    view[...] = array
    assert view.ctypes.data % 16
    return view


def planned(op, planner, arrays, attrs, extras=True, arch="sm_90"):
    """(call, program, outputs, guard bytes) of NumPy operands, None where absent."""
    views = tuple(map(interpret.view, arrays))
    specs = [None if v is None else Spec(v.shape, v.dtype) for v in views]
    attrs = op.bind(attrs, specs)
    values = op.values(specs, attrs)
    inferred = op.inferred(values)
    sizes = [int(np.prod(o.shape)) * o.dtype.itemsize if o else 0 for o in inferred]
    rooms = [np.full(size + 2 * GUARD, 0xFF, np.uint8) for size in sizes]
    outputs = [
        room[GUARD:-GUARD].view(o.dtype.numpy).reshape(o.shape) if o else None
        for room, o in zip(rooms, inferred, strict=True)
    ]
    if not extras:
        outputs = outputs[: len(op.output_names)] + [None] * len(op.extra_names)
    params = tuple(op.kernel_params(values))
    call = Call(views, tuple(map(interpret.view, outputs)), attrs, params, ARCHES[arch])
    return call, planner(call), outputs, rooms


def run(op, planner, arrays, attrs, extras=True):
    """(outputs, error words); fails where a kernel wrote beside its outputs."""
    call, program, outputs, rooms = planned(op, planner, arrays, attrs, extras)
    errors = np.array([0, 2**63 - 1])
    interpret.run(program, arrays, outputs, errors, call.arch)
    for room in rooms:
        assert (room[:GUARD] == 0xFF).all() and (room[-GUARD:] == 0xFF).all(), f"{op.name} wrote outside its output"
    return outputs, errors


def check(op, planner, arrays, attrs=(), dtype=None, why=""):
    """The operation's own bound, on float64 arrays rounded to ``dtype``; returns the outputs."""
    arrays = [x.astype(dtype.numpy) if dtype and x is not None and x.dtype == np.float64 else x for x in arrays]
    outputs, _ = run(op, planner, arrays, attrs)
    want, scale = testing.reference(op, arrays, attrs)[0], testing.magnitude(op, arrays, attrs, 0, 1)
    testing.compare(f"{op.name} {why}", from_numpy(np.array(outputs[0])), want, op.ulp, scale)
    return outputs
