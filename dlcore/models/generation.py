"""Text from a model: a cache of keys and values, sampling, and `generate`, whose step is recorded once.

Everything that changes from token to token lies in device memory: the last token, how many the cache holds, the state
of the random numbers, the settings of sampling. So a recording of one step stands for all steps, however much of the
cache is in use, for other prompts and for other numbers in the settings.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from dlcore import _C
from dlcore._arguments import calling, instance, integer, number, operand
from dlcore._autograd import no_grad
from dlcore._capture import Captured
from dlcore._device import Device
from dlcore._operations import (
    add,
    amin,
    argmax,
    cumsum,
    div,
    eq,
    ge,
    log,
    logical_and,
    lt,
    maximum,
    mul,
    neg,
    softmax,
    sort,
    sub,
    where,
)
from dlcore._operations import max as max_
from dlcore._recordable import Recordable
from dlcore._tensor import Tensor, arange, tensor, zeros
from dlcore.dtypes import DType, bool_, float32, int64
from dlcore.errors import ShapeError
from dlcore.nn.module import Module, device_of
from dlcore.ops.limits import checked
from dlcore.random import drawn_seed, uniform
from dlcore.random.generator import Generator

__all__ = ["KVCache", "generate", "stream"]


class KVCache:
    """The keys and values of the tokens that a model has read: of each layer (B, heads, context, head size) of both.

    ``position``: how many tokens it holds, int64 () in device memory. A model appends to it in place; ``model.cache()``
    makes one, and ``reset()`` empties it.

    >>> model = dl.models.GPT(vocabulary=65, layers=1, heads=2, width=8, context=16)
    >>> cache = model.cache()
    >>> with dl.no_grad():
    ...     logits = model(dl.tensor([[1, 2, 3]]), cache)
    >>> logits.shape, len(cache)
    ((1, 3, 65), 3)
    """

    def __init__(self, layers: int, shape: tuple[int, int, int, int], dtype: DType, device: Device):
        self.keys = [zeros(shape, dtype=dtype, device=device) for _ in range(layers)]
        self.values = [zeros(shape, dtype=dtype, device=device) for _ in range(layers)]
        self.position = zeros((), dtype=int64, device=device)

    @property
    def shape(self) -> tuple[int, ...]:
        """(B, heads, context, head size)."""
        found: tuple[int, ...] = self.keys[0].shape
        return found

    def __len__(self) -> int:
        return int(self.position.item())

    def reset(self) -> None:
        """Forget all tokens."""
        self.position.fill_(0)

    def room(self, batch: int, tokens: int) -> Behind:
        """Places for ``tokens`` more of each of ``batch`` texts. Raises ValueError where there is no room for them, in
        replays too, before anything is written, and ShapeError for another number of texts."""
        if batch != self.shape[0]:
            raise ShapeError(f"KVCache: a batch of {batch} for a cache of {self.shape[0]}")
        if not _C.is_recording() and len(self) + tokens > self.shape[2]:
            raise ValueError(f"KVCache: it is full: it holds {len(self)} of {self.shape[2]} tokens, and {tokens} come")
        return Behind(self, tokens)


class Behind:
    """Places for tokens behind those that a cache holds: their ``positions`` (T,), and in ``lengths`` (1,) how many
    tokens there are with them, both in device memory."""

    def __init__(self, cache: KVCache, tokens: int):
        self.cache, device = cache, cache.position.device
        with calling("KVCache"):
            self.lengths = checked(add(cache.position.reshape(1), tokens), tokens, cache.shape[2], "cache")
        self.positions = add(cache.position, arange(tokens, device=device))

    def append(self, layer: int, key: Any, value: Any) -> tuple[Tensor, Tensor]:
        """Write ``key`` and ``value`` (B, heads, T, head size) to their places; returns all of the layer's."""
        keys, values = self.cache.keys[layer], self.cache.values[layer]
        keys[:, :, self.positions] = key
        values[:, :, self.positions] = value
        return keys, values

    def advance(self) -> None:
        """Count them, behind the last layer."""
        self.cache.position.copy_(self.lengths[0])


