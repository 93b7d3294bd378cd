"""Launches of a recorded step that become one: replays keep the bits of the eager step, and nothing else is merged."""

import os

import numpy as np
import pytest

import dlcore as dl
from dlcore import nn, optim
from dlcore.ops._activations import ACTIVATIONS

DEVICES = ["cpu"]
try:
    dl.device("cuda")
    DEVICES.append("cuda")
except dl.DeviceError:
    pass

RNG = np.random.default_rng(11)
STEPS = 2 if os.environ.get("DLCORE_CUDA") == "interpreter" else 4


def floats(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def bits(value):
    if isinstance(value, tuple | list):
        return [bits(v) for v in value]
    return None if value is None else (value.shape, value.dtype.name, value.detach().numpy().tobytes())


def operations(captured):
    """The operations of the newest recording, with the residual each adds and the activation it applies."""
    found = []
    for _, op, attrs, _, _, inputs, *_ in captured._entries[0].recording.commands:
        operands = dict(zip(op.input_names, inputs, strict=False)) if op else {}
        residual = "+residual" if operands.get("residual") is not None else ""
        activation = dict(zip(op.attribute_names, attrs, strict=True)).get("activation") if op else None
        found.append(f"{op.name if op else 'copy'}{residual}{f'+{activation}' if activation else ''}")
    return found


def replayed(function, *args, parameters=(), calls=4):
    """The captured function, after its replays have given the bits of eager calls, gradients included."""
    captured = dl.capture(function)
    for _ in range(calls):
        results = []
        for call in (function, captured):
            for p in parameters:
                p.grad = None
            results.append((bits(call(*args)), bits([p.grad for p in parameters])))
        assert results[0] == results[1]
    assert captured._entries[0].recording.replays > 0
    return captured


class Plain(nn.Module):
    """Two layers as people write them."""

    def __init__(self, activation, features=(9, 13, 4)):
        self.fc1, self.fc2 = nn.Linear(*features[:2]), nn.Linear(*features[1:])
        self.activation = activation

    def forward(self, x):
        return self.fc2(self.activation(self.fc1(x)))


@pytest.mark.smoke
@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [dl.float32, dl.float64, dl.bfloat16], ids=lambda d: d.name)
@pytest.mark.parametrize("device", DEVICES)
def test_a_plain_module_trains_in_merged_launches(device, name, dtype):
    if device == "cuda" and (name in ("sigmoid", "gelu_tanh") or dtype is dl.float64):
        pytest.skip("interpreted slowly, and like the others")
    states = []
    for capture in (False, True):
        dl.manual_seed(0)
        model = Plain(ACTIVATIONS[name]).to(device).to(dtype)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        rng = np.random.default_rng(1)

        def step(x, y, model=model, optimizer=optimizer):
            optimizer.zero_grad()
            loss = dl.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        run = dl.capture(step) if capture else step
        losses = []
        for _ in range(STEPS):
            x, y = (dl.tensor(rng.standard_normal(s), dtype=dtype, device=device) for s in ((7, 9), (7, 4)))
            losses.append(bits(run(x, y)))
        states.append((losses, bits(list(model.parameters()))))
    assert states[0] == states[1]
    found, commands = operations(run), run._entries[0].recording.commands
    assert found[0] == f"linear+{name}" and found[1] == "linear"
    assert commands[0][0] == commands[1][0]  # by the same device's kernel
    backward = [o for o in found if o.startswith("linear_backward")]
    apart = [o for o in found if o.startswith(name.removesuffix("_tanh"))]
    if device == "cpu":
        assert backward == ["linear_backward", f"linear_backward+{name}"] and apart == []
    else:
        assert backward == ["linear_backward"] * 2 and apart == [f"{name}_backward"]


def test_explain_names_what_is_merged():
    model, x = Plain(dl.relu), dl.tensor(floats(5, 9))
    captured = replayed(lambda x: model(x).sum().backward(), x, parameters=list(model.parameters()))
    for p in model.parameters():
        p.grad = None
    rows = captured.explain(repeats=1).rows
    assert [r.fused for r in rows if r.operation == "linear"] == ["linear + bias + relu", "linear + bias"]
    assert "linear_backward + relu" in [r.fused for r in rows]


