"""Recurrent layers, cells and packed sequences: what the table of operations cannot say."""

import json
import math
import warnings
from pathlib import Path

import numpy as np
import pytest

import dlcore as dl
from bench import cnn_curves, networks, recurrent
from dlcore import nn, optim
from dlcore.nn.utils.rnn import (
    PackedSequence,
    pack_padded_sequence,
    pack_sequence,
    pad_packed_sequence,
    pad_sequence,
    unpack_sequence,
    unpad_sequence,
)

LAYERS = [nn.LSTM, nn.GRU, nn.RNN]
CURVES = json.loads((Path(__file__).parent / "recurrent_curves.json").read_text())


def values(*shape, seed=0):
    return dl.tensor(np.random.default_rng(seed).standard_normal(shape))


def made(kind, *args, **kwargs):
    """A layer in float64 with parameters that are the same on every machine."""
    layer = kind(*args, **kwargs, dtype="float64")
    for k, parameter in enumerate(layer.parameters()):
        with dl.no_grad():
            parameter.copy_(values(*parameter.shape, seed=k + 1) * 0.3)
    return layer




def test_names_shapes_and_reprs_are_those_of_pytorch():
    layer = nn.LSTM(5, 4, num_layers=2, bias=False, batch_first=True, dropout=0.5, bidirectional=True, proj_size=3)
    assert repr(layer) == (
        "LSTM(5, 4, proj_size=3, num_layers=2, bias=False, batch_first=True, dropout=0.5, bidirectional=True)"
    )
    assert [(k, v.shape) for k, v in layer.state_dict().items()][:6] == [
        ("weight_ih_l0", (16, 5)), ("weight_hh_l0", (16, 3)), ("weight_hr_l0", (3, 4)),
        ("weight_ih_l0_reverse", (16, 5)), ("weight_hh_l0_reverse", (16, 3)), ("weight_hr_l0_reverse", (3, 4)),
    ]  # fmt: skip
    assert layer.weight_ih_l1.shape == (16, 6)
    assert list(nn.GRU(3, 2).state_dict()) == ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]
    assert list(nn.RNNCell(3, 2).state_dict()) == ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]
    assert repr(nn.RNNCell(3, 2, bias=False, nonlinearity="relu")) == "RNNCell(3, 2, bias=False, nonlinearity=relu)"
    assert [len(group) for group in nn.GRU(3, 2, num_layers=2).all_weights] == [4, 4]
    assert all(abs(p).max().item() <= 0.25 for p in nn.GRU(3, 16).parameters())


@pytest.mark.parametrize("kind", LAYERS)
def test_a_layer_is_its_cell_at_each_step(kind):
    layer, cell = made(kind, 3, 5), getattr(nn, f"{kind.__name__}Cell")(3, 5, dtype="float64")
    cell.load_state_dict({k.removesuffix("_l0"): v for k, v in layer.state_dict().items()})
    x, state, outputs = values(4, 2, 3), None, []
    for t in range(4):
        state = cell(x[t], state)
        outputs.append(state[0] if kind is nn.LSTM else state)
    output, last = layer(x)
    np.testing.assert_allclose(output.numpy(), dl.stack(outputs).numpy(), rtol=0, atol=1e-14)
    for end, of_cell in zip(last if kind is nn.LSTM else [last], state if kind is nn.LSTM else [state], strict=True):
        np.testing.assert_allclose(end[0].detach().numpy(), of_cell.detach().numpy(), rtol=0, atol=1e-14)


