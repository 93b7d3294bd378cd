"""Uses of the public interface, right and wrong: tests/test_typing.py has a type checker read this file.

A line that ends in `# error` must be an error, `# type: T` after a `reveal_type` states the type, and no other line may
be an error. Nothing here runs.
"""

from typing import reveal_type

import numpy as np

import dlcore as dl
from dlcore import nn, optim

x = dl.tensor([1.0, 2.0, 3.0])

# ---- operations: operands, attributes, defaults
reveal_type(dl.relu(x))  # type: dlcore._tensor.Tensor
reveal_type(dl.softmax(x, axis=-1))  # type: dlcore._tensor.Tensor
reveal_type(dl.sum(x, (0, 1), keepdims=True))  # type: dlcore._tensor.Tensor
dl.relu(np.ones(3))
dl.add(x, 1)
dl.matmul([[1.0, 2.0]], x)
dl.concat([x, x], axis=0)
dl.gelu(x, approximate="tanh")
dl.cross_entropy(x, dl.tensor(1), reduction="sum")
reveal_type(dl.where(x > 0))  # type: tuple[dlcore._tensor.Tensor, ...]
reveal_type(dl.where(x > 0, x, 0.0))  # type: dlcore._tensor.Tensor
dl.max(x, x)
dl.gather(x, 0, dl.tensor([0]))
x.gather(0, dl.tensor([0]))
dl.add(x, x, alpha=2.0)
dl.nonzero(x, as_tuple=True)
dl.softmax(x, 0, dtype=dl.float64)
dl.relu(x, inplace=True)
dl.where(x > 0, x)  # error
dl.gather(x, "rows", dl.tensor([0]))  # error
dl.relu(x, inplace="yes")  # error
dl.relu("nonsense", 3, wrong=1)  # error
dl.relu("nonsense")  # error
dl.relu()  # error
dl.softmax(x, axis="rows")  # error
dl.gelu(x, approximate="erf")  # error
dl.cross_entropy(x, x, reduction="avg")  # error
dl.sum(x, keepdim=True)  # error
dl.no_such_operation(x)  # error
dl.clip(x, min=0.0)

# ---- tensors: operators and methods
reveal_type(x + 1)  # type: dlcore._tensor.Tensor
reveal_type(2.0 * x @ x)  # type: dlcore._tensor.Tensor
reveal_type(x[0])  # type: dlcore._tensor.Tensor
reveal_type(x == 1)  # type: dlcore._tensor.Tensor
reveal_type(x.sum(0).clip(0, 1).sin().reshape(3, 1).T)  # type: dlcore._tensor.Tensor
array: np.ndarray = x.numpy()
reveal_type(x.shape)  # type: tuple[int, ...]
x.take(dl.tensor([0]))
x.softmax(axis=0, dim=1)  # error
x.no_such_method()  # error
x.shape = (3, 1)  # error

# ---- what loads when it is first used keeps its signature
model = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
optimizer = optim.Adam(model.parameters(), lr=1e-3)
reveal_type(dl.fit(model, (x, x), loss=dl.mse_loss, optimizer=optimizer))  # type: dlcore.train.history.History
dl.fit(model, (x, x), loss=dl.mse_loss, optimiser=optimizer)  # error
dl.save(model, "model.safetensors")
dl.save(model)  # error
dl.randn(3, 4)
