"""Layers of images, each forward, and forward with both gradients: a list of convolutions, pools and norms.

A convolution is (kernel, inputs, outputs, size, batch, options); the length of `size` says along how many axes.
"""

import numpy as np

CONVOLUTIONS = {
    # name: (images, weight, options)
    "LeNet 5x5 1-6, batch 128": ((128, 1, 28, 28), (6, 1, 5, 5), {"padding": 2}),
    "LeNet 5x5 6-16, batch 128": ((128, 6, 14, 14), (16, 6, 5, 5), {}),
    "LeNet 5x5 6-16, batch 1": ((1, 6, 14, 14), (16, 6, 5, 5), {}),
    "model c 3x3 1-8, batch 128": ((128, 1, 28, 28), (8, 1, 3, 3), {}),
    "model c 3x3 8-16, batch 128": ((128, 8, 13, 13), (16, 8, 3, 3), {}),
    "ResNet-20 3x3 3-16, batch 16": ((16, 3, 32, 32), (16, 3, 3, 3), {"padding": 1}),
    "ResNet-20 3x3 16-16, batch 1": ((1, 16, 32, 32), (16, 16, 3, 3), {"padding": 1}),
    "ResNet-20 3x3 16-16, batch 16": ((16, 16, 32, 32), (16, 16, 3, 3), {"padding": 1}),
    "ResNet-20 3x3 16-16, batch 128": ((128, 16, 32, 32), (16, 16, 3, 3), {"padding": 1}),
    "ResNet-20 3x3 16-32 stride 2, batch 128": ((128, 16, 32, 32), (32, 16, 3, 3), {"padding": 1, "stride": 2}),
    "ResNet-20 3x3 32-32, batch 128": ((128, 32, 16, 16), (32, 32, 3, 3), {"padding": 1}),
    "ResNet-20 3x3 64-64, batch 128": ((128, 64, 8, 8), (64, 64, 3, 3), {"padding": 1}),
    "ResNet-18 7x7 3-64 stride 2, batch 1": ((1, 3, 224, 224), (64, 3, 7, 7), {"padding": 3, "stride": 2}),
    "ResNet-18 3x3 64-64, batch 1": ((1, 64, 56, 56), (64, 64, 3, 3), {"padding": 1}),
    "ResNet-18 3x3 128-128, batch 16": ((16, 128, 28, 28), (128, 128, 3, 3), {"padding": 1}),
    "ResNet-18 1x1 64-128 stride 2, batch 16": ((16, 64, 56, 56), (128, 64, 1, 1), {"stride": 2}),
    "ResNet-18 3x3 256-512 stride 2, batch 1": ((1, 256, 14, 14), (512, 256, 3, 3), {"padding": 1, "stride": 2}),
    "ResNet-18 3x3 512-512, batch 16": ((16, 512, 7, 7), (512, 512, 3, 3), {"padding": 1}),
    "MobileNet depthwise 3x3 32, batch 16": ((16, 32, 56, 56), (32, 1, 3, 3), {"padding": 1, "groups": 32}),
    "MobileNet depthwise 3x3 64 stride 2, batch 16": (
        (16, 64, 56, 56), (64, 1, 3, 3), {"padding": 1, "stride": 2, "groups": 64}),
    "MobileNet depthwise 3x3 128, batch 128": ((128, 128, 8, 8), (128, 1, 3, 3), {"padding": 1, "groups": 128}),
    "MobileNet 1x1 64-128, batch 16": ((16, 64, 28, 28), (128, 64, 1, 1), {}),
    "MobileNet 1x1 128-128, batch 1": ((1, 128, 28, 28), (128, 128, 1, 1), {}),
    "ConvNeXt depthwise 7x7 96, batch 1": ((1, 96, 56, 56), (96, 1, 7, 7), {"padding": 3, "groups": 96}),
    "grouped 3x3 64-64 of 8, batch 16": ((16, 64, 28, 28), (64, 8, 3, 3), {"padding": 1, "groups": 8}),
    "dilated 3x3 32-32, batch 16": ((16, 32, 32, 32), (32, 32, 3, 3), {"padding": 2, "dilation": 2}),
    "transposed 4x4 32-16 stride 2, batch 16": (
        (16, 32, 14, 14), (32, 16, 4, 4), {"padding": 1, "stride": 2, "transposed": True}),
    "transposed 3x3 64-32, batch 16": ((16, 64, 16, 16), (64, 32, 3, 3), {"padding": 1, "transposed": True}),
    "1d 9 16-32, batch 16": ((16, 16, 512), (32, 16, 9), {"padding": 4}),
    "3d 3x3x3 8-16, batch 16": ((16, 8, 8, 16, 16), (16, 8, 3, 3, 3), {"padding": 1}),
}  # fmt: skip

