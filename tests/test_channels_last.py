"""`nn.channels_last`: the network's results, gradients, state and shapes are those of the network as it was."""

import copy

import numpy as np
import pytest

import dlcore as dl
from dlcore import models, nn, optim
from dlcore.data import load_dataset
from dlcore.errors import ShapeError

NETWORKS = {
    "sequential": lambda: nn.Sequential(
        nn.Unflatten(1, (2, 14)), nn.Conv2d(2, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU(),
        nn.MaxPool2d(2), nn.ConvTranspose2d(6, 4, 3, 2), nn.Hardswish(), nn.ZeroPad2d((1, 0, 2, 0)),
        nn.Softmax(1), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(4 * 8 * 15, 5),
    ),
    "lenet": lambda: models.LeNet5(5, 2, (14, 28)),
    "resnet": lambda: models.ResNet((1, 1), (4, 8), 5, 2),
    "resnet18": lambda: models.ResNet((1, 1), (4, 8), 5, 2, small=False),
    "mobilenet": lambda: models.MobileNet(5, 2, ((8, 2), (12, 1)), (4, 1)),
    "convnext": lambda: models.ConvNeXt(5, 2, (1, 1), (6, 8)),
}


class Own(nn.Module):
    """A forward of one's own, which counts on (N, C, H, W)."""

    def __init__(self):
        self.first, self.second = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(2, 4, 1)
        self.norm = nn.BatchNorm2d(8)

    def forward(self, x):
        x = self.norm(dl.concat([self.first(x), self.second(x)], 1))
        return x.mean((2, 3))


def trained(model, x, steps=3, recorded=False):
    """Losses of some steps, and the state after them."""
    update = optim.SGD(model.parameters(), lr=0.1)
    target = dl.tensor(np.arange(len(x)) % 5)

    def step():
        update.zero_grad()
        loss = dl.cross_entropy(model(x), target)
        loss.backward()
        update.step()
        return loss

    run = dl.capture(step) if recorded else step
    losses = [run().item() for _ in range(steps)]
    return losses, {name: np.asarray(v, np.float64) for name, v in model.state_dict().items()}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("recorded", [False, True], ids=["eager", "recorded"])
def test_training_is_the_same(name, recorded):
    dl.manual_seed(0)
    model = NETWORKS[name]().to(dl.float64)
    x = dl.randn(4, 28, 28, dtype=dl.float64) if name == "sequential" else dl.randn(4, 2, 14, 28, dtype=dl.float64)
    other = copy.deepcopy(model)
    assert nn.channels_last(other) is other
    losses, state = trained(model, x, recorded=recorded)
    last, last_state = trained(other, x, recorded=recorded)
    np.testing.assert_allclose(last, losses, rtol=1e-9)
    assert list(last_state) == list(state)
    for key, value in state.items():
        np.testing.assert_allclose(last_state[key], value, rtol=1e-6, atol=1e-9, err_msg=key)


def test_images_come_out_as_they_went_in():
    dl.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(), nn.Conv2d(5, 3, 1))
    x = dl.randn(2, 3, 6, 7)
    want = np.asarray(model(x).detach())
    got = nn.channels_last(model)(x)
    assert got.shape == (2, 3, 6, 7)
    np.testing.assert_allclose(np.asarray(got.detach()), want, rtol=1e-4, atol=1e-6)
    for k in range(3):  # parts by themselves, slices, copies
        np.testing.assert_allclose(
            np.asarray(copy.deepcopy(model)[k:](model[:k](x)).detach()), want, rtol=1e-4, atol=1e-6
        )


def test_a_forward_of_ones_own_gets_what_it_counts_on():
    dl.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 2, 1), Own())
    x = dl.randn(4, 2, 5, 5)
    want = np.asarray(model(x).detach())
    np.testing.assert_allclose(np.asarray(nn.channels_last(model)(x).detach()), want, rtol=1e-4, atol=1e-5)
    assert nn.channels_last(model) is model, "twice is once"