def test_memory_plan_knows_of_it():
    model, x = Plain(dl.relu, (9, 1000, 4)), dl.tensor(floats(50, 9))
    apart = dl.capture(lambda x: (model.fc1(x).relu().exp(), model.fc1(x) * 1)).plan(x)
    merged = dl.capture(lambda x: (model.fc1(x).relu() * 1, model.fc1(x) * 1)).plan(x)
    assert merged.arena_bytes <= apart.arena_bytes


def test_a_value_that_others_need_is_written_too():
    layer, x = nn.Linear(9, 6), dl.tensor(floats(5, 9))

    def function(x):
        pre = layer(x)
        out = dl.relu(pre)
        return out, (pre * 2).sum()

    captured = replayed(function, x)
    assert operations(captured)[:2] == ["linear+relu", "mul"]
    command = captured._entries[0].recording.commands[0]
    assert all(a is not None for a in command[6])


def test_no_value_is_written_for_nobody():
    layer, x = nn.Linear(9, 6).requires_grad_(False), dl.tensor(floats(5, 9))  # a gradient would need the value
    captured = replayed(lambda x: dl.gelu(layer(x)), x)
    assert operations(captured) == ["linear+gelu"]
    assert captured._entries[0].recording.commands[0][6][1] is None


def _returned(layer, x):
    pre = layer(x)
    return dl.relu(pre), pre


def _read_before(layer, x):
    pre = layer(x)
    doubled = pre * 2
    return dl.relu(pre) + doubled


def _in_place(layer, x):
    pre = layer(x)
    pre += 1
    return dl.relu(pre)


def _slice(layer, x):
    return dl.relu(layer(x)[1:])


def _reshaped(layer, x):
    return dl.relu(layer(x).reshape(-1))


def _transposed(layer, x):
    return dl.relu(layer(x).transpose())


def _activation_of_activation(layer, x):
    return dl.tanh(dl.relu(layer(x)))


def _weight_changed_between(layer, x):
    pre = layer(x)
    layer.weight.mul_(0.5)
    return dl.relu(pre)


HAZARDS = {
    "returned": (_returned, ["linear", "relu"], "its value is a result"),
    "read before": (_read_before, ["linear", "mul", "relu", "add"], "1 needs its value too"),
    "in place": (_in_place, ["linear", "add", "relu"], None),
    "slice": (_slice, ["linear", "relu"], "other shape"),
    "reshaped": (_reshaped, ["linear", "relu"], "other shape"),
    "transposed": (_transposed, ["linear", "relu"], "other shape"),
    "twice": (_activation_of_activation, ["linear+relu", "tanh"], None),
    "weight changed between": (_weight_changed_between, ["linear", "mul", "relu"], "1 changes memory in between"),
}


@pytest.mark.parametrize("hazard", HAZARDS)
def test_nothing_is_merged_that_must_stay_apart(hazard):
    function, expected, why = HAZARDS[hazard]
    x, captured = dl.tensor(floats(5, 9)), None
    with dl.no_grad():
        results = []
        for capture in (False, True):
            dl.manual_seed(2)
            layer = nn.Linear(9, 6)
            step = lambda x, layer=layer: function(layer, x)  # noqa: E731
            captured = dl.capture(step) if capture else step
            results.append([bits(captured(x)) for _ in range(4)])
        assert results[0] == results[1]
    assert operations(captured) == expected
    if why is not None:
        reasons = [r.unfused for r in captured.explain(repeats=1).rows]
        assert any(why in reason for reason in reasons), reasons


