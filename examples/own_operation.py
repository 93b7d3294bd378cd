"""An operation of one's own: a row with a kernel (here a NumPy function) and a gradient, then used like any other."""

import numpy as np

import dlcore as dl
from dlcore.op import Op, Sample, Spec, floating


def kernel(x, out):
    """out = x * tanh(log(1 + exp(x))), by way of NumPy: `np.asarray` of a tensor shares its memory."""
    x = np.asarray(x)
    np.asarray(out)[...] = x * np.tanh(np.logaddexp(0, x))


def gradient(ctx, dout):
    """With s = sigmoid(x) and t = tanh(softplus(x)): d = t + x * s * (1 - t**2)."""
    (x,) = ctx.saved
    s = dl.sigmoid(x)
    t = dl.tanh(dl.log(1.0 + dl.exp(x)))
    return dout * (t + x * s * (1.0 - t * t))


MISH = Op(
    name="mish",
    doc="x * tanh(softplus(x)) (Misra, https://arxiv.org/abs/1908.08681).",
    inputs="x",
    promote=floating,
    infer=lambda x: Spec(x.shape, x.dtype),
    kernels={"cpu": kernel},
    saves=("x",),
    vjp=gradient,
    ref=lambda x: x * np.tanh(np.logaddexp(0, x)),
    samples=lambda rng: [Sample((rng.standard_normal((33, 65)),), why="unaligned")],
    ulp=8,
)
mish = MISH.call

x = dl.tensor(np.linspace(-3, 3, 7), requires_grad=True)
y = mish(x)
(slope,) = dl.grad(y.sum(), [x])
step = 1e-6
numeric = (MISH.ref(x.detach().numpy() + step) - MISH.ref(x.detach().numpy() - step)) / (2 * step)
np.testing.assert_allclose(y.detach().numpy(), MISH.ref(x.detach().numpy()), rtol=1e-12)
np.testing.assert_allclose(slope.numpy(), numeric, rtol=1e-6)
print(f"mish({x.tolist()}) = {y.tolist()}")
