"""Engines in turns: persistent worker processes, one case at a time, round after round.

dlcore runs twice, in two processes: what its two medians differ by is the noise. A process is stopped while others have
their turn: idle threads of OpenMP and OpenBLAS go on spinning for milliseconds, on the processor the next one needs.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

import dlcore
from dlcore._autograd import grad
from dlcore._capture import capture
from dlcore._commands import work
from dlcore._device import Device
from dlcore._tensor import Tensor, empty
from dlcore.bench.cases import Case, Snippet
from dlcore.bench.machine import cache_bytes
from dlcore.dtypes import DType, as_dtype, bfloat16
from dlcore.errors import CaptureError

__all__ = ["LIBRARIES", "Measurement", "Session", "Timing", "installed"]

LIBRARIES = ("torch", "numpy", "jax", "cupy")
AGAIN = "dlcore again"
_WORKER = Path(__file__).with_name("worker.py")
_MEMORY = 1 << 30  # bytes of operands that one process may keep for cold caches


class Timing(NamedTuple):
    """Seconds a call: the median, the 20th and the 80th percentile of the samples; ``host``: until the host is free."""

    median: float
    p20: float
    p80: float
    samples: int
    host: float


@dataclass
class Measurement:
    """One case, timed. ``noise``: what dlcore's two medians differ by, as a fraction; ``flops``, ``bytes``: the work
    (bytes that must move); ``touched``: bytes of operands and results; ``own``: the engine that stands for dlcore;
    ``problems``: engine -> what kept it away."""

    case: str
    row: str
    family: str
    shape: str
    dtype: str
    mode: str
    cache: str
    threads: int
    device: str
    flops: float
    bytes: float
    touched: int
    why: str = ""
    own: str = "dlcore"
    noise: float = 0.0
    engines: dict[str, Timing] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """dlcore's median."""
        return self.engines[self.own].median

    def best(self, library: str) -> str | None:
        """The fastest way of a library ("torch", "torch out"), if it took part."""
        ways = [e for e in self.engines if e.partition(" ")[0] == library and e != AGAIN]
        return min(ways, key=lambda e: self.engines[e].median, default=None)

    def ratio(self, library: str) -> float | None:
        """How many times faster than a library's fastest way dlcore is."""
        best = self.best(library)
        return None if best is None else self.engines[best].median / self.seconds


def installed(python: str, device: str = "cpu") -> list[str]:
    """The libraries that a Python has, of those that can be held against dlcore on the device."""
    code = "import sys, importlib.util as u; print(*[m for m in sys.argv[1:] if u.find_spec(m)])"
    names = [n for n in LIBRARIES if n != ("cupy" if device == "cpu" else "numpy")]
    done = subprocess.run([python, "-c", code, *names], capture_output=True, text=True, check=True)
    return done.stdout.split()


