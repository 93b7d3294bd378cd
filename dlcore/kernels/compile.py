"""From a launch to a Binary: looked up in a pack, in the cache, or compiled in a process of its own.

    binary, parameters = load(launch, prepared(call, program))

A GPU machine with a pack or a warm cache imports neither Triton nor NVRTC. Compiling needs no GPU and no driver.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import pickle
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import IO, Any

from dlcore.kernels import binary as storage
from dlcore.kernels.binary import Binary
from dlcore.kernels.launch import ARCHES, Arch, Call, Cuda, Launch, Program, prepared
from dlcore.kernels.specialise import Parameter, Specialised, specialise

__all__ = [
    "CompileError",
    "Compiler",
    "binary",
    "compile_launch",
    "compile_many",
    "compile_program",
    "load",
    "written_down",
]

TIMEOUT = 300.0  # seconds; the slowest kernel of ours takes a hundredth of it


class CompileError(RuntimeError):
    """A kernel cannot be had for this architecture: the text says why, with the compiler's message."""


def load(launch: Launch, call: Call) -> tuple[Binary, tuple[Parameter, ...]]:
    """The binary of ``launch`` for ``call.arch``, and what to hand over to it, in order.

    ``call`` must be the one `prepared` gives. Raises CompileError.
    """
    specialised, parameters = specialise(launch, call)
    return binary(specialised), parameters


def compile_launch(launch: Launch, call: Call, arch: Arch | str | None = None) -> Binary:
    """The binary of one launch, for ``arch`` instead of the call's if given."""
    if arch is not None:
        call = call._replace(arch=ARCHES[arch] if isinstance(arch, str) else arch)
    return load(launch, call)[0]


def compile_program(program: Program, call: Call) -> list[Binary]:
    """The binaries of all launches of the Program that a planner made for ``call``."""
    call = prepared(call, program)
    return [load(launch, call)[0] for launch in program.launches]


def binary(wanted: Specialised) -> Binary:
    """The binary of ``wanted``: from memory, a pack, the cache, or the compiler. Raises CompileError."""
    key = wanted.key  # not the tuple itself: constants 1, 1.0 and True are equal
    if key not in _memory:
        _memory[key] = _found(wanted)
    return _memory[key]


_memory: dict[str, Binary] = {}


def _found(wanted: Specialised) -> Binary:
    if found := at_hand(wanted):
        return found
    if not can_compile(wanted):
        raise _missing(wanted)
    made = _compiler().compile(wanted)
    storage.store(wanted.key, made)
    return made


def at_hand(wanted: Specialised) -> Binary | None:
    """The binary of ``wanted`` from a pack or the cache; None where it must be compiled."""
    for candidate in _candidates(wanted):
        key = candidate.key
        if found := storage.packed(key, candidate.arch) or storage.cached(key):
            return found
    return None


def _candidates(wanted: Specialised) -> list[Specialised]:
    """``wanted``, and what runs on its architecture too: code for 8.0 and 8.6 does on 8.9."""
    older = ("sm_86", "sm_80") if wanted.arch.startswith("sm_8") else ()
    return [wanted, *(wanted._replace(arch=arch) for arch in older if arch < wanted.arch)]


def _missing(wanted: Specialised) -> CompileError:
    """What to say where a kernel is not at hand and cannot be compiled."""
    compiler = "NVRTC" if isinstance(wanted.kernel, Cuda) else "Triton"
    for candidate in _candidates(wanted):
        if pack := storage.too_new(candidate.key, candidate.arch):
            return CompileError(
                f"{wanted.kernel.name}: {pack.path} has it from the tools of CUDA {pack.cuda}, which this GPU's "
                f"driver is too old for, and {compiler} is not here to make another: update the driver, or pip install "
                "'dlcore[compile]'"
            )
    folders = ", ".join(map(str, (*storage.pack_folders(), storage.cache_directory())))
    return CompileError(
        f"{wanted.kernel.name}: no binary for {wanted.arch} in {folders}, and {compiler} is not here to make one: "
        f"pip install 'dlcore[compile]', or carry a pack over (dlcore verify --compile --arch {wanted.arch} --out DIR)"
    )


def can_compile(wanted: Specialised) -> bool:
    """Whether the compiler that ``wanted`` needs is installed."""
    if isinstance(wanted.kernel, Cuda):
        from dlcore.kernels import nvrtc

        return nvrtc.available()
    return importlib.util.find_spec("triton") is not None


