"""Operations of sequences as suites time them: attention with its gradients, a step of an encoder layer, gradients of
embeddings. `python -m bench.sequences PYTHON` shows the peak memory of a linear layer's cross-entropy beside torch's.
"""

import resource
import subprocess
import sys

import numpy as np

ATTENTION = ((16, 4, 64, 32), (4, 8, 512, 64), (1, 16, 2048, 64))  # batch, heads, tokens, width of a head
ENCODER = (16, 128, 256, 8)  # batch, tokens, width, heads
EMBEDDINGS = {  # name: (rows of the table, width, tokens, how they are drawn)
    "65x128, 16x64 tokens": (65, 128, (16, 64), "uniform"),
    "50257x768, 4x512 tokens": (50257, 768, (4, 512), "skewed"),
    "32000x512, 8x256 tokens": (32000, 512, (8, 256), "uniform"),
}


def _drawn(*shapes):
    rng = np.random.default_rng(1)
    return [rng.standard_normal(shape, dtype=np.float32) for shape in shapes]


# ---- attention ------------------------------------------------------------------------------------------------------


def attention(lib, functional, shape, causal, compiled=None):
    """Output and gradients of dlcore's or PyTorch's attention."""
    q, k, v, dout = map(lib.tensor, _drawn(*[shape] * 4))
    for t in (q, k, v):
        t.requires_grad_()

    def call(q, k, v):
        return functional.scaled_dot_product_attention(q, k, v, is_causal=causal)

    call = compiled(call) if compiled else call

    def run():
        q.grad = k.grad = v.grad = None
        out = call(q, k, v)
        out.backward(dout)
        return out, q.grad, k.grad, v.grad

    return run


def jax_attention(shape, causal):
    """The same in JAX, jitted and waited for."""
    import jax
    import jax.numpy as jnp

    q, k, v, dout = (jnp.asarray(x.swapaxes(1, 2)) for x in _drawn(*[shape] * 4))

    def gradients(q, k, v, dout):
        call = lambda q, k, v: jax.nn.dot_product_attention(q, k, v, is_causal=causal)  # noqa: E731
        out, pull = jax.vjp(call, q, k, v)
        return [x.swapaxes(1, 2) for x in (out, *pull(dout))]

    jitted = jax.jit(gradients)
    return lambda: jax.block_until_ready(jitted(q, k, v, dout))


# ---- an encoder layer -----------------------------------------------------------------------------------------------


def encoder(lib, nn, optim, capture=None, compiled=None, fused=None):
    """A training step of an encoder layer with Adam; the loss is the mean square of its output."""
    n, length, width, heads = ENCODER
    layer = nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
    rng = np.random.default_rng(2)
    with lib.no_grad():
        for p in layer.parameters():
            p.copy_(lib.tensor(0.05 * rng.standard_normal(tuple(p.shape), dtype=np.float32)))
    update = optim.Adam(layer.parameters(), lr=1e-3, **({} if fused is None else {"fused": fused}))
    x = lib.tensor(*_drawn((n, length, width)))
    forward = compiled(layer) if compiled else layer

    def step():
        update.zero_grad()
        loss = (forward(x) ** 2).mean()
        loss.backward()
        update.step()
        return loss

    return capture(step) if capture else step


