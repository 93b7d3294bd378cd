"""Small convolutional networks as users of dlcore, PyTorch and JAX write them, with one and the same names of weights.

c: the network of one convolution of 8 channels and one of 16. lenet5, resnet8, resnet20, depthwise: of `dlcore.models`.
"""

import numpy as np

SHAPES = {  # of a batch, by the name of a network
    "c": (64, 1, 28, 28), "lenet5": (64, 1, 28, 28), "resnet8": (64, 1, 28, 28), "resnet20": (64, 3, 32, 32),
    "depthwise": (64, 3, 32, 32),
}  # fmt: skip
PLAN = ((32, 1), (64, 2), (64, 1), (128, 2), (128, 1))  # of the depthwise network: channels and stride


def weights(shapes):
    """Name -> float64 values of the parameters, drawn in the order of their names; buffers stay as they are."""
    rng, found = np.random.default_rng(5), {}
    for name, shape in sorted(shapes.items()):
        scale = np.sqrt(2 / np.prod(shape[1:])) if len(shape) > 1 else 0.1
        found[name] = scale * rng.standard_normal(shape) + (len(shape) == 1 and name.endswith("weight"))
    return found


def batch(name):
    """Random images and labels."""
    rng = np.random.default_rng(6)
    return rng.standard_normal(SHAPES[name], dtype=np.float32), rng.integers(0, 10, SHAPES[name][0])


def fill(lib, model):
    """The weights of `weights` in a model of dlcore's or PyTorch's; returns it."""
    parameters = dict(model.named_parameters())
    values = weights({name: tuple(p.shape) for name, p in parameters.items()})
    with lib.no_grad():
        for name, p in parameters.items():
            p.copy_(lib.tensor(values[name], dtype=p.dtype))
    return model


def network_c(nn):
    """Model c: the same lines for dlcore and PyTorch."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(400, 10),
    )  # fmt: skip


def dlcore_network(name):
    """A network of dlcore's."""
    from dlcore import models, nn

    inputs = SHAPES[name][1]
    if name == "c":
        return network_c(nn)
    if name == "lenet5":
        return models.LeNet5()
    if name == "depthwise":
        return models.MobileNet(10, inputs, PLAN)
    return getattr(models, name)(10, inputs)


# ---- PyTorch ------------------------------------------------------------------------------------------------------


