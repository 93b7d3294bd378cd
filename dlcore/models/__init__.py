"""Ready models, each in one short file."""

from dlcore._names import Names
from dlcore.models.mlp import MLP, Linear

__all__ = ["MLP", "Linear", "kinds"]

kinds = Names("a kind of model", [("linear", Linear), ("mlp", MLP)])
"""What configuration files call them. Each is made by (shape of one sample, number of outputs, settings)."""
