"""A GPT on the characters of Shakespeare: from raw text to generated lines (nanoGPT's setting for CPUs).

4 layers of 4 heads, 128 wide, read 64 characters; 2000 steps of 12 windows with AdamW. Then it writes: keys and values
of what it has read are kept, and the step from one character to the next is recorded once.

python examples/char_gpt.py            # a loss of 1.89 nats a character of plays that it has not read (PyTorch: 1.88);
                                       # 60 s on two cores (AMD Zen 4, AVX-512)
python examples/char_gpt.py --small    # 150 steps
"""

import sys
import time

import numpy as np

import dlcore as dl
from dlcore import models, optim
from dlcore.data import CharTokenizer, Subset, TextWindows, data_path, read_text

small = "--small" in sys.argv
CONTEXT, STEPS = 64, 150 if small else 2000

try:
    text = read_text(data_path("shakespeare/shakespeare.txt"))
except FileNotFoundError as error:
    sys.exit(f"skipped: {error}")
tokenizer = CharTokenizer.of(text)
tokens = tokenizer.encode(text)
cut = len(tokens) * 9 // 10  # the last plays are for validation
train, held_out = TextWindows(tokens[:cut], CONTEXT), TextWindows(tokens[cut:], CONTEXT)
held_out = Subset(held_out, np.arange(0, len(held_out), CONTEXT))  # windows that do not overlap


def loss(logits, following):
    """In nats a character; logits (B, T, characters), following (B, T)."""
    return dl.cross_entropy(logits.reshape(-1, tokenizer.size), following.reshape(-1))


dl.manual_seed(0)
size = {"layers": 2, "width": 64} if small else {"layers": 4, "width": 128}
model = models.GPT(tokenizer.size, heads=4, context=CONTEXT, bias=False, **size)
start = time.perf_counter()
history = dl.fit(
    model, train, epochs=1, steps_per_epoch=STEPS, batch_size=12, loss=loss, seed=0, clip_norm=1.0,
    optimizer=optim.AdamW(
        model.named_parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=0.1, no_decay=("norm", "embedding")
    ),
    schedule=optim.schedules.Cosine(warmup=STEPS // 20, final=1e-4),
)  # fmt: skip
assert history.recorded, history.reason
seconds = time.perf_counter() - start
found = dl.evaluate(model, held_out, loss=loss, batch_size=64, steps=5 if small else None)["loss"]

for token in models.stream(model, tokenizer.encode("\nHAMLET"), 100 if small else 500, temperature=0.8, seed=0):
    print(tokenizer.decode([token]), end="", flush=True)
print(f"\n\nloss {found:.3f} on plays that it has not read, after {seconds:.0f} s of training")
assert found < (2.9 if small else 1.95)
