"""Data sets, splits, batches, normalisation, files."""

import collections
import copy
import gzip
import itertools
import pickle
import struct
import threading
import tracemalloc
import zlib

import numpy as np
import pytest

import dlcore as dl
from dlcore import testing
from dlcore.data import (
    Batches,
    Compose,
    DataLoader,
    ImageDataset,
    Normalize,
    ScaleBytes,
    Subset,
    TensorDataset,
    load_dataset,
    random_split,
    read_idx,
)
from dlcore.data.files import FASHION_FILES, find_dataset
from dlcore.data.transforms import from_config, to_config
from dlcore.ops.scaling import take_scaled

needs_fashion = pytest.mark.skipif(
    find_dataset("fashion-mnist", FASHION_FILES) is None, reason="Fashion-MNIST is not here: set DLCORE_DATA"
)


def numbered(n=10):
    return TensorDataset(np.arange(2 * n, dtype=np.float32).reshape(n, 2), np.arange(n))


def test_tensor_dataset_indexes_all_arrays_alike():
    data = numbered()
    assert len(data) == 10
    x, y = data[3]
    assert x.tolist() == [6, 7] and y == 3
    assert data[2:4][1].tolist() == [2, 3] and data[np.array([5, 1])][1].tolist() == [5, 1]
    assert TensorDataset([[1.0], [2.0]], dl.tensor([3, 4]))[1][1].item() == 4
    with pytest.raises(ValueError, match=r"lengths differ: shapes \(3,\), \(4,\)"):
        TensorDataset(np.zeros(3), np.zeros(4))
    with pytest.raises(ValueError, match="no arrays"):
        TensorDataset()


def test_tensors_share_the_arrays_memory():
    x = np.zeros((3, 2), np.float32)
    data = TensorDataset(x)
    x[1] = 7
    assert data.tensors[0][1].tolist() == [7, 7]
    big_endian, frozen = np.arange(3, dtype=">i4"), np.arange(3)
    frozen.flags.writeable = False
    assert [t.tolist() for t in TensorDataset(big_endian, frozen).tensors] == [[0, 1, 2], [0, 1, 2]]


def test_subset_of_subset():
    outer = Subset(numbered(), [4, 2, -1, 0])
    inner = Subset(outer, [2, 0])
    assert len(inner) == 2 and inner[0][1] == 9 and inner[np.array([1, 0])][1].tolist() == [4, 9]
    assert [y.tolist() for _, y in DataLoader(inner, batch_size=2)] == [[9, 4]]
    assert len(Subset(numbered(), [])) == 0
    with pytest.raises(IndexError, match="indices run to 10, the data set has 10"):
        Subset(numbered(), [10])
    with pytest.raises(TypeError, match="vector of integers"):
        Subset(numbered(), [0.5])


@pytest.mark.parametrize(
    ("n", "lengths", "sizes"),
    [
        (10, [7, 3], [7, 3]),
        (1797, [0.7, 0.15, 0.15], [1258, 270, 269]),
        (10, [1 / 3, 1 / 3, 1 / 3], [4, 3, 3]),
        (0, [0.5, 0.5], [0, 0]),
        (5, [5, 0], [5, 0]),
    ],
)
def test_random_split_is_disjoint_complete_and_repeatable(n, lengths, sizes):
    parts = random_split(numbered(n), lengths, seed=3)
    assert [len(p) for p in parts] == sizes
    indices = np.concatenate([p.indices for p in parts])
    assert sorted(indices.tolist()) == list(range(n))
    again = random_split(numbered(n), lengths, seed=3)
    assert all((a.indices == b.indices).all() for a, b in zip(parts, again, strict=True))
    if n > 9:
        assert (indices != np.concatenate([p.indices for p in random_split(numbered(n), lengths, seed=4)])).any()


@pytest.mark.parametrize(
    ("lengths", "text"),
    [
        ([5, 4], "add up to 9, the data set has 10"),
        ([0.5, 0.4], "add up to 0.9, not to 1"),
        ([], "positive"),
        ([-1, 11], "positive"),
    ],
)
def test_random_split_checks_lengths(lengths, text):
    with pytest.raises(ValueError, match=text):
        random_split(numbered(), lengths)


def test_loader_gives_every_sample_once_and_the_last_batch_is_short():
    loader = DataLoader(numbered(), batch_size=4, shuffle=True, seed=1)
    assert len(loader) == 3
    epochs = [[y.tolist() for _, y in loader] for _ in range(2)]
    assert [len(batch) for batch in epochs[0]] == [4, 4, 2]
    assert all(sorted(itertools.chain(*epoch)) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1]
    again = DataLoader(numbered(), batch_size=4, shuffle=True, seed=1)
    assert [[y.tolist() for _, y in again] for _ in range(2)] == epochs
    again.epoch = 1
    assert [y.tolist() for _, y in again] == epochs[1]
    for x, y in loader:
        assert (np.asarray(x)[:, 0] == 2 * np.asarray(y)).all()


def test_order_is_one_tensor_written_anew():
    for data in (numbered(), Subset(numbered(), [7, 1, 4])):
        loader = DataLoader(data, batch_size=4, shuffle=True, seed=5)
        order = loader.order(0)
        place = order.data_ptr
        epochs = [[y.tolist() for _, y in loader] for _ in range(3)]
        for epoch, batches in enumerate(epochs):
            assert loader.order(epoch) is order and order.data_ptr == place
            assert order.tolist() == list(itertools.chain(*batches))
    assert DataLoader(numbered(3)).order(1).tolist() == [0, 1, 2]
    assert DataLoader(Subset(numbered(), [7, 1, 4])).order(1).tolist() == [7, 1, 4]


def test_orders_are_those_of_the_seed():
    loader = DataLoader(numbered(8), 8, shuffle=True, seed=11)
    generator = dl.random.Generator(11)
    assert loader.order(0).tolist() == dl.random.permutation(8, generator=generator).tolist()


