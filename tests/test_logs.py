"""What a training writes down and shows: logs, pictures, bars, tables and lines."""

import csv
import io
import json
import math
import sys
import types

import numpy as np
import pytest
from rich.console import Console

import dlcore as dl
from dlcore import nn, optim
from dlcore.train import Callback, Log, Plot, Resume, TensorBoard
from dlcore.train.logs import read_log
from dlcore.train.progress import Lines, NotebookTable, ProgressBar, display, table

RNG = np.random.default_rng(2)
X = RNG.standard_normal((60, 4)).astype(np.float32)
LABELS = (X[:, 0] > 0).astype(np.int64)


def fit(*callbacks, epochs=3, **settings):
    model = nn.Linear(4, 2)
    settings = {"loss": "cross_entropy", "batch_size": 20, "metrics": ["accuracy", "confusion_matrix"], **settings}
    return dl.fit(model, (X, LABELS), (X, LABELS), epochs=epochs, callbacks=callbacks,
                  optimizer=optim.SGD(model.parameters(), lr=0.1), **settings)  # fmt: skip


class StopAt(Callback):
    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_end(self, run):
        if run.epoch == self.epoch:
            raise RuntimeError("stop")


def test_a_log_is_a_line_for_each_epoch(tmp_path):
    path = tmp_path / "new" / "log.jsonl"
    history = fit(Log(path))
    rows = list(read_log(path))
    assert [row["loss"] for row in rows] == history["loss"]
    assert rows[0]["confusion_matrix"] == np.asarray(history.epochs[0]["confusion_matrix"]).tolist()
    assert all(json.loads(line) for line in path.read_text().splitlines())
    fit(Log(path), epochs=1)
    assert len(list(read_log(path))) == 1, "another run begins it anew"


def test_a_table_is_a_row_for_each_epoch(tmp_path):
    path = tmp_path / "log.csv"
    history = fit(Log(path))
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    assert [float(row["val_loss"]) for row in rows] == history["val_loss"]
    assert list(rows[0]) == ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "seconds"]
    with pytest.raises(ValueError, match=r"Log: path 'a.txt' ends neither in .jsonl nor in .csv"):
        Log("a.txt")


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
def test_a_resumed_run_goes_on_in_its_log(ending, tmp_path):
    def run(folder, *callbacks):
        dl.manual_seed(0)
        fit(Log(folder / f"log.{ending}"), *callbacks, Resume(folder, every=2), epochs=5)
        text = (folder / f"log.{ending}").read_text()
        rows = list(read_log(folder / "log.jsonl")) if ending == "jsonl" else list(csv.DictReader(io.StringIO(text)))
        return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]

    with pytest.raises(RuntimeError, match="stop"):
        run(tmp_path / "a", StopAt(3))  # the third line is written, and the state of the third epoch is not
    assert run(tmp_path / "a") == run(tmp_path / "b")


def test_a_log_that_was_cut_short_is_read_and_a_wrong_one_is_named(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"epoch": 1, "loss": "nan"}\n{"epoch": 2, "lo')
    (row,) = read_log(path)
    assert row["epoch"] == 1 and math.isnan(row["loss"])
    path.write_text('{"epoch": 1}\nhello\n{"epoch": 2}\n')
    with pytest.raises(ValueError, match=r"log.jsonl:2: not a line of a log"):
        list(read_log(path))


def test_a_picture_of_the_curves(tmp_path):
    fit(Plot(tmp_path / "new" / "curves.png"))
    assert (tmp_path / "new" / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_tensorboard_files(tmp_path, monkeypatch):
    written = []

    class Writer:
        def __init__(self, folder, purge_step=None):
            written.append(("open", purge_step))

        def add_scalar(self, name, value, step):
            written.append((name, step))

        def close(self):
            written.append("closed")

    monkeypatch.setitem(sys.modules, "tensorboardX", types.SimpleNamespace(SummaryWriter=Writer))
    fit(TensorBoard(tmp_path), epochs=2, clip_norm=1.0)
    assert [step for name, step in written[1:-1] if name == "step/loss"] == [1, 2, 3, 4, 5, 6]
    assert ("validation/accuracy", 2) in written and ("step/gradient norm", 6) in written and written[-1] == "closed"
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match=r'pip install "dlcore\[tensorboard\]"'):
        TensorBoard(tmp_path)


def test_a_bar_shows_the_rate_and_leaves_a_line_for_each_epoch():
    out = io.StringIO()
    bar = ProgressBar(Console(file=out, force_terminal=True, width=140, color_system=None))
    fit(bar, progress=False, epochs=2)
    shown = out.getvalue()
    assert "epoch 1/2  loss " in shown and "epoch 2/2  loss " in shown and "val_accuracy" in shown


def test_plain_lines_are_few(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("dlcore.train.progress.time.monotonic", lambda: now[0])
    fit(lambda run: now.__setitem__(0, now[0] + 2.0), Lines(5.0), progress=False, epochs=9)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == ["3/9", "6/9", "9/9"]


def test_a_notebook_gets_a_table(monkeypatch):
    shown = []
    handle = types.SimpleNamespace(update=shown.append)
    displayed = types.SimpleNamespace(HTML=str, display=lambda first, display_id: handle)
    shell = types.SimpleNamespace(kernel=True)
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell, display=displayed))
    monkeypatch.setitem(sys.modules, "IPython.display", displayed)
    assert isinstance(display(None), NotebookTable)
    assert display(False) is None
    fit(epochs=2)
    assert shown[-1].startswith("<table>") and "2/2" in shown[-1] and "val_accuracy" in shown[-1]
    assert table([{"epoch": 1, "<b>": 1.0}], 2) == (
        "<table><thead><tr><th>epoch</th><th>&lt;b&gt;</th><th>time</th></tr></thead>"
        "<tbody><tr><td>1/2</td><td>1.0000</td><td></td></tr></tbody></table>"
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [("data.csv", "a,b\n1,2\n"), ("data.csv", "epoch,loss\nfirst,1\n"), ("data.jsonl", "notes"), ("data.jsonl", "5")],
)
def test_a_file_that_is_no_log_stays(name, text, tmp_path):
    path = tmp_path / name
    path.write_text(text)
    data = (np.ones((4, 2), np.float32), np.ones((4, 1), np.float32))
    with pytest.raises(ValueError, match=f"{name}.*no|{name}.*not a line of a log"):
        dl.fit(nn.Linear(2, 1), data, loss="mse", optimizer="sgd", epochs=1, callbacks=[Log(path)])
    assert path.read_text() == text
