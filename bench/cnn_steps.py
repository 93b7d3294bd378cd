"""One training step of convolutional networks with Adam, all engines from the same weights on the same batch."""

from bench import networks

RATE, BETA1, BETA2, EPS = 1e-3, 0.9, 0.999, 1e-8


def dlcore_step(name, recorded=True, last=False):
    """A step of dlcore's; ``last``: with the channels as the last axis."""
    import dlcore
    from dlcore import nn, optim

    net = networks.fill(dlcore, networks.dlcore_network(name))
    net = nn.channels_last(net) if last else net
    update = optim.Adam(net.parameters(), lr=RATE)
    x, y = map(dlcore.tensor, networks.batch(name))

    def step():
        update.zero_grad()
        loss = dlcore.cross_entropy(net(x), y)
        loss.backward()
        update.step()
        return loss

    return dlcore.capture(step) if recorded else step


def torch_step(name, compiled=False, last=False, fused=True):
    """A step of PyTorch's."""
    import torch

    net = networks.fill(torch, networks.torch_network(name))
    x, y = map(torch.from_numpy, networks.batch(name))
    if last:
        net, x = net.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    update = torch.optim.Adam(net.parameters(), lr=RATE, fused=fused)
    forward = torch.compile(net) if compiled else net

    def step():
        update.zero_grad()
        loss = torch.nn.functional.cross_entropy(forward(x), y)
        loss.backward()
        update.step()
        return loss

    return step


def jax_step(name, layout="NCHW"):
    """A whole step under `jax.jit`, its buffers donated, waited for."""
    import jax
    import jax.numpy as jnp

    net = networks.Jax(name, layout)
    x, y = map(jnp.asarray, networks.batch(name))
    params, state = net.params, net.state
    zeros = jax.tree.map(jnp.zeros_like, params)
    moments = (zeros, jax.tree.map(jnp.zeros_like, params), jnp.float32(0))

    def loss_of(params, state):
        logits, state = net(params, state, x)
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1).mean(), state

    def update(params, state, moments):
        (loss, state), grads = jax.value_and_grad(loss_of, has_aux=True)(params, state)
        m, v, t = moments
        t = t + 1
        m = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, m, grads)
        v = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, v, grads)
        rate, scale = RATE / (1 - BETA1**t), jnp.sqrt(1 - BETA2**t)
        params = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) / scale + EPS), params, m, v)
        return params, state, (m, v, t), loss

    jitted = jax.jit(update, donate_argnums=(0, 1, 2))

    def step():
        nonlocal params, state, moments
        params, state, moments, loss = jitted(params, state, moments)
        return loss.block_until_ready()

    return step
