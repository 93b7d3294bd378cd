"""Common mistakes: each is said once, at the line of the program, and what is right is passed over."""

import inspect
import re
import warnings

import numpy as np
import pytest

import dlcore as dl
from dlcore import nn, optim

RNG = np.random.default_rng(3)
X = RNG.standard_normal((96, 6)).astype(np.float32)
LABELS = (X[:, 0] > 0).astype(np.int64) + (X[:, 1] > 0.3)
PICTURES = RNG.integers(0, 256, (96, 8, 8)).astype(np.float32)


def network(*last, inputs=6):
    dl.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, 8), nn.ReLU(), nn.Linear(8, 3), *last)


def fit(model, data=(X, LABELS), **settings):
    """The warnings of a fit of three epochs, each of which must be at the line of the call below."""
    settings = {"loss": "cross_entropy", "epochs": 3, "batch_size": 32, "seed": 0, **settings}
    optimizer = settings.pop("optimizer", None) or optim.SGD(model.parameters(), lr=settings.pop("lr", 0.1))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        line = inspect.currentframe().f_lineno + 1
        dl.fit(model, data, optimizer=optimizer, **settings)
    assert all(w.filename == __file__ and w.lineno == line and w.category is RuntimeWarning for w in caught)
    return [str(w.message) for w in caught]


def one(texts, part):
    assert len(texts) == 1 and part in texts[0], texts
    return True


# -- outputs and labels ---------------------------------------------------------------------------------------------


def test_a_softmax_before_cross_entropy_is_said():
    assert one(fit(network(nn.Softmax())), "probabilities")
    assert fit(network()) == []
    assert fit(network(nn.LogSoftmax())) == []  # the loss is the same


def test_a_softmax_in_evaluation_alone_is_right():
    class Ending(nn.Module):
        def forward(self, x):
            return x if self.training else dl.softmax(x)

    assert fit(network(Ending()), validation=(X, LABELS)) == []


@pytest.mark.parametrize("where", ["train", "validation"])
@pytest.mark.parametrize("label", [-1, 3, 700])
def test_a_label_that_is_no_class_is_named_before_anything_changes(label, where):
    wrong = LABELS.copy()
    wrong[[70, 80]] = label
    model = network()
    before = {k: v.numpy().copy() for k, v in model.state_dict().items()}
    with pytest.raises(IndexError, match=f"fit: {where}: label {label} of sample 70 .* for 3 classes.* 2 labels are"):
        fit(model, (X, wrong if where == "train" else LABELS), validation=(X, wrong), batch_size=16)
    assert all((v.numpy() == before[k]).all() for k, v in model.state_dict().items())


def test_labels_of_a_subset_count_from_its_own_first_sample():
    wrong = LABELS.copy()
    wrong[5] = 9
    data = dl.data.TensorDataset(X, wrong)
    assert fit(network(), dl.data.Subset(data, range(10, 96))) == []
    with pytest.raises(IndexError, match="label 9 of sample 2 "):
        fit(network(), dl.data.Subset(data, [1, 2, 5, 7]))


def test_ignored_labels_are_no_mistake():
    ignored = np.where(np.arange(96) % 5 == 0, -100, LABELS)
    assert fit(network(), (X, ignored)) == []
    assert fit(network(), (X, np.where(ignored < 0, 7, LABELS)), loss=nn.CrossEntropyLoss(ignore_index=7)) == []


# -- data -----------------------------------------------------------------------------------------------------------


def test_pictures_that_are_not_normalised_are_said():
    data = dl.data.TensorDataset(PICTURES, LABELS)
    assert one(fit(network(inputs=64), data, lr=1e-5), "Normalize.of(train)")
    assert fit(network(inputs=64), data, transform=dl.data.Normalize.of(data)) == []
    assert fit(network(inputs=64), (PICTURES / 255, LABELS)) == []


def test_bytes_that_were_cast_are_said_for_a_model_of_bytes():
    data = dl.data.ImageDataset(PICTURES.astype(np.uint8), LABELS, ["a", "b", "c"])
    model, how = network(inputs=64), {"transform": dl.data.Normalize.of(data)}
    assert fit(model, data, validation=data, **how) == []
    assert one(fit(model, data, validation=(PICTURES, LABELS), **how), "fit: validation: the model was fitted to")
    for right in (PICTURES.astype(np.uint8), PICTURES / 255, PICTURES > 100):
        dl.predict(model, right)
    for wrong in (PICTURES, PICTURES.astype(np.int64), (PICTURES / 255 - 0.3) / 0.3):
        with pytest.warns(RuntimeWarning, match=r"^predict: .* in (float32|int64) and are taken as they are"):
            dl.predict(model, wrong)
    part = dl.data.random_split((PICTURES, LABELS), [0.5, 0.5], seed=0)[1]
    with pytest.warns(RuntimeWarning, match=r"^evaluate: .* these go from 0 to 255"):
        dl.evaluate(model, part, loss="cross_entropy")


