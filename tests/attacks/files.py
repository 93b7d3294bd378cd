"""Damaged files.

Whatever a file holds, reading it gives what it says or raises ValueError or OSError with the path in the text; it never
takes much longer or much more memory than the file is large; and a model and an optimizer that were to be filled from
it are exactly as they were, or filled whole and usable.

The files: checkpoints of a model with optimizer and preprocessing, dicts of tensors of all dtypes, IDX files plain and
compressed, WAV, CSV and NumPy's files, texts, results of benchmarks and rooflines, tables of configurations, packs of
kernels. What is done to them: bits flipped, bytes cut, doubled, moved and overwritten, files joined; and every value
and name in their JSON, also in texts within texts, replaced by values that break naive readers.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import resource
import struct
import tempfile
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import children

UNIT = "files"
SMALL, LARGE = 1000, 120_000
SECONDS = 5.0  # that one file may take
MEMORY = 256 << 20  # bytes that one file, of at most 2 MB, may take

Edit = Callable[[random.Random, bytes], bytes]
JUNK: tuple[Callable[[random.Random], str], ...] = (
    lambda draw: draw.choice(["null", "true", "false", "{}", "[]", '""', "[[]]", '{"":{}}', "[null]", '["a"]']),
    lambda draw: draw.choice(["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1e-400", "-0.0", "0.5", "1.0"]),
    lambda draw: draw.choice(["-1", "0", "1", "7", "255", "4294967296", "-9223372036854775808"]),
    lambda draw: draw.choice([str(2**k + draw.choice([-1, 0, 1])) for k in (31, 32, 53, 62, 63, 64)]),
    lambda draw: draw.choice("123456789") * draw.choice([20, 400, 5000]),
    lambda draw: "[" * 3000 + "]" * 3000,
    lambda draw: '{"a":' * 3000 + "1" + "}" * 3000,
    lambda draw: json.dumps("x" * draw.choice([1, 1000, 100_000])),
    lambda draw: draw.choice(['"\\ud800"', '"\\udc00\\ud800"', '"\\u0000"', '"\\ud83d\\ude00"', '"../x"', '"."']),
    lambda draw: json.dumps([draw.choice([0, 1, 2, 2**40, 0.1]) for _ in range(draw.choice([1, 2, 9, 65]))]),
    lambda draw: json.dumps(draw.choice(["BOOL", "U8", "I64", "F16", "BF16", "F32", "F64", "F8_E4M3", "U64", "F4"])),
    lambda draw: json.dumps(draw.choice(["optimizer/0/step", "optimizer/", "optimizer/x/y", "__metadata__", "step"])),
    lambda draw: json.dumps(draw.choice(["[1, 2", "{", '{"name": "Normalize"}', '[{"params": [0]}]', "[]"])),
)
NAMES = ("", "x" * 100_000, "optimizer/9/step", "optimizer/0/step", "optimizer/0/a", "lr", "0.weight")


def attack(count: int, seed: int) -> Iterator[str]:
    yield from children.violations(damaged_files, count, seed, chunk=4000, seconds=900.0)


def damaged_files(first: int, count: int, seed: int) -> list[str]:
    """What was wrong with the reading of these files, a line each."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        targets = [*_checkpoints(Path(folder)), *_arrays(Path(folder)), *_tables(Path(folder))]
        _bomb()
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))
        for unit in range(first, first + count):
            draw = random.Random(f"{seed} {unit}")
            target = draw.choice(targets)
            raw = _damaged(draw, target, [t.raw for t in targets])
            children.mark(f"{unit} of seed {seed}: {target.path.name}")
            target.path.write_bytes(raw)
            start = time.perf_counter()
            wrong = target.wrong()
            seconds = time.perf_counter() - start
            if seconds > SECONDS:
                wrong = wrong or f"took {seconds:.1f} s"
            if wrong:
                found.append(f"file {unit} of seed {seed} ({target.path.name}, {len(raw)} bytes): {wrong}")
    return found


# ---- what is read ---------------------------------------------------------------------------------------------------


