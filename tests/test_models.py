"""Networks of `dlcore.models`: how many parameters they have, their names, files, settings, and PyTorch's curves."""

import json
from pathlib import Path

import numpy as np
import pytest

import dlcore as dl
from bench import cnn_curves, networks
from dlcore import models, nn, optim

CURVES = json.loads((Path(__file__).parent / "cnn_curves.json").read_text())


def count(model):
    return sum(p.size for p in model.parameters())


@pytest.mark.parametrize(
    ("make", "parameters", "images"),
    [
        (lambda: models.LeNet5(), 61_706, (1, 28, 28)),
        (lambda: models.LeNet5(7, 3, (32, 20)), 48_311, (3, 32, 20)),
        (lambda: models.CNN(), 29_178, (1, 28, 28)),
        (lambda: models.resnet8(), 75_290, (3, 32, 32)),
        (lambda: models.resnet20(), 269_722, (3, 16, 16)),
        (lambda: models.resnet32(), 464_154, (3, 8, 8)),
        (lambda: models.MobileNet(), 36_874, (1, 28, 28)),
        (lambda: models.ConvNeXt(), 109_338, (1, 28, 28)),
    ],
)
def test_small_networks(make, parameters, images):
    model = make()
    assert count(model) == parameters
    classes = 7 if images == (3, 32, 20) else 10
    assert model(dl.zeros(2, *images)).shape == (2, classes)


@pytest.mark.parametrize(
    ("make", "parameters"),
    [(models.resnet18, 11_689_512), (models.mobilenet_v1, 4_231_976), (models.convnext_tiny, 28_589_128)],
)
def test_known_networks_have_as_many_parameters_as_they_are_known_for(make, parameters):
    assert count(make()) == parameters


def test_names_are_torchvisions():
    names = list(models.resnet18(classes=3).state_dict())
    assert names[:7] == ["conv1.weight", "bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var",
                         "bn1.num_batches_tracked", "layer1.0.conv1.weight"]  # fmt: skip
    assert {"layer2.0.downsample.0.weight", "layer2.0.downsample.1.running_var", "layer4.1.bn2.weight", "fc.bias"} <= {
        *names
    }
    assert len(names) == 122 and not any(name.startswith("layer1.0.downsample") for name in names)
    names = set(models.ConvNeXt().state_dict())
    wanted = {
        "features.0.0.weight", "features.0.1.weight", "features.1.0.layer_scale", "features.1.0.block.0.weight",
        "features.1.0.block.5.bias", "features.2.1.weight", "classifier.0.bias", "classifier.2.weight",
    }  # fmt: skip
    assert wanted <= names


def test_resnet18_takes_pictures():
    model = models.resnet18(classes=4).eval()
    with dl.no_grad():
        assert model(dl.randn(1, 3, 64, 64)).shape == (1, 4)


@pytest.mark.parametrize("name", ["lenet5", "resnet8"])
@pytest.mark.parametrize("recorded", [False, True], ids=["eager", "recorded"])
def test_training_is_pytorchs(name, recorded):
    """From the same weights on the same batches: losses, running statistics and weights as PyTorch's (float64)."""
    known = CURVES[name]
    model = networks.fill(dl, networks.dlcore_network(name).to(dl.float64))
    update = optim.SGD(model.parameters(), **cnn_curves.SETTINGS)

    def step(images, labels):
        update.zero_grad()
        loss = dl.cross_entropy(model(images), labels)
        loss.backward()
        update.step()
        return loss

    run, batches = dl.capture(step) if recorded else step, cnn_curves.batches(name)
    losses = [run(dl.tensor(x), dl.tensor(y)).item() for x, y in batches]
    np.testing.assert_allclose(losses, known["losses"], rtol=1e-8)
    with dl.no_grad():
        evaluated = model.eval()(dl.tensor(batches[0][0])).sum(axis=0)
    np.testing.assert_allclose(np.asarray(evaluated), known["evaluated"], rtol=1e-6)
    state = cnn_curves.sums({n: np.asarray(v, np.float64) for n, v in model.state_dict().items()})
    assert list(state) == list(known["state"])
    for key, (total, squares) in state.items():
        np.testing.assert_allclose(squares, known["state"][key][1], rtol=1e-7, err_msg=key)
        np.testing.assert_allclose(total, known["state"][key][0], atol=1e-7 * (1 + squares), err_msg=key)


def test_training_in_float32_stays_near():
    model = networks.fill(dl, networks.dlcore_network("resnet8"))
    update = optim.SGD(model.parameters(), **cnn_curves.SETTINGS)
    for (x, y), want in zip(cnn_curves.batches("resnet8")[:8], CURVES["resnet8"]["losses"], strict=False):
        update.zero_grad()
        loss = dl.cross_entropy(model(dl.tensor(x.astype(np.float32))), dl.tensor(y))
        loss.backward()
        update.step()
        assert loss.item() == pytest.approx(want, rel=1e-3)


@pytest.mark.parametrize("kind", ["lenet5", "cnn", "resnet8", "mobilenet", "convnext"])
def test_kinds_of_configurations_take_pictures_of_both_forms(kind, tmp_path):
    make = models.kinds.get(kind, "model.kind")
    for shape in ((28, 28), (3, 28, 28)):
        model = make(shape, 5).eval()
        x = dl.randn(2, *shape)
        assert model(x).shape == (2, 5)
        dl.save(model, tmp_path / "m")
        assert dl.load(tmp_path / "m").eval()(x).tolist() == model(x).tolist()
    with pytest.raises(ValueError, match="for pictures"):
        make((12,), 5)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: models.LeNet5(size=8), "LeNet5: size 8 is not a height and a width of at least 12"),
        (lambda: models.CNN(size=4), "CNN: size 4 is not a height and a width of at least 8"),
        (lambda: models.ResNet((1, 1), (8,)), "ResNet: blocks .* are not one of each for every stage"),
        (lambda: models.ConvNeXt(depths=(1, 1)), "ConvNeXt: depths .* are not one of each for every stage"),
        (lambda: models.LeNet5(0), "LeNet5: classes is 0; it must be at least 1"),
    ],
)
def test_what_is_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def test_a_network_is_a_module_to_build_on():
    backbone = models.resnet8(channels=1)
    backbone.fc = nn.Identity()
    assert backbone(dl.zeros(2, 1, 16, 16)).shape == (2, 64)
