"""Convolutions as modules: shapes, parameters, how they start, what they print and refuse, adjoints, files."""

import math

import numpy as np
import pytest

import dlcore as dl
from dlcore import nn, optim
from dlcore.errors import ShapeError

RNG = np.random.default_rng(11)
SPACE = (9, 8, 7)


def floats(*shape):
    return dl.tensor(RNG.standard_normal(shape))


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("groups", [1, 2])
def test_a_transposed_convolution_is_the_adjoint(axes, groups):
    """<conv(x), y> = <x, conv_transpose(y)> for one and the same weight."""
    settings = {"stride": 2, "padding": 1, "dilation": (1, 2, 1)[:axes], "groups": groups, "bias": False}
    direct = getattr(nn, f"Conv{axes}d")(4, 6, 3, dtype="float64", **settings)
    back = getattr(nn, f"ConvTranspose{axes}d")(6, 4, 3, dtype="float64", **settings)
    assert back.weight.shape == direct.weight.shape
    back.load_state_dict(direct.state_dict())
    x = floats(2, 4, *SPACE[:axes])
    out = direct(x)
    y = floats(*out.shape)
    again = back(y, output_size=x.shape)
    assert again.shape == x.shape
    assert (out * y).sum().item() == pytest.approx((x * again).sum().item(), rel=1e-12)


def test_parameters_have_pytorchs_names_and_shapes():
    model = nn.Conv2d(4, 6, (3, 5), groups=2)
    assert {n: p.shape for n, p in model.named_parameters()} == {"weight": (6, 2, 3, 5), "bias": (6,)}
    assert nn.ConvTranspose2d(4, 6, 3, groups=2).weight.shape == (4, 3, 3, 3)
    assert nn.Conv1d(2, 3, 4, bias=False).bias is None and nn.Conv3d(1, 2, 3).weight.shape == (2, 1, 3, 3, 3)
    assert nn.Conv2d(1, 1, 1, dtype=dl.bfloat16).weight.dtype is dl.bfloat16


