"""Data: arrays as data sets, batches by one gather, normalisation, and the data sets that dlcore knows."""

from dlcore.data.batches import Batches
from dlcore.data.dataset import Dataset, TensorDataset
from dlcore.data.files import load_dataset, read_idx
from dlcore.data.images import ImageDataset
from dlcore.data.loader import DataLoader
from dlcore.data.sources import as_dataset
from dlcore.data.splits import equal_samples, k_fold, random_split, shared_samples
from dlcore.data.transforms import Compose, Normalize, ScaleBytes, register
from dlcore.data.views import Subset

__all__ = [
    "Batches",
    "Compose",
    "DataLoader",
    "Dataset",
    "ImageDataset",
    "Normalize",
    "ScaleBytes",
    "Subset",
    "TensorDataset",
    "as_dataset",
    "equal_samples",
    "k_fold",
    "load_dataset",
    "random_split",
    "read_idx",
    "register",
    "shared_samples",
]
