"""Files and folders as data: pictures, tables, sound, text, NumPy's files, downloads; and what is wrong with them."""

import hashlib
import http.server
import struct
import threading
import tracemalloc
import wave
from pathlib import Path

import numpy as np
import pytest

import dlcore as dl
from dlcore import nn, optim
from dlcore.data import (
    ByteTokenizer,
    CharTokenizer,
    DataLoader,
    Normalize,
    OneHot,
    Standardize,
    Subset,
    TextWindows,
    Vocabulary,
    audio_folder,
    describe,
    image_folder,
    k_fold,
    load_dataset,
    log_mel,
    mel_filters,
    mfcc,
    picture_grid,
    random_split,
    read_csv,
    read_image,
    read_images,
    read_numpy,
    read_parquet,
    read_text,
    read_wav,
    table,
)
from dlcore.data.files import data_path
from dlcore.data.transforms import from_config, to_config


def found(name):
    """The folder of a real data set, or a skip."""
    try:
        return data_path(name)
    except FileNotFoundError:
        pytest.skip(f"{name} is not here: set DLCORE_DATA")


# ---- pictures -------------------------------------------------------------------------------------------------------


@pytest.fixture
def pictures(tmp_path):
    """Two classes of grey pictures of 4 x 6 pixels; returns the folder and the pixels by name."""
    image = pytest.importorskip("PIL.Image")
    pixels = {}
    for k, name in enumerate(("cat/1.png", "cat/2.png", "dog/1.png", "dog/more/2.bmp", "dog/3.PNG")):
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels[name] = np.random.default_rng(k).integers(0, 256, (4, 6)).astype(np.uint8)
        image.fromarray(pixels[name]).save(path)
    (tmp_path / "pictures" / "dog" / ".hidden.png").write_bytes(b"none")
    (tmp_path / "pictures" / "dog" / "notes.txt").write_bytes(b"none")
    return tmp_path / "pictures", pixels


def save(path, array, **options):
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


@pytest.mark.parametrize("lazy", [False, True])
def test_a_folder_of_pictures(pictures, lazy):
    folder, pixels = pictures
    data = image_folder(folder, lazy=lazy)
    names = [str(path.relative_to(folder)) for path in data.paths]
    assert names == ["cat/1.png", "cat/2.png", "dog/1.png", "dog/3.PNG", "dog/more/2.bmp"]
    assert data.classes == ("cat", "dog") and [int(data[k][1]) for k in range(5)] == [0, 0, 1, 1, 1]
    for k, name in enumerate(names):
        np.testing.assert_array_equal(data[k][0], pixels[name])
    ((x, y),) = DataLoader(data, 5)
    np.testing.assert_array_equal(np.asarray(x), np.stack([pixels[name] for name in names]) * np.float32(1 / 255))
    assert x.dtype is dl.float32 and y.tolist() == [0, 0, 1, 1, 1]
    train, test = random_split(data, [0.6, 0.4], stratify=True, equal=False)
    assert len(train) == 3 and describe(test).classes == {"cat": 1, "dog": 1} and train.classes == ("cat", "dog")
    both = load_dataset(folder, lazy=lazy, classes=["dog", "cat"])
    assert both.classes == ("dog", "cat") and [int(both[k][1]) for k in range(5)] == [0, 0, 0, 1, 1]
    assert describe(data).classes == {"cat": 2, "dog": 3}


@pytest.mark.parametrize("lazy", [False, True])
def test_a_model_of_pictures_predicts_bytes_and_floats_alike(pictures, lazy, tmp_path):
    folder, _ = pictures
    data = image_folder(folder, size=4, lazy=lazy)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    normalize = Normalize.of(data)
    dl.fit(model, data, validation=data, loss=dl.cross_entropy, optimizer=optimizer, epochs=2, transform=normalize)
    dl.save(model, tmp_path / "m")
    again = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    dl.load(again, tmp_path / "m")
    images = read_images(data.paths, size=4)
    want = np.asarray(model(dl.tensor(normalize(images * np.float32(1 / 255)))).detach())
    for given in (data, images, images * np.float32(1 / 255), list(images)):
        np.testing.assert_allclose(np.asarray(dl.predict(again, given)), want, rtol=1e-5, atol=1e-6)


def test_numbers_as_names_of_classes_are_in_their_order(tmp_path):
    pytest.importorskip("PIL")
    for name in ("10", "9", "2"):
        save(tmp_path / name / "a.png", np.zeros((2, 2), np.uint8))
    assert image_folder(tmp_path).classes == ("2", "9", "10")


