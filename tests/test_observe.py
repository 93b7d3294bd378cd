"""The observer: what a step reads is seen when it changes, or the step is refused; ordinary steps are recorded."""

import argparse
import ast
import collections
import contextlib
import copy
import ctypes
import dataclasses
import decimal
import difflib
import fractions
import gc
import inspect
import json
import logging
import math
import os
import pprint
import random
import re
import statistics
import string
import subprocess
import sys
import textwrap
import time
import types
import weakref

import numpy as np
import pytest
from observed import aliases, chance, containers, engine, objects, ordinary

import dlcore as dl
from dlcore._observe import frames

SOURCES = {
    **{f"list: {n}": c for n, c in containers.LISTS.items()},
    **{f"dict: {n}": c for n, c in containers.DICTS.items()},
    **{f"container: {n}": c for n, c in containers.SEQUENCES.items()},
    **{f"array: {n}": c for n, c in containers.ARRAYS.items()},
    **{f"attribute: {n}": c for n, c in objects.ATTRIBUTES.items()},
    **{f"method: {n}": c for n, c in objects.METHODS.items()},
    **{f"function: {n}": c for n, c in objects.FUNCTIONS.items()},
    **{f"draw: {n}": c for n, c in chance.DRAWS.items()},
    **{f"clock: {n}": c for n, c in chance.CLOCKS.items()},
    **{f"iterator: {n}": c for n, c in chance.ITERATORS.items()},
    **{f"surroundings: {n}": c for n, c in chance.SURROUNDINGS.items()},
    **{f"alias: {n}": c for n, c in aliases.ALIASES.items()},
    **{f"reader: {n}": c for n, c in aliases.READERS.items()},
    **{f"operator: {n}": c for n, c in aliases.OPERATORS.items()},
    **{f"model: {n}": c for n, c in engine.MODELS.items()},
    **{f"optimizer: {n}": c for n, c in engine.OPTIMIZERS.items()},
    **{f"model, drawn: {n}": c for n, c in engine.DRAWN.items()},
}
EFFECTS = {
    **{f"effect: {n}": c for n, c in chance.EFFECTS.items()},
    **{f"alias: {n}": c for n, c in aliases.EFFECTS.items()},
    **{f"model: {n}": c for n, c in engine.EFFECTS.items()},
}


@pytest.fixture
def surroundings():
    """Puts back what the cases change of the process and of modules."""
    variables, arguments, folder, modules = dict(os.environ), list(sys.argv), os.getcwd(), dict(sys.modules)
    threads, errors, printing, limit = dl.get_num_threads(), np.geterr(), np.get_printoptions(), sys.getrecursionlimit()
    digits, names, trace = sys.get_int_max_str_digits(), [vars(m).copy() for m in (chance, objects)], sys.gettrace()
    context, tau, floor = decimal.getcontext().copy(), math.tau, math.floor
    yield
    sys.settrace(trace)
    for name in os.environ.keys() - variables.keys():
        del os.environ[name]
    for name in sys.modules.keys() - modules.keys():
        if sys.modules[name] is None:
            del sys.modules[name]
    sys.argv[:] = arguments
    os.chdir(folder)
    dl.set_num_threads(threads)
    np.seterr(**errors)
    np.set_printoptions(**printing)
    sys.setrecursionlimit(limit)
    sys.set_int_max_str_digits(digits)
    decimal.setcontext(context)
    math.tau, math.floor = tau, floor
    for module, before in zip((chance, objects), names, strict=True):
        vars(module).clear()
        vars(module).update(before)
    chance.cached.cache_clear()
    chance.variable.set(1.0)
    logging.disable(logging.NOTSET)
    gc.enable()


def step_of(it, read):
    def step(x):
        return x * read(it)

    return step


def value(step):
    result = step(dl.ones(1))
    return np.asarray(result.detach()).tobytes()


def refusal(step):
    """The message of the CaptureError of the first calls, or None."""
    try:
        for _ in range(5):
            value(step)
    except dl.CaptureError as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.filterwarnings("ignore")
def test_source(name, surroundings):
    make, read, write = SOURCES[name]
    it = make()
    step = step_of(it, read)
    captured = dl.capture(step)
    message = refusal(captured)
    if message is not None:
        assert re.search(r":\d+|Python variable", message), message  # where it is
        return
    assert write is not None, "what changes at every call was recorded"
    before = value(step)
    write(it)
    after = value(step)
    assert after != before, "this case shows nothing: what was written makes no difference"
    with contextlib.suppress(dl.CaptureError):
        assert value(captured) == after, f"a replay went on with the old value; {captured.reasons}"


