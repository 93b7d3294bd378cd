"""A training step for `dlcore roofline examples/roofline_model.py:build`: how far each launch is from the roof."""

import dlcore as dl
from dlcore import nn, optim


def build():
    """The step and what to call it with: an image classifier, 784-256-128-10, on a batch of 128."""
    dl.manual_seed(0)
    model = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = optim.Adam(model.parameters(), lr=1e-3)

    def step(x, y):
        optimizer.zero_grad()
        loss = dl.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step, dl.randn(128, 784), dl.randint(0, 10, shape=(128,))


if __name__ == "__main__":
    step, x, y = build()
    step = dl.capture(step)
    for _ in range(100):
        loss = step(x, y)
    print(f"loss on one batch, again and again: {loss.item():.4f}")