def test_colour_depth_turning_and_size(tmp_path):
    image = pytest.importorskip("PIL.Image")
    rgb = np.random.default_rng(0).integers(0, 256, (4, 6, 3)).astype(np.uint8)
    save(tmp_path / "rgb.png", rgb)
    np.testing.assert_array_equal(read_image(tmp_path / "rgb.png"), rgb.transpose(2, 0, 1))
    assert read_image(tmp_path / "rgb.png", colour=False).shape == (4, 6)
    grey = np.arange(24, dtype=np.uint8).reshape(4, 6)
    save(tmp_path / "grey.png", grey)
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png", colour=True), np.broadcast_to(grey, (3, 4, 6)))
    np.testing.assert_array_equal(read_images([tmp_path / "grey.png", tmp_path / "rgb.png"])[0], [grey] * 3)
    deep = np.array([[0, 257, 65535], [128, 129, 32896]], np.uint16)
    save(tmp_path / "deep.png", deep)
    assert read_image(tmp_path / "deep.png").tolist() == [[0, 1, 255], [0, 1, 128]]
    turned = image.Exif()
    turned[0x0112] = 6  # the camera was held upright
    save(tmp_path / "turned.png", grey, exif=turned)
    np.testing.assert_array_equal(read_image(tmp_path / "turned.png"), np.rot90(grey, -1))
    assert read_image(tmp_path / "grey.png", size=(2, 3)).shape == (2, 3)
    wide = np.zeros((4, 12), np.uint8)
    wide[:, 4:8] = 200
    save(tmp_path / "wide.png", wide)
    assert (read_image(tmp_path / "wide.png", size=4, crop=True) == 200).all()
    assert not (read_image(tmp_path / "wide.png", size=4) == 200).all()
    image.fromarray(np.zeros((2, 2), np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(ValueError, match=r"float\.tif: its pixels are floating-point"):
        read_image(tmp_path / "float.tif")


@pytest.mark.parametrize("lazy", [False, True])
def test_bad_pictures_are_named_or_left_out(pictures, lazy):
    folder, _ = pictures
    (folder / "cat" / "broken.png").write_bytes(b"not a picture")
    with pytest.raises(ValueError, match=r"image_folder: .*broken\.png: not a picture that Pillow can read; skip_bad"):
        image_folder(folder, lazy=lazy)
    with pytest.warns(RuntimeWarning, match=r"1 of 6 pictures are left out: .*broken\.png") as caught:
        data = image_folder(folder, lazy=lazy, skip_bad=True)
    assert caught[0].filename == __file__
    assert len(data) == 5 and [path.name for path, _ in data.skipped] == ["broken.png"]
    with pytest.warns(RuntimeWarning, match="1 of 6 pictures") as caught:
        load_dataset(folder, lazy=lazy, skip_bad=True)
    assert caught[0].filename == __file__
    assert describe(data).skipped == 1
    (folder / "cat" / "broken.png").unlink()
    save(folder / "dog" / "wide.png", np.zeros((4, 9), np.uint8))
    with pytest.raises(ValueError, match=r"wide\.png: 4 x 9 pixels, where most have 4 x 6; give a size"):
        image_folder(folder, lazy=lazy)
    with pytest.warns(RuntimeWarning, match="wide"):
        assert len(image_folder(folder, lazy=lazy, skip_bad=True)) == 5
    assert len(image_folder(folder, size=3, lazy=lazy)) == 6


def test_a_truncated_picture_is_an_error_when_it_is_read(pictures):
    folder, _ = pictures
    big = np.random.default_rng(0).integers(0, 256, (4, 6)).astype(np.uint8)
    save(folder / "dog" / "z.png", big)
    raw = (folder / "dog" / "z.png").read_bytes()
    (folder / "dog" / "z.png").write_bytes(raw[:-30])
    with pytest.raises(ValueError, match=r"z\.png: "):
        image_folder(folder)
    lazy = image_folder(folder, lazy=True)
    with pytest.raises(ValueError, match=r"z\.png: "):
        list(DataLoader(lazy, 2))


def test_folders_that_are_no_classes(tmp_path, pictures):
    folder, _ = pictures
    with pytest.raises(FileNotFoundError, match="nowhere"):
        image_folder(tmp_path / "nowhere")
    with pytest.raises(NotADirectoryError):
        image_folder(folder / "cat" / "1.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty: one folder for each class expected; it is empty"):
        image_folder(tmp_path / "empty")
    with pytest.raises(ValueError, match="2 pictures lie in it, and no folder"):
        image_folder(folder / "cat")
    (folder / "bird").mkdir()
    with pytest.raises(ValueError, match="bird: there are no pictures"):
        image_folder(folder)
    with pytest.raises(ValueError, match="has one class, 'dog'; give"):
        (tmp_path / "one").mkdir()
        (folder / "dog").rename(tmp_path / "one" / "dog")
        image_folder(tmp_path / "one")
    assert len(image_folder(tmp_path / "one", classes=["dog"])) == 3
    with pytest.raises(ValueError, match="has no folder 'fish'; it has dog"):
        image_folder(tmp_path / "one", classes=["fish"])
    (tmp_path / "one").rename(tmp_path / "train")
    (tmp_path / "splits").mkdir()
    (tmp_path / "train").rename(tmp_path / "splits" / "train")
    with pytest.raises(ValueError, match="has the splits train, not classes"):
        load_dataset(tmp_path / "splits")
    assert load_dataset(tmp_path / "splits", split="train", classes=["dog"]).classes == ("dog",)
    with pytest.raises(ValueError, match="has no folder 'test'"):
        load_dataset(tmp_path / "splits", split="test")
    with pytest.raises(ValueError, match="size is"):
        image_folder(folder, size=(0, 3))


# ---- tables ---------------------------------------------------------------------------------------------------------

HOUSES = """rooms,town,price,sold
3,Bonn,2.5,yes
4,Ulm,4.0,no
2,Bonn,1.5,yes

5,"Ulm, old town",6,no
"""


def written(tmp_path, text, name="houses.csv"):
    (tmp_path / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return tmp_path / name


def test_a_csv_file(tmp_path):
    data = read_csv(written(tmp_path, HOUSES), "sold")
    assert data.columns == ("rooms", "town", "price") and data.classes == ("no", "yes") and data.target == "sold"
    assert data.categories == {"town": ("Bonn", "Ulm", "Ulm, old town")} and data.numeric == [0, 2]
    assert data.arrays[0].tolist() == [[3, 0, 2.5], [4, 1, 4], [2, 0, 1.5], [5, 2, 6]]
    assert data.arrays[1].tolist() == [1, 0, 1, 0] and data.arrays[1].dtype == np.int64
    price = load_dataset(tmp_path / "houses.csv", target="price", features=["rooms"])
    assert price.arrays[0].tolist() == [[3], [4], [2], [5]] and price.arrays[1].tolist() == [2.5, 4, 1.5, 6]
    both = read_csv(tmp_path / "houses.csv", ["price", "rooms"])
    assert both.columns == ("town", "sold") and both.arrays[1].tolist() == [[2.5, 3], [4, 4], [1.5, 2], [6, 5]]
    assert read_csv(tmp_path / "houses.csv", "rooms").arrays[1].dtype == np.int64
    assert read_csv(tmp_path / "houses.csv", "sold", categorical=["rooms"]).categories["rooms"] == ("2", "3", "4", "5")
    assert len(read_csv(tmp_path / "houses.csv").arrays) == 1


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("a;b\r\n1,5;2\r\n-3,25;4\r\n", {"decimal": ","}),
        ("\ufeffa\tb\n1.5\t2\n-3.25\t4", {}),
        ("1.5|2\n-3.25|4\n", {"header": False}),
        ("a,b\n 1.5 , 2\n-325e-2,4\n", {}),
    ],
)
def test_csv_dialects(tmp_path, text, options):
    data = read_csv(written(tmp_path, text), **options)
    assert data.arrays[0].tolist() == [[1.5, 2], [-3.25, 4]]
    assert data.columns == (("0", "1") if "header" in options else ("a", "b"))


@pytest.mark.parametrize(
    ("text", "options", "error"),
    [
        ("a,b\n1,2\n3\n", {}, "line 3: 1 cells, where there are 2 columns; skip_bad=True"),
        ("a,b\n1,2\n3,4\n\n5,x\n", {}, "line 5: column 'b' holds 'x', where 2 of 3 are numbers"),
        ("a,b\n1,2\n3,\n", {"target": "b"}, "line 3: the target 'b' is missing"),
        ("a,b\n1,x\n3,\n", {"target": "b"}, "line 3: the target 'b' is missing"),
        ("a;b\n1,5;2\n2,5;3\n", {}, "line 2: column 'a' holds '1,5'; give decimal=\",\" if"),
        ("1,2\n3,4\n", {}, "line 1: the names of the columns are numbers; header=False"),
        ("a,a\n1,2\n", {}, "there are two columns 'a'"),
        ("prize,b\n1,2\n", {"target": "price"}, "there is no column 'price'; did you mean 'prize'"),
        ("a,b\n1,2\n", {"target": "a", "features": ["a"]}, "'a' is a feature and the target"),
        ("a\n1\n", {"target": "a"}, "no columns besides the target"),
        ("", {}, "houses.csv is empty"),
        ("a,b\n", {}, "there are no rows"),
        (b"a,b\n1,2\n\xe9,3\n", {}, "line 3: byte 0xe9 at 8 is not UTF-8"),
        ("a,b\n1,\0\n", {}, "line 2 holds a null character"),
        ("a,b\n1,2\n", {"delimiter": ",,"}, "delimiter"),
        ("a,b\n1,2\n", {"decimal": ";"}, "decimal"),
    ],
)
def test_bad_tables_are_named_with_file_and_line(tmp_path, text, options, error):
    with pytest.raises(ValueError, match=error):
        read_csv(written(tmp_path, text), **options)


def test_names_of_columns_are_texts(tmp_path):
    path = written(tmp_path, HOUSES)
    for argument, value in {"target": 3, "features": "rooms", "categorical": [1]}.items():
        with pytest.raises(TypeError, match=f"read_csv: {argument} .* is not a list of names of columns"):
            read_csv(path, **{argument: value})
    with pytest.raises(TypeError, match="read_csv: like 3 is not a TableDataset"):
        read_csv(path, like=3)


def test_what_else_is_in_csv_files(tmp_path):
    data = read_csv(written(tmp_path, 'a,y\n"x\ny",1\nu\x0cv,2\nw\u2028,3\n'), "y")
    assert data.categories == {"a": ("u\x0cv", "w", "x\ny")} and data.arrays[1].tolist() == [1, 2, 3]
    with pytest.warns(RuntimeWarning, match=r"houses\.csv: columns without a name are left out"):
        assert read_csv(written(tmp_path, ",a,y\n0,5,1\n1,6,0\n"), "y").columns == ("a",)
    assert read_csv(written(tmp_path, "a,b,\n1,2,\n3,4,\n")).columns == ("a", "b")
    with pytest.warns(RuntimeWarning, match=r"1 values are missing or not finite, in a \(1\)"):
        assert np.isnan(read_csv(written(tmp_path, "a,y\ninf,1\n2,2\n"), "y").arrays[0][0, 0])
    with pytest.warns(RuntimeWarning, match="the target 'y' has one class alone, 'x'"):
        read_csv(written(tmp_path, "a,y\n1,x\n2,x\n"), "y")
    exact = read_csv(written(tmp_path, "a,y\n1,9007199254740993\n2,0\n"), "y")
    assert exact.arrays[1].tolist() == [9007199254740993, 0]
    assert read_csv(written(tmp_path, "a,y\n1,1.0\n2,0.0\n"), "y").arrays[1].dtype == np.float64
    with pytest.raises(ValueError, match="load_dataset: name is empty"):
        load_dataset("")


def test_bad_rows_are_left_out_and_counted(tmp_path):
    path = written(tmp_path, "a,b\n1,2\n3\n5,6\nx,7\n8,\n")
    with pytest.warns(RuntimeWarning, match="3 of 5 rows are left out: line 3: 1 cells.*; line 5: column 'a'"):
        data = read_csv(path, "b", skip_bad=True)
    assert data.arrays[0].tolist() == [[1], [5]] and data.arrays[1].tolist() == [2, 6]


def test_missing_values_are_told_once_and_filled_by_standardize(tmp_path):
    path = written(tmp_path, "a,b,town,y\n1,2,Ulm,0\n,4,?,1\n3,NA,Ulm,0\n5,6,Bonn,1\n")
    text = r"3 values are missing or not finite, in a \(1\), b \(1\), town \(1\)"
    with pytest.warns(RuntimeWarning, match=text) as told:
        data = read_csv(path, "y")
    assert len(told) == 1 and told[0].filename == __file__
    assert np.isnan(data.arrays[0]).sum() == 3 and data.categories == {"town": ("Bonn", "Ulm")}
    with pytest.raises(ValueError, match=r"Standardize.of: the data contain NaN or infinity: 2 values in 2 of 4"):
        Standardize.of(data)
    standardize = Standardize.of(data, fill=True)
    np.testing.assert_allclose(standardize.mean, [3, 4, 0])
    made = dl.data.Compose(standardize, OneHot.of(data))(data.arrays[0])
    np.testing.assert_allclose(made.mean(0), [0, 0, 0.25, 0.5], atol=1e-12)
    assert made[1, 0] == 0 and made[1, 2:].tolist() == [0, 0] and made[3, 2:].tolist() == [1, 0]


def test_a_test_table_gets_the_numbers_of_the_training_table(tmp_path):
    train = read_csv(written(tmp_path, HOUSES), "sold")
    text = "town,sold,price,rooms\nUlm,yes,1,1\nKiel,no,2,2\n"
    with pytest.warns(RuntimeWarning) as told:
        test = read_csv(written(tmp_path, text, "test.csv"), like=train)
    assert "count as missing: town (Kiel)" in str(told[0].message)
    assert test.columns == train.columns and test.arrays[0][0].tolist() == [1, 1, 1]
    assert test.arrays[1].tolist() == [1, 0] and test.classes == train.classes
    with pytest.raises(ValueError, match="line 2: 'sold' is 'maybe', which is no class"):
        read_csv(written(tmp_path, "rooms,town,price,sold\n1,Ulm,2,maybe\n", "bad.csv"), like=train)
    unlabelled = read_csv(written(tmp_path, "rooms,town,price\n1,Ulm,2\n", "new.csv"), like=train)
    assert unlabelled.arrays[0].tolist() == [[1, 1, 2]] and len(unlabelled.arrays) == 1


def test_frames_are_data():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1, 2, 3], "b": [0.5, None, 2.5], "y": [0, 1, 0]})
    features, labels = frame[["a", "b"]], frame["y"]
    (part, other) = random_split((features, labels), [2, 1])
    assert part[0][0].shape == (2,) and len(other) == 1
    np.testing.assert_allclose(Normalize.of(frame[["a", "y"]]).mean, [2, 1 / 3])
    model = nn.Linear(2, 2)
    optimizer = optim.SGD(model.parameters())
    dl.fit(model, (features.fillna(0), labels), loss=dl.cross_entropy, optimizer=optimizer, epochs=1)
    assert dl.predict(model, features.fillna(0)).shape == (3, 2)
    assert [x.shape for (x,) in DataLoader(frame, 2)] == [(2, 3), (1, 3)]
    with pytest.raises(ValueError, match=r"fit: train has inputs but no targets.*give \(frame.drop"):
        dl.fit(model, frame, loss=dl.cross_entropy, optimizer=optim.SGD(model.parameters()))
    with pytest.raises(TypeError, match="predict: inputs: column 'town': the array holds texts, not integers"):
        dl.predict(model, pandas.DataFrame({"a": [1.0], "town": ["Ulm"]}))
    nullable = pandas.DataFrame({"a": pandas.array([1, None, 3], dtype="Int64"), "t": ["x", None, "y"], "y": [1, 2, 3]})
    with pytest.warns(RuntimeWarning, match=r"table: 2 values are missing"):
        data = table(nullable, "y")
    assert data.categories == {"t": ("x", "y")} and np.isnan(data.arrays[0][1]).all()
    with pytest.raises(TypeError, match="column 'when' holds dates"):
        table(pandas.DataFrame({"when": pandas.to_datetime(["2020-01-01"]), "y": [1]}), "y")


