"""What is timed, and what is aimed at: operations, matrix products, training steps, an epoch."""

from collections.abc import Iterator
from dataclasses import dataclass

from bench import layers, memory, recurrent, sequences
from dlcore._selection import selected
from dlcore.bench.cases import SNIPPETS, Case, Snippet, cases
from dlcore.bench.machine import cache_bytes
from dlcore.dtypes import bfloat16, float16, float32, float64

RECORDED = "dlcore recorded"
TORCH = ("torch", "torch fused", "torch compile")
NHWC = " NHWC"  # ends the name of what computes with the channels of images last


@dataclass(frozen=True)
class Goal:
    """`engine` must be `factor` times faster than the best of `against`; at this number of threads, if given."""

    factor: float
    against: tuple[str, ...] = ("torch",)
    engine: str = "dlcore"
    threads: int | None = None


@dataclass(frozen=True)
class Timed:
    """A case, the unit it is reported in, and its goals; ``turn``: how long a turn is, as a part of the usual."""

    case: Case | Snippet
    unit: str
    goals: tuple[Goal, ...] = ()
    one_thread_only: bool = False
    cache: str = "warm"
    turn: float = 1.0


# ---- training steps -----------------------------------------------------------------------------------------------

_STEP = "from bench import steps; step = steps."


def _step(model: str, optimizer: str, title: str, *goals: Goal) -> Timed:
    modules, which = "module_step(lib, nn, optim, {}", f"({model!r}, {optimizer!r})"
    own, torch = modules.format("lib.cross_entropy"), modules.format("F.cross_entropy")
    setups = {
        "dlcore": f"{own})", RECORDED: f"{own}, capture=lib.capture)",
        "torch": f"{torch})", "torch fused": f"{torch}, fused=True)",
        "torch compile": f"{torch}, compiled=lib.compile, fused=True)",
        "jax": "jax_step", "numpy": "numpy_step",
    }  # fmt: skip
    setups = {engine: f"{_STEP}{setup}{which}" for engine, setup in setups.items()}
    return Timed(Snippet(title, setups, "step()", "[step().item() for _ in range(5)]", own=RECORDED), "us", goals)


def _recorded(factor: float, *against: str, threads: int | None = None) -> Goal:
    return Goal(factor, against, RECORDED, threads)


STEPS = (
    _step(
        "a", "adam", "a: MLP 64-128-64-10, batch 64, Adam",
        Goal(4.0), _recorded(8.0, "torch"), _recorded(2.0, "jax"),
    ),
    _step(
        "b", "adam", "b: MLP 784-256-128-10, batch 128, Adam",
        Goal(2.0), _recorded(2.5, "torch"), _recorded(2.0, *TORCH, threads=2), _recorded(1.3, "jax", threads=2),
    ),
    _step("b", "sgd", "b with SGD + momentum", _recorded(1.6, "torch"), _recorded(1.2, "jax", threads=2)),
)  # fmt: skip

_AUTOCAST = {  # engine -> (recorded, under autocast)
    RECORDED: (", capture=lib.capture", True), "dlcore float32": (", capture=lib.capture", False), "torch": ("", True),
}  # fmt: skip


def _autocast(model: str, title: str) -> Timed:
    """A step under autocast to bfloat16, beside the same in float32 and torch's under its own autocast."""
    setups = {
        engine: f"{_STEP}module_step(lib, nn, optim, {'lib' if engine != 'torch' else 'F'}.cross_entropy{capture}, "
        f"autocast={low})({model!r}, 'adam')"
        for engine, (capture, low) in _AUTOCAST.items()
    }
    case = Snippet(title, setups, "step()", "[0 < step().item() < 5 for _ in range(3)]", own=RECORDED)
    return Timed(case, "us", (_recorded(1.0, "dlcore float32"), _recorded(1.0, "torch")))


AUTOCAST = (
    _autocast("a", "a: MLP 64-128-64-10, batch 64, Adam, bfloat16"),
    _autocast("b", "b: MLP 784-256-128-10, batch 128, Adam, bfloat16"),
)

# ---- convolutional networks ---------------------------------------------------------------------------------------

