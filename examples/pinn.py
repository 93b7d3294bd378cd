"""A physics-informed network (Raissi et al. 2019): the heat equation, by second derivatives of a network.

Sought is u(t, x) on [0, 1]² with du/dt = κ d²u/dx², u(0, x) = sin(πx) and u(t, 0) = u(t, 1) = 0, without any data. The
form u = sin(πx) + t x (1 - x) N(t, x) fulfils the conditions; the equation is the loss. With κ = 1/π² the solution is
exp(-t) sin(πx), by which the result is judged.

python examples/pinn.py            # 2,000 steps: largest error 4e-4, 1.2 s of CPU time (Intel Xeon, AVX-512)
python examples/pinn.py --small    # 200 steps
"""

import sys

import numpy as np

import dlcore as dl
from dlcore import nn, optim

small = "--small" in sys.argv
KAPPA = 1 / np.pi**2
dl.manual_seed(0)
network = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))
optimizer = optim.Adam(network.parameters(), lr=5e-3)
optim.schedules.Cosine().prepare(optimizer, steps := 200 if small else 2000)


def solution(t, x):
    """u at points t, x (N, 1)."""
    return dl.sin(np.pi * x) + t * x * (1.0 - x) * network(dl.concat([t, x], axis=1))


def residual(t, x):
    """du/dt - κ d²u/dx². A point's u depends on no other point: the gradient of the sum is that of each."""
    u = solution(t, x)
    u_t, u_x = dl.grad(u.sum(), [t, x], create_graph=True)
    (u_xx,) = dl.grad(u_x.sum(), [x], create_graph=True)
    return u_t - KAPPA * u_xx


@dl.capture
def step():
    """One step along the gradient of the mean squared residual at new random points: third derivatives in all."""
    t, x = dl.rand(256, 1).requires_grad_(), dl.rand(256, 1).requires_grad_()
    optimizer.zero_grad()
    loss = dl.square(residual(t, x)).mean()
    loss.backward()
    optimizer.step()
    return loss


for k in range(steps):
    loss = step()
    if k % 500 == 0:
        print(f"step {k}: mean squared residual {loss.item():.2e}")
assert step.recordings == 1

t, x = (a.reshape(-1, 1).astype(np.float32) for a in np.meshgrid(np.linspace(0, 1, 51), np.linspace(0, 1, 51)))
with dl.no_grad():
    u = np.asarray(solution(dl.tensor(t), dl.tensor(x)))
error = np.abs(u - np.exp(-t) * np.sin(np.pi * x)).max()
print(f"largest error {error:.2e} of a solution between 0 and 1")
assert error < (5e-2 if small else 3e-3)