class Worker:
    """One engine in its own process, stopped but for its turns."""

    def __init__(self, engine: str, threads: int, device: str, python: str, environment: Mapping[str, str]):
        limits = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
        command = [python, str(_WORKER), engine, str(threads), device]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, env={**os.environ, **limits, **environment}, **pipes)
        self.engine = engine
        self.version = str(self._answer()["version"])
        self.process.send_signal(signal.SIGSTOP)

    def ask(self, **request: Any) -> Any:
        """One request, one answer; {"error": ...} where the statement failed."""
        assert self.process.stdin is not None
        self.process.send_signal(signal.SIGCONT)
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            self._ended()
        answer = self._answer()
        self.process.send_signal(signal.SIGSTOP)
        return answer

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return json.loads(line) if line else self._ended()

    def _ended(self) -> NoReturn:
        code = self.process.wait()  # its pipe is closed: it is at its end
        self.close()
        raise ChildProcessError(f"bench: the process of {self.engine} ended with {code} (see its message above)")

    def close(self) -> None:
        """Ends the process."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):  # closing flushes
                pipe.close()


class Session:
    """Workers for some engines. ``pythons``: library -> the Python that has it (default: this one); ``file``: where
    rows of the user's stand; ``path``: a folder that programs may import from.

    Use as a context manager; processes start when a case first needs them.
    """

    def __init__(
        self,
        libraries: Sequence[str] = (),
        threads: int | None = None,
        device: str = "cpu",
        pythons: Mapping[str, str] | None = None,
        file: str | None = None,
        path: str | None = None,
    ):
        self.libraries, self.device, self.file = tuple(libraries), device, file
        self.path = [path] if path else []
        self.threads = threads or len(os.sched_getaffinity(0))
        self.pythons = {"dlcore": sys.executable, **dict.fromkeys(libraries, sys.executable), **(pythons or {})}
        self.workers: dict[str, Worker] = {}
        self.versions: dict[str, str] = {}
        self.absent: dict[str, str] = {}

    def __enter__(self) -> Session:
        room = os.statvfs("/dev/shm") if os.path.isdir("/dev/shm") else None
        ample = room is not None and room.f_bavail * room.f_frsize > 2 << 30
        self._folder = tempfile.TemporaryDirectory(prefix="dlcore-bench-", dir="/dev/shm" if ample else None)
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers.values():
            worker.close()
        self.workers.clear()
        self._folder.cleanup()

    # ---- measuring --------------------------------------------------------------------------------------------------

    def measure(
        self, case: Case | Snippet, cache: str = "warm", rounds: int = 7, seconds: float = 0.03, again: bool = True
    ) -> Measurement:
        """Times a case in all engines that have it, in turns of ``seconds``; their results are compared first."""
        return self.sample(case, cache, rounds, seconds, again)[0]

    def sample(
        self, case: Case | Snippet, cache: str = "warm", rounds: int = 7, seconds: float = 0.03, again: bool = True
    ) -> tuple[Measurement, dict[str, list[float]]]:
        """What `measure` returns, and the samples that it was made from: engine -> seconds a call."""
        requests = self._snippet(case) if isinstance(case, Snippet) else self._requests(case, cache)
        found = self._described(case, cache)
        twin = {AGAIN: requests[found.own]} if again else {}
        ready = self._prepared({found.own: requests[found.own], **twin, **requests}, found, case, seconds)
        samples: dict[str, list[list[float]]] = {engine: [] for engine in ready}
        for _ in range(rounds):
            for engine, (library, key) in ready.items():
                if _far_behind(samples[engine], samples[found.own], seconds):
                    continue
                answer = self._ask(library, time=key, seconds=seconds)
                if "error" in answer:
                    self._failed(found, engine, answer["error"])
                else:
                    samples[engine] += answer["samples"]
        for library in {library for library, _ in ready.values()}:
            self._ask(library, forget=True)
        samples = {engine: values for engine, values in samples.items() if engine not in found.problems}
        found.engines = {engine: _timing(values) for engine, values in samples.items()}
        if AGAIN in found.engines:
            found.noise = abs(found.engines.pop(AGAIN).median / found.seconds - 1)
        return found, {e: [seconds for seconds, _ in samples[e]] for e in found.engines}

    def _prepared(
        self, requests: Mapping[str, Any], found: Measurement, case: Case | Snippet, seconds: float
    ) -> dict[str, tuple[str, str]]:
        """Engines whose results agree with dlcore's -> the worker's name, and the key of what it is to time."""
        ready: dict[str, tuple[str, str]] = {}
        want = None
        for engine, request in requests.items():
            library = engine if engine == AGAIN else engine.partition(" ")[0]
            if library in self.absent:
                continue
            answer = self._ask(library, **request, seconds=seconds)
            want = want or answer.get("results")
            problem = answer.get("error") or _difference(answer["results"], want, case)
            if problem:
                self._failed(found, engine, problem)
            else:
                ready[engine] = library, request["key"]
        return ready

    def _failed(self, found: Measurement, engine: str, problem: str) -> None:
        """Notes what is wrong with an engine; raises RuntimeError where it is dlcore."""
        if engine in (found.own, AGAIN):
            raise RuntimeError(f"bench: {found.case}: {problem}")
        found.problems[engine] = problem

    def _ask(self, library: str, **request: Any) -> dict[str, Any]:
        """A worker's answer; where its process ends, an error that is remembered, and raised where it is dlcore's."""
        try:
            if library in self.absent:
                return {"error": self.absent[library]}
            if library not in self.workers:
                self.workers[library] = self._started(library)
            return dict(self.workers[library].ask(**request))
        except ChildProcessError as error:
            if library.startswith("dlcore"):
                raise
            self.workers.pop(library, None)
            self.absent[library] = str(error)
            return {"error": str(error)}

    def _started(self, library: str) -> Worker:
        name = library.partition(" ")[0]
        own = [str(Path(dlcore.__file__).parents[1])] if name == "dlcore" else []  # the very same one
        path = os.pathsep.join([*own, *self.path, *filter(None, [os.environ.get("PYTHONPATH")])])
        worker = Worker(name, self.threads, self.device, self.pythons[name], {"PYTHONPATH": path})
        self.versions[library] = worker.version
        return worker

    def _described(self, case: Case | Snippet, cache: str) -> Measurement:
        if isinstance(case, Snippet):
            return Measurement(
                case.name, case.name, case.family, case.shape, "float32", "program", cache, self.threads, self.device,
                case.flops, case.bytes, 0, own=case.own,
            )  # fmt: skip
        family = next(iter(sorted(case.families)), "")
        flops, moved = case.work if case.mode != "both" else _work_of_both(case)
        return Measurement(
            case.name, case.op.name, family, case.shape, case.dtype.name, case.mode, cache, self.threads, self.device,
            flops, moved, case.bytes, case.workload.why,
        )  # fmt: skip

    # ---- what workers are told --------------------------------------------------------------------------------------

    def _snippet(self, case: Snippet) -> dict[str, dict[str, Any]]:
        found = {}
        for engine, setup in self.engines(case).items():
            stmt = case.stmt if isinstance(case.stmt, str) else case.stmt[engine]
            own = {"stmt": stmt, "check": case.check or stmt, "mode": case.mode}
            found[engine] = own | {"key": engine, "setup": setup}
        return found

    def engines(self, case: Case | Snippet) -> dict[str, Any]:
        """The engines that a case is timed in, each with its way to do it."""
        if isinstance(case, Snippet):
            ways = case.setup if isinstance(case.setup, Mapping) else dict.fromkeys(case.engines, case.setup)
            return {e: way for e, way in ways.items() if e.partition(" ")[0] in ("dlcore", *self.libraries)}
        found: dict[str, Any] = {"dlcore": None}
        for engine, way in case.baselines.items():
            library, space, rest = engine.partition(" ")
            for name in (library, "cupy") if library == "numpy" else (library,):
                if name in self.libraries and _takes_part(engine, case):
                    found[name + space + rest] = way
        return found

    def _requests(self, case: Case, cache: str) -> dict[str, dict[str, Any]]:
        """Engine -> the request that prepares it."""
        inputs = case.arrays() + ([case.dout()] if case.mode == "both" else [])  # the result's gradient last
        arrays = [self._save(k, x) for k, x in enumerate(inputs)]
        op, attrs = case.op, dict(zip(case.op.attribute_names, case.attrs, strict=True))
        places, unpack = _places(case)
        common: dict[str, Any] = {
            "file": self.file,
            "arrays": arrays, "mode": case.mode, "places": places, "unpack": unpack,
            "present": [s is not None and not s.weak for s in case.specs], "leaves": case.leaves,
            "copies": self._copies(case, cache), "writes": case.written, "scalar": np.ndim(inputs[-1]) == 0,
        }  # fmt: skip
        passed = ", ".join([*op.input_names, *(f"attribute_{k}" for k in range(len(attrs)))])
        own = {f"attribute_{k}": _source(v, "dl") for k, v in enumerate(attrs.values())}
        requests = {"dlcore": common | {
            "key": "dlcore", "setup": f"f = operation({op.name!r})", "expression": f"f({passed})",
            "attributes": own, "needs_out": False,
        }}  # fmt: skip
        for engine, way in self.engines(case).items():
            if engine != "dlcore":
                setup, expression = way if isinstance(way, tuple) else ("", way)
                requests[engine] = common | {
                    "key": engine, "setup": setup, "expression": expression, "needs_out": " " in engine,
                    "attributes": {n: _source(v) for n, v in attrs.items()},
                }  # fmt: skip
        return requests

    def _copies(self, case: Case, cache: str) -> int:
        """How many sets of operands are taken in turns: together four times the largest cache, where it is cold."""
        if cache == "warm":
            return 1
        size = max(case.bytes, 1)
        return max(1, min(-(-4 * cache_bytes(self.device) // size), _MEMORY // size, 4096))

    def _save(self, number: int, x: Any) -> dict[str, Any] | None:
        if not isinstance(x, np.ndarray):
            return None if x is None else {"value": x}
        transposed = x.ndim > 1 and not x.flags.c_contiguous and x.swapaxes(-1, -2).flags.c_contiguous
        plain = x.swapaxes(-1, -2) if transposed else x
        path = f"{self._folder.name}/{number}.npy"
        np.save(path, plain.view(np.uint16) if x.dtype.name == "bfloat16" else plain)
        return {"path": path, "dtype": x.dtype.name, "transposed": transposed}


def _places(case: Case) -> tuple[list[str], dict[str, str]]:
    """How statements write each operand ("x", "grads[2]"), and what each name is made of."""
    places, unpack = [], {}
    for name, at in case.op.signature.positions(case.lengths).items():
        group = case.op.signature.is_group(name)
        places += [f"{name}[{k}]" if group else name for k in range(len(at))]
        unpack[name] = f"list(arrays[{at.start}:{at.stop}])" if group else f"arrays[{at.start}]"
    return places, unpack


def _far_behind(samples: Sequence[Sequence[float]], own: Sequence[Sequence[float]], seconds: float) -> bool:
    """Whether a call took ten turns, and ten times as long as dlcore's: then one is enough."""
    return bool(samples) and min(s for s, _ in samples) > 10 * max(seconds, min(s for s, _ in own))


