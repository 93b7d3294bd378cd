"""Downloads: resumed where they were interrupted, and checked."""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import os
import re
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["download_file"]

_PIECE = 1 << 20  # bytes that are read at a time
_TRIES = 3  # of each address
_TIMEOUT = 30.0  # seconds without an answer


def download_file(urls: Sequence[str], path: Path, sha256: str) -> None:
    """Download the file with this sha256 from the first of ``urls`` that has it to ``path``.

    It is written to ``path`` with .part added, and renamed when all of it is there and its sha256 is right: ``path`` is
    never half a file. What an interrupted download has left is gone on with (HTTP ranges), and a file with another
    sha256 is thrown away. Of several processes one downloads, the others wait. Raises OSError where no address works.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    failures = []
    with open(part, "ab+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if path.exists():
            part.unlink(missing_ok=True)
            return  # another process has been here
        for url in urls:
            try:
                _complete(url, file, sha256)
            except (OSError, http.client.HTTPException, ValueError) as error:
                failures.append(f"{url}: {error or type(error).__name__}")
                continue
            file.flush()
            os.fsync(file.fileno())
            os.replace(part, path)
            return
        if not _size(file):
            part.unlink()
    raise OSError("; ".join(failures) or f"there is no address of {path.name}")


def _complete(url: str, file: Any, sha256: str) -> None:
    """Write all of ``url`` into ``file``, which may hold the beginning; ValueError where its sha256 is another."""
    if _size(file) and _digest(file) == sha256:
        return
    for attempt in range(_TRIES):
        try:
            _go_on(url, file)
            break
        except (OSError, http.client.HTTPException) as error:
            final = isinstance(error, urllib.error.HTTPError) or attempt == _TRIES - 1
            if final:
                raise
    found = _digest(file)
    if found != sha256:
        size = _size(file)
        file.truncate(0)
        raise ValueError(f"its {size:,} bytes have the sha256 {found}, not {sha256}")


def _go_on(url: str, file: Any) -> None:
    """Append to ``file`` what is missing of ``url``; OSError where the connection ends too early."""
    start = _size(file)
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        answer = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not start:
            raise
        file.truncate(0)  # more is there than the whole file: it was another one
        return _go_on(url, file)
    with answer:
        span = re.match(r"bytes (\d+)-\d+/(\d+)", answer.headers.get("Content-Range", ""))
        if answer.status != 206 or span is None or int(span[1]) != start:
            file.truncate(0)  # the server sends the whole again
            start = 0
        length = answer.headers.get("Content-Length")
        file.seek(0, os.SEEK_END)
        while piece := answer.read(_PIECE):
            file.write(piece)
        file.flush()
    done = _size(file) - start
    if length is not None and done < int(length):
        raise OSError(f"the connection ended after {done:,} of {int(length):,} bytes")


def _size(file: Any) -> int:
    file.flush()
    return os.fstat(file.fileno()).st_size


def _digest(file: Any) -> str:
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()
