"""An operation of one's own, with a kernel (here a NumPy function) and a gradient, then used like any other."""

import numpy as np

import dlcore as dl
from dlcore.op import Sample, Spec, floating, operation


def kernel(x, out):
    """out = x + sin(x)^2, by way of NumPy: `np.asarray` of a tensor shares its memory."""
    x = np.asarray(x)
    np.asarray(out)[...] = x + np.sin(x) ** 2


@operation(kernels={"cpu": kernel}, promote=floating, samples=[Sample((33, 65), why="unaligned")], ulp=8)
def snake(x: Spec) -> Spec:
    """x + sin(x)^2, for what repeats (Ziyin et al., https://arxiv.org/abs/2006.08195)."""
    return Spec(x.shape, x.dtype)


@snake.gradient
def _(dout, x):
    """1 + 2 sin(x) cos(x) = 1 + sin(2 x)."""
    return dout * (1.0 + dl.sin(2.0 * x))


@snake.reference
def reference(x):
    """The same in NumPy, in float64."""
    return x + np.sin(x) ** 2


x = dl.tensor(np.linspace(-3, 3, 7), requires_grad=True)
y = snake(x)
(slope,) = dl.grad(y.sum(), [x])
step = 1e-6
numeric = (reference(x.detach().numpy() + step) - reference(x.detach().numpy() - step)) / (2 * step)
np.testing.assert_allclose(y.detach().numpy(), reference(x.detach().numpy()), rtol=1e-12)
np.testing.assert_allclose(slope.numpy(), numeric, rtol=1e-6)
print(f"snake({x.tolist()}) = {y.tolist()}")
