"""The form of convolutions in C; see `c_forms`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from dlcore.export.c_forms import C_FORMS
from dlcore.export.c_text import SUFFIX, Memory, Program, Unsupported
from dlcore.export.trace import Call
from dlcore.op import Spec

__all__ = ["Images", "three"]

_FEW_CHANNELS, _PLANE = 128, 128  # those of csrc/conv/pointwise.inl


class Images:
    """Images as one of three axes of space: lengths, and strides of image, channel and space."""

    def __init__(self, m: Memory, layout: str):
        last, axes = layout == "NHWC", len(m.shape) - 2  # of batch_norm there may be none
        self.count, self.channels = m.shape[0], m.shape[-1 if last else 1]
        space = slice(1, -1) if last else slice(2, None)
        self.size = (*[1] * (3 - axes), *m.shape[space])
        self.strides = (m.strides[0], m.strides[-1 if last else 1], *[0] * (3 - axes), *m.strides[space])

    @property
    def places(self) -> int:
        """Of one image."""
        return math.prod(self.size)


def three(values: Sequence[int], of: int) -> tuple[int, ...]:
    """Numbers of the axes of space, as many as three; those that are not there are ``of``."""
    return (*[of] * (3 - len(values)), *values)


def _convolved(p: Program, call: Call) -> list[str]:
    (x, weight, bias), out = p.operands(call), p.out(call)
    assert call.op is not None
    given = dict(zip(call.op.attribute_names, call.attrs, strict=True))
    activation = given["activation"]
    if out.dtype not in SUFFIX:
        raise Unsupported("its dtype has no form there")
    if activation and len(call.outputs) > 1 and call.outputs[1] is not None:
        raise Unsupported("the value before the activation is read as well")
    lines = _summed(p, call, given, x, weight, bias, out)
    if activation is None:
        return lines
    function = p.use(f"{activation}_{out.suffix}")
    return [*lines, *p.loop(out.shape, [out], lambda o: f"{o} = {function}({o});")]


def _kernel(call: Call) -> Any:
    """The plain kernel that the call has."""
    assert call.op is not None
    specs = [None if a is None else Spec(a.shape, a.dtype) for a in call.inputs]
    return call.op.kernel("cpu", call.op.values(specs, call.attrs))


def _summed(
    p: Program, call: Call, given: dict[str, Any], x: Memory, weight: Memory, bias: Any, out: Memory
) -> list[str]:  # fmt: skip
    """One sum for each element, in the order in which the general kernel or the direct one takes its terms; a product
    where the general one leaves it to matmul."""
    kernel = _kernel(call)
    source, target = Images(x, given["layout"]), Images(out, given["layout"])
    shape, padding = three(weight.shape[2:], 1), given["padding"]
    pointwise = kernel == "conv:conv" and math.prod(shape) == 1 == given["groups"] and source.size == target.size
    if pointwise and source.channels <= _FEW_CHANNELS:
        plain = bias is None and given["activation"] is None and source.places >= _PLANE
        if given["layout"] == "NHWC" or plain:
            return _pointwise(p, target, x, weight, bias, out, given["layout"])
    name = p.use(f"conv_{out.suffix}")
    steps = weight.strides
    numbers = [
        source.count, given["groups"], weight.shape[1], weight.shape[0] // given["groups"],
        int(kernel == "conv:direct"), 0 if bias is None else bias.strides[0], *source.size, *target.size, *shape,
        *three(given["stride"], 1), *three(padding[::2], 0), *three(given["dilation"], 1), *source.strides,
        *target.strides, *steps[:2], *three(steps[2:], 0),
    ]  # fmt: skip
    values = ", ".join(map(str, numbers))
    call_text = f"{name}(p, {x.pointer}, {weight.pointer}, {'0' if bias is None else bias.pointer}, {out.pointer});"
    return [f"{{ static const int p[] = {{{values}}};", f"  {call_text} }}"]


def _pointwise(
    p: Program, target: Images, x: Memory, weight: Memory, bias: Any, out: Memory, layout: str
) -> list[str]:
    """A kernel of length 1: a product of matrices, as matmul does it."""
    source = Images(x.in_order, layout)
    name, inputs, outputs = p.use(f"matmul_{out.suffix}"), source.channels, target.channels
    to_d, to_c = weight.strides[:2]
    if layout == "NHWC":
        rows, at = source.count * source.places, source.strides
        return [
            f"{name}({rows}, {outputs}, {inputs}, {x.pointer}, {at[4]}, {at[1]}, {weight.pointer}, {to_c}, {to_d}, "
            f"{out.pointer}, {'0' if bias is None else bias.pointer});",
        ]
    return [
        f"{name}({outputs}, {source.places}, {inputs}, {weight.pointer}, {to_d}, {to_c}, {x.pointer} + "
        f"{n * source.strides[0]}, {source.strides[1]}, {source.strides[4]}, {out.pointer} + "
        f"{n * target.strides[0]}, 0);"
        for n in range(source.count)
    ]


C_FORMS["conv"] = _convolved
