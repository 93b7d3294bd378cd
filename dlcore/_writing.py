"""Methods of tensors that write elements in place where indices, masks or triangles say, under PyTorch's names.

Each is the function of the same name without the underscore, whose result is written into the tensor and kept on the
tape; it returns the tensor.
"""

from __future__ import annotations

from typing import Any

from dlcore import _C
from dlcore._arguments import calling
from dlcore._indexing import index_put
from dlcore._spelling import spelled
from dlcore.errors import ShapeError
from dlcore.ops import scattering, triangles
from dlcore.ops.slicing import assign
from dlcore.ops.strided import diagonal

__all__ = ["Writing"]


def _written(name: str, function: Any, x: Any, *args: Any) -> Any:
    """``x`` with what ``function`` makes of it in its memory; errors name the method."""
    with calling(name):
        return assign.inplace(x, function(x, *args))


class Writing(_C.TensorBase):
    """The methods."""

    __slots__ = ()

    def index_put(self, indices: Any, values: Any, accumulate: bool = False) -> Any:
        """A copy in which ``x[indices]`` is ``values``, or with ``accumulate`` has them added: `dl.index_put`."""
        return index_put(self, indices, values, accumulate)

    def index_put_(self, indices: Any, values: Any, accumulate: bool = False) -> Any:
        """x[indices] = values; with ``accumulate`` they are added, those of equal indices one after another."""
        return _written("index_put_", index_put, self, indices, values, accumulate)

    def masked_fill_(self, mask: Any, value: Any) -> Any:
        """``value`` where ``mask``, broadcast, is true."""
        return _written("masked_fill_", scattering.masked_fill, self, mask, value)

    def masked_scatter_(self, mask: Any, source: Any) -> Any:
        """The elements of ``source`` one after another where ``mask``, broadcast, is true."""
        return _written("masked_scatter_", scattering.masked_scatter, self, mask, source)

    def tril_(self, k: int = 0) -> Any:
        """Zeros above diagonal ``k``."""
        return _written("tril_", triangles.tril, self, k)

    def triu_(self, k: int = 0) -> Any:
        """Zeros below diagonal ``k``."""
        return _written("triu_", triangles.triu, self, k)

    def fill_diagonal_(self, value: Any) -> Any:
        """``value`` on the main diagonal of a matrix."""
        if self.ndim != 2:
            raise ShapeError(f"fill_diagonal_: x has shape {self.shape}; it must be a matrix")
        with calling("fill_diagonal_"):
            assign.inplace(diagonal(self), value)
        return self

    @spelled
    def scatter_(self, axis: int, index: Any, src: Any, reduce: str | None = None) -> Any:
        """Elements of ``src`` where ``index`` says along ``axis``; of equal indices the last wins."""
        return _written("scatter_", scattering.scatter, self, axis, index, src, reduce)

    @spelled
    def scatter_add_(self, axis: int, index: Any, src: Any) -> Any:
        """Elements of ``src`` added where ``index`` says along ``axis``."""
        return _written("scatter_add_", scattering.scatter_add, self, axis, index, src)

    @spelled
    def scatter_reduce_(self, axis: int, index: Any, src: Any, reduce: str, include_self: bool = True) -> Any:
        """Elements of ``src`` put together where ``index`` says along ``axis``."""
        return _written("scatter_reduce_", scattering.scatter_reduce, self, axis, index, src, reduce, include_self)

    @spelled
    def index_add_(self, axis: int, index: Any, source: Any, alpha: float = 1) -> Any:
        """``alpha`` times each row of ``source`` added where ``index`` says along ``axis``."""
        return _written("index_add_", scattering.index_add, self, axis, index, source, alpha)

    @spelled
    def index_copy_(self, axis: int, index: Any, source: Any) -> Any:
        """The rows of ``source`` where ``index`` says along ``axis``."""
        return _written("index_copy_", scattering.index_copy, self, axis, index, source)

    @spelled
    def index_fill_(self, axis: int, index: Any, value: Any) -> Any:
        """``value`` in the rows that ``index`` names along ``axis``."""
        return _written("index_fill_", scattering.index_fill, self, axis, index, value)