def test_an_error_within_leaves_no_trace():
    model = nn.channels_last(nn.Sequential(nn.Conv2d(2, 3, 3), nn.Linear(4, 4)))
    with pytest.raises(ShapeError):
        model(dl.zeros(1, 2, 5, 5))
    layer = nn.channels_last(nn.Conv2d(2, 3, 3))
    assert layer(dl.zeros(1, 2, 4, 8)).shape == (1, 3, 2, 6)


def test_what_is_refused():
    with pytest.raises(ShapeError, match=r"channels_last: Conv2d: x \(2, 5, 5\) has 3 axes; 4 are taken, a batch"):
        nn.channels_last(nn.Conv2d(2, 3, 3))(dl.zeros(2, 5, 5))
    with pytest.raises(TypeError, match=r"channels_last: model .* is not a Module"):
        nn.channels_last([nn.Conv2d(2, 3, 3)])


def test_a_summary_is_that_of_the_network_as_it_was():
    model = models.LeNet5()
    before = str(dl.summary(model, dl.zeros(2, 1, 28, 28))).partition("\n\n")[0]
    after = str(dl.summary(nn.channels_last(model), dl.zeros(2, 1, 28, 28))).partition("\n\n")[0]
    assert [line.split() for line in after.splitlines()] == [line.split() for line in before.splitlines()]


def test_fit_trains_in_a_recorded_step():
    digits, figures = load_dataset("digits"), []
    for turned in (False, True):
        dl.manual_seed(0)
        model = nn.Sequential(nn.Unflatten(1, (1, 8)), models.ResNet((1, 1), (8, 16), 10, 1))
        model = nn.channels_last(model) if turned else model
        history = dl.fit(model, digits, loss=dl.cross_entropy, optimizer=optim.SGD(model.parameters(), lr=0.1),
                         epochs=1, batch_size=64, seed=0, progress=False)  # fmt: skip
        assert history.recorded, history.reason
        figures.append(history["loss"][0])
    assert figures[0] == pytest.approx(figures[1], rel=1e-3)


def test_signals_and_volumes():
    dl.manual_seed(0)
    for axes in (1, 3):
        model = nn.Sequential(getattr(nn, f"Conv{axes}d")(2, 3, 3), getattr(nn, f"BatchNorm{axes}d")(3), nn.ReLU(),
                              getattr(nn, f"MaxPool{axes}d")(2)).eval()  # fmt: skip
        x = dl.randn(2, 2, *(8, 7, 6)[:axes])
        want = np.asarray(model(x).detach())
        np.testing.assert_allclose(np.asarray(nn.channels_last(model)(x).detach()), want, rtol=1e-4, atol=1e-6)


class Seen(nn.Module):
    """A layer with a form for each layout, which remembers what it was given."""

    layout = "NCHW"

    def forward(self, x):
        self.seen = x.shape
        return x


class Through(nn.Module):
    """A forward of one's own that says that it does the same in both layouts."""

    passes_layout = True

    def __init__(self):
        self.layer = Seen()

    def forward(self, x):
        return self.layer(x) + x


class Changed(Through):
    """What its base says does not hold for another forward."""

    def forward(self, x):
        self.own = x.shape
        return self.layer(x)


class ByChannel(nn.Dropout):
    """A form for each layout, in what the inherited forward calls."""

    layout = "NCHW"


def test_which_layers_get_the_channels_last():
    model = nn.channels_last(nn.Sequential(Through(), nn.ReLU(), Changed(), Seen()))
    assert model(dl.zeros(2, 3, 4, 5)).shape == (2, 3, 4, 5)
    assert model[0].layer.seen == model[2].layer.seen == model[3].seen == (2, 4, 5, 3)
    assert model[2].own == (2, 3, 4, 5)
    assert nn.channels_last(nn.Conv2d(3, 4, 1)).layout == "NHWC"
    assert nn.channels_last(ByChannel()).layout == "NHWC", "its forward is that of a layer of single elements"
    assert "forward" not in vars(nn.channels_last(nn.Dropout())), "which stays as it is"