def test_a_parquet_file(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    columns = {"rooms": [3, 4, 2], "town": ["Bonn", "Ulm", "Bonn"], "price": [2.5, 4.0, 1.5]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "x.parquet")
    want = table(columns, "price")
    for data in (read_parquet(tmp_path / "x.parquet", "price"), table(pyarrow.table(columns), "price"),
                 load_dataset(tmp_path / "x.parquet", target="price")):  # fmt: skip
        assert data.categories == want.categories and data.columns == want.columns
        assert all((a == b).all() for a, b in zip(data.arrays, want.arrays, strict=True))
    raw = (tmp_path / "x.parquet").read_bytes()
    (tmp_path / "x.parquet").write_bytes(raw[:-20])
    with pytest.raises(ValueError, match=r"read_parquet: .*x\.parquet: damaged, or not a Parquet file"):
        read_parquet(tmp_path / "x.parquet", "price")


def test_missing_packages_are_named(tmp_path, monkeypatch):
    import builtins

    real = builtins.__import__

    def without(name, *rest, **named):
        if name.partition(".")[0] in ("pyarrow", "PIL", "matplotlib"):
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r'read_parquet needs pyarrow: pip install "dlcore\[tables\]"'):
        read_parquet(tmp_path / "x.parquet")
    with pytest.raises(ImportError, match=r'image_folder needs Pillow: pip install "dlcore\[images\]"'):
        image_folder(tmp_path)
    with pytest.raises(ImportError, match=r'picture_grid needs matplotlib: pip install "dlcore\[plot\]"'):
        picture_grid(np.zeros((3, 2, 2)))


