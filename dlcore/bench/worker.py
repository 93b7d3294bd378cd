"""One engine in one process, run as a script: prepares statements and times them when told, so that engines take turns.

`python worker.py ENGINE THREADS DEVICE` reads one JSON object a line and answers each with one. It imports nothing of
dlcore (but where dlcore is the engine), so that the peers may live in another Python.
"""

import ctypes
import itertools
import json
import os
import signal
import sys
import time
from typing import Any

import numpy as np

# Operands and attributes bear the names that their operation gives them: names of what is around begin with "_".
LOOP = """
def make(arrays):
    out = None
    {unpack}
    {setup}
    def _call():
        return {expression}
    if {needs_out}:
        out = _call()
    def _loop(_number):
        _start = _clock()
        for _ in range(_number):
            {expression}
        return _clock() - _start
    return _call, _loop
"""


TIMED = """
def _loop(_number):
    _start = _clock()
    for _ in range(_number):
        {}
    return _clock() - _start
"""


class Engine:
    """What every engine can do; NumPy as it is."""

    def __init__(self, threads, device):
        self.device = device
        self.names = {"np": np, "lib": np, "tensor": np.asarray}
        self.version = np.__version__

    def array(self, array, dtype, leaf):
        """An array of the engine with these values (bfloat16: as uint16); `leaf`: gradients are wanted."""
        return array

    def plain(self, value):
        """A NumPy array of float64 or integers, from an array of the engine."""
        return np.asarray(value)

    def source(self, request):
        """(setup, expression) of a request, in the mode it asks for."""
        return request["setup"], request["expression"]

    def context(self, mode):
        """Inside which statements run."""
        return _nothing()

    def open(self, file):
        """Runs a file of the user's that makes rows; only dlcore has rows."""

    def wait(self):
        """Until all that was asked of the device is done."""

    def timed(self, loop, number):
        """(seconds on the device, seconds until the host was free) of `number` calls."""
        seconds = loop(number)
        return seconds, seconds


class _nothing:
    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


def _both(request):
    """Forward and backward with a tape: gradients of the leaves, made anew, and the result."""
    leaves = [request["places"][k] for k in request["leaves"]]
    clear = "".join(f"{n}.grad = " for n in leaves) + "None"
    setup = (
        f"{request['setup']}\n"
        "def both():\n"
        f"    {clear}\n"
        f"    y = {request['expression']}\n"
        "    y = y[0] if isinstance(y, (tuple, list)) else y\n"
        f"    y.backward({'' if request['scalar'] else 'dy'})\n"
        f"    return ({''.join(f'{n}.grad, ' for n in leaves)}y)\n"
    )
    return setup, "both()"


class Dlcore(Engine):
    """This library."""

    def __init__(self, threads, device):
        import dlcore
        from dlcore import nn, optim

        dlcore.set_num_threads(threads)
        self.lib, self.device, self.version = dlcore, dlcore.device(device), dlcore.__version__
        dlcore.set_default_device(self.device)
        from dlcore._selection import load
        from dlcore.ops import operations

        operations()
        self.load, self.events, self.files = load, None, set()
        self.names = {"lib": dlcore, "dl": dlcore, "F": dlcore, "tensor": dlcore.tensor, "nn": nn, "optim": optim,
                      "operation": self.operation}  # fmt: skip
        if self.device.backend is not None and hasattr(self.device.backend, "stream"):
            import cupy

            self.events = _CupyEvents(cupy, cupy.cuda.ExternalStream(self.device.backend.stream))

    def open(self, file):
        if file not in self.files:
            self.files.add(file)
            self.load(file)

    def operation(self, name):
        """The public function of an operation."""
        from dlcore.op import function

        return function(name)

    def array(self, array, dtype, leaf):
        if dtype == "bfloat16":
            import ml_dtypes

            array = array.view(ml_dtypes.bfloat16)
        made = self.lib.tensor(array, device=self.device)
        if array.ndim > 1 and not array.flags.c_contiguous and array.swapaxes(-1, -2).flags.c_contiguous:
            made = self.lib.tensor(array.swapaxes(-1, -2), device=self.device).mT
        made.requires_grad = leaf
        return made

    def plain(self, value):
        array = np.asarray(value.detach())
        return array.astype(np.float64) if value.dtype.is_float else array

    def source(self, request):
        return _both(request) if request["mode"] == "both" else (request["setup"], request["expression"])

    def context(self, mode):
        return self.lib.no_grad() if mode == "forward" else _nothing()

    def wait(self):
        self.lib.synchronize()

    def timed(self, loop, number):
        return self.events.timed(loop, number) if self.events else super().timed(loop, number)


class _CupyEvents:
    """Seconds between two events of a stream."""

    def __init__(self, cupy, stream):
        self.cupy, self.stream = cupy, stream

    def timed(self, loop, number):
        start, end = self.cupy.cuda.Event(), self.cupy.cuda.Event()
        start.record(self.stream)
        host = loop(number)
        end.record(self.stream)
        end.synchronize()
        return self.cupy.cuda.get_elapsed_time(start, end) / 1000, host