class Target:
    """A kind of file: ``raw``, a whole one; ``use(path)`` reads and uses it; ``edit`` damages its JSON."""

    def __init__(self, path: Path, use: Callable[[Path], object], edit: Edit | None = None) -> None:
        self.path, self.use, self.edit = path, use, edit
        self.named = str(path)  # what every error must name
        self.raw = path.read_bytes()
        use(path)

    def state(self) -> Any:
        """What a failed reading must leave as it is."""
        return None

    def restore(self) -> None:
        """Puts back what a reading that succeeded has changed."""

    def wrong(self) -> str:
        """What was wrong with reading the file, if anything was."""
        before = self.state()
        try:
            self.use(self.path)
        except (ValueError, OSError) as error:
            if self.named not in str(error):
                return f"{type(error).__name__} without the path: {str(error)[:200]}"
            return "" if self.state() == before else f"refused ({str(error)[:200]}), but something has changed"
        except Exception as error:
            return f"{type(error).__name__}: {str(error)[:200]}"
        try:
            self.restore()
        except Exception as error:
            return f"loaded, but not usable: {type(error).__name__}: {str(error)[:200]}"
        return ""


class Filled(Target):
    """A checkpoint that a model and an optimizer are filled from."""

    def __init__(self, path: Path, model: Any, optimizer: Any) -> None:
        import dlcore as dl

        self.model, self.optimizer = model, optimizer
        _train(model, optimizer, 2)
        dl.save(model, path, optimizer=optimizer)
        self.other = path.with_suffix(".other")
        _train(model, optimizer, 1)
        model.preprocessing = None
        dl.save(model, self.other, optimizer=optimizer)
        super().__init__(path, lambda path: (dl.load_state(path), dl.load(model, path, optimizer)), _edit_header)
        self.restore()

    def state(self) -> Any:
        entries = self.optimizer.state_dict()
        tensors = [*self.model.state_dict().values(), *(t for e in entries["state"].values() for t in e.values())]
        settings = [group.settings for group in self.optimizer.param_groups]
        columns = np.asarray(self.optimizer._settings).tobytes()  # what the steps read
        return [np.asarray(t).tobytes() for t in tensors], settings, columns, repr(self.model.preprocessing)

    def restore(self) -> None:
        """Also predicts and trains with what was loaded: it is whole."""
        import dlcore as dl

        dl.predict(self.model, np.ones((2, 4), np.float32))
        _train(self.model, self.optimizer, 1)
        dl.load(self.model, self.other, self.optimizer)


def _train(model: Any, optimizer: Any, steps: int) -> None:
    import dlcore as dl

    for step in range(steps):
        optimizer.zero_grad()
        (model(dl.full((3, 4), 0.5 + step)) ** 2).sum().backward()
        optimizer.step()


def _checkpoints(folder: Path) -> Iterator[Target]:
    import ml_dtypes

    import dlcore as dl
    from dlcore import nn, optim
    from dlcore.data import Normalize

    def network() -> Any:
        model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        model.preprocessing = Normalize([0.0, 1.0, 2.0, 3.0], [1.0, 1.0, 2.0, 0.5])
        return model

    model = network()
    yield Filled(folder / "adam", model, optim.AdamW(model.parameters(), lr=0.01, betas=(0.8, 0.9)))
    model = network()
    groups = [{"params": model[0].parameters(), "lr": 0.1}, {"params": model[2].parameters()}]
    yield Filled(folder / "sgd", model, optim.SGD(groups, momentum=0.9))
    names = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64")
    tensors: dict[str, Any] = {name: np.arange(6).reshape(2, 3).astype(name) for name in names}
    tensors |= {"bfloat16": np.ones((1, 2, 1), ml_dtypes.bfloat16), "empty": np.zeros((0, 3)), "": np.zeros(())}
    dl.save(tensors, folder / "tensors", metadata={"note": "x"})
    summed = lambda path: [np.asarray(t).sum() for t in dl.load_state(path).values()]  # noqa: E731
    yield Target(folder / "tensors", summed, _edit_header)