class _Settings(NamedTuple):
    """How tokens are drawn."""

    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repetition_penalty: float

    @staticmethod
    def checked(
        name: str, vocabulary: int, temperature: Any, top_k: Any, top_p: Any, min_p: Any, penalty: Any
    ) -> _Settings:
        """Those that are not given change nothing. Raises ValueError for one that is out of range."""
        k = vocabulary if top_k is None else integer(top_k, f"{name}: top_k", 1)
        given = {"temperature": temperature, "top_p": 1.0 if top_p is None else top_p,
                 "min_p": 0.0 if min_p is None else min_p, "repetition_penalty": penalty}  # fmt: skip
        found = {what: number(v, f"{name}: {what}") for what, v in given.items()}
        ranges = {
            "temperature": (0 <= found["temperature"] < math.inf, "a finite number from 0 on"),
            "top_p": (0 < found["top_p"] <= 1, "in (0, 1]"),
            "min_p": (0 <= found["min_p"] <= 1, "in [0, 1]"),
            "repetition_penalty": (0 < found["repetition_penalty"] < math.inf, "a finite number above 0"),
        }
        for what, (fits, wanted) in ranges.items():
            if not fits:
                raise ValueError(f"{name}: {what} is {found[what]}, not {wanted}")
        if found["top_p"] == 1:
            found["top_p"] = 2.0  # sums of rounded probabilities may reach 1 before the last
        return _Settings(top_k=min(k, vocabulary), **found)


class _Decoder(Recordable):
    """A model with a cache, and its recorded steps: kept with the model for the next text."""

    def __init__(self, model: Any, batch: int):
        self.model, self.cache, self.device = model, model.cache(batch), device_of(model)
        self.token = zeros((batch, 1), dtype=int64, device=self.device)
        self.seen = zeros((batch, model.vocabulary), dtype=bool_, device=self.device)
        self.settings = zeros((5,), dtype=float32, device=self.device)
        self.generator = Generator(0, self.device)
        self.greedy, self.sorted, self.penalised = True, False, False
        self.step = Captured(self._step, strict=False, depends=(model, self))
        self.refill = Captured(self.read, strict=False, depends=(model, self))

    def recorded_state(self) -> Any:
        """Which parts sampling has; all numbers are in tensors, which stay the same ones."""
        return self.greedy, self.sorted, self.penalised

    def recorded_parts(self) -> Any:
        """There are no others."""
        return ()

    def fits(self, batch: int) -> bool:
        """Whether it is for so many texts and the model as it is now."""
        weight = next(self.model.parameters())
        cached = self.cache.keys[0]
        return self.cache.shape[0] == batch and weight.dtype is cached.dtype and weight.device is cached.device

    def begin(self, settings: _Settings, seed: int, tokens: np.ndarray[Any, Any]) -> None:
        """Before the first token of a text that begins with ``tokens`` (B, T)."""
        vocabulary = self.model.vocabulary
        self.greedy, self.penalised = settings.temperature == 0, settings.repetition_penalty != 1
        self.sorted = settings.top_k < vocabulary or settings.top_p <= 1
        numbers = settings._replace(temperature=settings.temperature or 1.0)
        self.settings[...] = tensor(list(numbers), float32, device=self.device)
        self.generator.manual_seed(seed)
        if self.penalised:
            seen = np.zeros(self.seen.shape, bool)
            np.put_along_axis(seen, tokens, True, 1)
            self.seen[...] = tensor(seen, device=self.device)

    def _step(self, out: Tensor) -> None:
        """Read the last token, and draw the next one into the first elements of ``out``, one for each text."""
        self._draw(self.model(self.token, self.cache), out)

    def read(self, tokens: Tensor, out: Tensor) -> None:
        """Read ``tokens`` (B, T) into the emptied cache, and draw the next one in the same way."""
        self.cache.reset()
        self._draw(self.model(tokens, self.cache), out)

    def _draw(self, logits: Any, out: Tensor) -> None:
        found = self._drawn(logits[:, -1].astype(float32))
        out[: found.shape[0]] = found
        self.token[...] = found.reshape(-1, 1)

    def _drawn(self, logits: Any) -> Any:
        """A token for each row of ``logits`` (B, V)."""
        if self.penalised:
            penalty = self.settings[4]
            logits = where(self.seen, where(lt(logits, 0), mul(logits, penalty), div(logits, penalty)), logits)
        if not self.greedy:
            logits = self._kept(div(logits, self.settings[0]))
            # The largest of logits with Gumbel noise is a draw from their softmax (Gumbel 1954).
            noise = uniform(logits.shape, 2.0**-25, 1.0, device=self.device, generator=self.generator)
            logits = sub(logits, log(neg(log(noise))))
        found = argmax(logits, -1)
        if self.penalised:
            there = arange(self.model.vocabulary, device=self.device)
            self.seen[...] = where(eq(there, found.reshape(-1, 1)), True, self.seen)
        return found

    def _kept(self, logits: Any) -> Any:
        """``logits`` with -inf for the tokens that are not to be drawn."""
        _, top_k, top_p, min_p, _ = (self.settings[k] for k in range(5))
        least = add(max_(logits, -1, True), log(min_p))
        if self.sorted:
            ordered = sort(logits, -1, True)
            among = lt(arange(logits.shape[1], device=self.device), top_k)
            shares = softmax(where(among, ordered, -math.inf), -1)
            kept = logical_and(among, lt(sub(cumsum(shares, -1), shares), top_p))
            least = maximum(least, amin(where(kept, ordered, math.inf), -1, True))
        return where(ge(logits, least), logits, -math.inf)