@pytest.mark.parametrize("kind", LAYERS)
def test_a_packed_row_is_the_sequence_alone(kind):
    layer = made(kind, 3, 4, num_layers=2, bidirectional=True)
    rows = [values(n, 3, seed=n) for n in (2, 5, 1, 4)]
    output, last = layer(pack_sequence(rows, enforce_sorted=False))
    outputs = unpack_sequence(output)
    for k, row in enumerate(rows):
        alone, end = layer(row)
        np.testing.assert_allclose(outputs[k].detach().numpy(), alone.detach().numpy(), rtol=0, atol=1e-14)
        for whole, own in zip(last if kind is nn.LSTM else [last], end if kind is nn.LSTM else [end], strict=True):
            np.testing.assert_allclose(whole[:, k].detach().numpy(), own.detach().numpy(), rtol=0, atol=1e-14)


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("lengths", [[4, 2], dl.tensor([4, 2])], ids=["list", "tensor"])
def test_what_lies_behind_an_end_is_nowhere(kind, lengths):
    layer, x = made(kind, 3, 4, num_layers=2), values(4, 2, 3, seed=0).detach()
    wanted = None
    for behind in (0.0, math.nan, math.inf):
        x[2:, 1] = behind
        layer.zero_grad()
        output, _ = pad_packed_sequence(layer(pack_padded_sequence(x, lengths))[0])
        output.sum().backward()
        found = [output.tolist(), *(p.grad.tolist() for p in layer.parameters())]
        assert found == (wanted or found)
        wanted = found
    whole = pack_padded_sequence(dl.tensor([[True, True], [True, True]]), dl.tensor([2, 1])).padded
    assert whole.tolist() == [[True, True], [True, False]]


def test_batch_first_and_one_sequence_are_views_of_the_same():
    layer, first = made(nn.GRU, 3, 4), made(nn.GRU, 3, 4, batch_first=True)
    x = values(5, 2, 3)
    output, last = layer(x)
    other, end = first(x.transpose(0, 1))
    assert other.shape == (2, 5, 4)
    assert np.array_equal(other.transpose(0, 1).detach().numpy(), output.detach().numpy())
    assert np.array_equal(end.detach().numpy(), last.detach().numpy())
    alone, h = layer(x[:, 1])
    assert (alone.shape, h.shape) == ((5, 4), (1, 4))
    np.testing.assert_allclose(alone.detach().numpy(), output[:, 1].detach().numpy(), rtol=0, atol=1e-15)


@pytest.mark.parametrize("kind", LAYERS)
def test_a_sequence_goes_on_from_the_states_that_were_given(kind):
    layer, x = made(kind, 3, 4, num_layers=2), values(6, 2, 3)
    whole, last = layer(x)
    first, states = layer(x[:4])
    second, end = layer(x[4:], states)
    np.testing.assert_allclose(dl.concat([first, second]).detach().numpy(), whole.detach().numpy(), rtol=0, atol=1e-14)
    for a, b in zip(last if kind is nn.LSTM else [last], end if kind is nn.LSTM else [end], strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=0, atol=1e-14)