def jax_encoder():
    """The same step in JAX, jitted, its buffers donated, and waited for."""
    import jax
    import jax.numpy as jnp

    n, length, width, heads = ENCODER
    shapes = {
        "in_proj": (3 * width, width), "in_bias": (3 * width,), "out_proj": (width, width), "out_bias": (width,),
        "linear1": (4 * width, width), "bias1": (4 * width,), "linear2": (width, 4 * width), "bias2": (width,),
        "norm1": (width,), "shift1": (width,), "norm2": (width,), "shift2": (width,),
    }  # fmt: skip
    rng = np.random.default_rng(2)
    params = {name: jnp.asarray(0.05 * rng.standard_normal(s, dtype=np.float32)) for name, s in shapes.items()}
    x = jnp.asarray(*_drawn((n, length, width)))

    def norm(x, weight, bias):
        mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        return (x - mean) * jax.lax.rsqrt(var + 1e-5) * weight + bias

    def loss_of(p, x):
        qkv = norm(x, p["norm1"], p["shift1"]) @ p["in_proj"].T + p["in_bias"]
        q, k, v = jnp.moveaxis(qkv.reshape(n, length, 3, heads, width // heads), 2, 0)
        attended = jax.nn.dot_product_attention(q, k, v).reshape(n, length, width)
        x = x + attended @ p["out_proj"].T + p["out_bias"]
        hidden = jax.nn.gelu(norm(x, p["norm2"], p["shift2"]) @ p["linear1"].T + p["bias1"], approximate=False)
        return ((x + hidden @ p["linear2"].T + p["bias2"]) ** 2).mean()

    def update(params, m, v, t, x):
        loss, grads = jax.value_and_grad(loss_of)(params, x)
        t = t + 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, grads)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, grads)
        rate, scale = 1e-3 / (1 - 0.9**t), jnp.sqrt(1 - 0.999**t)
        return jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) / scale + 1e-8), params, m, v), m, v, t, loss

    jitted = jax.jit(update, donate_argnums=(0, 1, 2, 3))
    state = [params, jax.tree.map(jnp.zeros_like, params), jax.tree.map(jnp.zeros_like, params), jnp.float32(0)]

    def step():
        *state[:], loss = jitted(*state, x)
        return loss.block_until_ready()

    return step


# ---- embeddings -----------------------------------------------------------------------------------------------------


def embedding(lib, functional, name, compiled=None):
    """The gradient of a table by tokens."""
    rows, width, shape, kind = EMBEDDINGS[name]
    rng = np.random.default_rng(3)
    tokens = rng.integers(0, rows, shape) if kind == "uniform" else np.minimum(rng.zipf(1.3, shape), rows) - 1
    table, dout = map(lib.tensor, _drawn((rows, width), (*shape, width)))
    table.requires_grad_()
    tokens = lib.tensor(tokens)
    call = compiled(functional.embedding) if compiled else functional.embedding

    def run():
        table.grad = None
        call(tokens, table).backward(dout)
        return (table.grad,)

    return run


def jax_embedding(name):
    """The same in JAX, jitted and waited for."""
    import jax
    import jax.numpy as jnp

    rows, width, shape, kind = EMBEDDINGS[name]
    rng = np.random.default_rng(3)
    tokens = rng.integers(0, rows, shape) if kind == "uniform" else np.minimum(rng.zipf(1.3, shape), rows) - 1
    table, dout = map(jnp.asarray, _drawn((rows, width), (*shape, width)))
    tokens = jnp.asarray(tokens)
    jitted = jax.jit(lambda table, tokens, dout: jax.vjp(lambda t: t[tokens], table)[1](dout))
    return lambda: jax.block_until_ready(jitted(table, tokens, dout))


# ---- memory ---------------------------------------------------------------------------------------------------------


def peak(engine):
    """The megabytes by which a linear layer's cross-entropy with its gradients raises the peak of this process."""
    from bench import fused

    if engine == "torch":
        import torch as lib
        from torch.nn import functional
    else:
        import dlcore as lib
        from dlcore.nn import functional
    run = fused.loss(lib, functional, engine == "dlcore fused")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def main(peers):
    """Prints the peaks, each of a process of its own; ``peers``: a Python with torch."""
    for engine in ("dlcore fused", "dlcore", "torch"):
        python = peers if engine == "torch" else sys.executable
        code = f"from bench.sequences import peak; print(peak({engine!r}))"
        found = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout
        print(f"{engine}: {float(found):.0f} MB")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else sys.executable)
