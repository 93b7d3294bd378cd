"""A character model of Shakespeare: an embedding of 16 characters and an MLP (Bengio et al. 2003), then text from it.

An embedding is a table, of which `dl.take` takes rows; its gradient adds up rows that were taken more than once.
`TextWindows` holds only the text, and every position of it starts a window.

python examples/shakespeare.py            # 2.8 bits a character, 13 s of CPU time (Intel Xeon, AVX-512)
python examples/shakespeare.py --small    # 600 steps
"""

import sys

import numpy as np
from numpy.random import default_rng

import dlcore as dl
from dlcore import nn, optim
from dlcore.data import CharTokenizer, TextWindows, data_path, read_text

small = "--small" in sys.argv
CONTEXT = 16


class CharMLP(nn.Module):
    """The logits (N, characters) of the character after a context (N, CONTEXT) of indices."""

    def __init__(self, characters, width, hidden):
        self.table = nn.Parameter(dl.randn(characters, width))
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(CONTEXT * width, hidden), nn.GELU(), nn.Linear(hidden, characters)
        )

    def forward(self, context):
        return self.layers(dl.take(self.table, context))


def loss(logits, following):
    """In nats; the targets of `TextWindows` are windows one further, whose last character follows the context."""
    return dl.cross_entropy(logits, following[:, -1])


def bits(logits, following):
    """Bits a character."""
    return loss(logits, following) / np.log(2)


def write(model, tokenizer, start, length, rng):
    """``start`` and ``length`` characters after it, each drawn from what the model expects."""
    tokens = list(tokenizer.encode(start))
    for _ in range(length):
        logits = dl.predict(model, np.array([tokens[-CONTEXT:]]))  # of one shape: recorded after a few calls
        shares = np.asarray(dl.softmax(logits / 0.8, axis=-1))[0].astype(np.float64)
        tokens.append(int(rng.choice(len(shares), p=shares / shares.sum())))
    return tokenizer.decode(tokens)


dl.manual_seed(0)
try:
    text = read_text(data_path("shakespeare/shakespeare.txt"))
except FileNotFoundError as error:
    sys.exit(f"skipped: {error}")
tokenizer = CharTokenizer.of(text)
tokens = np.asarray(tokenizer.encode(text))
cut = len(tokens) * 9 // 10  # the last plays are for validation
train, held_out = TextWindows(tokens[:cut], CONTEXT), TextWindows(tokens[cut : cut + 20_000], CONTEXT)

model = CharMLP(len(tokenizer), 24, 128 if small else 384)
history = dl.fit(
    model, train, validation=held_out, epochs=2 if small else 6, steps_per_epoch=300 if small else 1000, batch_size=128,
    loss=loss, metrics=[bits], optimizer=optim.AdamW(model.parameters(), lr=3e-3), schedule="cosine", seed=0,
)  # fmt: skip
assert history.recorded, history.reason
print(write(model, tokenizer, "\nKING HENRY:\nWhat", 80 if small else 400, default_rng(0)))
print(f"{history.epochs[-1]['val_bits']:.3f} bits a character of plays that it has not read")
assert history.epochs[-1]["val_bits"] < (3.6 if small else 2.9)
