"""Small GPTs as users of dlcore, PyTorch and JAX write them, with one and the same names of weights.

d: 4 layers of 4 heads, 128 wide, 64 tokens of 65. micro: one layer, 16 wide, 4,192 parameters, 16 tokens of 27.
curve: of the loss curve in tests/gpt_curves.json.
"""

from typing import NamedTuple

import numpy as np

from bench import networks


class Size(NamedTuple):
    """The numbers of a GPT, and what it is made of."""

    vocabulary: int
    layers: int
    heads: int
    width: int
    context: int
    batch: int
    plain: bool
    """RMS norms without weights, ReLU, no biases and a last layer of its own, in place of GPT-2's parts."""


SIZES = {
    "d": Size(65, 4, 4, 128, 64, 16, False), "micro": Size(27, 1, 4, 16, 16, 1, True),
    "curve": Size(23, 2, 4, 32, 16, 8, False),
}  # fmt: skip


def batch(name):
    """Random tokens and those after them: int64 (batch, context) each."""
    size = SIZES[name]
    tokens = np.random.default_rng(6).integers(0, size.vocabulary, (size.batch, size.context + 1))
    return tokens[:, :-1].copy(), tokens[:, 1:].copy()


def dlcore_gpt(name, dtype=None):
    """A GPT of dlcore's, with the weights of `networks.fill`."""
    import dlcore
    from dlcore import models

    size = SIZES[name]
    parts = {"norm": "rms", "activation": "relu", "bias": False, "affine": False, "tied": False} if size.plain else {}
    model = models.GPT(size.vocabulary, size.layers, size.heads, size.width, size.context, **parts)
    return networks.fill(dlcore, model.to(dtype=dtype))


# ---- PyTorch ------------------------------------------------------------------------------------------------------


def torch_gpt(name, dtype=None):
    """The same in PyTorch: `model(tokens)`, or `model(tokens, caches, position)` behind so many cached tokens."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    size = SIZES[name]

    def norm():
        return nn.RMSNorm(size.width, 1e-5, False) if size.plain else nn.LayerNorm(size.width)

    def linear(inputs, outputs):
        return nn.Linear(inputs, outputs, bias=not size.plain)

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv, self.out = linear(size.width, 3 * size.width), linear(size.width, size.width)

        def forward(self, x, cache=None, position=0):
            b, t, w = x.shape
            q, k, v = self.qkv(x).view(b, t, 3, size.heads, -1).permute(2, 0, 3, 1, 4)
            if cache is not None:
                end = position + t
                cache[0][:, :, position:end], cache[1][:, :, position:end] = k, v
                k, v = cache[0][:, :, :end], cache[1][:, :, :end]
            x = F.scaled_dot_product_attention(q, k, v, is_causal=t > 1)
            return self.out(x.transpose(1, 2).reshape(b, t, w))

    class MLP(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.down = linear(size.width, 4 * size.width), linear(4 * size.width, size.width)

        def forward(self, x):
            return self.down(F.relu(self.up(x)) if size.plain else F.gelu(self.up(x)))

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.attention, self.norm2, self.mlp = norm(), Attention(), norm(), MLP()

        def forward(self, x, cache=None, position=0):
            x = x + self.attention(self.norm1(x), cache, position)
            return x + self.mlp(self.norm2(x))

    class GPT(nn.Module):
        def __init__(self):
            super().__init__()
            self.token_embedding = nn.Embedding(size.vocabulary, size.width)
            self.position_embedding = nn.Embedding(size.context, size.width)
            self.blocks = nn.ModuleList(Block() for _ in range(size.layers))
            self.norm = norm()
            if size.plain:
                self.head = nn.Linear(size.width, size.vocabulary, bias=False)

        def forward(self, tokens, caches=None, position=0):
            t = tokens.shape[1]
            x = self.token_embedding(tokens) + self.position_embedding.weight[position : position + t]
            for k, block in enumerate(self.blocks):
                x = block(x, None if caches is None else caches[k], position)
            x = self.norm(x)
            return self.head(x) if size.plain else x @ self.token_embedding.weight.T

    return networks.fill(torch, GPT().to(dtype))


# ---- JAX ----------------------------------------------------------------------------------------------------------


def jax_parameters(name):
    """The weights by name."""
    import jax.numpy as jnp

    return {n: jnp.asarray(np.asarray(p.detach())) for n, p in dlcore_gpt(name).named_parameters()}


def jax_logits(name, p, tokens):
    """The logits by the parameters `p`."""
    import jax
    import jax.numpy as jnp

    size = SIZES[name]

    def norm(x, at):
        if size.plain:
            return x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + 1e-5)
        x = x - x.mean(-1, keepdims=True)
        return x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + 1e-5) * p[f"{at}.weight"] + p[f"{at}.bias"]

    def linear(x, at):
        x = x @ p[f"{at}.weight"].T
        return x if size.plain else x + p[f"{at}.bias"]

    b, t = tokens.shape
    x = p["token_embedding.weight"][tokens] + p["position_embedding.weight"][:t]
    for k in range(size.layers):
        at = f"blocks.{k}"
        qkv = linear(norm(x, f"{at}.norm1"), f"{at}.attention.qkv").reshape(b, t, 3, size.heads, -1)
        found = jax.nn.dot_product_attention(qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2], is_causal=True)
        x = x + linear(found.reshape(b, t, -1), f"{at}.attention.out")
        h = linear(norm(x, f"{at}.norm2"), f"{at}.mlp.up")
        x = x + linear(jax.nn.relu(h) if size.plain else jax.nn.gelu(h, approximate=False), f"{at}.mlp.down")
    return norm(x, "norm") @ (p["head.weight"] if size.plain else p["token_embedding.weight"]).T