class _Decoders(list[_Decoder]):
    """Those of a model that no text is using: not copied and not pickled with it."""

    def __reduce__(self) -> Any:
        return _Decoders, ()


# ---- what users call ------------------------------------------------------------------------------------------------


def generate(
    model: Any, prompt: Any, length: int, *, temperature: float = 1.0, top_k: int | None = None,
    top_p: float | None = None, min_p: float | None = None, repetition_penalty: float = 1.0, seed: int | None = None,
) -> Any:  # fmt: skip
    """``prompt`` and ``length`` tokens after it, each drawn from what ``model`` expects: int64 (T + length,).

    ``prompt``: the numbers of one token or more, as a tokenizer gives them; (B, T) for B texts at once.

    temperature: logits are divided by it; at 0 the likeliest token is taken. top_k: only the ``top_k`` likeliest tokens
    (and those as likely as the last of them). top_p: of these, the likeliest that together have this probability
    (Holtzman et al. 2020). min_p: only those with at least this share of the largest probability. repetition_penalty:
    the logits of tokens that are in the text are divided by it, negative ones multiplied (Keskar et al. 2019). seed: of
    the random numbers; None: drawn from the default generator. The same seed gives the same text on one device.

    Keys and values of earlier tokens are kept, and the step from one token to the next is recorded once for the model.
    Where the text has become longer than ``model.context``, the model reads its last ``context // 2`` tokens anew and
    goes on from there. The model is run in evaluation mode, without gradients.

    Raises IndexError for a token that is not in the vocabulary, and ValueError for an empty prompt, a length below 1
    and settings that are out of range.

    >>> model = dl.models.GPT(vocabulary=65, layers=1, heads=2, width=8, context=16)
    >>> dl.models.generate(model, [1, 2, 3], 20, seed=0).shape
    (23,)
    """
    sampling = temperature, top_k, top_p, min_p, repetition_penalty
    text = _Text("generate", model, prompt, length, sampling, seed)
    for _ in text.drawn(text.length):
        pass
    return text.ids[0] if text.alone else text.ids


def stream(
    model: Any, prompt: Any, length: int, *, temperature: float = 1.0, top_k: int | None = None,
    top_p: float | None = None, min_p: float | None = None, repetition_penalty: float = 1.0, seed: int | None = None,
) -> Iterator[Any]:  # fmt: skip
    """The tokens that `generate` adds, one by one as they are drawn: an int each, or int64 (B,) for several texts.

    Arguments and errors are those of `generate`, and so are the tokens. One may stop at any of them.

    >>> model = dl.models.GPT(vocabulary=65, layers=1, heads=2, width=8, context=16)
    >>> [type(token) for token in dl.models.stream(model, [1, 2, 3], 2)]
    [<class 'int'>, <class 'int'>]
    """
    sampling = temperature, top_k, top_p, min_p, repetition_penalty
    text = _Text("stream", model, prompt, length, sampling, seed)
    return (int(new[0, 0]) if text.alone else new[:, 0].copy() for new in text.drawn(1))


