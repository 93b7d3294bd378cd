"""Attention with several heads and transformers: against NumPy, masks, hidden rows, names, recorded steps, files."""

import copy
import json
import math
from pathlib import Path

import numpy as np
import pytest

import dlcore as dl
from bench import transformer_curves
from bench.cnn_curves import sums
from dlcore import models, nn, optim

CURVES = json.loads((Path(__file__).parent / "transformer_curves.json").read_text())
RNG = np.random.default_rng(5)
INF = math.inf


def drawn(*shape):
    return RNG.standard_normal(shape)


def randomised(model):
    """The model with all parameters drawn, biases too."""
    with dl.no_grad():
        for p in model.parameters():
            p.copy_(dl.tensor(0.5 * RNG.standard_normal(p.shape)))
    return model


def softmax(x):
    """Along the last axis; of a row of -inf, zeros."""
    top = x.max(-1, initial=-INF, keepdims=True)
    e = np.exp(x - np.where(np.isinf(top), 0, top))
    return e / np.maximum(e.sum(-1, keepdims=True), 1e-300)


def by_hand(layer, query, key, value, padding=None, attn=None, causal=False):
    """What the layer gives for batches (N, L, E), head by head in loops; masks are added."""
    p = {name: np.asarray(v) for name, v in layer.state_dict().items()}
    e, heads = layer.embed_dim, layer.num_heads
    weights = np.split(p["in_proj_weight"], 3) if "in_proj_weight" in p else [p[f"{c}_proj_weight"] for c in "qkv"]
    biases = np.split(p.get("in_proj_bias", np.zeros(3 * e)), 3)
    q, k, v = (x @ w.T + b for x, w, b in zip((query, key, value), weights, biases, strict=True))
    n, length, keys = len(q), q.shape[1], k.shape[1]
    added = np.zeros((n, heads, length, keys))
    if padding is not None:
        added += padding[:, None, None]
    if attn is not None:
        added += attn.reshape(n, heads, length, keys) if attn.ndim == 3 else attn
    if causal:
        added += np.triu(np.full((length, keys), -INF), 1)
    learned = [(p["bias_k"], p["bias_v"])] if "bias_k" in p else []
    for extra in learned + [(np.zeros((1, 1, e)),) * 2] * layer.add_zero_attn:
        k, v = (np.concatenate([x, np.broadcast_to(b, (n, 1, e))], 1) for x, b in zip((k, v), extra, strict=True))
        added = np.pad(added, [(0, 0)] * 3 + [(0, 1)])
    out, found = np.zeros_like(q), np.zeros_like(added)
    for sample in range(n):
        for h in range(heads):
            at = slice(h * e // heads, (h + 1) * e // heads)
            scores = q[sample, :, at] @ k[sample, :, at].T / math.sqrt(e // heads)
            found[sample, h] = softmax(scores + added[sample, h])
            out[sample, :, at] = found[sample, h] @ v[sample, :, at]
    return out @ p["out_proj.weight"].T + p.get("out_proj.bias", 0.0), found


LAYERS = [
    {}, {"bias": False}, {"kdim": 3}, {"vdim": 5, "bias": False}, {"add_bias_kv": True}, {"add_zero_attn": True},
    {"add_bias_kv": True, "add_zero_attn": True, "kdim": 3, "vdim": 5},
]  # fmt: skip


@pytest.mark.parametrize("kind", ["none", "bool", "float", "mixed"])
@pytest.mark.parametrize("options", LAYERS, ids=str)
def test_attention_is_what_loops_over_heads_give(options, kind):
    layer = randomised(nn.MultiheadAttention(12, 3, batch_first=True, dtype="float64", **options))
    query, key = drawn(2, 4, 12), drawn(2, 5, layer.kdim)
    value = key if layer.kdim == layer.vdim else drawn(2, 5, layer.vdim)
    padding, attn = RNG.random((2, 5)) < 0.3, RNG.random((6, 4, 5)) < 0.3
    padding[:, 0] = attn[..., 0] = False
    hidden = [np.where(padding, -INF, 0.0), np.where(attn, -INF, drawn(6, 4, 5) if kind == "float" else 0.0)]
    given = {
        "none": (None, None), "bool": (padding, attn), "float": hidden, "mixed": (padding, hidden[1]),
    }[kind]  # fmt: skip
    for causal in (False, True):
        masks = hidden if kind != "none" else (None, None)
        wanted, weights = by_hand(layer, query, key, value, *masks, causal=causal)
        k = dl.tensor(key)
        v = k if value is key else dl.tensor(value)
        masks = {"key_padding_mask": given[0], "attn_mask": given[1], "is_causal": causal}
        out, found = layer(dl.tensor(query), k, v, average_attn_weights=False, **masks)
        np.testing.assert_allclose(np.asarray(out), wanted, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(np.asarray(found), weights, rtol=1e-9, atol=1e-12)
        out, found = layer(dl.tensor(query), k, v, **masks)
        np.testing.assert_allclose(np.asarray(found), weights.mean(1), rtol=1e-9, atol=1e-12)
        out, found = layer(dl.tensor(query), k, v, need_weights=False, **masks)
        assert found is None
        np.testing.assert_allclose(np.asarray(out), wanted, rtol=1e-9, atol=1e-12)


def test_self_attention_is_one_product_of_the_same_result_in_every_layout():
    layer = randomised(nn.MultiheadAttention(8, 2, batch_first=True, dtype="float64"))
    x = dl.tensor(drawn(3, 5, 8))
    wanted, weights = by_hand(layer, *[np.asarray(x)] * 3)
    out, found = layer(x, x, x)
    np.testing.assert_allclose(np.asarray(out), wanted, rtol=1e-9)
    single, one = layer(x[1], x[1], x[1])
    np.testing.assert_allclose(np.asarray(single), wanted[1], rtol=1e-9)
    assert one.shape == (5, 5)
    layer.batch_first = False
    turned = x.transpose(0, 1)
    out, found = layer(turned, turned, turned)
    np.testing.assert_allclose(np.asarray(out.transpose(0, 1)), wanted, rtol=1e-9)
    np.testing.assert_allclose(np.asarray(found), weights.mean(1), rtol=1e-9)


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("numbers", [False, True], ids=["bools", "numbers"])
def test_a_query_without_keys_gets_zeros_and_gives_no_nan(need_weights, numbers):
    layer = nn.MultiheadAttention(8, 2, batch_first=True)
    with dl.no_grad():
        layer.out_proj.bias.fill_(0.25)
    x = dl.tensor(drawn(2, 3, 8).astype(np.float32), requires_grad=True)
    padding = np.array([[True] * 3, [False, True, False]])
    padding = np.where(padding, np.float32(-INF), np.float32(0)) if numbers else padding
    out, weights = layer(x, x, x, padding, need_weights)
    assert out[0].tolist() == [[0.25] * 8] * 3
    if need_weights:
        assert weights[0].tolist() == [[0.0] * 3] * 3
        np.testing.assert_allclose(np.asarray(weights[1].sum(-1)), 1, rtol=1e-6)
    out.square().sum().backward()
    for t in (x, *layer.parameters()):
        assert np.isfinite(np.asarray(t.grad)).all()
    assert not np.asarray(x.grad)[0].any()


@pytest.mark.parametrize("shape", [(0, 3, 8), (2, 0, 8)])
def test_empty_batches_and_sequences(shape):
    layer = nn.TransformerEncoderLayer(8, 2, 4, 0.0, batch_first=True)
    out = layer(dl.zeros(shape))
    assert out.shape == shape
    out.sum().backward()
    keys = dl.zeros(2, 0, 8)
    assert layer.self_attn(dl.ones(2, 3, 8), keys, keys)[0].tolist() == [[[0.0] * 8] * 3] * 2


def test_dropout_is_of_weights_in_training_alone():
    dl.manual_seed(3)
    layer = nn.MultiheadAttention(8, 2, dropout=0.5, batch_first=True)
    x = dl.tensor(drawn(4, 16, 8).astype(np.float32))
    for _ in range(2):
        _, weights = layer(x, x, x, average_attn_weights=False)
    share = float((np.asarray(weights) == 0).mean())
    assert 0.4 < share < 0.6
    layer.eval()
    _, kept = layer(x, x, x, average_attn_weights=False)
    dropped = np.asarray(weights) == 0
    np.testing.assert_allclose(np.asarray(weights), np.where(dropped, 0, 2 * np.asarray(kept)), rtol=1e-5)
    assert layer(x, x, x, need_weights=False)[0].tolist() == layer(x, x, x, need_weights=False)[0].tolist()
    layer.train()
    results = []
    for seed in (1, 1, 2):
        dl.manual_seed(seed)
        results.append(layer(x, x, x, need_weights=False)[0].tolist())
    assert results[0] == results[1] != results[2]


# ---- layers and stacks ----------------------------------------------------------------------------------------------


def test_names_of_parameters_are_pytorchs():
    assert list(nn.MultiheadAttention(4, 2, kdim=3, add_bias_kv=True).state_dict()) == [
        "q_proj_weight", "k_proj_weight", "v_proj_weight", "in_proj_bias", "bias_k", "bias_v", "out_proj.weight",
        "out_proj.bias",
    ]  # fmt: skip
    attention = ["in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"]
    linear = [f"linear{k}.{what}" for k in (1, 2) for what in ("weight", "bias")]
    norms = [f"norm{k}.{what}" for k in (1, 2) for what in ("weight", "bias")]
    layer = [*(f"self_attn.{a}" for a in attention), *linear, *norms]
    assert list(nn.TransformerEncoderLayer(4, 2, 8).state_dict()) == layer
    model = nn.Transformer(4, 2, 2, 1, 8)
    names = list(model.state_dict())
    assert names[: len(layer)] == [f"encoder.layers.0.{name}" for name in layer]
    assert {"encoder.norm.bias", "decoder.layers.0.multihead_attn.in_proj_weight", "decoder.layers.0.norm3.weight",
            "decoder.norm.weight"} <= {*names}  # fmt: skip
    assert not any("bias" in name for name in nn.Transformer(4, 2, 1, 1, 8, bias=False).state_dict())


def test_where_weights_start():
    dl.manual_seed(0)
    layer = nn.MultiheadAttention(64, 4, add_bias_kv=True)
    bound = math.sqrt(6 / (64 + 192))
    weight = np.asarray(layer.in_proj_weight.detach())
    assert np.abs(weight).max() <= bound and weight.std() == pytest.approx(bound / math.sqrt(3), rel=0.05)
    assert not np.asarray(layer.in_proj_bias.detach()).any() and not np.asarray(layer.out_proj.bias.detach()).any()
    extra = np.asarray(layer.bias_k.detach())
    assert extra.std() == pytest.approx(1 / 8, rel=0.4) and np.abs(extra).max() > math.sqrt(6 / 128)  # it is normal
    stack = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 4), 2)
    first, second = (layer.linear1.weight.tolist() for layer in stack.layers)
    assert first == second
    model = nn.Transformer(8, 2, 2, 1, 4)
    first, second = (layer.linear1.weight.tolist() for layer in model.encoder.layers)
    assert first != second
    assert np.abs(model.encoder.layers[0].linear1.weight.tolist()).max() <= math.sqrt(6 / 12)


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu", dl.silu])
def test_layers_are_made_of_their_parts(norm_first, activation):
    layer = nn.TransformerDecoderLayer(8, 2, 16, 0.0, activation, batch_first=True, norm_first=norm_first)
    randomised(layer)
    x, memory = (dl.tensor(drawn(2, n, 8).astype(np.float32)) for n in (4, 5))
    hidden = np.triu(np.ones((4, 4), bool), 1)
    act = {"relu": dl.relu, "gelu": dl.gelu}.get(activation, activation)
    parts = [
        lambda h: layer.self_attn(h, h, h, attn_mask=hidden)[0],
        lambda h: layer.multihead_attn(h, memory, memory)[0],
        lambda h: layer.linear2(act(layer.linear1(h))),
    ]
    h = x
    for part, norm in zip(parts, (layer.norm1, layer.norm2, layer.norm3), strict=True):
        h = h + part(norm(h)) if norm_first else norm(h + part(h))
    for masks in ({"tgt_mask": hidden}, {"tgt_is_causal": True}):
        np.testing.assert_allclose(np.asarray(layer(x, memory, **masks)), np.asarray(h), rtol=1e-5, atol=1e-6)


def test_a_transformer_is_its_encoder_and_its_decoder():
    model = randomised(nn.Transformer(8, 2, 2, 1, 16, batch_first=True)).eval()
    src, tgt = (dl.tensor(drawn(2, n, 8).astype(np.float32)) for n in (5, 4))
    padding = np.array([[False] * 5, [False, False, True, True, True]])
    mask = nn.Transformer.generate_square_subsequent_mask(4)
    out = model(src, tgt, tgt_mask=mask, src_key_padding_mask=padding, memory_key_padding_mask=padding)
    memory = model.encoder(src, src_key_padding_mask=padding)
    wanted = model.decoder(tgt, memory, tgt_is_causal=True, memory_key_padding_mask=padding)
    np.testing.assert_allclose(np.asarray(out), np.asarray(wanted), rtol=1e-5, atol=1e-6)
    changed = src.detach().numpy().copy()
    changed[1, 2:] = 7.0  # what is hidden is not read
    again = model(dl.tensor(changed), tgt, tgt_is_causal=True, src_key_padding_mask=padding,
                  memory_key_padding_mask=padding)  # fmt: skip
    np.testing.assert_allclose(np.asarray(again), np.asarray(out), rtol=1e-5, atol=1e-6)
    shorter = model(src[:1], tgt[:1, :3])
    hidden = model(src[:1], tgt[:1], tgt_key_padding_mask=np.array([[False] * 3 + [True]]))
    np.testing.assert_allclose(np.asarray(hidden[:, :3]), np.asarray(shorter), rtol=1e-5, atol=1e-6)
    later = tgt.detach().numpy().copy()
    later[:, 3] += 1.0
    moved = model(src, dl.tensor(later), tgt_is_causal=True)
    still = model(src, tgt, tgt_is_causal=True)
    assert moved[:, :3].tolist() == still[:, :3].tolist() and moved[:, 3].tolist() != still[:, 3].tolist()


def test_custom_parts_take_the_place_of_the_stacks():
    class Same(nn.Module):
        def forward(self, x, *args, **kwargs):
            return x

    model = nn.Transformer(8, 2, custom_encoder=Same(), custom_decoder=Same())
    assert model(dl.zeros(5, 2, 8), dl.ones(4, 2, 8)).tolist() == dl.ones(4, 2, 8).tolist()


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_recorded_steps_are_the_eager_ones_for_every_length(dropout):
    batches = []
    for length in (5, 7, 5, 7, 5, 7, 5):
        padding = RNG.random((2, length)) < 0.3
        padding[0] = length == 7  # a sample that is hidden whole
        batches.append((drawn(2, length, 8).astype(np.float32), drawn(2, 4, 8).astype(np.float32), padding))
    dl.manual_seed(0)
    first = nn.Transformer(8, 2, 1, 1, 16, dropout, batch_first=True, norm_first=True)
    losses = []
    for recorded in (False, True):
        model = copy.deepcopy(first)
        update = optim.SGD(model.parameters(), lr=0.05)

        def step(src, tgt, padding, model=model, update=update):
            update.zero_grad()
            out = model(src, tgt, tgt_is_causal=True, src_key_padding_mask=padding, memory_key_padding_mask=padding)
            loss = dl.mse_loss(out, tgt)
            loss.backward()
            update.step()
            return loss

        run = dl.capture(step) if recorded else step
        dl.manual_seed(1)
        losses.append([run(*map(dl.tensor, batch)).item() for batch in batches])
    assert losses[0] == losses[1] and np.isfinite(losses[0]).all()
    assert run.recordings == 2


def test_a_file_holds_a_transformer(tmp_path):
    model = nn.Transformer(8, 2, 2, 1, 16, activation=dl.silu, batch_first=True, norm_first=True).eval()
    dl.save(model, tmp_path / "m")
    loaded = dl.load(tmp_path / "m").eval()
    src, tgt = dl.ones(2, 5, 8), dl.ones(2, 4, 8)
    assert loaded(src, tgt).tolist() == model(src, tgt).tolist()
    assert loaded.decoder.layers[0].norm_first and not loaded.training


@pytest.mark.parametrize("dtype", [dl.float16, dl.bfloat16])
def test_half_precision_and_autocast(dtype):
    x, padding = dl.tensor(drawn(2, 3, 8).astype(np.float32)), np.array([[False, True, False]] * 2)
    layer = nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True)
    wanted = layer(x, src_key_padding_mask=padding)
    with dl.autocast(dtype=dtype):
        near = layer(x, src_key_padding_mask=padding)
    np.testing.assert_allclose(np.asarray(near), np.asarray(wanted), atol=0.05)
    low = layer.to(dtype)(x.astype(dtype), src_key_padding_mask=padding)
    assert low.dtype is dtype
    np.testing.assert_allclose(np.asarray(low.astype(dl.float32)), np.asarray(wanted), atol=0.05)