@pytest.mark.parametrize("name", EFFECTS)
@pytest.mark.filterwarnings("ignore")
def test_effect(name, surroundings):
    make, act, look = EFFECTS[name]
    it = make()

    def step(x):
        act(it)
        return x * 2

    random.seed(0)
    step(dl.ones(1))
    before = look(it)
    step(dl.ones(1))
    assert look(it) != before or name.endswith("generator closed"), "this case shows nothing"
    assert refusal(dl.capture(step)) is not None


# ---- ordinary steps -----------------------------------------------------------------------------------------------


def bits(result):
    if isinstance(result, dl.Tensor):
        return result.shape, result.dtype.name, np.asarray(result.detach()).tobytes()
    if isinstance(result, dict):
        return {key: bits(part) for key, part in result.items()}
    return [bits(part) for part in result] if isinstance(result, list | tuple) else result


def made(name):
    dl.manual_seed(0)
    step = ordinary.STEPS[name]
    return step() if hasattr(step, "makes") else step


def inputs(n=5):
    rng = np.random.default_rng(0)
    return [dl.tensor(rng.standard_normal((4, 8)).astype(np.float32)) for _ in range(n)]


@pytest.mark.parametrize("name", ordinary.STEPS)
def test_ordinary_step_is_recorded(name):
    eager, captured = made(name), dl.capture(made(name))
    dl.manual_seed(1)
    wanted = [bits(eager(x)) for x in inputs()]
    dl.manual_seed(1)
    found = [bits(captured(x)) for x in inputs()]
    assert found == wanted
    assert captured.recordings == 1, captured.reasons


@pytest.mark.parametrize("name", ordinary.CONFIGS)
def test_change_of_a_config_is_seen(name):
    make, run, change = ordinary.CONFIGS[name]
    config = make()
    step = lambda x: run(config, x)  # noqa: E731
    captured = dl.capture(step)
    for x in inputs():
        before = bits(captured(x))
        assert before == bits(step(x))
    assert captured.recordings == 1, captured.reasons
    change(config)
    assert bits(captured(x)) == bits(step(x)) != before


# ---- how a step is observed ---------------------------------------------------------------------------------------