class _Text:
    """A text, or several of equal length, that a model goes on with."""

    def __init__(self, name: str, model: Any, prompt: Any, length: Any, sampling: tuple[Any, ...], seed: Any):
        self.model = instance(model, Module, f"{name}: model", "a model")
        if not (hasattr(model, "vocabulary") and hasattr(model, "cache")):
            raise TypeError(f"{name}: model is a {type(model).__name__}, without the vocabulary and cache of a GPT")
        self.length = integer(length, f"{name}: length", 1)
        ids = _prompt(name, prompt, model.vocabulary)
        self.settings = _Settings.checked(name, model.vocabulary, *sampling)
        self.seed = drawn_seed() if seed is None else integer(seed, f"{name}: seed")
        self.alone = ids.ndim == 1
        ids = np.atleast_2d(ids)
        self.known = ids.shape[1]
        self.ids = np.concatenate([ids, np.zeros((len(ids), self.length), np.int64)], 1)

    def drawn(self, most: int) -> Iterator[np.ndarray[Any, Any]]:
        """Draw all tokens, in pieces (B, n) of at most ``most``, which are parts of ``ids``."""
        batch = len(self.ids)
        decoder, evaluated = _taken(self.model, batch), _Evaluated(self.model)
        try:
            decoder.begin(self.settings, self.seed, self.ids[:, : self.known])
            position, first = decoder.cache.shape[2], True
            while self.known < self.ids.shape[1]:
                room = decoder.cache.shape[2] - position
                n = min(room, most, self.ids.shape[1] - self.known) or 1
                # Rows of whole 16 bytes: kernels of a GPU are specialised for how arguments are aligned.
                out = zeros((n, batch + batch % 2), dtype=int64, device=decoder.device)
                with evaluated, no_grad():
                    if room:
                        decoder.step.sweep(out)
                        position += n
                    else:
                        position = self._read(decoder, out[0], first)
                first = False
                new = self.ids[:, self.known : self.known + n]
                new[...] = np.asarray(out)[:, :batch].T
                self.known += n
                yield new
        finally:
            vars(self.model)["_decoders"].append(decoder)

    def _read(self, decoder: _Decoder, out: Tensor, first: bool) -> int:
        """Read the end of the text into the cache, and draw one token; returns how many tokens the cache holds."""
        context = decoder.cache.shape[2]
        count = min(self.known, context) if first else max(context // 2, 1)
        tokens = tensor(self.ids[:, self.known - count : self.known], device=decoder.device)
        (decoder.read if first else decoder.refill)(tokens, out)  # no recording for each length of a prompt
        return count


def _taken(model: Any, batch: int) -> _Decoder:
    """A decoder that no other text uses."""
    free = vars(model).setdefault("_decoders", _Decoders())
    free[:] = [decoder for decoder in free if decoder.model is model and decoder.fits(decoder.cache.shape[0])]
    found = next((k for k, decoder in enumerate(free) if decoder.fits(batch)), None)
    return _Decoder(model, batch) if found is None else free.pop(found)


class _Evaluated:
    """The model in evaluation mode, and after that as it was.

    Recordings are not told: whoever replays one that was made in this mode is in this mode.
    """

    def __init__(self, model: Module):
        self.states = [vars(module) for module in model.modules()]

    def __enter__(self) -> None:
        self.before = [state.get("training") for state in self.states]
        for state in self.states:
            state["training"] = False

    def __exit__(self, *_: object) -> None:
        for state, mode in zip(self.states, self.before, strict=True):
            if mode is None:
                del state["training"]  # it is the class that says
            else:
                state["training"] = mode


def _prompt(name: str, prompt: Any, vocabulary: int) -> np.ndarray[Any, Any]:
    """The tokens of a prompt, checked: int64 (T,) or (B, T)."""
    if isinstance(prompt, str):
        raise TypeError(f"{name}: prompt is a text; encode it first: tokenizer.encode(prompt)")
    found = np.asarray(operand(prompt, name, "prompt").detach()) if not isinstance(prompt, np.ndarray) else prompt
    if found.ndim not in (1, 2):
        raise ShapeError(f"{name}: prompt has shape {found.shape}, not (tokens,) or (texts, tokens)")
    if not found.size:
        raise ShapeError(f"{name}: prompt has shape {found.shape}: at least one token is needed to begin with")
    if found.dtype.kind not in "iu":
        raise TypeError(f"{name}: prompt is of dtype {found.dtype}, not integers")
    if (bad := np.argwhere((found < 0) | (found >= vocabulary))).size:
        at = tuple(int(k) for k in bad[0])
        place = at[0] if len(at) == 1 else at
        raise IndexError(f"{name}: token {found[at]} at position {place} is not in the vocabulary of {vocabulary}")
    return found.astype(np.int64)
