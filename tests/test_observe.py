"""The observer: what a step reads is seen when it changes, or the step is refused; ordinary steps are recorded."""

import contextlib
import decimal
import gc
import logging
import math
import os
import random
import re
import sys

import numpy as np
import pytest
from observed import chance, containers, engine, objects, ordinary

import dlcore as dl

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
    **{f"model: {n}": c for n, c in engine.MODELS.items()},
    **{f"optimizer: {n}": c for n, c in engine.OPTIMIZERS.items()},
    **{f"model, drawn: {n}": c for n, c in engine.DRAWN.items()},
}
EFFECTS = {
    **{f"effect: {n}": c for n, c in chance.EFFECTS.items()},
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