def test_iterations_of_one_loader_do_not_disturb_each_other():
    loader = DataLoader(numbered(), batch_size=3, shuffle=True)
    first = iter(loader)
    seen = next(first)[1].tolist()
    list(loader)
    loader.order(7)
    for _, y in first:
        seen += y.tolist()
    loader.epoch = 0
    assert seen == list(itertools.chain(*(y.tolist() for _, y in loader)))


def test_a_subclass_may_change_samples_on_the_way():
    class Doubled(TensorDataset):
        def __getitem__(self, i):
            x, y = super().__getitem__(i)
            return 2 * x, y

    class Gathered(TensorDataset):
        def gather(self, rows):
            x, y = super().gather(rows)
            return x * 3.0, y

    x = np.arange(4, dtype=np.float32)
    for own, factor in ((Doubled, 2), (Gathered, 3)):
        loader = DataLoader(own(x, x), batch_size=3, transform=Normalize(0.0, 1.0))
        assert loader.host and [a.tolist() for a, _ in loader] == [[0, factor, 2 * factor], [3 * factor]]
    assert not DataLoader(numbered()).host and DataLoader(Samples(x)).host


def test_ahead_gives_the_same_batches_from_one_thread():
    threads = set()

    class Watched(Samples):
        def __getitem__(self, i):
            threads.add(threading.get_ident())
            if i == 8:
                raise OSError("sample 8 is damaged")
            return super().__getitem__(i)

    images = np.arange(10 * 12, dtype=np.uint8).reshape(10, 3, 4)
    windows = [slice(0, 3), slice(3, 6), slice(6, 7)]
    for data in (Watched(images), TensorDataset(images, np.arange(10))):
        batches = Batches(data, Normalize(0.5, 0.5))
        assert list(batches.ahead([])) == []
        for got, index in zip(batches.ahead(windows), windows, strict=True):
            for part, want in zip(got, batches.fetch(index), strict=True):
                np.testing.assert_array_equal(np.asarray(part), np.asarray(want))
    assert len(threads) == 2  # its own, and this one
    failing = Batches(Watched(images)).ahead([slice(0, 3), slice(6, 9)])
    assert next(failing)[1].tolist() == [0, 1, 2]
    with pytest.raises(OSError, match="sample 8"):
        next(failing)


@pytest.mark.parametrize("transform", [None, Normalize(0.3, 0.25), lambda x: x * 2.0])
def test_fetch_in_a_recorded_step(transform):
    images = np.random.default_rng(0).integers(0, 256, (30, 4, 5)).astype(np.uint8)
    data = Subset(ImageDataset(images, np.arange(30) % 3), np.arange(2, 30))
    batches = Batches(data, transform, shuffle=True)
    step = dl.capture(lambda index: batches.fetch(index))
    for epoch in range(3):
        order = batches.order(epoch)
        for start in range(0, 28, 8):
            index = order[start : start + 8]
            for replayed, eager in zip(step(index), batches.fetch(index), strict=True):
                np.testing.assert_array_equal(np.asarray(replayed), np.asarray(eager))
    assert step.recordings == 2  # full batches, and the last one


def test_loader_drop_last_and_bad_batch_size():
    loader = DataLoader(numbered(), batch_size=4, drop_last=True)
    assert len(loader) == 2 and [y.tolist() for _, y in loader] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert list(DataLoader(numbered(0), batch_size=4)) == []
    with pytest.raises(ValueError, match="batch_size is 0; it must be at least 1"):
        DataLoader(numbered(), batch_size=0)


def test_loader_takes_any_dataset():
    class Squares:
        def __len__(self):
            return 5

        def __getitem__(self, i):
            return np.full(2, i, np.float32), i * i

    batches = [(x.tolist(), y.tolist()) for x, y in DataLoader(Squares(), batch_size=3)]
    assert batches == [([[0, 0], [1, 1], [2, 2]], [0, 1, 4]), ([[3, 3], [4, 4]], [9, 16])]
    shuffled = np.concatenate([y.tolist() for _, y in DataLoader(Subset(Squares(), [4, 1]), 2, shuffle=True)])
    assert sorted(shuffled) == [1, 16]
    assert Normalize.of(Squares()).mean.tolist() == [2, 2]


@pytest.mark.parametrize("shape", [(2, 12), (2, 3, 4), (2, 1, 3, 4)])
def test_bytes_of_images_become_floats_before_the_transform(shape):
    images = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(shape)
    seen = []
    loader = DataLoader(ImageDataset(images, [0, 1]), batch_size=2, transform=lambda x: seen.append(x) or x * 2.0)
    ((x, _),) = loader
    assert seen[0].dtype is dl.float32
    np.testing.assert_array_equal(np.asarray(seen[0]), images.astype(np.float32) * np.float32(1 / 255))
    np.testing.assert_array_equal(np.asarray(x), np.asarray(seen[0]) * 2)
    ((x, _),) = DataLoader((images, [0, 1]), batch_size=2)
    assert x.dtype is dl.uint8 and x.tolist() == images.tolist()  # a plain array is taken as it is
    ((x, _),) = DataLoader(ImageDataset(images.astype(np.float32), [0, 1]), batch_size=2)
    assert x.tolist() == images.tolist()


def test_normalize_per_feature():
    x = np.random.default_rng(0).normal(3, 2, (9000, 3)).astype(np.float32)
    x[:, 1] = 5
    n = Normalize.of(TensorDataset(x, x))
    np.testing.assert_allclose(n.mean, x.astype(np.float64).mean(0), rtol=1e-12)
    np.testing.assert_allclose(
        n.std, [x[:, 0].astype(np.float64).std(), 1, x[:, 2].astype(np.float64).std()], rtol=1e-12
    )
    y = n(dl.tensor(x))
    assert y.dtype is dl.float32
    np.testing.assert_allclose(np.asarray(y).std(0), [1, 0, 1], atol=1e-3)
    np.testing.assert_allclose(n(x), np.asarray(y), rtol=1e-6, atol=1e-6)
    assert (np.asarray(y)[:, 1] == 0).all()
    part = Normalize.of(Subset(TensorDataset(x, x), np.arange(100)))
    np.testing.assert_allclose(part.mean, x[:100].astype(np.float64).mean(0), rtol=1e-12)


