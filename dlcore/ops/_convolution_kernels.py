"""Which kernel of the CPU computes a convolution, by shapes alone.

The general kernels (csrc/conv/conv.inl) fill the lanes of vectors with channels of the result, the direct ones
(csrc/conv/direct.inl) with positions or, where there are sixteen and no stride, images: these where channels leave many
lanes empty, or each is for itself. With channels last (NHWC) the general kernels have nothing to transpose, and of the
direct ones those of positions must pick each channel out of its neighbours. Bounds were measured with AVX-512 on
layers of LeNet, ResNet and MobileNet, on a Zen 5 and on a Zen 4. Microseconds of the latter on two cores, stride 1,
general / direct, NCHW, then NHWC; the gradient of the input from 24 channels to 12 is as the output of 24 -> 12:
                                      output of the convolution       gradient of the weight
    1 image,   12 -> 24 of 16 x 16      14 /   18     13 /   21         19 /   20     19 /   24
    1 image,   12 -> 24 of 32 x 32      44 /   36     40 /   42         70 /   35     67 /   43
    8 images,  12 -> 24 of 56 x 56     878 /  724    856 /  919        828 /  739    809 /  974
   16 images,   6 -> 16 of 14 x 14, 5   48 /   57     41 /   53         45 /   74     41 /   74
   16 images,  12 -> 24 of 16 x 16     146 /  110    137 /  124        138 /  152    133 /  163
   64 images,  24 -> 24 of 16 x 16    1118 /  769   1044 /  831       1063 /  908   1052 /  960
   64 images,  20 -> 20 of 14 x 14     686 /  405    647 /  419        680 /  507    653 /  511
   64 images,  64 -> 40 of 8 x 8      1014 /  754    980 /  783        992 / 1289    969 / 1283
   64 images,  16 -> 32 of 16 x 16     751 /  722    679 /  706        703 /  825    684 /  873
  128 images,   6 -> 16 of 14 x 14, 5  340 /  297    287 /  301        338 /  335    301 /  341
  128 images,   8 -> 32 of 28 x 28    3071 / 2620   2394 / 2626       2332 / 2914   2228 / 2694

Of 3 x 3 places without a stride and of 16 channels and more the general kernels compute float32 by Winograd's
algorithm, again by shapes alone: csrc/conv/winograd.inl has the bounds, figures and errors. The table is from before
it. Empty lanes are weighed against 9 multiplications in place of 4 (`prefers_winograd`); the weight's gradient gains
from 22 filters on. Microseconds on the Zen 4, two cores, NCHW, general / direct:
                                      output of the convolution       gradient of the weight
    1 image,   18 -> 50 of 32 x 32      83 /   97         81 /  102
    1 image,   24 -> 24 of 56 x 56     197 /  195        208 /  208
   16 images,  24 -> 24 of 28 x 28     622 /  721        662 /  880
   64 images,  24 -> 24 of 28 x 28    3609 / 5371       4567 / 5804
   64 images,  64 -> 24 of 14 x 14    1484 / 2090       2195 / 3958
   16 images,  50 -> 50 of 28 x 28    2120 / 4883       1998 / 5397
   64 images,  40 -> 40 of 7 x 7       491 /  440        531 /  887
   64 images,  17 -> 22 of 28 x 28    1997 / 2243       2189 / 3126
   64 images,  32 -> 34 of 28 x 28    5981 / 8201       6517 / 9083

Kernels of length 1 are products of planes, but of four channels and fewer, to which direct kernels add a bias for less.
Microseconds as above, NCHW, direct / product:
                                      output of the convolution       gradient of the weight
   16 images,  64 ->  8 of 28 x 28      78 /   61        184 /  129
   64 images,  32 ->  8 of 16 x 16      57 /   39        122 /   94
   64 images,   8 ->  8 of 28 x 28      75 /   36      stays direct
   64 images,  16 ->  8 of 32 x 32     138 /  112        209 /  310, for planes of 4 KiB are copied: stays direct
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from dlcore.op import Spec
from dlcore.ops._convolution import Geometry, space

__all__ = ["OF_INPUT", "OF_MAXIMA", "OF_OUTPUT", "OF_WEIGHT"]

_LANES = 16
"""Channels that fill the lanes of a vector."""
_FEW = 4
"""Channels of the input, so few that transposing them costs more than lanes of outputs gain."""
_ROW = 8
"""Channels times taps of a row of the kernel: with fewer, tiles of the weight's gradient are low."""
_BAND = 1 << 18
"""Bytes of the copy of some rows of sixteen images."""
_COPY = _BAND // (3 * _LANES * 4)
"""Channels times width times reach of the kernel: with more, a copy of sixteen images would leave the second cache."""
_CONFLICT = 2048
"""Bytes: lines so far apart fall into few sets of the first-level cache."""

