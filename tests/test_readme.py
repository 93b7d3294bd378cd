"""What the documentation says is true: its programs run, its tables are those of the results."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))  # last: `bench` is not installed, dlcore may be
pages = pytest.importorskip("bench.report", reason="needs the source tree").PAGES


def programs():
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for number, match in enumerate(re.finditer(r"```python\n(.*?)```", page.read_text(), re.DOTALL), 1):
            yield pytest.param(match[1], id=f"{page.stem}-{number}")


@pytest.mark.parametrize("program", list(programs()))
def test_programs_in_the_documentation_run(program, tmp_path):
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_configurations_in_the_documentation_are_read(tmp_path):
    from dlcore.runs import read_config

    found = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "training.md").read_text(), re.DOTALL)
    for text in found:
        (tmp_path / "run.toml").write_text(text)
        assert read_config(tmp_path / "run.toml").name == "run"
    assert found


@pytest.mark.parametrize("page", pages, ids=lambda p: p.stem)
def test_tables_are_those_of_some_machine_s_results(page):
    from bench.report import RESULTS, render

    machines = [folder for folder in RESULTS.iterdir() if (folder / "steps.json").exists()]
    assert machines
    assert page.read_text() in [render(page.read_text(), folder) for folder in machines]
