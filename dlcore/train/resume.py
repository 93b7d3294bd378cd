"""Resume: a training that was interrupted anywhere goes on to the same bits."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dlcore import _safetensors
from dlcore._arguments import instance, integer
from dlcore._files import replacing
from dlcore._notes import note
from dlcore._tensor import Tensor, from_numpy
from dlcore.data.views import flatten, is_plain
from dlcore.train._state import decode, encode
from dlcore.train.run import Callback, Run

__all__ = ["Resume"]

_NAME = re.compile(r"step-(\d{9,})\.safetensors")
_STATE, _DIGEST, _FORMAT = "training", "sha256", "format"


class Resume(Callback):
    """Saves all that a training is made of into ``folder``, and goes on where the last file there ends.

    A file is written after every ``every``-th step, after each epoch and at Ctrl-C; the last ``keep`` stay. It holds
    the model, the states of the optimizers, the schedule, the averages, random numbers, sums of metrics, the history
    and the callbacks, and how far the epoch is. A run that is begun again with the same arguments, after whatever has
    ended it, comes to the same bits as one that never was interrupted; with more ``epochs`` it trains further, by a
    schedule over that many. A file that is damaged (each has a digest of its contents) is named in a warning, and the
    one before it is used.

    That the bits are the same holds for data in arrays, and for data sets whose samples depend on their index alone.
    Raises ValueError where the files are of another model, of another kind of optimizer or schedule, or of data,
    batches or epochs of another size; nothing has changed then. Where other settings are not those of the files, a
    RuntimeWarning names them, and training goes on: by the files' seed and settings of the optimizer, and by the new
    clip_norm, clip_value, shuffle, drop_last, autocast and data (of arrays up to 16 MB each number is compared, of
    larger ones a part of the samples).
    """

    after_others = True

    def __init__(self, folder: str | os.PathLike[str], every: int = 1000, keep: int = 2):
        self.folder = Path(instance(folder, str | os.PathLike, "Resume: folder", "a path"))
        self.every = integer(every, "Resume: every", 1)
        self.keep = integer(keep, "Resume: keep", 1)

    def on_train_begin(self, run: Run) -> None:
        run.settings["data"] = _fingerprint(run.training.batches.dataset)
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in self._files():
            try:
                run.resumed = _read(path)
                return
            except (ValueError, OSError) as error:
                note(f"Resume: {path} cannot be used, the file before it is: {error}")

    def _files(self) -> list[Path]:
        """The files in the folder, the newest first."""
        found = [(int(name[1]), path) for path in self.folder.iterdir() if (name := _NAME.fullmatch(path.name))]
        return [path for _, path in sorted(found, reverse=True)]

    def on_batch_end(self, run: Run) -> None:
        self._save(run)

    def on_epoch_end(self, run: Run) -> None:
        self._save(run, ended=True)

    def on_interrupt(self, run: Run) -> None:
        if run.batch:  # otherwise what the last epoch saved is all there is
            self._save(run, run.ended)

    def _save(self, run: Run, ended: bool = False) -> None:
        path = self.folder / f"step-{run.step:09}.safetensors"
        _write(path, run.state(ended))
        kept = [p for p in self._files() if p != path]
        for old in kept[self.keep - 1 :]:
            old.unlink(missing_ok=True)


def _write(path: Path, state: Mapping[str, Any]) -> None:
    text, arrays = encode(state)
    texts = {_FORMAT: "dlcore training 1", _STATE: text}
    texts[_DIGEST] = _digest(text, arrays)
    head, order = _safetensors.pack(arrays, texts)
    with replacing(path) as file:
        _safetensors.write(file, head, arrays, order)


def _read(path: Path) -> Any:
    """The state in a file; ValueError where it is damaged, or something else."""
    arrays, texts = _safetensors.read(path)
    if not {_STATE, _DIGEST} <= texts.keys():
        raise ValueError("it is no file of a training")
    if texts[_DIGEST] != _digest(texts[_STATE], arrays):
        raise ValueError("its contents are not those that were written: it is damaged")
    return decode(texts[_STATE], {name: from_numpy(array) for name, array in arrays.items()})


def _fingerprint(dataset: Any) -> str | None:
    """What tells data sets from each other; None where reading samples takes time: from files, or by Python code."""
    base, rows = flatten(dataset)
    if not is_plain(base):
        return None
    digest = hashlib.sha256()
    for given in base.arrays:
        array = np.asarray(given.cpu() if isinstance(given, Tensor) else given)
        every = slice(None, None, 1 + (array.nbytes >> 24))
        part = np.ascontiguousarray(array[every] if rows is None else array[rows[every]])
        digest.update(f"{array.dtype} {part.shape}".encode())
        digest.update(part.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _digest(text: str, arrays: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        digest.update(np.ascontiguousarray(np.asarray(arrays[name])).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
