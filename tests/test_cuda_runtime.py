"""The driver's side of a GPU without one: what would be launched, copied and captured, against a fake libcuda.so.1."""

import glob
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fake_driver import environment, library

import dlcore as dl
from dlcore import _device

FAKE = Path(__file__).parent / "fake_driver"


def run(*arguments, **environment):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("DLCORE_") and k != "TRITON_INTERPRET"}
    environment = kept | environment
    return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=600)


@pytest.mark.parametrize("file", ["checks.py", "models.py", "engine.py"])
def test_against_a_fake_driver(tmp_path, file):
    checks = ("-m", "pytest", "-q", "-p", "no:cacheprovider", str(FAKE / file))
    machine = environment(devices=2 if file == "engine.py" else 1, memory=1 << 30)
    done = run(*checks, **machine, DLCORE_CACHE=str(tmp_path), DLCORE_DEVICE="cpu")
    assert done.returncode == 0, done.stdout[-8000:]


@pytest.mark.parametrize(
    "path, device, text",
    [
        ("/nowhere/libcuda.so.1", "cuda", "device: 'cuda' needs an NVIDIA GPU and its driver: /nowhere/libcuda.so.1: "),
        (None, "cuda:3", "device: there is no GPU 3: this machine has 1"),
        (None, "cuda", "device: 'cuda' needs CuPy: pip install 'dlcore[cuda13]'"),
    ],
)
def test_what_is_missing_is_said_in_one_sentence(path, device, text):
    script = (
        "import sys; sys.modules['cupy'] = None; import importlib.util as u\n"
        "find = u.find_spec; u.find_spec = lambda name, *a: None if name == 'cupy' else find(name, *a)\n"
        "import dlcore as dl\n"
        f"try: dl.zeros(2, device={device!r})\n"
        "except dl.DeviceError as error: print(error)"
    )
    done = run("-c", script, DLCORE_LIBCUDA=path or library())
    assert done.stdout.startswith(text), done.stdout + done.stderr


@pytest.mark.skipif(bool(glob.glob("/dev/nvidia[0-9]*")), reason="there is a GPU, which is then the default")
def test_importing_and_computing_loads_neither_cupy_nor_triton():
    script = (
        "import sys, dlcore as dl; print(dl.zeros(2).device)\n"
        "assert not {'cupy', 'triton', 'dlcore.backends', 'dlcore.kernels.launch'} & set(sys.modules)"
    )
    done = run("-c", script)
    assert (done.returncode, done.stdout) == (0, "cpu\n"), done.stderr


def test_the_default_device_can_be_chosen():
    script = "import dlcore as dl\ndl.set_default_device('cpu'); print(dl.zeros(1).device, dl.default_device())"
    assert run("-c", script, DLCORE_DEVICE="cuda").stdout == "cpu cpu\n"
    refused = run("-c", "import dlcore as dl; dl.zeros(1)", DLCORE_DEVICE="cuda", DLCORE_LIBCUDA="/nowhere")
    assert "DeviceError" in refused.stderr


@pytest.mark.parametrize(
    "files, cupy, error, chosen",
    [
        ([], True, None, "cpu"),
        (["nvidiactl", "null"], True, None, "cpu"),
        (["nvidia0"], False, None, "cpu"),
        (["null", "nvidia0"], True, None, "cuda"),
        (["dxg"], True, None, "cuda"),
        (["nvidia0"], True, "there is no driver", "cpu"),
    ],
    ids=["nothing", "no-gpu", "no-cupy", "gpu", "wsl", "no-driver"],
)
def test_the_automatic_choice(monkeypatch, files, cupy, error, chosen):
    def device(name):
        if error:
            raise dl.DeviceError(error)
        return name

    monkeypatch.setattr(_device.os, "listdir", lambda path: files)
    monkeypatch.setattr(_device, "find_spec", lambda name: object() if cupy else None)
    monkeypatch.setattr(_device, "device", device)
    if error:
        with pytest.warns(UserWarning, match="^there is no driver; dlcore computes on the CPU$"):
            assert str(_device._automatic()) == chosen
    else:
        assert str(_device._automatic()) == chosen


def test_the_interpreter_must_come_before_triton():
    pytest.importorskip("triton")
    script = "import triton, dlcore as dl\ntry: dl.device('cuda')\nexcept dl.DeviceError as error: print(error)"
    text = "DLCORE_CUDA=interpreter: Triton is already imported; set TRITON_INTERPRET=1 before it is\n"
    assert run("-c", script, DLCORE_CUDA="interpreter").stdout == text
