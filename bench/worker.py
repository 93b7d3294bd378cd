"""One engine in one process: prepares cases and times them when told, so that engines take turns.

`python -m bench.worker ENGINE THREADS` reads one JSON object a line and answers each with one.
"""

import ctypes
import json
import os
import signal
import sys
import time
import timeit


def use_processors(count):
    """Pins the process; JAX has no other reliable limit, so every engine gets the same one."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(count)


def namespace(engine, threads):
    """The names a case may use."""
    import numpy as np

    from bench import steps

    if engine.startswith("dlcore"):
        import dlcore
        from dlcore import nn, optim

        dlcore.set_num_threads(threads)
        step = steps.module_step(dlcore, nn, optim, dlcore.cross_entropy, capture=dlcore.capture)
        if "recorded" not in engine:
            step = steps.module_step(dlcore, nn, optim, dlcore.cross_entropy)
        epoch = steps.fit_epoch if engine.endswith("fit") else steps.recorded_epoch
        return {"lib": dlcore, "F": dlcore, "tensor": dlcore.tensor, "training_step": step, "epoch": epoch}
    if engine.startswith("torch"):
        import torch

        torch.set_num_threads(threads)
        options = {"fused": True} if engine != "torch" else {}
        compiled = torch.compile if engine == "torch.compile" else None
        functional = torch.nn.functional
        step = steps.module_step(torch, torch.nn, torch.optim, functional.cross_entropy, compiled=compiled, **options)
        names = {"training_step": step, "epoch": steps.torch_epoch}
        return {"lib": torch, "F": functional, "tensor": torch.tensor, **names}
    if engine == "jax.jit":
        import jax

        return {"lib": jax, "training_step": steps.jax_step}
    return {"lib": np, "tensor": np.asarray, "training_step": steps.numpy_step}


def inputs():
    """The same arrays for every engine: a new generator for each case."""
    import numpy as np

    rng = np.random.default_rng(0)
    return {
        "normal": lambda *shape: rng.standard_normal(shape, dtype=np.float32),
        "labels": lambda count, classes: rng.integers(0, classes, count),
    }


def summary(value):
    """Up to 1000 evenly spaced elements, exact if integers."""
    import numpy as np

    array = np.asarray(value.detach() if hasattr(value, "detach") else value)
    values = array.reshape(-1)[:: max(1, array.size // 1000)]
    return {"shape": array.shape, "exact": array.dtype.kind in "iu", "values": values.astype(float).tolist()}


def samples(timer, seconds):
    """Seconds a call, each sample at least 200 us long."""
    number = max(1, int(2e-4 / max(timer.timeit(1), 1e-9)))
    found, end = [], time.perf_counter() + seconds
    while not found or time.perf_counter() < end:
        found.append(timer.timeit(number) / number)
    return found


def main():
    """Serves until standard input ends."""
    engine, threads = sys.argv[1], int(sys.argv[2])
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: a stopped process would outlive the bench
    use_processors(threads)
    fixed = namespace(engine, threads)
    print(json.dumps({"version": fixed["lib"].__version__}), flush=True)
    timer = None
    for line in sys.stdin:
        request = json.loads(line)
        if "setup" in request:
            names = fixed | inputs()
            exec(request["setup"], names)
            answer = summary(eval(request["check"], names))
            timer = timeit.Timer(request["stmt"], setup="import gc; gc.enable()", globals=names)
            samples(timer, request["seconds"])
        else:
            answer = samples(timer, request["seconds"])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
