"""Record a training step, then look at what it consists of: launches, times, memory.

python examples/look_inside.py [timeline.png]
"""

import sys

import dlcore as dl
from dlcore import nn, optim

dl.manual_seed(0)
model = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10))
optimizer = optim.Adam(model.parameters(), lr=1e-3)


@dl.capture
def step(x, y):
    optimizer.zero_grad()
    loss = dl.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss


x, y = dl.randn(128, 784), dl.randint(0, 10, shape=(128,))
print(step.plan(x, y))
for _ in range(4):
    loss = step(x, y)
explanation = step.explain()
print(explanation)
if len(sys.argv) > 1:
    explanation.picture(sys.argv[1])
