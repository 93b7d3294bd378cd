"""`models.generate` and `models.stream`: the tokens they draw, and the recordings they make."""

import math

import numpy as np
import pytest

import dlcore as dl
from dlcore import models, nn

VOCABULARY, CONTEXT = 11, 12


def make(**more):
    dl.manual_seed(1)
    model = models.GPT(VOCABULARY, 2, 2, 16, CONTEXT, **more)
    for p in model.parameters():  # far from uniform
        p.detach().mul_(4.0) if p.ndim == 2 else None
    return model


def decoder_of(model):
    (found,) = vars(model)["_decoders"]
    return found


def likeliest(model, ids, length):
    """Greedy, without a cache: the last tokens of the text read anew for each one."""
    ids, start, context = list(ids), 0, CONTEXT
    start = max(0, len(ids) - context)
    for _ in range(length):
        if len(ids) - start > context:
            start = len(ids) - context // 2
        with dl.no_grad():
            logits = model(dl.tensor([ids[start:]]))
        ids.append(int(np.asarray(logits)[0, -1].argmax()))
    return ids


@pytest.mark.parametrize("prompt", [[3], [1, 2, 3, 4, 5], [*range(11), 4], list(range(11)) * 3])
def test_the_likeliest_tokens(prompt):
    """Within the context and beyond it."""
    model = make().eval()
    found = models.generate(model, np.array(prompt), 40, temperature=0)
    assert found.dtype == np.int64 and found.tolist() == likeliest(model, prompt, 40)


def test_a_context_of_one_token():
    dl.manual_seed(0)
    model = models.GPT(5, 1, 1, 4, 1)
    assert len(models.generate(model, [1, 2], 7, seed=0)) == 9


def test_a_growing_cache_makes_no_new_recordings():
    model = make()
    models.generate(model, [1, 2, 3], 50, seed=0)
    decoder = decoder_of(model)
    assert (decoder.step.recordings, decoder.refill.recordings) == (1, 1)
    assert decoder.step.failure is None and decoder.refill.failure is None
    models.generate(model, [1] * 9, 30, seed=5, temperature=0.3, min_p=0.2)  # another prompt and other numbers
    assert decoder_of(model) is decoder
    assert (decoder.step.recordings, decoder.refill.recordings) == (1, 1)
    first = models.generate(model, [1, 2], 20, top_k=3, seed=0)
    with dl.no_grad():
        model.blocks[0].mlp.up.weight.mul_(-3.0)  # as after a step of training
    assert first.tolist() != models.generate(model, [1, 2], 20, top_k=3, seed=0).tolist()
    assert decoder_of(model).step.recordings == 2
    for settings in ({"temperature": 0}, {"repetition_penalty": 2.0}, {}, {"top_k": 5}):
        models.generate(model, [1, 2], 20, seed=0, **settings)
    assert decoder_of(model).step.recordings == 4 and decoder_of(model).step.failure is None


def test_a_seed_gives_the_same_text():
    model = make()
    one, same, other = (models.generate(model, [1, 2], 30, seed=seed).tolist() for seed in (7, 7, 8))
    assert one == same != other
    assert one[:2] == [1, 2] and len(one) == 32
    dl.manual_seed(3)
    drawn = [models.generate(model, [1], 30).tolist() for _ in range(2)]
    dl.manual_seed(3)
    assert drawn == [models.generate(model, [1], 30).tolist() for _ in range(2)] and drawn[0] != drawn[1]


def test_streams():
    model = make().train()
    whole = models.generate(model, [1, 2], 30, top_p=0.8, seed=7).tolist()
    assert [1, 2, *models.stream(model, [1, 2], 30, top_p=0.8, seed=7)] == whole
    one, other = (models.stream(model, [1, 2], 30, top_p=0.8, seed=7) for _ in range(2))
    pairs = [(next(one), next(other)) for _ in range(15)]  # side by side, each with its own cache
    assert all(a == b == want for (a, b), want in zip(pairs, whole[2:], strict=False))
    one.close()
    assert models.generate(model, [1, 2], 30, top_p=0.8, seed=7).tolist() == whole
    assert model.training


def test_several_texts():
    model = make()
    prompts = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    found = models.generate(model, prompts, 30, temperature=0)
    assert found.shape == (3, 33)
    for row, prompt in zip(found, prompts, strict=True):
        assert row.tolist() == models.generate(model, prompt, 30, temperature=0).tolist()
    drawn = models.generate(model, np.array([[1, 2]] * 2), 30, seed=0)
    assert drawn[0].tolist() != drawn[1].tolist()
    assert [row.shape for row in models.stream(model, prompts, 2)] == [(3,), (3,)]


def test_low_dtypes():
    for dtype in (dl.bfloat16, dl.float64):
        model = make().to(dtype)
        assert len(models.generate(model, [1, 2], 20, seed=0)) == 22


# ---- sampling -------------------------------------------------------------------------------------------------------


