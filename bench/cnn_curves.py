"""Writes tests/cnn_curves.json: how PyTorch trains LeNet-5 and ResNet-8, for a test without PyTorch.

    PYTHONPATH=. python bench/cnn_curves.py tests/cnn_curves.json

Both libraries begin with the weights of `bench.networks.weights`, see the batches of `batches` (the packaged digits,
enlarged for LeNet) and take steps of SGD with momentum in float64. Kept are the losses of all steps, and of the model
that they give: outputs in evaluation, and of each tensor of the state its sum and that of its square.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from bench import networks

STEPS, BATCH = 20, 16
SETTINGS = {"lr": 0.05, "momentum": 0.9, "weight_decay": 1e-3}
DIGITS = Path(__file__).resolve().parents[1] / "dlcore" / "data" / "digits.npz"


def batches(name):
    """(images (BATCH, 1, H, W) in 0..1, labels) of each step: 28x28 for "lenet5", 8x8 for "resnet8"."""
    with np.load(DIGITS) as file:
        images, labels = file["images"][: STEPS * BATCH] / 16.0, file["labels"][: STEPS * BATCH].astype(np.int64)
    if name == "lenet5":
        images = np.pad(np.kron(images, np.ones((3, 3))), [(0, 0), (2, 2), (2, 2)])
    return [(images[k : k + BATCH, None], labels[k : k + BATCH]) for k in range(0, STEPS * BATCH, BATCH)]


def sums(state):
    """Of each tensor of a state, given as arrays, the sum and the sum of squares."""
    return {name: [float(v.sum()), float((v * v).sum())] for name, v in state.items()}


def _curve(torch, name):
    model = networks.fill(torch, networks.torch_network(name).double())
    update = torch.optim.SGD(model.parameters(), **SETTINGS)
    losses = []
    for images, labels in batches(name):
        loss = torch.nn.functional.cross_entropy(model(torch.tensor(images)), torch.tensor(labels))
        update.zero_grad()
        loss.backward()
        update.step()
        losses.append(loss.item())
    model.eval()
    with torch.no_grad():
        evaluated = model(torch.tensor(batches(name)[0][0])).sum(0).tolist()
    state = {n: v.double().numpy() for n, v in model.state_dict().items()}
    return {"losses": losses, "evaluated": evaluated, "state": sums(state)}


def main(path: str) -> None:
    """Write the file."""
    import torch

    contents = {"made": f"python bench/cnn_curves.py, with torch {torch.__version__}"}
    contents |= {name: _curve(torch, name) for name in ("lenet5", "resnet8")}
    lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in contents.items()]
    Path(path).write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main(sys.argv[1])
