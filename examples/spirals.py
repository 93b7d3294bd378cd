"""The training loop written out: two intertwined spirals, which no straight line separates."""

import numpy as np

import dlcore as dl
from dlcore import nn, optim


def spirals(count, rng):
    """`count` noisy points (count, 2) of two spirals, and which spiral each is from."""
    label = rng.integers(0, 2, count)
    angle = 3 * np.pi * np.sqrt(rng.random(count))
    points = np.stack([np.cos(angle + np.pi * label), np.sin(angle + np.pi * label)], 1) * angle[:, None] / 5
    return (points + 0.05 * rng.standard_normal(points.shape)).astype(np.float32), label


dl.manual_seed(0)
rng = np.random.default_rng(0)
model = nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 2))
optimizer = optim.AdamW(model.parameters(), lr=5e-3)

for step in range(601):
    x, y = (dl.tensor(a) for a in spirals(256, rng))
    loss = dl.cross_entropy(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 100 == 0:
        print(f"step {step}: loss {loss.item():.3f}")

x, y = spirals(2000, rng)
with dl.no_grad():
    accuracy = float((model(dl.tensor(x)).argmax(axis=-1).numpy() == y).mean())
print(f"accuracy on new points: {accuracy:.3f}")
assert accuracy > 0.95