# ---- the compiler's process ---------------------------------------------------------------------------------------


class Compiler:
    """A child process that compiles (see `worker`); started when first needed, and again after a crash."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    def compile(self, wanted: Specialised) -> Binary:
        """The binary of ``wanted``. Raises CompileError, also when the compiler crashes or hangs."""
        with self._lock:
            answer = self._ask(wanted)
        if isinstance(answer, str):
            raise CompileError(f"{wanted.kernel.name} for {wanted.arch}: {answer}")
        made: Binary = answer
        return made

    def _ask(self, wanted: Specialised) -> Any:
        process = self._started()
        assert process.stdin and process.stdout
        clock = threading.Timer(TIMEOUT, process.kill)
        clock.start()
        try:
            pickle.dump(pickle.dumps(wanted), process.stdin)  # twice: what cannot be read is still whole
            process.stdin.flush()
            return pickle.load(process.stdout)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            code = self._ended()
            late = " (it was stopped after 300 s)" if clock.finished.is_set() else ""
            return f"the compiler crashed, exit code {code}{late}\n{self._last_words()}".rstrip()
        finally:
            clock.cancel()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
            environment["PYTHONPATH"] = os.pathsep.join(p or os.getcwd() for p in sys.path)
            if self._log is not None:
                self._log.close()
            self._log = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the process)
            self._process = subprocess.Popen(
                [sys.executable, "-m", "dlcore.kernels.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=self._log, env=environment,
            )  # fmt: skip
        return self._process

    def _last_words(self) -> str:
        """The end of what the process that has crashed wrote to stderr."""
        if self._log is None:
            return ""
        with self._log as log:
            log.seek(max(log.seek(0, os.SEEK_END) - 600, 0))
            return log.read().decode(errors="replace")

    def _ended(self) -> int | None:
        process, self._process = self._process, None
        if process is None:
            return None
        process.kill()
        code = process.wait()
        for pipe in (process.stdin, process.stdout):
            with suppress(BrokenPipeError):
                pipe.close()  # type: ignore[union-attr]
        return code

    def close(self) -> None:
        """End the process; it starts again when it is needed."""
        with self._lock:
            self._ended()
            if self._log is not None:
                self._log.close()


def compile_many(
    wanted: Sequence[Specialised],
    jobs: int,
    done: Callable[[], Any] = lambda: None,
    found: Callable[[Specialised], Binary | None] = at_hand,
) -> list[Binary | CompileError]:
    """The binaries of ``wanted``: what is ``found`` (in packs and the cache), the others by ``jobs`` compilers.

    ``done`` is called after each. A kernel that cannot be compiled, or crashes its compiler, is an error in its place
    and stops nothing.
    """
    local, compilers = threading.local(), []

    def one(item: Specialised) -> Binary | CompileError:
        try:
            if (there := found(item)) is not None:
                return there
            if not can_compile(item):
                return _missing(item)
            if not hasattr(local, "compiler"):
                local.compiler = Compiler()
                compilers.append(local.compiler)
            made: Binary = local.compiler.compile(item)
            storage.store(item.key, made)
            return made
        except CompileError as error:
            return error
        finally:
            done()

    try:
        with ThreadPoolExecutor(max(jobs, 1)) as pool:
            return list(pool.map(one, wanted))
    finally:
        for compiler in compilers:
            compiler.close()


@contextmanager
def written_down(instead: Callable[[Specialised], Binary]) -> Iterator[dict[str, Specialised]]:
    """What is asked for within the block, by key. Nothing is looked up or compiled: ``instead`` makes the answers."""
    global binary, compile_many
    asked: dict[str, Specialised] = {}
    usual = binary, compile_many

    def answer(wanted: Specialised) -> Binary:
        asked[wanted.key] = wanted
        return instead(wanted)

    binary, compile_many = answer, lambda wanted, *_: [answer(w) for w in wanted]
    try:
        yield asked
    finally:
        binary, compile_many = usual


@lru_cache
def _compiler() -> Compiler:
    compiler = Compiler()
    atexit.register(compiler.close)
    return compiler


os.register_at_fork(after_in_child=_compiler.cache_clear)  # the parent's pipes are not the child's
