"""Data sets by name or path: the digits that come with dlcore, public sets, and whatever a file or a folder holds."""

from __future__ import annotations

import hashlib
import io
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from dlcore._arguments import boolean, shown
from dlcore._files import naming
from dlcore.data.audio import audio_folder
from dlcore.data.folders import as_path, files_of
from dlcore.data.idx import read_idx
from dlcore.data.images import SUFFIXES, ImageDataset, image_folder
from dlcore.data.sources import as_dataset
from dlcore.data.tables import read_csv, read_parquet

__all__ = ["data_path", "find_dataset", "load_dataset", "read_numpy"]

FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
FASHION_FILES = (
    "train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte",
)  # fmt: skip
_DIGITS_SHA256 = "b2dab7b501728c22e9119ad76740b2e17c77a231e42d1e592380d90886f1a05e"


class _Public(NamedTuple):
    """A public set of images in IDX files: where it can be had, and the sha256 of each file as it is there."""

    title: str
    classes: tuple[str, ...]
    urls: tuple[str, ...]
    sha256: dict[str, str]
    hint: str


_PUBLIC = {
    "fashion-mnist": _Public(
        "Fashion-MNIST",
        FASHION_CLASSES,
        (
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        ),
        dict(zip(FASHION_FILES, (
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ), strict=True)),
        ", or install the package dataset-fashion-mnist of Debian",
    ),
    "mnist": _Public(
        "MNIST",
        tuple("0123456789"),
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
        dict(zip(FASHION_FILES, (
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ), strict=True)),
        "",
    ),
}  # fmt: skip


def load_dataset(name: Any, split: str | None = None, *, download: bool = True, **options: Any) -> Any:
    """A data set by its name, or from a file or a folder.

    "digits": 1797 handwritten digits, (8, 8) float32 in 0..1, which come with dlcore; there are no splits.
    "fashion-mnist", "mnist": 60,000 ("train") or 10,000 ("test") images, (28, 28) uint8, ten classes (Xiao et al. 2017,
    LeCun et al. 1998). Each has ``.images``, ``.labels`` and ``.classes``.

    Anything else is a path: a folder of pictures or of WAV files with one subfolder for each class (`image_folder`,
    `audio_folder`; with ``split`` its subfolder of that name), a .csv, .tsv or .parquet file (`read_csv`,
    `read_parquet`), or a .npy or .npz file (`read_numpy`). ``options`` are the arguments of these functions.

    Names and relative paths are looked for in this order: as a path from the current folder, in $DLCORE_DATA, in
    /usr/share/datasets, and in the cache, ~/.cache/dlcore (or $XDG_CACHE_HOME/dlcore); the public sets are downloaded
    into the cache at last, unless ``download`` is False: their sha256 is checked, and what an interrupted download has
    left is gone on with. Raises FileNotFoundError where nothing is found, ValueError where a file is damaged.
    """
    download = boolean(download, "load_dataset: download")
    if split is not None and not isinstance(split, str):
        raise TypeError(f"load_dataset: split {shown(split)} is not a text")
    known = isinstance(name, str) and (name == "digits" or name in _PUBLIC)
    if known and options:
        parts = "" if name == "digits" else "; its parts are split='train' and split='test'"
        raise TypeError(f"load_dataset: {name} takes no {', '.join(options)}{parts}")
    if name == "digits":
        if split is not None:
            raise ValueError("load_dataset: digits has no splits; use random_split")
        return _digits()
    if known:
        return _images_by_name(name, "train" if split is None else split, download)
    return _from_path(data_path(name), split, options)


def data_path(name: Any) -> Path:
    """The file or folder ``name``: a path, or one under the folders in which `load_dataset` looks, in its order.

    Raises FileNotFoundError, which tells where it was looked for.
    """
    path = as_path(name, "load_dataset: name")
    places = [path] if path.is_absolute() else [path, *(root / path for root in _roots())]
    for place in places:
        if place.exists():
            return place
    looked = ", ".join(map(str, places))
    named = "" if path.suffix or len(path.parts) > 1 else f"; known by name are digits, {', '.join(_PUBLIC)}"
    raise FileNotFoundError(f"load_dataset: {str(name)!r} is not known; looked for {looked}{named}")


def _from_path(path: Path, split: str | None, options: dict[str, Any]) -> Any:
    """The data set in a file or a folder, by what is in it."""
    if path.is_dir():
        return _from_folder(path, split, options)
    if split is not None:
        raise ValueError(f"load_dataset: {path} is one file and has no splits; use random_split")
    ending = path.suffix.lower()
    if ending in (".csv", ".tsv"):
        return read_csv(path, **options)
    if ending in (".parquet", ".pq"):
        return read_parquet(path, **options)
    if ending in (".npy", ".npz"):
        return as_dataset(read_numpy(path, **options), f"load_dataset: {path}")
    hint = "; read_text reads texts, of which TextWindows makes a data set" if ending in (".txt", ".md") else ""
    raise ValueError(f"load_dataset: {path}: files that end so are not read (.csv, .tsv, .parquet, .npy, .npz){hint}")


def _from_folder(path: Path, split: str | None, options: dict[str, Any]) -> Any:
    if split is not None:
        if not (path / split).is_dir():
            raise ValueError(f"load_dataset: {path} has no folder {split!r}; use random_split")
        path = path / split
    pictures, sounds = (len(files_of(path, endings)) for endings in (SUFFIXES, (".wav", ".wave")))
    if pictures and sounds:
        raise ValueError(f"load_dataset: {path} holds {pictures} pictures and {sounds} WAV files; read one of them")
    return audio_folder(path, **options) if sounds else image_folder(path, **options)


