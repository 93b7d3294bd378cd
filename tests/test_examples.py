"""The examples run, those that take long in small: each of them checks its own result."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES or [pytest.param(None, marks=pytest.mark.skip("needs the source tree"))],
                         ids=lambda path: path.stem if path else "none")  # fmt: skip
def test_example(path, tmp_path):
    text = path.read_text()
    small = ["--small"] if '"--small" in sys.argv' in text else []
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(ROOT)]))}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", text, *small],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    # `-c`: the folder of examples is not to be searched for modules
    if done.stderr.startswith("skipped: "):
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    if small:
        assert "RESULT" not in text and "SECONDS" not in text, "the head tells what to expect, and after what time"
