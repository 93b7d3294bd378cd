"""What packs are made of is what is asked for, and with a pack alone dlcore trains on a GPU: on the fake driver."""

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from dlcore import _C

ROOT = Path(__file__).resolve().parents[1]
if shutil.which("gcc") is None or not (ROOT / "setup.py").exists():
    pytest.skip("needs gcc and the source tree", allow_module_level=True)

OPERATIONS = ("add", "sum", "softmax", "matmul", "take", "dropout", "cross_entropy", "adam", "cast")
USES = f"""
from functools import partial
from bench import asked
from dlcore.op import REGISTRY
from dlcore.ops import operations
from dlcore.verify import checks

operations()
uses = [use for use in asked.models() if use[0] in ("step a adam", "README 0")]
rows = [REGISTRY[name] for name in {OPERATIONS}]
"""


def python(code, cwd=ROOT, **environment):
    """The output of a program in a process of its own, asserts left out."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("DLCORE_") and k != "TRITON_INTERPRET"}
    command = [sys.executable, "-O", "-W", "ignore", "-c", textwrap.dedent(code)]
    environment = kept | {"DLCORE_DEVICE": "cpu"} | environment
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    """A folder with a pack of all that some uses ask for; its binaries have no code."""
    folder = tmp_path_factory.mktemp("packs")
    told = python(f"""{USES}
        from dlcore.kernels import binary
        from dlcore.kernels.launch import ARCHES
        uses += [(op.name, partial(checks.check_row, op, "cuda")) for op in rows]
        found = asked.collect(ARCHES["sm_90"], uses, lambda text: None)
        binary.write_packs(__import__("pathlib").Path({str(folder)!r}), [(k, asked.stub(w)) for k, w in found.items()])
        print(len(found))
    """.replace("\n        ", "\n"))
    assert int(told.split()[-1]) > 100
    return folder


def test_all_that_is_asked_for_is_in_the_pack(pack, tmp_path):
    """The same uses, and `dlcore verify`, with the pack and no compiler."""
    told = python(f"""{USES}
        from dlcore.kernels import compile
        asked.open_fake()
        compile.can_compile = lambda wanted: False
        asked.dl.set_default_device("cuda")
        asked.read_on_the_host()
        for _, use in uses:
            use()
        failures = [text for op in rows for text in checks.check_row(op, "cuda").failures]
        print("misses:", [text for text in failures if "CompileError" in text])
    """.replace("\n        ", "\n"), DLCORE_KERNELS=str(pack), DLCORE_CACHE=str(tmp_path))
    assert told.splitlines()[-1] == "misses: []"
    assert not list(tmp_path.rglob("*"))


@pytest.fixture(scope="module")
def installed(pack, tmp_path_factory):
    """A folder with dlcore as a wheel with packs holds it (see test_packaging.py)."""
    folder = tmp_path_factory.mktemp("installed")
    ignored = shutil.ignore_patterns("__pycache__", "*.so", "packs")
    shutil.copytree(ROOT / "dlcore", folder / "dlcore", ignore=ignored)
    shutil.copytree(ROOT / "kernels", folder / "dlcore" / "kernels", ignore=ignored, dirs_exist_ok=True)
    shutil.copy(_C.__file__, folder / "dlcore")
    shutil.copytree(pack, folder / "dlcore" / "kernels" / "packs")
    return folder


WITHOUT_COMPILERS = f"""
import sys
sys.modules["triton"] = sys.modules["cupy"] = None
sys.path.append({str(ROOT / "tests")!r})
from fake_driver import open_fake
open_fake()
import dlcore as dl, numpy as np
from dlcore import nn, optim
from dlcore.kernels import nvrtc
nvrtc.available = lambda: False
"""


def test_an_installed_dlcore_trains_without_a_compiler(installed, tmp_path):
    told = python(f"""{WITHOUT_COMPILERS}
        dl.set_default_device("cuda")
        model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))
        optimizer = optim.Adam(model.parameters(), lr=1e-3)
        @dl.capture
        def step(x, y):
            loss = dl.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss
        x, y = dl.tensor(np.ones((64, 64), np.float32)), dl.tensor(np.arange(64) % 10)
        for _ in range(4):
            loss = step(x, y)
        print(dl.__file__, loss.device, step.recordings)
    """.replace("\n        ", "\n"), cwd=tmp_path, PYTHONPATH=str(installed), DLCORE_CACHE=str(tmp_path / "cache"))
    assert told.split() == [str(installed / "dlcore" / "__init__.py"), "cuda:0", "1"]
    assert not (tmp_path / "cache").exists()


def test_what_the_pack_lacks_is_said_in_one_sentence(installed, tmp_path):
    told = python(f"""{WITHOUT_COMPILERS}
        try:
            dl.where(dl.ones((3, 5), dtype="float64", device="cuda") > 0, 1.0, 2.0)
        except dl.kernels.compile.CompileError as error:
            print(error)
    """.replace("\n        ", "\n"), cwd=tmp_path, PYTHONPATH=str(installed), DLCORE_CACHE=str(tmp_path / "cache"))
    assert told.count("\n") == 1 and "pip install 'dlcore[compile]'" in told


def test_values_that_no_kernel_has_made_are_read_on_the_host():
    """Else examples that part their data by classes, or normalise them, would end before their networks ask."""
    told = python("""
        from bench import asked
        from dlcore import data
        from dlcore.kernels.launch import ARCHES

        def parted():
            train, test = data.random_split(data.load_dataset("digits"), [0.8, 0.2], seed=1, stratify=True)
            data.Normalize.of(train)

        asked.collect(ARCHES["sm_90"], [("parted", parted)], print)
    """.replace("\n        ", "\n"))
    assert told.startswith("parted: ") and told.count("\n") == 1
