"""Writes tests/transformer_curves.json: how PyTorch trains transformers on padded sequences, for a test without it.

    PYTHONPATH=. python bench/transformer_curves.py tests/transformer_curves.json

Both libraries begin with the weights of `bench.networks.weights`, see the batches of `batches` and take steps of SGD
with momentum in float64. "classifier": an encoder and the mean over what is not padding. "translator": an encoder and a
decoder with a causal mask, normalised first. Kept are the losses of all steps, and of each tensor of the state that
they give its sum and that of its square.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from bench import networks
from bench.cnn_curves import sums

STEPS, BATCH, LENGTH, TOKENS, WIDTH = 20, 6, 9, 11, 8
SETTINGS = {"lr": 0.05, "momentum": 0.9, "weight_decay": 1e-3}


def batches():
    """(tokens (BATCH, LENGTH), 0 where padded, labels) of each step: whether token 1 comes before token 2."""
    rng = np.random.default_rng(7)
    for _ in range(STEPS):
        tokens = rng.integers(1, TOKENS, (BATCH, LENGTH))
        tokens[np.arange(LENGTH) >= rng.integers(3, LENGTH + 1, (BATCH, 1))] = 0
        first = [[np.flatnonzero(np.append(row, mark) == mark)[0] for mark in (1, 2)] for row in tokens]
        yield tokens, np.array([one < two for one, two in first], np.int64)


def classifier(nn):
    """(tokens, hidden as bools, seen as numbers (N, L, 1)) to (N, 2), for dlcore and PyTorch."""

    class Classifier(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(TOKENS, WIDTH, padding_idx=0)
            layer = nn.TransformerEncoderLayer(WIDTH, 2, 16, 0.0, "gelu", batch_first=True)
            self.encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(WIDTH))
            self.head = nn.Linear(WIDTH, 2)

        def forward(self, tokens, hidden, seen):
            x = self.encoder(self.embedding(tokens), src_key_padding_mask=hidden)
            return self.head((x * seen).sum(1) / seen.sum(1))

    return Classifier()


def translator(nn):
    """(tokens, hidden as bools, causal mask) to (N, L - 1, TOKENS): what comes next, for dlcore and PyTorch."""

    class Translator(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(TOKENS, WIDTH)
            self.transformer = nn.Transformer(WIDTH, 2, 1, 2, 16, 0.0, batch_first=True, norm_first=True)
            self.head = nn.Linear(WIDTH, TOKENS)

        def forward(self, tokens, hidden, causal):
            x = self.embedding(tokens)
            before, after = x[:, :-1], hidden[:, :-1]
            out = self.transformer(
                x, before, tgt_mask=causal, src_key_padding_mask=hidden, tgt_key_padding_mask=after,
                memory_key_padding_mask=hidden,
            )  # fmt: skip
            return self.head(out)

    return Translator()


MODELS = {"classifier": classifier, "translator": translator}


def curve(name, lib, nn, cross_entropy, update_of, around=lambda step: step):
    """Losses and the model of one training. ``update_of``: parameters -> optimizer; ``around``: of the step."""
    model = networks.fill(lib, MODELS[name](nn).to(lib.float64))
    update = update_of(model.parameters())
    causal = np.triu(np.ones((LENGTH - 1, LENGTH - 1), bool), 1)

    def step(tokens, hidden, third, targets):
        update.zero_grad()
        out = model(tokens, hidden, third)
        loss = cross_entropy(out.reshape(-1, out.shape[-1]), targets)
        loss.backward()
        update.step()
        return loss

    run, losses = around(step), []
    for tokens, labels in batches():
        hidden = tokens == 0
        third = (~hidden)[..., None].astype(np.float64) if name == "classifier" else causal
        targets = labels if name == "classifier" else tokens[:, 1:].reshape(-1)
        losses.append(run(*map(lib.tensor, (tokens, hidden, third, targets))).item())
    return losses, model


def main(path: str) -> None:
    """Write the file."""
    import torch

    contents = {"made": f"python bench/transformer_curves.py, with torch {torch.__version__}"}
    for name in MODELS:
        functions = torch.nn.functional.cross_entropy, lambda p: torch.optim.SGD(p, **SETTINGS)
        losses, model = curve(name, torch, torch.nn, *functions)
        contents[name] = {"losses": losses, "state": sums({n: v.numpy() for n, v in model.state_dict().items()})}
    lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in contents.items()]
    Path(path).write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main(sys.argv[1])