_CNN_ENGINES = {
    RECORDED: "dlcore_step({!r})", f"{RECORDED}{NHWC}": "dlcore_step({!r}, last=True)",
    "torch": "torch_step({!r}, fused=False)", "torch fused": "torch_step({!r})",
    "torch channels_last": "torch_step({!r}, last=True)", "torch compile": "torch_step({!r}, compiled=True)",
    "jax": "jax_step({!r})", "jax NHWC": "jax_step({!r}, 'NHWC')",
}  # fmt: skip
TORCH_CNN = tuple(e for e in _CNN_ENGINES if e.startswith("torch"))
JAX_CNN = tuple(e for e in _CNN_ENGINES if e.startswith("jax"))


def _cnn(network: str, title: str, *goals: Goal) -> Timed:
    setups = {e: f"from bench import cnn_steps; step = cnn_steps.{call.format(network)}"
              for e, call in _CNN_ENGINES.items()}  # fmt: skip
    case = Snippet(title, setups, "step()", "[step().item() for _ in range(2)]", own=RECORDED)
    return Timed(case, "us", goals)


CNN = (
    _cnn(
        "c", "c: 1x28x28, 8 and 16 channels 3x3, ReLU, pools, batch 64, Adam",
        _recorded(4.0, *TORCH_CNN, threads=2), _recorded(4.0, *JAX_CNN, threads=2),
    ),
    _cnn("resnet20", "ResNet-20, 3x32x32, batch 64, Adam", _recorded(1.3, *TORCH_CNN, threads=2)),
    _cnn("depthwise", "depthwise network, 3x32x32, batch 64, Adam", _recorded(2.0, *TORCH_CNN, threads=2)),
)  # fmt: skip

# ---- sequences ----------------------------------------------------------------------------------------------------

_GPT_ENGINES = {
    RECORDED: "dlcore_step({!r})", "torch": "torch_step({!r}, fused=False)", "torch fused": "torch_step({!r})",
    "torch compile": "torch_step({!r}, compiled=True)", "jax": "jax_step({!r})",
}  # fmt: skip
_DECODERS = {"dlcore": "dlcore_decode()", "dlcore stream": "dlcore_decode(True)", "torch": "torch_decode()"}


def _gpt(name: str, title: str, *goals: Goal) -> Timed:
    setups = {e: f"from bench import gpt_steps; step = gpt_steps.{call.format(name)}"
              for e, call in _GPT_ENGINES.items()}  # fmt: skip
    return Timed(Snippet(title, setups, "step()", "[step().item() for _ in range(2)]", own=RECORDED), "us", goals)


GPT = (
    _gpt(
        "d", "d: GPT, 4 layers, width 128, 4 heads, 64 tokens, batch 16, Adam",
        _recorded(1.7, *TORCH, threads=2), _recorded(3.0, "jax", threads=2),
    ),
    _gpt("micro", "micro GPT, 1 layer, width 16, 4,192 parameters, 16 tokens, batch 1, Adam"),
    Timed(
        Snippet(
            "63 tokens decoded by d with its cache, batch 1",
            {engine: f"from bench import gpt_steps; run = gpt_steps.{call}" for engine, call in _DECODERS.items()},
            "run()", "run()",
        ),
        "ms", (Goal(3.0),),
    ),
)  # fmt: skip

_COMPILED = ", lib.compile"


def _of_sequences(name: str, engines: dict[str, str], *goals: Goal, own: str = "dlcore") -> Timed:
    """Something of bench/sequences.py, which gives a loss, or outputs and gradients."""
    setups = {engine: f"from bench import sequences; run = sequences.{call}" for engine, call in engines.items()}
    check = "[run().item() for _ in range(2)]" if own == RECORDED else "list(run())"
    return Timed(Snippet(name, setups, "run()", check, own=own), "us", goals)


def _attention() -> Iterator[Timed]:
    against = "torch", "torch compile"
    for shape in sequences.ATTENTION:
        for causal in (False, True):
            call = f"attention(lib, F, {shape}, {causal}{{}})"
            engines = {
                "dlcore": call.format(""), "torch": call.format(""), "torch compile": call.format(_COMPILED),
                "jax": f"jax_attention({shape}, {causal})",
            }  # fmt: skip
            name = f"attention {'x'.join(map(str, shape))}{' causal' * causal} both"
            yield _of_sequences(name, engines, Goal(1.2, against))
    call, (n, length, width, heads) = "encoder(lib, nn, optim{})", sequences.ENCODER
    engines = {
        RECORDED: call.format(", lib.capture"), "torch": call.format(""),
        "torch fused": call.format(", fused=True"), "torch compile": call.format(", compiled=lib.compile, fused=True"),
        "jax": "jax_encoder()",
    }  # fmt: skip
    name = f"encoder layer {width}, {heads} heads, {n}x{length} tokens, Adam"
    yield _of_sequences(name, engines, _recorded(1.2, *TORCH), own=RECORDED)


