"""Models of sequences of tokens: a Transformer that classifies them."""

from __future__ import annotations

from typing import Any

from dlcore import nn
from dlcore._arguments import integer
from dlcore._tensor import Tensor, empty
from dlcore.errors import ShapeError

__all__ = ["TransformerClassifier"]


class TransformerClassifier(nn.Module):
    """An encoder of tokens whose mean goes through a linear layer: (N, L) -> (N, classes).

    Embeddings of ``width`` and learned positions for ``length`` tokens at most, ``layers`` encoder layers of ``heads``
    heads (normalised first, GELU, ``hidden`` units, 4 ``width`` by default), the mean over the tokens. Tokens that are
    ``padding`` are hidden: they change nothing, and a sequence of them alone has the mean 0.

    >>> tokens = dl.tensor([[3, 1, 4, 0], [1, 5, 0, 0]])
    >>> dl.models.TransformerClassifier(10, 2, length=4, width=8, heads=2)(tokens).shape
    (2, 2)
    """

    def __init__(
        self, tokens: int, classes: int, length: int, width: int = 64, heads: int = 4, layers: int = 2,
        hidden: int | None = None, dropout: float = 0.1, padding: int = 0,
    ):  # fmt: skip
        name = "TransformerClassifier"
        self.padding, self.length = integer(padding, f"{name}: padding"), integer(length, f"{name}: length", 1)
        self.embedding = nn.Embedding(tokens, width, padding_idx=self.padding)
        self.positions = nn.Parameter(empty((self.length, width)))
        self.dropout = nn.Dropout(dropout)
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width if hidden is None else hidden, dropout, "gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width))
        self.head = nn.Linear(width, integer(classes, f"{name}: classes", 1))
        for weight in (self.embedding.weight, self.positions):
            nn.init.normal_(weight, 0.0, 0.02)

    def forward(self, tokens: Tensor) -> Any:
        """Integers (N, L), L at most ``length``, to logits (N, classes)."""
        if tokens.ndim != 2 or tokens.shape[1] > self.length:
            raise ShapeError(f"TransformerClassifier: tokens have shape {tokens.shape}, not (N, L <= {self.length})")
        hidden = tokens == self.padding
        x = self.dropout(self.embedding(tokens) + self.positions[: tokens.shape[1]])
        x = self.encoder(x, src_key_padding_mask=hidden)
        seen = (~hidden).astype(x.dtype).unsqueeze(-1)
        return self.head((x * seen).sum(1) / seen.sum(1).clip(1.0))