def test_a_model_that_scales_its_inputs_itself_is_right():
    class Scaling(nn.Module):
        def forward(self, x):
            return x / 255 - 0.5

    model = nn.Sequential(Scaling(), *network(inputs=64).children())
    assert fit(model, (PICTURES, LABELS)) == []


def test_data_that_are_not_finite_are_said_before_the_first_step():
    x = X.copy()
    x[[4, 9], 2] = np.nan
    texts = fit(network(), (x, LABELS), epochs=1)
    assert "the inputs hold NaN or infinities in 2 of 96 samples, the first in sample 4" in texts[0]
    filled = fit(network(), (x, LABELS), transform=lambda v: dl.where(dl.isnan(v), 0.0, v))
    assert filled == []


def test_targets_that_the_loss_leaves_out_may_be_nan():
    def masked(outputs, targets):
        known = ~dl.isnan(targets)
        return (dl.where(known, outputs - dl.where(known, targets, 0.0), 0.0) ** 2).mean()

    y = X[:, :3].copy()
    y[3] = np.nan
    assert fit(network(), (X, y), loss=masked) == []


# -- optimizers and losses ------------------------------------------------------------------------------------------


def test_an_optimizer_that_lacks_parameters_is_said():
    model = network()
    head = list(model.children())[-1]
    assert one(fit(model, optimizer=optim.SGD(head.parameters(), lr=0.1)), "lacks 1.weight, 1.bias")
    list(model.children())[1].requires_grad_(False)
    assert fit(model, optimizer=optim.SGD(head.parameters(), lr=0.1)) == []
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    model.to(dl.float64)
    assert fit(model, optimizer=optimizer) == []  # it goes on with them


def test_a_parameter_replaced_in_a_list_is_said():
    class Listed(nn.Module):
        def __init__(self):
            self.weights = [nn.Parameter(dl.ones(6, 3)), nn.Parameter(dl.ones(3))]

        def forward(self, x):
            return x @ self.weights[0] + self.weights[1]

    model = Listed()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    assert fit(model, optimizer=optimizer) == []
    model.weights[1] = dl.zeros(3)
    assert one(fit(model, optimizer=optimizer), "1 parameters, of shapes (3,), that the model has not")


def test_a_loss_that_does_not_move_is_explained():
    assert one(fit(network(), lr=0.0), "the learning rate is 0")
    dead = network(nn.ReLU())
    with dl.no_grad():
        list(dead.children())[3].bias.fill_(-100.0)
    assert one(fit(dead), "the gradient of all parameters is 0")
    assert fit(network(), lr=1e-3) == []


# -- by hand --------------------------------------------------------------------------------------------------------


def test_a_step_without_any_gradient_is_said_once():
    optimizer = optim.AdamW(network().parameters())
    with pytest.warns(RuntimeWarning, match=r"AdamW.step: no parameter has a gradient") as caught:
        optimizer.step()
        optimizer.step()
    assert len(caught) == 1 and caught[0].filename == __file__


def test_dropout_in_an_evaluation_in_training_mode_is_said():
    model = network(nn.Dropout())
    with dl.no_grad(), pytest.warns(RuntimeWarning, match="training mode under no_grad") as caught:
        model(dl.tensor(X))
    assert caught[0].filename == __file__
    with dl.no_grad():
        model.eval()(dl.tensor(X))
    model.train()(dl.tensor(X))
    assert fit(model, validation=(X, LABELS)) == []


# -- values that are not finite -------------------------------------------------------------------------------------


def test_an_anomaly_names_the_operation_and_its_operands():
    x = dl.tensor([1.0, -1.0])
    text = r"log made a NaN: f32\[2\] in \[-1, 1\] -> f32\[2\]"
    with dl.detect_anomaly(), pytest.raises(dl.AnomalyError, match=text):
        dl.log(x)
    with dl.detect_anomaly():
        masked = dl.where(dl.tensor([True, False]), x, -float("inf"))  # what a program writes itself
        assert dl.softmax(masked).tolist() == [1.0, 0.0]
        dl.log(dl.tensor([np.nan]))
    assert np.isnan(dl.log(x).numpy()[1])