# ---- fitted preprocessing -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(50, 3), (50, 4, 5)])
def test_standardize_is_by_position(shape):
    x = np.random.default_rng(0).normal(3.0, 2.0, shape)
    x[:, 0] = 7.0
    s = Standardize.of(x)
    np.testing.assert_allclose(s.mean, x.mean(0), rtol=1e-12)
    want = (x - x.mean(0)) / np.where(x.std(0) == 0, 1, x.std(0))
    np.testing.assert_allclose(s(x), want, atol=1e-12)
    np.testing.assert_allclose(np.asarray(s(dl.tensor(x.astype(np.float32)))), want, atol=1e-5)
    with pytest.raises(dl.ShapeError, match="Standardize: a batch of shape"):
        s(x[:, :2])


def test_standardize_only_some_columns():
    x = np.random.default_rng(0).normal(3.0, 2.0, (50, 3))
    s = Standardize.of(x, columns=[0, 2])
    np.testing.assert_array_equal(s(x)[:, 1], x[:, 1])
    np.testing.assert_allclose(s(x)[:, [0, 2]].mean(0), 0, atol=1e-12)
    data = table({"a": x[:, 0], "b": x[:, 1], "y": np.arange(50)}, "y")
    np.testing.assert_allclose(Standardize.of(data, columns=["b"]).mean, [0, x[:, 1].mean()])
    with pytest.raises(ValueError, match=r"Standardize.of: there is no column 'c'; there are a, b"):
        Standardize.of(data, columns=["c"])
    with pytest.raises(ValueError, match=r"contain NaN or infinity: 1 values in 1 of 2 samples"):
        Standardize.of(np.array([[1.0], [np.inf]]), fill=True)


def test_one_hot():
    x = np.array([[1.0, 3.0], [2.0, 5.0], [3.0, 3.0]])
    hot = OneHot.of(x, columns=[1])
    assert hot(x).tolist() == [[1, 1, 0], [2, 0, 1], [3, 1, 0]] and hot(np.array([[0.0, 9.0]])).tolist() == [[0, 0, 0]]
    assert OneHot({0: [1, 2]})(np.array([[1, 7], [2, 8]])).tolist() == [[1, 0, 7], [0, 1, 8]]
    assert OneHot({0: [1, 2]})(np.array([[2]])).dtype == np.float32
    with pytest.raises(ValueError, match=r"OneHot.of: the data set has no columns of texts"):
        OneHot.of(x)
    with pytest.raises(dl.ShapeError, match=r"OneHot: a batch of shape \(2,\) has no column 1"):
        hot(np.array([1.0, 2.0]))
    with pytest.raises(ValueError, match="not a list of different numbers"):
        OneHot({0: [1, 1]})


def test_fitted_preprocessing_is_saved_with_the_model_and_recorded(tmp_path):
    rng = np.random.default_rng(0)
    towns = rng.choice(["Bonn", "Ulm", "Kiel"], 90)
    rooms = rng.normal(1000, 5, 90)
    data = table({"rooms": rooms, "town": towns, "y": (towns == "Ulm").astype(int)}, "y")
    steps = dl.data.Compose(Standardize.of(data), OneHot.of(data))
    model = nn.Linear(4, 2)
    history = dl.fit(model, data, validation=data, loss=dl.cross_entropy, transform=steps, metrics=["accuracy"],
                     optimizer=optim.Adam(model.parameters(), lr=0.1), epochs=10)  # fmt: skip
    assert history.recorded and history["val_accuracy"][-1] == 1.0
    dl.save(model, tmp_path / "m")
    again = nn.Linear(4, 2)
    dl.load(again, tmp_path / "m")
    np.testing.assert_array_equal(np.asarray(dl.predict(again, data)), np.asarray(dl.predict(model, data.arrays[0])))


