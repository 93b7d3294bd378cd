"""Training: ``fit``, ``evaluate`` and ``predict``, the History of a run, and callbacks during it."""

from dlcore.train.average import EMA, SWA, Average
from dlcore.train.callbacks import Checkpoint, EarlyStopping, LearningRate
from dlcore.train.evaluation import evaluate
from dlcore.train.fitting import fit
from dlcore.train.history import History
from dlcore.train.logs import Log, Plot, TensorBoard
from dlcore.train.prediction import predict
from dlcore.train.resume import Resume
from dlcore.train.run import Callback, Run
from dlcore.train.trials import Overfit, RateSearch, find_learning_rate, overfit

__all__ = [
    "EMA",
    "SWA",
    "Average",
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "History",
    "LearningRate",
    "Log",
    "Overfit",
    "Plot",
    "RateSearch",
    "Resume",
    "Run",
    "TensorBoard",
    "evaluate",
    "find_learning_rate",
    "fit",
    "overfit",
    "predict",
]
