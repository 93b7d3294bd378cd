"""Data: arrays as data sets, batches by one gather, normalisation, and the data sets that dlcore knows."""

from dlcore.data.batches import Batches
from dlcore.data.dataset import Dataset, ImageDataset, Subset, TensorDataset, random_split
from dlcore.data.files import load_dataset, read_idx
from dlcore.data.loader import DataLoader
from dlcore.data.transforms import Normalize

__all__ = [
    "Batches",
    "DataLoader",
    "Dataset",
    "ImageDataset",
    "Normalize",
    "Subset",
    "TensorDataset",
    "load_dataset",
    "random_split",
    "read_idx",
]
