"""Which binaries dlcore asks for: its uses, run on a fake GPU whose kernels are written down and not compiled.

    python -O -m bench.asked sm_90 models checks gpu > asked.pickle
    python -O -m bench.asked sm_90:114 models > asked.pickle            # for a GPU with 114 multiprocessors

What is asked for depends on shapes, layouts, alignment, dtypes, which operations a gradient takes and what is planned
by whom: running tells it, guessing from samples does not. The values are garbage, for no kernel runs, so checks fail,
and `-O` lets them go on.

- models: the first commands of a user: `dlcore demo`, the README's examples, training steps of MLPs eager and recorded,
  `fit`, `evaluate` and `predict`, with each activation, loss and optimizer, and widths and batches of several kinds.
- checks: `dlcore verify --device cuda`, and the steps of tests/test_cuda_models.py.
- gpu: `make gpu`: each kind of kernel, training, large shapes, and every configuration that is timed for them.
"""

import contextlib
import itertools
import os
import pickle
import re
import runpy
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dlcore as dl
import dlcore.data
from bench import steps
from bench.gpu import stages, worker
from bench.gpu.context import Context
from dlcore import nn, optim
from dlcore.cli import main, programs
from dlcore.data import random_split, transforms
from dlcore.data.statistics import moments
from dlcore.kernels import compile as compiling
from dlcore.kernels.launch import Arch
from dlcore.kernels.specialise import Specialised
from dlcore.ops import operations
from dlcore.verify import checks as verification

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from fake_driver import open_fake, stub  # noqa: E402

BATCHES = (1, 7, 32, 100, 128, 512)
WIDTHS = ((2, 16, 1), (13, 50, 30, 3), (64, 128, 10), (784, 256, 128, 10), (1000, 1000, 100), (1024, 1024, 1024))
ACTIVATIONS = (nn.ReLU, nn.GELU, nn.Tanh, nn.Sigmoid)


# ---- models ---------------------------------------------------------------------------------------------------------

Use = tuple[str, Callable[[], Any]]


def models() -> Iterator[Use]:
    """What it is called and how to run it, as for every part."""
    for model, optimizer in (("a", "adam"), ("b", "adam"), ("b", "sgd")):
        for capture in (None, dl.capture):
            make = steps.module_step(dl, nn, optim, dl.cross_entropy, capture=capture)
            yield f"step {model} {optimizer}", partial(_thrice, make, model, optimizer)
    yield "epoch", lambda: steps.fit_epoch()()
    yield "demo", _demo
    snippets = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    yield from ((f"README {k}", partial(exec, text, {"__name__": "readme"})) for k, text in enumerate(snippets))
    yield from ((file.name, partial(_script, file)) for file in sorted((ROOT / "examples").glob("*.py")))
    for shape in ((128, 28, 28), (128, 3, 32, 32)):
        yield f"pictures of {shape[1:]}", partial(_pictures, shape)
    for width, dtype in itertools.product((128, 512), ("float32", "bfloat16")):
        yield f"parts of a model of text, {width} wide in {dtype}", partial(_text, width, dtype)
    for shape in ((16, 4, 64, 32), (4, 8, 512, 64), (1, 16, 2048, 64), (2, 4, 100, 128)):
        yield f"attention of {shape}", partial(_attention, shape)
    for layer, units in itertools.product((nn.LSTM, nn.GRU, nn.RNN), (32, 64, 128, 256)):
        yield f"{layer.__name__} of {units} units", partial(_recurrent, layer, units)
    for size, width in ((65, 128), (1000, 64), (16000, 100), (50257, 768)):
        yield f"tokens of {size} in {width}", partial(_tokens, size, width)
    for turn, (widths, size) in enumerate(itertools.product(WIDTHS, BATCHES)):
        yield f"MLP {widths} with batches of {size}", partial(_mlp, widths, size, turn)


def _thrice(make: Callable[..., Callable[[], Any]], model: str, optimizer: str) -> None:
    step = make(model, optimizer)
    for _ in range(3):
        step()


def _demo() -> None:
    with tempfile.TemporaryDirectory() as folder:
        main(["demo", "--data", "digits", "--epochs", "2", "--output", folder])


def read_on_the_host() -> None:
    """Has data parted, and measured for `Normalize.of`, by the host where values that no kernel has made do not do."""
    dlcore.data.random_split = _or_on_the_host(random_split)
    transforms.moments = _or_on_the_host(moments)  # type: ignore[attr-defined]


