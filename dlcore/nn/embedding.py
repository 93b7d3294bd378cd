"""Tables of vectors that tokens choose from."""

from __future__ import annotations

from typing import Any

from dlcore._arguments import boolean, choice, instance, integer, number
from dlcore._tensor import Parameter, Tensor, empty
from dlcore.dtypes import as_dtype
from dlcore.errors import ShapeError
from dlcore.nn import init
from dlcore.nn.module import Module
from dlcore.ops.bags import MODES, embedding_bag
from dlcore.ops.embedding import embedding, padding_of, refuse_sparse

__all__ = ["Embedding", "EmbeddingBag"]


class _Table(Module):
    """What embeddings and bags of them share: the table, and how its rows are looked up and learned."""

    def __init__(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None, max_norm: float | None,
        norm_type: float, scale_grad_by_freq: bool, sparse: bool, weight: Any, freeze: bool, device: Any, dtype: Any,
    ):  # fmt: skip
        name = type(self).__name__
        self.num_embeddings = integer(num_embeddings, f"{name}: num_embeddings", 0)
        self.embedding_dim = integer(embedding_dim, f"{name}: embedding_dim", 0)
        padding = padding_of(name, padding_idx, self.num_embeddings)
        self.padding_idx = padding if padding >= 0 else None
        self.max_norm = None if max_norm is None else number(max_norm, f"{name}: max_norm")
        self.norm_type = number(norm_type, f"{name}: norm_type")
        self.scale_grad_by_freq = boolean(scale_grad_by_freq, f"{name}: scale_grad_by_freq")
        refuse_sparse(name, sparse)
        shape = self.num_embeddings, self.embedding_dim
        kind = None if dtype is None else as_dtype(dtype, f"{name}: dtype")
        if weight is None:
            self.weight = Parameter(empty(shape, dtype=kind, device=device))
            self.reset_parameters()
        else:
            given = instance(weight, Tensor, f"{name}: weight", "a tensor")
            if given.shape != shape:
                raise ShapeError(f"{name}: weight has shape {given.shape}, not {shape}")
            self.weight = Parameter(given)
        if boolean(freeze, f"{name}: freeze"):
            self.weight.requires_grad = False

    def reset_parameters(self) -> None:
        """Draw the table anew: standard normal, the row of ``padding_idx`` 0."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            self.weight.detach()[self.padding_idx].fill_(0)

    def extra_repr(self) -> str:
        found = f"{self.num_embeddings}, {self.embedding_dim}"
        for name, usual in (("padding_idx", None), ("max_norm", None), ("norm_type", 2.0)):
            value = getattr(self, name)
            found += f", {name}={value}" if value != usual else ""
        return found + (f", scale_grad_by_freq={self.scale_grad_by_freq}" if self.scale_grad_by_freq else "")


class Embedding(_Table):
    """The row of ``weight`` for each token: integers (...) -> (..., embedding_dim).

    ``weight`` (num_embeddings, embedding_dim) starts as standard normal numbers. ``padding_idx``: this token's row
    starts as zeros and gets no gradient. ``max_norm``, ``norm_type``, ``scale_grad_by_freq``: see `dl.embedding`;
    ``sparse=True`` is refused.

    >>> nn.Embedding(65, 128)(dl.tensor([[3, 1, 4], [1, 5, 9]])).shape
    (2, 3, 128)
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None, max_norm: float | None = None,
        norm_type: float = 2.0, scale_grad_by_freq: bool = False, sparse: bool = False, _weight: Tensor | None = None,
        _freeze: bool = False, device: Any = None, dtype: Any = None,
    ):  # fmt: skip
        super().__init__(
            num_embeddings, embedding_dim, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse, _weight,
            _freeze, device, dtype,
        )  # fmt: skip

    @classmethod
    def from_pretrained(
        cls, embeddings: Tensor, freeze: bool = True, padding_idx: int | None = None, max_norm: float | None = None,
        norm_type: float = 2.0, scale_grad_by_freq: bool = False, sparse: bool = False,
    ) -> Embedding:  # fmt: skip
        """A layer with the table ``embeddings`` (num_embeddings, embedding_dim), which learns if not ``freeze``.

        >>> nn.Embedding.from_pretrained(dl.tensor([[1.0, 2.0], [3.0, 4.0]]))(dl.tensor([1]))
        tensor([[3., 4.]])
        """
        size, width = table_shape("Embedding.from_pretrained", embeddings)
        return cls(
            size, width, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse, _weight=embeddings,
            _freeze=freeze,
        )  # fmt: skip

    def forward(self, input: Tensor) -> Tensor:
        found: Tensor = embedding(
            input, self.weight, self.padding_idx, self.max_norm, self.norm_type, self.scale_grad_by_freq
        )
        return found