# ---- whole models --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", transformer_curves.MODELS)
@pytest.mark.parametrize("recorded", [False, True], ids=["eager", "recorded"])
def test_training_is_pytorchs(name, recorded):
    """From the same weights on the same padded batches: losses and weights as PyTorch's (float64)."""
    losses, model = transformer_curves.curve(
        name, dl, nn, dl.cross_entropy, lambda p: optim.SGD(p, **transformer_curves.SETTINGS),
        dl.capture if recorded else lambda step: step,
    )  # fmt: skip
    known = CURVES[name]
    np.testing.assert_allclose(losses, known["losses"], rtol=1e-8)
    state = sums({n: np.asarray(v) for n, v in model.state_dict().items()})
    assert list(state) == list(known["state"])
    for key, (total, squares) in state.items():
        np.testing.assert_allclose(squares, known["state"][key][1], rtol=1e-7, err_msg=key)
        np.testing.assert_allclose(total, known["state"][key][0], atol=1e-7 * (1 + squares), err_msg=key)


@pytest.mark.parametrize("padding", [0, -12])
def test_a_classifier_reads_no_padding(padding):
    dl.manual_seed(0)
    model = models.TransformerClassifier(12, 3, 8, width=8, heads=2, layers=1, padding=padding).eval()
    tokens = np.array([[3, 1, 4, 0, 0], [5, 9, 2, 6, 0]])
    out = model(dl.tensor(tokens))
    assert out.shape == (2, 3)
    np.testing.assert_allclose(np.asarray(model(dl.tensor(tokens[:1, :3]))), np.asarray(out[:1]), rtol=1e-5)
    longer = model(dl.tensor(np.pad(tokens, [(0, 0), (0, 3)])))
    np.testing.assert_allclose(np.asarray(longer), np.asarray(out), rtol=1e-5, atol=1e-6)
    nothing = model(dl.zeros(1, 4, dtype="int64"))
    assert nothing[0].tolist() == model.head.bias.tolist()
    with pytest.raises(dl.ShapeError, match=r"tokens have shape \(1, 9\), not \(N, L <= 8\)"):
        model(dl.zeros(1, 9, dtype="int64"))


