"""Regression of numbers: targets with mean 0 and deviation 1, an average of the weights, early stopping, R².

Friedman's first function (1991) of ten features, five of which matter: y = 10 sin(π x0 x1) + 20 (x2 - 1/2)² + 10 x3
+ 5 x4 + noise of deviation 1. The best possible RMSE is therefore 1, and that of a straight line about 2.6.

python examples/regression.py            # test RMSE 1.00, R² 0.96, 1 s of CPU time (Intel Xeon, AVX-512)
python examples/regression.py --small    # fewer samples and epochs
"""

import sys

import numpy as np
from numpy.random import default_rng

import dlcore as dl
from dlcore import nn, optim
from dlcore.data import Standardize, random_split

small = "--small" in sys.argv


def friedman(count, rng):
    """Features (count, 10) and targets (count, 1): both columns, as the model's outputs are."""
    x = rng.random((count, 10), dtype=np.float32)
    y = 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3] + 5 * x[:, 4]
    return x, (y + rng.standard_normal(count))[:, None].astype(np.float32)


dl.manual_seed(0)
x, y = friedman(2000 if small else 10_000, default_rng(0))
train, validation, test = random_split((x, y), [0.7, 0.15, 0.15], seed=0)
targets = np.stack([y for _, y in train])
mean, deviation = targets.mean(), targets.std()  # of the training part alone


def loss(outputs, y):
    """The mean squared error in units of the targets' deviation, so that learning rates mean what they usually do."""
    return dl.mse_loss(outputs, (y - mean) / deviation)


def rmse(outputs, y):
    """In the units of y."""
    return dl.sqrt(dl.mse_loss(outputs * deviation + mean, y))


model = nn.Sequential(nn.Linear(10, 64), nn.GELU(), nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 1))
history = dl.fit(
    model, train, validation=validation, epochs=30 if small else 60, batch_size=64, loss=loss, metrics=[rmse], seed=0,
    optimizer=optim.AdamW(model.named_parameters(), lr=3e-3, weight_decay=0.05, no_decay=("bias",)),
    schedule="cosine", ema=0.995, clip_norm=1.0, transform=Standardize.of(train),
    callbacks=[dl.train.EarlyStopping(patience=10, restore_best=True)],
)  # fmt: skip
assert history.recorded, history.reason

outputs = np.asarray(dl.predict(model, test)) * deviation + mean
y = np.stack([y for _, y in test])
error = np.sqrt(np.mean((outputs - y) ** 2))
r2 = 1 - np.mean((outputs - y) ** 2) / y.var()
print(f"test: RMSE {error:.3f}, R² {r2:.3f}, after {len(history)} epochs")
assert error < (1.6 if small else 1.15)