def _embedding() -> Iterator[Timed]:
    for name in sequences.EMBEDDINGS:
        call = f"embedding(lib, F, {name!r}{{}})"
        engines = {
            "dlcore": call.format(""), "torch": call.format(""), "torch compile": call.format(_COMPILED),
            "jax": f"jax_embedding({name!r})",
        }  # fmt: skip
        yield _of_sequences(f"embedding {name} both", engines, Goal(3.0))


# ---- layers -------------------------------------------------------------------------------------------------------


def _layer(name: str, both: bool, engines: dict[str, str], goal: float) -> Timed:
    """A layer of bench/layers.py, forward or with its gradients."""
    setups = {e: f"from bench import layers; run = layers.{call}" for e, call in engines.items()}
    return Timed(Snippet(f"{name} {'both' if both else 'forward'}", setups, "run()", "list(run())"), "us",
                 (Goal(goal, tuple(e for e in engines if e.startswith("torch"))),))  # fmt: skip


def _layers() -> tuple[Timed, ...]:
    found = []
    for name in layers.CONVOLUTIONS:
        for both in (False, True):
            ours = f"convolution(lib, nn.functional, {name!r}, {both}{{}})"
            engines = {
                "dlcore": ours.format(""), f"dlcore{NHWC}": ours.format(", 'NHWC'"), "torch": ours.format(""),
                "jax": f"jax_convolution({name!r}, {both})",
            }  # fmt: skip
            found.append(_layer(name, both, engines, 1.0))
    return tuple(found)


def _others() -> tuple[Timed, ...]:
    engines = ("dlcore", "torch")
    return tuple(
        _layer(name, both, dict.fromkeys(engines, f"other(lib, nn.functional, {name!r}, {both})"), 2.0)
        for name in layers.OTHERS for both in (False, True)
    )  # fmt: skip


def _recurrent() -> tuple[Timed, ...]:
    """Layers of bench/recurrent.py, forward and with their gradients."""
    found = []
    for name in recurrent.LAYERS:
        for both in (False, True):
            call = f"layer(lib, nn, {name!r}, {both}"
            engines = {
                "dlcore": f"{call})", RECORDED: f"{call}, lib.capture)", "torch": f"{call})",
                "torch compile": f"{call}, lib.compile)", "jax": f"jax_layer({name!r}, {both})",
            }  # fmt: skip
            setups = {e: f"from bench import recurrent; run = recurrent.{setup}" for e, setup in engines.items()}
            case = Snippet(f"{name} {'both' if both else 'forward'}", setups, "run()", "list(run())", own=RECORDED)
            found.append(Timed(case, "us", (_recorded(2.0, "torch", threads=2),)))
    return tuple(found)


_EPOCH = {"dlcore fit": "fit_epoch()", "dlcore steps": "recorded_epoch()", "torch fused": "torch_epoch()"}
EPOCH = (
    Timed(
        Snippet(
            "epoch of 55,000 images of 28x28 bytes, model b, batch 128, Adam",
            {engine: f"from bench import steps; run = steps.{run}" for engine, run in _EPOCH.items()},
            "run()", "[0 < run() < 3]", own="dlcore fit",
        ),
        "ms", (Goal(1 / 1.15, ("dlcore steps",), "dlcore fit"),),
    ),
    Timed(
        Snippet(
            "4 such epochs with schedule, EMA, accuracy, log and the losses of batches",
            {
                "dlcore fit": "from bench import steps; run = steps.fit_with_everything(4)",
                "dlcore steps": "from bench import steps; run = steps.recorded_epoch(4)",
            },
            "run()", "[0 < run() < 3]", own="dlcore fit",
        ),
        "ms", (Goal(1 / 1.10, ("dlcore steps",), "dlcore fit"),),
    ),
)  # fmt: skip

# ---- operations ---------------------------------------------------------------------------------------------------

GOALS = {  # case -> times faster than torch
    "tanh 1048576 float32 forward": 4.0,
    "exp 1048576 float32 forward": 4.0,
    "sigmoid 1048576 float32 forward": 1.2,
    "gelu 1048576 tanh float32 forward": 4.0,
    "softmax 4096x1000 float32 forward": 1.2,
    "cross_entropy 4096x1000 @ 4096 float32 both": 4.0,
    "cross_entropy 2048x32000 @ 2048 float32 both": 8.0,
    "argmax 1048576 float32 forward": 8.0,
    "sum 1048576 float32 forward": 1.3,
    "add 16777216 @ 16777216 float32 forward": 3.0,
}
DISPATCH = (("ns", 1.0), ("ns", 1.0), ("us", 2.9))  # of SNIPPETS, in their order