def _takes_part(engine: str, case: Case) -> bool:
    """NumPy and CuPy have no gradients and no bfloat16, `out=` none either, and JAX no tape to be kept."""
    library, _, way = engine.partition(" ")
    if library in ("numpy", "cupy"):
        return case.mode == "forward" and bfloat16 not in (case.dtype, *case.attrs)
    if library == "jax":
        return case.mode != "tracked" and not case.op.signature.groups and case.written is None
    return case.mode == "forward" or way != "out"


def _source(value: Any, lib: str = "") -> str:
    """An attribute's value as Python source; a dtype as dlcore's, or for others by its name."""
    if isinstance(value, DType):
        return f"{lib}.{value.name}" if lib else repr(value.name)
    if isinstance(value, Device):
        return f"{lib}.device({str(value)!r})" if lib else repr(str(value))
    if isinstance(value, tuple):
        return f"({''.join(f'{_source(v, lib)}, ' for v in value)})"
    if isinstance(value, float) and not math.isfinite(value):
        return f"float({str(value)!r})"
    return repr(value)


def _work_of_both(case: Case) -> tuple[float, float]:
    """FLOPs, and bytes that must move, of all launches of forward and backward, found without running one."""
    specs = case.specs
    given = [s is not None and not s.weak for s in specs]
    tensors = [empty(s.shape, dtype=s.dtype) for s, there in zip(specs, given, strict=True) if s and there]
    rest = [x for x, there in zip(case.operands, given, strict=True) if not there]
    for k, tensor in enumerate(tensors):
        tensor.requires_grad = [j for j, there in enumerate(given) if there][k] in case.leaves
    dout = case.dout()

    def both(*arguments: Tensor) -> list[Tensor | None]:
        arrays, others = iter(arguments[:-1]), iter(rest)
        operands = [next(arrays) if there else next(others) for there in given]
        result = case.op.call(*case.op.nested(operands, case.lengths), *case.attrs)
        first = result[0] if isinstance(result, tuple) else result
        leaves = [operands[k] for k in case.leaves]
        return list(grad([first], leaves, [arguments[-1]], allow_unused=True))

    try:
        return work(capture(both).dry_run(*tensors, empty(dout.shape, dtype=as_dtype(dout.dtype))))
    except CaptureError:  # a kernel in NumPy cannot be recorded: its work is unknown
        return 0.0, 0.0