def _arrays(folder: Path) -> Iterator[Target]:
    from dlcore.data import read_csv, read_idx, read_numpy, read_text, read_wav

    raw = bytes([0, 0, 0x0C, 2]) + struct.pack(">2I", 5, 7) + np.arange(35, dtype=">i4").tobytes()
    for name, content in (("idx", raw), ("idx.gz", gzip.compress(raw))):
        (folder / name).write_bytes(content)
        yield Target(folder / name, read_idx)
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 236, b"WAVE", b"fmt ", 16, 1, 1, 8000, 16000, 2, 16, b"data", 200)
    (folder / "sound.wav").write_bytes(head + bytes(range(200)))
    yield Target(folder / "sound.wav", read_wav)
    np.save(folder / "array.npy", np.arange(12.0).reshape(3, 4))
    yield Target(folder / "array.npy", read_numpy)
    np.savez(folder / "arrays.npz", x=np.arange(12.0), y=np.arange(3))
    yield Target(folder / "arrays.npz", read_numpy)
    (folder / "table.csv").write_text("rooms,town,sold\n3,Bonn,yes\n4,Ulm,no\n2.5,Bonn,yes\n")
    yield Target(folder / "table.csv", _quietly(lambda path: read_csv(path, "sold")))
    (folder / "text.txt").write_text("añb\n" * 9)
    yield Target(folder / "text.txt", read_text)


def _quietly(read: Callable[[Path], Any]) -> Callable[[Path], Any]:
    def quiet(path: Path) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return read(path)

    return quiet


def _tables(folder: Path) -> Iterator[Target]:
    from dlcore.bench.results import Results, changes
    from dlcore.bench.roofs import Roofs
    from dlcore.bench.session import Measurement, Timing
    from dlcore.kernels import binary, launch, tune
    from dlcore.roofline.points import from_measurements
    from dlcore.roofline.report import Report

    roofs = Roofs("cpu", 1, [(1 << 20, 1e11)], [(1 << 20, 2e11)], {"float32": 1e12, "float64": 5e11})
    timing = Timing(1e-3, 0.9e-3, 1.1e-3, 9, 1e-3)
    labels = ("exp", "exp", "elementwise", "7", "float32", "forward", "warm", 1, "cpu")
    row = Measurement(*labels, 7.0, 56.0, 56, engines={"dlcore": timing, "torch": timing})
    Results({"processor": "one"}, {"dlcore": "1"}, [row], roofs.to_json()).save(folder / "bench")

    def results(path: Path) -> None:
        found = Results.load(path)
        changes(found, found)
        found._csv()

    yield Target(folder / "bench.json", results, _edit_json)
    report = Report("title", from_measurements([row], roofs), roofs, {"processor": "one"}, ["note"])
    (folder / "roofline.json").write_text(json.dumps(report.to_json()))
    yield Target(folder / "roofline.json", lambda path: json.dumps(Report.load(path).to_json()), _edit_json)
    for key in ("m128-n128", "m1-n1"):
        tune.keep("sm_90", "matmul", key, {"BLOCK_M": 64, "stages": (2, 3), "swap": True}, folder / "sm_90.toml")
    yield Target(folder / "sm_90.toml", launch.read_configurations)
    made = binary.Binary("copy", "sm_90", "copy", 128, 0, parameters=(8, 8), instructions={"ld": 1}, cubin=b"\x7fELF")
    (pack,) = binary.write_packs(folder, [("a" * 64, made)])

    def packed(path: Path) -> None:
        binary.forget_packs()
        found = binary.Pack(path)
        for key in found.index.kernels:
            found.read(key)

    yield Target(pack, packed, _edit_index)


# ---- what is done to them -------------------------------------------------------------------------------------------


def _damaged(draw: random.Random, target: Target, others: list[bytes]) -> bytes:
    raw = target.raw
    if target.edit is not None and draw.random() < 0.6:
        return target.edit(draw, raw)
    for _ in range(draw.choice([1, 1, 1, 2, 5])):
        raw = draw.choice(DAMAGES)(draw, raw, others)
    return raw


def _flip(draw: random.Random, raw: bytes, others: list[bytes]) -> bytes:
    changed = bytearray(raw)
    for _ in range(draw.choice([1, 1, 2, 8])):
        if changed:
            changed[draw.randrange(draw.choice([8, 300, len(changed)])) % len(changed)] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _overwrite(draw: random.Random, raw: bytes, others: list[bytes]) -> bytes:
    at = draw.randrange(len(raw) + 1)
    new = draw.choice([b"\0", b"\xff", b" ", b'"', b"{", b"9"]) * draw.choice([1, 2, 4, 8, 64])
    return raw[:at] + new + raw[at + draw.choice([0, len(new)]) :]