_TILES = 32
"""With fewer tiles of 2 x 2, or fewer channels than lanes, general kernels do without Winograd's algorithm."""

Lengths = tuple[int, ...]


class _Walk(NamedTuple):
    """A convolution of one group: from `source` channels to `target` channels, for either of its three forms."""

    batch: int
    source: int
    target: int
    places: tuple[int, ...]
    kernel: Sequence[int]
    stride: Sequence[int]
    dilation: Sequence[int]
    padding: Sequence[int]
    """Before and after each axis that is read: for the gradient of the input what the kernel reaches beyond it."""
    interleaved: bool
    itemsize: int

    def with_lanes_of_images(self) -> bool:
        """Whether direct kernels take sixteen images at a time, as direct_images.inl has it."""
        reach, width = (self.kernel[-1] - 1) * self.dilation[-1], self.places[-1]
        near = self.interleaved or 16 * reach >= width
        enough = self.itemsize >= 4 and 8 * (-self.batch % _LANES) <= self.batch
        return near and enough and self.source * width * reach < _COPY

    def leaves_lanes(self, share: int) -> bool:
        """Whether channels of the target leave a part of all lanes, 1 in `share`, empty, and direct kernels none."""
        if math.prod(self.stride) > 1 or math.prod(self.kernel) == 1 or self.source > 4 * _LANES:
            return False
        empty = -self.target % _LANES
        full = self.with_lanes_of_images() or (not self.interleaved and self.positions() >= 1024)
        return share * empty >= self.target + empty and full

    def is_product(self, groups: int) -> bool:
        """Whether it is one of matrices that lie in memory, or one for each image: csrc/conv/pointwise.inl."""
        if groups > 1 or math.prod(self.kernel) > 1:
            return False
        plain = math.prod(self.stride) == 1 and max(self.padding) == 0
        return self.interleaved or (plain and min(self.source, self.target) > _FEW)

    def reads_planes(self) -> bool:
        """Whether the gradient of its weight reads planes where they are, as csrc/conv/weight.inl has it."""
        return self.itemsize >= 4 and self.source > _ROW and math.prod(self.places) * self.itemsize % _CONFLICT > 0

    def positions(self) -> int:
        """Of all images."""
        return self.batch * math.prod(self.places)

    def by_winograd(self, multiplications: int) -> bool:
        """Whether general kernels compute it by Winograd's algorithm, as csrc/conv/winograd.inl has it, at the cost of
        so many multiplications for each tile."""
        plain = (*self.kernel, *self.stride, *self.dilation) == (3, 3, 1, 1, 1, 1) and max(self.padding) <= 1
        if not plain or self.itemsize != 4 or min(self.source, self.target) < _LANES:
            return False
        tiles, results = self.tiles()
        return self.batch * tiles >= _TILES and multiplications * tiles <= 9 * results

    def tiles(self) -> tuple[int, int]:
        """Tiles of 2 x 2 that cover the results of 3 x 3 places in one image, and these results."""
        high, wide = (n + sum(self.padding[2 * a : 2 * a + 2]) - 2 for a, n in enumerate(self.places))
        return -(-high // 2) * -(-wide // 2), high * wide

    def prefers_winograd(self) -> bool:
        """Whether Winograd's algorithm with lanes of channels, some of them empty, costs less than direct kernels do.

        In multiply-adds and their like: 16 products of a tile with full lanes, 24 additions and 16 stores or loads for
        each channel that is read and each lane that is made, 8 of these at the price of a product; and a sixteenth more
        where tiles are few.
        """
        if not self.by_winograd(22):
            return False
        tiles, results = self.tiles()
        lanes = -(-self.target // _LANES) * _LANES
        return 17 * tiles * (self.source * lanes + 8 * (self.source + lanes)) < 9 * results * self.source * self.target


def _walk(
    images: Spec, source: int, target: int, kernel: Sequence[int], walk: Geometry, transposed: bool = False
) -> _Walk:
    interleaved = walk.layout == "NHWC"
    places = images.shape[1:-1] if interleaved else images.shape[2:]
    padding = walk.padding
    if transposed:
        padding = tuple(n - 1 - walk.padding[2 * a + side] for a, n in enumerate(walk.reach(kernel)) for side in (0, 1))
    return _Walk(
        images.shape[0], source, target, places, kernel, walk.stride, walk.dilation, padding, interleaved,
        images.dtype.itemsize,
    )  # fmt: skip


def _of_output(
    x: Spec, weight: Spec, stride: Lengths, padding: Lengths, dilation: Lengths, groups: int, layout: str
) -> bool:
    outputs, inputs, *kernel = weight.shape
    walk = _walk(x, inputs, outputs // groups, kernel, Geometry(stride, padding, dilation, groups, layout))
    if len(kernel) > 2 or walk.is_product(groups):
        return False
    if walk.target <= _LANES // 2 or (inputs <= _FEW and not walk.interleaved):
        return True
    if walk.leaves_lanes(6):
        return not walk.prefers_winograd()
    many = walk.batch >= 2 * _LANES and not walk.interleaved and math.prod(stride) == 1
    return many and inputs < _LANES and walk.with_lanes_of_images()


def _of_input(
    y: Spec, weight: Spec, stride: Lengths, padding: Lengths, dilation: Lengths, groups: int, layout: str
) -> bool:
    outputs, inputs, *kernel = weight.shape
    geometry = Geometry(stride, padding, dilation, groups, layout)
    walk = _walk(y, outputs // groups, inputs, kernel, geometry, transposed=True)
    if len(kernel) > 2 or walk.is_product(groups):
        return False
    return inputs <= _LANES // 2 or (walk.leaves_lanes(6) and not walk.prefers_winograd())


def _of_weight(
    x: Spec, y: Spec, kernel: Lengths, stride: Lengths, padding: Lengths, dilation: Lengths, groups: int, layout: str
) -> bool:  # fmt: skip
    axis = -1 if layout == "NHWC" else 1
    geometry = Geometry(stride, padding, dilation, groups, layout)
    walk = _walk(x, x.shape[axis] // groups, y.shape[axis] // groups, kernel, geometry)
    if len(kernel) > 2 or (walk.is_product(groups) and (walk.interleaved or walk.reads_planes())):
        return False
    if walk.target < _LANES or (not walk.interleaved and walk.source * kernel[-1] <= _ROW):
        return True
    many = walk.source <= 2 * _LANES and walk.positions() >= 1 << 14
    return many and walk.leaves_lanes(3 if walk.by_winograd(28) else 4)


def _of_maxima(
    x: Spec, weight: Spec, stride: Lengths, padding: Lengths, dilation: Lengths, window: Lengths, step: Lengths,
    groups: int, layout: str,
) -> bool:  # fmt: skip
    """Whether lanes are images where `conv` alone would be direct, and its windows lie side by side.

    As csrc/conv/direct_images.inl has it for sixteen lanes, or more narrowly.
    """
    outputs, inputs, *kernel = weight.shape
    walk = Geometry(stride, padding, dilation, groups, layout)
    if not _of_output(x, weight, stride, padding, dilation, groups, layout) or {*stride} != {1} or x.dtype.itemsize < 4:
        return False
    if math.prod(window) > 256 or any(w > s for w, s in zip(window, step, strict=True)):
        return False
    size = space(x.shape, layout)
    *above, reach = (n - 1 for n in walk.reach(kernel))
    narrow = layout == "NHWC" or 16 * reach >= walk.output(size, kernel)[-1]
    rows = _BAND // (inputs * size[-1] * _LANES * 4) - sum(above)
    empty = -x.shape[0] % _LANES
    return narrow and inputs * outputs > groups and 8 * empty <= x.shape[0] and rows > 2 * sum(above)


OF_MAXIMA = {"cpu": [("conv:direct_pooled", _of_maxima)], "cuda": []}
OF_OUTPUT = {"cpu": [("conv:direct", _of_output), ("conv:conv", None)]}
OF_INPUT = {"cpu": [("conv:direct_input", _of_input), ("conv:conv_input", None)]}
OF_WEIGHT = {"cpu": [("conv:direct_weight", _of_weight), ("conv:conv_weight", None)]}
