"""The cross-entropy of a linear layer and its gradients, without its logits: a chunk of rows has them at a time.

Shapes: R rows, K features, V classes. Of each chunk: logits = x @ weight.T + bias; losses, and dlogits in the place of
the logits (cross_entropy.py); dx = dlogits @ weight; dweight += dlogits.T @ x; dbias += the sums of columns.

Bound by the three products, 6 R K V operations, which the kernels of kernels/matmul make. Memory: one chunk of logits,
LOGITS bytes or a sixteenth of them all, in the place of R V of them and as many gradients; it stays in L2 between what
writes and what reads it. The price is that dweight is read and written once for each chunk, 8 K V bytes, at most 16
times; a product adds to it as it writes (`before`). Sums over chunks are of float32 or wider, in the order of chunks,
which follow from shapes and dtype alone: dweight of float32 is its own sum, for 16-bit floats there is one beside it.
Where rows of V elements are no whole vectors of 16 bytes, dlogits get rows that are, for TMA and cp.async to read.

At 2048 x 512 x 32000 in float32: 8 chunks of 256 rows, 5 launches each (2 more with a bias); workspaces of 37 MB in
the place of the 524 MB of logits and their gradients. bfloat16: 4 chunks of 512 rows, 115 MB for 262, of which 66 are
the sums of dweight. Unmeasured: not yet run on hardware; compiled without spills, products that add to sums in up to
250 registers (sm_80, 128x256x32), 168 (sm_90, specialised), 192 and 184 (sm_100, sm_120).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dlcore.dtypes import DType, int32
from dlcore.kernels.common.layout import layout_of, tiles_of
from dlcore.kernels.common.lines import lines_of
from dlcore.kernels.launch import Call, In, Out, Program, Temp, View, accumulator, ceil_div
from dlcore.kernels.loss.cross_entropy import choose, counted, over_lines
from dlcore.kernels.loss.total import MEAN, parts_of, to_loss
from dlcore.kernels.matmul import tma
from dlcore.kernels.matmul.pack import packed
from dlcore.kernels.matmul.plan import COPY_UNALIGNED, accumulate, multiply
from dlcore.kernels.matmul.product import Builder, Matrix, as_contiguous, flat, matrix, product, shifted
from dlcore.kernels.matmul.split import added
from dlcore.kernels.reduce.reduce import SUM, reduction

__all__ = ["linear_cross_entropy"]

LOGITS, CHUNKS, ROWS = 32 << 20, 16, 64  # bytes of a chunk at least; chunks at most; rows come in multiples of these


def chunk_of(rows: int, classes: int, itemsize: int) -> int:
    """Rows of a chunk."""
    most = max(LOGITS // (max(classes, 1) * itemsize) // ROWS, ceil_div(ceil_div(rows, ROWS), CHUNKS), 1) * ROWS
    return min(most, max(rows, 1))


@dataclass(frozen=True)
class Layer:
    """What all chunks share."""

    call: Call
    builder: Builder
    x: Matrix
    weight: Matrix
    logits: Temp
    gradients: Matrix | None
    """dlogits of a chunk, in the place of the logits where rows of these are whole vectors."""
    sums: tuple[Any, Any]
    """Where dweight and dbias are added up."""
    counts: tuple[Temp | None, int]
    """What a mean divides by, in parts."""

    @property
    def held(self) -> DType:
        """What sums are made in."""
        return accumulator(self.x.dtype)

    def chunk(self, begin: int, rows: int, losses: Temp) -> int:
        """Adds the launches for ``rows`` rows from ``begin`` on; returns how many sums of losses they make."""
        builder, first, last = self.builder, begin == 0, begin + rows == self.x.rows
        x = self.x.at(begin * self.x.row)._replace(rows=rows)
        bias = self.call.inputs[3] and In(3)
        with builder.passing():
            _multiply(builder, product(x, self.weight.transposed, (), out=self.logits, bias=bias))
        made = self.losses(begin, rows, losses)
        _, dx, dweight, dbias = self.call.outputs
        if self.gradients is None:
            return made
        gradients = self.gradients._replace(rows=rows)
        if dx is not None:
            to = shifted(Out(1), begin * x.columns * x.dtype.itemsize)
            with builder.passing():
                _multiply(builder, product(gradients, self.weight, (), out=to))
        if dweight is not None and dweight.size:
            accumulate(builder, product(gradients.transposed, x, (), out=Out(2)), self.sums[0], first, last)
        if dbias is not None and dbias.size:
            self.add_bias(gradients, first, last)
        return made

    def losses(self, begin: int, rows: int, to: Temp) -> int:
        """Adds the launch from logits to sums of losses and dlogits; returns how many sums there are."""
        if rows == 0:
            return 0
        classes, dtype, target = self.weight.rows, self.x.dtype, self.call.inputs[2]
        assert target is not None
        pitches = [classes] + ([self.gradients.row] if self.gradients else [])
        lines = lines_of([View((rows, classes), dtype, (pitch, 1)) for pitch in pitches], 1, outputs=0)
        tile = choose(lines, dtype, self.call)
        gradients = self.gradients and self.gradients.pointer
        self.builder.launches.append(over_lines(
            self.call, lines, tile, self.held, x=self.logits, target=shifted(In(2), begin * target.dtype.itemsize),
            weight=None, counts=self.counts[0], parts=self.counts[1], dx=gradients, out=to, first=begin,
            IN_PLACE=gradients == self.logits,
        ))  # fmt: skip
        return tile.programs(lines)

    def add_bias(self, gradients: Matrix, first: bool, last: bool) -> None:
        """Adds the launches from dlogits to dbias, or to the sum so far."""
        builder, held, classes = self.builder, self.held, gradients.columns
        view = View((gradients.rows, classes), gradients.dtype, (gradients.row, 1))
        layout = layout_of(view, 1)
        assert layout is not None
        end = Out(3) if last else self.sums[1]
        with builder.passing():
            found = end if first else builder.temp(classes, held)
            partial = builder.temp(classes * tiles_of(layout, held.itemsize).splits, held)
            builder.launches += reduction(SUM, view, layout, gradients.pointer, found, None, partial.index).launches
            if not first:
                builder.launches.append(added(found, 1, classes, end, before=self.sums[1]))


def _multiply(builder: Builder, p: Any) -> None:
    if p.m * p.n:
        multiply(builder, p)


def _vectors(builder: Builder, x: Matrix) -> Matrix:
    """``x``, copied once, and not for each chunk, where its rows are no whole vectors and it is large."""
    return x if tma.ready(x) or x.rows * x.columns < COPY_UNALIGNED else packed(builder, x, ())


def _gradients(builder: Builder, call: Call, logits: Temp, rows: int, classes: int, dtype: DType) -> Matrix | None:
    if not any(call.outputs[1:]):
        return None
    vector = 16 // dtype.itemsize
    pitch = ceil_div(classes, vector) * vector
    place = logits if pitch == classes else builder.temp(rows * pitch, dtype)
    return Matrix(place, dtype, rows, classes, pitch, 1)


def _sums(builder: Builder, call: Call, dtype: DType, several: bool) -> tuple[Any, Any]:
    """Where dweight and dbias are added up: in themselves where they are wide enough."""
    held = accumulator(dtype)
    apart = several and held is not dtype
    weights, biases = (
        builder.temp(o.size, held) if apart and o is not None else Out(k) for k, o in enumerate(call.outputs[2:], 2)
    )
    return weights, biases


def linear_cross_entropy(call: Call) -> Program:
    """The operation: x, weight, class indices and bias to the loss, dx, dweight and dbias, each where it is wanted."""
    x, weight_view, target, bias = call.inputs
    assert x is not None and weight_view is not None and target is not None
    builder, rows, classes, dtype = Builder(call.arch), target.size, weight_view.shape[0], x.dtype
    held, mean, chunk = accumulator(dtype), int(call.params[0]) == MEAN, chunk_of(rows, classes, dtype.itemsize)
    builder.contiguous |= {2} | ({3} if bias is not None else set())
    losses = builder.temp(max(rows, 1), held)  # the first workspace, from which `to_loss` takes them
    weight = matrix(In(1), weight_view, ())
    if not weight.dense or not weight.aligned:
        weight = flat(builder, 1, as_contiguous(weight_view))
    counts: tuple[Any, int] = None, 1
    if mean and rows:
        place = builder.temp(parts_of(rows)[0], int32)
        counter, parts = counted(call, In(2), None, rows, classes, place)
        builder.launches.append(counter)
        counts = place, parts
    logits = builder.temp(chunk * classes, dtype)
    layer = Layer(
        call, builder, _vectors(builder, flat(builder, 0, x)), _vectors(builder, weight), logits,
        _gradients(builder, call, logits, chunk, classes, dtype), _sums(builder, call, dtype, chunk < rows), counts,
    )  # fmt: skip
    made = 0
    for begin in range(0, max(rows, 1), chunk):
        made += layer.chunk(begin, min(chunk, rows - begin), shifted(losses, made * held.itemsize))
    end = to_loss(mean, made, held, counts if counts[0] else 0, len(builder.temps))
    builder.launches += end.launches
    builder.temps += end.temps
    return builder.program()