def torch_network(name):
    """The same in PyTorch."""
    from torch import nn

    made = {"c": lambda: network_c(nn), "lenet5": _torch_lenet, "depthwise": _torch_depthwise}
    made |= {f"resnet{n}": lambda n=n: _torch_resnet((n - 2) // 6, SHAPES[name][1]) for n in (8, 20)}
    return made[name]()


def _torch_lenet():
    import torch
    from torch import nn

    class LeNet5(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(1, 6, 5, padding=2), nn.Conv2d(6, 16, 5)
            self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)

        def forward(self, x):
            pool, relu = nn.functional.max_pool2d, torch.relu
            x = pool(relu(self.conv2(pool(relu(self.conv1(x)), 2))), 2).flatten(1)
            return self.fc3(relu(self.fc2(relu(self.fc1(x)))))

    return LeNet5()


def _torch_depthwise():
    from torch import nn

    def unit(inputs, outputs, kernel, stride, groups=1):
        conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        return [conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]

    class Depthwise(nn.Module):
        def __init__(self):
            super().__init__()
            layers, width = unit(SHAPES["depthwise"][1], 16, 3, 1), 16
            for outputs, stride in PLAN:
                layers += [*unit(width, width, 3, stride, width), *unit(width, outputs, 1, 1)]
                width = outputs
            self.features, self.fc = nn.Sequential(*layers), nn.Linear(width, 10)

        def forward(self, x):
            return self.fc(self.features(x).mean((2, 3)))

    return Depthwise()


def _torch_resnet(count, channels):
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, inputs, outputs, stride):
            super().__init__()
            self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(outputs)
            self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(outputs)
            self.stride, self.more = stride, (outputs - inputs) // 2

        def forward(self, x):
            out = self.bn2(self.conv2(torch.relu_(self.bn1(self.conv1(x)))))
            if self.more:
                x = nn.functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.more, self.more))
            return torch.relu_(out + x)

    def stage(inputs, outputs, stride):
        return nn.Sequential(Block(inputs, outputs, stride), *(Block(outputs, outputs, 1) for _ in range(count - 1)))

    class ResNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(channels, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
            self.layer1, self.layer2, self.layer3 = stage(16, 16, 1), stage(16, 32, 2), stage(32, 64, 2)
            self.fc = nn.Linear(64, 10)

        def forward(self, x):
            x = torch.relu_(self.bn1(self.conv1(x)))
            return self.fc(self.layer3(self.layer2(self.layer1(x))).mean((2, 3)))

    return ResNet()


# ---- JAX ----------------------------------------------------------------------------------------------------------


class Jax:
    """A network in JAX, in either layout: `call(params, state, x)` gives logits and the new running statistics."""

    def __init__(self, name, layout):
        import jax
        import jax.numpy as jnp

        import dlcore

        self.name, self.layout, self.jax, self.jnp = name, layout, jax, jnp
        model = fill(dlcore, dlcore_network(name))
        self.params = {n: jnp.asarray(np.asarray(p.detach())) for n, p in model.named_parameters()}
        buffers = {n: np.asarray(b) for n, b in model.named_buffers() if b.ndim}
        self.state = {n: jnp.asarray(b) for n, b in buffers.items()}

    def conv(self, x, name, stride=1, padding=0, groups=1, bias=None):
        """A convolution with the weight of that name."""
        dims = (self.layout, "OIHW", self.layout)
        x = self.jax.lax.conv_general_dilated(
            x, self.p[name], (stride, stride), [(padding, padding)] * 2, dimension_numbers=dims,
            feature_group_count=groups,
        )  # fmt: skip
        return x if bias is None else x + self.over(self.p[bias])

    def over(self, v):
        """A number for each channel, beside images."""
        return v[:, None, None] if self.layout == "NCHW" else v

    def norm(self, x, name):
        """Batch normalisation in training."""
        axes = (0, 2, 3) if self.layout == "NCHW" else (0, 1, 2)
        mean, count = x.mean(axes), x.size // x.shape[1 if self.layout == "NCHW" else 3]
        var = self.jnp.square(x - self.over(mean)).mean(axes)
        for key, value in (("running_mean", mean), ("running_var", var * count / (count - 1))):
            old = self.s[f"{name}.{key}"]
            self.found[f"{name}.{key}"] = old + 0.1 * (value - old)
        scale = self.p[f"{name}.weight"] * self.jax.lax.rsqrt(var + 1e-5)
        return (x - self.over(mean)) * self.over(scale) + self.over(self.p[f"{name}.bias"])

    def pool(self, x):
        """Max pooling 2x2."""
        window = (1, 1, 2, 2) if self.layout == "NCHW" else (1, 2, 2, 1)
        return self.jax.lax.reduce_window(x, -self.jnp.inf, self.jax.lax.max, window, window, "VALID")

    def flat(self, x):
        """As PyTorch flattens (N, C, H, W)."""
        x = x if self.layout == "NCHW" else x.transpose(0, 3, 1, 2)
        return x.reshape(len(x), -1)

    def linear(self, x, name):
        """A linear layer."""
        return x @ self.p[f"{name}.weight"].T + self.p[f"{name}.bias"]

    def __call__(self, params, state, x):
        """(logits, new state)."""
        self.p, self.s, self.found = params, state, {}
        x = x if self.layout == "NCHW" else x.transpose(0, 2, 3, 1)
        call = {"c": self.c, "depthwise": self.depthwise}.get(self.name, self.resnet)
        return call(x), self.found

    def c(self, x):
        relu = self.jax.nn.relu
        x = self.pool(relu(self.conv(x, "0.weight", bias="0.bias")))
        x = self.pool(relu(self.conv(x, "3.weight", bias="3.bias")))
        return self.linear(self.flat(x), "7")

    def mean(self, x):
        return x.mean((2, 3) if self.layout == "NCHW" else (1, 2))

    def depthwise(self, x):
        relu, k, width = self.jax.nn.relu, 3, 16
        x = relu(self.norm(self.conv(x, "features.0.weight", 1, 1), "features.1"))
        for outputs, stride in PLAN:
            x = relu(self.norm(self.conv(x, f"features.{k}.weight", stride, 1, width), f"features.{k + 1}"))
            x = relu(self.norm(self.conv(x, f"features.{k + 3}.weight"), f"features.{k + 4}"))
            k, width = k + 6, outputs
        return self.linear(self.mean(x), "fc")

    def resnet(self, x):
        relu, count = self.jax.nn.relu, (int(self.name.removeprefix("resnet")) - 2) // 6
        x = relu(self.norm(self.conv(x, "conv1.weight", 1, 1), "bn1"))
        for layer in (1, 2, 3):
            for k in range(count):
                at, stride = f"layer{layer}.{k}", 2 if layer > 1 and k == 0 else 1
                y = relu(self.norm(self.conv(x, f"{at}.conv1.weight", stride, 1), f"{at}.bn1"))
                y = self.norm(self.conv(y, f"{at}.conv2.weight", 1, 1), f"{at}.bn2")
                x = relu(y + (self.shortcut(x) if stride == 2 else x))
        return self.linear(self.mean(x), "fc")

    def shortcut(self, x):
        if self.layout == "NCHW":
            more = x.shape[1] // 2
            return self.jnp.pad(x[:, :, ::2, ::2], ((0, 0), (more, more), (0, 0), (0, 0)))
        more = x.shape[3] // 2
        return self.jnp.pad(x[:, ::2, ::2], ((0, 0), (0, 0), (0, 0), (more, more)))