class Torch(Engine):
    """PyTorch, eager."""

    def __init__(self, threads, device):
        import torch

        torch.set_num_threads(threads)
        if device != "cpu" and not torch.cuda.is_available():
            raise SystemExit("torch finds no GPU")
        self.torch, self.device, self.version = torch, device, torch.__version__
        functional = torch.nn.functional
        self.names = {"torch": torch, "lib": torch, "F": functional, "tensor": torch.tensor,
                      "nn": torch.nn, "optim": torch.optim}  # fmt: skip

    def array(self, array, dtype, leaf):
        if dtype == "bfloat16":
            made = self.torch.from_numpy(array.view(np.int16)).view(self.torch.bfloat16)
        elif array.ndim == 0:
            made = self.torch.tensor(array[()])
        else:
            made = self.torch.from_numpy(array)
        made = made.to(self.device)
        return made.requires_grad_() if leaf else made

    def plain(self, value):
        value = value.detach().cpu()
        return (value.double() if value.is_floating_point() else value).numpy()

    def source(self, request):
        return _both(request) if request["mode"] == "both" else (request["setup"], request["expression"])

    def context(self, mode):
        return self.torch.inference_mode() if mode == "forward" else _nothing()

    def wait(self):
        if self.device != "cpu":
            self.torch.cuda.synchronize()

    def timed(self, loop, number):
        if self.device == "cpu":
            return super().timed(loop, number)
        start, end = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        host = loop(number)
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1000, host


class Jax(Engine):
    """JAX, each statement under `jit`, waited for."""

    def __init__(self, threads, device):
        os.environ.setdefault("JAX_PLATFORMS", "cpu" if device == "cpu" else "cuda")
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # other processes need memory too
        import jax

        jax.config.update("jax_enable_x64", True)  # float64 and int64 as given; float32 stays float32
        self.jax, self.version = jax, jax.__version__
        self.names = {"jax": jax, "jnp": jax.numpy, "lib": jax, "tensor": jax.numpy.asarray}

    def array(self, array, dtype, leaf):
        if dtype == "bfloat16":
            array = array.view(self.jax.numpy.bfloat16)
        return self.jax.numpy.asarray(array)

    def plain(self, value):
        array = np.asarray(value)
        return array if array.dtype.kind in "iub" else array.astype(np.float64)

    def source(self, request):
        present = [n for n, given in zip(request["places"], request["present"], strict=True) if given]
        inside = request["expression"]
        if request["mode"] == "both":
            leaves = ", ".join(request["places"][k] for k in request["leaves"])
            inside = f"(lambda y, pull: (*pull(dy), y))(*jax.vjp(lambda {leaves}: first({inside}), {leaves}))"
            present.append("dy")
        names = ", ".join(present)
        setup = f"{request['setup']}\njitted = jax.jit(lambda {names}: {inside})\nwait = jax.block_until_ready\n"
        return setup, f"wait(jitted({names}))"


class Cupy(Engine):
    """CuPy: NumPy's expressions on a GPU."""

    def __init__(self, threads, device):
        import cupy

        if device == "cpu" or not cupy.cuda.is_available():
            raise SystemExit("cupy finds no GPU")
        self.cupy, self.version = cupy, cupy.__version__
        self.names = {"np": cupy, "lib": cupy, "tensor": cupy.asarray}
        self.events = _CupyEvents(cupy, cupy.cuda.get_current_stream())

    def array(self, array, dtype, leaf):
        return self.cupy.asarray(array)

    def plain(self, value):
        return self.cupy.asnumpy(value)

    def wait(self):
        self.cupy.cuda.get_current_stream().synchronize()

    def timed(self, loop, number):
        return self.events.timed(loop, number)


ENGINES = {"dlcore": Dlcore, "torch": Torch, "jax": Jax, "numpy": Engine, "cupy": Cupy}


def first(result):
    """The first of several results that is there."""
    return next(r for r in result if r is not None) if isinstance(result, (tuple, list)) else result


