"""Results of a GPU: results.jsonl, one JSON object a line, appended as they come and read back whatever happened."""

import hashlib
import json
import os
import threading
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FILE = "results.jsonl"
SOURCES = ("csrc", "dlcore", "kernels")
SUFFIXES = {".py", ".cu", ".cuh", ".cpp", ".h", ".inl", ".toml"}

Result = dict[str, Any]


def sources(root: Path = ROOT) -> str:
    """A digest of all that results depend on: with it they mean something without a repository."""
    digest = hashlib.sha256()
    for path in sorted(p for folder in SOURCES for p in (root / folder).rglob("*") if p.suffix in SUFFIXES):
        digest.update(f"{path.relative_to(root)}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


def read(path: Path) -> Iterator[Result]:
    """The results in a file; a line that is torn, as where power or patience ended, is left out."""
    for line in path.read_bytes().split(b"\n") if path.exists() else ():
        try:
            result = json.loads(line)
        except ValueError:
            continue
        if isinstance(result, dict) and {"stage", "name", "sources"} <= result.keys():
            yield result


class Record:
    """The results of one folder; ``done``: the newest of each (stage, name) of these sources.

    ``before``: files of earlier results, which count as if they were this folder's.
    """

    def __init__(self, folder: Path, before: Iterable[Path] = (), root: Path = ROOT):
        self.path, self.sources, self._lock = folder / FILE, sources(root), threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)
        self.done: dict[tuple[str, str], Result] = {}
        mine = list(read(self.path))
        for result in mine:
            self._remember(result)
        for path in before:
            for result in read(path):
                if result not in mine:
                    self._append(result)
                    self._remember(result)

    def _remember(self, result: Result) -> None:
        if result["sources"] == self.sources:
            key = result["stage"], result["name"]
            if "error" not in result or "error" in self.done.get(key, {"error": ""}):  # a good one stays
                self.done[key] = result

    def _append(self, result: Result) -> None:
        with self.path.open("ab+") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - 1, 0))
            torn = file.read(1) not in (b"", b"\n")
            file.write(b"\n" * torn + json.dumps(result).encode() + b"\n")

    def well(self, stage: str, name: str) -> bool:
        """Whether the job has been done, and went well."""
        return "error" not in self.done.get((stage, name), {"error": ""})

    def add(self, stage: str, name: str, answer: Result) -> Result:
        """Appends the answer to one job."""
        at = datetime.now(UTC).isoformat(timespec="seconds")
        result = {"stage": stage, "name": name, "sources": self.sources, "at": at, **answer}
        with self._lock:
            self._append(result)
            self.done[stage, name] = result
        return result

    def of(self, stage: str) -> list[Result]:
        """The newest results of a stage."""
        return [r for (s, _), r in list(self.done.items()) if s == stage]