def _operations() -> tuple[Timed, ...]:
    calls = [
        Timed(program, unit, (Goal(goal),), True) for program, (unit, goal) in zip(SNIPPETS, DISPATCH, strict=True)
    ]
    known = {case.name: case for case in cases(selected({name.split()[0] for name in GOALS}), [float32])}
    return (*calls, *(Timed(known[name], "GB/s", (Goal(goal),)) for name, goal in GOALS.items()))


SQUARES = {float64: (256, 1024), bfloat16: (64, 512, 1024), float16: (256,)}  # which of them beside float32


def _gemm() -> Iterator[Timed]:
    """Products in float32 and of bytes, and a few of each kind in other dtypes."""
    goal = Goal(0.97, ("torch", "torch out", "numpy", "numpy out", "jax"))
    for dtype in (float32, *SQUARES):
        for case in cases(selected(["matmul"]), [dtype], ["forward"]):
            workload = case.workload
            others = not workload.attrs and (workload.dtypes or case.results[0].shape[0] in SQUARES.get(dtype, ()))
            if dtype is float32 or others:
                yield Timed(case, "GFLOP/s", (goal,), turn=0.5)


SUITES = {
    "steps": STEPS, "autocast": AUTOCAST, "epoch": EPOCH, "operations": _operations(), "gemm": tuple(_gemm()),
    "cnn": CNN, "conv": _layers(), "pools": _others(), "recurrent": _recurrent(), "gpt": GPT,
    "attention": tuple(_attention()), "embedding": tuple(_embedding()),
}  # fmt: skip


# ---- kernels that memory bounds -----------------------------------------------------------------------------------

ROOFS = {"dlcore roof": 0, "dlcore roof past the caches": 1}  # way -> whether its stores go there


def _memory() -> Iterator[Timed]:
    """The cases of bench/memory.py, warm and cold, beside loops that move as many bytes."""
    for name in memory.CASES:
        read, written = memory.moved(name)
        size, roofs = read + written, list(ROOFS.items())[: 1 if read > 64 * written else None]
        sets = -(-4 * cache_bytes("cpu") // size)
        for cache, count in {"warm": 1, "cold": sets}.items():
            engines = dict.fromkeys(("dlcore", "torch"), f"operation(lib, {name!r}, {count})")
            engines |= {way: f"roof(lib, {name!r}, {count}, {past})" for way, past in roofs}
            setups = {e: f"from bench import memory; run, first = memory.{call}" for e, call in engines.items()}
            case = Snippet(f"{name}, {cache}", setups, "run()", "first()", bytes=size, mode="forward", shape=name)
            if cache == "warm" or sets > 1:
                yield Timed(case, "us", (Goal(0.85, tuple(ROOFS)),), cache=cache, turn=0.25)


SUITES["memory"] = tuple(_memory())

# ---- what models of text fuse ---------------------------------------------------------------------------------------


def _fused(name: str, call: str, *goals: Goal, compiled: bool = True) -> Timed:
    """Something of bench/fused.py beside what it stands for, dlcore's own and PyTorch's."""
    engines = {"dlcore": ", fused=True", "dlcore unfused": "", "torch": ""}
    engines |= {"torch compile": ", compiled=lib.compile"} if compiled else {}
    setups = {e: f"from bench import fused; run = fused.{call.format(more)}" for e, more in engines.items()}
    return Timed(Snippet(f"{name} both", setups, "run()", "list(run())"), "us", goals)


SUITES["fused"] = (
    _fused("linear_cross_entropy 2048x512x32000", "loss(lib, nn.functional{})", Goal(1 / 1.05, ("dlcore unfused",)),
           Goal(1.0, TORCH)),
    _fused("rotary_embedding 4x8x512x64", "rotary(lib{})", Goal(1.0, ("dlcore unfused", *TORCH))),
    _fused("swiglu 2048x2752", "gate(lib, nn.functional{})", Goal(1.0, ("dlcore unfused", *TORCH))),
    _fused("linear_recurrence 16x256x128", "recurrence(lib{})", Goal(1.0, ("dlcore unfused", "torch")),
           compiled=False),
)  # fmt: skip
