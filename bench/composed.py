"""Public functions that are made of operations, and how NumPy, PyTorch and JAX write them: what bench/table.py times.

The operands are drawn once for each of the two sizes: `x`, `y` vectors, `m`, `w` matrices, `c` of three axes, `r` one
row of `m`, `p` probabilities, `q` signs and `b` bools as `x`, `i` indices of elements of `x`, `j` of rows of `m`, `k`
one index of each row of `m`, `s` sorted, `n` integers below 100 (below 4) as `x`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["COMPOSED", "OPERANDS", "SIZES", "Composed"]

SIZES = {"1M": (1 << 20, 1024, 1024), "8": (8, 2, 4)}  # elements of vectors; rows and columns of matrices

OPERANDS = """
import numpy
rng = numpy.random.default_rng(0)
normal = lambda *shape: rng.standard_normal(shape, dtype=numpy.float32)
length, rows, columns = {size}
x, y, m, w = (tensor(normal(*shape)) for shape in ((length,), (length,), (rows, columns), (rows, columns)))
c = tensor(normal(2, rows // 2, columns))
r = tensor(normal(columns))
p = tensor((rng.random(length, dtype=numpy.float32) * numpy.float32(0.98) + numpy.float32(0.01)))
q = tensor(numpy.where(rng.random(length) < 0.5, numpy.float32(-1), numpy.float32(1)))
i = tensor(rng.integers(0, length, length))
j = tensor(rng.integers(0, rows, rows))
b = tensor(rng.random(length) < 0.5)
k = tensor(rng.integers(0, columns, (rows, 1)))
s = tensor(numpy.sort(normal(length)))
n = tensor(rng.integers(0, 100 if length > 8 else 4, length))
"""
MODULES = {"dlcore": "dl", "torch": "torch", "numpy": "np", "jax": "jnp"}


class Composed(NamedTuple):
    """A function, its family, and library -> an expression over the operands."""

    name: str
    family: str
    ways: dict[str, str]

    @property
    def title(self) -> str:
        """As dlcore writes it."""
        return self.ways["dlcore"].removeprefix("dl.")


def _one(family: str, call: str, **ways: str) -> Composed:
    """``call``: as dlcore writes it, and every library not named by ``ways``; "" where it has no such function."""
    found = {library: ways.get(library, f"{module}.{call}") for library, module in MODULES.items()}
    return Composed(call.partition("(")[0], family, {lib: way for lib, way in found.items() if way})


def _f(call: str) -> str:
    return f"F.{call}"


def _shaping() -> Iterator[Composed]:
    yield _one("views", "flatten(m)", numpy="m.reshape(-1)", jax="m.reshape(-1)")
    yield _one("views", "ravel(m)")
    yield _one("views", "transpose(m, 0, 1)", numpy="np.swapaxes(m, 0, 1)", jax="jnp.swapaxes(m, 0, 1)")
    yield _one("views", "unsqueeze(m, 1)", numpy="np.expand_dims(m, 1)", jax="jnp.expand_dims(m, 1)")
    yield _one("views", "squeeze(m[None])")
    yield _one("views", "moveaxis(c, 0, 2)")
    yield _one("views", "swapaxes(c, 0, 2)")
    yield _one("views", "broadcast_to(r, m.shape)")
    yield _one("views", "flip(m, (0,))", numpy="np.flip(m, 0)", jax="jnp.flip(m, 0)")
    yield _one("views", "fliplr(m)")
    yield _one("views", "flipud(m)")
    yield _one("views", "rot90(m)")
    yield _one("views", "split(x, 4)", torch="torch.chunk(x, 4)")
    yield _one("views", "array_split(x, 4)", torch="torch.tensor_split(x, 4)")
    yield _one("views", "chunk(x, 4)", numpy="np.array_split(x, 4)", jax="jnp.array_split(x, 4)")
    yield _one("views", "unbind(c)", numpy="np.unstack(c)", jax="jnp.unstack(c)")
    yield _one("views", "narrow(x, 0, 1, 3)", numpy="x[1:4]", jax="x[1:4]")
    yield _one("views", "select(m, 0, 1)", numpy="m[1]", jax="m[1]")
    yield _one("views", "atleast_2d(x)")
    yield _one("views", "broadcast_arrays(m, r)", torch="torch.broadcast_tensors(m, r)")
    yield _one("views", "diagonal(m)")
    yield _one("views", "sliding_window_view(x, 3)", torch="x.unfold(0, 3, 1)",
               numpy="np.lib.stride_tricks.sliding_window_view(x, 3)", jax="")  # fmt: skip
    yield _one("views", "matrix_transpose(m)", torch="m.mT")


def _arranging() -> Iterator[Composed]:
    yield _one("movement", "stack([x, y])")
    yield _one("movement", "stack([x, y], 1)")
    yield _one("movement", "hstack([m, w])")
    yield _one("movement", "vstack([m, w])")
    yield _one("movement", "dstack([m, w])")
    yield _one("movement", "column_stack([x, y])")
    yield _one("movement", "tile(r, (rows, 1))")
    yield _one("movement", "repeat(x[:length // 4], 4)", torch="torch.repeat_interleave(x[:length // 4], 4)")
    yield _one("movement", "repeat(m[:rows // 2], 2, 0)", torch="torch.repeat_interleave(m[:rows // 2], 2, 0)")
    yield _one("movement", "repeat_interleave(x[:length // 4], 4)", numpy="np.repeat(x[:length // 4], 4)",
               jax="jnp.repeat(x[:length // 4], 4)")  # fmt: skip
    yield _one("movement", "roll(x, 3)")
    yield _one("movement", "roll(m, 1, 0)")
    yield _one("movement", "pad(m, ((1, 1), (2, 2)))", torch="F.pad(m, (2, 2, 1, 1))")
    yield _one("movement", "pad(m, ((1, 0), (2, 2)), mode='reflect')",
               torch="F.pad(m[None], (2, 2, 1, 0), 'reflect')[0]")
    yield _one("movement", "meshgrid(r, r)", torch="torch.meshgrid(r, r, indexing='xy')")
    yield _one("movement", "diag(r)")
    yield _one("movement", "diag_embed(r)", numpy="", jax="")
    yield _one("movement", "trace(m)")
    yield _one("movement", "block_diag(m, w)", numpy="", jax="jax.scipy.linalg.block_diag(m, w)")
    yield _one("movement", "append(x, y)", torch="torch.cat([x, y])")
    yield _one("movement", "delete(x, 3)", torch="torch.cat([x[:3], x[4:]])")
    yield _one("movement", "insert(x, 3, 1.0)", torch="torch.cat([x[:3], torch.ones(1), x[3:]])")


def _indexed() -> Iterator[Composed]:
    zeros = {"torch": "torch.zeros_like(x)", "numpy": "np.zeros_like(x)", "jax": "jnp.zeros_like(x)"}
    yield _one("movement", "index_select(m, 0, j)", numpy="np.take(m, j, 0)", jax="jnp.take(m, j, 0)")
    yield _one("movement", "take_along_axis(m, k, 1)", torch="torch.take_along_dim(m, k, 1)")
    yield _one("movement", "masked_fill(x, b, 0.0)", numpy="np.where(b, np.float32(0), x)",
               jax="jnp.where(b, 0.0, x)")  # fmt: skip
    yield _one("movement", "masked_select(x, b)", numpy="x[b]", jax="")
    yield _one("movement", "scatter(x, 0, i, y)", numpy="", jax="x.at[i].set(y)")
    yield _one("movement", "scatter_add(x, 0, i, y)", numpy="", jax="x.at[i].add(y)")
    yield _one("movement", "scatter_reduce(x, 0, i, y, 'amax')", numpy="", jax="x.at[i].max(y)")
    yield _one("movement", "index_add(m, 0, j, w)", numpy="", jax="m.at[j].add(w)")
    yield _one("movement", "index_fill(m, 0, j, 0.0)", numpy="", jax="m.at[j].set(0.0)")
    yield _one("movement", "one_hot(n, 100)", torch="F.one_hot(n, 100)", numpy="",
               jax="jax.nn.one_hot(n, 100, dtype='int64')")
    yield _one("movement", "x[i]", dlcore="x[i]", torch="x[i]", numpy="x[i]", jax="x[i]")
    yield _one("movement", "x[b]", dlcore="x[b]", torch="x[b]", numpy="x[b]", jax="")
    yield _one("movement", "m[:, ::2] * 1", **dict.fromkeys(MODULES, "m[:, ::2] * 1"))
    yield _one("movement", "flatnonzero(x)", torch="torch.nonzero(x).squeeze(1)", jax="")
    yield _one("creation", "zeros_like(x)", **{**zeros, "dlcore": "dl.zeros_like(x)"})
    yield _one("creation", "full((length,), 2.0)")
    yield _one("creation", "arange(length)")
    yield _one("creation", "linspace(0.0, 1.0, length)")
    yield _one("creation", "eye(rows)")


def _reduced() -> Iterator[Composed]:
    yield _one("reduce", "amax(m, 1)")
    yield _one("reduce", "amin(m, 0)")
    yield _one("reduce", "ptp(x)", torch="x.max() - x.min()")
    yield _one("reduce", "aminmax(x)", torch="torch.aminmax(x)", numpy="", jax="")
    yield _one("reduce", "average(x, weights=p)", torch="(x * p).sum() / p.sum()")
    yield _one("reduce", "nanvar(x)", torch="")
    yield _one("reduce", "nanstd(x)", torch="")
    yield _one("reduce", "nanprod(q)", torch="")
    yield _one("reduce", "norm(x, 3)", torch="torch.linalg.vector_norm(x, 3)", numpy="np.linalg.norm(x, 3)",
               jax="jnp.linalg.norm(x, 3)")  # fmt: skip
    yield _one("scan", "diff(x)")
    yield _one("scan", "trapezoid(x)")
    yield _one("reduce", "softmin(m, 1)", torch="F.softmin(m, 1)", numpy="", jax="jax.nn.softmax(-m, 1)")
    yield _one("reduce", "allclose(x, y)")
    yield _one("reduce", "array_equal(x, x)", torch="torch.equal(x, x)")
    yield _one("elementwise", "float_power(x, 2.0)", jax="jnp.float_power(x, 2.0)")
    yield _one("elementwise", "polygamma(1, p)", numpy="", jax="jax.scipy.special.polygamma(1, p)")


def _ordered() -> Iterator[Composed]:
    yield _one("order", "unique(n)", jax="")
    yield _one("order", "unique(x)", jax="")
    yield _one("order", "isin(n, i)")
    yield _one("order", "intersect1d(n, i)", torch="", jax="")
    yield _one("order", "union1d(n, i)", torch="", jax="")
    yield _one("order", "setdiff1d(n, i)", torch="", jax="")
    yield _one("order", "kthvalue(x, 4)", numpy="", jax="")
    yield _one("order", "msort(m)", numpy="np.sort(m, 0)", jax="jnp.sort(m, 0)")
    yield _one("order", "partition(x, 4)", torch="")
    yield _one("order", "bucketize(x, s)", numpy="np.digitize(x, s)", jax="jnp.digitize(x, s)")
    yield _one("order", "percentile(x, 30.0)", torch="torch.quantile(x, 0.3)",
               numpy="np.percentile(x, np.float32(30))")
    yield _one("order", "histogram(x, 10)", torch="")


def _multiplied() -> Iterator[Composed]:
    yield _one("products", "einsum('ij,kj->ik', m, w)")
    yield _one("products", "einsum('ij,ij->i', m, w)")
    yield _one("products", "einsum('ij->ji', m)")
    yield _one("products", "einsum('ij->j', m)")
    yield _one("products", "einsum('aij,aij->ij', c, c)")


def _losses() -> Iterator[Composed]:
    none = {"numpy": "", "jax": ""}
    yield _one("loss", "soft_margin_loss(x, q)", torch=_f("soft_margin_loss(x, q)"), **none)
    yield _one("loss", "hinge_embedding_loss(x, q)", torch=_f("hinge_embedding_loss(x, q)"), **none)
    yield _one("loss", "margin_ranking_loss(x, y, q)", torch=_f("margin_ranking_loss(x, y, q)"), **none)
    yield _one("loss", "cosine_similarity(m, w)", torch=_f("cosine_similarity(m, w)"), **none)
    yield _one("loss", "pairwise_distance(m, w)", torch=_f("pairwise_distance(m, w)"), **none)
    yield _one("loss", "triplet_margin_loss(m, w, m * 2)", torch=_f("triplet_margin_loss(m, w, m * 2)"), **none)
    yield _one("loss", "poisson_nll_loss(x, p)", torch=_f("poisson_nll_loss(x, p)"), **none)
    yield _one("loss", "gaussian_nll_loss(x, y, p)", torch=_f("gaussian_nll_loss(x, y, p)"), **none)
    yield _one("loss", "multi_margin_loss(m, k[:, 0])", torch=_f("multi_margin_loss(m, k[:, 0])"), **none)


COMPOSED = (
    *_shaping(), *_arranging(), *_indexed(), *_reduced(), *_ordered(), *_multiplied(), *_losses(),
)  # fmt: skip
