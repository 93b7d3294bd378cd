"""The dlcore command: what it prints, what it leaves, its exit codes."""

import subprocess
import sys

import pytest

import dlcore as dl
from dlcore.cli import machine, main


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
    for word in ("dlcore", "Python", "CPU", "GPU", "memory", "Fashion-MNIST", "matplotlib", "check", "gradient"):
        assert word in out
    assert dl.__version__ in out


def test_demo_on_the_digits(tmp_path, capsys):
    assert main(["demo", "--data", "digits", "--epochs", "3", "--output", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    for text in ("Device", "cpu", "digits: 1,258 training", "epoch 3/3", "accuracy", "the same bits", "Next"):
        assert text in out
    assert set(dl.load(tmp_path / "out" / "model.safetensors")) == {
        f"{i}.{n}" for i in (1, 3, 5) for n in ("weight", "bias")
    }


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
