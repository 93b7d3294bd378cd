"""The public interface as type checkers and readers of help() see it."""

import inspect
import pydoc
import re
import subprocess
import sys
from pathlib import Path

import pytest

import dlcore as dl
from bench import reference
from dlcore import _operations, _stubs

USES = Path(__file__).parent / "typing" / "uses.py"


def found_by_mypy():
    """{line: [messages]} for the file of uses."""
    pytest.importorskip("mypy")
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "--no-incremental", str(USES)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=USES.parents[2])
    found = {}
    for path, line, text in re.findall(r"^(.+?):(\d+): (?:error|note): (.*)$", done.stdout, re.MULTILINE):
        if Path(path).name == USES.name:
            found.setdefault(int(line), []).append(text)
    assert found, done.stdout + done.stderr
    return found


def test_uses_are_typed():
    found = found_by_mypy()
    for number, line in enumerate(USES.read_text().splitlines(), 1):
        messages, (_, _, wanted) = found.get(number, []), line.partition("  # ")
        if wanted.startswith("type: "):
            assert messages == [f'Revealed type is "{wanted[6:]}"'], f"line {number}: {line}\n{messages}"
        elif wanted == "error" and line[0] != "#":
            assert messages, f"line {number} is no error: {line}"
        else:
            assert not messages, f"line {number}: {line}\n{messages}"


def test_the_page_of_operations_is_what_the_definitions_say():
    assert reference.PATH.read_text() == reference.page(), "run `make stubs`"


def test_the_stub_is_what_the_definitions_say():
    assert _stubs.PATH.read_text() == _stubs.source(), "run `make stubs`"


def test_tensors_have_the_operations_as_methods():
    x = dl.tensor([[1.0, -2.0], [3.0, 4.0]])
    for name in ("clip", "sin", "take", "square", "logsumexp", "relu"):
        assert getattr(dl.Tensor, name) is getattr(dl, name)
    assert x.clip(0, 2).tolist() == [[1.0, 0.0], [2.0, 2.0]]
    assert x.take(dl.tensor([1])).tolist() == [[3.0, 4.0]]
    for name in _operations.__all__:
        if _operations.is_method(getattr(_operations, name)):
            assert hasattr(dl.Tensor, name), name


def test_help_shows_operations_with_a_line_each():
    text = pydoc.plain(pydoc.render_doc(dl))
    assert "softmax(x: 'Operand', axis: 'int' = -1) -> 'Tensor'" in text
    for name in _operations.__all__:
        function = getattr(dl, name)
        first = (inspect.getdoc(function) or "").partition("\n")[0]
        assert first and first in text, f"{name}: {first!r}"
        assert name in dir(dl)
