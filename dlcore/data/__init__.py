"""Data: what counts as a data set, readers of files, splits, fitted preprocessing, and batches by one gather."""

from dlcore.data.audio import AudioFiles, audio_folder, log_mel, mel_filters, mfcc, read_wav
from dlcore.data.augment import Cutout, GaussianNoise, RandomCrop, RandomErasing, RandomFlip, RandomTranslate
from dlcore.data.batches import Batches
from dlcore.data.colours import Brightness, ColorJitter, Contrast
from dlcore.data.dataset import Dataset, TensorDataset
from dlcore.data.description import Description, PartDescription, describe, picture_grid
from dlcore.data.features import OneHot, Standardize
from dlcore.data.files import data_path, load_dataset, read_numpy
from dlcore.data.geometry import RandomAffine, RandomRotation
from dlcore.data.idx import read_idx
from dlcore.data.images import ImageDataset, ImageFiles, LazyImages, image_folder, read_image, read_images
from dlcore.data.loader import DataLoader
from dlcore.data.mixing import CutMix, Mixup
from dlcore.data.sequences import LengthBuckets, pad_sequences
from dlcore.data.sources import as_dataset
from dlcore.data.splits import equal_samples, k_fold, random_split, shared_samples
from dlcore.data.subwords import SubwordTokenizer, load_tokenizer
from dlcore.data.tables import TableDataset, read_csv, read_parquet, table
from dlcore.data.text import ByteTokenizer, CharTokenizer, TextWindows, Vocabulary, read_text
from dlcore.data.transforms import Compose, Normalize, ScaleBytes, register
from dlcore.data.views import Subset

__all__ = [
    "AudioFiles", "Batches", "Brightness", "ByteTokenizer", "CharTokenizer", "ColorJitter", "Compose", "Contrast",
    "CutMix", "Cutout", "DataLoader", "Dataset", "Description", "GaussianNoise", "ImageDataset", "ImageFiles",
    "LazyImages", "LengthBuckets", "Mixup", "Normalize", "OneHot", "PartDescription", "RandomAffine", "RandomCrop",
    "RandomErasing", "RandomFlip", "RandomRotation", "RandomTranslate", "ScaleBytes", "Standardize", "Subset",
    "SubwordTokenizer", "TableDataset", "TensorDataset", "TextWindows", "Vocabulary", "as_dataset", "audio_folder",
    "data_path", "describe", "equal_samples", "image_folder", "k_fold", "load_dataset", "load_tokenizer", "log_mel",
    "mel_filters", "mfcc", "pad_sequences", "picture_grid", "random_split", "read_csv", "read_idx", "read_image",
    "read_images", "read_numpy", "read_parquet", "read_text", "read_wav", "register", "shared_samples", "table",
]  # fmt: skip