@pytest.mark.parametrize(
    "transform",
    [
        dl.data.ScaleBytes(),
        dl.data.Compose(),
        dl.data.Compose(dl.data.ScaleBytes(), Normalize([0.1, 0.2], [3.0, 4.0])),
        Standardize([[1.0, 2.0]], [[3.0, 0.1]], fill=True),
        OneHot({3: [0.0, 2.5], 0: [1.0]}),
        Vocabulary(["a", "béta"], unknown="a"),
        CharTokenizer("añ\n"),
        ByteTokenizer(),
    ],
    ids=lambda t: repr(t),
)
def test_transforms_are_described_and_made_again(transform):
    text = to_config(transform)
    again = from_config(text)
    assert type(again) is type(transform) and to_config(again) == text and repr(again) == repr(transform)


def test_what_cannot_be_described_is_not(tmp_path):
    assert to_config(dl.data.Compose(dl.data.ScaleBytes(), lambda x: x)) is None
    for text in ('{"name": "Compose", "steps": [{"name": "os.system"}]}', '{"name": "Compose", "steps": 3}',
                 '{"name": "OneHot", "columns": {"a": [1]}}', '{"name": "Standardize", "mean": [1], "std": [[1]]}',
                 '{"name": "Vocabulary", "tokens": ["a", "a"]}'):  # fmt: skip
        with pytest.raises(ValueError, match="not the description of a transform"):
            from_config(text)
    with pytest.raises(TypeError, match="register: the class int is not a class with the methods"):
        dl.data.register(int)

    class Normalize:
        def __call__(self, x):
            return x

        def config(self):
            return {}

    with pytest.raises(ValueError, match=r"Normalize is registered already, as dlcore\.data\.transforms\.Normalize"):
        dl.data.register(Normalize)


# ---- text -----------------------------------------------------------------------------------------------------------


def test_characters():
    text = "First Citizen:\nñ → 😀 !"
    tokenizer = CharTokenizer.of(text)
    numbers = tokenizer.encode(text)
    assert numbers.dtype == np.int64 and tokenizer.size == len(set(text)) == len(tokenizer)
    assert list(tokenizer.tokens) == sorted(set(text)) and tokenizer.decode(numbers) == text
    assert tokenizer.decode(dl.tensor(numbers)) == text and tokenizer.encode("").tolist() == []
    with pytest.raises(ValueError, match="CharTokenizer: character 'Z' at 2 is not in the vocabulary"):
        tokenizer.encode("FiZ")
    with pytest.raises(IndexError, match=r"CharTokenizer: 99 at 1 is no number of \d+ tokens"):
        tokenizer.decode([0, 99])
    open_ = CharTokenizer.of("abca", unknown="?")
    assert open_.decode(open_.encode("cabX")) == "cab?"
    with pytest.raises(ValueError, match="'ab' is not one character"):
        CharTokenizer(["ab"])


def test_words_and_bytes():
    words = Vocabulary.of(list("babcab"), least=2, unknown="<unk>")
    assert words.tokens == ("<unk>", "b", "a") and words.encode(["a", "c"]).tolist() == [2, 0]
    assert Vocabulary.of("abcab", size=2).tokens == ("a", "b")
    with pytest.raises(ValueError, match="Vocabulary: token 'z' at 1 is not in the vocabulary"):
        Vocabulary(["a"]).encode(iter(["a", "z"]))
    raw = ByteTokenizer()
    assert raw.decode(raw.encode("é→")) == "é→" and raw.size == 256 and raw.decode([195]) == "�"
    with pytest.raises(TypeError, match="not a vector of bytes"):
        raw.decode([256])


@pytest.mark.parametrize("dtype", ["int64", "uint8", "int32", "uint16"])
def test_windows_of_text_are_gathered_on_the_device(dtype):
    tokens = np.random.default_rng(0).integers(0, 50, 103).astype(dtype)
    windows = TextWindows(tokens, 8)
    assert len(windows) == 95
    x, y = windows[94]
    assert x.tolist() == tokens[94:102].tolist() and y.tolist() == tokens[95:103].tolist()
    assert windows[-1][0].tolist() == x.tolist()
    seen = []
    for x, y in DataLoader(windows, 10, shuffle=True, seed=3):
        assert x.shape[1:] == (8,) and x.dtype.name == ("int64" if dtype == "uint16" else dtype)
        for a, b in zip(np.asarray(x), np.asarray(y), strict=True):
            assert (a[1:] == b[:-1]).all()
            seen.append(tuple(a.tolist()))
    assert sorted(seen) == sorted(tuple(tokens[i : i + 8].tolist()) for i in range(95))
    for (x, y), (a, b) in zip(DataLoader(windows, 40), DataLoader(Subset(windows, np.arange(95)), 40), strict=True):
        assert x.tolist() == a.tolist() and y.tolist() == b.tolist()
    batches = dl.data.Batches(windows, shuffle=True)
    assert not batches.host
    step = dl.capture(lambda index: batches.fetch(index))
    for epoch in range(3):
        order = batches.order(epoch)
        for start in (0, 32):
            x, y = step(order[start : start + 32])
            want = [windows[i][0] for i in np.asarray(order)[start : start + 32]]
            np.testing.assert_array_equal(np.asarray(x), want)
    assert step.recordings == 1


def test_windows_that_cannot_be_are_refused(tmp_path):
    with pytest.raises(ValueError, match="TextWindows: 8 tokens have no window of 8 with one more after it"):
        TextWindows(np.arange(8), 8)
    with pytest.raises(TypeError, match="tokens are a vector of integers"):
        TextWindows(np.zeros(9), 8)
    with pytest.raises(TypeError, match=r"TextWindows: arrays: the array holds texts"):
        TextWindows(np.array(["a", "b"]), 1)
    np.save(tmp_path / "t.npy", np.arange(100, dtype=np.uint8))
    mapped = TextWindows(read_numpy(tmp_path / "t.npy", mmap=True), 4)
    ((x, y),) = DataLoader(mapped, 96)
    assert x.tolist() == [list(range(i, i + 4)) for i in range(96)] and y[0].tolist() == [1, 2, 3, 4]


