"""An operation of one's own, with a kernel (here a NumPy function) and a gradient, then used like any other."""

import numpy as np

import dlcore as dl
from dlcore.op import Sample, Spec, floating, operation


def kernel(x, out):
    """out = x * tanh(log(1 + exp(x))), by way of NumPy: `np.asarray` of a tensor shares its memory."""
    x = np.asarray(x)
    np.asarray(out)[...] = x * np.tanh(np.logaddexp(0, x))


@operation(kernels={"cpu": kernel}, promote=floating, samples=[Sample((33, 65), why="unaligned")], ulp=8)
def mish(x: Spec) -> Spec:
    """x * tanh(softplus(x)) (Misra, https://arxiv.org/abs/1908.08681)."""
    return Spec(x.shape, x.dtype)


@mish.gradient
def _(dout, x):
    """With s = sigmoid(x) and t = tanh(softplus(x)): d = t + x * s * (1 - t**2)."""
    s = dl.sigmoid(x)
    t = dl.tanh(dl.log(1.0 + dl.exp(x)))
    return dout * (t + x * s * (1.0 - t * t))


@mish.reference
def reference(x):
    """The same in NumPy, in float64."""
    return x * np.tanh(np.logaddexp(0, x))


x = dl.tensor(np.linspace(-3, 3, 7), requires_grad=True)
y = mish(x)
(slope,) = dl.grad(y.sum(), [x])
step = 1e-6
numeric = (reference(x.detach().numpy() + step) - reference(x.detach().numpy() - step)) / (2 * step)
np.testing.assert_allclose(y.detach().numpy(), reference(x.detach().numpy()), rtol=1e-12)
np.testing.assert_allclose(slope.numpy(), numeric, rtol=1e-6)
print(f"mish({x.tolist()}) = {y.tolist()}")
