"""``dlcore demo``: a network learns from real data, is validated and tested, saved and loaded, and predicts."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import dlcore as dl
from dlcore import models, nn, optim
from dlcore.cli import at_least, machine
from dlcore.data import Normalize, load_dataset, random_split
from dlcore.data.files import FASHION_FILES, find_dataset

__all__ = ["run"]

Source = Literal["auto", "fashion-mnist", "digits"]
_SHADES, _ASCII_SHADES = " ░▒▓█", " .+*#"
_NEXT = """
[bold]Next[/]    {dlcore} doctor                what this machine has
        {dlcore} demo --data digits    the digits that ship with dlcore
        {python} -c 'import dlcore as dl; print(dl.load("{path}"))'
"""


def _typed(command: str) -> str:
    """What to type to run a command of this environment: its name if the shell finds it, else its path."""
    beside = Path(sys.executable).parent / command
    if shutil.which(command) == str(beside) or not beside.exists():
        return command
    return os.path.relpath(beside)


class _Task(NamedTuple):
    """A data set in three parts, and how to learn it."""

    name: str
    train: Any
    validation: Any
    test: Any
    network: Callable[[], nn.Module]
    told: str
    epochs: int
    batch_size: int
    rate: float
    schedule: Any = None


def run(data: Source = "auto", epochs: int | None = None, output: Path = Path("dlcore-demo"), seed: int = 0) -> int:
    """Train a small network on real data, in seconds, and show every step.

    Args:
        data: Fashion-MNIST where it is found and else the digits that ship with dlcore, or one of them by name.
        epochs: passes over the training data (default: 3 for Fashion-MNIST, 20 for the digits).
        output: the folder for the model and the picture of the curves.
        seed: of the split, the weights and the order of the samples.
    """
    at_least(1, epochs=epochs)
    at_least(0, seed=seed)
    console = Console(highlight=False, soft_wrap=True)
    task = _fashion(seed, epochs) if _chosen(data, console) == "fashion-mnist" else _digits(seed, epochs)
    output.mkdir(parents=True, exist_ok=True)
    dl.manual_seed(seed)
    model = task.network()
    _introduce(console, task, model)

    path = output / "model.safetensors"
    history = dl.fit(
        model,
        task.train,
        validation=task.validation,
        epochs=task.epochs,
        batch_size=task.batch_size,
        loss=dl.cross_entropy,
        optimizer=optim.Adam(model.parameters(), lr=task.rate),
        schedule=task.schedule,
        transform=Normalize.of(task.train),
        metrics=["accuracy"],
        callbacks=[dl.train.Checkpoint(path)],
        seed=seed,
        progress=True,
    )
    score = dl.evaluate(model, task.test, loss=dl.cross_entropy, metrics=["accuracy", "confusion_matrix"])
    console.print(
        f"\n[bold]Test[/]    accuracy [bold]{score['accuracy']:.4f}[/], loss {score['loss']:.4f} on {len(task.test):,} "
        f"samples it has never seen; training took {sum(history['seconds']):.1f} s\n"
    )
    console.print("True classes (rows) and predicted classes (columns):")
    console.print(_confusion_table(score["confusion_matrix"], task.test.classes))
    dl.save(model, path)
    again = dl.load(task.network(), path)
    _show_predictions(console, again, task)
    same = np.array_equal(np.asarray(dl.predict(model, task.test)), np.asarray(dl.predict(again, task.test)))
    console.print(f"[bold]Saved[/]   {path}; loaded again, it predicts {'the same bits' if same else 'something else'}")
    _plot(console, history, output / "curves.png")
    console.print(_NEXT.format(path=path, dlcore=_typed("dlcore"), python=_typed("python")))
    return 0 if same else 1


def _chosen(data: Source, console: Console) -> str:
    if data != "auto":
        return data
    if find_dataset("fashion-mnist", FASHION_FILES) is not None:
        return "fashion-mnist"
    console.print("Fashion-MNIST is not found (DLCORE_DATA names the folder that holds it): taking the digits.")
    return "digits"


def _fashion(seed: int, epochs: int | None) -> _Task:
    full = load_dataset("fashion-mnist", split="train")
    train, validation = random_split(full, [len(full) - 5_000, 5_000], seed=seed)
    test = load_dataset("fashion-mnist", split="test")
    passes = 3 if epochs is None else epochs
    told = "convolutions of 16, 32 and 64 channels with batch normalisation, ReLU and pooling, and a linear layer"
    schedule = optim.schedules.OneCycle(peak=5e-3)
    return _Task("Fashion-MNIST", train, validation, test, _convolutional, told, passes, 128, 5e-3, schedule)


def _digits(seed: int, epochs: int | None) -> _Task:
    train, validation, test = random_split(load_dataset("digits"), [0.7, 0.15, 0.15], seed=seed)
    passes = 20 if epochs is None else epochs
    return _Task("digits", train, validation, test, _perceptron, "64-128-64-10, ReLU between", passes, 32, 1e-3)


def _convolutional() -> nn.Module:
    return nn.Sequential(nn.Unflatten(1, (1, 28)), models.CNN(10))


def _perceptron() -> nn.Module:
    layers = nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)
    return nn.Sequential(nn.Flatten(), *layers)  # the last layer gives logits


def _introduce(console: Console, task: _Task, model: nn.Module) -> None:
    names, found = machine.gpu()
    device, why = dl.default_device(), found if names else f"no GPU: {found}"
    shape = "x".join(str(n) for n in np.shape(task.test[0][0]))
    count = sum(p.size for p in model.parameters())
    console.print(
        f"[bold]Device[/]  {device}: {device.name or machine.cpu_model()}, {dl.get_num_threads()} threads ({why})"
    )
    console.print(
        f"[bold]Data[/]    {task.name}: {len(task.train):,} training, {len(task.validation):,} validation and "
        f"{len(task.test):,} test images of {shape}, {len(task.test.classes)} classes"
    )
    console.print(f"[bold]Model[/]   {task.told}; {count:,} parameters; Adam\n")


def _confusion_table(counts: np.ndarray, classes: tuple[str, ...]) -> Table:
    """The table of counts: the true class in rows, the predicted one in columns."""
    table = Table(box=None)
    table.add_column(no_wrap=True)
    for i in range(len(classes)):
        table.add_column(str(i), justify="right")
    for i, row in enumerate(counts):
        cells = [_cell(int(n), int(row.sum()), i == j) for j, n in enumerate(row)]
        table.add_row(f"{i} {classes[i]}" if classes[i] != str(i) else str(i), *cells)
    return table


def _cell(count: int, total: int, right: bool) -> str:
    if right:
        return f"[bold green]{count}[/]"
    if count == 0:
        return "[dim]·[/]"
    return f"[bold red]{count}[/]" if count > 0.05 * total else str(count)


def _show_predictions(console: Console, model: nn.Module, task: _Task) -> None:
    """Some test images, and below each what the network predicts."""
    count = max(1, min(4, console.width // (task.test[0][0].shape[1] + 8)))  # as many as fit beside each other
    images, labels = task.test[np.arange(count) * (len(task.test) // count)]
    probabilities = np.asarray(dl.softmax(dl.predict(model, images), axis=-1))
    table = Table(box=None, padding=(0, 3, 0, 0), show_header=False)
    shades = _SHADES if console.encoding.startswith("utf") else _ASCII_SHADES
    table.add_row(*(_picture(image, shades) for image in images))
    table.add_row(*(_verdict(p, int(y), task.test.classes) for p, y in zip(probabilities, labels, strict=True)))
    console.print("\n[bold]New samples[/]")
    console.print(table)


def _verdict(probabilities: np.ndarray, label: int, classes: tuple[str, ...]) -> str:
    best = int(probabilities.argmax())
    mark = "[green]right[/]" if best == label else f"[red]no: {classes[label]}[/]"
    return f"{classes[best]} {probabilities[best]:.0%}, {mark}"


def _picture(image: np.ndarray, shades: str) -> str:
    """An image (H, W) drawn with characters, which are about twice as high as wide."""
    image = image / max(float(image.max()), 1e-9)
    if image.shape[0] > 16:
        image = image[: image.shape[0] // 2 * 2].reshape(-1, 2, image.shape[1]).mean(axis=1)
    else:
        image = np.repeat(image, 2, axis=1)
    return "\n".join("".join(shades[round(v * (len(shades) - 1))] for v in row) for row in image)


def _plot(console: Console, history: dl.train.History, path: Path) -> None:
    try:
        history.plot(path)
    except ImportError as error:
        console.print(f"[bold]Curves[/]  not drawn: {escape(str(error))}")
    else:
        console.print(f"[bold]Curves[/]  {path}")
