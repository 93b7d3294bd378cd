"""Tokenizers of Hugging Face: any file that their library `tokenizers` reads (``pip install 'dlcore[text]'``)."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from dlcore._arguments import instance, shown
from dlcore._files import naming
from dlcore._recordable import Recordable
from dlcore.data.folders import as_path
from dlcore.data.transforms import register

__all__ = ["SubwordTokenizer", "load_tokenizer"]


def load_tokenizer(path: Any) -> SubwordTokenizer:
    """The tokenizer in a file as the library `tokenizers` writes it: the "tokenizer.json" of a published model.

    Raises ImportError where `tokenizers` is missing (``pip install 'dlcore[text]'``), FileNotFoundError, and ValueError
    for a file that holds none.
    """
    path = as_path(path, "load_tokenizer: path")
    try:
        with naming(path):
            text = path.read_text(encoding="utf-8")
        return SubwordTokenizer(text)
    except ValueError as error:
        raise ValueError(f"load_tokenizer: {path}: {error}") from None


@register
class SubwordTokenizer(Recordable):
    """Parts of words as tokens, by the rules in ``rules``, the JSON text of a tokenizer of the library `tokenizers`.

    `load_tokenizer` reads one from a file. It can be saved with a model, as a transform can. Texts of any length are
    encoded whole, whatever limit and padding the rules have.
    """

    recorded_methods = frozenset(("size",))

    def __init__(self, rules: str):
        try:
            from tokenizers import Tokenizer
        except ImportError:
            raise ImportError("SubwordTokenizer: tokenizers is missing: pip install 'dlcore[text]'") from None
        self._rules = instance(rules, str, "SubwordTokenizer: rules", "a text")
        try:
            self._tokenizer = Tokenizer.from_str(rules)
        except Exception as error:  # it raises no narrower class
            raise ValueError(f"it holds no tokenizer: {error}") from None
        self._tokenizer.no_truncation()  # published files often cut texts to the context of their model,
        self._tokenizer.no_padding()  # and fill up short ones
        self._size = max(self._tokenizer.get_vocab().values(), default=-1) + 1

    def recorded_state(self) -> Any:
        """A tokenizer does not change."""
        return ()

    def recorded_parts(self) -> Any:
        """Nothing that a step may read can change."""
        return ()

    @property
    def size(self) -> int:
        """How many numbers of tokens there are: the largest one, and 1."""
        return self._size

    def __len__(self) -> int:
        return self._size

    def encode(self, text: str) -> np.ndarray[Any, Any]:
        """The numbers of the tokens of ``text``, without the special ones that begin or end a text: int64 (n,).

        Raises ValueError for half of a surrogate pair, which is no character.
        """
        if not isinstance(text, str):
            raise TypeError(f"SubwordTokenizer: {shown(text)} is not a text")
        if half := re.search("[\ud800-\udfff]", text):
            raise ValueError(f"SubwordTokenizer: {half[0]!r} at {half.start()} is half of a surrogate pair")
        return np.array(self._tokenizer.encode(text, add_special_tokens=False).ids, np.int64)

    def decode(self, numbers: Any) -> str:
        """The text of ``numbers``. Raises IndexError for a number that no token has."""
        found = np.asarray(numbers)
        if found.ndim != 1 or (found.size and found.dtype.kind not in "iu"):
            raise TypeError(f"SubwordTokenizer: numbers of tokens are a vector of integers, not {shown(numbers)}")
        if (bad := np.flatnonzero((found < 0) | (found >= self._size))).size:
            raise IndexError(f"SubwordTokenizer: {found[bad[0]]} at {bad[0]} is no number of {self._size} tokens")
        text: str = self._tokenizer.decode(found.tolist(), skip_special_tokens=False)
        return text

    __call__ = encode

    def config(self) -> dict[str, Any]:
        """The arguments that make this tokenizer again."""
        return {"rules": self._rules}

    def __reduce__(self) -> Any:
        return type(self), (self._rules,)

    def __repr__(self) -> str:
        return f"SubwordTokenizer({self._size} tokens)"