def _timing(samples: Sequence[Sequence[float]]) -> Timing:
    device, host = zip(*samples, strict=True)
    p20, median, p80 = np.percentile(device, [20, 50, 80])
    return Timing(float(median), float(p20), float(p80), len(samples), float(np.median(host)))


def _difference(got: Any, want: Any, case: Case | Snippet) -> str:
    """In what results differ from dlcore's beyond rounding; "" if they agree. Random numbers need only their shape."""
    random, eps = (False, 2.0**-23) if isinstance(case, Snippet) else (case.op.random, case.dtype.eps)
    if len(got) != len(want):
        return f"{len(got)} results for {len(want)}"
    for mine, theirs in zip(want, got, strict=True):
        if list(mine["shape"]) != list(theirs["shape"]):
            return f"shape {theirs['shape']} for {mine['shape']}"
        a, b = (np.array([float(v) for v in r["values"]]) for r in (mine, theirs))
        if random:
            continue
        finite = np.isfinite(a) & np.isfinite(b)
        apart = np.subtract(a, b, where=finite, out=np.zeros_like(a))
        wrong = ~finite & ~((a == b) | (np.isnan(a) & np.isnan(b)))
        tolerance = 0.0 if mine["exact"] and theirs["exact"] else min(256 * eps, 0.1)
        # By their norms: where 16 bits round a sum to the other side of relu's corner, one gradient is another.
        if wrong.any() or np.linalg.norm(apart) > tolerance * np.linalg.norm(a[finite]):
            k = int(np.argmax(np.where(wrong, np.inf, np.abs(apart))))
            return f"differs: {float(b[k])} for {float(a[k])}"
    return ""