@pytest.mark.parametrize(("shape", "axes"), [((50, 4, 5), (0, 1, 2)), ((50, 3, 4, 5), (0, 2, 3)), ((50,), (0,))])
def test_normalize_per_channel(shape, axes):
    images = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    x = images / 255
    n = Normalize.of(ImageDataset(images, np.arange(50)))
    plain = Normalize.of(images)
    np.testing.assert_allclose([n.mean, n.std], [x.mean(axes), x.std(axes)], rtol=1e-6)
    np.testing.assert_allclose([plain.mean, plain.std], [images.mean(axes), images.std(axes)], rtol=1e-12)
    y = np.asarray(n(dl.tensor(x.astype(np.float32))))
    np.testing.assert_allclose(y.mean(axes), 0, atol=1e-5)
    np.testing.assert_allclose(y.std(axes), 1, atol=1e-4)


EPS = float(np.finfo(np.float32).eps)


def test_bytes_fill_0_to_1():
    x = ScaleBytes()(np.arange(256, dtype=np.uint8).reshape(1, 16, 16)).ravel()
    np.testing.assert_allclose(x, np.arange(256) / 255, rtol=EPS)
    assert x[0] == 0 and x[255] == 1


@pytest.mark.parametrize("mean, std", [(0.3, 0.25), ([0.3, -4.0, 1000.0], [0.25, 2.0, 0.1]), (0.0, [1.0, 2.0, 3.0])])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int64", "uint8"])
def test_normalize_means_what_it_says(mean, std, dtype):
    mean, std = np.asarray(mean), np.asarray(std)
    x = (100 * np.random.default_rng(0).standard_normal((20, 3))).astype(dtype)
    y = Normalize(mean, std)(x)
    assert y.dtype == (dtype if "float" in dtype else "float32")
    eps = float(np.finfo(y.dtype).eps)
    held = mean.astype(np.float64 if dtype in ("float64", "int64") else np.float32)  # the mean as it is subtracted
    exact = (x.astype(np.float64) - held) / std
    assert (np.abs(y - exact) <= 2 * eps * np.abs(exact)).all()
    if dtype == "uint8":  # bytes of images count as 0..1, with the mean and the scale rounded once
        y = Compose(ScaleBytes(), Normalize(mean, std))(x)
        exact = (x.astype(np.float64) - (mean * 255).astype(np.float32)) / (std * 255)
        assert y.dtype == np.float32 and (np.abs(y - exact) <= 2 * eps * np.abs(exact)).all()


@pytest.mark.parametrize(
    "transform",
    [
        None,
        Normalize(0.3, 0.25),
        Normalize([0.1, 0.2, 0.3], [1.0, 2.0, 3.0]),
        Compose(Normalize(0.3, 0.25), lambda x: x * x, Normalize(0.0, 3.0)),
    ],
)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("scaled", [False, True])
def test_all_ways_to_a_batch_have_the_same_bits(transform, dtype, scaled):
    images = np.random.default_rng(0).integers(0, 256, (40, 3, 5, 7)).astype(dtype)
    own = (ScaleBytes(),) if scaled else ()
    steps = Compose(*own, *(() if transform is None else (transform,)))
    want = steps(images)
    np.testing.assert_array_equal(np.asarray(steps(dl.tensor(images))), want)
    data, order = (ImageDataset if scaled else TensorDataset)(images, np.arange(40)), np.arange(40)[::-1]
    for source in (data, Subset(data, order), Samples(images, *own), DataLoader(data, transform=transform)):
        loaded = None if isinstance(source, DataLoader) else transform
        for x, y in DataLoader(source, 7, shuffle=True, transform=loaded):
            np.testing.assert_array_equal(np.asarray(x), want[np.asarray(y)])
            assert np.asarray(x).dtype == want.dtype
    for x, y in DataLoader(data, 7, transform=transform):
        np.testing.assert_array_equal(np.asarray(x), want[np.asarray(y)])


class Samples:
    """Images one at a time, with their positions as labels."""

    def __init__(self, images, preprocessing=None):
        self.images, self.preprocessing = images, preprocessing

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return self.images[i], i


def test_take_scaled_is_its_composite_bit_for_bit():
    with dl.no_grad():
        for sample in testing.samples(take_scaled.op):
            for dtype in (dl.float32, dl.float64):
                operands = testing.tensors(testing.rounded(take_scaled.op, sample, dtype))
                fused, parts = take_scaled(*operands), take_scaled.op.by_position(*wide_like(operands))
                assert fused.dtype is parts.dtype
                assert np.asarray(fused).tobytes() == np.asarray(parts).tobytes(), sample.why


def wide_like(operands):
    """The operands as the operation promotes them: offset and scale in the dtype that x is computed in."""
    x, offset, scale, index = operands
    wide = "float64" if x.dtype is dl.float64 else "float32"
    return x, dl.tensor(offset, wide), dl.tensor(scale, wide), index


def test_normalize_has_a_gradient():
    x = dl.tensor(np.ones((2, 3), np.float32), requires_grad=True)
    Normalize([1.0, 2.0, 3.0], [0.5, 0.25, 2.0])(x).sum().backward()
    assert x.grad.tolist() == [[2, 4, 0.5]] * 2


def test_normalize_is_saved_and_copied_after_use():
    n = Normalize([0.1, 0.2], [1.0, 2.0])
    x = np.ones((3, 2), np.float32)
    want = n(x)
    for again in (copy.deepcopy(n), pickle.loads(pickle.dumps(n)), from_config(to_config(n))):
        np.testing.assert_array_equal(again(x), want)