def codes(code):
    """A code object, and those of the functions and classes inside."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from codes(constant)


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="later versions keep no depth in a running frame")
def test_depths_are_those_of_the_interpreter():
    """In 3.11 the interpreter notes the depth of the stack before it calls a trace function."""

    class Frame(ctypes.Structure):
        _fields_ = [("before", ctypes.c_void_p * 8), ("top", ctypes.c_int)]

    seen, wrong = 0, []

    def trace(frame, event, arg):
        nonlocal seen
        frame.f_trace_opcodes = True
        if event == "opcode":
            inner = ctypes.c_void_p.from_address(id(frame) + 24).value
            code = frame.f_code
            slots = len(code.co_varnames) + len(set(code.co_cellvars) - set(code.co_varnames)) + len(code.co_freevars)
            real = Frame.from_address(inner).top - slots
            found = frames.instructions(code)[frame.f_lasti]
            seen += 1
            if found.depth != real:
                wrong.append((code.co_qualname, frame.f_lasti, found, real))
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        corpus()
    finally:
        sys.settrace(before)
    assert seen > 20_000
    assert not wrong, wrong[:3]


def corpus():
    """Functions of the standard library with loops, handlers, generators, comprehensions and with statements."""
    json.loads(json.dumps({"a": [1, {"b": None}], "c": 1.5}, indent=1))
    textwrap.fill("some words to wrap " * 9, 30)
    argparse.ArgumentParser().parse_args([])
    collections.OrderedDict(a=1) | {}
    statistics.quantiles([1.0, 2.0, 5.0, 9.0])
    fractions.Fraction("3/7") + fractions.Fraction(1, 3)
    string.Template("$a ${b}").safe_substitute(a=1)
    difflib.unified_diff(["a"], ["b"])
    list(difflib.ndiff(["a b", "c"], ["a c", "c"]))
    copy.deepcopy({"a": [1, (2, {3})]})
    ast.unparse(
        ast.parse("for i in range(3):\n    with a as b, c:\n        try: d[i:j] = {**e}\n        except* F as g: raise")
    )
    pprint.pformat({"a": list(range(40))})
    inspect.signature(textwrap.fill)
    dataclasses.make_dataclass("D", [("a", int)])(1)
    with contextlib.ExitStack() as stack, contextlib.suppress(KeyError):
        stack.enter_context(contextlib.nullcontext())
        {}["a"]


def test_every_instruction_of_the_standard_library_has_a_depth():
    """What `dis` says of whole modules never contradicts itself, and no operand lies outside the stack."""
    for module in (
        argparse,
        ast,
        collections,
        contextlib,
        copy,
        dataclasses,
        inspect,
        json.decoder,
        statistics,
        textwrap,
    ):
        for code in codes(compile(inspect.getsource(module), module.__file__, "exec")):
            found = frames.instructions(code)
            assert all(-1 <= i.depth <= code.co_stacksize for i in found.values())
            assert any(i.depth >= 0 for i in found.values())


def record(step, x=None, calls=3):
    captured = dl.capture(step)
    for _ in range(calls):
        result = captured(dl.ones(1) if x is None else x)
    return captured, result


def test_a_tracer_that_is_there_is_put_back():
    events = []

    def tracer(frame, event, arg):
        events.append(event)
        return tracer

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        captured, _ = record(lambda x: x * 2)
        assert sys.gettrace() is tracer
    finally:
        sys.settrace(before)
    assert captured.recordings == 1
    assert events


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_as_it_was(enabled):
    was = gc.isenabled()
    try:
        gc.enable() if enabled else gc.disable()
        record(lambda x: x * 2)
        assert gc.isenabled() is enabled
        with pytest.raises(ZeroDivisionError):
            record(failing())
        assert gc.isenabled() is enabled
    finally:
        gc.enable() if was else gc.disable()


def failing(at=2):
    """A step that raises in one of its calls."""
    calls = []

    def step(x):
        calls.append(1)
        if len(calls) == at:
            raise ZeroDivisionError
        return x * 2

    return step


def test_an_exception_of_the_step_is_passed_on():
    trace = sys.gettrace()
    with pytest.raises(ZeroDivisionError):
        record(failing())
    assert sys.gettrace() is trace
    captured, result = record(lambda x: x * 3)
    assert (captured.recordings, result.item()) == (1, 3.0)


def test_exceptions_inside_a_step():
    def step(x):
        for key in ("a", "b"):
            try:
                x = x * {"a": 2.0}[key]
            except KeyError as error:
                x = x + len(error.args)
            finally:
                x = x * 2
        return x

    captured, result = record(step)
    assert (captured.recordings, result.item()) == (1, 10.0)


def test_recursion_and_generators():
    def powers(x, n):
        if n:
            yield x
            yield from powers(x * x, n - 1)

    def depth(n):
        return 0 if n == 0 else 1 + depth(n - 1)

    captured, result = record(lambda x: sum(powers(x * 2, 3)) + depth(50))
    assert (captured.recordings, result.item()) == (1, 2.0 + 4.0 + 16.0 + 50.0)


def test_a_step_of_much_python_is_refused_in_time():
    def step(x):
        n = 0
        for k in range(10_000_000):
            n += k
        return x * n

    captured = dl.capture(step)
    start = time.perf_counter()
    captured(dl.ones(1))
    alone = time.perf_counter() - start
    with pytest.raises(dl.CaptureError, match="more Python than can be observed"):
        captured(dl.ones(1))
    assert time.perf_counter() - start < 6 * alone + 5


def test_an_observed_call_leaves_no_cycles():
    record(lambda x: x * 2)  # what is made once
    model = ordinary.STEPS["transformer"]()
    step = dl.capture(lambda x: {"y": model(x), "n": [k * 2 for k in range(3)]})
    step(dl.ones(4, 8))
    gc.collect()
    gc.disable()
    try:
        step(dl.ones(4, 8))
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_objects_that_the_step_made_are_let_go():
    class Thing:
        pass

    alive = weakref.WeakSet()

    def make():
        thing = Thing()
        thing.values = [1.0]
        return thing

    def step(x):
        thing = make()
        return x * thing.values[0]

    made = Thing
    captured, _ = record(step)
    gc.collect()
    alive.update(o for o in gc.get_objects() if type(o) is made)
    assert captured.recordings == 1
    assert not alive


IN_TYPING = """
import sys, typing
import dlcore as dl

collect = typing._collect_parameters
typing._collect_parameters = lambda *given, **more: sys._getframe(1) and collect(*given, **more)
step = dl.capture(lambda x: dl.leaky_relu(x) if x.ndim == 1 else x)  # the first use of it is in a recorded step
step(dl.ones(2, 2))
print([step(dl.ones(3)).tolist() for _ in range(2)], step.recordings)
"""


def test_what_packages_put_into_typing_is_not_part_of_a_step():  # as typing_extensions does, which many import
    found = subprocess.run([sys.executable, "-c", IN_TYPING], capture_output=True, text=True, check=False)
    assert (found.stdout, found.stderr) == ("[[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]] 1\n", "")
