"""One training step of the MLPs, as each engine's user would write it, all from the same weights on the same batch."""

import contextlib
import itertools
import tempfile
from pathlib import Path

import numpy as np

MODELS = {"a": ((64, 128, 64, 10), 64), "b": ((784, 256, 128, 10), 128)}
LEARNING_RATE = {"adam": 1e-3, "sgd": 1e-2}
IMAGES = 55_000
MOMENTUM, BETA1, BETA2, EPS = 0.9, 0.9, 0.999, 1e-8


def problem(model):
    """Weights [(out, in), (out,)] of each layer, a batch and its labels."""
    rng = np.random.default_rng(0)
    sizes, batch = MODELS[model]
    weights = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        w = rng.standard_normal((fan_out, fan_in)) * np.sqrt(2 / fan_in)
        weights.append((w.astype(np.float32), np.zeros(fan_out, np.float32)))
    x = rng.standard_normal((batch, sizes[0]), dtype=np.float32)
    return weights, x, rng.integers(0, sizes[-1], batch)


def network(lib, nn, weights):
    """The layers of `weights`, with ReLU between them."""
    layers = []
    for w, b in weights:
        linear = nn.Linear(w.shape[1], w.shape[0])
        with lib.no_grad():
            linear.weight.copy_(lib.tensor(w))
            linear.bias.copy_(lib.tensor(b))
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def module_step(lib, nn, optim, cross_entropy, capture=None, compiled=None, autocast=False, **options):
    """`training_step` of dlcore and of torch: the same lines for both; `autocast`: to bfloat16."""

    def low():
        if not autocast:
            return contextlib.nullcontext()
        return lib.autocast("cpu", lib.bfloat16) if lib.__name__ == "torch" else lib.autocast(lib.bfloat16)

    def training_step(model, optimizer):
        weights, x, y = problem(model)
        net = network(lib, nn, weights)
        if optimizer == "adam":
            update = optim.Adam(net.parameters(), lr=LEARNING_RATE["adam"], **options)
        else:
            update = optim.SGD(net.parameters(), lr=LEARNING_RATE["sgd"], momentum=MOMENTUM, **options)
        x, y = lib.tensor(x), lib.tensor(y)
        forward = compiled(net) if compiled else net

        def step():
            update.zero_grad()
            with low():
                loss = cross_entropy(forward(x), y)
            loss.backward()
            update.step()
            return loss

        return capture(step) if capture else step

    return training_step