def summary(value):
    """Up to 1000 evenly spaced elements; exact where they are integers."""
    array = np.asarray(value)
    values = array.reshape(-1)[:: max(1, array.size // 1000)].astype(float)
    return {
        "shape": array.shape,
        "exact": array.dtype.kind in "iub",
        "values": [v if np.isfinite(v) else repr(float(v)) for v in values.tolist()],
    }


class Statement:
    """What is timed, with one set of operands, or several that are taken in turns."""

    def __init__(self, engine, mode, names):
        self.engine, self.mode, self.names, self.once = engine, mode, names, 0.0
        self.sets = []
        self.turns: Any = iter(())

    def close(self):
        """Lets go of the operands: the statement's functions refer to their names, and these to them."""
        self.names.clear()
        self.sets.clear()

    def _loop(self, number):
        if len(self.sets) == 1:
            return self.sets[0][-1](number)
        ring = self.ring
        start = time.perf_counter()
        for k, call in itertools.islice(self.turns, number):
            ring[k] = call()  # results are kept until their turn comes again: they are not warm either
        return time.perf_counter() - start

    def samples(self, seconds):
        """[seconds a call on the device, seconds a call of the host], each sample at least 200 us long."""
        self.ring = [None] * len(self.sets)
        with self.engine.context(self.mode):
            self.once = self.once or max(self.engine.timed(self._loop, 1)[0], 1e-9)
            number, end = max(1, int(2e-4 / self.once)), time.perf_counter() + seconds
            found: list[list[float]] = []
            while not found or time.perf_counter() < end:
                found.append([t / number for t in self.engine.timed(self._loop, number)])
        self.ring = []
        return found


class OperationStatement(Statement):
    """dlcore's operation, or how a library does it."""

    def __init__(self, engine, request):
        names = dict(engine.names, _clock=time.perf_counter, first=first)
        names.update({name: eval(value, engine.names) for name, value in request["attributes"].items()})
        super().__init__(engine, request["mode"], names)
        self.request, arrays = request, [load(a) for a in request["arrays"]]
        if request["file"]:
            engine.open(request["file"])
        with engine.context(self.mode):
            exec(compile(self._source(), request["key"], "exec"), names)
            for k in range(request["copies"]):
                operands = [self._operand(j, a, k) for j, a in enumerate(arrays)]
                self.sets.append((operands, *names["make"](operands)))
        self.turns = itertools.cycle(list(enumerate(call for _, call, _ in self.sets)))

    def _source(self):
        setup, expression = self.engine.source(self.request)
        unpack = "\n    ".join(f"{n} = {source}" for n, source in self.request["unpack"].items()) or "pass"
        unpack += "\n    dy = arrays[-1]" if self.mode == "both" else ""
        setup = setup.replace("\n", "\n    ")
        return LOOP.format(unpack=unpack, setup=setup, expression=expression, needs_out=self.request["needs_out"])

    def _operand(self, position, loaded, copy):
        if not isinstance(loaded, tuple):
            return loaded
        array, dtype = loaded
        leaf = self.mode != "forward" and position in self.request["leaves"]
        return self.engine.array(array.copy(order="K") if copy else array, dtype, leaf)

    def check(self):
        """What one call gives: its results, the gradients, or the operand it writes."""
        operands, call, _ = self.sets[0]
        with self.engine.context(self.mode):
            result = call()
        self.engine.wait()
        if self.request["writes"] is not None:
            result = operands[self.request["writes"]]
        results = result if isinstance(result, (tuple, list)) and self.mode == "both" else [first(result)]
        return [summary(self.engine.plain(r)) for r in results if r is not None]


def load(described):
    """An operand: (NumPy array, dtype), a number or None."""
    if described is None or "value" in described:
        return None if described is None else described["value"]
    array = np.load(described["path"])
    return (array.swapaxes(-1, -2) if described["transposed"] else array), described["dtype"]


class SnippetStatement(Statement):
    """A statement with a setup of its own, as a user would write it."""

    def __init__(self, engine, request):
        rng = np.random.default_rng(0)
        names = dict(engine.names, _clock=time.perf_counter)
        names["normal"] = lambda *shape: rng.standard_normal(shape, dtype=np.float32)
        super().__init__(engine, request["mode"], names)
        exec(request["setup"], names)
        with engine.context(self.mode):
            self.results = eval(request["check"], names)
        exec(TIMED.format(request["stmt"]), names)
        self.sets.append((names["_loop"],))

    def check(self):
        """What the request's check gave, before anything was timed."""
        values = list(self.results) if isinstance(self.results, (list, tuple)) else [self.results]
        foreign = [hasattr(v, "shape") and not isinstance(v, np.ndarray) for v in values]
        return [summary(self.engine.plain(v) if far else v) for v, far in zip(values, foreign, strict=True)]


def answer(engine, prepared, request):
    """What one request brings."""
    if "time" in request:
        return {"samples": prepared[request["time"]].samples(request["seconds"])}
    if "forget" in request:
        for made in prepared.values():
            made.close()
        prepared.clear()
        return {}
    made = prepared[request["key"]] = (SnippetStatement if "stmt" in request else OperationStatement)(engine, request)
    results = made.check()
    made.samples(request["seconds"])
    return {"results": results}


def main():
    """Serves until standard input ends."""
    name, threads, device = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not get between the answers
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: a stopped process would outlive the bench
    # JAX has no other reliable limit, so every engine gets the same one.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    engine: Engine = ENGINES[name](threads, device)
    prepared: dict[str, Statement] = {}
    print(json.dumps({"version": engine.version}), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            found = answer(engine, prepared, request)
        except Exception as error:  # of this statement; the next may work
            text = f"{type(error).__name__}: {error}".strip()  # without the notes that JAX adds behind
            found = {"error": text[:500]}
        print(json.dumps(found), file=answers, flush=True)


if __name__ == "__main__":
    sys.path = [p for p in sys.path if os.path.abspath(p or ".") != os.path.dirname(os.path.abspath(__file__))]
    main()
