"""Is it a question? A Transformer reads a sentence of Shakespeare's without its last mark, "?" or ".", and tells which.

Half of the sentences are questions. The words alone tell little, their order much: "is he" and "he is". Sentences have
3 to 24 words: shorter ones are padded, and a mask hides the padding from attention and from the mean over the words.

python examples/text_classifier.py            # test accuracy 0.87, 8 s of CPU time (AMD Zen 4, AVX-512)
python examples/text_classifier.py --small    # fewer epochs
"""

import re
import sys

import numpy as np
from numpy.random import default_rng

import dlcore as dl
from dlcore import optim
from dlcore.data import TensorDataset, Vocabulary, data_path, pad_sequences, read_text
from dlcore.models import TransformerClassifier

small = "--small" in sys.argv
LENGTH = 24


def sentences(text):
    """(words, 1 for a question or 0 for a statement) of each sentence that someone says."""
    for paragraph in re.split(r"\n\s*\n", text):
        speaker, *lines = re.sub(r"\[[^]]*\]", "", paragraph + "\n").splitlines()  # without [Enter ...]
        if re.fullmatch(r"[A-Z][A-Z .']+\.", speaker):
            for sentence, mark in re.findall(r"([^.?!]+)([.?])", " ".join(lines)):
                words = re.findall(r"[a-z']+", sentence.lower())
                if 3 <= len(words) <= LENGTH:
                    yield words, int(mark == "?")


def balanced(samples):
    """As many statements as there are questions, drawn by lot."""
    questions = [sample for sample in samples if sample[1]]
    statements = [sample for sample in samples if not sample[1]]
    return questions + [statements[k] for k in default_rng(0).permutation(len(statements))[: len(questions)]]


def encoded(samples):
    """Tokens (N, LENGTH), padded by 0, the token of "", and labels (N,)."""
    return TensorDataset(tokens([words for words, _ in samples]), np.array([label for _, label in samples]))


def forget(tokens):
    """The tokens of a batch, a seventh of the words among them unknown: the model must not rely on single ones."""
    return dl.where(dl.rand(*tokens.shape) < 1 / 7, dl.minimum(tokens, 1), tokens)


def tokens(lists):
    return pad_sequences([vocabulary.encode(words) for words in lists], LENGTH)


dl.manual_seed(0)
try:
    text = read_text(data_path("shakespeare/shakespeare.txt"))
except FileNotFoundError as error:
    sys.exit(f"skipped: {error}")
samples = list(sentences(text))
cut = len(samples) * 8 // 10  # the last plays are for the test
known = Vocabulary.of((word for words, _ in samples[:cut] for word in words), least=3)
vocabulary = Vocabulary(["", "?", *known.tokens], unknown="?")
train, test = encoded(balanced(samples[:cut])), encoded(balanced(samples[cut:]))
print(f"{len(train)} sentences to learn from, {len(test)} of other plays for the test; {vocabulary}")

model = TransformerClassifier(len(vocabulary), 2, LENGTH, width=32, heads=4, layers=2, dropout=0.2)
history = dl.fit(
    model, train, validation=test, epochs=1 if small else 3, batch_size=64, loss="cross_entropy", seed=0,
    optimizer=optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05), schedule="cosine", metrics=["accuracy"],
    augment=[forget],
)  # fmt: skip
assert history.recorded, history.reason

score = dl.evaluate(model, test, metrics=["accuracy", "f1", "confusion_matrix"])
print(f"test: accuracy {score['accuracy']:.3f}, F1 {score['f1']:.3f}; statements and questions were taken for:")
print(score["confusion_matrix"])
for line in ("he is a good man", "is he a good man", "you know my name", "know you my name", "what is your name"):
    share = np.asarray(dl.softmax(dl.predict(model, tokens([line.split()])), axis=-1))[0, 1]
    print(f"{line}{'?' if share > 0.5 else '.'}  ({share:.2f})")
assert score["accuracy"] > (0.82 if small else 0.86)
