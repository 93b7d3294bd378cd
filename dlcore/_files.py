"""Files that are written whole or not at all.

A file is written under another name in the same folder, flushed to the disk and renamed: whatever happens, the path
holds the old file or the new one. The writer holds a lock on the file beside as long as it lives, so what a killed
writer has left is known by its name and by the lock that nobody holds, and the next writer in the folder removes it.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["naming", "replacing", "write", "write_figure"]

_ASIDE = re.compile(r"\.dlcore-[0-9a-f]{16}\.tmp")


@contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Lets every OSError of the block name ``path``: reads and writes do not say of which file they were."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            error.filename = os.fspath(path)
            del error.filename2
        raise


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file to write into, which takes the place of ``path`` when the block has ended without an exception.

    A symbolic link stays: the file that it names is replaced. A replaced file hands on its mode and owner, a new one
    has the usual ones; a write-protected one is not replaced. What is no regular file (a pipe, a device, an open file
    by its name in /proc) cannot be replaced and is written straight. OSErrors name ``path``.
    """
    path = os.fspath(path)
    with naming(path):
        target = _target(path)
        if target is None:
            with open(path, "wb") as file:
                yield file
            return
        folder = os.path.dirname(target) or "."
        if not os.path.isdir(folder):
            raise FileNotFoundError(errno.ENOENT, f"there is no folder {folder}", path)
        directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _remove_leftovers(directory)
            yield from _written(target, directory)
            os.fsync(directory)  # the new name
        finally:
            os.close(directory)


def write(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Write a file of ``data``, text as UTF-8, whole or not at all; makes the folder if there is none."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(data.encode() if isinstance(data, str) else data)


def write_figure(figure: Any, path: str | os.PathLike[str]) -> None:
    """Write a matplotlib figure, whole or not at all; the ending of the name says as what (default: .png is added)."""
    path = Path(path)
    if not path.suffix:
        path = path.with_name(f"{path.name}.png")
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=150, format=path.suffix[1:])
    with replacing(path) as file:
        file.write(drawn.getbuffer())


def _target(path: str) -> str | None:
    """The name at the end of the links at ``path``, for a regular file or none yet; None for everything else."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        found = None
    if found is not None and not stat.S_ISREG(found.st_mode):
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        return None
    while os.path.islink(path):
        folder = os.path.realpath(os.path.dirname(path))
        if folder.startswith("/proc/"):  # /dev/stdout, say: a link to an open file, whatever its name has become
            return None
        path = os.path.join(folder, os.readlink(path))
    if found is not None and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
    return path


def _written(target: str, directory: int) -> Iterator[BinaryIO]:
    """The file beside ``target`` to write into, which is then flushed and renamed; it is removed where that fails."""
    aside, handle = _made_aside(os.path.dirname(target))
    file = open(handle, "wb")  # noqa: SIM115  # closed below, in one way after success and in another after a failure
    try:
        yield file
        file.flush()
        with suppress(FileNotFoundError):
            _hand_on(os.stat(target), handle)
        os.fsync(handle)
        os.replace(aside, target)
    except BaseException:
        with suppress(OSError):
            os.unlink(aside)
        file.raw.close()  # nothing more is written: the first error is the one to tell
        raise
    file.close()  # only now: it holds the lock


def _hand_on(old: os.stat_result, handle: int) -> None:
    """Give the open file the owner, if that is allowed, and the mode of ``old``."""
    new = os.fstat(handle)
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        with suppress(PermissionError):
            os.fchown(handle, old.st_uid, old.st_gid)
    if old.st_mode != new.st_mode:
        os.fchmod(handle, stat.S_IMODE(old.st_mode))


def _made_aside(folder: str) -> tuple[str, int]:
    """The name and the handle of a new file in ``folder``, locked."""
    while True:
        name = os.path.join(folder, f".dlcore-{secrets.token_hex(8)}.tmp")
        handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            with suppress(OSError):  # a file system without locks: then nobody removes leftovers on it either
                fcntl.flock(handle, fcntl.LOCK_EX)
            if os.fstat(handle).st_nlink:
                return name, handle
        except BaseException:
            with suppress(OSError):
                os.unlink(name)
            os.close(handle)
            raise
        os.close(handle)  # another writer took it for a leftover before it was locked


def _remove_leftovers(directory: int) -> None:
    """Remove what killed writers have left in an open folder: files named as ours that nobody holds a lock on."""
    for name in filter(_ASIDE.fullmatch, os.listdir(directory)):
        with suppress(OSError):  # in use, removed by another writer, or not ours to remove
            handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(name, dir_fd=directory)
            finally:
                os.close(handle)
