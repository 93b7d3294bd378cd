"""The dlcore command: what it prints, what it leaves, its exit codes."""

import importlib
import io
import os
import shlex
import signal
import subprocess
import sys

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table

import dlcore as dl
from dlcore.bench.show import fitted
from dlcore.cli import COMMANDS, machine, main, progress
from dlcore.data.images import ImageDataset
from dlcore.kernels.binary import Binary, write_packs


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"dlcore {dl.__version__}\n"


def test_help_names_the_commands(capsys):
    for arguments in ([], ["--help"]):
        assert main(arguments) == 0
        out = capsys.readouterr().out
        assert "demo" in out and "doctor" in out


@pytest.mark.parametrize("arguments", [["dmo"], ["demo", "--epochs", "many"], ["demo", "--data", "mnist"]])
def test_wrong_arguments_end_with_2(arguments, capsys):
    assert main(arguments) == 2
    capsys.readouterr()


def test_doctor(capsys):
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    for word in ("CPU", "GPU kernels", "memory", "Fashion-MNIST", "matplotlib", "check", "gradient"):
        assert word in out
    assert dl.__version__ in out


def test_doctor_tells_of_packs(tmp_path, monkeypatch, capsys):
    made = Binary("file:kernel", "sm_90", "kernel", 128, 0, compiler="triton 3.9.0, ptxas 13.0", cubin=b"\x7fELF")
    write_packs(tmp_path, [("ab" * 32, made)])
    monkeypatch.setenv("DLCORE_KERNELS", str(tmp_path))
    assert main(["doctor"]) == 0
    assert "sm_90: 1 (triton 3.9.0, ptxas 13.0)" in " ".join(capsys.readouterr().out.split())


def test_demo_on_the_digits(tmp_path, capsys):
    assert main(["demo", "--data", "digits", "--epochs", "3", "--output", str(tmp_path / "out")]) == 0
    out = "".join(capsys.readouterr())
    for text in ("Device", "cpu", "digits: 1,258 training", "epoch 3/3", "accuracy", "the same bits", "Next"):
        assert text in out
    assert set(dl.load_state(tmp_path / "out" / "model.safetensors")) == {
        f"{i}.{n}" for i in (1, 3, 5) for n in ("weight", "bias")
    }


def test_demo_on_fashion_mnist_trains_convolutions(tmp_path, capsys, monkeypatch):
    def few(name, split):
        rng, count = np.random.default_rng(0), 5256 if split == "train" else 64
        labels, classes = rng.integers(0, 10, count), [f"class {k}" for k in range(10)]
        return ImageDataset(rng.integers(0, 256, (count, 28, 28), dtype=np.uint8), labels, classes)

    monkeypatch.setattr("dlcore.cli.demo.load_dataset", few)
    assert main(["demo", "--data", "fashion-mnist", "--epochs", "1", "--output", str(tmp_path / "out")]) == 0
    out = "".join(capsys.readouterr())
    for text in ("Fashion-MNIST: 256 training", "convolutions of 16, 32 and 64 channels", "29,178 parameters", "bits"):
        assert text in out
    assert "1.features.0.weight" in dl.load_state(tmp_path / "out" / "model.safetensors")


