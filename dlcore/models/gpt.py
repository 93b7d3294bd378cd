"""GPT: a decoder of blocks of causal attention and two linear layers (Radford et al. 2019), with later variants."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dlcore import _json, nn
from dlcore._arguments import boolean, choice, instance, integer, number
from dlcore._attention import qkv_attention, scaled_dot_product_attention
from dlcore._checkpoint import load_state
from dlcore._files import naming
from dlcore._operations import gelu, linear, permute, relu, silu, swiglu
from dlcore._tensor import Tensor
from dlcore.errors import DTypeError, ShapeError
from dlcore.models.generation import Behind, KVCache

__all__ = ["GPT", "load_gpt2"]


def _gelu_tanh(x: Tensor) -> Any:
    return gelu(x, "tanh")


_ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "gelu": gelu, "gelu_tanh": _gelu_tanh, "relu": relu, "silu": silu,
    "swiglu": swiglu,
}  # fmt: skip


class Attention(nn.Module):
    """Causal attention of several heads, the queries, keys and values of which come out of one product."""

    def __init__(self, width: int, heads: int, kv_heads: int, bias: bool, dropout: float):
        self.heads, self.kv_heads, self.size, self.dropout = heads, kv_heads, width // heads, dropout
        self.qkv = nn.Linear(width, (heads + 2 * kv_heads) * self.size, bias)
        self.out = nn.Linear(width, width, bias)

    def forward(
        self, x: Tensor, rotary: nn.RotaryEmbedding | None = None, behind: Behind | None = None, layer: int = 0
    ) -> Any:
        """(B, T, width) -> the same; with a cache, behind the tokens that it holds."""
        b, t, width = x.shape
        h, g, dropout = self.heads, self.kv_heads, self.dropout if self.training else 0.0
        qkv = self.qkv(x).reshape(b, t, h + 2 * g, self.size)
        if rotary is not None:  # turns queries and keys
            qkv = rotary(qkv, None if behind is None else behind.cache.position, h + g)
        if behind is None:
            return self.out(qkv_attention(qkv, h, None, dropout, True, num_kv_heads=g).reshape(b, t, width))
        parts = permute(qkv, (0, 2, 1, 3))
        keys, values = behind.append(layer, parts[:, h : h + g], parts[:, h + g :])
        found = scaled_dot_product_attention(
            parts[:, :h], keys, values, None, dropout, True, enable_gqa=True, lower_right=True, lengths=behind.lengths
        )
        return self.out(permute(found, (0, 2, 1, 3)).reshape(b, t, width))


class MLP(nn.Module):
    """Two linear layers with an activation between them; "swiglu": the first is gated (Shazeer 2020)."""

    def __init__(self, width: int, hidden: int, activation: str, bias: bool):
        self.activation = activation
        self.up = nn.Linear(width, hidden * (2 if activation == "swiglu" else 1), bias)
        self.down = nn.Linear(hidden, width, bias)

    def forward(self, x: Tensor) -> Any:
        """(B, T, width) -> the same."""
        inner = self.up(x)
        return self.down(_ACTIVATIONS[self.activation](inner))


class Block(nn.Module):
    """x + attention(norm1(x)), and to that, mlp(norm2(it))."""

    def __init__(self, norm1: nn.Module, attention: Attention, norm2: nn.Module, mlp: MLP, dropout: float):
        self.norm1, self.attention, self.norm2, self.mlp = norm1, attention, norm2, mlp
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, *place: Any) -> Any:
        """(B, T, width) -> the same; ``place``: what `Attention` takes."""
        x = x + self.drop(self.attention(self.norm1(x), *place))
        return x + self.drop(self.mlp(self.norm2(x)))


class GPT(nn.Module):
    """A GPT: tokens (B, T), integers below ``vocabulary``, -> the logits (B, T, vocabulary) of the token after each.

    ``layers`` blocks, each of attention of ``heads`` heads to this token and those before it, and of two linear layers
    with ``hidden`` units between them; every part reads the normalised sum of those before it and adds to it. A token
    sees at most ``context`` tokens, itself among them.

    dropout: of the embeddings, of the weights of attention and of what each part adds. positions: "learned", "rotary"
    (Su et al. 2021) or "none". norm: "layer" or "rms"; affine: whether norms have weights. activation: "gelu",
    "gelu_tanh", "relu", "silu" or "swiglu". kv_heads: fewer heads of keys and values, each for several of queries.
    tied: the table of embeddings is the weight of the last layer, too. bias: whether layers and norms have biases.

    Weights start normal with standard deviation 0.02, those of layers that add to the sum with 0.02 / sqrt(2 layers);
    biases are 0. Names that hold "bias", "norm" or "embedding" are what weight decay commonly leaves alone.

    >>> model = dl.models.GPT(vocabulary=65, layers=2, heads=4, width=32, context=16)
    >>> model(dl.zeros(3, 16, dtype=dl.int64)).shape
    (3, 16, 65)
    """

    _excluded = nn.Module._excluded | {"_decoders"}

    def __init__(
        self, vocabulary: int, layers: int, heads: int, width: int, context: int, dropout: float = 0.0, *,
        positions: str = "learned", norm: str = "layer", activation: str = "gelu", kv_heads: int | None = None,
        hidden: int | None = None, tied: bool = True, bias: bool = True, affine: bool = True, eps: float = 1e-5,
    ):  # fmt: skip
        self.vocabulary, layers = integer(vocabulary, "GPT: vocabulary", 1), integer(layers, "GPT: layers", 1)
        heads, width = integer(heads, "GPT: heads", 1), integer(width, "GPT: width", 1)
        self.context, p = integer(context, "GPT: context", 1), number(dropout, "GPT: dropout")
        grouped = heads if kv_heads is None else integer(kv_heads, "GPT: kv_heads", 1)
        if width % heads:
            raise ValueError(f"GPT: {heads} heads do not divide the width {width}")
        if heads % grouped:
            raise ValueError(f"GPT: {grouped} kv_heads do not divide {heads} heads")
        self.positions = choice(positions, ("learned", "rotary", "none"), "GPT: positions")
        kind = choice(activation, tuple(_ACTIVATIONS), "GPT: activation")
        biased, scaled, tied = boolean(bias, "GPT: bias"), boolean(affine, "GPT: affine"), boolean(tied, "GPT: tied")
        inner = (width * 8 // 3 if kind == "swiglu" else 4 * width) if hidden is None else hidden
        inner, eps = integer(inner, "GPT: hidden", 1), number(eps, "GPT: eps")

        def normalised() -> nn.Module:
            if choice(norm, ("layer", "rms"), "GPT: norm") == "rms":
                return nn.RMSNorm(width, eps, scaled)
            return nn.LayerNorm(width, eps, scaled, biased)

        def block() -> Block:
            attention, mlp = Attention(width, heads, grouped, biased, p), MLP(width, inner, kind, biased)
            return Block(normalised(), attention, normalised(), mlp, p)

        self.token_embedding = nn.Embedding(self.vocabulary, width)
        self.position_embedding = nn.Embedding(self.context, width) if positions == "learned" else None
        turned = positions == "rotary"
        self.rotary = nn.RotaryEmbedding(width // heads, self.context, layout="BTHD") if turned else None
        self.drop = nn.Dropout(p)
        self.blocks = [block() for _ in range(layers)]
        self.norm = normalised()
        self.head = None if tied else nn.Linear(width, self.vocabulary, False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all parameters anew."""
        for name, p in self.named_parameters():
            if p.ndim == 2:
                adds = name.endswith(("attention.out.weight", "mlp.down.weight"))
                nn.init.normal_(p, 0.0, 0.02 / math.sqrt(2 * len(self.blocks)) if adds else 0.02)
            else:
                nn.init.constant_(p, float("norm" in name and name.endswith("weight")))

    def forward(self, tokens: Tensor, cache: KVCache | None = None) -> Any:
        """(B, T) -> (B, T, vocabulary). With a cache the tokens stand behind those that it holds, and are added to it.

        Raises ShapeError for more tokens than ``context``, and IndexError for one outside of the vocabulary.
        """
        self._check(tokens)
        behind = None if cache is None else instance(cache, KVCache, "GPT: cache", "a KVCache").room(*tokens.shape)
        x = self.token_embedding(tokens)
        if (table := self.position_embedding) is not None:
            x = x + (table.weight[: tokens.shape[1]] if behind is None else table(behind.positions))
        x = self.drop(x)
        for layer, block in enumerate(self.blocks):
            x = block(x, self.rotary, behind, layer)
        if behind is not None:
            behind.advance()
        return linear(self.norm(x), self.token_embedding.weight if self.head is None else self.head.weight)

    def cache(self, batch: int = 1) -> KVCache:
        """An empty cache of keys and values for ``batch`` texts of ``context`` tokens."""
        attention, weight = self.blocks[0].attention, self.token_embedding.weight
        shape = (integer(batch, "GPT.cache: batch", 1), attention.kv_heads, self.context, attention.size)
        return KVCache(len(self.blocks), shape, weight.dtype, weight.device)

    def _check(self, tokens: Any) -> None:
        instance(tokens, Tensor, "GPT: tokens", "a tensor")
        if tokens.dtype.kind not in ("int", "uint"):
            raise DTypeError(f"GPT: tokens are of dtype {tokens.dtype.name}, not integers")
        if tokens.ndim != 2 or not tokens.shape[1]:
            raise ShapeError(f"GPT: tokens have shape {tokens.shape}, not (batch, tokens)")
        if tokens.shape[1] > self.context:
            raise ShapeError(f"GPT: {tokens.shape[1]} tokens are more than the context of {self.context}")

    def extra_repr(self) -> str:
        """The context and the kind of positions."""
        return f"context={self.context}, positions={self.positions!r}"


