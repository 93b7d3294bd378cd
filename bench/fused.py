"""What models of text fuse: the cross-entropy of a linear layer, rotary positions, gates, and a linear recurrence.

Each function gives one that runs it and returns the value and the gradients. "dlcore unfused" is dlcore's own, of the
operations that the fused one stands for.
"""

import numpy as np

LOSS = (2048, 512, 32000)  # rows, features, classes
ROTARY = (4, 8, 512, 64)
GATE = (2048, 2 * 1376)
RECURRENCE = (16, 256, 128)


def _drawn(lib, *shapes, grad=True):
    rng = np.random.default_rng(0)
    found = [lib.tensor(rng.standard_normal(s, dtype=np.float32)) for s in shapes]
    for t in found if grad else ():
        t.requires_grad_()
    return found


def _both(call, leaves):
    def run():
        for leaf in leaves:
            leaf.grad = None
        out = call()
        out.sum().backward()
        return out.detach(), *(leaf.grad for leaf in leaves)

    return run


def loss(lib, functional, fused=False, compiled=None):
    """The loss of a language model's last layer, which has LOSS's rows, features and classes."""
    rows, features, classes = LOSS
    rng = np.random.default_rng(1)
    x, w = _drawn(lib, (rows, features), (classes, features), grad=False)
    w *= 0.04
    x.requires_grad_(), w.requires_grad_()
    target = lib.tensor(rng.integers(0, classes, rows))

    def unfused():
        return functional.cross_entropy(functional.linear(x, w), target)

    chosen = (lambda: lib.linear_cross_entropy(x, w, target)) if fused else compiled(unfused) if compiled else unfused
    return _both(chosen, [x, w])


def _rotated(lib, x, cos, sin):
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]
    return lib.concat([a * cos - b * sin, b * cos + a * sin], -1)


def rotary(lib, fused=False, compiled=None):
    """Queries of a layer turned by their positions."""
    (x,) = _drawn(lib, ROTARY)
    angles = np.outer(np.arange(ROTARY[2]), 10000.0 ** -(np.arange(0, ROTARY[3], 2) / ROTARY[3])).astype(np.float32)
    cos, sin = lib.tensor(np.cos(angles)), lib.tensor(np.sin(angles))
    if fused:
        return _both(lambda: lib.rotary_embedding(x, cos, sin), [x])
    turn = compiled(_rotated) if compiled else _rotated
    return _both(lambda: turn(lib, x, cos, sin), [x])


def gate(lib, functional, fused=False, compiled=None):
    """SwiGLU of the halves of a feed-forward layer's first product."""
    (x,) = _drawn(lib, GATE)
    half = GATE[1] // 2
    if fused:
        return _both(lambda: lib.swiglu(x), [x])

    def unfused():
        return functional.silu(x[:, :half]) * x[:, half:]

    return _both(compiled(unfused) if compiled else unfused, [x])


def recurrence(lib, fused=False):
    """h = a h + b over the steps of a layer; of other libraries one step after the other."""
    a, b = _drawn(lib, RECURRENCE, RECURRENCE)
    if fused:
        return _both(lambda: lib.linear_recurrence(a * 0.1, b), [a, b])

    def steps():
        h, found = b[:, 0], []
        for t in range(1, RECURRENCE[1]):
            found.append(h)
            h = a[:, t] * 0.1 * h + b[:, t]
        return lib.stack([*found, h], 1)

    return _both(steps, [a, b])