def _program(seed):
    """A random step over layers: values made of others, some of which it changes in place or returns."""
    rng = np.random.default_rng(seed)
    plan = [(rng.integers(9), *rng.integers(1 << 30, size=3)) for _ in range(rng.integers(3, 9))]
    backward = bool(rng.integers(2))
    layers = [nn.Linear(6, 6), nn.Linear(6, 6, bias=False), nn.BatchNorm1d(6)]
    activations = list(ACTIVATIONS.values())

    def function(x):
        values = [layers[0](x)]
        for kind, a, b, c in plan:
            one, other = values[a % len(values)], values[b % len(values)]
            if kind < 3:
                values.append(layers[c % 3](one))
            elif kind < 6:
                values.append(activations[c % len(activations)](other if c % 3 else values[-1]))
            elif kind == 6:
                values.append(one + other)
            elif kind == 7:
                part = dl.relu(one[1:4]).sum() + one
                values.append(one.transpose() if c % 2 else part)
            elif not backward and c % 2:
                one += other
            elif not backward:
                one *= 0.5
        out = [v for k, v in enumerate(values) if k == len(values) - 1 or plan[0][1] >> k & 1]
        if backward:
            sum((v.sum() for v in out), dl.zeros(())).backward()
        return [v * 1 if backward else v for v in out]

    return function, [p for layer in layers for p in layer.parameters()], backward


@pytest.mark.parametrize("seed", range(30))
def test_random_steps(seed):
    dl.manual_seed(seed)
    function, parameters, backward = _program(seed)
    x = dl.tensor(floats(6, 6))
    with dl.enable_grad() if backward else dl.no_grad():
        replayed(function, x, parameters=parameters, calls=3)


def test_two_activations_of_one_value():
    layer, x = nn.Linear(9, 6), dl.tensor(floats(5, 9))

    def function(x):
        pre = layer(x)
        return dl.relu(pre) * dl.sigmoid(pre)

    captured = replayed(function, x)
    assert operations(captured) == ["linear+relu", "sigmoid", "mul"]
    captured = replayed(lambda x: function(x).sum().backward(), x, parameters=list(layer.parameters()))
    assert "linear_backward" in operations(captured)  # its dpre is a sum


@pytest.mark.parametrize("operands", ["vector", "many axes", "no rows", "expanded gradient", "no bias"])
def test_shapes_and_layouts(operands):
    shapes = {"vector": (9,), "many axes": (2, 3, 9), "no rows": (0, 9)}
    layer = nn.Linear(9, 6, bias=operands != "no bias")
    x = dl.tensor(floats(*shapes.get(operands, (5, 9))))

    def function(x):
        out = dl.gelu(layer(x))
        (out.sum() if operands == "expanded gradient" else (out * out).sum()).backward()

    captured = replayed(function, x, parameters=list(layer.parameters()))
    assert "linear+gelu" in operations(captured)


def test_gradients_that_accumulate_and_errors_in_between():
    """Where a step ends with an error, gradients are what they were at that command."""
    layer = nn.Linear(6, 5)
    labels = [dl.tensor(np.array(v)) for v in ([0, 1, 4], [0, 1, 7])]
    x = dl.tensor(floats(3, 6))
    traces = []
    for capture in (False, True):
        dl.manual_seed(0)
        layer = nn.Linear(6, 5)

        def step(x, y, layer=layer):
            layer.weight.grad = None
            dl.relu(layer(x)).sum().backward()
            loss = dl.cross_entropy(dl.relu(layer(x)), y)
            loss.backward()
            return loss

        run = dl.capture(step) if capture else step
        trace = []
        for k in (0, 0, 0, 1, 0):
            try:
                trace.append(bits(run(x, labels[k])))
            except IndexError as error:
                trace.append(str(error))
            trace.append(bits([p.grad for p in layer.parameters()]))
        traces.append(trace)
    assert traces[0] == traces[1]
    assert operations(run).count("linear+relu") == 2


def test_checked_recordings_are_merged_alike():
    model, x = Plain(dl.tanh), dl.tensor(floats(5, 9))
    step = dl.capture(lambda x: model(x).sum(), check=2)
    for _ in range(8):
        step(x)
    assert operations(step)[0] == "linear+tanh"


# ---- batch normalisation --------------------------------------------------------------------------------------------