def _digits() -> ImageDataset:
    path = Path(__file__).with_name("digits.npz")
    with naming(path):
        raw = path.read_bytes()
    if hashlib.sha256(raw).hexdigest() != _DIGITS_SHA256:
        raise ValueError(f"load_dataset: {path} is not the file that came with dlcore: install it again")
    with np.load(io.BytesIO(raw), allow_pickle=False) as file:
        images = file["images"].astype(np.float32) / 16  # a value is how many pixels of a 4x4 block are set
        return ImageDataset(images, file["labels"].astype(np.int64), [str(i) for i in range(10)])


def _images_by_name(name: str, split: str, download: bool) -> ImageDataset:
    known, prefixes = _PUBLIC[name], {"train": "train", "test": "t10k"}
    if split not in prefixes:
        raise ValueError(f'load_dataset: split is "train" or "test", not {split!r}')
    names = [f"{prefixes[split]}-images-idx3-ubyte", f"{prefixes[split]}-labels-idx1-ubyte"]
    folder = find_dataset(name, names)
    if folder is None:
        looked = ", ".join(str(root / name) for root in (Path(), *_roots()))
        text = (
            f"load_dataset: {names[0]}.gz and {names[1]}.gz of {known.title} not found; looked in {looked}; "
            f"set DLCORE_DATA to the folder that holds {name}/{known.hint}"
        )
        if not download:
            raise FileNotFoundError(text)
        from dlcore.data.download import download_file  # here: Python's HTTP takes long to import

        folder = _roots()[-1] / name
        try:
            for file in names:
                if _existing(folder, file) is None:
                    urls = [f"{url}{file}.gz" for url in known.urls]
                    download_file(urls, folder / f"{file}.gz", known.sha256[file])
        except OSError as error:
            raise FileNotFoundError(f"{text}; the download has failed: {error}") from None
    paths = [_existing(folder, file) for file in names]
    images, labels = (read_idx(path) for path in paths if path is not None)
    for path, array, ndim in ((paths[0], images, 3), (paths[1], labels, 1)):
        if array.ndim != ndim or array.dtype != np.uint8:
            raise ValueError(f"{path}: {ndim} axes of bytes expected, found shape {array.shape}, {array.dtype}")
    if len(images) != len(labels):
        raise ValueError(f"{paths[1]}: {len(labels)} labels for {len(images)} images")
    if labels.size and labels.max() >= len(known.classes):
        raise ValueError(f"{paths[1]}: label {labels.max()} of {len(known.classes)} classes")
    return ImageDataset(images, labels.astype(np.int64), known.classes)


def _roots() -> list[Path]:
    """The folders in which data sets are looked for, in this order; the last one is the cache."""
    own = os.environ.get("DLCORE_DATA")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dlcore"
    return [*([Path(own).expanduser()] if own else []), Path("/usr/share/datasets"), cache]


def _existing(folder: Path, name: str) -> Path | None:
    return next((p for p in (folder / f"{name}.gz", folder / name) if p.is_file()), None)


def find_dataset(name: str, files: Sequence[str]) -> Path | None:
    """The first folder ``name``, here or under the known roots, that holds all ``files`` (plain or .gz)."""
    for root in (Path(), *_roots()):
        if all(_existing(root / name, file) is not None for file in files):
            return root / name
    return None


def read_numpy(path: Any, mmap: bool = False) -> Any:
    """The array in a .npy file, or the arrays by name in a .npz file. Nothing is unpickled: no code of a file runs.

    mmap: the array of a .npy file is not read, but mapped into memory: parts of it are read when they are used, and
    batches of it by a thread that is one batch ahead. Raises ValueError, with the name of the file, where it is
    damaged, cut short, or holds Python objects.
    """
    path, mapped = as_path(path, "read_numpy: path"), boolean(mmap, "read_numpy: mmap")
    where = f"read_numpy: {path}"
    if mapped and path.suffix.lower() == ".npz":
        raise ValueError(f"{where}: the arrays of a .npz file cannot be mapped; save them as .npy files")
    try:
        with naming(path):
            if mapped:
                return np.load(path, mmap_mode="r", allow_pickle=False)
            with open(path, "rb") as file:
                _check_size(file)
                found = np.load(file, allow_pickle=False)
                return found if isinstance(found, np.ndarray) else {name: found[name] for name in found.files}
    except Exception as error:  # of a damaged head, NumPy's parser and zipfile may raise anything
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno is not None):
            raise
        objects = "object" in str(error).lower() or "pickle" in str(error).lower()
        reason = "it holds Python objects, or is no NumPy file" if objects else f"damaged or cut short: {error}"
        raise ValueError(f"{where}: {reason}") from None


def _check_size(file: BinaryIO) -> None:
    """Raises ValueError where a .npy file is shorter than its head says: NumPy would allocate all of it first."""
    if file.read(6) == np.lib.format.MAGIC_PREFIX:
        file.seek(0)
        version = np.lib.format.read_magic(file)
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in readers:
            raise ValueError(f"its version is {version}, of which 1.0 and 2.0 are read")
        shape, _, dtype = readers[version](file)
        there, need = os.fstat(file.fileno()).st_size - file.tell(), math.prod(shape) * dtype.itemsize
        if there < need and not dtype.hasobject:
            raise ValueError(f"{there} bytes, where shape {shape} needs {need}")
    file.seek(0)