# ---- wrong inputs ---------------------------------------------------------------------------------------------------

ATTENTION = nn.MultiheadAttention(8, 2, batch_first=True)
X = dl.ones(2, 3, 8)


@pytest.mark.parametrize(
    ("error", "text", "call"),
    [
        (ValueError, "MultiheadAttention: embed_dim 10 is not divisible by num_heads 3",
         lambda: nn.MultiheadAttention(10, 3)),
        (ValueError, "MultiheadAttention: num_heads is 0; it must be at least 1", lambda: nn.MultiheadAttention(8, 0)),
        (ValueError, "MultiheadAttention: dropout is a probability, not 1.5",
         lambda: nn.MultiheadAttention(8, 2, 1.5)),
        (dl.ShapeError, "MultiheadAttention: key has width 7, not 8: query (2, 3, 8), key (2, 3, 7), value (2, 3, 8)",
         lambda: ATTENTION(X, dl.ones(2, 3, 7), X)),
        (dl.ShapeError, "MultiheadAttention: there is not one value for each key: query (2, 3, 8), key (2, 4, 8), "
         "value (2, 3, 8)", lambda: ATTENTION(X, dl.ones(2, 4, 8), X)),
        (dl.ShapeError, "MultiheadAttention: axis 0, of the batch, differs: query (2, 3, 8), key (1, 3, 8), "
         "value (1, 3, 8)", lambda: ATTENTION(X, X[:1], X[:1])),
        (dl.ShapeError, "MultiheadAttention: takes three axes each, or two each, of one sample: query (2, 3, 8), "
         "key (3, 8), value (3, 8)", lambda: ATTENTION(X, X[0], X[0])),
        (dl.DTypeError, "MultiheadAttention: key (2, 3, 8) is of int64; it must be of a floating dtype: key.float()",
         lambda: ATTENTION(X, X.long(), X)),
        (dl.ShapeError, "MultiheadAttention: attn_mask has shape (3, 2), not (3, 3) or (4, 3, 3)",
         lambda: ATTENTION(X, X, X, attn_mask=np.zeros((3, 2), bool))),
        (dl.ShapeError, "MultiheadAttention: key_padding_mask has shape (3, 2), not (2, 3)",
         lambda: ATTENTION(X, X, X, np.zeros((3, 2), bool))),
        (dl.DTypeError, "MultiheadAttention: attn_mask is of int64, not of bool or a floating-point dtype",
         lambda: ATTENTION(X, X, X, attn_mask=np.zeros((3, 3), np.int64))),
        (ValueError, "TransformerEncoderLayer: activation 'tanh' is not one of 'relu', 'gelu' or a function",
         lambda: nn.TransformerEncoderLayer(8, 2, activation="tanh")),
        (TypeError, "TransformerDecoderLayer: activation the class ReLU is not a name or a function",
         lambda: nn.TransformerDecoderLayer(8, 2, activation=nn.ReLU)),
        (TypeError, "TransformerEncoder: layer 3 is not a module", lambda: nn.TransformerEncoder(3, 2)),
        (ValueError, "TransformerDecoder: num_layers is -1; it must be at least 0",
         lambda: nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 4), -1)),
        (dl.ShapeError, "Transformer: axis 1, of the batch, differs: src (5, 2, 8), tgt (4, 3, 8)",
         lambda: nn.Transformer(8, 2, 1, 1, 4)(dl.ones(5, 2, 8), dl.ones(4, 3, 8))),
        (dl.ShapeError, "Transformer: the width is not 8: src (5, 2, 8), tgt (4, 2, 7)",
         lambda: nn.Transformer(8, 2, 1, 1, 4)(dl.ones(5, 2, 8), dl.ones(4, 2, 7))),
    ],
)  # fmt: skip
def test_what_is_refused(error, text, call):
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == text