class Block(nn.Module):
    """A residual block as people write it."""

    def __init__(self, layout="NCHW"):
        self.first, self.bn1 = nn.Conv2d(3, 5, 3, padding=1, bias=False), nn.BatchNorm2d(5)
        self.conv, self.bn2 = nn.Conv2d(5, 5, 3, padding=1, bias=False), nn.BatchNorm2d(5)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
                module.layout = layout

    def forward(self, x):
        x = nn.functional.relu(self.bn1(self.first(x)))
        return nn.functional.relu(x + self.bn2(self.conv(x)))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", [dl.float32, dl.float64, dl.bfloat16, dl.float16], ids=lambda d: d.name)
@pytest.mark.parametrize("device", DEVICES)
def test_a_residual_block_trains_in_merged_launches(device, dtype, layout):
    if device == "cuda" and (dtype is not dl.float32 or layout == "NHWC"):
        pytest.skip("interpreted slowly, and like the others; channels last are composed")
    states = []
    for capture in (False, True):
        dl.manual_seed(0)
        model = Block(layout).to(device).to(dtype)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        rng = np.random.default_rng(1)

        def step(x, model=model, optimizer=optimizer):
            optimizer.zero_grad()
            loss = (model(x) ** 2).mean()
            loss.backward()
            optimizer.step()
            return loss

        run = dl.capture(step) if capture else step
        shape = (4, 3, 6, 7) if layout == "NCHW" else (4, 6, 7, 3)
        losses = [bits(run(dl.tensor(rng.standard_normal(shape), dtype=dtype, device=device))) for _ in range(STEPS)]
        states.append((losses, {name: bits(value) for name, value in model.state_dict().items()}))
    assert states[0] == states[1]
    found = operations(run)
    norms = ["batch_norm_training+relu", "batch_norm_training+residual+relu"]
    assert [o for o in found if o.startswith("batch_norm_training")] == norms
    assert "relu" not in found
    # the gradient of the second ReLU goes to the shortcut, too; a GPU's kernel takes none
    rectified = "batch_norm_backward" + "+relu" * (device == "cpu")
    assert [o for o in found if o.startswith("batch_norm_backward")] == ["batch_norm_backward", rectified]


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("shape", [(3, 5, 33, 16), (2, 4, 8, 16), (2, 150, 3, 3)], ids=str)
@pytest.mark.parametrize("needed", [True, False], ids=["dx", "no dx"])
def test_the_gradient_of_a_relu_goes_with_that_of_batch_normalisation(shape, layout, needed):
    bn, x = nn.BatchNorm2d(shape[1 if layout == "NCHW" else 3]), dl.tensor(floats(*shape))
    bn.layout = layout
    x = x.requires_grad_(needed)
    step = lambda x: (dl.relu(bn(x)) ** 2).sum().backward()  # noqa: E731
    captured = replayed(step, x, parameters=[x, *bn.parameters()])
    assert "batch_norm_backward+relu" in operations(captured)
    assert "relu_backward" not in operations(captured)


def test_a_gradient_that_others_need_stays_apart_from_that_of_batch_normalisation():
    bn, x, more = nn.BatchNorm1d(9), dl.tensor(floats(6, 9)), dl.tensor(floats(6, 9)).requires_grad_()
    step = lambda x: (dl.relu(bn(x) + more) ** 2).sum().backward()  # noqa: E731
    captured = replayed(step, x, parameters=[more, *bn.parameters()])
    assert {"relu_backward", "batch_norm_backward"} <= set(operations(captured))


def test_explain_names_what_goes_with_batch_normalisation():
    bn, x = nn.BatchNorm1d(9), dl.tensor(floats(6, 9))
    step = lambda x: (dl.relu(x * 3 + bn(x * 2)) ** 2).sum().backward()  # noqa: E731
    captured = replayed(step, x, parameters=list(bn.parameters()))
    for p in bn.parameters():
        p.grad = None
    fused = [r.fused for r in captured.explain(repeats=1).rows]
    assert "batch_norm_training + residual + relu" in fused


def _norm_twice(bn, x):
    return dl.relu(bn(x * 2)) + dl.relu(bn(x * 3))


def _statistics_read_between(bn, x):
    out = bn(x * 2)
    kept = bn.running_mean * 2
    return dl.relu(out), kept


