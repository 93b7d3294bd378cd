"""Transformers (Vaswani et al. 2017): encoder and decoder layers, stacks of them, and both together.

Arguments and names of parameters are PyTorch's. Masks are those of `MultiheadAttention`: bools are True where a
position is hidden, numbers are added to the scores.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

from dlcore._arguments import boolean, instance, integer, operand, shown
from dlcore._creation import full
from dlcore._operations import triu
from dlcore._tensor import Tensor
from dlcore.dtypes import as_dtype, default_float
from dlcore.errors import ShapeError
from dlcore.nn import init
from dlcore.nn.attention import MultiheadAttention
from dlcore.nn.containers import ModuleList
from dlcore.nn.layers import Dropout, Linear
from dlcore.nn.module import Module
from dlcore.nn.norm import LayerNorm
from dlcore.ops.activation import gelu, relu

__all__ = ["Transformer", "TransformerDecoder", "TransformerDecoderLayer", "TransformerEncoder",
           "TransformerEncoderLayer"]  # fmt: skip

Activation = str | Callable[[Tensor], Tensor]


class _Layer(Module):
    """What an encoder and a decoder layer share: the linear layers, the norms and the dropout around each part."""

    def __init__(
        self, parts: tuple[str, ...], d_model: int, nhead: int, dim_feedforward: int, dropout: float,
        activation: Activation, layer_norm_eps: float, batch_first: bool, norm_first: bool, bias: bool, device: Any,
        dtype: Any,
    ):  # fmt: skip
        name = type(self).__name__
        kind = None if dtype is None else as_dtype(dtype, f"{name}: dtype")
        made: dict[str, Any] = {"device": device, "dtype": kind}
        width = integer(d_model, f"{name}: d_model", 1)
        inner = integer(dim_feedforward, f"{name}: dim_feedforward", 1)
        for part in parts:
            heads = MultiheadAttention(width, nhead, dropout, bias, batch_first=batch_first, **made)
            setattr(self, part, heads)
        self.linear1 = Linear(width, inner, bias, **made)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(inner, width, bias, **made)
        self.norm_first = boolean(norm_first, f"{name}: norm_first")
        for k in range(1, len(parts) + 2):
            setattr(self, f"norm{k}", LayerNorm(width, layer_norm_eps, bias=bias, **made))
        for k in range(1, len(parts) + 2):
            setattr(self, f"dropout{k}", Dropout(dropout))
        self.activation = _activation(activation, name)

    def _around(self, number: int, x: Tensor, part: Callable[[Tensor], Tensor]) -> Tensor:
        """x + dropout(part(norm(x))), or norm(x + dropout(part(x))): residual connection ``number``."""
        norm, dropped = getattr(self, f"norm{number}"), getattr(self, f"dropout{number}")
        if self.norm_first:
            return x + dropped(part(norm(x)))
        found: Tensor = norm(x + dropped(part(x)))
        return found

    def _feedforward(self, x: Tensor) -> Any:
        return self.linear2(self.dropout(self.activation(self.linear1(x))))


def _activation(given: Activation, name: str) -> Callable[[Tensor], Tensor]:
    known: dict[Any, Callable[[Tensor], Tensor]] = {"relu": relu, "gelu": gelu}
    if isinstance(given, str):
        if given not in known:
            raise ValueError(f"{name}: activation {given!r} is not one of 'relu', 'gelu' or a function")
        return known[given]
    if not callable(given) or isinstance(given, type):
        raise TypeError(f"{name}: activation {shown(given)} is not a name or a function")
    return given


class TransformerEncoderLayer(_Layer):
    """Self-attention, then two linear layers, each within a residual connection with normalisation.

    d_model: the width of inputs and outputs. nhead: the number of heads, which divides it. dim_feedforward: the width
    between the linear layers. dropout: after both parts, between the linear layers and of the attention's weights.
    activation: "relu", "gelu" or a function. norm_first: normalised is what enters a part, not what leaves the sum.
    batch_first: tensors are (N, L, d_model), not (L, N, d_model).

    >>> layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
    >>> layer(dl.ones(2, 5, 16)).shape
    (2, 5, 16)
    """

    def __init__(
        self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1,
        activation: Activation = "relu", layer_norm_eps: float = 1e-5, batch_first: bool = False,
        norm_first: bool = False, bias: bool = True, device: Any = None, dtype: Any = None,
    ):  # fmt: skip
        super().__init__(
            ("self_attn",), d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first,
            norm_first, bias, device, dtype,
        )  # fmt: skip

    self_attn: MultiheadAttention

    def forward(
        self, src: Tensor, src_mask: Any = None, src_key_padding_mask: Any = None, is_causal: bool = False
    ) -> Tensor:
        """(N, L, d_model) or (L, N, d_model), or (L, d_model) of one sequence, to the same shape.

        ``is_causal``: position i sees 0 to i, with no mask to be given. Masks are those of `MultiheadAttention`.
        """
        src = operand(src, type(self).__name__, "src")

        def attend(x: Tensor) -> Tensor:
            return self.self_attn(x, x, x, src_key_padding_mask, False, src_mask, is_causal=is_causal)[0]

        return self._around(2, self._around(1, src, attend), self._feedforward)


class TransformerDecoderLayer(_Layer):
    """Self-attention, attention to what an encoder gave, then two linear layers, each within a residual connection.

    The arguments are those of `TransformerEncoderLayer`.

    >>> layer = nn.TransformerDecoderLayer(16, 4, 32, batch_first=True)
    >>> layer(dl.ones(2, 5, 16), dl.ones(2, 7, 16), tgt_is_causal=True).shape
    (2, 5, 16)
    """

    def __init__(
        self, d_model: int, nhead: int, dim_feedforward: int = 2048, dropout: float = 0.1,
        activation: Activation = "relu", layer_norm_eps: float = 1e-5, batch_first: bool = False,
        norm_first: bool = False, bias: bool = True, device: Any = None, dtype: Any = None,
    ):  # fmt: skip
        super().__init__(
            ("self_attn", "multihead_attn"), d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps,
            batch_first, norm_first, bias, device, dtype,
        )  # fmt: skip

    self_attn: MultiheadAttention
    multihead_attn: MultiheadAttention

    def forward(
        self, tgt: Tensor, memory: Tensor, tgt_mask: Any = None, memory_mask: Any = None,
        tgt_key_padding_mask: Any = None, memory_key_padding_mask: Any = None, tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:  # fmt: skip
        """tgt (N, L, d_model), memory (N, S, d_model) to (N, L, d_model); without ``batch_first`` (L, N, d_model).

        Masks are those of `MultiheadAttention`; ``tgt_is_causal``: position i sees 0 to i, with no mask to be given.
        """
        tgt = operand(tgt, type(self).__name__, "tgt")

        def attend(x: Tensor) -> Tensor:
            return self.self_attn(x, x, x, tgt_key_padding_mask, False, tgt_mask, is_causal=tgt_is_causal)[0]

        def read(x: Tensor) -> Tensor:
            return self.multihead_attn(
                x, memory, memory, memory_key_padding_mask, False, memory_mask, is_causal=memory_is_causal
            )[0]

        return self._around(3, self._around(2, self._around(1, tgt, attend), read), self._feedforward)


def _copies(layer: Any, count: Any, name: str) -> ModuleList:
    """``count`` copies of a layer, which start with the same weights, as in PyTorch."""
    instance(layer, Module, f"{name}: layer", "a module")
    return ModuleList([copy.deepcopy(layer) for _ in range(integer(count, f"{name}: num_layers", 0))])


class TransformerEncoder(Module):
    """``num_layers`` copies of ``encoder_layer``, one after the other, then ``norm``, if there is one.

    All copies start with the same weights. ``enable_nested_tensor`` and ``mask_check`` are taken as PyTorch has them,
    and change nothing.

    >>> layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
    >>> nn.TransformerEncoder(layer, 2)(dl.ones(2, 5, 16)).shape
    (2, 5, 16)
    """

    def __init__(
        self, encoder_layer: Module, num_layers: int, norm: Module | None = None, enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ):  # fmt: skip
        self.layers = _copies(encoder_layer, num_layers, "TransformerEncoder")
        self.norm = instance(norm, Module | None, "TransformerEncoder: norm", "a module or None")
        boolean(enable_nested_tensor, "TransformerEncoder: enable_nested_tensor")
        boolean(mask_check, "TransformerEncoder: mask_check")

    def forward(
        self, src: Tensor, mask: Any = None, src_key_padding_mask: Any = None, is_causal: bool | None = None
    ) -> Any:
        """What the last layer makes of ``src``. ``is_causal`` None is False: a mask that is given is used as it is."""
        for layer in self.layers:
            src = layer(src, src_mask=mask, src_key_padding_mask=src_key_padding_mask, is_causal=bool(is_causal))
        return src if self.norm is None else self.norm(src)


class TransformerDecoder(Module):
    """``num_layers`` copies of ``decoder_layer``, one after the other, then ``norm``, if there is one.

    All copies start with the same weights.

    >>> layer = nn.TransformerDecoderLayer(16, 4, 32, batch_first=True)
    >>> nn.TransformerDecoder(layer, 2)(dl.ones(2, 5, 16), dl.ones(2, 7, 16)).shape
    (2, 5, 16)
    """

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None):
        self.layers = _copies(decoder_layer, num_layers, "TransformerDecoder")
        self.norm = instance(norm, Module | None, "TransformerDecoder: norm", "a module or None")

    def forward(
        self, tgt: Tensor, memory: Tensor, tgt_mask: Any = None, memory_mask: Any = None,
        tgt_key_padding_mask: Any = None, memory_key_padding_mask: Any = None, tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Any:  # fmt: skip
        """What the last layer makes of ``tgt`` and ``memory``; the arguments are those of `TransformerDecoderLayer`."""
        for layer in self.layers:
            tgt = layer(
                tgt, memory, tgt_mask=tgt_mask, memory_mask=memory_mask, tgt_key_padding_mask=tgt_key_padding_mask,
                memory_key_padding_mask=memory_key_padding_mask, tgt_is_causal=bool(tgt_is_causal),
                memory_is_causal=memory_is_causal,
            )  # fmt: skip
        return tgt if self.norm is None else self.norm(tgt)


class Transformer(Module):
    """An encoder of ``src`` and a decoder of ``tgt``, which reads what the encoder gives (Vaswani et al. 2017).

    ``custom_encoder`` and ``custom_decoder`` take the place of the stacks of layers. The other arguments are those of
    `TransformerEncoderLayer`. All weights of two axes and more start Xavier uniform.

    >>> model = nn.Transformer(16, 4, 1, 1, 32, batch_first=True)
    >>> model(dl.ones(2, 7, 16), dl.ones(2, 5, 16), tgt_is_causal=True).shape
    (2, 5, 16)
    """

    def __init__(
        self, d_model: int = 512, nhead: int = 8, num_encoder_layers: int = 6, num_decoder_layers: int = 6,
        dim_feedforward: int = 2048, dropout: float = 0.1, activation: Activation = "relu",
        custom_encoder: Module | None = None, custom_decoder: Module | None = None, layer_norm_eps: float = 1e-5,
        batch_first: bool = False, norm_first: bool = False, bias: bool = True, device: Any = None, dtype: Any = None,
    ):  # fmt: skip
        given = (
            d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias, device,
            dtype,
        )  # fmt: skip
        made: dict[str, Any] = {
            "bias": bias, "device": device, "dtype": None if dtype is None else as_dtype(dtype, "Transformer: dtype"),
        }  # fmt: skip
        self.d_model = integer(d_model, "Transformer: d_model", 1)
        self.nhead = integer(nhead, "Transformer: nhead", 1)
        self.batch_first = boolean(batch_first, "Transformer: batch_first")
        for name, custom in (("custom_encoder", custom_encoder), ("custom_decoder", custom_decoder)):
            instance(custom, Module | None, f"Transformer: {name}", "a module or None")
        self.encoder = custom_encoder or TransformerEncoder(
            TransformerEncoderLayer(*given), num_encoder_layers, LayerNorm(d_model, layer_norm_eps, **made)
        )
        self.decoder = custom_decoder or TransformerDecoder(
            TransformerDecoderLayer(*given), num_decoder_layers, LayerNorm(d_model, layer_norm_eps, **made)
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights of two axes and more anew: Xavier uniform."""
        for parameter in self.parameters():
            if parameter.ndim > 1:
                init.xavier_uniform_(parameter)

    def forward(
        self, src: Tensor, tgt: Tensor, src_mask: Any = None, tgt_mask: Any = None, memory_mask: Any = None,
        src_key_padding_mask: Any = None, tgt_key_padding_mask: Any = None, memory_key_padding_mask: Any = None,
        src_is_causal: bool | None = None, tgt_is_causal: bool | None = None, memory_is_causal: bool = False,
    ) -> Any:  # fmt: skip
        """src (N, S, d_model), tgt (N, L, d_model) to (N, L, d_model); without ``batch_first`` (S, N, d_model).

        The masks of ``src`` are (S, S) and (N, S), those of ``tgt`` (L, L) and (N, L), those of what the decoder reads
        (L, S) and (N, S). ``tgt_is_causal=True`` needs no ``tgt_mask``.
        """
        src, tgt = operand(src, "Transformer", "src"), operand(tgt, "Transformer", "tgt")
        self._check(src, tgt)
        memory = self.encoder(src, mask=src_mask, src_key_padding_mask=src_key_padding_mask, is_causal=src_is_causal)
        return self.decoder(
            tgt, memory, tgt_mask=tgt_mask, memory_mask=memory_mask, tgt_key_padding_mask=tgt_key_padding_mask,
            memory_key_padding_mask=memory_key_padding_mask, tgt_is_causal=tgt_is_causal,
            memory_is_causal=memory_is_causal,
        )  # fmt: skip

    def _check(self, src: Tensor, tgt: Tensor) -> None:
        """Raises before the encoder runs, where the decoder could not."""
        batch = 0 if self.batch_first else 1
        shapes = f"src {src.shape}, tgt {tgt.shape}"
        if src.ndim != tgt.ndim or src.ndim not in (2, 3):
            raise ShapeError(f"Transformer: takes three axes each, or two each, of one sample: {shapes}")
        if src.ndim == 3 and src.shape[batch] != tgt.shape[batch]:
            raise ShapeError(f"Transformer: axis {batch}, of the batch, differs: {shapes}")
        if src.shape[-1] != self.d_model or tgt.shape[-1] != self.d_model:
            raise ShapeError(f"Transformer: the width is not {self.d_model}: {shapes}")

    @staticmethod
    def generate_square_subsequent_mask(sz: int, device: Any = None, dtype: Any = None) -> Tensor:
        """The mask (sz, sz) with which position i sees 0 to i: -inf above the diagonal, 0 elsewhere.

        >>> nn.Transformer.generate_square_subsequent_mask(2)
        tensor([[  0., -inf],
                [  0.,   0.]])
        """
        n = integer(sz, "generate_square_subsequent_mask: sz", 0)
        kind = default_float() if dtype is None else as_dtype(dtype, "generate_square_subsequent_mask: dtype")
        hidden: Tensor = triu(full((n, n), -math.inf, dtype=kind, device=device), 1)
        return hidden
