"""Trainings by configuration: a file of settings, a folder for what comes of it."""

from dlcore.runs.config import Config, Data, Model, Train, read_config
from dlcore.runs.folder import RunFolder, runs_in
from dlcore.runs.work import train

__all__ = ["Config", "Data", "Model", "RunFolder", "Train", "read_config", "runs_in", "train"]
