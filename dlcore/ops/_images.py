"""The axes of images."""

from __future__ import annotations

from dlcore.errors import ShapeError

__all__ = ["image_axes"]


def image_axes(name: str, shape: tuple[int, ...], layout: str = "NCHW") -> range:
    """The axes of places of images (N, C, L), (N, C, H, W) or (N, C, D, H, W), or of these with channels last."""
    if len(shape) not in (3, 4, 5):
        expected = ("(N, C, L), (N, C, H, W) or (N, C, D, H, W)" if layout == "NCHW"
                    else "(N, L, C), (N, H, W, C) or (N, D, H, W, C)")  # fmt: skip
        raise ShapeError(f"{name}: images {expected} expected, not shape {shape}")
    return range(2, len(shape)) if layout == "NCHW" else range(1, len(shape) - 1)
