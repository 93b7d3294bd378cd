"""Starts a bundle: unpacks it, adds the packages that are missing, and runs `python -m bench.gpu`, within the seconds.

Only the standard library is here to begin with; any Python 3 can say what is wrong.
"""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import time
import zipfile

HERE = os.path.dirname(os.path.abspath(__file__))
NEEDED = ("numpy", "cupy")
LATE = 10  # seconds after which what has not ended by itself is ended


def missing(dry_run):
    """What this Python lacks, in words."""
    with open(os.path.join(HERE, "bundle.json")) as file:
        made = json.load(file)
    if sysconfig.get_config_var("EXT_SUFFIX") != made["suffix"]:
        wanted = ".".join(map(str, made["python"]))
        return f"this bundle is for CPython {wanted} on x86-64 (PYTHON=...); this is {sys.version.split()[0]}"
    absent = [name for name in NEEDED if importlib.util.find_spec(name) is None and not (dry_run and name == "cupy")]
    return f"{sys.executable} has no {' and no '.join(absent)}" if absent else ""


def unpack_wheels(site):
    """Those whose packages cannot be imported; pip is not needed."""
    folder = os.path.join(HERE, "wheels")
    for name in sorted(os.listdir(folder)):
        with zipfile.ZipFile(os.path.join(folder, name)) as wheel:
            tops = {entry.split("/")[0] for entry in wheel.namelist()}
            modules = {top[:-3] if top.endswith(".py") else top for top in tops if "." not in top.replace(".py", "")}
            if not all(importlib.util.find_spec(module) for module in modules):
                wheel.extractall(site)


def main():
    """The exit code of the run; 2 where it cannot begin."""
    start = time.monotonic()
    if len(sys.argv) < 2 or not sys.argv[1].replace(".", "", 1).isdigit():
        sys.exit("usage: bash run.sh SECONDS [options of python -m bench.gpu]")
    seconds, rest = float(sys.argv[1]), sys.argv[2:]
    if problem := missing("--dry-run" in rest):
        sys.exit("bundle: " + problem)
    out = os.path.abspath(os.environ.get("OUT") or "out")
    work = tempfile.mkdtemp(prefix="dlcore-")
    tree, site = os.path.join(work, "tree"), os.path.join(work, "site")
    try:
        with tarfile.open(os.path.join(HERE, "tree.tar.gz")) as file:
            file.extractall(tree, filter="data")
        os.mkdir(site)
        unpack_wheels(site)
        done = [os.path.join(HERE, "done", name) for name in sorted(os.listdir(os.path.join(HERE, "done")))]
        environment = dict(
            os.environ, DLCORE_CACHE=os.path.join(work, "cache"), TRITON_CACHE_DIR=os.path.join(work, "triton"),
            TORCHINDUCTOR_CACHE_DIR=os.path.join(work, "inductor"),
            PYTHONPATH=os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), site])),
        )  # fmt: skip
        environment.pop("DLCORE_KERNELS", None)
        if "--dry-run" in rest:
            environment["DLCORE_LIBCUDA"] = os.path.join(tree, "tests", "fake_driver", "libcuda.so.1")
        left = seconds - (time.monotonic() - start)
        command = [sys.executable, "-m", "bench.gpu", "--seconds", str(left), "--out", out, "--only-packed"]
        command += ["--done", *done, *rest] if done else rest
        return run(command, tree, environment, left + LATE)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def run(command, folder, environment, seconds):
    """Its exit code; it is ended where it takes longer, or where this process is."""
    process = subprocess.Popen(command, cwd=folder, env=environment)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        return process.wait(seconds)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.terminate()
        try:
            return process.wait(LATE)
        except subprocess.TimeoutExpired:
            process.kill()
            return 124


if __name__ == "__main__":
    sys.exit(main())
