"""Text: vocabularies, tokens, and windows of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Self

import numpy as np

from dlcore._arguments import instance, integer, listed, shown
from dlcore._files import naming
from dlcore._recordable import Recordable
from dlcore._tensor import Tensor, arange, tensor
from dlcore.data.columns import native
from dlcore.data.dataset import TensorDataset
from dlcore.data.folders import as_path
from dlcore.data.transforms import register
from dlcore.ops.gather import take

__all__ = ["ByteTokenizer", "CharTokenizer", "TextWindows", "Vocabulary", "read_text"]


def read_text(path: Any) -> str:
    """The text in a UTF-8 file; lines end with a newline, however they end in the file.

    Raises ValueError, with the name of the file and the line, where it is not UTF-8.
    """
    path = as_path(path, "read_text: path")
    with naming(path):
        raw = path.read_bytes()
    return decoded(raw, f"read_text: {path}").removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def decoded(raw: bytes, where: str) -> str:
    """UTF-8 as text; ValueError with the line and the byte where it is none."""
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line, byte = raw.count(b"\n", 0, error.start) + 1, raw[error.start]
        raise ValueError(f"{where}: line {line}: byte 0x{byte:02x} at {error.start} is not UTF-8") from None


@register
class Vocabulary(Recordable):
    """A number for each of some tokens, which are texts: their place in ``tokens``.

    unknown: the token that stands for those that are not among them; None: these are an error. It can be saved with a
    model, as a transform can.

    >>> words = dl.data.Vocabulary.of("the cat and the dog".split())
    >>> words.encode(["the", "dog"]), words.decode([0, 3])
    (array([0, 3]), ['the', 'dog'])
    """

    recorded_methods = frozenset(("size", "tokens", "unknown"))

    def __init__(self, tokens: Iterable[str], unknown: str | None = None):
        name = type(self).__name__
        self._tokens = tuple(tokens)
        if not self._tokens or not all(isinstance(token, str) for token in self._tokens):
            raise TypeError(f"{name}: tokens are one text or more, not {shown(list(self._tokens))}")
        self._numbers = {token: k for k, token in enumerate(self._tokens)}
        if len(self._numbers) != len(self._tokens):
            twice = next(token for token, count in Counter(self._tokens).items() if count > 1)
            raise ValueError(f"{name}: the token {twice!r} is there twice")
        if unknown is not None and unknown not in self._numbers:
            raise ValueError(f"{name}: unknown {shown(unknown)} is none of the tokens")
        self._unknown = unknown

    def recorded_state(self) -> Any:
        """A vocabulary does not change."""
        return ()

    def recorded_parts(self) -> Iterable[Any]:
        """Nothing that a step may read can change."""
        return ()

    @property
    def tokens(self) -> tuple[str, ...]:
        """The tokens in the order of their numbers."""
        return self._tokens

    @property
    def unknown(self) -> str | None:
        """The token that stands for all that are not in the vocabulary, or None."""
        return self._unknown

    @property
    def size(self) -> int:
        """How many tokens there are."""
        return len(self._tokens)

    def __len__(self) -> int:
        return len(self._tokens)

    @classmethod
    def of(cls, tokens: Iterable[str], least: int = 1, size: int | None = None, unknown: str | None = None) -> Self:
        """The vocabulary of ``tokens``, the training part of a text: the most frequent first, equally frequent ones as
        they come.

        least: tokens that occur less often are left out. size: no more tokens than that. unknown: added as number 0.
        """
        least, counts = integer(least, f"{cls.__name__}.of: least", 1), Counter(tokens)
        most = None if size is None else integer(size, f"{cls.__name__}.of: size", 1)
        first = [] if unknown is None else [unknown]
        kept = [token for token, count in counts.most_common() if count >= least and token != unknown]
        return cls([*first, *kept][:most], unknown)

    def encode(self, tokens: Iterable[str]) -> np.ndarray:
        """The numbers of ``tokens``: int64 (n,). Raises ValueError for one that is not there, without ``unknown``."""
        given, other = list(tokens), None if self._unknown is None else self._numbers[self._unknown]
        found = [self._numbers.get(token, other) for token in given]
        if None in found:
            at = found.index(None)
            raise ValueError(f"{type(self).__name__}: token {given[at]!r} at {at} is not in the vocabulary")
        return np.array(found, np.int64)

    def decode(self, numbers: Any) -> Any:
        """The tokens of ``numbers``, as a list. Raises IndexError for a number that no token has."""
        return [self._tokens[k] for k in self._checked(numbers)]

    __call__ = encode

    def _checked(self, numbers: Any) -> np.ndarray:
        found, name = np.asarray(numbers), type(self).__name__
        if found.ndim != 1 or (found.dtype.kind not in "iu" and found.size):
            raise TypeError(f"{name}: numbers of tokens are a vector of integers, not {shown(numbers)}")
        bad = np.flatnonzero((found < 0) | (found >= self.size))
        if bad.size:
            raise IndexError(f"{name}: {found[bad[0]]} at {bad[0]} is no number of {self.size} tokens")
        return found.astype(np.int64)

    def config(self) -> dict[str, Any]:
        """The arguments that make this vocabulary again."""
        return {"tokens": list(self._tokens), "unknown": self._unknown}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.size} tokens)"


@register
class CharTokenizer(Vocabulary):
    """A number for each character: ``encode`` takes a text, ``decode`` gives one.

    >>> characters = dl.data.CharTokenizer.of("hello")
    >>> characters.encode("hole"), characters.decode([1, 0, 2])
    (array([1, 3, 2, 0]), 'hel')
    """

    def __init__(self, tokens: Iterable[str], unknown: str | None = None):
        super().__init__(tokens, unknown)
        if long := [token for token in self._tokens if len(token) != 1]:
            raise ValueError(f"CharTokenizer: {long[0]!r} is not one character")
        points = np.array([ord(token) for token in self._tokens])
        self._places = np.argsort(points)
        self._points = points[self._places]

    @classmethod
    def of(cls, tokens: Iterable[str], least: int = 1, size: int | None = None, unknown: str | None = None) -> Self:
        """The characters of a text in the order of their code points. The arguments are those of `Vocabulary.of`."""
        kept = Vocabulary.of(tokens, least, size, unknown)
        return cls(sorted(kept.tokens), unknown)

    def encode(self, tokens: Iterable[str]) -> np.ndarray:
        """The numbers of the characters of a text: int64 (n,)."""
        text = tokens
        if not isinstance(text, str):
            parts = listed(tokens, "CharTokenizer: text", "characters")
            text = "".join([instance(part, str, "CharTokenizer: character", "a text") for part in parts])
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        at = np.minimum(np.searchsorted(self._points, points), self.size - 1)
        numbers = self._places[at]
        missing = self._points[at] != points
        if missing.any():
            if self._unknown is None:
                k = int(missing.argmax())
                raise ValueError(f"CharTokenizer: character {text[k]!r} at {k} is not in the vocabulary")
            numbers = np.where(missing, self._numbers[self._unknown], numbers)
        return numbers.astype(np.int64)

    def decode(self, numbers: Any) -> str:
        """The text of ``numbers``. Raises IndexError for a number that no character has."""
        return "".join(super().decode(numbers))

    __call__ = encode


@register
class ByteTokenizer:
    """The bytes of UTF-8 as tokens, 256 of them: there is no text that it cannot encode.

    >>> bytes_of = dl.data.ByteTokenizer()
    >>> bytes_of.encode("né"), bytes_of.decode([110, 195, 169])
    (array([110, 195, 169]), 'né')
    """

    size = 256

    def encode(self, text: str) -> np.ndarray:
        """The bytes of ``text``: int64 (n,)."""
        if not isinstance(text, str):
            raise TypeError(f"ByteTokenizer: {shown(text)} is not a text")
        return np.frombuffer(text.encode(errors="surrogatepass"), np.uint8).astype(np.int64)

    def decode(self, numbers: Any) -> str:
        """The text of ``numbers``; bytes that are not UTF-8 become the replacement character."""
        found = np.asarray(numbers)
        if found.ndim != 1 or (found.size and (found.dtype.kind not in "iu" or found.min() < 0 or found.max() > 255)):
            raise TypeError(f"ByteTokenizer: {shown(numbers)} is not a vector of bytes")
        return found.astype(np.uint8).tobytes().decode(errors="replace")

    __call__ = encode

    def config(self) -> dict[str, Any]:
        """There are no arguments."""
        return {}

    def __repr__(self) -> str:
        return "ByteTokenizer()"


class TextWindows(TensorDataset):
    """All windows of ``length`` tokens, each with the window one further as target: both (length,).

    ``tokens``: a vector of integers, such as a tokenizer gives. Every position starts a window: there are
    len(tokens) - length of them, and only the tokens are in memory. Batches are gathered on the device.

    >>> windows = dl.data.TextWindows(np.arange(10), 4)
    >>> len(windows), windows[2]
    (6, (array([2, 3, 4, 5]), array([3, 4, 5, 6])))
    """

    parts = 2

    def __init__(self, tokens: Any, length: int):
        super().__init__(tokens)
        self.length = integer(length, "TextWindows: length", 1)
        array = self.arrays[0]
        if len(array.shape) != 1 or np.dtype(array.dtype.name).kind not in "iu":
            raise TypeError(f"TextWindows: tokens are a vector of integers, not {shown(array)}")
        if array.shape[0] <= self.length:
            raise ValueError(f"TextWindows: {array.shape[0]} tokens have no window of {length} with one more after it")

    @property
    def tokens(self) -> Any:
        """The tokens, (n,)."""
        return self.arrays[0]

    def __len__(self) -> int:
        return int(self.arrays[0].shape[0]) - self.length

    def __getitem__(self, index: Any) -> tuple[Any, Any]:
        start = np.arange(len(self))[np.asarray(index) if isinstance(index, Tensor) else index]
        at = start[..., None] + np.arange(self.length)
        tokens = np.asarray(self.arrays[0])
        return tokens[at], tokens[at + 1]

    def select(self, tensors: tuple[Tensor, ...], rows: Tensor) -> tuple[Tensor, Tensor | None, tuple[Tensor, ...]]:
        """The windows that start at ``rows``, and those one further."""
        at = rows.reshape((-1, 1)) + arange(self.length, device=rows.device)
        return take(tensors[0], at), None, (take(tensors[0], at + 1),)

    def window(self, tensors: tuple[Tensor, ...], rows: slice) -> tuple[Tensor, ...]:
        """The windows of a slice."""
        start, stop, step = rows.indices(len(self))
        x, _, rest = self.select(tensors, arange(start, stop, step, device=tensors[0].device))
        return x, *rest

    def gather(self, rows: Tensor | slice, device: Any = None) -> tuple[Tensor, ...]:
        """The windows ``rows`` as one batch on ``device``."""
        if self.mapped:
            return tuple(tensor(native(part), device=device) for part in self[rows])
        if isinstance(rows, slice):
            return self.window(self.on(device), rows)
        x, _, rest = self.select(self.on(rows.device if device is None else device), rows)
        return x, *rest

    _indexing = (__getitem__, gather)

    def __repr__(self) -> str:
        return f"TextWindows({len(self)} windows of {self.length} tokens)"
