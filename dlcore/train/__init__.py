"""Training: ``fit``, ``evaluate``, ``predict``, what happened (History) and what happens along the way (callbacks)."""

from dlcore.train.callbacks import Checkpoint, EarlyStopping, LearningRate
from dlcore.train.history import History
from dlcore.train.loop import evaluate, fit, predict
from dlcore.train.run import Callback, Run

__all__ = [
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "History",
    "LearningRate",
    "Run",
    "evaluate",
    "fit",
    "predict",
]
