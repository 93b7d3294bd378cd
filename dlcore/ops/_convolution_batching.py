"""How a convolution runs once for all examples of a vmap (see _batching.py).

Examples that have images of their own and share a weight are more images. With a weight for each example they are more
groups: their channels stand side by side. One image for all of them and one group: more filters.
"""

from __future__ import annotations

from typing import Any

from dlcore.ops.movement import permute, reshape

__all__ = ["of_input", "of_output", "of_weight"]


def _as_images(x: Any) -> Any:
    """(B, N, ...) as (B N, ...)."""
    return reshape(x, (x.shape[0] * x.shape[1], *x.shape[2:]))


def _as_channels(x: Any, layout: str) -> Any:
    """(B, N, C, S) as (N, B C, S), or (B, N, S, C) as (N, S, B C)."""
    if layout == "NCHW":
        x = permute(x, (1, 0, *range(2, x.ndim)))
        return reshape(x, (x.shape[0], x.shape[1] * x.shape[2], *x.shape[3:]))
    x = permute(x, (*range(1, x.ndim - 1), 0, x.ndim - 1))
    return reshape(x, (*x.shape[:-2], x.shape[-2] * x.shape[-1]))


def _from_channels(out: Any, count: int, layout: str) -> Any:
    """What `_as_channels` undoes, as a view."""
    if layout == "NCHW":
        out = reshape(out, (out.shape[0], count, out.shape[1] // count, *out.shape[2:]))
        return permute(out, (1, 0, *range(2, out.ndim)))
    out = reshape(out, (*out.shape[:-1], count, out.shape[-1] // count))
    return permute(out, (out.ndim - 2, *range(out.ndim - 2), out.ndim - 1))


def _attributes(call: Any, groups: int) -> list[Any]:
    return [groups if name == "groups" else value
            for name, value in zip(call.op.attribute_names, call.attrs, strict=True)]  # fmt: skip


def _of_image(call: Any, shares: bool) -> Any:
    """A form that gives images: of operand 0, which is some, and of filters. ``shares``: images that are the same for
    all examples can meet the filters of each without being repeated."""
    layout, groups = call.named("layout"), call.named("groups")
    if not any(call.is_batched[1:]):
        out = call.run([_as_images(call.values[0]), *call.values[1:]])
        return reshape(out, (call.size, *call.outputs[0].shape))
    filters = [None if v is None else _as_images(call.full(k)) for k, v in enumerate(call.values) if k]
    images = call.values[0]
    if call.is_batched[0] or groups > 1 or not shares:
        images, groups = _as_channels(call.full(0), layout), groups * call.size
    return _from_channels(call.run([images, *filters], _attributes(call, groups)), call.size, layout)


def of_output(call: Any) -> Any:
    """conv."""
    return _of_image(call, shares=True)


def of_input(call: Any) -> Any:
    """conv_input, which sums over the filters' first axis."""
    return _of_image(call, shares=False)


def of_weight(call: Any) -> Any:
    """conv_weight: the gradient of each example is one of a group."""
    layout, groups = call.named("layout"), call.named("groups")
    x, y = call.values[0], _as_channels(call.full(1), layout)
    if call.is_batched[0] or groups > 1:
        x, groups = _as_channels(call.full(0), layout), groups * call.size
    out = call.run([x, y], _attributes(call, groups))
    return reshape(out, (call.size, *call.outputs[0].shape))
