"""Training on the GPU: right beside the CPU, recorded as eager to the bit, and how long a step takes beside torch's."""

import statistics
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

import dlcore as dl
from bench import steps
from bench.gpu.context import Context
from dlcore import nn, optim

MODELS = ("a adam", "b adam", "b sgd")
CHECKS = (*MODELS, "sweep", "fit")
TIMED = tuple(f"step {model}" for model in MODELS)
COMPILED = tuple(f"compiled step {model}" for model in MODELS[:2])
APART = (*MODELS[:1], *TIMED[:2])
"""Checked and timed once more with each kernel launched when the one before has ended."""
LOSSES, REPLAYS, ROUNDS = 20, 1000, 5
CLOSE = 1e-4  # of a loss after so many steps
Step = Callable[[], Any]
Engines = dict[str, tuple[Step, Callable[[], None], int]]
"""Name -> a step, what waits for it, and how many are timed together."""


def check(context: Context, name: str) -> dict[str, Any]:
    """Whether one thing about training is as it should be."""
    return {"sweep": _sweep, "fit": _fit}.get(name, _model)(context, name)


def apart(context: Context, name: str) -> dict[str, Any]:
    """A check, or the times of dlcore's own steps."""
    if name not in TIMED:
        return check(context, name)
    with context.on_gpu():
        engines = _own(*name.split()[-2:])
    return _timed(context, engines)


def _step(model: str, optimizer: str, recorded: bool = False) -> Step:
    capture = dl.capture if recorded else None
    return steps.module_step(dl, nn, optim, dl.cross_entropy, capture=capture)(model, optimizer)


def _model(context: Context, name: str) -> dict[str, Any]:
    """Losses beside the CPU's; a recorded step's are the eager one's; after many replays two recordings still agree."""
    on_cpu = _step(*name.split())
    want = [on_cpu().item() for _ in range(LOSSES)]
    with context.on_gpu():
        made = {kind: _step(*name.split(), recorded=kind != "eager") for kind in ("eager", "recorded", "again")}
        losses = {kind: [step().item() for _ in range(LOSSES)] for kind, step in made.items()}
        for _ in range(REPLAYS):
            made["recorded"]()
            made["again"]()
        ends = [made[kind]().item() for kind in ("recorded", "again")]
    off = float(np.max(np.abs(np.array(losses["eager"]) / np.array(want) - 1)))
    context.require(off <= CLOSE, f"losses are off by {off:.3g} of the CPU's")
    context.require(losses["recorded"] == losses["eager"], "a recorded step gives other losses than an eager one")
    context.require(ends[0] == ends[1], f"after {REPLAYS} replays: {ends}")
    return {"off": off, "loss": ends[0]}


def _sweep(context: Context, _: str) -> dict[str, Any]:
    """A sweep over batches gives the bits of as many eager steps."""
    rng, ends = np.random.default_rng(0), []
    xs, ys = rng.standard_normal((50, 64, 64), dtype=np.float32), rng.integers(0, 10, (50, 64))
    with context.on_gpu():
        for recorded in (False, True):
            step, network = _batch_step()
            x, y = dl.tensor(xs), dl.tensor(ys)
            if recorded:
                loss = dl.capture(step).sweep(x, y)
            else:
                for k in range(len(xs)):
                    loss = step(x[k], y[k])
            ends.append([loss.item(), *(p.numpy().tobytes() for p in network.parameters())])
    context.require(ends[0] == ends[1], "a sweep gives other bits than eager steps")
    return {}


def _batch_step() -> tuple[Callable[..., Any], nn.Module]:
    """A step of model a that takes its batch."""
    network = steps.network(dl, nn, steps.problem("a")[0])
    update = optim.Adam(network.parameters(), lr=1e-3)

    def step(x: Any, y: Any) -> Any:
        loss = dl.cross_entropy(network(x), y)
        update.zero_grad()
        loss.backward()
        update.step()
        return loss

    return step, network


def _fit(context: Context, _: str) -> dict[str, Any]:
    """An epoch of `fit` on 55,000 images ends with the CPU's loss, and how long the second takes."""
    dl.manual_seed(0)
    want = steps.fit_epoch()()
    with context.on_gpu():
        dl.manual_seed(0)
        run = steps.fit_epoch()
        got = run()
        start = perf_counter()
        run()
        dl.synchronize()
        seconds = perf_counter() - start
    context.require(abs(got / want - 1) <= 10 * CLOSE, f"the loss of an epoch is {got}, on the CPU {want}")
    return {"off": abs(got / want - 1), "seconds": seconds}


# ---- times --------------------------------------------------------------------------------------------------------


def time(context: Context, name: str) -> dict[str, Any]:
    """Seconds of a step, of each engine in turns: many steps without waiting, then one wait."""
    model, optimizer = name.split()[-2:]
    engines = _compiled(context, model, optimizer) if name in COMPILED else _engines(context, model, optimizer)
    if not engines:
        return {"skipped": "torch is not installed, or sees no GPU"}
    return _timed(context, engines)


def _timed(context: Context, engines: Engines) -> dict[str, Any]:
    """The median of some rounds, in which each engine has its turn."""
    samples: dict[str, list[float]] = {engine: [] for engine in engines}
    with context.on_gpu():
        for number in range(ROUNDS + 1):
            for engine, (step, wait, count) in engines.items():
                wait()
                start = perf_counter()
                for _ in range(count):
                    step()
                wait()
                if number:  # the first time loads, records, compiles
                    samples[engine].append((perf_counter() - start) / count)
    return {"engines": {engine: statistics.median(found) for engine, found in samples.items()}}


def _engines(context: Context, model: str, optimizer: str) -> Engines:
    with context.on_gpu():
        found = _own(model, optimizer)
    if (torch := context.torch) is not None:
        fused = {"fused": True}
        found["torch"] = (_torch(torch, model, optimizer), torch.cuda.synchronize, 100)
        found["torch fused"] = (_torch(torch, model, optimizer, **fused), torch.cuda.synchronize, 100)
        found["torch graph"] = (_graph(torch, model, optimizer), torch.cuda.synchronize, 500)
    return found


def _own(model: str, optimizer: str) -> Engines:
    wait: Callable[[], None] = dl.synchronize
    return {
        "dlcore": (_step(model, optimizer), wait, 100),
        "dlcore recorded": (_step(model, optimizer, recorded=True), wait, 500),
    }


def _compiled(context: Context, model: str, optimizer: str) -> Engines:
    if (torch := context.torch) is None:
        return {}
    compiled = lambda network: torch.compile(network, mode="reduce-overhead")  # noqa: E731
    return {"torch compile": (_torch(torch, model, optimizer, compiled, fused=True), torch.cuda.synchronize, 100)}


def _torch(torch: Any, model: str, optimizer: str, compiled: Any = None, **options: Any) -> Step:
    with torch.device("cuda"):
        made = steps.module_step(
            torch, torch.nn, torch.optim, torch.nn.functional.cross_entropy, compiled=compiled, **options
        )(model, optimizer)
    return made


def _graph(torch: Any, model: str, optimizer: str) -> Step:
    """The whole step as one CUDA graph."""
    options = {"capturable": True} if optimizer == "adam" else {}
    step, stream = _torch(torch, model, optimizer, fused=True, **options), torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(5):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return lambda: (step, graph.replay())  # the step's tensors live as long as the graph
