"""Data sets by name, and the files that they are read from."""

import gzip
import struct
import tracemalloc
import zlib

import numpy as np
import pytest

from dlcore.data import (
    Normalize,
    load_dataset,
    random_split,
    read_idx,
)
from dlcore.data.files import FASHION_FILES, find_dataset

needs_fashion = pytest.mark.skipif(
    find_dataset("fashion-mnist", FASHION_FILES) is None, reason="Fashion-MNIST is not here: set DLCORE_DATA"
)


def test_digits():
    digits = load_dataset("digits")
    assert digits.images.shape == (1797, 8, 8) and digits.images.dtype == np.float32
    assert digits.labels.shape == (1797,) and digits.labels.dtype == np.int64
    assert digits.images.min() == 0 and digits.images.max() == 1
    assert np.bincount(digits.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert digits.classes == tuple("0123456789")
    assert random_split(digits, [0.5, 0.5])[0].classes == digits.classes
    with pytest.raises(ValueError, match="digits has no splits"):
        load_dataset("digits", split="train")
    with pytest.raises(FileNotFoundError, match=r"'moon-landings' is not known; .* by name are digits, fash"):
        load_dataset("moon-landings")


def test_digits_are_those_of_scikit_learn():
    sklearn = pytest.importorskip("sklearn.datasets").load_digits()
    digits = load_dataset("digits")
    np.testing.assert_array_equal(digits.images * 16, sklearn.images)
    np.testing.assert_array_equal(digits.labels, sklearn.target)


@needs_fashion
@pytest.mark.parametrize(("split", "n"), [("train", 60_000), ("test", 10_000)])
def test_fashion_mnist(split, n):
    data = load_dataset("fashion-mnist", split=split)
    assert data.images.shape == (n, 28, 28) and data.images.dtype == np.uint8
    assert np.bincount(data.labels).tolist() == [n // 10] * 10 and len(data.classes) == 10
    if split == "train":
        n = Normalize.of(data)
        assert n.mean == pytest.approx(0.2860, abs=1e-4) and n.std == pytest.approx(0.3530, abs=1e-4)


def test_fashion_mnist_missing_says_where_it_looked(tmp_path, monkeypatch):
    monkeypatch.setenv("DLCORE_DATA", str(tmp_path / "here"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    if find_dataset("fashion-mnist", FASHION_FILES) is not None:
        pytest.skip("Fashion-MNIST is installed in the system")
    with pytest.raises(FileNotFoundError, match=r"train-images-idx3-ubyte\.gz") as error:
        load_dataset("fashion-mnist", download=False)
    for place in ("here", "/usr/share/datasets", "cache/dlcore"):
        assert place in str(error.value)
    with pytest.raises(ValueError, match="split is"):
        load_dataset("fashion-mnist", split="val")


def idx(array, code=0x08):
    return bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.mark.parametrize(
    "dtype", [(0x08, ">u1"), (0x09, ">i1"), (0x0B, ">i2"), (0x0C, ">i4"), (0x0D, ">f4"), (0x0E, ">f8")]
)
@pytest.mark.parametrize("packed", [False, True])
def test_idx_round_trip(tmp_path, dtype, packed):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype[1])
    raw = idx(array, dtype[0])
    (tmp_path / "x").write_bytes(gzip.compress(raw) if packed else raw)
    read = read_idx(tmp_path / "x")
    np.testing.assert_array_equal(read, array)
    assert read.dtype.isnative and read.flags.writeable


WHOLE = idx(np.arange(12, dtype=np.uint8).reshape(3, 4))


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"", "not an IDX file"),
        (b"PK\3\4" + WHOLE, "not an IDX file"),
        (bytes([0, 0, 7, 1]) + WHOLE[4:], "not an IDX file"),
        (WHOLE[:7], "cut short within its head"),
        (WHOLE[:-1], r"23 bytes, but shape \(3, 4\) needs 24"),
        (WHOLE + b"!", r"25 bytes, but shape \(3, 4\) needs 24"),
        (WHOLE + b"!" * 100, r"at least \d+ bytes, but shape \(3, 4\) needs 24"),
        (bytes([0, 0, 8, 200]) + bytes(800), "200 axes, of which at most 8 are read"),
        (bytes([0, 0, 14, 8]) + b"\xff" * 32, "is too large"),
        (bytes([0, 0, 8, 4]) + b"\0\0\0\0" + b"\xff" * 12, "is too large"),
        (bytes([0, 0, 8, 2]) + b"\x7f\0\0\0" * 2 + b"abc", r"15 bytes, but shape .* needs 45"),
        (gzip.compress(WHOLE + bytes(1000)), r"at least \d+ bytes, but shape \(3, 4\) needs 24"),
        (gzip.compress(WHOLE) + gzip.compress(b"more"), r"28 bytes, but shape \(3, 4\) needs 24"),
        (gzip.compress(WHOLE) + b"more", "damaged or cut short"),
        (gzip.compress(WHOLE)[:-9], "damaged or cut short"),
        (gzip.compress(WHOLE)[:12] + b"\xff" * 20, "damaged or cut short"),
        (gzip.compress(WHOLE)[:-8] + bytes(8), "damaged or cut short"),
    ],
    ids=["empty", "magic", "type", "head", "short", "long", "longer", "axes", "large", "large-empty", "claims",
         "gzip-long", "gzip-two", "gzip-trailing", "gzip-short", "gzip-garbage", "gzip-checksum"],
)
def test_idx_damage_is_named(tmp_path, raw, text):
    path = tmp_path / "broken-idx"
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=text) as error:
        read_idx(path)
    assert str(path) in str(error.value)