def _cut(draw: random.Random, raw: bytes, others: list[bytes]) -> bytes:
    a, b = sorted(draw.randrange(len(raw) + 1) for _ in range(2))
    return draw.choice([raw[:a], raw[b:], raw[:a] + raw[b:], raw[:-1], raw[: len(raw) // 2]])


def _join(draw: random.Random, raw: bytes, others: list[bytes]) -> bytes:
    other = draw.choice([*others, raw, b"\0", gzip.compress(b""), _bomb(), struct.pack("<Q", draw.getrandbits(64))])
    at = draw.randrange(len(raw) + 1)
    return draw.choice([raw + other, other + raw, raw[:at] + other + raw[at:]])


DAMAGES = (_flip, _overwrite, _cut, _join)


@cache
def _bomb() -> bytes:
    """A third of a megabyte that is a third of a gigabyte of zeros."""
    packer = zlib.compressobj(wbits=31)
    return b"".join([*(packer.compress(bytes(1 << 20)) for _ in range(320)), packer.flush()])


def _edit_header(draw: random.Random, raw: bytes) -> bytes:
    """A safetensors file with another header, whose length is told; the arrays are as they were, or as it says."""
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    if draw.random() < 0.6:
        header["__metadata__"] = _changed(draw, header["__metadata__"])
    else:
        header = _changed(draw, header)
    text = _written(header).encode(errors="surrogatepass")
    text += b" " * draw.choice([0, -len(text) % 8])
    body = raw[8 + length :]
    return struct.pack("<Q", len(text)) + text + draw.choice([*[body] * 8, body + bytes(8), b""])


def _edit_index(draw: random.Random, raw: bytes) -> bytes:
    """A pack of kernels with another index, whose digest is right."""
    title, index, body = raw.split(b"\n", 2)
    index = _edit_json(draw, index).replace(b"\n", b" ") + b"\n"
    return title[:-64] + hashlib.sha256(index).hexdigest().encode() + b"\n" + index + body


def _edit_json(draw: random.Random, raw: bytes) -> bytes:
    return _edited(draw, raw.decode()).encode(errors="surrogatepass")


def _edited(draw: random.Random, text: str) -> str:
    """JSON with one or more of its values and keys replaced, removed or doubled."""
    value = json.loads(text)
    for _ in range(draw.choice([1, 1, 1, 2, 4])):
        value = _changed(draw, value)
    return _written(value)


class _Raw(NamedTuple):
    """Text that stands for a value, whether it is JSON or not."""

    text: str


class _Pairs(NamedTuple):
    """An object as its pairs, of which two may have one key."""

    pairs: list[tuple[str, Any]]


def _changed(draw: random.Random, value: Any) -> Any:
    """``value`` with something inside it changed, deep down more often than at the top."""
    inner = isinstance(value, dict | list) and value and draw.random() < 0.9
    if isinstance(value, str) and value[:1] in ("[", "{") and draw.random() < 0.8:
        return _edited(draw, value)
    if inner and isinstance(value, list):
        i = draw.randrange(len(value))
        return [*value[:i], _changed(draw, value[i]), *value[i + 1 :]]
    if inner:
        key = draw.choice(list(value))
        how = draw.random()
        if how < 0.7:
            return {**value, key: _changed(draw, value[key])}
        if how < 0.8:
            return {k: v for k, v in value.items() if k != key}
        if how < 0.9:
            return _Pairs([*value.items(), (key, draw.choice(list(value.values())))])
        return {**value, draw.choice(NAMES): value[key]}
    return _Raw(draw.choice(JUNK)(draw))


def _written(value: Any) -> str:
    if isinstance(value, _Raw):
        return value.text
    if isinstance(value, _Pairs):
        return "{" + ",".join(f"{json.dumps(k)}:{_written(v)}" for k, v in value.pairs) + "}"
    if isinstance(value, dict):
        return _written(_Pairs(list(value.items())))
    return "[" + ",".join(map(_written, value)) + "]" if isinstance(value, list) else json.dumps(value)
