"""Deep Q-learning (Mnih et al. 2015) of CartPole: a loop of one's own around two recorded functions.

A pole on a cart is to be kept upright by pushing left or right. Each step is worth 1; an episode ends after 500 at the
latest. The dynamics (Barto, Sutton & Anderson 1983) are a few lines of NumPy. `fit` has no place here, as the data come
of acting; `dl.capture` records the update all the same, and `dl.predict` the choice of an action.

python examples/dqn.py            # 500 steps upright (a random policy: 22), 7 s of CPU time (Intel Xeon, AVX-512)
python examples/dqn.py --small    # 1,500 steps, and no claim about the score
"""

import sys

import numpy as np
from numpy.random import default_rng

import dlcore as dl
from dlcore import models, optim

small = "--small" in sys.argv
STEPS, WARMUP, BATCH, GAMMA = (1500, 200, 64, 0.99) if small else (30_000, 1000, 128, 0.99)


def move(state, action):
    """The state (position, velocity, angle, angular velocity) 0.02 s after a push of 10 N; whether it fell."""
    x, v, angle, spin = state
    force = 10.0 if action else -10.0
    sine, cosine = np.sin(angle), np.cos(angle)
    push = (force + 0.05 * spin * spin * sine) / 1.1  # masses 1 and 0.1, half length of the pole 0.5
    turn = (9.8 * sine - cosine * push) / (0.5 * (4 / 3 - 0.1 * cosine * cosine / 1.1))
    state = np.array([x + 0.02 * v, v + 0.02 * (push - 0.05 * turn * cosine / 1.1), angle + 0.02 * spin,
                      spin + 0.02 * turn], np.float32)  # fmt: skip
    return state, abs(state[0]) > 2.4 or abs(state[2]) > 12 * np.pi / 180


def play(greedy, rng, limit=500):
    """How many steps the pole stays up when the best action is always taken."""
    state = rng.uniform(-0.05, 0.05, 4).astype(np.float32)
    count, fallen = 0, False
    while not fallen and count < limit:
        state, fallen = move(state, greedy(state))
        count += 1
    return count


dl.manual_seed(0)
rng = default_rng(0)
network, target = models.MLP(4, 2, hidden=(64, 64)), models.MLP(4, 2, hidden=(64, 64))
target.load_state_dict(network.state_dict())
optimizer = optim.Adam(network.parameters(), lr=1e-3)
optim.schedules.Linear(final=1e-5).prepare(optimizer, STEPS - WARMUP)


@dl.capture
def update(state, action, reward, after, going_on):
    """One step towards reward + γ max Q'(after), and Q' a little towards Q."""
    with dl.no_grad():
        best = dl.gather(target(after), network(after).argmax(axis=1).reshape(-1, 1), axis=1)  # double Q-learning
        wanted = reward + GAMMA * going_on * best
    error = dl.gather(network(state), action, axis=1) - wanted
    loss = (dl.sqrt(1.0 + dl.square(error)) - 1.0).mean()  # as Huber's: linear where it is far off
    optimizer.zero_grad()
    loss.backward()
    optim.clip_grad_norm_(network.parameters(), 10.0)
    optimizer.step()
    with dl.no_grad():
        for slow, fast in zip(target.parameters(), network.parameters(), strict=True):
            slow.copy_(slow + 0.005 * (fast - slow))
    return loss


def greedy(state):
    """The action of the larger Q; `predict` records calls of one shape by itself."""
    return int(np.asarray(dl.predict(network, state[None])).argmax())


memory = [np.zeros((STEPS, n), d) for n, d in ((4, "f4"), (1, "i8"), (1, "f4"), (4, "f4"), (1, "f4"))]
state, length = rng.uniform(-0.05, 0.05, 4).astype(np.float32), 0
for step in range(STEPS):
    exploring = rng.random() < max(0.1, 1 - step / (STEPS / 4))
    action = int(rng.integers(2)) if exploring else greedy(state)
    after, fallen = move(state, action)
    length += 1
    for part, value in zip(memory, (state, action, 1.0, after, not fallen), strict=True):
        part[step] = value
    state = after
    if fallen or length == 500:
        state, length = rng.uniform(-0.05, 0.05, 4).astype(np.float32), 0
    if step >= WARMUP:
        rows = rng.integers(0, step + 1, BATCH)
        loss = update(*(dl.tensor(part[rows]) for part in memory))
    if step % 5000 == 4999:
        print(f"step {step + 1}: loss {loss.item():.4f}, {play(greedy, rng)} steps upright")
assert update.recordings == 1

scores = [play(greedy, rng) for _ in range(2 if small else 20)]
print(f"{np.mean(scores):.0f} steps upright on average, {min(scores)} at least")
assert small or np.mean(scores) > 195