def test_dropout_is_between_layers_and_in_training_alone():
    layer = made(nn.LSTM, 3, 4, num_layers=2, dropout=1.0)
    x = values(5, 2, 3)
    layer.eval()
    kept, (first, _) = layer(x)
    layer.train()
    dropped, (h, _) = layer(x)
    assert np.array_equal(h[0].detach().numpy(), first[0].detach().numpy()), "the input is left alone"
    kept, dropped = kept.detach().numpy(), dropped.detach().numpy()
    layer.load_state_dict({**layer.state_dict(), "weight_ih_l1": dl.zeros(16, 4, dtype="float64")})
    layer.eval()
    assert np.array_equal(dropped, layer(x)[0].detach().numpy())
    assert not np.array_equal(dropped, kept)
    with pytest.warns(UserWarning, match="LSTM: dropout is applied between layers, and there is one"):
        nn.LSTM(3, 4, dropout=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nn.LSTM(3, 4)


def test_new_lengths_are_not_recorded_anew():
    layer, x = made(nn.LSTM, 3, 4, bidirectional=True), values(6, 3, 3)

    def step(x, lengths):
        output, (h, _) = layer(pack_padded_sequence(x, lengths, enforce_sorted=False))
        padded, _ = pad_packed_sequence(output, padding_value=7.0)
        return padded, *dl.grad((padded * padded).sum() + h.sum(), list(layer.parameters()))

    captured = dl.capture(step)
    for lengths in ([6, 2, 1], [1, 6, 3], [4, 4, 4], [2, 5, 6]):
        given = dl.tensor(lengths)
        for want, got in zip(step(x, given), captured(x, given), strict=True):
            assert np.array_equal(want.detach().numpy(), got.detach().numpy())
    assert captured.recordings == 1
    with pytest.raises(ValueError, match=r"pack_padded_sequence: lengths\[1\] is 7, not between 1 and 6 steps"):
        captured(x, dl.tensor([1, 7, 2]))


def test_a_packed_sequence_has_the_form_of_pytorch():
    rows = [dl.tensor([1, 2]), dl.tensor([3, 4, 5]), dl.tensor([6])]
    packed = pack_sequence(rows, enforce_sorted=False)
    data, sizes, order, back = packed
    assert data.tolist() == [3, 1, 6, 4, 2, 5]
    assert sizes.tolist() == [3, 2, 1]
    assert (order.tolist(), back.tolist()) == ([1, 0, 2], [1, 0, 2])
    again = PackedSequence(data, sizes, order, back)
    assert [r.tolist() for r in unpack_sequence(again)] == [r.tolist() for r in rows]
    assert PackedSequence(data, sizes).data.tolist() == data.tolist()
    assert PackedSequence(data, sizes, order).padded.tolist() == again.padded.tolist()
    assert PackedSequence(dl.tensor([math.inf, 1.0, 2.0]), [2, 1]).padded.tolist() == [[math.inf, 1.0], [2.0, 0.0]]
    assert pack_sequence(rows[:1]).sorted_indices is None
    padded, lengths = pad_packed_sequence(packed, batch_first=True, padding_value=9, total_length=4)
    assert padded.tolist() == [[1, 2, 9, 9], [3, 4, 5, 9], [6, 9, 9, 9]]
    assert lengths.tolist() == [2, 3, 1]
    assert pack_padded_sequence(padded, [1, 2, 2], batch_first=True, enforce_sorted=False).padded.shape == (2, 3)
    assert pad_sequence(rows, padding_side="left").tolist() == [[0, 3, 0], [1, 4, 0], [2, 5, 6]]
    assert [r.tolist() for r in unpad_sequence(padded, lengths, batch_first=True)] == [r.tolist() for r in rows]


def test_examples_of_a_vmap_are_one_batch():
    layer, x = made(nn.GRU, 3, 4), values(6, 5, 2, 3)
    found = dl.func.vmap(lambda x: layer(x)[0])(x)
    for k in range(6):
        np.testing.assert_allclose(found[k].detach().numpy(), layer(x[k])[0].detach().numpy(), rtol=0, atol=1e-14)

    def packed(x, lengths):
        found, _ = layer(pack_padded_sequence(x, lengths, enforce_sorted=False))
        return pad_packed_sequence(found)[0]

    lengths = dl.tensor(np.random.default_rng(0).integers(1, 6, (6, 2)))
    found = dl.func.vmap(packed)(x, lengths)
    for k in range(6):
        np.testing.assert_allclose(found[k].detach().numpy(), packed(x[k], lengths[k]).detach().numpy(), atol=1e-14)
    with pytest.raises(ValueError, match=r"pack_padded_sequence: lengths\[11\] is 1., not between 1 and 5 steps"):
        dl.func.vmap(packed)(x, lengths + dl.tensor([[0, 0]] * 5 + [[0, 9]]))


def test_under_autocast_products_are_narrow():
    layer = nn.LSTM(8, 8)
    with dl.autocast("bfloat16"):
        output, (h, c) = layer(dl.ones(3, 2, 8))
    assert {output.dtype, h.dtype, c.dtype} == {dl.bfloat16}


def test_a_file_makes_a_layer_again(tmp_path):
    layer = nn.GRU(3, 4, num_layers=2, bidirectional=True).eval()
    dl.save(layer, tmp_path / "gru")
    again, x = dl.load(tmp_path / "gru").eval(), dl.randn(5, 2, 3)
    assert repr(again) == repr(layer)
    assert again(x)[0].tolist() == layer(x)[0].tolist()


@pytest.mark.parametrize("name", recurrent.NETWORKS)
@pytest.mark.parametrize("recorded", [False, True], ids=["eager", "recorded"])
def test_training_is_pytorchs(name, recorded):
    """From the same weights on the same batches of packed sequences: losses and weights as PyTorch's (float64)."""
    layer, classes = (networks.fill(dl, module.to(dl.float64)) for module in recurrent.classifier(nn, name))
    update = optim.SGD([*layer.parameters(), *classes.parameters()], **recurrent.SETTINGS)

    def step(x, lengths, labels):
        update.zero_grad()
        loss = dl.cross_entropy(recurrent.logits(nn.utils.rnn, layer, classes, x, lengths), labels)
        loss.backward()
        update.step()
        return loss

    run = dl.capture(step) if recorded else step
    losses = [run(*map(dl.tensor, batch)).item() for batch in recurrent.batches()]
    np.testing.assert_allclose(losses, CURVES[name]["losses"], rtol=1e-8)
    assert np.mean(losses[-20:]) < 0.9 * np.mean(losses[:20])
    state = cnn_curves.sums({n: np.asarray(v) for n, v in layer.state_dict().items()})
    assert list(state) == list(CURVES[name]["state"])
    for key, found in state.items():
        np.testing.assert_allclose(found, CURVES[name]["state"][key], rtol=1e-7, atol=1e-8, err_msg=key)
    assert not recorded or run.recordings == 1


WRONG = [
    (lambda: nn.LSTM(3, 4)(values(5, 2, 7)), r"LSTM: input of shape \(5, 2, 7\) has 7 features, input_size is 3"),
    (lambda: nn.LSTM(3, 4)(values(5)), r"LSTM: input has shape \(5,\); it has 3 axes, or 2 for one sequence"),
    (lambda: nn.GRU(3, 4)(dl.zeros(0, 2, 3)), r"GRU: input of shape \(0, 2, 3\) has no steps"),
    (lambda: nn.GRU(3, 4)(dl.zeros(5, 2, 3), dl.zeros(1, 3, 4)), r"GRU: h_0 has shape \(1, 3, 4\), not \(1, 2, 4\)"),
    (lambda: nn.LSTM(3, 4)(dl.zeros(5, 2, 3), dl.zeros(1, 2, 4)), r"LSTM: hx holds 1 tensors, not 2: h_0, c_0"),
    (lambda: nn.LSTM(3, 4, num_layers=2)(dl.zeros(5, 2, 3), (dl.zeros(2, 2, 4), dl.zeros(1, 2, 4))),
     r"LSTM: c_0 has shape \(1, 2, 4\), not \(2, 2, 4\)"),
    (lambda: nn.LSTM(3, 4)(dl.zeros(5, 2, 3, dtype=dl.int64)),
     r"LSTM: input \(5, 2, 3\) is of int64; it must be of a floating dtype: input.float\(\)"),
    (lambda: nn.GRUCell(3, 4)(dl.zeros(2, 3, dtype=dl.int8)), r"GRUCell: input \(2, 3\) is of int8; it must be"),
    (lambda: nn.MinGRU(3, 4)(dl.zeros(2, 5, 3, dtype=dl.int64)), r"MinGRU: x \(2, 5, 3\) is of int64; it must be"),
    (lambda: nn.LSTM(3, 4, proj_size=4), "LSTM: proj_size 4 is not less than hidden_size 4"),
    (lambda: nn.RNN(3, 4, nonlinearity="elu"), "RNN: nonlinearity 'elu' is not one of 'tanh', 'relu'"),
    (lambda: nn.GRUCell(3, 4)(dl.zeros(2, 5)), r"GRUCell: input has shape \(2, 5\), not \(B, 3\) or \(3,\)"),
    (lambda: nn.GRUCell(3, 4)(dl.zeros(2, 3), dl.zeros(3, 4)), r"GRUCell: h_0 has shape \(3, 4\), not \(2, 4\)"),
    (lambda: pack_padded_sequence(dl.zeros(5, 2), [3, 4]), r"lengths \[3, 4\] are not in falling order; pass enforce"),
    (lambda: pack_padded_sequence(dl.zeros(5, 2), dl.tensor([3, 4])), r"lengths \[3, 4\] are not in falling order"),
    (lambda: pack_padded_sequence(dl.zeros(5, 2), [6, 4]), r"lengths\[0\] is 6, not between 1 and 5 steps"),
    (lambda: pack_padded_sequence(dl.zeros(5, 2), [5, 0]), r"lengths\[1\] is 0, not between 1 and 5 steps"),
    (lambda: pack_padded_sequence(dl.zeros(5, 2), dl.tensor([5, -1])), r"lengths\[1\] is -1, not between 1 and 5"),
    (lambda: pack_padded_sequence(dl.zeros(5, 2), [5]), "1 lengths for 2 rows"),
    (lambda: pack_padded_sequence(dl.zeros(5, 2), dl.tensor([1.0, 1.0])), "lengths are integers, not float32"),
    (lambda: pad_sequence([dl.zeros(2, 3), dl.zeros(2, 4)]), r"sequence 1 has shape \(2, 4\), the first \(2, 3\)"),
    (lambda: pad_packed_sequence(pack_sequence([dl.zeros(3)]), total_length=2), "total_length 2 is less than the 3"),
    (lambda: PackedSequence(dl.zeros(4), [1, 3]), r"batch_sizes \[1, 3\] do not fall to 1 or more"),
    (lambda: PackedSequence(dl.tensor(1.0), [1]), "do not add up to data of shape"),
    (lambda: PackedSequence(dl.zeros(3), [2, 1], [0, 5]), r"sorted_indices \[0, 5\] are not the numbers 0 to 1"),
    (lambda: PackedSequence(dl.zeros(3), [2, 1], None, [0, 0]), r"unsorted_indices \[0, 0\] are not the numbers 0 to"),
    (lambda: PackedSequence(dl.zeros(3), [2, 1], [0]), r"sorted_indices \[0\] are not the numbers 0 to 1, each once"),
    (lambda: PackedSequence(dl.zeros(3), [2, 1], [1, 0], [0, 1]), "unsorted_indices do not undo sorted_indices"),
    (lambda: pack_sequence([dl.tensor(1.0)]), r"sequence 0 has shape \(\)"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "text"), WRONG, ids=range(len(WRONG)))
def test_wrong_calls_are_refused(call, text):
    with pytest.raises((ValueError, TypeError), match=text):
        call()


@pytest.mark.parametrize("kind, units, options", [
    (nn.LSTM, 96, {}), (nn.LSTM, 104, {"proj_size": 96}), (nn.GRU, 112, {}), (nn.RNN, 192, {}),
])  # fmt: skip
def test_threads_that_share_the_units_of_one_row_make_the_bits_of_one_thread(kind, units, options):
    layer, x, threads, found = made(kind, 7, units, **options), values(3, 1, 7), dl.get_num_threads(), []
    leaves = [x.requires_grad_(), *layer.parameters()]
    try:
        for n in (1, 2, 3):
            dl.set_num_threads(n)
            out = layer(x)[0]
            found.append([np.asarray(t).tobytes() for t in (out.detach(), *dl.grad(out, leaves, out.detach()))])
    finally:
        dl.set_num_threads(threads)
    assert found[0] == found[1] == found[2]
