"""Functions of functions: gradients, Jacobians, and one example's function for a whole batch.

    per_sample = dl.func.vmap(dl.func.grad(loss), in_axes=(None, 0, 0))(parameters, inputs, labels)
"""

from dlcore.func._gradients import grad, jvp, linearize, value_and_grad, vjp
from dlcore.func._jacobians import hessian, hvp, jacfwd, jacrev
from dlcore.func._vmap import vmap

__all__ = ["grad", "hessian", "hvp", "jacfwd", "jacrev", "jvp", "linearize", "value_and_grad", "vjp", "vmap"]
