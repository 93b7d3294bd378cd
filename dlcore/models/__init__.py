"""Ready models, each in one short file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from dlcore import nn
from dlcore._arguments import integers
from dlcore._names import Names
from dlcore.models.convnext import ConvNeXt, convnext_tiny
from dlcore.models.generation import KVCache, generate, stream
from dlcore.models.gpt import GPT, load_gpt2
from dlcore.models.lenet import CNN, LeNet5
from dlcore.models.mlp import MLP, Linear
from dlcore.models.mobilenet import MobileNet, mobilenet_v1
from dlcore.models.resnet import ResNet, resnet8, resnet18, resnet20, resnet32
from dlcore.models.sequences import LSTMTagger, TransformerClassifier

__all__ = [
    "CNN", "GPT", "MLP", "ConvNeXt", "KVCache", "LSTMTagger", "LeNet5", "Linear", "MobileNet", "ResNet",
    "TransformerClassifier", "convnext_tiny", "generate", "kinds", "load_gpt2", "mobilenet_v1", "resnet8", "resnet18",
    "resnet20", "resnet32", "stream",
]  # fmt: skip


def _of_pictures(make: Callable[..., nn.Module], shape: int | Sequence[int], outputs: int) -> nn.Module:
    """A model for samples (H, W) or (channels, H, W)."""
    lengths = integers(shape, "models: shape")
    if len(lengths) not in (2, 3):
        raise ValueError(f"models: a network for pictures (H, W) or (channels, H, W), and samples are {lengths}")
    grey = len(lengths) == 2
    size = {"size": lengths[-2:]} if make in (LeNet5, CNN) else {}
    model = make(outputs, 1 if grey else lengths[0], **size)
    return nn.Sequential(nn.Unflatten(1, (1, lengths[0])), model) if grey else model


_PICTURES: dict[str, Callable[..., nn.Module]] = {
    "cnn": CNN, "lenet5": LeNet5, "resnet8": resnet8, "resnet20": resnet20, "resnet32": resnet32, "resnet18": resnet18,
    "mobilenet": MobileNet, "convnext": ConvNeXt,
}  # fmt: skip

kinds = Names(
    "a kind of model",
    [("linear", Linear), ("mlp", MLP), *((name, partial(_of_pictures, make)) for name, make in _PICTURES.items())],
)
"""What configuration files call them. Each is made by (shape of one sample, number of outputs, settings)."""