def test_an_anomaly_is_found_in_a_backward_pass_a_recorded_step_and_an_optimizer():
    w = nn.Parameter(dl.tensor([0.0]))
    with dl.detect_anomaly(), pytest.raises(dl.AnomalyError):
        dl.sqrt(w).sum().backward()
    step = dl.capture(lambda x: dl.exp(x) * 2)
    for _ in range(3):
        step(dl.tensor([1.0]))
    with dl.detect_anomaly(), pytest.raises(dl.AnomalyError, match="exp made an infinity"):
        step(dl.tensor([1000.0]))
    assert step(dl.tensor([0.0])).tolist() == [2.0]
    w.grad = dl.tensor([1e38])
    with dl.detect_anomaly(), pytest.raises(dl.AnomalyError):
        optim.SGD([w], lr=1e10).step()


class Leaving(nn.Module):
    """A model whose outputs leave what a logarithm takes, after some steps."""

    def __init__(self):
        dl.manual_seed(0)
        self.inner, self.drop = nn.Linear(6, 1), nn.Dropout(0.1)

    def forward(self, x):
        return dl.log(self.drop(self.inner(x)) + 2.5)


@pytest.mark.parametrize("make", [optim.AdamW, optim.SGD])
@pytest.mark.parametrize("record", [True, False])
def test_stopping_leaves_the_state_from_before_the_bad_step(record, make):
    y = X.sum(1, keepdims=True)
    settings = {"loss": "mse", "epochs": 8, "batch_size": 8, "seed": 0, "record": record}
    kept, model = [], Leaving()

    class Keeping(dl.train.Callback):
        def on_batch_end(self, run):
            kept.append([p.numpy().copy() for p in model.parameters()])

    with pytest.warns(RuntimeWarning, match="fit: loss is nan"):
        warned = dl.fit(
            model, (X, y), optimizer=make(model.parameters(), lr=0.02), callbacks=[Keeping()], **settings
        )
    again = Leaving()
    with pytest.warns(RuntimeWarning, match=r"in epoch \d, batch \d+: log made a NaN: .*test_mistakes.py") as caught:
        history = dl.fit(
            again, (X, y), optimizer=make(again.parameters(), lr=0.02), non_finite="stop", **settings
        )
    assert len(caught) == 1 and history.diverged == warned.diverged == len(history)
    epoch, batch = map(int, re.search(r"epoch (\d+), batch (\d+)", str(caught[0].message)).groups())
    expected = kept[(epoch - 1) * 12 + batch - 2]
    assert all((p.numpy() == e).all() for p, e in zip(again.parameters(), expected, strict=True))
    assert np.isfinite(history["loss"]).all()


def test_a_finite_run_is_the_same_with_a_sentinel():
    models = [network(), network()]
    losses = []
    for model, how in zip(models, ("warn", "stop"), strict=True):
        settings = {"optimizer": optim.AdamW(model.parameters()), "seed": 0, "epochs": 3, "non_finite": how}
        history = dl.fit(model, (X, LABELS), loss="cross_entropy", **settings)
        losses.append(history["loss"])
    assert losses[0] == losses[1]
    assert all((a.numpy() == b.numpy()).all() for a, b in zip(*(m.parameters() for m in models), strict=True))


# -- summary --------------------------------------------------------------------------------------------------------


def test_a_summary_counts_parameters_and_work():
    table = dl.summary(network(), (5, 6))
    assert [row.kind for row in table.rows] == ["Sequential", "Flatten", "Linear", "ReLU", "Linear"]
    assert [row.outputs for row in table.rows[2:]] == [((5, 8),), ((5, 8),), ((5, 3),)]
    assert table.parameters == 6 * 8 + 8 + 8 * 3 + 3 and table.bytes == 4 * table.parameters
    assert table.rows[2].flops >= 2 * 5 * 6 * 8 and table.flops >= sum(row.flops for row in table.rows[1:]) * 0.9
    assert "203" not in str(table) and "Linear" in str(table)


def test_a_summary_takes_several_inputs_and_shared_and_nested_modules():
    class Pair(nn.Module):
        def __init__(self):
            self.inner = nn.Sequential(nn.Linear(4, 4), nn.Dropout())
            self.again = self.inner

        def forward(self, x, y, scale=None):
            return {"x": self.inner(x), "y": (self.again(y), x)}

    model = Pair()
    state = dl.random.generator_states()
    table = dl.summary(model, (2, 4), np.ones((3, 4), np.float32))
    assert table.rows[0].inputs == ((2, 4), (3, 4)) and table.rows[0].outputs == ((2, 4), (3, 4), (2, 4))
    assert [row.parameters for row in table.rows] == [20, 20, 20, 0, 0, 0, 0] and table.parameters == 20
    now = dl.random.generator_states()
    assert all((value.numpy() == now[name].numpy()).all() for name, value in state.items())
    assert "forward" not in vars(model) and "forward" not in vars(model.inner)


