"""Writes tests/optim_curves.json: what PyTorch's optimizers and schedulers compute, for tests without PyTorch.

    python bench/optim_curves.py tests/optim_curves.json

Every optimizer starts at the same float64 parameters and gets, in step k, the gradients a (p - b) + noise_k, which
`problem` draws from a fixed seed. Kept are the parameters after 3 and after 25 steps.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

SHAPES = [(5, 3), (4,), ()]
STEPS = (3, 25)

OPTIMIZERS = [
    ("SGD", {"lr": 0.05}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1, "maximize": True}),
    ("Adam", {"lr": 0.05, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.05, "amsgrad": True, "betas": (0.8, 0.9)}),
    ("AdamW", {"lr": 0.05, "weight_decay": 0.1}),
    ("AdamW", {"lr": 0.05, "weight_decay": 0.1, "amsgrad": True, "maximize": True}),
    ("RMSprop", {"lr": 0.01}),
    ("RMSprop", {"lr": 0.01, "alpha": 0.9, "eps": 1e-4, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 0.01, "momentum": 0.9, "maximize": True}),
    ("RMSprop", {"lr": 0.01, "momentum": 0.8, "centered": True}),
    ("RMSprop", {"lr": 0.01, "centered": True}),
    ("Adagrad", {"lr": 0.1}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.5, "eps": 1e-5}),
    ("Adadelta", {"lr": 1.0}),
    ("Adadelta", {"lr": 0.5, "rho": 0.8, "eps": 1e-4, "weight_decay": 0.1, "maximize": True}),
    ("Adamax", {"lr": 0.05}),
    ("Adamax", {"lr": 0.05, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.1}),
    ("NAdam", {"lr": 0.05}),
    ("NAdam", {"lr": 0.05, "weight_decay": 0.1, "momentum_decay": 0.01}),
    ("NAdam", {"lr": 0.05, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("RAdam", {"lr": 0.05}),
    ("RAdam", {"lr": 0.05, "betas": (0.8, 0.9), "weight_decay": 0.1}),
    ("RAdam", {"lr": 0.05, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("Adafactor", {"lr": 0.05}),
    ("Adafactor", {"lr": 0.05, "weight_decay": 0.1, "beta2_decay": -0.5, "d": 2.0, "maximize": True}),
    ("LBFGS", {"lr": 0.5}),
    ("LBFGS", {"lr": 1.0, "max_iter": 4, "history_size": 3, "line_search_fn": "strong_wolfe"}),
]

SCHEDULES = [
    ("Step", {"every": 7, "factor": 0.5}, "StepLR", {"step_size": 7, "gamma": 0.5}),
    ("MultiStep", {"at": [5, 12, 12], "factor": 0.5}, "MultiStepLR", {"milestones": [5, 12, 12], "gamma": 0.5}),
    ("Exponential", {"factor": 0.9}, "ExponentialLR", {"gamma": 0.9}),
    ("Cosine", {"final": 0.01}, "CosineAnnealingLR", {"T_max": 40, "eta_min": 0.01}),
    ("Cosine", {"final": 0.01, "period": 5, "growth": 2}, "CosineAnnealingWarmRestarts",
     {"T_0": 5, "T_mult": 2, "eta_min": 0.01}),
    ("Linear", {"final": 0.02}, "LinearLR", {"start_factor": 1.0, "end_factor": 0.1, "total_iters": 40}),
    ("Polynomial", {"power": 1.5}, "PolynomialLR", {"total_iters": 40, "power": 1.5}),
    ("OneCycle", {"peak": 0.3}, "OneCycleLR", {"max_lr": 0.3, "total_steps": 40}),
    ("OneCycle", {"peak": 0.3, "warmup": 0.45, "anneal": "linear", "div_factor": 10.0, "final_div_factor": 100.0},
     "OneCycleLR", {"max_lr": 0.3, "total_steps": 40, "pct_start": 0.45, "anneal_strategy": "linear",
                    "div_factor": 10.0, "final_div_factor": 100.0}),
]  # fmt: skip

PLATEAUS = [
    ({"patience": 2, "factor": 0.5}, {"patience": 2, "factor": 0.5}),
    ({"mode": "max", "patience": 1, "cooldown": 2, "threshold": 0.05}, {}),
    ({"patience": 0, "threshold": 0.1, "threshold_mode": "abs", "final": 0.01}, {"patience": 0, "min_lr": 0.01}),
]


def problem() -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray], list[list[np.ndarray]]]:
    """Start, a, b, and the noise of each step."""
    rng = np.random.default_rng(7)
    start, a, b = ([np.asarray(rng.uniform(low, 2.0, s)) for s in SHAPES] for low in (-2.0, 0.5, -2.0))
    return start, a, b, [[0.3 * np.asarray(rng.standard_normal(s)) for s in SHAPES] for _ in range(max(STEPS))]


def metrics() -> list[float]:
    """What `Plateau` is told."""
    rng = np.random.default_rng(8)
    return [float(x) for x in 1 / (1 + np.arange(30) / 4) + 0.2 * rng.standard_normal(30)]


def _curve(torch, name, settings):
    start, a, b, noise = ([torch.tensor(x) for x in xs] if not isinstance(xs[0], list) else xs for xs in problem())
    parameters = [torch.nn.Parameter(x.clone()) for x in start]
    optimizer = getattr(torch.optim, name)(parameters, **settings)
    found = []
    for k in range(max(STEPS)):
        if name == "LBFGS":
            def closure():
                optimizer.zero_grad()
                loss = sum((x * (p - y).abs() ** 2.5).sum() for p, x, y in zip(parameters, a, b, strict=True))
                loss.backward()
                return loss

            optimizer.step(closure)
        else:
            for p, x, y, n in zip(parameters, a, b, noise[k], strict=True):
                p.grad = (x * (p.detach() - y) + torch.tensor(n)).clone()
            optimizer.step()
        if k + 1 in STEPS:
            found.append([p.detach().flatten().tolist() for p in parameters])
    return found


def main(path: str) -> None:
    """Write the file."""
    import torch

    torch.set_default_dtype(torch.float64)  # in which NAdam keeps its product
    schedules = torch.optim.lr_scheduler

    def rates(make, told=None):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.2)
        scheduler, found = make(optimizer), []
        for k in range(40 if told is None else len(told)):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step(*([] if told is None else [told[k]]))
        return found

    contents = {
        "made": f"python bench/optim_curves.py, with torch {torch.__version__}",
        "optimizers": [
            {"name": name, "settings": settings, "values": _curve(torch, name, settings)}
            for name, settings in OPTIMIZERS
        ],
        "schedules": [
            {
                "name": ours,
                "settings": settings,
                "rates": rates(lambda o, n=name, g=given: getattr(schedules, n)(o, **g)),
            }
            for ours, settings, name, given in SCHEDULES
        ],
        "plateaus": [
            {
                "settings": settings,
                "rates": rates(
                    lambda o, s=settings, g=given: schedules.ReduceLROnPlateau(
                        o, **{k: v for k, v in {**s, **g}.items() if k != "final"}
                    ),
                    metrics(),
                ),
            }
            for settings, given in PLATEAUS
        ],
    }
    lines = [f" {json.dumps(key)}: {json.dumps(contents[key])}" for key in ("made",)]
    for key in ("optimizers", "schedules", "plateaus"):
        entries = ",\n".join(f"  {json.dumps(entry)}" for entry in contents[key])
        lines.append(f" {json.dumps(key)}: [\n{entries}\n ]")
    Path(path).write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main(sys.argv[1])
