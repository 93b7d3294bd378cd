"""Sound: WAV files, and the spectrograms that models take: log-mel and MFCC."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from dlcore._arguments import boolean, choice, integer, number
from dlcore._files import naming
from dlcore.data.dataset import TensorDataset
from dlcore.data.folders import as_path, class_folders, read_files
from dlcore.errors import ShapeError

__all__ = ["AudioFiles", "audio_folder", "log_mel", "mel_filters", "mfcc", "read_wav"]

_INTEGERS, _FLOATS, _EXTENSIBLE = 1, 3, 0xFFFE  # formats of WAV files
_TINY = 1e-10  # the least power of a band: log(0) would be minus infinity


class AudioFiles(TensorDataset):
    """The sounds of a folder of classes, as `audio_folder` gives them: features, labels.

    ``classes``: the names of the classes. ``paths``: of each sound its file. ``groups``: of each the name of its file
    without the ending, so that ``random_split(sounds, [0.8, 0.2], groups=True)`` keeps files of one name together,
    such as one prompt in several languages. ``rate``: samples a second. ``skipped``: the files that were left out, each
    with what is wrong with it.
    """

    classes: tuple[str, ...]
    paths: tuple[Path, ...] = ()
    rate: int = 0
    skipped: tuple[tuple[Path, str], ...] = ()

    @property
    def labels(self) -> Any:
        """The labels, (N,)."""
        return self.arrays[1]


def audio_folder(
    path: Any,
    features: str = "log_mel",
    *,
    seconds: float | None = None,
    classes: Sequence[str] | None = None,
    skip_bad: bool = False,
    **options: Any,
) -> AudioFiles:
    """The WAV files in ``path``, which has one folder for each class, as a data set of features and labels.

    features: "log_mel" (N, mels, T), "mfcc" (N, coefficients, T), or "samples" (N, n) in -1..1, all float32;
    ``options`` are those of `log_mel` and `mfcc`. seconds: sounds are cut to this length, or followed by silence;
    default: that of the longest one. Channels are averaged. classes: the names of the folders to read, in this order.
    skip_bad: files that cannot be read, or have another rate than most, are left out and counted (a RuntimeWarning),
    where they are an error otherwise. Raises ValueError, with the name of the file, for damaged files and different
    rates; also for an empty folder and one class alone.
    """
    name = "audio_folder"
    features = choice(features, ("log_mel", "mfcc", "samples"), f"{name}: features")
    skip_bad = boolean(skip_bad, f"{name}: skip_bad")
    if features == "samples" and options:
        raise TypeError(f"{name}: {', '.join(options)} are not used for samples")
    length = None if seconds is None else number(seconds, f"{name}: seconds")
    if length is not None and not 0 < length < 1e6:
        raise ValueError(f"{name}: seconds is {length:g}; it must be positive")
    listing = class_folders(path, (".wav", ".wave"), name, "WAV files", classes)
    common = Counter(rate for rate in _rates(listing.paths) if rate)
    rate = max(common, key=lambda r: common[r], default=0)
    sounds, kept, bad = read_files(listing.paths, partial(_of_rate, rate=rate), skip_bad, name, "WAV files")
    n = max(map(len, sounds)) if length is None else round(length * rate)
    samples = np.zeros((len(sounds), n), np.float32)
    for row, sound in zip(samples, sounds, strict=True):
        row[: len(sound)] = sound[:n]
    made_by = {"log_mel": log_mel, "mfcc": mfcc}
    inputs = made_by[features](samples, rate, **options) if features in made_by else samples
    made = AudioFiles(inputs, listing.labels[kept])
    made.classes, made.rate, made.skipped = listing.classes, rate, tuple(bad)
    made.paths = tuple(listing.paths[k] for k in kept)
    made.groups = np.array([path.stem for path in made.paths])
    return made


def read_wav(path: Any) -> tuple[np.ndarray, int]:
    """The samples of a WAV file as float32 in -1..1, (n,) or (channels, n), and their rate, in samples a second.

    Integers of 8, 16, 24 and 32 bits and floats of 32 and 64 bits are read. An integer v of b bits becomes v / 2^(b-1)
    (8-bit ones are unsigned: (v - 128) / 128). A file whose head does not know the length, as a pipe writes it, is read
    to its end. Raises ValueError, with the name of the file, where it is damaged, cut short, or of another format.
    """
    path = as_path(path, "read_wav: path")
    try:
        with naming(path):
            return _wav(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"read_wav: {path}: {error}") from None


def _wav(raw: bytes) -> tuple[np.ndarray, int]:
    channels, rate, dtype, bits, data = _chunks(raw)
    width = bits // 8 * channels
    if len(data) % width:
        raise ValueError(f"{len(data)} bytes of samples are no multiple of {width}")
    if bits == 24:
        padded = np.zeros((len(data) // 3, 4), np.uint8)
        padded[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        values = padded.view("<i4").ravel().astype(np.float64) / 2**31
    else:
        values = np.frombuffer(data, dtype).astype(np.float64)
        if dtype == "u1":
            values = (values - 128) / 128
        elif dtype[1] == "i":
            values /= 2 ** (bits - 1)
    if not np.isfinite(values).all():
        raise ValueError(f"{int((~np.isfinite(values)).sum())} samples are NaN or infinite")
    samples = values.astype(np.float32)
    return (samples if channels == 1 else np.ascontiguousarray(samples.reshape(-1, channels).T)), rate


def _chunks(raw: bytes) -> tuple[int, int, str, int, bytes]:
    """Channels, rate, dtype, bits and samples of a WAV file: chunks of a name, a length and so many bytes."""
    if raw[:4] != b"RIFF" or raw[8:12] != b"WAVE":
        raise ValueError(f"not a WAV file (it begins with {raw[:4].hex(' ') or 'nothing'})")
    at, form = 12, None
    while at + 8 <= len(raw):
        name, size = raw[at : at + 4], int.from_bytes(raw[at + 4 : at + 8], "little")
        at += 8
        if name == b"fmt ":
            form = _format(raw[at : at + size])
        elif name == b"data":
            if form is None:
                raise ValueError("its samples come before their format")
            there = len(raw) - at
            if size in (0xFFFFFFFF, 0x7FFFFFFF) or (size == 0 and there):  # written to a pipe: of unknown length
                width = form[3] // 8 * form[0]
                size = there - there % width
            if size > there:
                raise ValueError(f"cut short: {there} bytes of samples, but its head says {size}")
            return *form, raw[at : at + size]
        at += size + size % 2
    raise ValueError("cut short: it has no samples")


def _format(raw: bytes) -> tuple[int, int, str, int]:
    if len(raw) < 16:
        raise ValueError("cut short within its format")
    code, channels, rate, _, _, bits = struct.unpack("<HHIIHH", raw[:16])
    if code == _EXTENSIBLE and len(raw) >= 26:
        code = int.from_bytes(raw[24:26], "little")
    kinds = {(_INTEGERS, 8): "u1", (_INTEGERS, 16): "<i2", (_INTEGERS, 24): "<i3", (_INTEGERS, 32): "<i4",
             (_FLOATS, 32): "<f4", (_FLOATS, 64): "<f8"}  # fmt: skip
    if (code, bits) not in kinds:
        raise ValueError(f"format {code} with {bits} bits; read are integers of 8 to 32 bits, and floats of 32 and 64")
    if not channels or not rate:
        raise ValueError(f"{channels} channels at {rate} samples a second")
    return channels, rate, kinds[code, bits], bits


def _rates(paths: Sequence[Path]) -> list[int]:
    """The rates that the heads of files tell, 0 where they tell none."""
    found = []
    for path in paths:
        with open(path, "rb") as file:
            head = file.read(4096)
        at = head.find(b"fmt ")
        found.append(int.from_bytes(head[at + 12 : at + 16], "little") if at >= 0 else 0)
    return found


def _of_rate(path: Path, rate: int) -> np.ndarray:
    """The samples of a file, the mean of its channels; ValueError where it has another rate, or none of them."""
    samples, own = _wav(path.read_bytes())
    if own != rate:
        raise ValueError(f"{own} samples a second, where most have {rate}")
    if not samples.size:
        raise ValueError("there are no samples in it")
    return samples if samples.ndim == 1 else samples.mean(0)


def log_mel(
    samples: Any,
    rate: int,
    *,
    mels: int = 40,
    window: int | None = None,
    hop: int | None = None,
    low: float = 20.0,
    high: float | None = None,
) -> np.ndarray:
    """The log-mel spectrogram of ``samples`` (..., n): float32 (..., mels, T), in natural logarithms of power.

    out[m, t] = ln(max(sum_k filter[m, k] |X[k, t]|^2, 1e-10)), where X[:, t] is the discrete Fourier transform of the
    samples t hop ... t hop + window - 1 times a periodic Hann window; T = 1 + (n - window) // hop, and nothing is
    padded but sounds shorter than a window, with silence. ``rate``: samples a second. window, hop: in samples (default:
    25 ms and 10 ms). The filters are those of `mel_filters`. Raises ValueError for other sizes than these can have.

    >>> tone = np.sin(2 * np.pi * 1000 * np.arange(8000) / 8000)
    >>> spectrogram = dl.data.log_mel(tone, 8000)
    >>> spectrogram.shape, int(spectrogram.mean(1).argmax())
    ((40, 98), 18)
    """
    name = "log_mel"
    samples = np.asarray(samples)
    if samples.ndim < 1 or samples.dtype.kind not in "iuf":
        raise TypeError(f"{name}: samples are an array (..., n) of numbers, not {samples.shape} {samples.dtype}")
    rate = integer(rate, f"{name}: rate", 1)
    size = integer(round(0.025 * rate) if window is None else window, f"{name}: window", 2)
    step = integer(round(0.010 * rate) if hop is None else hop, f"{name}: hop", 1)
    filters = mel_filters(rate, size, mels=mels, low=low, high=high)
    if samples.shape[-1] < size:
        samples = np.pad(samples, [(0, 0)] * (samples.ndim - 1) + [(0, size - samples.shape[-1])])
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    made = [_powers(sound, hann, step) @ filters.T for sound in samples.reshape(-1, samples.shape[-1])]
    power = np.log(np.maximum(np.stack(made), _TINY)) if made else np.zeros((0, 1, len(filters)))
    return np.ascontiguousarray(power.swapaxes(1, 2), np.float32).reshape(*samples.shape[:-1], len(filters), -1)


def _powers(samples: np.ndarray, hann: np.ndarray, step: int) -> np.ndarray:
    """|X|^2 of every window of one sound: (T, window // 2 + 1)."""
    frames = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float64), len(hann))[::step]
    return np.abs(np.fft.rfft(frames * hann)) ** 2


