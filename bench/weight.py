"""Weight: megabytes installed, and seconds to import, each engine in an interpreter of its own."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import tyro

from bench import RESULTS
from dlcore._files import write
from dlcore.bench.machine import describe, slug

ROOT = Path(__file__).resolve().parents[1]

# Bytes of a distribution and of everything it requires, byte code included; NumPy, which every engine needs, left out.
CLOSURE = """
import importlib.metadata as metadata, json, os, re, sys
sizes = {}
def weigh(name):
    key = re.sub(r"[-_.]+", "-", name).lower()
    if key in sizes or key == "numpy":
        return
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:  # a requirement of another platform
        return
    paths = [found.locate_file(f) for f in found.files or ()]
    sizes[key] = sum(os.path.getsize(p) for p in paths if os.path.exists(p))
    for requirement in found.requires or ():
        if "extra ==" not in requirement:
            weigh(re.match(r"[\\w.-]+", requirement)[0])
weigh(sys.argv[1])
print(json.dumps(sizes))
"""

IMPORT = """
import sys, time
start = time.perf_counter()
import numpy
middle = time.perf_counter()
__import__(sys.argv[1])
print(middle - start, time.perf_counter() - middle)
"""


FIRST_STEPS = """
import sys, time
start = time.perf_counter()
import numpy
engine, root = sys.argv[1:]
sys.path.append(root)
__import__(engine)
imported = time.perf_counter()
from bench import steps
if engine == "dlcore":
    import dlcore as lib
    from dlcore import nn, optim
    lib.set_num_threads(1)
    make = steps.module_step(lib, nn, optim, lib.cross_entropy, capture=lib.capture)
elif engine == "torch":
    import torch as lib
    lib.set_num_threads(1)
    make = steps.module_step(lib, lib.nn, lib.optim, lib.nn.functional.cross_entropy)
else:
    make = steps.jax_step
step = make("a", "adam")
for _ in range(6):
    value = float(step())
end = time.perf_counter()
print(end - imported, end - start)
"""


def _python(python: str, *arguments: str) -> str:
    """What an interpreter prints that sees nothing but what is installed for it, its byte code included."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")}
    done = subprocess.run([python, *arguments], check=True, capture_output=True, text=True, cwd="/", env=environment)
    return done.stdout


def measure(peers: str, repeats: int = 11) -> dict:
    """Installs this tree into a new virtual environment and weighs it beside the peers in `peers`' environment."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        own = str(Path(folder) / "bin" / "python")
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        subprocess.run([own, "-m", "pip", "install", "-q", str(ROOT)], check=True, env=environment)
        engines = {"dlcore": own}
        for name in ("torch", "jax"):
            if subprocess.run([peers, "-c", f"import {name}"], capture_output=True).returncode == 0:
                engines[name] = peers
        rows = {name: {"sizes": json.loads(_python(python, "-c", CLOSURE, name))} for name, python in engines.items()}
        times, first = {name: [] for name in engines}, {name: [] for name in engines}
        for _ in range(repeats):
            for name, python in engines.items():
                times[name].append([float(t) for t in _python(python, "-c", IMPORT, name).split()])
                first[name].append([float(t) for t in _python(python, "-c", FIRST_STEPS, name, str(ROOT)).split()])
    for name, found in rows.items():
        found["megabytes"] = sum(found["sizes"].values()) / 1e6
        found["numpy_import"] = statistics.median(numpy for numpy, _ in times[name])
        found["import"] = statistics.median(own for _, own in times[name])
        found["first_steps"] = statistics.median(steps for steps, _ in first[name])
        found["first_steps_and_imports"] = statistics.median(total for _, total in first[name])
        print(f"{name}: {found['megabytes']:.1f} MB without NumPy, import {found['import']:.3f} s after NumPy's")
    return {"machine": describe(), "rows": rows}


def main(peers: str = sys.executable) -> None:
    """Weighs dlcore beside torch and jax, and writes bench/results/<machine>/weight.json.

    Args:
        peers: a Python that has torch and jax; those it lacks are left out.
    """
    path = RESULTS / slug() / "weight.json"
    write(path, json.dumps(measure(peers), indent=1) + "\n")
    print(f"wrote {os.path.relpath(path)}")


if __name__ == "__main__":
    tyro.cli(main)
