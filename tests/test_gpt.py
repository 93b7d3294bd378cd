"""`models.GPT`: its variants, its cache, GPT-2's files, and a short training."""

import copy
import json
import math
import pickle
from pathlib import Path

import numpy as np
import pytest

import dlcore as dl
from bench import cnn_curves, gpt_curves, gpts
from dlcore import models, nn, optim
from dlcore.data import CharTokenizer, TextWindows

SMALL = {"vocabulary": 11, "layers": 2, "heads": 4, "width": 16, "context": 12}
VARIANTS = {
    "gpt2": {},
    "untied": {"tied": False},
    "rms": {"norm": "rms", "activation": "swiglu", "bias": False, "positions": "none"},
    "llama": {"norm": "rms", "activation": "swiglu", "bias": False, "positions": "rotary", "kv_heads": 2},
    "grouped": {"kv_heads": 2, "activation": "gelu_tanh"},
    "one head of keys": {"kv_heads": 1, "activation": "silu", "hidden": 10},
    "plain": {"affine": False, "bias": False, "norm": "rms", "activation": "relu", "tied": False},
}


def tokens_of(*shape, seed=0):
    return dl.tensor(np.random.default_rng(seed).integers(0, 11, shape))


def make(variant="gpt2", dtype=dl.float64, **more):
    dl.manual_seed(0)
    return models.GPT(**SMALL, **{**VARIANTS[variant], **more}).to(dtype)


def count(model):
    return sum(p.size for p in model.parameters())


def test_counts_of_parameters():
    micro = models.GPT(27, 1, 4, 16, 16, norm="rms", activation="relu", bias=False, affine=False, tied=False)
    assert count(micro) == 4192
    assert count(models.GPT(65, 4, 4, 128, 64)) == 4 * (12 * 128**2 + 13 * 128) + (65 + 64 + 2) * 128
    grouped = models.GPT(7, 1, 4, 16, 8, kv_heads=1, bias=False, positions="none", hidden=5)
    assert count(grouped) == 16 * (7 + 24 + 16 + 5 + 5) + 3 * 16


def test_names_fit_the_words_of_weight_decay():
    names = [name for name, _ in make().named_parameters()]
    assert names[:4] == [
        "token_embedding.weight", "position_embedding.weight", "blocks.0.norm1.weight", "blocks.0.norm1.bias",
    ]  # fmt: skip
    left = [n for n in names if not any(word in n for word in ("bias", "norm", "embedding"))]
    parts = ("attention.qkv", "attention.out", "mlp.up", "mlp.down")
    assert left == [f"blocks.{k}.{part}.weight" for k in range(2) for part in parts]


def test_first_values():
    model = models.GPT(500, 8, 4, 64, 100)
    state = {name: np.asarray(p.detach()) for name, p in model.named_parameters()}
    for name, value in state.items():
        if value.ndim == 1:
            assert (value == (1 if "norm" in name and "weight" in name else 0)).all()
        else:
            scale = 0.02 / (math.sqrt(16) if name.endswith(("out.weight", "down.weight")) else 1)
            assert abs(value.std() / scale - 1) < 0.05, name


@pytest.mark.parametrize("variant", VARIANTS)
def test_tokens_see_no_later_ones(variant):
    model, tokens = make(variant).eval(), tokens_of(2, 12)
    with dl.no_grad():
        before = np.asarray(model(tokens))
        changed = np.asarray(tokens).copy()
        changed[0, 7] = (changed[0, 7] + 1) % 11
        after = np.asarray(model(dl.tensor(changed)))
    assert before.shape == (2, 12, 11)
    assert (before[1] == after[1]).all() and (before[0, :7] == after[0, :7]).all()
    assert (before[0, 7:] != after[0, 7:]).any(-1).all()


@pytest.mark.parametrize("positions", ["learned", "rotary", "none"])
def test_the_order_of_tokens_matters_where_they_have_positions(positions):
    """One layer's attention to the same tokens in another order."""
    dl.manual_seed(0)
    model = models.GPT(11, 1, 2, 16, 12, positions=positions).to(dl.float64)
    for p in model.parameters():  # so that attention is not uniform
        p.detach().mul_(10.0)
    one, other = (np.asarray(model(dl.tensor([tokens])).detach())[0, -1] for tokens in ([3, 1, 4, 5], [4, 3, 1, 5]))
    assert np.allclose(one, other, rtol=1e-9) == (positions == "none")


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_cache_changes_nothing_but_the_work(variant):
    model, tokens = make(variant).eval(), tokens_of(3, 12)
    with dl.no_grad():
        whole, cache = np.asarray(model(tokens)), model.cache(3)
        parts = [model(tokens[:, a:b], cache) for a, b in ((0, 5), (5, 6), (6, 7), (7, 12))]
    np.testing.assert_allclose(np.concatenate([np.asarray(part) for part in parts], 1), whole, rtol=1e-10, atol=1e-12)
    assert len(cache) == 12
    cache.reset()
    with dl.no_grad():
        np.testing.assert_allclose(np.asarray(model(tokens[:, :2], cache)), whole[:, :2], rtol=1e-10, atol=1e-12)


