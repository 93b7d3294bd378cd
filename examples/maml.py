"""Model-agnostic meta-learning (Finn et al. 2017): gradients through a step of gradient descent.

Each task is a sine with an amplitude and a phase of its own, of which ten points are seen. The weights are sought from
which one step of gradient descent on these points fits the sine best. The step is itself differentiated, by
`dl.grad(..., create_graph=True)`, and the whole, second derivatives included, is recorded by `dl.capture`.

python examples/maml.py            # error 0.57 after one step, 6 s of CPU time (Intel Xeon, AVX-512)
python examples/maml.py --small    # 300 steps
"""

import sys

import numpy as np
from numpy.random import default_rng

import dlcore as dl
from dlcore import nn, optim

small = "--small" in sys.argv
TASKS, POINTS, RATE = 25, 10, 0.01


def sines(tasks, rng):
    """Points (tasks, 2 POINTS, 1) of sines and their values: the first half to adapt to, the second to be judged by."""
    x = rng.uniform(-5, 5, (tasks, 2 * POINTS, 1))
    amplitude, phase = rng.uniform(0.1, 5, (tasks, 1, 1)), rng.uniform(0, np.pi, (tasks, 1, 1))
    values = x, amplitude * np.sin(x - phase)
    return [dl.tensor(part.astype(np.float32)) for array in values for part in np.split(array, 2, axis=1)]


def network(weights, x):
    """An MLP as a function of its weights. Those with an axis more are of one task each: products are batched."""
    w1, b1, w2, b2, w3, b3 = weights
    return dl.relu(dl.relu(x @ w1 + b1) @ w2 + b2) @ w3 + b3


def adapted(weights, x, y, steps=1):
    """The weights after steps of gradient descent on the points of each task, as functions of ``weights``."""
    own = [dl.expand(w, (len(x), *w.shape)) for w in weights]  # (tasks, ...): the sum's gradient is of each task
    for _ in range(steps):
        loss = dl.square(network(own, x) - y).mean(axis=(1, 2)).sum()
        gradients = dl.grad(loss, own, create_graph=True)
        own = [w - RATE * g for w, g in zip(own, gradients, strict=True)]
    return own


dl.manual_seed(0)
rng = default_rng(0)
layers = [nn.Linear(1, 40), nn.Linear(40, 40), nn.Linear(40, 1)]
weights = []
for layer in layers:
    weights += [nn.Parameter(layer.weight.detach().T.clone()), nn.Parameter(layer.bias.detach().reshape(1, -1).clone())]
optimizer = optim.Adam(weights, lr=2e-3)
optim.schedules.Cosine().prepare(optimizer, steps := 300 if small else 6000)


@dl.capture
def meta_step(x_seen, x_new, y_seen, y_new):
    """One step of the weights along the gradient of the error after adaptation."""
    optimizer.zero_grad()
    loss = dl.mse_loss(network(adapted(weights, x_seen, y_seen), x_new), y_new)
    loss.backward()
    optimizer.step()
    return loss


for step in range(steps):
    loss = meta_step(*sines(TASKS, rng))
    if step % 1000 == 999:
        print(f"step {step + 1}: error after one step {loss.item():.3f}")
assert meta_step.recordings == 1

x_seen, x_new, y_seen, y_new = sines(500, default_rng(1))  # tasks that it has not seen
errors = [float(dl.mse_loss(network(adapted(weights, x_seen, y_seen, k), x_new), y_new)) for k in (0, 1, 5)]
print("mean squared error on new sines without adaptation {:.2f}, after 1 step {:.2f}, after 5 {:.2f}".format(*errors))
assert errors[2] < errors[1] < errors[0] and (small or errors[1] < 1.0)
