"""Random tensors, and the generators they come from.

    dl.manual_seed(0)
    w = dl.randn(64, 128)
    order = dl.randperm(60000)
    waits = dl.random.exponential((1000,), scale=2.0)

A generator is a seed and an offset in device memory (see `dlcore.ops.random`): the same seed gives the same numbers on
every device. Where no ``generator`` is given, the default one of the device is used; its seed is 0 until `manual_seed`.
A generator can be passed to every function, and `Generator.get_state` gives what a file needs to go on from there.
"""

from dlcore.random.distributions import (
    beta,
    categorical,
    choice,
    dirichlet,
    exponential,
    gamma,
    multinomial,
    poisson,
    truncated_normal,
)
from dlcore.random.draws import (
    bernoulli,
    drawn_seed,
    dropout,
    normal,
    permutation,
    rand,
    rand_like,
    randint,
    randint_like,
    randn,
    randn_like,
    randperm,
    shuffle,
    uniform,
)
from dlcore.random.generator import (
    Generator,
    default_generator,
    generator_states,
    manual_seed,
    set_generator_states,
)

__all__ = [
    "Generator", "bernoulli", "beta", "categorical", "choice", "default_generator", "dirichlet", "drawn_seed",
    "dropout", "exponential", "gamma", "generator_states", "manual_seed", "multinomial", "normal", "permutation",
    "poisson", "rand", "rand_like", "randint", "randint_like", "randn", "randn_like", "randperm",
    "set_generator_states", "shuffle", "truncated_normal", "uniform",
]  # fmt: skip