def test_grouped_heads_are_those_of_a_model_with_repeated_ones():
    model, full, tokens = make("grouped"), make("grouped", kv_heads=4), tokens_of(2, 9)
    state = {name: np.asarray(value) for name, value in model.state_dict().items()}
    for name in [name for name in state if ".qkv." in name]:
        q, k, v = np.split(state[name].reshape(8, 4, -1), (4, 6))
        repeated = np.concatenate([q, k.repeat(2, 0), v.repeat(2, 0)]).reshape(48, -1)
        state[name] = repeated if name.endswith("weight") else repeated[:, 0]
    full.load_state_dict(state)
    np.testing.assert_allclose(np.asarray(full(tokens).detach()), np.asarray(model(tokens).detach()), rtol=1e-10)


@pytest.mark.parametrize("variant", VARIANTS)
def test_files_and_copies(variant, tmp_path):
    model, tokens = make(variant, dl.float32), tokens_of(1, 12)
    models.generate(model, [1], 3)  # what is kept for it is no part of the model
    want = np.asarray(model(tokens).detach())
    dl.save(model, tmp_path / "gpt")
    for other in (dl.load(tmp_path / "gpt"), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert (np.asarray(other(tokens).detach()) == want).all()
        assert other.head is None or other.head.weight is not other.token_embedding.weight
        assert len(models.generate(other, [1], 3)) == 4


def test_dropout_is_for_training():
    model, tokens = make(dropout=0.5), tokens_of(2, 12)
    one, other = model(tokens), model(tokens)
    assert (np.asarray(one.detach()) != np.asarray(other.detach())).any()
    model.eval()
    assert (np.asarray(model(tokens).detach()) == np.asarray(model(tokens).detach())).all()


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"heads": 3}, ValueError, "GPT: 3 heads do not divide the width 16"),
        ({"kv_heads": 3}, ValueError, "GPT: 3 kv_heads do not divide 4 heads"),
        ({"layers": 0}, ValueError, "GPT: layers is 0; it must be at least 1"),
        ({"context": 0}, ValueError, "GPT: context is 0; it must be at least 1"),
        ({"vocabulary": 2.5}, TypeError, "GPT: vocabulary 2.5 is not an integer"),
        ({"norm": "batch"}, ValueError, "GPT: norm 'batch' is not one of 'layer', 'rms'"),
        ({"activation": "tanh"}, ValueError, "GPT: activation 'tanh' is not one of"),
        ({"positions": "sine"}, ValueError, "GPT: positions 'sine' is not one of"),
        ({"hidden": 0}, ValueError, "GPT: hidden is 0; it must be at least 1"),
        ({"dropout": 1.5}, ValueError, "p is a probability, not 1.5"),
    ],
)
def test_wrong_settings(arguments, error, text):
    with pytest.raises(error, match=text):
        models.GPT(**{**SMALL, **arguments})


def test_wrong_tokens():
    model = make()
    with pytest.raises(dl.ShapeError, match="GPT: 13 tokens are more than the context of 12"):
        model(tokens_of(1, 13))
    with pytest.raises(dl.ShapeError, match=r"GPT: tokens have shape \(3,\), not \(batch, tokens\)"):
        model(tokens_of(3))
    with pytest.raises(dl.ShapeError, match=r"GPT: tokens have shape \(1, 0\)"):
        model(dl.zeros(1, 0, dtype=dl.int64))
    with pytest.raises(dl.DTypeError, match="GPT: tokens are of dtype float32"):
        model(dl.zeros(1, 3))
    with pytest.raises(IndexError, match="11 at position"):
        model(dl.tensor([[1, 11]]))
    cache = model.cache()
    with dl.no_grad():
        model(tokens_of(1, 10), cache)
        with pytest.raises(ValueError, match="it is full: it holds 10 of 12 tokens, and 3 come"):
            model(tokens_of(1, 3), cache)
        with pytest.raises(dl.ShapeError, match="a batch of 2 for a cache of 1"):
            model(tokens_of(2, 1), cache)
        assert model(tokens_of(1, 2), cache).shape == (1, 2, 11) and len(cache) == 12


