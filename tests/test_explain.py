"""What a recorded step tells about itself: launches, times, memory."""

import io
import re
import runpy
from pathlib import Path

import numpy as np
import pytest

import dlcore as dl
from dlcore import CaptureError, nn, optim


@pytest.fixture(scope="module")
def step():
    dl.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 5))
    optimizer = optim.Adam(model.parameters())

    @dl.capture
    def step(x, y):
        optimizer.zero_grad()
        loss = dl.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    step.state = lambda: [np.array(t) for t in [*model.state_dict().values(), *(p.grad for p in model.parameters())]]
    for _ in range(3):
        step(*data())
    return step


def data(n=8):
    return dl.full((n, 20), 0.5), dl.tensor(np.arange(n) % 5)


def test_explanation_lists_the_launches(step):
    explanation = step.explain(repeats=2)
    first = explanation.rows[0]
    assert (first.operation, first.fused) == ("linear", "linear + bias + relu")
    assert first.shapes == "f32[8,20] f32[30,20] f32[30] -> f32[8,30]"
    assert first.flops >= 2 * 8 * 20 * 30 and first.bytes >= 4 * (8 * 20 + 20 * 30 + 30 + 8 * 30)
    assert [r.operation for r in explanation.rows][-1] == "adam"
    assert all(r.seconds > 0 for r in explanation.rows)
    assert sum(r.share for r in explanation.rows) == pytest.approx(1.0)
    assert __file__ in first.line
    assert explanation.arena_bytes > 0 and explanation.unplanned_bytes > 0
    text = str(explanation)
    assert "linear + bias + relu" in text and max(map(len, text.splitlines())) <= 120


def test_explaining_changes_nothing(step):
    before = step.state()
    step.explain()
    for now, then in zip(step.state(), before, strict=True):
        assert np.array_equal(now, then)


def test_arguments_that_the_step_changes_are_put_back():
    @dl.capture
    def add(x):
        x += 1

    x = dl.zeros(3)
    for _ in range(3):
        add(x)
    add.explain()
    assert x.tolist() == [3.0] * 3


def test_what_could_be_fused_and_is_not():
    def function(x):
        doubled = x * 2
        shifted = doubled + 1
        return shifted.exp() + shifted, doubled

    step = dl.capture(function)
    for _ in range(3):
        step(dl.ones(100))
    reasons = [r.unfused for r in step.explain().rows]
    assert reasons == [
        "",
        "not with 0: its value is a result",
        "not with 1: 3 needs its value too",
        "not with 2: no kernel does both",
    ]


def test_explanation_before_there_is_one():
    step = dl.capture(lambda x: x + 1)
    with pytest.raises(CaptureError, match="has not been recorded"):
        step.explain()
    step(dl.ones(1))
    step(dl.ones(1))
    with pytest.raises(CaptureError, match="call the step once more first"):
        step.explain()


def test_rich_table(step):
    from rich.console import Console

    console = Console(width=140, record=True, file=io.StringIO())
    console.print(step.explain(repeats=1))
    assert "linear + bias + relu" in console.export_text()


def test_picture(step, tmp_path):
    pytest.importorskip("matplotlib")
    step.explain(repeats=1).picture(tmp_path / "step.png")
    assert (tmp_path / "step.png").read_bytes().startswith(b"\x89PNG")


def test_memory_plan(step):
    before = step.state()
    plan = step.plan(*data(64))
    parameters = 4 * (20 * 30 + 30 + 30 * 5 + 5)
    assert plan.outside_bytes >= 3 * parameters  # with Adam's moments
    assert plan.result_bytes >= parameters
    assert plan.arena_bytes >= 64 * 30 * 4
    assert plan.peak <= plan.total
    assert plan.total == plan.outside_bytes + plan.result_bytes + plan.arena_bytes
    assert [r.bytes for r in plan.rows] == sorted((r.bytes for r in plan.rows), reverse=True)
    assert any(r.what == "f32[64,30]" and r.kind == "inside" for r in plan.rows)
    assert max(map(len, str(plan).splitlines())) <= 120 and "intermediate" in str(plan)
    for now, then in zip(step.state(), before, strict=True):
        assert np.array_equal(now, then)


def test_memory_plan_grows_with_the_batch(step):
    assert step.plan(*data(512)).total > 2 * step.plan(*data(64)).total - step.plan(*data(1)).total


PAGE = Path(__file__).parents[1] / "docs" / "recording.md"


@pytest.mark.skipif(not PAGE.exists(), reason="needs the source tree")
def test_the_page_about_recording(tmp_path):
    programs = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert programs
    for k, program in enumerate(programs):
        path = tmp_path / f"program{k}.py"
        path.write_text(program)
        runpy.run_path(str(path))