# ---- GPT-2's files --------------------------------------------------------------------------------------------------

_NAMES = {
    "wte.weight": "token_embedding.weight", "wpe.weight": "position_embedding.weight", "ln_f": "norm", "ln_1": "norm1",
    "ln_2": "norm2", "attn.c_attn": "attention.qkv", "attn.c_proj": "attention.out", "mlp.c_fc": "mlp.up",
    "mlp.c_proj": "mlp.down",
}  # fmt: skip
_KINDS = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu", "relu": "relu", "silu": "silu"}
_USUAL = {"scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False, "add_cross_attention": False}
_NO_PARAMETER = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)$")


def load_gpt2(path: str | os.PathLike[str], heads: int | None = None) -> GPT:
    """The GPT in a safetensors file with the names of Hugging Face's GPT-2 (Radford et al. 2019).

    ``path``: the file, or a folder with "model.safetensors". What the shapes do not tell is read from "config.json"
    beside it (n_head, activation_function, layer_norm_epsilon); where there is none, ``heads`` is needed, and the
    others are GPT-2's. Weights of c_attn, c_fc and c_proj, which are (in, out) there, are transposed.

    Raises FileNotFoundError, and ValueError for a file that holds no GPT-2, or one with attention of another kind.
    """
    place = Path(path)
    file = place / "model.safetensors" if place.is_dir() else place
    config = _config(file.parent / "config.json")
    state = {name.removeprefix("transformer."): value for name, value in load_state(file).items()}
    state = {name: value for name, value in state.items() if not _NO_PARAMETER.search(name)}
    where, head = f"load_gpt2: {file}", state.pop("lm_head.weight", None)
    for name in ("wte.weight", "wpe.weight", "h.0.mlp.c_fc.weight"):
        if name not in state or state[name].ndim != 2:
            raise ValueError(f"{where}: it holds no GPT-2: there is no matrix {name!r}")
    vocabulary, width = state["wte.weight"].shape
    count = config.get("n_head") if heads is None else heads
    if count is None:
        raise ValueError(f"{where}: there is no config.json that tells the number of heads: give heads=")
    activation = config.get("activation_function", "gelu_new")
    if activation not in _KINDS:
        raise ValueError(f"{where}: the activation {activation!r} is not one of {', '.join(_KINDS)}")
    for key, usual in _USUAL.items():
        if config.get(key, usual) != usual:
            raise ValueError(f"{where}: its config.json has {key} {config[key]}; this GPT computes as with {usual}")
    layers = len({name.split(".")[1] for name in state if name.startswith("h.")})
    tied = head is None or bool((head == state["wte.weight"]).all())
    model = GPT(
        vocabulary, layers, count, width, state["wpe.weight"].shape[0], activation=_KINDS[activation],
        hidden=state["h.0.mlp.c_fc.weight"].shape[1], tied=tied, eps=config.get("layer_norm_epsilon", 1e-5),
    ).to(state["wte.weight"].dtype)  # fmt: skip
    found = {_own_name(name): _own_layout(name, value) for name, value in state.items()}
    if not tied:
        found["head.weight"] = head
    try:
        model.load_state_dict(found)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    return model


def _config(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    with naming(path):
        found: dict[str, Any] = _json.typed(dict[str, Any], _json.parse(path.read_text()), "config.json")
    return found


def _own_name(name: str) -> str:
    """Of a parameter of Hugging Face's: "h.0.attn.c_attn.bias" -> "blocks.0.attention.qkv.bias"."""
    for theirs, ours in _NAMES.items():
        name = re.sub(rf"(^|\.){re.escape(theirs)}(\.|$)", rf"\g<1>{ours}\g<2>", name)
    return re.sub(r"^h\.", "blocks.", name)


def _own_layout(name: str, value: Tensor) -> Any:
    """Conv1D holds its weight as (in, out)."""
    return permute(value, (1, 0)) if name.endswith(".weight") and ".c_" in name else value