@pytest.mark.parametrize("positions", ["learned", "rotary", "none"])
def test_a_full_cache_is_the_same_error_in_replays_and_nothing_is_written(positions):
    model = models.GPT(vocabulary=11, layers=1, heads=2, width=8, context=4, positions=positions).eval()
    cache = model.cache()
    with dl.no_grad():
        step = dl.capture(lambda tokens: model(tokens, cache))
        for k in range(4):
            step(dl.tensor([[k]]))
        keys = cache.keys[0].numpy().copy()
        for call in (step, step, lambda tokens: model(tokens, cache)):
            with pytest.raises(ValueError, match=r"^KVCache: it is full: it holds 4 of 4 tokens, and 1 come$"):
                call(dl.tensor([[5]]))
        assert len(cache) == 4 and np.array_equal(cache.keys[0].numpy(), keys)
        cache.reset()
        step(dl.tensor([[0]]))
    assert len(cache) == 1


# ---- GPT-2's files --------------------------------------------------------------------------------------------------


def gpt2_state(rng, vocabulary=13, layers=2, width=8, context=10, hidden=32):
    """The tensors of a GPT-2 as Hugging Face names them."""
    shapes = {"wte.weight": (vocabulary, width), "wpe.weight": (context, width)}
    shapes |= {"ln_f.weight": (width,), "ln_f.bias": (width,)}
    for k in range(layers):
        for name, shape in {
            "ln_1.weight": (width,), "ln_1.bias": (width,), "ln_2.weight": (width,), "ln_2.bias": (width,),
            "attn.c_attn.weight": (width, 3 * width), "attn.c_attn.bias": (3 * width,),
            "attn.c_proj.weight": (width, width), "attn.c_proj.bias": (width,), "mlp.c_fc.weight": (width, hidden),
            "mlp.c_fc.bias": (hidden,), "mlp.c_proj.weight": (hidden, width), "mlp.c_proj.bias": (width,),
        }.items():  # fmt: skip
            shapes[f"h.{k}.{name}"] = shape
    return {name: rng.standard_normal(shape).astype(np.float32) * 0.5 for name, shape in shapes.items()}


def gpt2_logits(s, tokens, heads, layers=2):
    """GPT-2 in NumPy."""
    s = {name: value.astype(np.float64) for name, value in s.items()}

    def norm(x, name):
        x = x - x.mean(-1, keepdims=True)
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * s[f"{name}.weight"] + s[f"{name}.bias"]

    def conv1d(x, name):
        return x @ s[f"{name}.weight"] + s[f"{name}.bias"]

    n = len(tokens)
    x = s["wte.weight"][tokens] + s["wpe.weight"][:n]
    for k in range(layers):
        parts = np.split(conv1d(norm(x, f"h.{k}.ln_1"), f"h.{k}.attn.c_attn"), 3, -1)
        q, key, v = (part.reshape(n, heads, -1).transpose(1, 0, 2) for part in parts)
        scores = q @ key.transpose(0, 2, 1) / np.sqrt(q.shape[-1]) + np.where(np.tri(n), 0, -np.inf)
        p = np.exp(scores - scores.max(-1, keepdims=True))
        found = (p / p.sum(-1, keepdims=True) @ v).transpose(1, 0, 2).reshape(n, -1)
        x = x + conv1d(found, f"h.{k}.attn.c_proj")
        h = conv1d(norm(x, f"h.{k}.ln_2"), f"h.{k}.mlp.c_fc")
        h = 0.5 * h * (1 + np.tanh(np.sqrt(2 / np.pi) * (h + 0.044715 * h**3)))
        x = x + conv1d(h, f"h.{k}.mlp.c_proj")
    return norm(x, "ln_f") @ s["wte.weight"].T


@pytest.mark.parametrize("form", ["a folder", "with a prefix and buffers", "a file alone"])
def test_gpt2_of_hugging_face(form, tmp_path):
    state, tokens = gpt2_state(np.random.default_rng(0)), np.array([3, 0, 12, 12, 5, 7])
    kept, heads = dict(state), 2 if form == "a file alone" else None
    if form == "with a prefix and buffers":
        kept = {f"transformer.{name}": value for name, value in state.items()}
        kept["transformer.h.0.attn.bias"] = np.ones((1, 1, 10, 10), np.float32)
        kept["lm_head.weight"] = state["wte.weight"]
    dl.save(kept, tmp_path / "model.safetensors")
    if heads is None:
        config = {"n_head": 2, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "n_layer": 2}
        (tmp_path / "config.json").write_text(json.dumps(config))
    model = models.load_gpt2(tmp_path if form == "a folder" else tmp_path / "model.safetensors", heads)
    assert (model.context, model.vocabulary, len(model.blocks), model.head) == (10, 13, 2, None)
    with dl.no_grad():
        found = np.asarray(model.eval()(dl.tensor(tokens[None])))[0]
    np.testing.assert_allclose(found, gpt2_logits(state, tokens, 2), rtol=2e-4, atol=2e-4)


