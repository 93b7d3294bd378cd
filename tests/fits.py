"""A small network, its data and a short `fit`, for the tests of training."""

import os
import signal

import numpy as np

import dlcore as dl
from dlcore import nn, optim
from dlcore.data import TensorDataset
from dlcore.train import Callback

RNG = np.random.default_rng(11)
X = RNG.standard_normal((150, 6)).astype(np.float32)
LABELS = (X[:, 0] * X[:, 1] > 0).astype(np.int64) + (X[:, 2] > 0.5)
TARGETS = (X @ RNG.standard_normal((6, 2))).astype(np.float32)


def network(out=3, hidden=16):
    return nn.Sequential(nn.Linear(6, hidden), nn.Tanh(), nn.Linear(hidden, out))


def fit(model, *args, optimizer=None, **settings):
    optimizer = optimizer or optim.SGD(model.parameters(), lr=0.1)
    settings = {"loss": dl.cross_entropy, "epochs": 3, "batch_size": 32, **settings}
    return dl.fit(model, *(args or (TensorDataset(X, LABELS),)), optimizer=optimizer, **settings)


def weights(model):
    return {k: np.asarray(v).copy() for k, v in model.state_dict().items()}


def same(a, b):
    return all((a[k] == b[k]).all() for k in a)


class Script(Callback):
    """Gives the monitored figure a course of its own, and remembers the weights of each epoch."""

    def __init__(self, values, name="loss"):
        self.values, self.name, self.seen = values, name, []

    def on_epoch_end(self, run):
        run.logs[self.name] = self.values[run.epoch - 1]
        self.seen.append(weights(run.model))


class PressCtrlC(Callback):
    def __init__(self, epoch, batch):
        self.when = epoch, batch

    def on_batch_end(self, run):
        if (run.epoch, run.batch) == self.when:
            os.kill(os.getpid(), signal.SIGINT)
            self.at = weights(run.model)
