"""Training steps of small GPTs with Adam, and decoding: all engines from the same weights on the same tokens."""

import numpy as np

from bench import gpts

RATE, BETA1, BETA2, EPS = 1e-3, 0.9, 0.999, 1e-8
DECODED = 63  # tokens after a prompt of one, within the context of model d


def dlcore_step(name, recorded=True):
    """A step of dlcore's."""
    import dlcore
    from dlcore import optim

    model = gpts.dlcore_gpt(name)
    update = optim.Adam(model.parameters(), lr=RATE)
    x, y = map(dlcore.tensor, gpts.batch(name))
    vocabulary = gpts.SIZES[name].vocabulary

    def step():
        update.zero_grad()
        loss = dlcore.cross_entropy(model(x).reshape(-1, vocabulary), y.reshape(-1))
        loss.backward()
        update.step()
        return loss

    return dlcore.capture(step) if recorded else step


def torch_step(name, compiled=False, fused=True):
    """A step of PyTorch's."""
    import torch

    model = gpts.torch_gpt(name)
    x, y = map(torch.from_numpy, gpts.batch(name))
    update = torch.optim.Adam(model.parameters(), lr=RATE, fused=fused)
    forward, vocabulary = torch.compile(model) if compiled else model, gpts.SIZES[name].vocabulary

    def step():
        update.zero_grad()
        loss = torch.nn.functional.cross_entropy(forward(x).reshape(-1, vocabulary), y.reshape(-1))
        loss.backward()
        update.step()
        return loss

    return step


def jax_step(name):
    """A whole step under `jax.jit`, its buffers donated, waited for."""
    import jax
    import jax.numpy as jnp

    params = gpts.jax_parameters(name)
    x, y = map(jnp.asarray, gpts.batch(name))
    moments = (jax.tree.map(jnp.zeros_like, params), jax.tree.map(jnp.zeros_like, params), jnp.float32(0))

    def loss_of(params):
        logits = jax.nn.log_softmax(gpts.jax_logits(name, params, x))
        return -jnp.take_along_axis(logits, y[..., None], -1).mean()

    def update(params, moments):
        loss, grads = jax.value_and_grad(loss_of)(params)
        m, v, t = moments
        t = t + 1
        m = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, m, grads)
        v = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, v, grads)
        rate, scale = RATE / (1 - BETA1**t), jnp.sqrt(1 - BETA2**t)
        params = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) / scale + EPS), params, m, v)
        return params, (m, v, t), loss

    jitted = jax.jit(update, donate_argnums=(0, 1))

    def step():
        nonlocal params, moments
        params, moments, loss = jitted(params, moments)
        return loss.block_until_ready()

    return step


def dlcore_decode(streamed=False):
    """The likeliest DECODED tokens of model d behind one; ``streamed``: each handed to Python."""
    from dlcore import models

    model, prompt = gpts.dlcore_gpt("d"), np.array([1])
    if streamed:
        return lambda: list(models.stream(model, prompt, DECODED, temperature=0))
    return lambda: models.generate(model, prompt, DECODED, temperature=0)[1:].tolist()


def torch_decode():
    """The same in PyTorch, with keys and values written in place."""
    import torch

    model, size = gpts.torch_gpt("d").eval(), gpts.SIZES["d"]
    shape = (1, size.heads, size.context, size.width // size.heads)
    caches = [(torch.zeros(shape), torch.zeros(shape)) for _ in range(size.layers)]

    @torch.inference_mode()
    def run():
        token, found = torch.tensor([[1]]), []
        for position in range(DECODED):
            token = model(token, caches, position)[:, -1].argmax(-1, keepdim=True)
            found.append(token)
        return torch.cat(found).flatten().tolist()

    return run
