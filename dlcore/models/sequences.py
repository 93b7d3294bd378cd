"""Models of sequences of tokens: a Transformer that classifies them, an LSTM that labels each token."""

from __future__ import annotations

from typing import Any

from dlcore import nn
from dlcore._arguments import integer
from dlcore._tensor import Tensor, empty
from dlcore.errors import ShapeError
from dlcore.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

__all__ = ["LSTMTagger", "TransformerClassifier"]


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
        self.length = integer(length, f"{name}: length", 1)
        self.embedding = nn.Embedding(tokens, width, padding_idx=integer(padding, f"{name}: padding"))
        self.padding = self.embedding.padding_idx  # -1 is the last token here
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


class LSTMTagger(nn.Module):
    """A label for each token, by LSTM layers that read in both directions: (N, L) -> (N, L, labels).

    Embeddings of ``width``, ``layers`` layers of ``hidden`` units each way, a linear layer. Tokens that are ``padding``
    stand at the end of a sequence, and are not read; what is given for them depends on the linear layer alone.

    >>> tokens = dl.tensor([[3, 1, 4, 0], [1, 5, 0, 0]])
    >>> dl.models.LSTMTagger(10, 3, width=8, hidden=16)(tokens).shape
    (2, 4, 3)
    """

    def __init__(
        self, tokens: int, labels: int, width: int = 64, hidden: int = 128, layers: int = 1, dropout: float = 0.0,
        padding: int = 0,
    ):  # fmt: skip
        self.embedding = nn.Embedding(tokens, width, padding_idx=integer(padding, "LSTMTagger: padding"))
        self.padding = self.embedding.padding_idx  # -1 is the last token here
        self.lstm = nn.LSTM(width, hidden, layers, batch_first=True, dropout=dropout, bidirectional=True)
        self.head = nn.Linear(2 * hidden, integer(labels, "LSTMTagger: labels", 1))

    def forward(self, tokens: Tensor) -> Any:
        """Integers (N, L) to logits (N, L, labels)."""
        if tokens.ndim != 2:
            raise ShapeError(f"LSTMTagger: tokens have shape {tokens.shape}, not (N, L)")
        lengths = (tokens != self.padding).sum(1).clip(1)  # a sequence has a step at least
        packed = pack_padded_sequence(self.embedding(tokens), lengths, batch_first=True, enforce_sorted=False)
        found, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=tokens.shape[1])
        return self.head(found)
