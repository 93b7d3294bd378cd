"""Recurrent layers, each forward, and forward with all gradients; and how PyTorch trains networks of them.

    PYTHONPATH=. python bench/recurrent.py tests/recurrent_curves.json

writes losses for a test without PyTorch. Both libraries begin with the weights of `bench.networks.weights`, see the
batches of `batches` (rows of the packaged digits as steps, of different lengths) and take steps of SGD with momentum in
float64. Kept are the losses of all steps, and of each parameter in the end its sum and that of its square.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from bench import cnn_curves, networks

LAYERS = {
    # name: (kind, steps, batch, inputs, units, options)
    "LSTM 128-128, 64 steps, batch 64": ("LSTM", 64, 64, 128, 128, {}),
    "GRU 128-128, 64 steps, batch 64": ("GRU", 64, 64, 128, 128, {}),
    "RNN 128-128, 64 steps, batch 64": ("RNN", 64, 64, 128, 128, {}),
    "LSTM 128-128, 64 steps, batch 1": ("LSTM", 64, 1, 128, 128, {}),
    "GRU 128-128, 64 steps, batch 1": ("GRU", 64, 1, 128, 128, {}),
    "LSTM 64-256, 32 steps, batch 16": ("LSTM", 32, 16, 64, 256, {}),
    "LSTM 64-64 of 2 layers in both directions, 48 steps, batch 32": (
        "LSTM", 48, 32, 64, 64, {"num_layers": 2, "bidirectional": True}),
}  # fmt: skip
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def _drawn(name):
    """Input and the gradient that arrives at the output."""
    _, steps, batch, inputs, units, options = LAYERS[name]
    rng = np.random.default_rng(1)
    width = units * (1 + options.get("bidirectional", False))
    return [rng.standard_normal((steps, batch, n), dtype=np.float32) for n in (inputs, width)]


def layer(lib, nn, name, both, capture=None):
    """A function that runs a layer of dlcore's or PyTorch's and returns its output and, if ``both``, all gradients."""
    kind, _, _, inputs, units, options = LAYERS[name]
    model = networks.fill(lib, getattr(nn, kind)(inputs, units, **options))
    x, dout = map(lib.tensor, _drawn(name))
    if not both:
        def forward():
            with lib.no_grad():
                return model(x)[0]

        run = forward if capture is None else capture(forward)
        return lambda: (run(),)
    x.requires_grad_()
    leaves = [x, *model.parameters()]

    def forward_backward():
        for leaf in leaves:
            leaf.grad = None
        out = model(x)[0]
        out.backward(dout)
        return (out.detach(), *(leaf.grad for leaf in leaves))

    return forward_backward if capture is None else capture(forward_backward)


def _jax_step(kind, jax, jnp):
    """One step of a layer: (state, gates of the input) -> (state, output), for its weight and bias of the state."""
    def lstm(w, b):
        def step(state, x):
            h, c = state
            i, f, g, o = jnp.split(x + h @ w.T + b, 4, 1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        return step

    def gru(w, b):
        def step(state, x):
            (h,) = state
            xr, xz, xn = jnp.split(x, 3, 1)
            hr, hz, hn = jnp.split(h @ w.T + b, 3, 1)
            n = jnp.tanh(xn + jax.nn.sigmoid(xr + hr) * hn)
            h = n + jax.nn.sigmoid(xz + hz) * (h - n)
            return (h,), h

        return step

    def rnn(w, b):
        def step(state, x):
            h = jnp.tanh(x + state[0] @ w.T + b)
            return (h,), h

        return step

    return {"LSTM": lstm, "GRU": gru, "RNN": rnn}[kind]


def jax_layer(name, both):
    """The same in JAX, a scan that is jitted and waited for."""
    import jax
    import jax.numpy as jnp

    kind, _, batch, inputs, units, options = LAYERS[name]
    layers, directions = options.get("num_layers", 1), 1 + options.get("bidirectional", False)
    shapes, width = {}, inputs
    for k in range(layers):
        for suffix in ("", "_reverse")[:directions]:
            rows = GATES[kind] * units
            for key, shape in (("weight_ih", (rows, width)), ("weight_hh", (rows, units)), ("bias_ih", (rows,)),
                               ("bias_hh", (rows,))):  # fmt: skip
                shapes[f"{key}_l{k}{suffix}"] = shape
        width = units * directions
    values = networks.weights(shapes)
    weights = [jnp.asarray(values[key], jnp.float32) for key in shapes]
    x, dout = map(jnp.asarray, _drawn(name))
    states = (jnp.zeros((batch, units), jnp.float32),) * (2 if kind == "LSTM" else 1)
    step = _jax_step(kind, jax, jnp)

    def call(x, *weights):
        left = iter(weights)
        for _ in range(layers):
            found = []
            for reverse in range(directions):
                w_ih, w_hh, b_ih, b_hh = (next(left) for _ in range(4))
                found.append(jax.lax.scan(step(w_hh, b_hh), states, x @ w_ih.T + b_ih, reverse=bool(reverse))[1])
            x = jnp.concatenate(found, 2)
        return x

    if not both:
        jitted = jax.jit(call)
        return lambda: (jitted(x, *weights).block_until_ready(),)

    def gradients(dout, x, *weights):
        out, pull = jax.vjp(call, x, *weights)
        return out, *pull(dout)

    compiled = jax.jit(gradients)
    return lambda: jax.block_until_ready(compiled(dout, x, *weights))


# ---- loss curves ----------------------------------------------------------------------------------------------------

NETWORKS = {
    # name: (kind, options); 8 features a step, 12 units, 10 classes
    "lstm": ("LSTM", {"num_layers": 2}),
    "lstm_both_projected": ("LSTM", {"bidirectional": True, "proj_size": 5}),
    "gru_both": ("GRU", {"num_layers": 2, "bidirectional": True}),
    "rnn": ("RNN", {"nonlinearity": "tanh"}),
}
SETTINGS = {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-3}


def batches():
    """(images as 8 steps of 8 numbers (T, B, 8), lengths from 4 to 8, labels) of each step of 5 epochs."""
    return [
        (np.ascontiguousarray(x[:, 0].swapaxes(0, 1)), 4 + np.arange(len(x)) * (k + 1) % 5, y)
        for k, (x, y) in enumerate(cnn_curves.batches("resnet8") * 5)
    ]


def classifier(nn, name):
    """Layer and classes, the same lines for dlcore and PyTorch."""
    kind, options = NETWORKS[name]
    width = options.get("proj_size", 12) * (1 + options.get("bidirectional", False))
    return getattr(nn, kind)(8, 12, **options), nn.Linear(width, 10)


def logits(packing, layer, classes, x, lengths):
    """Of the sum of the outputs of each sequence, over the most steps."""
    packed = packing.pack_padded_sequence(x, lengths, enforce_sorted=False)
    outputs, _ = packing.pad_packed_sequence(layer(packed)[0])
    return classes(outputs.sum(0) / 8)


def _curve(torch, name):
    layer, classes = (networks.fill(torch, module.double()) for module in classifier(torch.nn, name))
    update = torch.optim.SGD([*layer.parameters(), *classes.parameters()], **SETTINGS)
    losses = []
    for x, lengths, labels in batches():
        scores = logits(torch.nn.utils.rnn, layer, classes, torch.tensor(x), torch.tensor(lengths))
        loss = torch.nn.functional.cross_entropy(scores, torch.tensor(labels))
        update.zero_grad()
        loss.backward()
        update.step()
        losses.append(loss.item())
    state = {n: v.detach().numpy() for n, v in layer.state_dict().items()}
    return {"losses": losses, "state": cnn_curves.sums(state)}


def main(path: str) -> None:
    """Write the file."""
    import torch

    contents = {"made": f"python bench/recurrent.py, with torch {torch.__version__}"}
    contents |= {name: _curve(torch, name) for name in NETWORKS}
    lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in contents.items()]
    Path(path).write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main(sys.argv[1])
