"""Trainings by the command line: from files to a trained model, its figures and its predictions."""

import io
import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import dlcore as dl
from dlcore import models
from dlcore.cli import main
from dlcore.runs import Config, RunFolder, read_config
from dlcore.train.logs import read_log

PIL = pytest.importorskip("PIL.Image")
RNG = np.random.default_rng(4)

CONFIG = """
seed = 1
[data]
{data}
[model]
hidden = [16]
[train]
epochs = 4
lr = 1e-2
{train}
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def pictures(here):
    """Two classes of pictures, 60 of each: bright above, and bright below."""
    for label, name in enumerate(["above", "below"]):
        (here / "pictures" / name).mkdir(parents=True)
        for n in range(60):
            image = RNG.integers(0, 100, (6, 5), dtype=np.uint8)
            image[3 * label : 3 * label + 3] += 100
            PIL.fromarray(image).save(here / "pictures" / name / f"{n:02}.png")
    return write(here, 'folder = "pictures"\nstratify = true')


def write(here, data, train=""):
    path = here / "config.toml"
    path.write_text(CONFIG.format(data=data, train=train))
    return str(path)


def call(capsys, *arguments):
    code = main(list(arguments))
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def test_from_a_folder_of_pictures_to_predictions(pictures, here, capsys):
    code, out, _ = call(capsys, "data", "show", pictures, "--out", "grid.png")
    assert code == 0 and "96 samples" in out and "above" in out
    assert (here / "grid.png").read_bytes().startswith(b"\x89PNG")
    code, out, _ = call(capsys, "train", pictures, "--name", "first", "--train.epochs", "5")
    assert code == 0 and "runs/first: 5 epochs" in out and "val_accuracy" in out
    folder = RunFolder("runs/first")
    assert folder.config.train.epochs == 5 and folder.config.data.folder == "pictures"
    assert [row["epoch"] for row in read_log(folder.log_path)] == [1, 2, 3, 4, 5]
    assert json.loads((folder.path / "environment.json").read_text())["numpy"] == np.__version__
    assert (folder.path / "curves.png").exists()
    code, out, _ = call(capsys, "eval", "runs/first", "--json", "eval.json")
    assert code == 0 and "accuracy  1.0000" in out
    assert json.loads((here / "eval.json").read_text())["samples"] == 12
    code, out, _ = call(capsys, "test", "runs/first")
    assert code == 0 and "used" not in out
    assert "has been used 2 times" in call(capsys, "test", "runs/first")[1]
    files = [str(p) for p in sorted((here / "pictures" / "below").iterdir())]
    code, out, _ = call(capsys, "predict", "runs/first", *files, "--out", "shares.npy")
    assert code == 0 and [line.split("\t")[1] for line in out.splitlines()] == ["below"] * 60
    assert np.load("shares.npy").shape == (60, 2)
    images = np.stack([np.asarray(PIL.open(f)) for f in files])
    again = dl.load("runs/first/model.safetensors")
    np.testing.assert_allclose(np.asarray(dl.softmax(dl.predict(again, images), axis=-1)), np.load("shares.npy"), 1e-6)
    np.save("images.npy", images)
    assert call(capsys, "predict", "runs/first", "images.npy")[1].splitlines()[0].split("\t")[1] == "below"
    code, out, _ = call(capsys, "runs", "--out", "all.png")
    assert "first     5/5  done, tested 2 times" in out and (here / "all.png").exists()


def test_predictions_of_lines_on_standard_input(pictures, capsys, monkeypatch):
    call(capsys, "train", pictures)
    lines = "\n".join(" ".join(map(str, np.repeat([a, b], 15))) for a, b in [(0.8, 0.2), (0.2, 0.8)])
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    out = call(capsys, "predict", "runs/config")[1]
    assert [line.split("\t")[:2] for line in out.splitlines()] == [["line 1", "above"], ["line 2", "below"]]
    monkeypatch.setattr("sys.stdin", io.StringIO("1 2 3"))
    code, _, err = call(capsys, "predict", "runs/config")
    assert code == 1 and "line 1 has shape (3,); the model takes (6, 5)" in err
    monkeypatch.setattr("sys.stdin", io.StringIO("\n1,2,3"))
    code, _, err = call(capsys, "predict", "runs/config")
    assert code == 1 and "standard input: line 2: numbers with spaces between them expected" in err


def table(here, rows=200, numbers=False):
    x = RNG.standard_normal((rows, 3))
    colour = RNG.choice(["red", "green", "blue"], rows)
    value = x[:, 0] - 2 * x[:, 1] + (colour == "red") * 2
    y = [f"{v:.4f}" for v in value] if numbers else np.where(value > 0, "yes", "no")
    text = [f"{a:.4f},{b:.4f},{c:.4f},{d},{e}" for (a, b, c), d, e in zip(x, colour, y, strict=True)]
    (here / "table.csv").write_text("\n".join(["a,b,c,colour,answer", *text]) + "\n")


@pytest.mark.parametrize("numbers", [False, True])
def test_from_a_table_to_predictions(numbers, here, capsys):
    table(here, numbers=numbers)
    config = write(here, 'file = "table.csv"\ntarget = "answer"', "batch_size = 16")
    assert call(capsys, "train", config, "--train.epochs", "40")[0] == 0
    figures = RunFolder("runs/config").epochs[-1]
    assert figures["val_r2" if numbers else "val_accuracy"] > 0.8, figures
    (here / "gap.csv").write_text("colour,a,b,c\nred,2,-2,0\nblue,-2,,0\n")
    with pytest.warns(RuntimeWarning, match="1 values are missing"):
        code, out, err = call(capsys, "predict", "runs/config", "gap.csv")
    assert code == 1 and "gap.csv:3: b is missing or not finite" in err and not out
    (here / "new.csv").write_text("colour,a,b,c\nred,2,-2,0\nblue,-2,2,0\n")
    code, out, err = call(capsys, "predict", "runs/config", "new.csv")
    assert code == 0, err
    answers = [line.split("\t") for line in out.splitlines()]
    assert answers[0][0] == "new.csv:2"
    if numbers:
        assert float(answers[0][1]) > 4 and float(answers[1][1]) < -3
    else:
        assert [answer[1] for answer in answers] == ["yes", "no"]


def test_a_run_that_is_there_is_not_mixed_with_another(pictures, here, capsys):
    call(capsys, "train", pictures, "--train.epochs", "2")
    code, _, err = call(capsys, "train", pictures)
    assert code == 1 and "runs/config is there already: --resume goes on with it, --overwrite begins it anew" in err
    code, _, err = call(capsys, "train", pictures, "--resume", "--train.lr", "0.5")
    assert code == 1 and "was begun with other settings: train.lr" in err
    code, _, _ = call(capsys, "resume", "runs/config", "--train.epochs", "3")
    assert code == 0 and [row["epoch"] for row in RunFolder("runs/config").epochs] == [1, 2, 3]
    whole = (here / "runs" / "config" / "model.safetensors").read_bytes()
    code, _, _ = call(capsys, "train", pictures, "--overwrite", "--train.epochs", "3")
    assert code == 0 and (here / "runs" / "config" / "model.safetensors").read_bytes() == whole
    (here / "pictures" / "above" / "00.png").unlink()
    kept = (here / "runs" / "config" / "model.safetensors").read_bytes()
    code, _, err = call(capsys, "train", pictures, "--overwrite", "--train.loss", "hinged")
    assert code == 1 and (here / "runs" / "config" / "model.safetensors").read_bytes() == kept
    code, _, err = call(capsys, "train", pictures, "--overwrite", "--train.loss", "mse")
    assert code == 1 and "mse_loss: " in err and (here / "runs" / "config" / "model.safetensors").read_bytes() == kept
    code, _, err = call(capsys, "eval", "runs/config")
    assert code == 1 and "the data have changed since the training" in err
    (here / "other").mkdir()
    (here / "other" / "precious").write_text("x")
    code, _, err = call(capsys, "train", pictures, "--overwrite", "--runs", ".", "--name", "other")
    assert code == 1 and "no folder of a run: it is not overwritten" in err and (here / "other" / "precious").exists()


def test_two_processes_do_not_train_in_one_folder(pictures, here, capsys):
    with RunFolder("runs/config").held():
        code, _, err = call(capsys, "train", pictures, "--overwrite")
        assert code == 1 and "runs/config: another process is training there" in err
        assert not (here / "runs" / "config").exists()
    assert call(capsys, "train", pictures, "--train.epochs", "1")[0] == 0
    with RunFolder("runs/config").held():
        assert call(capsys, "resume", "runs/config", "--train.epochs", "2")[0] == 1
    assert call(capsys, "resume", "runs/config", "--train.epochs", "2")[0] == 0


def test_a_killed_training_goes_on(pictures, here, capsys):
    options = ["--train.epochs", "400", "--train.save_every", "20"]
    process = subprocess.Popen([sys.executable, "-m", "dlcore", "train", pictures, *options], stdout=subprocess.DEVNULL)
    while not list((here / "runs").glob("config/checkpoints/step*")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    code, _, err = call(capsys, "eval", "runs/config")
    assert code == 1 and "has no model yet: its training has not ended (dlcore resume runs/config)" in err
    assert "unfinished" in call(capsys, "runs")[1]
    assert call(capsys, "resume", "runs/config")[0] == 0
    assert len(RunFolder("runs/config").epochs) == 400
    killed = (here / "runs" / "config" / "model.safetensors").read_bytes()
    call(capsys, "train", pictures, *options, "--name", "whole")
    assert killed == (here / "runs" / "whole" / "model.safetensors").read_bytes()


def test_wrong_settings_are_named(pictures, here, capsys):
    for text, message in [
        ("[train]\nepoch = 3", "train has no epoch; did you mean 'epochs'?"),
        ("[trian]\nepochs = 3", "Config has no trian; did you mean 'train'?"),
        ('[train]\nepochs = "3"', "train.epochs is '3', not int"),
        ("[train", "Expected ']'"),
        ("name = '../x'", "name '../x' is none for a folder"),
    ]:
        (here / "bad.toml").write_text(text)
        code, _, err = call(capsys, "train", "bad.toml")
        assert code == 1 and message in err, err
    for data, message in [
        ("", "data: one of folder, file and name is needed, not none"),
        ('folder = "nothing"', "nothing"),
        ('folder = "pictures"\nsplit = [0.5, 0.5]', "data.split has 2 parts; 3 are needed"),
        ('name = "digits"\nskip_bad = true', "skip_bad, size and target are for files"),
    ]:
        code, _, err = call(capsys, "train", write(here, data))
        assert code == 1 and message in err, err
        assert not (here / "runs").exists(), "nothing is begun"
    for train, message in [
        ('optimizer = "admw"', "did you mean"), ('schedule = "cosin"', "did you mean 'cosine'"),
        ('loss = "hinged"', "fit: loss 'hinged'"), ("batch_size = 0", "batch_size is 0"),
    ]:  # fmt: skip
        code, _, err = call(capsys, "train", write(here, 'folder = "pictures"', train))
        assert code == 1 and message in err, err
        assert not (here / "runs").exists(), "nothing is begun"
    code, _, err = call(capsys, "train", pictures, "--train.epoch", "3", "--overwrite")
    assert code == 2 and "--train.epochs" in err
    assert call(capsys, "train")[0] == 2 and call(capsys, "data", "show")[0] == 2 and call(capsys, "resume")[0] == 2
    assert "no folder of a run" in call(capsys, "eval", "pictures")[2]


def test_settings_are_the_same_in_python(pictures, capsys):
    config = read_config(here_path(pictures))
    assert isinstance(config, Config) and config.name == "config"
    history = dl.runs.train(config)
    assert history.recorded and len(history) == 4


def here_path(text):
    from pathlib import Path

    return Path(text)


@pytest.mark.parametrize(("kind", "count"), [("linear", 64 * 10 + 10), ("mlp", 64 * 32 + 32 + 32 * 10 + 10)])
def test_models_have_as_many_parameters_as_they_should(kind, count):
    made = models.kinds.get(kind, "kind")((8, 8), 10, *([] if kind == "linear" else [(32,)]))
    assert sum(p.size for p in made.parameters()) == count
    assert made(dl.zeros(3, 8, 8)).shape == (3, 10)


def test_networks_for_pictures_are_trained_by_their_names(pictures, capsys):
    settings = "--model.kind", "cnn", "--data.size", "12", "--train.epochs", "3"
    assert call(capsys, "train", pictures, "--name", "conv", *settings)[0] == 0
    code, out, _ = call(capsys, "eval", "runs/conv")
    assert code == 0 and "accuracy  1.0000" in out
    code, _, err = call(capsys, "train", pictures, "--name", "other", "--model.kind", "lenet5")
    assert code == 1 and "LeNet5: size (6, 5) is not a height and a width of at least 12" in err


def test_wrong_models_are_refused():
    for arguments, text in [
        (((8, 8), 10, (0,)), "layers of .* units"), ((8, 0), "outputs is 0"), ((8, 2, 4, "swish"), "is not the name"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=text):
            models.MLP(*arguments)


def test_export_of_a_run(pictures, here, capsys):
    ort = pytest.importorskip("onnxruntime")
    assert call(capsys, "train", pictures, "--train.epochs", "1")[0] == 0
    assert json.loads(RunFolder("runs/config").data_path.read_text())["dtype"] == "uint8"
    code, out, _ = call(capsys, "export", "runs/config", "--onnx", "bars.onnx", "--c", "bars.c")
    assert code == 0 and "bars.onnx: " in out and "differ by" in out and "-DDLCORE_MAIN -o bars bars.c -lm" in out
    images = np.stack([np.asarray(PIL.open(p)) for p in sorted((here / "pictures" / "above").glob("*.png"))[:5]])
    theirs = ort.InferenceSession("bars.onnx").run(None, {"input": images})[0]
    np.testing.assert_allclose(theirs, dl.predict(RunFolder("runs/config").model(), images), atol=1e-5)
    assert "void bars_predict(const uint8_t *input, float *output)" in (here / "bars.c").read_text()
    code, _, err = call(capsys, "export", "runs/config")
    assert code == 2 and "--onnx FILE, --c FILE or both" in err
    code, _, err = call(capsys, "export", "runs/config", "--c", "no/bars.c")
    assert code == 1 and "there is no folder no" in err
    code, _, err = call(capsys, "export", "runs/other", "--c", "bars.c")
    assert code == 1 and "is no folder of a run" in err
