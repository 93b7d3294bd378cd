"""Functions of functions: gradients, Jacobians, and one example's function for a whole batch.

    per_sample = dl.func.vmap(dl.func.grad(loss), in_axes=(None, 0, 0))(parameters, inputs, labels)
"""

from dlcore.func._custom import custom
from dlcore.func._gradients import grad, jvp, linearize, value_and_grad, vjp
from dlcore.func._jacobians import hessian, hvp, jacfwd, jacrev
from dlcore.func._modules import functional_call, stack_module_state
from dlcore.func._recompute import checkpoint
from dlcore.func._vmap import vmap

__all__ = [
    "checkpoint", "custom", "functional_call", "grad", "hessian", "hvp", "jacfwd", "jacrev", "jvp", "linearize",
    "stack_module_state", "value_and_grad", "vjp", "vmap",
]  # fmt: skip