def test_what_is_no_gpt2(tmp_path):
    file, state = tmp_path / "model.safetensors", gpt2_state(np.random.default_rng(0))
    dl.save(state, file)
    with pytest.raises(ValueError, match=r"there is no config.json that tells the number of heads: give heads="):
        models.load_gpt2(file)
    dl.save({"weight": np.zeros(3, np.float32)}, file)
    with pytest.raises(ValueError, match=r"it holds no GPT-2: there is no matrix 'wte.weight'"):
        models.load_gpt2(file, 2)
    del state["h.1.mlp.c_proj.bias"]
    dl.save(state, file)
    with pytest.raises(ValueError, match=r"model.safetensors: .*missing: blocks.1.mlp.down.bias"):
        models.load_gpt2(file, 2)
    (tmp_path / "config.json").write_text('{"n_head": 2, "activation_function": "tanh"}')
    with pytest.raises(ValueError, match="the activation 'tanh' is not one of gelu_new"):
        models.load_gpt2(file)
    (tmp_path / "config.json").write_text('{"n_head": 2, "scale_attn_by_inverse_layer_idx": true}')
    with pytest.raises(ValueError, match="has scale_attn_by_inverse_layer_idx True; this GPT computes as with False"):
        models.load_gpt2(file)


# ---- training -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recorded", [False, True], ids=["eager", "recorded"])
def test_training_is_pytorchs(recorded):
    """From the same weights on the same batches: losses, logits and weights as PyTorch's (float64)."""
    known = json.loads((Path(__file__).parent / "gpt_curves.json").read_text())
    model = gpts.dlcore_gpt("curve", dl.float64)
    update = optim.AdamW(model.parameters(), **gpt_curves.SETTINGS)

    def step(tokens, targets):
        update.zero_grad()
        loss = dl.cross_entropy(model(tokens).reshape(-1, model.vocabulary), targets.reshape(-1))
        loss.backward()
        optim.clip_grad_norm_(model.parameters(), gpt_curves.CLIP)
        update.step()
        return loss

    run, batches = dl.capture(step) if recorded else step, gpt_curves.batches()
    losses = [run(dl.tensor(x), dl.tensor(y)).item() for x, y in batches]
    np.testing.assert_allclose(losses, known["losses"], rtol=1e-8)
    with dl.no_grad():
        evaluated = model.eval()(dl.tensor(batches[0][0])).sum(axis=(0, 1))
    np.testing.assert_allclose(np.asarray(evaluated), known["evaluated"], rtol=1e-6)
    state = cnn_curves.sums({n: np.asarray(v, np.float64) for n, v in model.state_dict().items()})
    assert list(state) == list(known["state"])
    for key, (total, squares) in state.items():
        np.testing.assert_allclose(squares, known["state"][key][1], rtol=1e-7, err_msg=key)
        np.testing.assert_allclose(total, known["state"][key][0], atol=1e-7 * (1 + squares), err_msg=key)


def test_training_in_float32_stays_near():
    known = json.loads((Path(__file__).parent / "gpt_curves.json").read_text())
    model = gpts.dlcore_gpt("curve")
    update = optim.AdamW(model.parameters(), **gpt_curves.SETTINGS)
    for (x, y), want in zip(gpt_curves.batches()[:10], known["losses"], strict=False):
        update.zero_grad()
        loss = dl.cross_entropy(model(dl.tensor(x)).reshape(-1, model.vocabulary), dl.tensor(y).reshape(-1))
        loss.backward()
        optim.clip_grad_norm_(model.parameters(), gpt_curves.CLIP)
        update.step()
        assert loss.item() == pytest.approx(want, rel=1e-4)


def test_a_recorded_training_learns_a_text():
    """With what a program reads of its tokenizer inside the loss."""
    tokenizer = CharTokenizer.of("abcdefgh ")
    tokens = tokenizer.encode("abc def gh hg fed cba " * 40)
    dl.manual_seed(0)
    model = models.GPT(tokenizer.size, 2, 2, 16, 16)

    def loss_of(outputs, targets):
        return dl.cross_entropy(outputs.reshape(-1, tokenizer.size), targets.reshape(-1))

    history = dl.fit(
        model, TextWindows(tokens, 16), epochs=3, steps_per_epoch=60, batch_size=16, loss=loss_of, seed=0,
        optimizer=optim.AdamW(model.named_parameters(), lr=1e-2, no_decay=("bias", "norm", "embedding")),
    )  # fmt: skip
    assert history.recorded, history.reason
    assert history.epochs[-1]["loss"] < 0.6
    text = tokenizer.decode(models.generate(model, tokenizer.encode("abc def g"), 40, temperature=0))
    assert text.startswith("abc def gh hg fed cba abc def gh")
    assert model.training
    assert isinstance(model.blocks[0].drop, nn.Dropout)