def test_demo_without_fashion_mnist_says_what_it_takes(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("dlcore.cli.demo.find_dataset", lambda *_: None)
    assert main(["demo", "--epochs", "1", "--output", str(tmp_path)]) == 0
    assert "Fashion-MNIST is not found" in capsys.readouterr().out


def test_failure_is_one_line_and_exit_code_1(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["demo", "--data", "digits", "--output", str(tmp_path / "file")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("dlcore: ") and error.count("\n") == 1


def test_ctrl_c_ends_with_130(tmp_path, capsys, monkeypatch):
    def stopped(*args, **kwargs):
        raise KeyboardInterrupt("stopped in epoch 1")

    monkeypatch.setattr(dl, "fit", stopped)
    assert main(["demo", "--data", "digits", "--output", str(tmp_path)]) == 130
    assert capsys.readouterr().err == "stopped in epoch 1\n"


def test_python_dash_m():
    done = subprocess.run([sys.executable, "-m", "dlcore", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"dlcore {dl.__version__}\n"


def test_machine_facts():
    assert machine.usable_cpus() >= 1 and machine.memory_gib() > 0.1 and machine.cpu_model()
    names, found = machine.gpu()
    assert isinstance(names, list) and found
    assert machine.package("numpy")[0].isdigit() and machine.package("no-such-package") is None


def test_help_is_quick_and_says_what_the_commands_say():
    for name, text in COMMANDS.items():
        module = importlib.import_module(f"dlcore.cli.{name}")
        assert (module.main if hasattr(module, "main") else module.run).__doc__.startswith(text)
    program = "import sys; from dlcore.cli import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"tyro", "rich", "dlcore.nn"} & set(found.stderr.split())  # they take most of the time


@pytest.mark.parametrize(
    "arguments, code, text",
    [
        ("verfy", 2, "no command verfy (did you mean verify?)"),
        ("demo --epochs 0", 2, "--epochs must be at least 1 and at most 1e9, not 0"),
        ("demo --seed -1", 2, "--seed must be at least 0"),
        ("bench --rounds 0", 2, "--rounds must be at least 1"),
        ("bench --rounds 99999999999", 2, "at most 1e9"),
        ("bench --seconds nan", 2, "--seconds must be at least"),
        ("bench --op sofmax relu", 1, "no operation sofmax (did you mean softmax?)"),
        ("roofline --threads -3", 2, "--threads must be at least 1"),
        ("verify --fuzz -1", 2, "--fuzz must be at least 0"),
        ("verify --jobs 0", 2, "--jobs must be at least 1"),
        ("verify --family sofmax", 1, "no family sofmax (did you mean softmax?)"),
        ("verify --op qqqq", 1, "no operation qqqq (there are "),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, code, text, capsys):
    assert main(arguments.split()) == code
    error = capsys.readouterr().err
    assert text in error and error.count("\n") == 1


def test_narrow_terminals_lose_columns_and_no_units():
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("operation", "time", "GB/s", "noise"):
        table.add_column(title, no_wrap=True)
    table.add_row("layer_norm_backward", "[bold]74.1 us[/]", "12.3 GB/s", "3%")
    table.add_section()
    table.add_row("relu", "1.05 ms", "9.1 GB/s", "12%")
    shown = {}
    for width in (80, 46, 32):
        console = Console(width=width, file=io.StringIO())
        console.print(fitted(table, console, ("noise", "GB/s")))
        shown[width] = console.file.getvalue()
        assert "layer_norm_backward" in shown[width] and "74.1 us" in shown[width]
    assert "12.3 GB/s" in shown[80] and "3%" in shown[80]
    assert "12.3 GB/s" in shown[46] and "3%" not in shown[46]
    assert "12.3" not in shown[32]


def test_closed_output_and_ascii_terminals(tmp_path):
    program = "import sys; from dlcore.cli import main; sys.exit(main(['doctor']))"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode in (1, 141)
    command = f"exec {shlex.quote(sys.executable)} -m dlcore --help >&-"
    found = subprocess.run(command, shell=True, stderr=subprocess.PIPE)
    assert (found.returncode, found.stderr) == (0, b"")
    arguments = f"['demo', '--data', 'digits', '--epochs', '1', '--output', {str(tmp_path / 'out')!r}]"
    found = subprocess.run(
        [sys.executable, "-c", f"import sys; from dlcore.cli import main; sys.exit(main({arguments}))"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "LANG": "C"},
    )
    assert found.returncode == 0, found.stderr
    assert b"?" * 10 not in found.stdout
    assert found.stdout.isascii()


def test_a_command_leaves_signals_as_they_were(capsys):
    before = signal.getsignal(signal.SIGTERM)
    for arguments, code in (["--version"], 0), (["nothing"], 2), (["roofline", "--threads", "0"], 2):
        assert main(arguments) == code
        assert signal.getsignal(signal.SIGTERM) is before


def test_how_far_a_command_is_comes_in_plain_lines_where_no_terminal_is(capsys, monkeypatch):
    monkeypatch.setattr(progress, "_PATIENCE", 0.0)
    for terminal in (False, True):
        shown = io.StringIO()
        with progress.Stages(Console(file=shown, force_terminal=terminal, width=80)) as stages:
            task = stages.add_task("checks", total=4)
            stages.update(task, completed=1, description="softmax")
            stages.advance(task)
        told = capsys.readouterr().err
        assert told == ("" if terminal else "softmax (25%)\nsoftmax (50%)\n")
        assert ("softmax" in shown.getvalue()) is terminal and "(25%)" not in shown.getvalue()