def shares_of(model, prompt, temperature=1.0, top_k=None, top_p=None, min_p=None, penalty=1.0):
    """The probabilities of the next token, in NumPy."""
    with dl.no_grad():
        logits = np.asarray(model.eval()(dl.tensor([prompt])))[0, -1].astype(np.float64)
    there = np.isin(np.arange(VOCABULARY), prompt)
    logits = np.where(there, np.where(logits < 0, logits * penalty, logits / penalty), logits) / temperature
    order = np.argsort(-logits, kind="stable")
    kept = np.ones(VOCABULARY, bool)
    if top_k is not None:
        kept[order[top_k:]] = False
    if top_p is not None:
        shares = np.where(kept, np.exp(logits - logits.max()), 0)[order]
        before = np.cumsum(shares / shares.sum()) - shares / shares.sum()
        kept[order[before >= top_p]] = False
    if min_p is not None:
        kept &= logits >= logits.max() + math.log(min_p)
    shares = np.where(kept, np.exp(logits - logits.max()), 0)
    return shares / shares.sum()


@pytest.mark.parametrize(
    "settings",
    [
        {}, {"temperature": 0.5}, {"temperature": 3.0, "top_k": 4}, {"top_p": 0.6}, {"min_p": 0.3}, {"top_k": 1},
        {"temperature": 1.5, "top_k": 6, "top_p": 0.8, "min_p": 0.1}, {"top_p": 1.0}, {"top_k": 99},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("penalty", [1.0, 1.7])
def test_shares_of_tokens(settings, penalty):
    """How often each token comes first, of 4000 texts."""
    model, prompt, n = make(), [1, 5, 5, 9], 4000
    expected = n * shares_of(model, prompt, penalty=penalty, **settings)
    found = models.generate(model, np.array([prompt] * n), 1, seed=0, repetition_penalty=penalty, **settings)[:, -1]
    counted = np.bincount(found, minlength=VOCABULARY)
    assert (counted[expected == 0] == 0).all()
    likely = expected > 0
    surprise = ((counted - expected)[likely] ** 2 / expected[likely]).sum()  # chi-squared
    assert surprise < 3.5 * max(likely.sum(), 4)


def test_a_penalty_counts_the_tokens_of_the_text_and_those_drawn():
    model, prompt = make().eval(), [1, 2]
    found = models.generate(model, prompt, 6, temperature=0, repetition_penalty=1.5).tolist()
    ids = list(prompt)
    for _ in range(6):
        ids.append(int(shares_of(model, ids, penalty=1.5).argmax()))
    assert found == ids


@pytest.mark.parametrize(
    ("prompt", "length", "settings", "error", "text"),
    [
        ([], 3, {}, ValueError, r"generate: prompt has shape \(0,\): at least one token is needed"),
        ([1, 11], 3, {}, IndexError, "generate: token 11 at position 1 is not in the vocabulary of 11"),
        ([[1, 2], [3, -1]], 3, {}, IndexError, r"generate: token -1 at position \(1, 1\) is not in the vocabulary"),
        ([1.5], 3, {}, TypeError, "generate: prompt is of dtype float"),
        ("ab", 3, {}, TypeError, "generate: prompt is a text; encode it first"),
        ([[[1]]], 3, {}, ValueError, r"generate: prompt has shape \(1, 1, 1\)"),
        ([1], 0, {}, ValueError, "generate: length is 0; it must be at least 1"),
        ([1], -2, {}, ValueError, "generate: length is -2"),
        ([1], 3, {"temperature": -1}, ValueError, "generate: temperature is -1.0, not a finite number from 0 on"),
        ([1], 3, {"temperature": math.nan}, ValueError, "generate: temperature is nan"),
        ([1], 3, {"temperature": None}, TypeError, "generate: temperature None is not a number"),
        ([1], 3, {"top_k": 0}, ValueError, "generate: top_k is 0; it must be at least 1"),
        ([1], 3, {"top_p": 0.0}, ValueError, r"generate: top_p is 0.0, not in \(0, 1\]"),
        ([1], 3, {"top_p": 1.5}, ValueError, "generate: top_p is 1.5"),
        ([1], 3, {"min_p": -0.1}, ValueError, "generate: min_p is -0.1"),
        ([1], 3, {"repetition_penalty": 0}, ValueError, "generate: repetition_penalty is 0.0"),
        ([1], 3, {"seed": 1.5}, TypeError, "generate: seed 1.5 is not an integer"),
    ],
)
def test_bad_input(prompt, length, settings, error, text):
    with pytest.raises(error, match=text):
        models.generate(make(), prompt, length, **settings)


def test_bad_input_of_a_stream_comes_at_once():
    with pytest.raises(IndexError, match="stream: token 99 at position 0"):
        models.stream(make(), [99], 3)
    with pytest.raises(TypeError, match=r"stream: model .* is not a model"):
        models.stream(lambda x: x, [1], 3)
    with pytest.raises(TypeError, match="generate: model is a Linear, without the vocabulary and cache of a GPT"):
        models.generate(nn.Linear(2, 2), [1], 3)