def test_weights_start_uniform_by_their_fan_in():
    dl.manual_seed(0)
    layer, bound = nn.Conv2d(32, 64, 3), 1 / math.sqrt(32 * 9)
    for p in layer.parameters():
        values = np.asarray(p.detach())
        assert np.abs(values).max() <= bound
        assert values.std() == pytest.approx(bound / math.sqrt(3), rel=0.15)
    wide = np.asarray(nn.ConvTranspose2d(8, 32, 5).weight.detach())
    assert 0.95 / math.sqrt(32 * 25) < np.abs(wide).max() <= 1 / math.sqrt(32 * 25)


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (lambda: nn.Conv2d(1, 8, 3), "Conv2d(1, 8, kernel_size=(3, 3), stride=(1, 1))"),
        (lambda: nn.Conv2d(4, 8, (3, 5), 2, (1, 2), 2, 4, False, "reflect"),
         "Conv2d(4, 8, kernel_size=(3, 5), stride=(2, 2), padding=(1, 2), dilation=(2, 2), groups=4, bias=False, "
         "padding_mode=reflect)"),
        (lambda: nn.Conv1d(1, 2, 3, padding="same"),
         "Conv1d(1, 2, kernel_size=(3,), stride=(1,), padding=same)"),
        (lambda: nn.ConvTranspose2d(2, 4, 3, 2, 1, 1),
         "ConvTranspose2d(2, 4, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), output_padding=(1, 1))"),
    ],
)  # fmt: skip
def test_reprs_are_pytorchs(layer, text):
    assert repr(layer()) == text


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: nn.Conv2d(3, 4, 3, groups=2), ValueError, "Conv2d: in_channels 3 is not divisible by groups 2"),
        (lambda: nn.Conv2d(4, 3, 3, groups=2), ValueError, "Conv2d: out_channels 3 is not divisible by groups 2"),
        (lambda: nn.Conv2d(0, 3, 3), ValueError, "Conv2d: in_channels is 0; it must be at least 1"),
        (lambda: nn.Conv2d(1, 3, 0), ValueError, "Conv2d: kernel_size is 0; it must be at least 1"),
        (lambda: nn.Conv2d(1, 3, 3, stride=0), ValueError, "Conv2d: stride is 0; it must be at least 1"),
        (lambda: nn.Conv2d(1, 3, 3, padding=-1), ValueError, "Conv2d: padding is -1; it must be at least 0"),
        (lambda: nn.Conv2d(1, 3, (3, 3, 3)), ValueError, r"kernel_size \(3, 3, 3\) has 3 numbers for 2 axes"),
        (lambda: nn.Conv2d(1, 3, 3, padding="full"), ValueError, "Conv2d: padding 'full' is not one of"),
        (lambda: nn.Conv2d(1, 3, 3, 2, "same"), ValueError, r"padding='same' needs a stride of 1, not \(2, 2\)"),
        (lambda: nn.Conv2d(1, 3, 3, padding_mode="mirror"), ValueError, "Conv2d: padding_mode 'mirror' is not one of"),
        (lambda: nn.ConvTranspose2d(1, 3, 3, padding_mode="reflect"), ValueError, "padding_mode 'reflect' is not one"),
        (lambda: nn.ConvTranspose1d(1, 3, 3, padding="same"), TypeError, "ConvTranspose1d: padding 'same' is not"),
        (lambda: nn.Conv2d(1, 3, 3)(dl.zeros(2, 5, 8, 8)), ShapeError, "conv2d: 5 channels, but weight takes 1"),
        (lambda: nn.Conv2d(1, 3, 5)(dl.zeros(2, 1, 4, 4)), ShapeError, "conv2d: the kernel"),
        (lambda: nn.ConvTranspose2d(1, 1, 3, 2)(dl.zeros(1, 1, 4, 4), (12, 9)), ValueError,
         "output_size 12 along spatial axis 0: an input of 4 gives 9 to 10"),
    ],
)  # fmt: skip
def test_what_is_refused(make, error, text):
    with pytest.raises(error, match=text):
        make()


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_padding_modes_pad_first(mode):
    layer = nn.Conv2d(2, 3, 3, padding=(1, 2), padding_mode=mode, dtype="float64")
    x = floats(2, 2, 5, 6)
    want = dl.conv2d(nn.functional.pad(x, (2, 2, 1, 1), mode), layer.weight, layer.bias)
    np.testing.assert_array_equal(np.asarray(layer(x).detach()), np.asarray(want.detach()))


def test_the_same_size_stays():
    for kernel, dilation in ((3, 1), (4, 1), (2, 3)):
        assert nn.Conv2d(1, 2, kernel, padding="same", dilation=dilation)(dl.zeros(1, 1, 7, 8)).shape == (1, 2, 7, 8)
    assert nn.Conv1d(1, 2, 3, padding="valid")(dl.zeros(1, 1, 7)).shape == (1, 2, 5)


def test_one_image_needs_no_batch():
    layer = nn.Conv2d(2, 3, 3)
    x = dl.randn(2, 5, 6)
    np.testing.assert_array_equal(np.asarray(layer(x).detach()), np.asarray(layer(x.reshape(1, 2, 5, 6))[0].detach()))


def test_files_make_convolutions_again(tmp_path):
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding="same", padding_mode="reflect"), nn.ReLU(), nn.ConvTranspose2d(4, 2, 2, 2)
    )
    dl.save(model, tmp_path / "m")
    again, x = dl.load(tmp_path / "m"), dl.randn(2, 1, 5, 5)
    assert repr(again) == repr(model) and again(x).tolist() == model(x).tolist()


def test_a_recorded_step_is_the_eager_one():
    def trained(recorded):
        dl.manual_seed(3)
        layers = nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3, stride=2), nn.Flatten(), nn.Linear(18, 3)
        model = nn.Sequential(*layers)
        update = optim.SGD(model.parameters(), lr=0.1)
        x, y = dl.randn(5, 1, 9, 9), dl.tensor([0, 1, 2, 1, 0])

        def step():
            update.zero_grad()
            loss = dl.cross_entropy(model(x), y)
            loss.backward()
            update.step()
            return loss

        run = dl.capture(step) if recorded else step
        return [run().item() for _ in range(3)], [p.tolist() for p in model.parameters()]

    assert trained(True) == trained(False)
