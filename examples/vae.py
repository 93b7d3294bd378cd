"""A variational autoencoder (Kingma & Welling 2013) of the bundled digits: a model with three outputs, and its loss.

The model returns a dict; `fit` gives whatever a model returns to the loss. The noise is drawn in the recorded step, new
in each replay. Afterwards digits are drawn from the prior, and a picture of them written if a path is given.

python examples/vae.py [PICTURE]      # loss 22.4 nats a digit, 2.3 s of CPU time (Intel Xeon, AVX-512)
python examples/vae.py --small        # fewer epochs
"""

import sys

import numpy as np

import dlcore as dl
from dlcore import nn, optim
from dlcore.data import load_dataset, random_split

small = "--small" in sys.argv
LATENT = 8


class VAE(nn.Module):
    """Logits of the pixels, and mean and log variance of the latent numbers (N, LATENT) of each picture."""

    def __init__(self, hidden=128):
        self.encoder = nn.Sequential(nn.Linear(64, hidden), nn.GELU(), nn.Linear(hidden, 2 * LATENT))
        self.decoder = nn.Sequential(nn.Linear(LATENT, hidden), nn.GELU(), nn.Linear(hidden, 64))

    def forward(self, x):
        mean, log_variance = self.encoder(x).reshape(-1, 2, LATENT).permute(1, 0, 2)
        noise = dl.randn(mean.shape) if self.training else dl.zeros(mean.shape)
        latent = mean + dl.exp(0.5 * log_variance) * noise
        return {"pixels": self.decoder(latent), "mean": mean, "log_variance": log_variance}


def reconstruction(outputs, x):
    """Binary cross-entropy of pixels, given logits z: log(1 + exp(z)) - x z, summed over a picture."""
    z = outputs["pixels"]
    softplus = dl.maximum(z, 0.0) + dl.log1p(dl.exp(-dl.abs(z)))
    return (softplus - x * z).sum(axis=1).mean()


def divergence(outputs, x):
    """The Kullback-Leibler divergence of the latent numbers from the standard normal distribution, in nats."""
    mean, log_variance = outputs["mean"], outputs["log_variance"]
    return 0.5 * (dl.square(mean) + dl.exp(log_variance) - 1.0 - log_variance).sum(axis=1).mean()


def loss(outputs, x):
    """The negative evidence lower bound of a picture, in nats."""
    return reconstruction(outputs, x) + divergence(outputs, x)


dl.manual_seed(0)
images = load_dataset("digits").images.reshape(-1, 64)
train, test = random_split((images, images), [0.8, 0.2], seed=0)  # a picture is its own target
model = VAE()
history = dl.fit(
    model, train, validation=test, epochs=30 if small else 200, batch_size=64, seed=0, loss=loss,
    metrics=[reconstruction, divergence], optimizer=optim.Adam(model.parameters(), lr=2e-3), schedule="cosine",
)  # fmt: skip
assert history.recorded, history.reason
last = history.epochs[-1]
print(f"validation: {last['val_loss']:.2f} nats = {last['val_reconstruction']:.2f} + {last['val_divergence']:.2f}")

drawn = np.asarray(dl.sigmoid(dl.predict(model.decoder, dl.randn(16, LATENT)))).reshape(16, 8, 8)
for row in np.concatenate(drawn[:6], axis=1):
    print("".join(" .:-=+*#%@"[int(9.99 * v)] for v in row))
paths = [a for a in sys.argv[1:] if a != "--small"]
if paths:
    from matplotlib.pyplot import imsave

    imsave(paths[0], np.concatenate(np.concatenate(drawn.reshape(4, 4, 8, 8), axis=1), axis=1), cmap="gray_r")
assert last["val_loss"] < (30 if small else 27)
