"""Puts the spaces back: an LSTM that reads a line of Shakespeare's in both directions labels after which letters a word
ends.

Lines are of 10 to 60 letters. `LengthBuckets` makes batches of lines of about one length, so that little is padding,
and a step is recorded once for each of the few lengths to which lines are padded, not for every length there is. The
padding has the label -100, which the loss leaves out.

python examples/sequence_labeller.py            # F1 of the ends of words 0.94, 24 s of CPU time (AMD Zen 4, AVX-512)
python examples/sequence_labeller.py --small    # fewer steps
"""

import itertools
import re
import sys

import numpy as np

import dlcore as dl
from dlcore import optim
from dlcore.data import CharTokenizer, LengthBuckets, data_path, pad_sequences, read_text
from dlcore.models import LSTMTagger

small = "--small" in sys.argv
EDGES, BATCH, STEPS = (20, 28, 36, 44, 60), 64, 150 if small else 900


def labelled(line):
    """The letters of a line, and for each of them whether a word ends there."""
    words = re.findall(r"[a-z]+", line.lower().replace("'", ""))
    return "".join(words), [int(k == len(word) - 1) for word in words for k in range(len(word))]


def spaced(letters, ends):
    """The letters with a space after each at which a word ends."""
    return "".join(letter + " " * int(end) for letter, end in zip(letters, ends, strict=True)).strip()


def predicted(lines):
    """For each of some lines, given as letters, where a word ends."""
    tokens = pad_sequences([letters.encode(line) + 1 for line in lines])
    found = np.asarray(dl.predict(model, tokens)).argmax(-1)
    return [row[: len(line)] for row, line in zip(found, lines, strict=True)]


dl.manual_seed(0)
try:
    text = read_text(data_path("shakespeare/shakespeare.txt"))
except FileNotFoundError as error:
    sys.exit(f"skipped: {error}")
samples = [labelled(line) for line in text.splitlines()]
samples = [sample for sample in samples if 10 <= len(sample[0]) <= EDGES[-1]]
cut = len(samples) * 9 // 10  # the last plays are for the test
letters = CharTokenizer("abcdefghijklmnopqrstuvwxyz")
tokens = pad_sequences([letters.encode(line) + 1 for line, _ in samples[:cut]], EDGES[-1])  # 0 is padding
labels = pad_sequences([ends for _, ends in samples[:cut]], EDGES[-1], value=-100)
buckets = LengthBuckets([len(line) for line, _ in samples[:cut]], BATCH, EDGES, seed=0)
print(f"{cut} lines to learn from, {len(samples) - cut} of other plays; {len(buckets)} batches of {BATCH}")

model = LSTMTagger(len(letters) + 1, 2, width=32, hidden=96)
update = optim.AdamW(model.parameters(), lr=4e-3)


@dl.capture
def step(tokens, labels):
    update.zero_grad()
    loss = dl.cross_entropy(model(tokens).reshape(-1, 2), labels.reshape(-1))
    loss.backward()
    update.step()
    return loss


for k, (rows, length) in enumerate(itertools.islice(itertools.chain(buckets, buckets), STEPS)):
    update.lr = 4e-3 * (1 - k / STEPS)
    loss = step(dl.tensor(tokens[rows, :length]), dl.tensor(labels[rows, :length]))
    if k % 100 == 99:
        print(f"step {k + 1}: loss {loss.item():.4f}")
assert step.recordings == len(EDGES), step  # once for each length, not for every step

test = samples[cut : cut + 2000]
found = predicted([line for line, _ in test])
pairs = np.concatenate([np.stack([ends, given]) for (_, ends), given in zip(test, found, strict=True)], 1)
hits = (pairs[0] & pairs[1]).sum()
precision, recall = hits / pairs[1].sum(), hits / pairs[0].sum()
f1 = 2 * precision * recall / (precision + recall)
whole = np.mean([list(given) == ends for (_, ends), given in zip(test, found, strict=True)])
print(f"ends of words: precision {precision:.3f}, recall {recall:.3f}, F1 {f1:.3f}; {whole:.0%} of lines are right")
for line in ("tobeornottobethatisthequestion", "whatlightthroughyonderwindowbreaks", *(line for line, _ in test[:3])):
    print(spaced(line, predicted([line])[0]))
assert f1 > (0.8 if small else 0.93)
