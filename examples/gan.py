"""A generative adversarial network (Goodfellow et al. 2014): a `step` of one's own with two optimizers, within `fit`.

The data are eight small clouds of points on a circle. `fit` draws batches, records the step and logs what it returns;
the step itself does all of the work. Afterwards nearly every generated point should lie in a cloud, and each cloud have
some: a GAN that has collapsed finds only a few of them.

python examples/gan.py            # 94 % of the points, all clouds, 10 s of CPU time (Intel Xeon, AVX-512)
python examples/gan.py --small    # fewer epochs, and no claim about the points
"""

import sys

import numpy as np
from numpy.random import default_rng

import dlcore as dl
from dlcore import nn, optim

small = "--small" in sys.argv
NOISE = 8


class GAN(nn.Module):
    """A generator of points (N, 2) from noise (N, NOISE), and a discriminator of logits: how likely they are data."""

    def __init__(self, hidden=128):
        self.generator = nn.Sequential(
            nn.Linear(NOISE, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 2)
        )
        self.discriminator = nn.Sequential(
            nn.Linear(2, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, 1)
        )

    def forward(self, noise):
        return self.generator(noise)


def softplus(x):
    """log(1 + exp(x)) without overflow: the binary cross-entropy of the logit -x for a positive sample."""
    return dl.maximum(x, 0.0) + dl.log1p(dl.exp(-dl.abs(x)))


dl.manual_seed(0)
rng = default_rng(0)
angle = 2 * np.pi * np.arange(8) / 8
centres = 2 * np.stack([np.cos(angle), np.sin(angle)], 1)
points = (centres[rng.integers(0, 8, 16_384)] + 0.1 * rng.standard_normal((16_384, 2))).astype(np.float32)

model = GAN()
generating = optim.Adam(model.generator.parameters(), lr=5e-4, betas=(0.5, 0.99))
judging = optim.Adam(model.discriminator.parameters(), lr=5e-4, betas=(0.5, 0.99))


def step(real):
    """One step of the discriminator on real and generated points, then one of the generator against it."""
    fake = model(dl.randn(len(real), NOISE))
    judged = softplus(-model.discriminator(real)).mean() + softplus(model.discriminator(fake.detach())).mean()
    judging.zero_grad()
    judged.backward()
    judging.step()

    generated = softplus(-model.discriminator(fake)).mean()
    generating.zero_grad()
    generated.backward()
    generating.step()
    return {"discriminator": judged, "generator": generated}


history = dl.fit(model, points, step=step, optimizer=[generating, judging], epochs=2 if small else 60, batch_size=256,
                 ema=0.995, seed=0)  # fmt: skip
assert history.recorded, history.reason

drawn = np.asarray(dl.predict(model, dl.randn(2000, NOISE)))  # from the averages of the weights
distance = np.linalg.norm(drawn[:, None] - centres, axis=-1)
near = distance.min(1) < 0.5
found = np.bincount(distance.argmin(1)[near], minlength=8)
print(f"{near.mean():.1%} of the points lie in a cloud; in each cloud: {found.tolist()}")
assert np.isfinite(drawn).all() and (small or (near.mean() > 0.85 and found.min() > 40))
