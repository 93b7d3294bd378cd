"""Writes tests/gpt_curves.json: how PyTorch trains a small GPT, for a test without PyTorch.

    PYTHONPATH=. python bench/gpt_curves.py tests/gpt_curves.json

Both libraries begin with the weights of `bench.networks.weights`, see the batches of `batches` and take steps of AdamW
with the norm of gradients clipped, in float64. Kept are the losses of all steps, and of the model that they give the
sum of each logit over a batch and, of each tensor, its sum and that of its square.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from bench import gpts
from bench.cnn_curves import sums

STEPS = 30
SETTINGS = {"lr": 3e-3, "betas": (0.9, 0.99), "weight_decay": 0.1}
CLIP = 1.0


def batches():
    """(tokens, those after them), int64 (8, 16) each, of every step: a walk on which each token has four successors."""
    size, rng = gpts.SIZES["curve"], np.random.default_rng(3)
    successors = rng.integers(0, size.vocabulary, (size.vocabulary, 4))
    walk = [0]
    for k in rng.integers(0, 4, STEPS * size.batch * (size.context + 1)):
        walk.append(successors[walk[-1], k])
    found = np.array(walk[1:]).reshape(STEPS, size.batch, size.context + 1)
    return [(tokens[:, :-1].copy(), tokens[:, 1:].copy()) for tokens in found]


def main(path: str) -> None:
    """Write the file."""
    import torch

    model = gpts.torch_gpt("curve", torch.float64)
    update = torch.optim.AdamW(model.parameters(), **SETTINGS)
    losses = []
    for x, y in batches():
        logits = model(torch.from_numpy(x))
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.from_numpy(y).flatten())
        update.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        update.step()
        losses.append(loss.item())
    with torch.no_grad():
        evaluated = model(torch.from_numpy(batches()[0][0])).sum((0, 1)).tolist()
    state = sums({name: value.numpy() for name, value in model.state_dict().items()})
    contents = {
        "made": f"python bench/gpt_curves.py, with torch {torch.__version__}", "losses": losses, "evaluated": evaluated,
        "state": state,
    }  # fmt: skip
    lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in contents.items()]
    Path(path).write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main(sys.argv[1])
