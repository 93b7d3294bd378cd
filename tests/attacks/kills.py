"""Writers that are killed.

A process that writes files, one after another, is killed by SIGKILL at a random moment: the file is always one that it
has written, whole and no older than the last that it had finished; the next write leaves nothing behind of the killed
one; and a writer of another file in the same folder never notices.
"""

from __future__ import annotations

import mmap
import os
import random
import signal
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from . import children

UNIT = "kills"
SMALL, LARGE = 40, 1200


def attack(count: int, seed: int) -> Iterator[str]:
    yield from children.violations(kills, count, seed, chunk=250, seconds=400.0)


def kills(first: int, count: int, seed: int) -> list[str]:
    """What was wrong after these kills, a line each."""
    import dlcore as dl
    from dlcore import _files

    def save(path: Path, number: int, size: int) -> None:
        dl.save({"a": np.full(size, number), "b": np.full(3, number, np.int16)}, path, metadata={"n": str(number)})

    def saved(path: Path) -> int:
        read = dl.load_state(path)
        number = int(read.metadata["n"])
        if any((np.asarray(value) != number).any() for value in read.values()):
            raise ValueError("the tensors are not those of one save")
        return number

    def write(path: Path, number: int, size: int) -> None:
        _files.write(path, f"{number} " * size)

    def written(path: Path) -> int:
        (number,) = set(path.read_text().split())
        return int(number)

    found = []
    for unit in range(first, first + count):
        children.mark(f"{unit} of seed {seed}")
        draw = random.Random(f"{seed} {unit}")
        pair = (save, saved) if draw.random() < 0.8 else (write, written)
        with tempfile.TemporaryDirectory() as folder:
            wrong = _kill(draw, Path(folder), *pair)
        if wrong:
            found.append(f"kill {unit} of seed {seed}, {pair[0].__name__}: {wrong}")
    return found


def _kill(
    draw: random.Random, folder: Path, write: Callable[[Path, int, int], None], read: Callable[[Path], int]
) -> str:
    """Lets a child write and kills it; what was wrong then, if anything was."""
    path, size = folder / "file", draw.choice([10, 1000, 100_000, 500_000])
    if draw.random() < 0.3:
        (folder / "deeper").mkdir()
        path.symlink_to(folder / "deeper" / "file")
    write(path, 0, size)
    writers = [_Writer(write, path, size)]
    if draw.random() < 0.3:
        writers.append(_Writer(write, folder / "other", size))
    time.sleep(draw.choice([0.002, 0.02, 0.05]) * draw.random())
    least = writers[0].finished()
    killed = writers[0].end(signal.SIGKILL)
    codes = [writer.end() for writer in writers[1:]]
    if killed != -signal.SIGKILL or any(codes):
        return f"the writers ended with {killed}, {codes}"
    try:
        number = read(path)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if number < least:
        return f"the file is number {number}, older than {least}, which was finished"
    write(path, number + 1, size)
    expected = {"file", "deeper", "other"}
    left = [str(p.relative_to(folder)) for p in folder.rglob("*") if p.name not in expected]
    return f"left behind: {left}" if left else ""


class _Writer:
    """A forked process that writes file after file until it is told to end."""

    def __init__(self, write: Callable[[Path, int, int], None], path: Path, size: int) -> None:
        self._number, self._stop = mmap.mmap(-1, 8), mmap.mmap(-1, 1)
        self._process = os.fork()
        if not self._process:
            self._write(write, path, size)

    def _write(self, write: Callable[[Path, int, int], None], path: Path, size: int) -> None:
        code = 3
        try:
            number = 0
            while not self._stop[0]:
                number += 1
                write(path, number, size)
                self._number[:] = struct.pack("<q", number)
            code = 0
        finally:
            os._exit(code)

    def finished(self) -> int:
        """The number of the last file that it has finished."""
        (number,) = struct.unpack("<q", self._number[:])
        return int(number)

    def end(self, number: int = 0) -> int:
        """Sends the signal ``number``, or lets it end by itself; how the process has ended."""
        if number:
            os.kill(self._process, number)
        else:
            self._stop[0] = 1
        _, status = os.waitpid(self._process, 0)
        return os.waitstatus_to_exitcode(status)