def test_text_that_is_not_utf8_is_named(tmp_path):
    (tmp_path / "t.txt").write_bytes("a\r\nb\rñ\n".encode())
    assert read_text(tmp_path / "t.txt") == "a\nb\nñ\n"
    (tmp_path / "t.txt").write_bytes(b"one\ntwo\nthr\xe9e\n")
    with pytest.raises(ValueError, match=r"read_text: .*t\.txt: line 3: byte 0xe9 at 11 is not UTF-8"):
        read_text(tmp_path / "t.txt")
    with pytest.raises(ValueError, match="TextWindows makes a data set"):
        load_dataset(tmp_path / "t.txt")


def test_shakespeare():
    text = read_text(found("shakespeare/shakespeare.txt"))[:20_000]
    tokenizer = CharTokenizer.of(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(TextWindows(tokenizer.encode(text), 64)) == len(text) - 64


# ---- sound ----------------------------------------------------------------------------------------------------------


def riff(data, code=1, channels=1, rate=8000, bits=16, size=None, extra=b""):
    head = struct.pack("<HHIIHH", code, channels, rate, rate * channels * bits // 8, channels * bits // 8, bits)
    chunk = b"fmt " + struct.pack("<I", len(head)) + head
    if code == 0xFFFE:
        head += struct.pack("<HHIH", 22, bits, 0, 1) + bytes(14)
        chunk = b"fmt " + struct.pack("<I", len(head)) + head
    body = chunk + extra + b"data" + struct.pack("<I", len(data) if size is None else size) + data
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


def test_wav_files(tmp_path):
    with wave.open(str(tmp_path / "x.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(np.array([0, 16384, -32768, 32767], "<i2").tobytes())
    samples, rate = read_wav(tmp_path / "x.wav")
    assert rate == 8000 and samples.dtype == np.float32
    assert samples.tolist() == [0, 0.5, -1, np.float32(32767 / 32768)]


@pytest.mark.parametrize(
    ("raw", "want"),
    [
        (riff(np.array([0, 128, 255], np.uint8).tobytes(), bits=8), [-1, 0, 127 / 128]),
        (riff(bytes([0, 0, 64, 0, 0, 128]), bits=24), [0.5, -1]),
        (riff(np.array([2**30, -(2**31)], "<i4").tobytes(), bits=32), [0.5, -1]),
        (riff(np.array([0.25, -2.0], "<f4").tobytes(), code=3, bits=32), [0.25, -2]),
        (riff(np.array([0.25], "<f8").tobytes(), code=3, bits=64), [0.25]),
        (riff(np.array([1, 2, 3, 4], "<i2").tobytes(), channels=2), [[1 / 32768, 3 / 32768], [2 / 32768, 4 / 32768]]),
        (riff(np.array([16384], "<i2").tobytes(), code=0xFFFE), [0.5]),
        (riff(np.array([16384], "<i2").tobytes(), extra=b"LIST\3\0\0\0abc\0"), [0.5]),
        (riff(np.array([16384], "<i2").tobytes(), size=0xFFFFFFFF), [0.5]),
    ],
)
def test_wav_formats(tmp_path, raw, want):
    (tmp_path / "x.wav").write_bytes(raw)
    np.testing.assert_allclose(read_wav(tmp_path / "x.wav")[0], want, rtol=1e-7)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"", "not a WAV file"),
        (b"\x89PNG" + bytes(40), "not a WAV file"),
        (riff(bytes(10))[:-4], "cut short: 6 bytes of samples, but its head says 10"),
        (riff(bytes(10))[:30], "cut short"),
        (riff(bytes(3)), "3 bytes of samples are no multiple of 2"),
        (riff(bytes(4), code=7, bits=8), "format 7 with 8 bits"),
        (riff(bytes(4), channels=0), "0 channels"),
        (riff(np.array([np.nan], "<f4").tobytes(), code=3, bits=32), "1 samples are NaN"),
    ],
)
def test_damaged_wav_files_are_named(tmp_path, raw, text):
    (tmp_path / "x.wav").write_bytes(raw)
    with pytest.raises(ValueError, match=rf"read_wav: .*x\.wav: .*{text}"):
        read_wav(tmp_path / "x.wav")


@pytest.mark.parametrize(("window", "hop", "n"), [(200, 80, 4000), (256, 64, 1000), (200, 80, 200), (200, 80, 50)])
def test_spectrograms_are_those_of_scipy(window, hop, n):
    signal = pytest.importorskip("scipy.signal")
    fft = pytest.importorskip("scipy.fft")
    x = np.random.default_rng(0).standard_normal((2, n)).astype(np.float32)
    padded = np.pad(x, [(0, 0), (0, max(window - n, 0))]).astype(np.float64)
    stft = signal.ShortTimeFFT(signal.get_window("hann", window), hop, 8000, scale_to=None)
    count = 1 + (padded.shape[1] - window) // hop
    spectra = [np.fft.rfft(padded[:, t * hop : t * hop + window] * stft.win) for t in range(count)]
    power = np.abs(np.stack(spectra, 2)) ** 2
    want = np.log(np.maximum(np.einsum("mk,nkt->nmt", mel_filters(8000, window, mels=30), power), 1e-10))
    got = log_mel(x, 8000, window=window, hop=hop, mels=30)
    assert got.dtype == np.float32 and got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    cepstrum = fft.dct(want, type=2, norm="ortho", axis=1)[:, :13]
    np.testing.assert_allclose(mfcc(x, 8000, window=window, hop=hop, mels=30), cepstrum, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(log_mel(x[0], 8000, window=window, hop=hop, mels=30), got[0])


def test_mel_filters_are_triangles():
    filters = mel_filters(16000, 512, mels=20, low=100.0, high=6000.0)
    hertz = np.arange(257) * 16000 / 512
    assert filters.shape == (20, 257) and filters.min() == 0 and filters.max() <= 1
    mel = np.linspace(2595 * np.log10(1 + 100 / 700), 2595 * np.log10(1 + 6000 / 700), 22)
    corners = 700 * (10 ** (mel / 2595) - 1)
    for m in range(20):
        want = np.interp(hertz, corners[m : m + 3], [0, 1, 0])
        np.testing.assert_allclose(filters[m], want, atol=1e-12)
    with pytest.raises(ValueError, match=r"mel_filters: \d+ of 200 filters hold no frequency of a window of 200"):
        mel_filters(8000, 200, mels=200)
    with pytest.raises(ValueError, match="is no range below half of 8000"):
        log_mel(np.zeros(4000), 8000, high=5000.0)
    with pytest.raises(dl.ShapeError, match="mfcc: 50 coefficients of 40 bands"):
        mfcc(np.zeros(4000), 8000, coefficients=50)


def test_a_folder_of_sounds(tmp_path):
    rng = np.random.default_rng(0)
    for language in ("en", "fr"):
        (tmp_path / language).mkdir()
        for k in range(4):
            samples = rng.integers(-9000, 9000, 1000 + 200 * k).astype("<i2").tobytes()
            (tmp_path / language / f"prompt-{k}.wav").write_bytes(riff(samples))
    data = audio_folder(tmp_path)
    assert data.classes == ("en", "fr") and data.rate == 8000 and data.arrays[0].shape == (8, 40, 18)
    assert data.groups.tolist() == [f"prompt-{k}" for k in range(4)] * 2
    train, test = random_split(data, [0.5, 0.5], groups=True)
    assert set(train.groups).isdisjoint(test.groups) and len(train) == 4
    for part, other in k_fold(data, 2, groups=True):
        assert set(part.groups).isdisjoint(other.groups)
    short = audio_folder(tmp_path, "samples", seconds=0.1)
    assert short.arrays[0].shape == (8, 800) and audio_folder(tmp_path, "mfcc", coefficients=5).arrays[0].shape[1] == 5
    (tmp_path / "fr" / "broken.wav").write_bytes(b"RIFF")
    (tmp_path / "en" / "fast.wav").write_bytes(riff(bytes(2000), rate=16000))
    with pytest.raises(ValueError, match=r"audio_folder: .*fast\.wav: 16000 samples a second, where most have 8000"):
        audio_folder(tmp_path)
    with pytest.warns(RuntimeWarning, match=r"2 of 10 WAV files are left out: .*fast\.wav.*; .*broken\.wav: not a WAV"):
        assert len(audio_folder(tmp_path, skip_bad=True)) == 8
    with pytest.raises(TypeError, match="mels are not used for samples"):
        audio_folder(tmp_path, "samples", mels=3)


def test_spoken_language():
    data = load_dataset(found("spoken-language"), seconds=1.0, mels=20)
    assert len(data) == 740 and data.classes == ("en", "es", "fr", "it", "ru") and data.arrays[0].shape == (740, 20, 98)
    assert np.isfinite(data.arrays[0]).all()
    train, test = random_split(data, [0.8, 0.2], groups=True, seed=0)
    assert set(train.groups).isdisjoint(test.groups) and abs(len(test) - 148) <= 5
    assert [describe(test).classes[name] for name in data.classes] == [len(test) // 5] * 5


# ---- NumPy's files, mapped files ------------------------------------------------------------------------------------


def test_numpy_files(tmp_path):
    x, y = np.arange(12, dtype=np.float32).reshape(4, 3), np.arange(4)
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "both.npz", y=y, x=x)
    np.testing.assert_array_equal(read_numpy(tmp_path / "x.npy"), x)
    data = load_dataset(tmp_path / "both.npz")
    assert data.names == ("x", "y") and data[1][0].tolist() == [3, 4, 5]
    assert load_dataset(tmp_path / "x.npy").parts == 1
    np.save(tmp_path / "o.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"read_numpy: .*o\.npy: it holds Python objects"):
        read_numpy(tmp_path / "o.npy")
    (tmp_path / "x.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:-5])
    (tmp_path / "both.npz").write_bytes((tmp_path / "both.npz").read_bytes()[:-50])
    for name in ("x.npy", "both.npz"):
        with pytest.raises(ValueError, match=f"read_numpy: .*{name}"):
            read_numpy(tmp_path / name)
    head = np.lib.format.magic(1, 0) + struct.pack("<H", 118)
    text = b"{'descr': '<f8', 'fortran_order': False, 'shape': (9999999999999,), }"
    (tmp_path / "claims.npy").write_bytes(head + text.ljust(117) + b"\n" + bytes(80))
    with pytest.raises(ValueError, match=r"claims\.npy: damaged or cut short: 80 bytes, where shape"):
        read_numpy(tmp_path / "claims.npy")
    with pytest.raises(ValueError, match="cannot be mapped"):
        read_numpy(tmp_path / "both.npz", mmap=True)
    with pytest.raises(ValueError, match="files that end so are not read"):
        load_dataset(Path(__file__))


@pytest.mark.filterwarnings("ignore:fit. inputs have mean")
@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_mapped_arrays_are_not_read_as_a_whole(tmp_path, mode):
    n = 40_000
    np.save(tmp_path / "x.npy", np.broadcast_to(np.arange(n, dtype=np.float32)[:, None], (n, 256)))  # 41 MB
    x, y = np.load(tmp_path / "x.npy", mmap_mode=mode), np.arange(n)
    tracemalloc.start()
    loader = DataLoader((x, y), 64, shuffle=True, seed=1)
    assert loader.host
    for k, (a, b) in enumerate(loader):
        if k % 100 == 0:
            assert (np.asarray(a)[:, 7] == np.asarray(b)).all()
    train, _ = random_split((x, y), [0.9, 0.1])
    model = nn.Linear(256, 1)
    optimizer = optim.SGD(model.parameters(), lr=1e-12)
    history = dl.fit(model, Subset((x, y.astype(np.float32)[:, None]), train.indices), loss=dl.mse_loss, epochs=1,
                     batch_size=512, optimizer=optimizer)  # fmt: skip
    assert history.recorded
    np.testing.assert_allclose(Normalize.of((x, y)).mean[0], (n - 1) / 2, rtol=1e-12)
    assert tracemalloc.get_traced_memory()[1] < 30 << 20
    tracemalloc.stop()


# ---- downloads ------------------------------------------------------------------------------------------------------


class Server:
    """A local server of one file, which breaks off after ``limit`` bytes of an answer as often as it is told."""

    def __init__(self, body, limit=None, breaks=0, ranges=True):
        self.body, self.limit, self.breaks, self.ranges, self.asked = body, limit, breaks, ranges, []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                asked = self.headers.get("Range")
                outer.asked.append(asked)
                start = int(asked[6:-1]) if asked and outer.ranges else 0
                if "missing" in self.path:
                    self.send_error(404)
                elif start > len(outer.body):
                    self.send_error(416)
                else:
                    self.send_response(206 if start else 200)
                    self.send_header("Content-Length", str(len(outer.body) - start))
                    if start:
                        self.send_header("Content-Range", f"bytes {start}-{len(outer.body) - 1}/{len(outer.body)}")
                    self.end_headers()
                    cut = outer.breaks > 0
                    outer.breaks -= cut
                    self.wfile.write(outer.body[start : start + outer.limit if cut else None])

            def log_message(self, *args):
                return None

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/"

    def __enter__(self):
        return self

    def __exit__(self, *rest):
        self.server.shutdown()
        self.server.server_close()


BODY = bytes(range(256)) * 1000
SUM = hashlib.sha256(BODY).hexdigest()


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_goes_on_where_it_broke_off(tmp_path, ranges):
    from dlcore.data.download import download_file

    with Server(BODY, limit=100_000, breaks=2, ranges=ranges) as server:
        download_file([server.url + "missing", server.url + "x"], tmp_path / "cache" / "x", SUM)
        assert (tmp_path / "cache" / "x").read_bytes() == BODY
        assert [p.name for p in (tmp_path / "cache").iterdir()] == ["x"]
        assert server.asked[2:4] == ["bytes=100000-", "bytes=200000-" if ranges else "bytes=100000-"]


def test_what_a_killed_download_left_is_gone_on_with(tmp_path):
    from dlcore.data.download import download_file

    (tmp_path / "x.part").write_bytes(BODY[:1234])
    with Server(BODY) as server:
        download_file([server.url + "x"], tmp_path / "x", SUM)
        assert server.asked == ["bytes=1234-"] and (tmp_path / "x").read_bytes() == BODY
        (tmp_path / "y.part").write_bytes(BODY)
        download_file([server.url + "y"], tmp_path / "y", SUM)
        assert len(server.asked) == 1
        (tmp_path / "z.part").write_bytes(BODY + b"more")
        download_file([server.url + "z"], tmp_path / "z", SUM)
        assert (tmp_path / "z").read_bytes() == BODY


def test_a_wrong_file_is_thrown_away(tmp_path):
    from dlcore.data.download import download_file

    text = rf"256,000 bytes have the sha256 .*, not {SUM}"
    with Server(BODY[:-1] + b"?") as server, pytest.raises(OSError, match=text):
        download_file([server.url + "x"], tmp_path / "x", SUM)
    assert list(tmp_path.iterdir()) == []


def test_a_public_set_is_downloaded_into_the_cache_at_last(tmp_path, monkeypatch):
    import gzip

    from dlcore.data import files

    images = struct.pack(">HBB3I", 0, 8, 3, 2, 3, 4) + bytes(range(24))
    labels = struct.pack(">HBBI", 0, 8, 1, 2) + bytes([7, 1])
    packed = {name: gzip.compress(images if "images" in name else labels, mtime=0) for name in files.FASHION_FILES}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("DLCORE_DATA", str(tmp_path / "own"))
    monkeypatch.chdir(tmp_path)

    class Files(dict):
        def __getitem__(self, name):
            return hashlib.sha256(packed[name]).hexdigest()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = packed[self.path.strip("/").removesuffix(".gz")]
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            return None

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    known = files._PUBLIC["mnist"]._replace(urls=(f"http://127.0.0.1:{server.server_address[1]}/",), sha256=Files())
    monkeypatch.setitem(files._PUBLIC, "mnist", known)
    if files.find_dataset("mnist", files.FASHION_FILES) is not None:
        pytest.skip("MNIST is installed in the system")
    with pytest.raises(FileNotFoundError, match=r"of MNIST not found; looked in mnist, .*own.*cache"):
        load_dataset("mnist", download=False)
    data = load_dataset("mnist", "test")
    assert data.labels.tolist() == [7, 1] and data.images.shape == (2, 3, 4) and len(data.classes) == 10
    server.shutdown()
    server.server_close()
    assert load_dataset("mnist", "test").labels.tolist() == [7, 1]
    with pytest.raises(FileNotFoundError, match="the download has failed"):
        load_dataset("mnist", "train")


# ---- figures and pictures of data -----------------------------------------------------------------------------------


def test_describe():
    data = dl.data.ImageDataset(np.arange(24, dtype=np.uint8).reshape(4, 2, 3), [0, 2, 2, 0], ["a", "b", "c"])
    found = describe(Subset(data, [0, 1, 2]))
    assert found.samples == 3 and found.classes == {"a": 1, "b": 0, "c": 2}
    assert found.parts[0].shape == (2, 3) and found.parts[0].dtype == "uint8"
    assert (found.parts[0].least, found.parts[0].largest, found.parts[0].mean) == (0, 17, 8.5)
    lines = str(found).splitlines()
    assert lines[:2] == ["3 samples", "inputs: (2, 3) uint8, 0 to 17, mean 8.5"] and lines[-1].count("█") == 24
    bad = describe((np.array([[np.nan, 1.0], [np.inf, 3.0]]), np.array([0.5, 1.5])))
    assert bad.parts[0].not_finite == 2 and bad.parts[0].mean == 2 and bad.classes is None
    assert "2 not finite" in str(bad)
    assert describe(np.zeros((0, 3))).samples == 0


def test_a_public_data_set_tells_how_its_parts_are_called():
    with pytest.raises(TypeError, match="mnist takes no train; its parts are split='train' and split='test'"):
        dl.data.load_dataset("mnist", train=False)


def test_prices_are_no_classes_and_many_classes_are_not_all_listed():
    values = np.zeros((800, 1), np.float32)
    assert describe((values, np.arange(800) * 7)).classes is None
    assert describe((values, np.arange(800) // 2)).classes is not None
    assert len(describe((values[:20], np.arange(20))).classes) == 20
    years = describe((values, np.arange(800) % 120))
    lines = str(years).splitlines()
    assert len(years.classes) == 120 and len(lines) == 54 and lines[-1] == "  and 70 more, of 6 to 7 samples"


@pytest.mark.parametrize("shape", [(5, 4), (1, 5, 4), (3, 5, 4), (2, 5, 4), (7,), ()])
def test_a_grid_of_pictures(tmp_path, shape):
    pytest.importorskip("matplotlib")
    data = (np.random.default_rng(0).random((10, *shape)).astype(np.float32), np.arange(10))
    figure = picture_grid(data, tmp_path / "grid.png", rows=2, columns=4)
    assert len(figure.axes) == 8 and (tmp_path / "grid.png").read_bytes()[:4] == b"\x89PNG"
    titles = [axes.get_title() for axes in figure.axes]
    assert len(set(titles)) == 8 and [a.get_title() for a in picture_grid(data, seed=None).axes][:3] == ["0", "1", "2"]
    with pytest.raises(ValueError, match="picture_grid: the data set is empty"):
        picture_grid(np.zeros((0, 2, 2)))