def _argument_read_between(bn, x):  # which might be the running statistics
    out = bn(x * 2)
    kept = x * 3
    return dl.relu(out), kept


def _statistics_set_between(bn, x):
    out = bn(x * 2)
    bn.running_mean.mul_(0.5)
    return dl.relu(out)


def _argument_added(bn, x):
    return dl.relu(bn(x * 2) + x)


def _statistics_added(bn, x):
    return bn(x * 2) + bn.running_mean.expand(x.shape)


def _vector_added(bn, x):
    return bn(x * 2) + (x * 3)[:1]


def _norm_returned(bn, x):
    out = bn(x * 2)
    return out, dl.relu(out)


def _doubled(bn, x):
    out = bn(x * 2)
    return out + out


def _relu_then_add(bn, x):
    shortcut = x * 3
    return dl.relu(bn(x * 2)) + shortcut


def _added_in_place(bn, x):
    shortcut = x * 3
    out = bn(x * 2)
    out += shortcut
    return dl.relu(out)


def _read_before_it_changes(bn, x):
    shortcut = x * 3
    out = bn(x * 2)
    kept = out * shortcut
    out += shortcut
    return dl.relu(out), kept


def _read_after_it_changes(bn, x):
    shortcut = x * 3
    out = bn(x * 2)
    out += shortcut
    return dl.relu(out), out * shortcut


def _two_residuals(bn, x):
    a, b = x * 3, x * 4
    return dl.relu(bn(x * 2) + a + b)


NORM_HAZARDS = {
    "twice": (_norm_twice, ["mul", "batch_norm_training+relu", "mul", "batch_norm_training+relu", "add"], None),
    "statistics read between": (
        _statistics_read_between, ["mul", "batch_norm_training", "mul", "relu"], "2 changes memory in between"),
    "argument read between": (
        _argument_read_between, ["mul", "batch_norm_training", "mul", "relu"], "2 reads memory in between"),
    "statistics set between": (
        _statistics_set_between, ["mul", "batch_norm_training", "mul", "relu"], "2 changes memory in between"),
    "argument added": (
        _argument_added, ["mul", "batch_norm_training", "add", "relu"], "it changes memory from before the step"),
    "statistics added": (
        _statistics_added, ["mul", "batch_norm_training", "add"], "it changes memory from before the step"),
    "broadcast": (_vector_added, ["mul", "batch_norm_training", "mul", "add"], None),
    "returned": (_norm_returned, ["mul", "batch_norm_training", "relu"], "its value is a result"),
    "doubled": (_doubled, ["mul", "batch_norm_training", "add"], None),
    "relu, then add": (_relu_then_add, ["mul", "mul", "batch_norm_training+relu", "add"], None),
    "added in place": (_added_in_place, ["mul", "mul", "batch_norm_training+residual+relu"], None),
    "read before it changes": (
        _read_before_it_changes, ["mul", "mul", "batch_norm_training", "mul", "add", "relu"], "3 needs its value too"),
    "read after it changes": (
        _read_after_it_changes, ["mul", "mul", "batch_norm_training+residual", "relu", "mul"], None),
    "two residuals": (
        _two_residuals, ["mul", "mul", "mul", "batch_norm_training+residual", "add", "relu"], None),
}  # fmt: skip


@pytest.mark.parametrize("hazard", NORM_HAZARDS)
def test_batch_normalisation_goes_together_with_what_follows_where_it_can(hazard):
    function, expected, why = NORM_HAZARDS[hazard]
    x, results, captured = dl.tensor(floats(6, 9)), [], None
    with dl.no_grad():
        for capture in (False, True):
            bn = nn.BatchNorm1d(9)
            step = lambda x, bn=bn: function(bn, x)  # noqa: E731
            captured = dl.capture(step) if capture else step
            results.append([(bits(captured(x)), {k: bits(v) for k, v in bn.state_dict().items()}) for _ in range(4)])
    assert results[0] == results[1]
    assert operations(captured) == expected
    if why is not None:
        reasons = [r.unfused for r in captured.explain(repeats=1).rows]
        assert any(why in reason for reason in reasons), reasons
