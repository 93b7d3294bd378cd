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

    from bench import torch_gpts

    return networks.fill(torch, torch_gpts.GPT(SIZES[name]).to(dtype))


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