def test_normalize_checks_its_numbers():
    with pytest.raises(ValueError, match="finite"):
        Normalize(0.0, -1.0)
    with pytest.raises(ValueError, match=r"mean has shape \(2,\), std \(3,\)"):
        Normalize([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="empty"):
        Normalize.of(numbered(0))


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


def test_normalize_cannot_be_changed():
    mean = np.array([1.0, 2.0])
    transform = Normalize(mean, [1.0, 0.0])
    mean[0] = 7.0
    assert transform.mean.tolist() == [1.0, 2.0] and transform.std.tolist() == [1.0, 1.0]
    with pytest.raises(AttributeError, match="mean"):
        transform.mean = mean
    with pytest.raises(ValueError, match="read-only"):
        transform.std[0] = 2.0


@pytest.mark.parametrize(
    "make",
    [lambda x: x, lambda x: x.tolist(), dl.tensor, lambda x: (x, x[:, 0]), lambda x: list(zip(x, x, strict=True))],
)
def test_normalize_of_arrays_takes_all_columns(make):
    x = np.random.default_rng(0).normal([1.0, -5.0, 100.0], [1.0, 2.0, 0.1], (50, 3)).astype(np.float32)
    n = Normalize.of(make(x))
    np.testing.assert_allclose(n.mean, x.astype(np.float64).mean(0), rtol=1e-12)
    np.testing.assert_allclose(n.std, x.astype(np.float64).std(0), rtol=1e-12)


def test_normalize_of_a_data_set_that_changes_its_samples():
    class Doubled(TensorDataset):
        def __getitem__(self, index):
            x, y = super().__getitem__(index)
            return 2 * x, y

    x = np.arange(12, dtype=np.float32).reshape(6, 2)
    np.testing.assert_allclose(Normalize.of(Doubled(x, x)).mean, 2 * x.mean(0))
    np.testing.assert_allclose(Normalize.of(Subset(Doubled(x, x), [1, 3])).mean, 2 * x[[1, 3]].mean(0))


def test_statistics_do_not_cancel():
    rng = np.random.default_rng(1)
    x = np.stack([1.7e9 + rng.standard_normal(9000), np.full(9000, 0.1), 1e-9 * rng.standard_normal(9000)], 1)
    n = Normalize.of(x)
    np.testing.assert_allclose(n.std[[0, 2]], [x[:, 0].std(), x[:, 2].std()], rtol=1e-9)
    assert n.std[1] == 1 and n.mean[1] == 0.1  # a constant that no binary number holds exactly
    assert (n(x)[:, 1] == 0).all()
    with pytest.raises(ValueError, match=r"Normalize.of: the data contain NaN or infinity"):
        Normalize.of(np.array([[1.0, np.nan]]))


def test_random_split_keeps_the_rows_of_a_tuple_together():
    x, y = np.arange(20).reshape(10, 2), np.arange(10)
    parts = random_split((x, y), [0.7, 0.3], seed=1)
    assert [len(part) for part in parts] == [7, 3]
    rows = [(tuple(a), int(b)) for part in parts for a, b in part]
    assert sorted(rows) == [((2 * i, 2 * i + 1), i) for i in range(10)]
    with pytest.raises(ValueError, match="random_split: dataset: lengths differ"):
        random_split((x, y[:9]), [0.5, 0.5])
    parts = random_split({"y": y, "x": x}, [0.5, 0.5])
    assert parts[0].names == ("x", "y") and parts[0][0][0].shape == (2,)
    with pytest.raises(TypeError, match="random_split: dataset: a data set"):
        random_split(3, [0.5, 0.5])
    with pytest.raises(TypeError, match="samples of different shapes"):
        random_split([x, y], [0.5, 0.5])


@pytest.mark.parametrize("n", [1, 2, 7, 10, 1_000_003])
@pytest.mark.parametrize("fractions", [(0.1,) * 10, (1 / 3,) * 3, (0.7, 0.2, 0.1), (0.3333333, 0.6666668), (1, 0)])
def test_fractions_lose_no_sample_and_take_none_twice(n, fractions):
    parts = random_split(range(n), fractions)
    indices = np.concatenate([part.indices for part in parts])
    assert len(indices) == n and len(np.unique(indices)) == n


def test_loaders_of_one_program_have_orders_of_their_own():
    def order(**options):
        return [int(y) for _, y in DataLoader((np.zeros((20, 1)), np.arange(20)), shuffle=True, **options)]

    dl.manual_seed(5)
    first, second = order(), order()
    assert first != second and sorted(first) == sorted(second) == list(range(20))
    dl.manual_seed(5)
    assert order() == first and order(seed=3) == order(seed=3)


def test_no_batch_at_all_is_an_error():
    data = TensorDataset(np.zeros((5, 2)), np.zeros(5))
    with pytest.raises(ValueError, match="DataLoader: with drop_last there is no batch of 8 in 5 samples"):
        DataLoader(data, batch_size=8, drop_last=True)
    assert [len(x) for x, _ in DataLoader(data, batch_size=8)] == [5]
    assert list(DataLoader(TensorDataset(np.zeros((0, 2))), batch_size=8, drop_last=True)) == []


def test_changed_arrays_are_seen_and_replaced_ones_refused():
    images = ImageDataset(np.zeros((4, 2, 2), np.float32), np.arange(4))
    loader = DataLoader(images, batch_size=4)
    list(loader)
    images.images[2] = 7
    images.labels[0] = 3
    ((x, y),) = loader
    assert x[2].tolist() == [[7, 7], [7, 7]] and y.tolist() == [3, 1, 2, 3]
    with pytest.raises(AttributeError):
        images.labels = np.zeros(4)


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint32", "float64"])
def test_whole_numbers_far_from_zero_are_normalised(dtype):
    x = (1_700_000_000 + np.arange(12).reshape(6, 2)).astype(dtype)
    n = Normalize.of(x)
    exact = (x.astype(np.float64) - x.astype(np.float64).mean(0)) / x.astype(np.float64).std(0)
    y = n(x)
    assert y.dtype == (np.float64 if dtype == "float64" else np.float32)
    np.testing.assert_allclose(y, exact, rtol=1e-6)
    if dtype != "uint32":
        ((batch,),) = DataLoader(x, batch_size=6, transform=n)
        np.testing.assert_array_equal(np.asarray(batch), y)


@pytest.mark.parametrize(
    "samples, error, text",
    [
        (
            [(np.zeros(2), 0), (np.zeros(3), 1)],
            dl.ShapeError,
            r"DataLoader: part 0 of the samples has shapes \(2,\) and \(3,\)",
        ),
        ([(np.zeros(2), 0), (np.zeros(2),)], ValueError, "DataLoader: the samples of a batch have 1 and 2 parts"),
        ([(np.zeros(2), [1, [2]])], TypeError, "part 1 of a sample .* is not an array of numbers"),
    ],
)
def test_samples_that_are_not_alike_are_named(samples, error, text):
    with pytest.raises(error, match=text):
        list(DataLoader(samples, batch_size=len(samples)))
    with pytest.raises(TypeError, match="a list of samples of different shapes"):
        DataLoader([[1.0, 2.0], [3.0, 4.0], [5.0]])


def test_unsigned_integers_of_any_size_are_normalised():
    x = np.array([[2**63 + 2048]], np.uint64)
    assert Normalize(2.0**63, 1.0)(x).tolist() == [[2048.0]] and Normalize(2.0**63, 1.0)(x).dtype == np.float32
    assert Normalize(0.0, 2.0)(np.array([4, 6], np.uint32)).tolist() == [2.0, 3.0]


# ---- splits ---------------------------------------------------------------------------------------------------------


def labelled(counts, seed=0):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    return TensorDataset(np.arange(len(labels), dtype=np.float32)[:, None], labels)


@pytest.mark.parametrize("counts", [(50, 50), (90, 9, 1), (7, 11, 13, 17), (3,) * 20, (1000, 1, 1, 1)])
@pytest.mark.parametrize("lengths", [(0.7, 0.15, 0.15), (0.5, 0.5), (1, 0), (1 / 3, 1 / 3, 1 / 3), (0.9, 0.0, 0.1)])
@pytest.mark.filterwarnings("ignore:random_split. some parts have no sample of class")
def test_a_stratified_split_gives_every_class_its_share(counts, lengths):
    data = labelled(counts)
    parts = random_split(data, lengths, stratify=True, seed=3)
    sizes = [len(p) for p in random_split(data, lengths, seed=3)]
    assert [len(p) for p in parts] == sizes
    assert sorted(np.concatenate([p.indices for p in parts]).tolist()) == list(range(len(data)))
    for part in parts:
        found = np.bincount(data.arrays[1][part.indices], minlength=len(counts))
        assert (np.abs(found - np.array(counts) * len(part) / len(data)) <= 1).all()
    again = random_split(data, lengths, stratify=data.arrays[1] * 2.5, seed=3)
    assert all((a.indices == b.indices).all() for a, b in zip(parts, again, strict=True))
    order = parts[0].indices
    assert (np.diff(data.arrays[1][order]) != 0).sum() >= min(len(counts), 2) - 1  # not class by class


def test_what_a_stratified_split_cannot_do_is_said():
    with pytest.warns(RuntimeWarning, match=r"some parts have no sample of class 'rare' \(1 samples\)"):
        random_split(ImageDataset(np.arange(10.0)[:, None, None], [0] * 9 + [1], ["often", "rare"]), [0.5, 0.5],
                     stratify=True)  # fmt: skip
    with pytest.raises(TypeError, match="random_split: stratify=True needs one integer a sample as target"):
        random_split((np.zeros((4, 1)), np.arange(4.0)), [0.5, 0.5], stratify=True)
    with pytest.raises(ValueError, match="random_split: dataset has inputs but no targets"):
        random_split(np.zeros((4, 1)), [0.5, 0.5], stratify=True)
    with pytest.raises(dl.ShapeError, match="random_split: stratify: one value for each of 4 samples"):
        random_split(np.zeros((4, 1)), [0.5, 0.5], stratify=[1, 2])
    with pytest.raises(ValueError, match="stratify and groups are both given"):
        random_split(labelled((2, 2)), [0.5, 0.5], stratify=True, groups=[0, 1, 2, 3])
    with pytest.raises(TypeError, match=r"random_split: seed 1\.5 is not an integer"):
        random_split(labelled((2, 2)), [0.5, 0.5], seed=1.5)


@pytest.mark.parametrize("lengths", [(0.7, 0.15, 0.15), (0.5, 0.0, 0.5), (0.98, 0.02)])
def test_a_split_by_groups_keeps_groups_together(lengths):
    rng = np.random.default_rng(0)
    groups = np.array([f"g{g}" for g in rng.integers(0, 60, 400)])
    parts = random_split(np.arange(400.0)[:, None], lengths, groups=groups, seed=2)
    assert sorted(np.concatenate([p.indices for p in parts]).tolist()) == list(range(400))
    held = [set(groups[p.indices]) for p in parts]
    for a, b in itertools.combinations(held, 2):
        assert not a & b
    for part, share in zip(parts, lengths, strict=True):
        assert abs(len(part) - 400 * share) <= 20 and (len(part) > 0) == (share > 0)
    few = random_split(range(100), [0.9, 0.1], groups=np.arange(100) // 50)
    assert [len(p) for p in few] == [50, 50]
    with pytest.raises(ValueError, match="random_split: 2 groups cannot be split into 3 parts"):
        random_split(range(100), [0.5, 0.3, 0.2], groups=np.arange(100) // 50)
    with pytest.raises(ValueError, match="groups=True, and the data set knows of no groups"):
        random_split(range(100), [0.5, 0.5], groups=True)


def test_large_groups_are_in_every_part_now_and_then():
    groups = np.repeat(np.arange(11), [50] + [5] * 10)
    splits = (random_split(range(100), [0.7, 0.3], groups=groups, seed=seed) for seed in range(60))
    assert 3 < sum(0 in held_out.indices for _, held_out in splits) < 40


@pytest.mark.parametrize("k", [2, 3, 10])
@pytest.mark.parametrize("kind", ["plain", "stratified", "groups"])
def test_folds(k, kind):
    data = labelled((40, 25, 38))
    groups = np.arange(103) // 4
    options = {"plain": {}, "stratified": {"stratify": True}, "groups": {"groups": groups}}[kind]
    folds = dl.data.k_fold(data, k, seed=1, **options)
    held = [held_out.indices for _, held_out in folds]
    assert sorted(np.concatenate(held).tolist()) == list(range(103))
    for train, held_out in folds:
        assert sorted([*train.indices.tolist(), *held_out.indices.tolist()]) == list(range(103))
        if kind == "groups":
            assert not set(groups[train.indices]) & set(groups[held_out.indices])
    sizes = [len(rows) for rows in held]
    assert max(sizes) - min(sizes) <= (4 if kind == "groups" else 1)
    if kind == "stratified":
        counts = np.array([np.bincount(data.arrays[1][rows], minlength=3) for rows in held])
        assert (counts.max(0) - counts.min(0) <= 1).all()
    assert (held[0] != dl.data.k_fold(data, k, seed=2, **options)[0][1].indices[: len(held[0])]).any()


def test_folds_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="k_fold: 11 folds of 10 samples"):
        dl.data.k_fold(range(10), 11)
    with pytest.raises(ValueError, match="k_fold: k is 1; it must be at least 2"):
        dl.data.k_fold(range(10), 1)
    with pytest.raises(ValueError, match="k_fold: class 1 has 3 samples for 4 folds"):
        dl.data.k_fold(labelled((10, 3)), 4, stratify=True)
    dl.manual_seed(1)
    first, second = (dl.data.k_fold(range(50), 5, seed=None)[0][1].indices.tolist() for _ in range(2))
    dl.manual_seed(1)
    assert first != second and first == dl.data.k_fold(range(50), 5, seed=None)[0][1].indices.tolist()


@pytest.mark.parametrize("wide", [1, 40])
def test_equal_samples_in_different_parts_are_told(wide):
    x = np.arange(20, dtype=np.float32)[:, None].repeat(wide, 1)
    x[[3, 7, 11]] = x[0]
    x[5] = x[6]
    numbers = dl.data.equal_samples(x)
    assert len(np.unique(numbers)) == 16 and len(np.unique(numbers[[0, 3, 7, 11]])) == 1 and numbers[5] == numbers[6]
    with pytest.warns(RuntimeWarning, match="random_split: 4 of 20 samples have inputs that are equal") as caught:
        random_split(x, [0.5, 0.5], seed=3)
    assert caught[0].filename == __file__
    parts = random_split(x, [0.5, 0.5], groups=numbers)
    assert dl.data.shared_samples(*parts) == 0
    parts = random_split(x, [0.5, 0.5], seed=3, equal=False)
    assert dl.data.shared_samples(*parts) == len(set(parts[1].indices) & {0, 3, 7, 11})
    with pytest.warns(RuntimeWarning, match="k_fold: 6 of 20 .* another of the folds"):
        dl.data.k_fold(x, 20)
    many = [(row, 0) for row in x]
    random_split(many, [0.5, 0.5], seed=3)  # what Python code makes is not looked through unasked
    with pytest.warns(RuntimeWarning, match="4 of 20"):
        random_split(many, [0.5, 0.5], seed=3, equal=True)


# ---- what counts as data, at every door ------------------------------------------------------------------------------

X3 = np.random.default_rng(0).standard_normal((12, 3)).astype(np.float32)
Y2 = np.arange(12) % 2


class Named:
    """Samples as dicts, the target first."""

    def __len__(self):
        return 12

    def __getitem__(self, index):
        return {"label": Y2[index], "x": X3[index]}


def fitted(data):
    model = dl.nn.Linear(3, 2)
    optimizer = dl.optim.SGD(model.parameters(), lr=0.1)
    dl.fit(model, data, loss=dl.cross_entropy, optimizer=optimizer, epochs=1, batch_size=5, shuffle=False)
    return np.asarray(model.weight)


DOORS = {
    "fit: train": fitted,
    "evaluate: data": lambda data: dl.evaluate(dl.nn.Linear(3, 2), data, loss=dl.cross_entropy)["loss"],
    "predict: inputs": lambda data: np.asarray(dl.predict(dl.nn.Linear(3, 2), data)),
    "random_split: dataset": lambda data: [inputs(part) for part in random_split(data, [0.5, 0.5])],
    "k_fold: dataset": lambda data: [inputs(held_out) for _, held_out in dl.data.k_fold(data, 3)],
    "Normalize.of: dataset": lambda data: Normalize.of(data).mean,
    "Standardize.of: dataset": lambda data: dl.data.Standardize.of(data).std,
    "DataLoader: dataset": lambda data: np.concatenate([np.asarray(x) for x, *_ in DataLoader(data, 5)]),
    "describe: dataset": lambda data: dl.data.describe(data).parts[0].mean,
    "Subset: dataset": lambda data: np.stack(inputs(Subset(data, [3, 1]))),
    "equal_samples: dataset": dl.data.equal_samples,
}


def inputs(dataset):
    return [np.asarray(x) for batch in DataLoader(dataset, 1) for x in np.asarray(batch[0])]


SAME = {
    "data set": lambda: TensorDataset(X3, Y2),
    "namedtuple": lambda: collections.namedtuple("Pair", "x y")(X3, Y2),
    "lists": lambda: (X3.tolist(), Y2.tolist()),
    "tensors": lambda: (dl.tensor(X3), dl.tensor(Y2)),
    "dict": lambda: {"label": Y2, "x": X3},
    "dict in a tuple": lambda: ({"x": X3}, Y2),
    "tuple in a tuple": lambda: ((X3,), Y2),
    "other dtypes": lambda: (X3.astype(">f4"), Y2.astype(np.uint16)),
    "not contiguous": lambda: (np.asfortranarray(X3), np.repeat(Y2, 2)[::2]),
    "samples": lambda: list(zip(X3, Y2, strict=True)),
    "named samples": lambda: [{"x": x, "y": y} for x, y in zip(X3, Y2, strict=True)],
    "generator": lambda: ((x, y) for x, y in zip(X3, Y2, strict=True)),
    "zip": lambda: zip(X3, Y2, strict=True),
    "data set of dicts": Named,
    "loader": lambda: DataLoader((X3 / 2, Y2), 7, shuffle=True, seed=0, transform=lambda x: x * 2.0),
    "subset": lambda: Subset((X3[::-1], Y2[::-1]), np.arange(12)[::-1]),
}


@pytest.mark.parametrize("door", DOORS)
def test_every_door_takes_the_same_data(door):
    dl.manual_seed(0)
    want = DOORS[door]((X3, Y2))
    for name, make in SAME.items():
        if door in ("equal_samples: dataset", "describe: dataset") and name == "loader":
            continue  # they tell of the samples as they are, before the transform
        dl.manual_seed(0)
        np.testing.assert_allclose(DOORS[door](make()), want, rtol=1e-6, atol=1e-7, err_msg=name)


REFUSED = [
    (lambda: (X3, Y2[:5]), dl.ShapeError, r"lengths differ: shapes \(12, 3\), \(5,\)"),
    (lambda: (X3, 3), dl.ShapeError, "lengths differ"),
    (lambda: (), ValueError, "no arrays given"),
    (dict, ValueError, "no arrays given"),
    (lambda: (X3, np.array(["a", "b"] * 6)), TypeError, r"\[1\]: the array holds texts, not integers"),
    (lambda: (X3.astype(object), Y2), TypeError, r"\[0\]: the array holds Python objects"),
    (lambda: (X3 * 1j, Y2), TypeError, r"\[0\]: the array holds complex numbers"),
    (lambda: (X3, np.array(["2020-01-01"] * 12, "datetime64[D]")), TypeError, r"\[1\]: the array holds dates"),
    (lambda: (np.zeros(12, [("a", "f4")]), Y2), TypeError, r"\[0\]: the array has the fields a"),
    (lambda: (np.ma.masked_array(X3, X3 > 100), [[1, 2], [3]]), TypeError, r"\[1\] .* is not an array of numbers"),
    (lambda: (np.ma.masked_array(X3, np.eye(12, 3) > 0), Y2), ValueError, r"\[0\]: 3 values of the array are masked"),
    (lambda: (X3, np.full(12, 2**64 - 1, np.uint64)), OverflowError, r"\[1\]: the array holds 18446744073709551615"),
    (lambda: [X3, Y2], TypeError, r"a list of samples of different shapes; give arrays as a tuple"),
    (lambda: "digits", TypeError, "'digits' is not data; load_dataset reads files"),
    (lambda: {1, 2}, TypeError, "is not data"),
    (lambda: TensorDataset, TypeError, "the class TensorDataset is not data"),
    (lambda: None, TypeError, "a data set, an array or a tuple .* expected, not None"),
    (lambda: Foreign(), TypeError, "a Foreign gives batches one after another"),
]


class Foreign:
    """A loader of another library."""

    batch_size = 4

    def __iter__(self):
        return iter([])

    def __len__(self):
        return 3


@pytest.mark.parametrize("door", DOORS)
def test_every_door_names_itself_where_it_refuses(door):
    for make, error, text in REFUSED:
        with pytest.raises(error, match=f"^{door}.*{text}"):
            DOORS[door](make())


@pytest.mark.parametrize("data", [lambda: range(5), lambda: X3, lambda: [X3[0], X3[1]], lambda: iter([])])
def test_training_needs_targets_and_samples(data):
    text = r"^fit: train(: a data set or a tuple| has inputs but no| is empty)"
    with pytest.raises((ValueError, TypeError), match=text):
        fitted(data())


# ---- augmentation ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(200, 4, 5), (200, 3, 4, 5)])
def test_random_flips_and_crops_take_what_is_there(shape):
    x = np.random.default_rng(0).random(shape).astype(np.float32) + 1
    for vertical in (False, True):
        y = np.asarray(dl.data.RandomFlip(0.3, vertical)(dl.tensor(x)))
        mirrored = x[..., ::-1, :] if vertical else x[..., ::-1]
        chosen = (y == mirrored).reshape(200, -1).all(1)
        assert ((y == x).reshape(200, -1).all(1) != chosen).all() and 35 < chosen.sum() < 85
    for size, padding in (((4, 5), 2), (3, 0), ((2, 7), 1)):
        y = np.asarray(dl.data.RandomCrop(size, padding)(dl.tensor(x)))
        height, width = size if isinstance(size, tuple) else (size, size)
        padded = np.pad(x, [(0, 0)] * (x.ndim - 2) + [(padding, padding)] * 2)
        seen = set()
        for ours, whole in zip(y, padded, strict=True):
            assert ours.shape[-2:] == (height, width)
            seen.add(next(
                (i, j)
                for i in range(whole.shape[-2] - height + 1)
                for j in range(whole.shape[-1] - width + 1)
                if (whole[..., i : i + height, j : j + width] == ours).all()
            ))  # fmt: skip
        assert len(seen) == (padded.shape[-2] - height + 1) * (padded.shape[-1] - width + 1)
    y = np.asarray(dl.data.Cutout(2)(dl.tensor(x)))
    holes = (y == 0).reshape(200, -1, 4, 5)
    assert (holes == holes[:, :1]).all() and ((y == x) | (y == 0)).all()
    assert set(holes[:, 0].sum((1, 2))) == {1, 2, 4} and holes[:, 0].any(0).all()


def test_augmentation_refuses_what_it_cannot_do():
    flat = dl.zeros(4, 6)
    for step in (dl.data.RandomFlip(), dl.data.RandomCrop(2), dl.data.Cutout(2)):
        with pytest.raises(dl.ShapeError, match=rf"{type(step).__name__}: images \(N, H, W\) or"):
            step(flat)
    with pytest.raises(dl.ShapeError, match=r"RandomCrop: images of 4 x 6 with padding 0 have no \(5, 5\)"):
        dl.data.RandomCrop(5)(dl.zeros(1, 4, 6))
    with pytest.raises(ValueError, match=r"RandomFlip: p is 1\.5"):
        dl.data.RandomFlip(1.5)
    with pytest.raises(ValueError, match="Mixup: classes must be said for labels"):
        dl.data.Mixup()(dl.zeros(3, 2), dl.tensor([0, 1, 0]))
    for wrong in (2, -1):  # which had no probabilities at all
        with pytest.raises(IndexError, match="at position 2 is out of range for axis 1 of length 2"):
            dl.data.Mixup(classes=2)(dl.zeros(3, 2), dl.tensor([0, 1, wrong]))
    with pytest.raises(ValueError, match="Mixup: alpha is 0"):
        dl.data.Mixup(0.0)
    with pytest.raises(TypeError, match="GaussianNoise: noise is added to floats, not to uint8"):
        dl.data.GaussianNoise(0.1)(dl.zeros(3, dtype=dl.uint8))


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_mixup_is_of_the_beta_distribution(alpha):
    mixup = dl.data.Mixup(alpha, classes=2)
    for _ in range(20):
        x, y = mixup(dl.tensor([[0.0], [1.0]]), dl.tensor([0, 1]))
        np.testing.assert_allclose(np.asarray(y)[:, 1], np.asarray(x)[:, 0], atol=1e-6)
        np.testing.assert_allclose(np.asarray(y).sum(1), 1, atol=1e-6)
    x, y = mixup(dl.tensor([[0.0], [1.0]]), dl.tensor([[0.0], [2.0]]))
    np.testing.assert_allclose(np.asarray(y), 2 * np.asarray(x), atol=1e-6)
    stats = pytest.importorskip("scipy.stats")
    shares = [mixup._share(dl.device("cpu")).item() for _ in range(2000)]
    assert stats.kstest(shares, stats.beta(alpha, alpha).cdf).pvalue > 1e-3


def test_augmentation_acts_on_training_alone_within_the_recorded_step():
    images = np.random.default_rng(0).integers(0, 256, (60, 6, 6)).astype(np.uint8)
    data = ImageDataset(images, np.arange(60) % 3)
    steps = [dl.data.RandomCrop(6, padding=1), dl.data.RandomFlip(), dl.data.Cutout(2), dl.data.GaussianNoise(0.01),
             dl.data.Mixup(0.3, classes=3)]  # fmt: skip
    ends = []
    for record in (True, False):
        dl.manual_seed(0)
        model = dl.nn.Sequential(dl.nn.Flatten(), dl.nn.Linear(36, 3))
        history = dl.fit(
            model, data, validation=data, augment=steps, transform=Normalize(0.5, 0.25), loss=dl.cross_entropy, seed=0,
            optimizer=dl.optim.SGD(model.parameters(), lr=0.01), epochs=3, batch_size=20, record=record,
        )  # fmt: skip
        assert history.recorded is record, history.reason
        ends.append((np.asarray(model[1].weight).tolist(), history["loss"], history["val_loss"]))
    assert ends[0] == ends[1]
    np.testing.assert_allclose(dl.evaluate(model, data, loss=dl.cross_entropy)["loss"], history["val_loss"][-1])
    assert repr(model.preprocessing) == "Compose(ScaleBytes(), Normalize(mean=0.5, std=0.25))"


def test_a_step_that_changes_targets_says_so():
    class Wrong:
        targets = True

        def __call__(self, x, y):
            return x

    with pytest.raises(TypeError, match=r"augment: a Wrong must return \(inputs, targets\), two tensors"):
        Batches((X3, Y2), augment=[Wrong()]).fetch(slice(0, 3))
    with pytest.raises(dl.ShapeError, match="augment: a Wrong changes targets, and the data has none"):
        Batches(X3, augment=[Wrong()]).fetch(slice(0, 3))
    with pytest.raises(TypeError, match="augment: a function must return a tensor for a batch, not 3"):
        Batches(X3, augment=[lambda x: 3]).fetch(slice(0, 3))


def test_what_is_cast_can_be_told():
    wide = (X3.astype(np.float64), X3.astype(np.float16))
    assert Batches(wide, dtype="float32").casts() == ["inputs float64 to float32", "targets float16 to float32"]
    assert Batches((X3, Y2), dtype="float32").casts() == [] == Batches(wide).casts()
    x, y = Batches(wide, lambda x: x * 2.0, dtype="float32").fetch(dl.tensor([1, 2]))
    assert x.dtype is dl.float32 and y.dtype is dl.float32
    np.testing.assert_allclose(np.asarray(x), 2 * X3[1:3], rtol=1e-6)
    far = 1.7e9 + np.arange(12.0)[:, None]  # float32 does not tell these apart
    (x, _) = Batches((far, Y2), Normalize.of(far), dtype="float32").fetch(slice(None))
    np.testing.assert_allclose(np.asarray(x)[:, 0], (np.arange(12) - 5.5) / np.arange(12).std(), rtol=1e-6)
