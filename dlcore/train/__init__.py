"""Training: ``fit``, ``evaluate``, ``predict``, what happened (History) and what happens along the way (callbacks)."""

from dlcore.train.callbacks import Callback, Checkpoint, EarlyStopping, LearningRate
from dlcore.train.history import History
from dlcore.train.loop import Run, evaluate, fit, predict

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
