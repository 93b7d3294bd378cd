"""`weight_norm` and `spectral_norm` under PyTorch's name (``torch.nn.utils.parametrizations``)."""

from dlcore.nn.parametrize import spectral_norm, weight_norm

__all__ = ["spectral_norm", "weight_norm"]