def _or_on_the_host(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that reads values, which no kernel has made; where it cannot go on with these the host makes them."""

    def read(*args: Any, **options: Any) -> Any:
        try:
            return function(*args, **options)
        except (IndexError, ValueError):
            dl.set_default_device("cpu")
            try:
                return function(*args, **options)
            finally:
                dl.set_default_device("cuda")

    return read


def _script(file: Path) -> None:
    """An example; one whose data is not here ends with `skipped: `, and what it would ask for stays unknown."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        try:
            runpy.run_path(str(file), run_name="__main__")
        except SystemExit as end:
            if not str(end.code).startswith("skipped: "):
                raise
            print(f"{file.name}: {end.code}", file=sys.stderr)


def _pictures(shape: tuple[int, ...]) -> None:
    """A batch of pictures through each kind of augmentation, resized, and taken apart into windows."""
    rng = np.random.default_rng(0)
    x, y = dl.tensor(rng.random(shape, np.float32)), dl.tensor(rng.integers(0, 10, shape[0]))
    data = dlcore.data
    colours = [data.ColorJitter(0.2, 0.2, 0.2, 0.1)] if len(shape) == 4 else [data.Brightness(0.2), data.Contrast(0.2)]
    for step in (
        data.RandomFlip(), data.RandomFlip(vertical=True), data.RandomCrop(shape[-1], 4), data.RandomTranslate(3),
        data.RandomAffine(10, 0.1, (0.9, 1.1), 5), data.RandomAffine(10, mode="nearest", padding_mode="border"),
        data.Cutout(8), data.RandomErasing(), data.GaussianNoise(0.1), *colours,
    ):  # fmt: skip
        step(x)
    for mixed in (data.Mixup(0.2, 10), data.CutMix(1.0, 10)):
        mixed(x, y)
    images = x.reshape(shape[0], -1, *shape[-2:])
    images.requires_grad = True
    for mode in ("nearest", "bilinear", "bicubic", "area"):
        for factor in (2, 0.5):
            dl.interpolate(images, scale_factor=factor, mode=mode).sum().backward()
    nn.functional.fold(nn.functional.unfold(images, 3, padding=1), shape[-2:], 3, padding=1).sum().backward()


def _text(width: int, dtype: str) -> None:
    """Queries and keys of a packed product turned, one position of them too, gates of both kinds, and a MinGRU."""
    rng = np.random.default_rng(0)
    x = dl.tensor(rng.standard_normal((4, 64, 3 * width), np.float32)).astype(dtype)
    x.requires_grad = True
    for layout, interleaved in itertools.product(("BHTD", "BTHD"), (False, True)):
        rotary = nn.RotaryEmbedding(32, 128, interleaved=interleaved, layout=layout, device="cuda")
        heads = x.reshape(4, 64, -1, 32)
        packed = heads if layout == "BTHD" else heads.transpose(1, 2)
        rotary(packed, heads=packed.shape[2 if layout == "BTHD" else 1] * 2 // 3).sum().backward()
        rotary(packed[:, :1] if layout == "BTHD" else packed[:, :, :1], dl.tensor(3)).sum().backward()
    for function in (dl.swiglu, dl.geglu, partial(dl.geglu, approximate="tanh")):
        function(x[..., : 2 * width]).sum().backward()
        function(x[..., :width].contiguous(), x[..., width : 2 * width].contiguous()).sum().backward()
    layer = nn.MinGRU(3 * width, width, device="cuda", dtype=dtype)
    layer(x)[0].sum().backward()
    layer(x, dl.zeros(4, width, dtype=dtype))[0].sum().backward()


def _attention(shape: tuple[int, int, int, int]) -> None:
    """Gradients through attention with and without masks and dropout, and a step of generation beside a cache."""
    batch, heads, tokens, width = shape
    seen, lengths = np.ones((batch, 1, 1, tokens), bool), dl.tensor([tokens // 2])
    for dtype in ("float32", "bfloat16"):
        q, k, v = (dl.zeros(shape, dtype=dtype) for _ in range(3))
        q.requires_grad = k.requires_grad = v.requires_grad = True
        for causal, dropout in itertools.product((False, True), (0.0, 0.1)):
            dl.scaled_dot_product_attention(q, k, v, None, dropout, causal).sum().backward()
        dl.scaled_dot_product_attention(q, k, v, dl.tensor(seen)).sum().backward()
        dl.qkv_attention(dl.zeros((batch, tokens, 3 * heads * width), dtype=dtype), heads, is_causal=True)
        with dl.no_grad():
            one = q[:, :, :1]
            dl.scaled_dot_product_attention(one, k, v, None, 0.0, True, lengths=lengths, lower_right=True)
            dl.scaled_dot_product_attention(q, k, v, None, 0.0, True, lengths=lengths, lower_right=True)


def _recurrent(layer: Callable[..., nn.Module], units: int) -> None:
    """Gradients through a layer in both directions, and one step without any."""
    for dtype in ("float32", "bfloat16"):
        model = layer(units, units, bidirectional=True, dtype=dtype)
        model(dl.zeros((64, 64, units), dtype=dtype))[0].sum().backward()
        with dl.no_grad():
            model(dl.zeros((1, 1, units), dtype=dtype))


def _tokens(size: int, width: int) -> None:
    """Batches of tokens looked up, in each way that is learned from, and losses of labels one by one or in order."""
    rng = np.random.default_rng(0)
    given = dl.tensor(rng.integers(0, size, (16, 64)))
    for options in ({}, {"padding_idx": 0}, {"max_norm": 1.0}, {"scale_grad_by_freq": True}):
        nn.Embedding(size, width, **options)(given).sum().backward()
    for mode in ("sum", "mean", "max"):
        nn.EmbeddingBag(size, width, mode=mode)(given).sum().backward()
    for dtype in ("float32", "bfloat16"):
        x, labels = dl.zeros((1024, width), dtype=dtype, requires_grad=True), dl.tensor(rng.integers(0, size, 1024))
        nn.LinearCrossEntropyLoss(width, size, dtype=dtype)(x, labels).backward()
    if size <= 1000:
        logits = dl.tensor(rng.standard_normal((100, 16, size), np.float32), requires_grad=True)
        labels, steps, lengths = rng.integers(1, size, (16, 20)), np.full(16, 100), np.full(16, 20)
        dl.ctc_loss(dl.log_softmax(logits, -1), *map(dl.tensor, (labels, steps, lengths))).backward()


def _mlp(widths: Sequence[int], size: int, turn: int) -> None:
    """An MLP fitted, evaluated and asked, for classes or for values; the last batch is not full."""
    activation, dropout = ACTIVATIONS[turn % 4], (0.0, 0.5)[turn // 2 % 2]
    layers = [
        layer
        for m, n in itertools.pairwise(widths)
        for layer in (nn.Linear(m, n), activation(), *([nn.Dropout(dropout)] if dropout else []))
    ]
    model = nn.Sequential(*layers[: -2 if dropout else -1])
    optimizers = (optim.Adam, partial(optim.SGD, momentum=0.9), partial(optim.AdamW, weight_decay=0.01), optim.SGD)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2 * size + 1 + size // 2, widths[0]), np.float32)
    if classes := widths[-1] > 1 and turn % 5:
        y = rng.integers(0, widths[-1], len(x))
    else:
        y = rng.standard_normal((len(x), widths[-1]), np.float32)
    options = {"loss": dl.cross_entropy if classes else dl.mse_loss, "metrics": ["accuracy"] if classes else []}
    clip = 1.0 if turn % 3 == 2 else None
    optimizer = optimizers[turn // 4 % 4](model.parameters(), lr=0.01)
    history = dl.fit(
        model, (x, y), (x, y), optimizer=optimizer, epochs=2, batch_size=size, clip_norm=clip, progress=False, **options
    )
    if history.reason is not None:
        raise RuntimeError(f"it was not recorded, and what a recording asks for is missing: {history.reason}")
    for data in (x, y):  # what fit looks at where a loss is not finite
        bool(dl.isfinite(dl.tensor(data)).all())
    dl.evaluate(model, (x, y), **options)
    dl.predict(model, x)


# ---- checks and tests -----------------------------------------------------------------------------------------------


def checks() -> Iterator[Use]:
    """`dlcore verify --device cuda`, and the tests of models."""
    yield from ((f"verify {op.name}", partial(verification.check_row, op, "cuda")) for op in operations())
    arguments = ["-q", "--assert=plain", "-p", "no:cacheprovider", "-p", "no:warnings", "-n", "0"]
    yield "tests", partial(pytest.main, [*arguments, str(ROOT / "tests" / "test_cuda_models.py")])


# ---- the bench ------------------------------------------------------------------------------------------------------


def gpu() -> Iterator[Use]:
    """What `make gpu` runs beside the checks: each kind of kernel, training, large shapes and their configurations."""
    context = Context(dry=True, exact=False)
    for stage in ("kind", "first", "steps", "speed", "tune"):
        for name in stages.jobs(stage, ()):
            if name != stages.TESTS:  # of the checks
                yield f"{stage} {name}", partial(worker.WORK[stage], context, name)


# ---- all of it ------------------------------------------------------------------------------------------------------

PARTS: dict[str, Callable[[], Iterator[Use]]] = {"models": models, "checks": checks, "gpu": gpu}


def collect(arch: Arch, uses: Iterable[Use], tell: Callable[[str], None]) -> dict[str, Specialised]:
    """What the uses ask for, by key; ``tell`` hears what is done, and of uses that end early."""
    open_fake()
    backend = dl.device("cuda").backend
    backend.arch = arch
    dl.set_default_device("cuda")
    read_on_the_host()
    with compiling.written_down(stub) as found, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values
        for name, use in uses:
            before = len(found)
            try:
                use()
            except Exception as error:  # of values, most likely: what was asked for by then is written down
                tell(f"{name}: {type(error).__name__}: {error}")
            tell(f"{name}: {len(found) - before} more")
    return found


def run(arguments: Sequence[str]) -> int:
    """Writes the requests, pickled, to stdout, and what is done to stderr."""
    name, *parts = arguments
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the uses print
    uses = itertools.chain.from_iterable(PARTS[part]() for part in parts)
    found = collect(programs.architecture(name), uses, lambda text: print(text, file=sys.stderr, flush=True))
    pickle.dump(list(found.values()), out)
    out.close()
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
