"""Writes that fail.

Every call that a write makes to the system fails in turn, as a full or broken disk would let it; the file may grow to
so many bytes and no further; memory runs out at any point; and Ctrl-C comes at any line. The path then holds the old
file or the new one, an OSError names it, nothing is left behind after the next write, and the process lives.
"""

from __future__ import annotations

import errno
import fcntl
import os
import random
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from . import children

UNIT = "failures"
SMALL, LARGE = 100, 5000

CALLS = [(os, name) for name in ("open", "close", "stat", "fstat", "fsync", "replace", "fchmod", "listdir", "unlink")]
CALLS += [(os, "readlink"), (fcntl, "flock")]
ERRORS = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS, errno.EINTR, errno.EACCES, errno.ENOLCK, errno.EMFILE)


def attack(count: int, seed: int) -> Iterator[str]:
    yield from children.violations(failures, count, seed, chunk=2000, seconds=600.0)


def failures(first: int, count: int, seed: int) -> list[str]:
    """What was wrong after these failures, a line each."""
    found = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        writers = list(_writers(folder))
        for unit in range(first, first + count):
            draw = random.Random(f"{seed} {unit}")
            path, write, read = draw.choice(writers)
            fail = draw.choice((_call, _call, _call, _size, _memory, _line))
            children.mark(f"{unit} of seed {seed}: {path.name} {fail.__name__}")
            wrong = _try(draw, folder, path, write, read, fail)
            if wrong:
                found.append(f"failure {unit} of seed {seed}, {path.name} {fail.__name__}: {wrong}")
    return found


Write = Callable[[int], None]
Read = Callable[[], int]


def _writers(folder: Path) -> Iterator[tuple[Path, Write, Read]]:
    """A path, what writes a number to it, and what reads the number and sees that the file is whole."""
    import dlcore as dl
    from dlcore import _files, nn, optim

    model = nn.Sequential(nn.Linear(40, 30), nn.Linear(30, 20))
    optimizer = optim.Adam(model.parameters())
    model(dl.ones(2, 40)).sum().backward()
    optimizer.step()

    def save(path: Path) -> Write:
        def write(number: int) -> None:
            model.load_state_dict({name: np.full(t.shape, number, "f4") for name, t in model.state_dict().items()})
            dl.save(model, path, optimizer=optimizer)

        return write

    def load(path: Path) -> Read:
        def read() -> int:
            (number,) = {float(v) for t in dl.load_state(path).values() for v in np.asarray(t).reshape(-1)}
            return int(number)

        return read

    (folder / "deeper").mkdir()
    (folder / "link").symlink_to(folder / "deeper" / "model")
    for path in (folder / "model", folder / "link"):
        yield path, save(path), load(path)

    text = folder / "text"

    def read() -> int:
        (number,) = set(text.read_text().split())
        return int(number)

    yield text, lambda number: _files.write(text, f"{number} " * 20_000), read


def _try(draw: random.Random, folder: Path, path: Path, write: Write, read: Read, fail: Any) -> str:
    """Lets a write fail; what was wrong then, if anything was."""
    known = {"model", "link", "deeper", "text"}
    write(1)
    raised: BaseException | None = None
    with fail(draw):
        try:
            write(2)
        except (OSError, MemoryError, KeyboardInterrupt) as error:
            raised = error
    text = f"{type(raised).__name__}: {raised}"
    if isinstance(raised, OSError) and str(path) not in str(raised):
        return f"an error without the path: {text}"
    try:
        number = read()
    except Exception as error:
        return f"after {text}: {type(error).__name__}: {error}"
    if number != 2 and not (number == 1 and raised):
        return f"after {text}: the file is number {number}"
    write(3)
    if read() != 3:
        return f"after {text}: the next write wrote something else"
    left = [p for p in folder.rglob("*") if p.name not in known]
    for leftover in left:
        leftover.unlink()
    return f"after {text}: left behind: {[p.name for p in left]}" if left else ""


@contextmanager
def _call(draw: random.Random) -> Iterator[None]:
    """One call to the system, any, fails; or all of a kind from then on."""
    left, code, lasting = draw.randrange(24), draw.choice(ERRORS), draw.random() < 0.3
    kinds = draw.sample(CALLS, draw.choice([1, len(CALLS)]))
    left = left % 4 if len(kinds) == 1 else left
    originals = [getattr(module, name) for module, name in kinds]

    def failing(original: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            left -= 1
            if left == -1 or (left < 0 and lasting):
                if original is os_close:
                    original(*args)  # as in Linux: the handle is gone, whatever close says
                raise OSError(code, os.strerror(code))
            return original(*args, **kwargs)

        return call

    os_close = os.close
    for (module, name), original in zip(kinds, originals, strict=True):
        setattr(module, name, failing(original))
    try:
        yield
    finally:
        for (module, name), original in zip(kinds, originals, strict=True):
            setattr(module, name, original)


@contextmanager
def _size(draw: random.Random) -> Iterator[None]:
    """No file may grow beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (draw.randrange(60_000), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def _memory(draw: random.Random) -> Iterator[None]:
    """The process may have no or little more memory."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + draw.choice([0, 1 << 12, 1 << 16, 1 << 20]), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@contextmanager
def _line(draw: random.Random) -> Iterator[None]:
    """KeyboardInterrupt at some line of dlcore's own code."""
    left = draw.randrange(200)
    before = sys.gettrace()

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal left
        if not frame.f_code.co_filename.endswith(("_files.py", "_safetensors.py", "_checkpoint.py")):
            return None
        if event == "line":
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)