@lru_cache(maxsize=16)
def _filters(rate: int, window: int, mels: int, low: float, high: float) -> np.ndarray:
    def mel(hertz: Any) -> Any:
        return 2595 * np.log10(1 + np.asarray(hertz) / 700)

    edges = 700 * (10 ** (np.linspace(mel(low), mel(high), mels + 2) / 2595) - 1)
    hertz = np.fft.rfftfreq(window, 1 / rate)
    rise = (hertz - edges[:-2, None]) / np.diff(edges)[:-1, None]
    fall = (edges[2:, None] - hertz) / np.diff(edges)[1:, None]
    filters = np.maximum(0, np.minimum(rise, fall))
    filters.flags.writeable = False  # it is kept for later calls
    return filters


def mel_filters(
    rate: int, window: int, *, mels: int = 40, low: float = 20.0, high: float | None = None
) -> np.ndarray:
    """Triangular filters on the mel scale: float64 (mels, window // 2 + 1).

    mel(f) = 2595 log10(1 + f / 700) (O'Shaughnessy 1987); the ``mels`` triangles have their corners at mels + 2 points
    that are equally far from each other on that scale, from ``low`` to ``high`` hertz (default: half of ``rate``), and
    1 as their peak. Raises ValueError where a filter would be empty: the window is then too short for so many.
    """
    name = "mel_filters"
    rate, window = integer(rate, f"{name}: rate", 1), integer(window, f"{name}: window", 2)
    mels, low = integer(mels, f"{name}: mels", 1), number(low, f"{name}: low")
    high = rate / 2 if high is None else number(high, f"{name}: high")
    if not 0 <= low < high <= rate / 2:
        raise ValueError(f"{name}: from {low:g} to {high:g} hertz is no range below half of {rate}")
    filters = _filters(rate, window, mels, low, high)
    if not filters.any(axis=1).all():
        empty = int((~filters.any(axis=1)).sum())
        raise ValueError(f"{name}: {empty} of {mels} filters hold no frequency of a window of {window}: too many mels")
    return filters


def mfcc(samples: Any, rate: int, *, coefficients: int = 13, **options: Any) -> np.ndarray:
    """Mel-frequency cepstral coefficients of ``samples`` (..., n): float32 (..., coefficients, T).

    The first ``coefficients`` of the orthonormal discrete cosine transform (type 2) of `log_mel` over its bands, in the
    same natural logarithms: c[i] = s[i] sum_m logmel[m] cos(pi i (2 m + 1) / (2 M)), s[0] = sqrt(1 / M), s[i] =
    sqrt(2 / M) (Davis and Mermelstein 1980). ``options``: those of `log_mel`.
    """
    spectrogram = log_mel(samples, rate, **options).astype(np.float64)
    mels = spectrogram.shape[-2]
    count = integer(coefficients, "mfcc: coefficients", 1)
    if count > mels:
        raise ShapeError(f"mfcc: {count} coefficients of {mels} bands")
    basis = np.cos(np.pi * np.arange(count)[:, None] * (2 * np.arange(mels) + 1) / (2 * mels)) * np.sqrt(2 / mels)
    basis[0] /= np.sqrt(2)
    return (basis @ spectrogram).astype(np.float32)
