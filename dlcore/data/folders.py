"""Folders with one subfolder for each class: which files there are, and reading many of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dlcore._arguments import items, shown
from dlcore._files import naming
from dlcore._notes import note

__all__ = ["Listing", "as_path", "class_folders", "files_of", "missing_package", "read_files"]

_SPLITS = frozenset(("train", "training", "test", "testing", "val", "valid", "validation", "dev"))


class Listing(NamedTuple):
    """The files of a folder of classes: their paths and labels, and the names of the classes."""

    paths: list[Path]
    labels: np.ndarray
    classes: tuple[str, ...]


def as_path(path: Any, where: str) -> Path:
    """``path`` as a Path, with ``~`` expanded; ``where``: the argument that it is."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"{where} {shown(path)} is neither a text nor a path")
    if not os.fspath(path):
        raise ValueError(f"{where} is empty")
    return Path(path).expanduser()


def class_folders(
    path: Any, suffixes: Sequence[str], name: str, what: str, classes: Sequence[str] | None = None
) -> Listing:
    """The files below each subfolder of ``path``, one for each class.

    Classes are in alphabetical order, or in that of their numbers where all names are integers; ``classes`` names them
    in another order, and others are left out. Hidden files and folders are passed over, and so are files of other
    kinds. ``name``: the function that asks; ``what``: what the files are, in the plural. Raises FileNotFoundError,
    NotADirectoryError, or ValueError where there are no classes, one alone, or none of these files in one of them.
    """
    path = as_path(path, f"{name}: path")
    with naming(path):
        folders = sorted(entry.name for entry in os.scandir(path) if entry.is_dir() and entry.name[0] != ".")
    chosen = _chosen(folders, classes, path, name)
    if not chosen:
        loose = len(files_of(path, suffixes))
        found = f"{loose} {what} lie in it, and no folder" if loose else "it is empty"
        raise ValueError(f"{name}: {path}: one folder for each class expected; {found}")
    if classes is None and {folder.lower() for folder in chosen} <= _SPLITS:
        raise ValueError(f"{name}: {path} has the splits {', '.join(chosen)}, not classes; give one of these folders")
    files = [files_of(path / folder, suffixes) for folder in chosen]
    for folder, of_class in zip(chosen, files, strict=True):
        if not of_class:
            raise ValueError(f"{name}: {path / folder}: there are no {what} ({', '.join(suffixes)})")
    if len(chosen) == 1 and classes is None:
        raise ValueError(f"{name}: {path} has one class, {chosen[0]!r}; give classes=[{chosen[0]!r}] if that is meant")
    labels = np.repeat(np.arange(len(chosen)), list(map(len, files)))
    return Listing([file for of_class in files for file in of_class], labels, tuple(chosen))


def _chosen(folders: list[str], classes: Sequence[str] | None, path: Path, name: str) -> list[str]:
    if classes is None:
        numbers = all(folder.isdecimal() for folder in folders)
        return sorted(folders, key=int) if numbers else folders
    given = items(classes)
    if given is None or len(set(given)) != len(given):
        raise TypeError(f"{name}: classes {shown(classes)} is not a sequence of different names")
    if missing := [folder for folder in given if folder not in folders]:
        raise ValueError(f"{name}: {path} has no folder {missing[0]!r}; it has {', '.join(folders) or 'none'}")
    return list(given)


def files_of(path: Path, suffixes: Sequence[str]) -> list[Path]:
    """The files below ``path`` whose names end so, in alphabetical order."""
    found: list[Path] = []

    def refuse(error: OSError) -> None:
        raise error

    for folder, below, files in os.walk(path, onerror=refuse):
        below[:] = sorted(entry for entry in below if entry[0] != ".")
        right = (file for file in sorted(files) if file[0] != "." and file.lower().endswith(tuple(suffixes)))
        found += (Path(folder, file) for file in right)
    return found


def read_files(
    paths: Sequence[Path], read: Callable[[Path], Any], skip_bad: bool, name: str, what: str
) -> tuple[list[Any], np.ndarray, list[tuple[Path, str]]]:
    """What ``read`` makes of the files, which of them these are, and the others, each with what is wrong.

    A file for which ``read`` raises ValueError or OSError is an error that names it, or with ``skip_bad`` it is left
    out; how many there were is told by a RuntimeWarning. Raises ValueError where no file is left. Files are read by
    several threads: decoders run beside each other.
    """

    def attempt(path: Path) -> tuple[Any, str | None]:
        try:
            with naming(path):
                return read(path), None
        except (ValueError, OSError) as error:
            told = isinstance(error, OSError) and error.strerror  # without the path, which is named anyway
            return None, told or str(error).removeprefix(f"{path}: ") or type(error).__name__

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        results = list(threads.map(attempt, paths))
    bad = [(path, reason) for path, (_, reason) in zip(paths, results, strict=True) if reason is not None]
    if bad and not skip_bad:
        more = f" ({len(bad) - 1} more of {len(paths)} are bad, too)" if len(bad) > 1 else ""
        raise ValueError(f"{name}: {bad[0][0]}: {bad[0][1]}{more}; skip_bad=True leaves such files out")
    kept = np.array([k for k, (_, reason) in enumerate(results) if reason is None], np.int64)
    if bad:
        shown_ones = "; ".join(f"{path}: {reason}" for path, reason in bad[:3])
        text = f"{name}: {len(bad)} of {len(paths)} {what} are left out: {shown_ones}{'; ...' if len(bad) > 3 else ''}"
        if not kept.size:
            raise ValueError(text)
        note(text)
    return [results[k][0] for k in kept], kept, bad


def missing_package(package: str, needs: str, extra: str) -> ImportError:
    """The error where an optional package is missing."""
    return ImportError(f'{needs} needs {package}: pip install "dlcore[{extra}]"')