OTHERS = {
    # name: (images, the layer as PyTorch writes it)
    "max_pool2d 2, 128x16x26x26": ((128, 16, 26, 26), "F.max_pool2d(x, 2)"),
    "max_pool2d 3 stride 2, 16x64x112x112": ((16, 64, 112, 112), "F.max_pool2d(x, 3, 2, 1)"),
    "max_pool1d 2, 64x32x1024": ((64, 32, 1024), "F.max_pool1d(x, 2)"),
    "avg_pool2d 2, 128x32x28x28": ((128, 32, 28, 28), "F.avg_pool2d(x, 2)"),
    "avg_pool3d 2, 8x16x16x32x32": ((8, 16, 16, 32, 32), "F.avg_pool3d(x, 2)"),
    "adaptive_avg_pool2d 1, 128x64x8x8": ((128, 64, 8, 8), "F.adaptive_avg_pool2d(x, 1)"),
    "batch_norm 64x16x32x32": ((64, 16, 32, 32), "F.batch_norm(x, None, None, w, b, True)"),
    "batch_norm 16x128x28x28": ((16, 128, 28, 28), "F.batch_norm(x, None, None, w, b, True)"),
    "group_norm 16x64x32x32 of 8": ((16, 64, 32, 32), "F.group_norm(x, 8, w, b)"),
    "instance_norm 16x32x64x64": ((16, 32, 64, 64), "F.instance_norm(x, None, None, w, b)"),
    "layer_norm 4096x1024": ((4096, 1024), "F.layer_norm(x, (1024,), w, b)"),
    "rms_norm 4096x1024": ((4096, 1024), "F.rms_norm(x, (1024,), w)"),
}


def _drawn(*shapes):
    """Random images, and weights that keep their size."""
    rng = np.random.default_rng(1)
    sizes = [np.sqrt(np.prod(s[1:])) if k else 1.0 for k, s in enumerate(shapes)]
    return [rng.standard_normal(s, dtype=np.float32) / np.float32(n) for s, n in zip(shapes, sizes, strict=True)]


def _leaves(lib, *shapes, grad=True):
    tensors = [lib.tensor(a) for a in _drawn(*shapes)]
    for t in tensors if grad else ():
        t.requires_grad_()
    return tensors


def _run(call, leaves, both, lib, turned=None):
    """``turned``: the order of axes in which images are those of (N, C, \\*space)."""
    def shown(t):
        return t if turned is None else t.permute(turned)

    if not both:
        def forward():
            with lib.no_grad():
                return (shown(call()),)

        return forward
    out = call()
    dout = np.random.default_rng(2).standard_normal(tuple(shown(out).shape), dtype=np.float32)
    dout = lib.tensor(dout if turned is None else np.moveaxis(dout, 1, -1).copy())

    def forward_backward():
        for leaf in leaves:
            leaf.grad = None
        out = call()
        out.backward(dout)
        images = shown(out), shown(leaves[0].grad)
        return (*images, *(leaf.grad for leaf in leaves[1:] if leaf.grad is not None))

    return forward_backward


def convolution(lib, functional, name, both, layout="NCHW"):
    """A function that runs a layer of dlcore's or PyTorch's and returns its output and, if ``both``, the gradients."""
    images, kernel, options = CONVOLUTIONS[name]
    options, n = dict(options), len(kernel) - 2
    kind = "conv_transpose" if options.pop("transposed", False) else "conv"
    x, w = _leaves(lib, images, kernel, grad=both)
    function = getattr(functional, f"{kind}{n}d")
    if layout == "NCHW":
        return _run(lambda: function(x, w, **options), [x, w], both, lib)
    x = lib.tensor(np.moveaxis(np.asarray(x.detach()), 1, -1).copy()).requires_grad_(both)
    first = (0, n + 1, *range(1, n + 1))  # the axes of (N, *space, C) as (N, C, *space)
    return _run(lambda: function(x, w, **options, layout=layout), [x, w], both, lib, first)


def other(lib, functional, name, both):
    """The same for a pool or a norm."""
    images, text = OTHERS[name]
    width = images[1] if len(images) > 2 else images[-1]
    x, w, b = _leaves(lib, images, (width,), (width,), grad=both)
    call = eval(f"lambda: {text}", {"F": functional, "x": x, "w": w, "b": b})
    return _run(call, [x, w, b], both, lib)


def jax_convolution(name, both):
    """The same in JAX, jitted and waited for."""
    import jax
    import jax.numpy as jnp

    images, kernel, options = CONVOLUTIONS[name]
    n = len(kernel) - 2
    x, w = map(jnp.asarray, _drawn(images, kernel))
    stride, padding = options.get("stride", 1), options.get("padding", 0)
    dilation, letters = options.get("dilation", 1), "DHW"[-n:]
    dims = (f"NC{letters}", f"OI{letters}", f"NC{letters}")

    def call(x, w):
        if options.get("transposed"):
            turned = jnp.flip(w, tuple(range(2, 2 + n))).swapaxes(0, 1)
            around = [(k - 1 - padding,) * 2 for k in kernel[2:]]
            return jax.lax.conv_general_dilated(x, turned, (1,) * n, around, (stride,) * n, dimension_numbers=dims)
        return jax.lax.conv_general_dilated(
            x, w, (stride,) * n, [(padding, padding)] * n, rhs_dilation=(dilation,) * n, dimension_numbers=dims,
            feature_group_count=options.get("groups", 1),
        )  # fmt: skip

    if not both:
        jitted = jax.jit(call)
        return lambda: (jitted(x, w).block_until_ready(),)
    dout = jnp.asarray(np.random.default_rng(2).standard_normal(jax.eval_shape(call, x, w).shape, dtype=np.float32))

    def gradients(x, w, dout):
        out, pull = jax.vjp(call, x, w)
        return out, *pull(dout)

    jitted = jax.jit(gradients)
    return lambda: jax.block_until_ready(jitted(x, w, dout))