def images():
    """As many random images as Fashion-MNIST's training part less 5,000, and their labels."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (IMAGES, 28, 28), dtype=np.uint8), rng.integers(0, 10, IMAGES)


def fit_epoch(epochs=1, **more):
    """An epoch of `dl.fit`, or several: shuffled, gathered, normalised, trained on, accuracy measured."""
    import dlcore
    from dlcore import nn, optim

    net = nn.Sequential(nn.Flatten(), *network(dlcore, nn, problem("b")[0]))
    update = optim.Adam(net.parameters(), lr=LEARNING_RATE["adam"])
    data = dlcore.data.TensorDataset(*images())
    scaled = dlcore.data.Compose(dlcore.data.ScaleBytes(), dlcore.data.Normalize(0.286, 0.353))
    options = {"loss": dlcore.cross_entropy, "optimizer": update, "transform": scaled, **more}

    def run():
        history = dlcore.fit(net, data, epochs=epochs, batch_size=128, metrics=["accuracy"], progress=False, **options)
        assert history.recorded, history.reason
        return history.epochs[-1]["loss"]

    return run


def fit_with_everything(epochs):
    """Epochs of `dl.fit` as above, with a schedule, averaged weights, a log and the loss of each batch handed over."""
    from dlcore import train

    class Losses(train.Callback):
        def on_train_begin(self, run):
            self.losses = []

        def on_losses(self, run, losses, norms):
            self.losses.extend(losses)

    folder, watching = tempfile.TemporaryDirectory(), Losses()
    log = train.Log(Path(folder.name, "log.jsonl"))
    fit = fit_epoch(epochs, schedule="cosine", ema=0.999, callbacks=[log, watching])

    def run():
        loss = fit()
        assert len(watching.losses) == epochs * -(-IMAGES // 128)
        assert len(log.path.read_text().splitlines()) == epochs
        return loss + 0 * len(folder.name)  # the folder lives as long as this function

    return run


def recorded_epoch(epochs=1):
    """As many recorded steps on one and the same batch as an epoch has batches."""
    import dlcore
    from dlcore import nn, optim

    step = module_step(dlcore, nn, optim, dlcore.cross_entropy, capture=dlcore.capture)("b", "adam")

    def run():
        for _ in range(epochs * -(-IMAGES // 128)):
            loss = step()
        return loss.item()

    return run


def torch_epoch():
    """The same epoch as one writes it with torch, the images in memory and in bytes."""
    import torch
    from torch import nn

    net = nn.Sequential(nn.Flatten(), *network(torch, nn, problem("b")[0]))
    update = torch.optim.Adam(net.parameters(), lr=LEARNING_RATE["adam"], fused=True)
    x, y = map(torch.from_numpy, images())

    def run():
        hits = 0
        for index in torch.randperm(IMAGES).split(128):
            batch, target = (x[index].float() / 255 - 0.286) / 0.353, y[index]
            scores = net(batch)
            loss = nn.functional.cross_entropy(scores, target)
            update.zero_grad()
            loss.backward()
            update.step()
            hits += (scores.argmax(1) == target).sum()
        return loss.item() + 0 * hits.item()

    return run


def numpy_step(model, optimizer):
    """By hand: gradients into one flat array, the optimizer over it in place."""
    weights, x, y = problem(model)
    flat = np.concatenate([a.ravel() for layer in weights for a in layer])
    grad = np.zeros_like(flat)
    layers, grads = _layers_of(flat, weights), _layers_of(grad, weights)
    update = {"adam": _numpy_adam, "sgd": _numpy_sgd}[optimizer](flat, grad)

    def step():
        loss = _numpy_gradients(layers, grads, x, y)
        update()
        return loss

    return step


def _layers_of(flat, weights):
    """Views of parts of a flat array, in the shapes of the weights and biases."""
    arrays = [a for layer in weights for a in layer]
    parts = np.split(flat, np.cumsum([a.size for a in arrays])[:-1])
    shaped = [part.reshape(a.shape) for part, a in zip(parts, arrays, strict=True)]
    return list(zip(shaped[::2], shaped[1::2], strict=True))


def _numpy_gradients(layers, grads, x, y):
    """The mean cross entropy of the logits; its gradients are written into `grads`."""
    rows, outputs = np.arange(len(x)), [x]
    for w, b in layers:
        h = outputs[-1] @ w.T
        h += b
        outputs.append(np.maximum(h, 0, out=h) if w is not layers[-1][0] else h)
    z = outputs[-1] - outputs[-1].max(1, keepdims=True)
    e = np.exp(z)
    total = e.sum(1)
    loss = (np.log(total) - z[rows, y]).mean()
    d = e / total[:, None]
    d[rows, y] -= 1
    d /= len(x)
    for i in reversed(range(len(layers))):
        np.matmul(d.T, outputs[i], out=grads[i][0])
        d.sum(0, out=grads[i][1])
        if i:
            d = d @ layers[i][0]
            d *= outputs[i] > 0
    return loss


def _numpy_adam(flat, grad):
    m, v, scratch = (np.zeros_like(flat) for _ in range(3))
    count = 0

    def update():
        nonlocal count
        count += 1
        np.multiply(m, BETA1, out=m)
        np.multiply(grad, 1 - BETA1, out=scratch)
        np.add(m, scratch, out=m)
        np.multiply(v, BETA2, out=v)
        np.multiply(grad, grad, out=scratch)
        np.multiply(scratch, 1 - BETA2, out=scratch)
        np.add(v, scratch, out=v)
        np.sqrt(v, out=scratch)
        np.divide(scratch, np.float32(np.sqrt(1 - BETA2**count)), out=scratch)
        np.add(scratch, EPS, out=scratch)
        np.divide(m, scratch, out=scratch)
        np.multiply(scratch, np.float32(LEARNING_RATE["adam"] / (1 - BETA1**count)), out=scratch)
        np.subtract(flat, scratch, out=flat)

    return update


def _numpy_sgd(flat, grad):
    m, scratch = np.zeros_like(flat), np.zeros_like(flat)

    def update():
        np.multiply(m, MOMENTUM, out=m)
        np.add(m, grad, out=m)
        np.multiply(m, LEARNING_RATE["sgd"], out=scratch)
        np.subtract(flat, scratch, out=flat)

    return update


def jax_step(model, optimizer):
    """The whole step under `jax.jit`, buffers donated, waited for."""
    import jax
    import jax.numpy as jnp

    weights, x, y = problem(model)
    params = jax.tree.map(jnp.asarray, weights)
    zeros = jax.tree.map(jnp.zeros_like, params)
    x, y = jnp.asarray(x), jnp.asarray(y)

    def loss_of(params):
        h = x
        for w, b in params[:-1]:
            h = jax.nn.relu(h @ w.T + b)
        w, b = params[-1]
        scores = jax.nn.log_softmax(h @ w.T + b)
        return -jnp.take_along_axis(scores, y[:, None], 1).mean()

    def adam(params, state):
        loss, grads = jax.value_and_grad(loss_of)(params)
        m, v, t = state
        t = t + 1
        m = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, m, grads)
        v = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, v, grads)
        rate, scale = LEARNING_RATE["adam"] / (1 - BETA1**t), jnp.sqrt(1 - BETA2**t)
        params = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) / scale + EPS), params, m, v)
        return params, (m, v, t), loss

    def sgd(params, m):
        loss, grads = jax.value_and_grad(loss_of)(params)
        m = jax.tree.map(lambda m, g: MOMENTUM * m + g, m, grads)
        return jax.tree.map(lambda p, m: p - LEARNING_RATE["sgd"] * m, params, m), m, loss

    if optimizer == "adam":
        update, state = adam, (zeros, jax.tree.map(jnp.zeros_like, params), jnp.float32(0))
    else:
        update, state = sgd, zeros
    update = jax.jit(update, donate_argnums=(0, 1))

    def step():
        nonlocal params, state
        params, state, loss = update(params, state)
        return loss.block_until_ready()

    return step