def test_of_a_gzip_that_is_larger_than_it_says_no_more_is_read(tmp_path):
    """A third of a megabyte holds a third of a gigabyte: of that, and of what the head claims, nothing is allocated."""
    packer = zlib.compressobj(wbits=31)
    head = bytes([0, 0, 8, 2]) + struct.pack(">2I", 3, 4)
    bomb = b"".join([packer.compress(head), *(packer.compress(bytes(1 << 20)) for _ in range(320)), packer.flush()])
    claim = gzip.compress(bytes([0, 0, 8, 2]) + struct.pack(">2I", 2**31, 2**31) + bytes(100))
    for raw in (bomb, claim, gzip.compress(head + bytes(12)) + bomb):
        (tmp_path / "x").write_bytes(raw)
        tracemalloc.start()
        with pytest.raises(ValueError, match="but shape"):
            read_idx(tmp_path / "x")
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
        tracemalloc.stop()


def test_gzips_in_parts_are_read(tmp_path):
    parts = gzip.compress(WHOLE[:9]) + gzip.compress(b"") + gzip.compress(WHOLE[9:]) + bytes(20)
    (tmp_path / "x").write_bytes(parts)
    assert read_idx(tmp_path / "x").tolist() == np.arange(12).reshape(3, 4).tolist()


def test_digits_that_are_not_those_that_came_are_refused(tmp_path, monkeypatch):
    from dlcore.data import files

    (tmp_path / "digits.npz").write_bytes(b"PK" + bytes(100))
    monkeypatch.setattr(files, "__file__", str(tmp_path / "files.py"))
    with pytest.raises(ValueError, match=r"digits\.npz is not the file that came with dlcore"):
        load_dataset("digits")
    (tmp_path / "digits.npz").unlink()
    with pytest.raises(FileNotFoundError, match=r"digits\.npz"):
        load_dataset("digits")


def fashion_folder(root, images, labels):
    folder = root / "fashion-mnist"
    folder.mkdir()
    for prefix in ("train", "t10k"):
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(idx(images))
        (folder / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))


@pytest.mark.parametrize(
    ("images", "labels", "text"),
    [
        ((3, 2, 2), [0, 9], "2 labels for 3 images"),
        ((3, 4), [0, 1, 2], "3 axes of bytes expected"),
        ((3, 2, 2), [0, 1, 10], "label 10 of 10 classes"),
    ],
)
def test_fashion_files_must_fit_each_other(tmp_path, monkeypatch, images, labels, text):
    monkeypatch.setenv("DLCORE_DATA", str(tmp_path))
    fashion_folder(tmp_path, np.zeros(images, np.uint8), np.array(labels, np.uint8))
    with pytest.raises(ValueError, match=text):
        load_dataset("fashion-mnist", split="test")