def test_a_summary_refuses_what_is_no_input():
    with pytest.raises(TypeError, match=r"summary: inputs\[0\] is a tensor, an array or a shape, not 3"):
        dl.summary(network(), 3)
    with pytest.raises(TypeError, match="summary: model"):
        dl.summary(3, (1, 2))


# -- short runs -----------------------------------------------------------------------------------------------------


def everything(model, optimizer):
    state = optimizer.state_dict()
    tensors = [*model.state_dict().values(), *dl.random.generator_states().values()]
    tensors += [t for slots in state["state"].values() for t in slots.values()]
    gradients = [None if p.grad is None else p.grad.numpy().tolist() for p in model.parameters()]
    settings = [{k: v for k, v in group.items() if k != "params"} for group in state["param_groups"]]
    return [t.numpy().tolist() for t in tensors], gradients, settings, model.preprocessing, model.training


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("search", [dl.train.find_learning_rate, dl.train.overfit])
def test_short_runs_leave_everything_as_it_was(search, trained):
    model = network(nn.Dropout(0.1))
    head = list(model.children())[3].parameters()
    body = list(model.children())[1].parameters()
    optimizer = optim.AdamW([{"params": list(body)}, {"params": list(head), "lr": 0.02}], lr=0.01)
    if trained:
        dl.fit(model, (X, LABELS), loss="cross_entropy", optimizer=optimizer, epochs=2)
    model.eval()
    before = everything(model, optimizer)
    search(model, (X, LABELS), loss="cross_entropy", optimizer=optimizer, transform=lambda x: x * 2, steps=20)
    assert everything(model, optimizer) == before


def test_the_learning_rate_that_is_found_trains(tmp_path):
    y = X.sum(1, keepdims=True)
    model = network()
    found = dl.train.find_learning_rate(model, (X, LABELS), loss="cross_entropy", optimizer="sgd", high=100.0)
    assert len(found.rates) == len(found.losses) and np.isfinite(found.losses).all()
    assert found.rates[0] == pytest.approx(1e-6) and 1e-3 < found.suggestion < 10
    found.plot(tmp_path / "rates.png")
    assert (tmp_path / "rates.png").stat().st_size > 1000
    line = nn.Linear(6, 1)
    found = dl.train.find_learning_rate(line, (X, y), loss="mse", optimizer=optim.SGD(line.parameters()), high=1e4)
    assert len(found.rates) < 200 and found.rates[-1] < 1e4  # it diverges before
    history = dl.fit(line, (X, y), loss="mse", optimizer=optim.SGD(line.parameters(), lr=found.suggestion))
    assert history["loss"][-1] < 0.1 * history["loss"][0]


@pytest.mark.parametrize(("low", "high"), [(1.0, 0.1), (0.0, 1.0), (-1.0, 1.0), (1.0, 1.0)])
def test_rates_that_do_not_rise_are_refused(low, high):
    with pytest.raises(ValueError, match="0 < low < high"):
        dl.train.find_learning_rate(network(), (X, LABELS), loss="cross_entropy", optimizer="sgd", low=low, high=high)


@pytest.mark.parametrize(
    ("model", "rate", "text"),
    [
        (lambda: network(), 0.05, "^learnt: the loss went from"),
        (lambda: network(), 0.0, "the learning rate is 0"),
        (lambda: network(), 1e-5, "still falling|come to rest"),
        (lambda: nn.Sequential(nn.Linear(6, 3), nn.Identity(), Severed()), 0.05, "gradient of .* is 0 or none"),
    ],
)
def test_overfitting_one_batch_says_what_is_wrong(model, rate, text):
    made = model()
    optimizer = optim.Adam(made.parameters(), lr=rate)
    outcome = dl.train.overfit(made, (X, LABELS), loss="cross_entropy", optimizer=optimizer)
    assert re.search(text, str(outcome)), str(outcome)
    assert outcome.learned == text.startswith("^") and len(outcome.losses) == 300


class Severed(nn.Module):
    """A layer that lets no gradient through, with a bias of its own."""

    def __init__(self):
        self.bias = nn.Parameter(dl.zeros(3))

    def forward(self, x):
        return x.detach() + self.bias


def test_overfitting_says_where_the_loss_is_not_finite():
    model = nn.Linear(6, 1)
    optimizer = optim.SGD(model.parameters(), lr=1e20)
    outcome = dl.train.overfit(model, (X, X.sum(1, keepdims=True)), loss="mse", optimizer=optimizer)
    assert not outcome.learned and re.search(r"not finite at step \d; take", outcome.reason)