def table_shape(name: str, embeddings: Any) -> tuple[int, int]:
    """Rows and columns of a table that is given."""
    table = instance(embeddings, Tensor, f"{name}: embeddings", "a tensor")
    if table.ndim != 2:
        raise ShapeError(f"{name}: embeddings have shape {table.shape}, not (num_embeddings, embedding_dim)")
    return table.shape


class EmbeddingBag(_Table):
    """The sum, mean or maximum (``mode``) of the rows of ``weight`` for bags of tokens: (B, embedding_dim).

    Called with ``input`` (B, L), or with all tokens in a row (n,) and ``offsets``, where bags begin; see
    `dl.embedding_bag` for these and the other arguments. ``weight`` (num_embeddings, embedding_dim) starts as standard
    normal numbers, the row of ``padding_idx`` as zeros.

    >>> nn.EmbeddingBag(10, 3)(dl.tensor([1, 2, 4, 5]), dl.tensor([0, 3])).shape
    (2, 3)
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, max_norm: float | None = None, norm_type: float = 2.0,
        scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False, _weight: Tensor | None = None,
        include_last_offset: bool = False, padding_idx: int | None = None, device: Any = None, dtype: Any = None,
    ):  # fmt: skip
        self.mode = choice(mode, MODES, "EmbeddingBag: mode")
        self.include_last_offset = boolean(include_last_offset, "EmbeddingBag: include_last_offset")
        super().__init__(
            num_embeddings, embedding_dim, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse, _weight,
            False, device, dtype,
        )  # fmt: skip

    @classmethod
    def from_pretrained(
        cls, embeddings: Tensor, freeze: bool = True, max_norm: float | None = None, norm_type: float = 2.0,
        scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False, include_last_offset: bool = False,
        padding_idx: int | None = None,
    ) -> EmbeddingBag:  # fmt: skip
        """A layer with the table ``embeddings`` (num_embeddings, embedding_dim), which learns if not ``freeze``."""
        size, width = table_shape("EmbeddingBag.from_pretrained", embeddings)
        found = cls(
            size, width, max_norm, norm_type, scale_grad_by_freq, mode, sparse, _weight=embeddings,
            include_last_offset=include_last_offset, padding_idx=padding_idx,
        )  # fmt: skip
        found.weight.requires_grad = not boolean(freeze, "EmbeddingBag.from_pretrained: freeze")
        return found

    def forward(
        self, input: Tensor, offsets: Tensor | None = None, per_sample_weights: Tensor | None = None
    ) -> Tensor:  # fmt: skip
        found: Tensor = embedding_bag(
            input, self.weight, offsets, self.max_norm, self.norm_type, self.scale_grad_by_freq, self.mode, False,
            per_sample_weights, self.include_last_offset, self.padding_idx,
        )  # fmt: skip
        return found

    def extra_repr(self) -> str:
        last = ", include_last_offset=True" if self.include_last_offset else ""
        return f"{super().extra_repr()}, mode={self.mode!r}{last}"
