"""The planners of dlcore/ops/units.py: each operation's function, of functions.py, under the operation's name.

Numbers like leaky_relu's slope travel as arguments, in float32 (float64 of float64): one kernel serves every slope.
"""

from __future__ import annotations

from collections.abc import Callable

from dlcore.dtypes import float64
from dlcore.kernels.activation import functions as f
from dlcore.kernels.common.pointwise import Operand, launch, operands, widened
from dlcore.kernels.language import Kernel
from dlcore.kernels.launch import F64, Call, Out, Program, View, accumulator

_UNUSED = {"softplus_backward": 1, "hardtanh_backward": 1, "relu6_backward": 2}  # first parameters
_NAMED = {"leaky_relu": f.prelu}


def __getattr__(name: str) -> Callable[[Call], Program]:
    """The planner of the function of functions.py that has this name."""
    return with_numbers(_NAMED.get(name) or getattr(f, name), _UNUSED.get(name, 0))


def with_numbers(function: Kernel, first: int) -> Callable[[Call], Program]:
    """A planner: out = function(inputs, numbers), the numbers being the call's parameters from ``first`` on."""

    def plan(call: Call) -> Program:
        inputs, out = operands(call), call.outputs[0]
        assert out is not None
        held = accumulator(out.dtype)
        view = View((), held, (), weak=True)
        for number in map(float, call.params[first:]):
            inputs.append(Operand(F64(number) if held is float64 else number, view))
        return Program(launch(function, widened(out.dtype), Operand(Out(0), out), *inputs))

    return plan
