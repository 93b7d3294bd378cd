"""Which language is spoken: the cepstra (MFCC) of prompts in five languages, split by prompt.

148 telephone prompts, the same in each of five languages (WAV, 8 kHz, 0.6 to 2.5 s), one voice for each language: the
task is to tell voices and languages apart. All recordings of a prompt lie in one part: `groups=True`.

python examples/spoken_language.py            # test accuracy 0.94, 6 s of CPU time (Intel Xeon, AVX-512)
python examples/spoken_language.py --small    # fewer epochs
"""

import sys

import dlcore as dl
from dlcore import nn, optim
from dlcore.data import GaussianNoise, Standardize, load_dataset, random_split

small = "--small" in sys.argv
dl.manual_seed(0)
try:
    sounds = load_dataset("spoken-language", features="mfcc", seconds=2.0)  # (13, 198) each
except FileNotFoundError as error:
    sys.exit(f"skipped: {error}")
print(sounds, "of", ", ".join(sounds.classes))
train, validation, test = random_split(sounds, [0.6, 0.2, 0.2], groups=True, seed=0)
assert not {sounds.groups[i] for i in train.indices} & {sounds.groups[i] for i in test.indices}

count = sounds[0][0].size
model = nn.Sequential(nn.Flatten(), nn.Linear(count, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 5))
history = dl.fit(
    model, train, validation=validation, epochs=12 if small else 40, batch_size=32, seed=0, loss="cross_entropy",
    optimizer=optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1), schedule="cosine", metrics=["accuracy"],
    transform=Standardize.of(train), augment=[GaussianNoise(0.1)],
    callbacks=[dl.train.EarlyStopping(patience=10, restore_best=True)],
)  # fmt: skip
assert history.recorded, history.reason

score = dl.evaluate(model, test, metrics=["accuracy", "f1", "confusion_matrix"])
print(f"test: accuracy {score['accuracy']:.3f}, F1 {score['f1']:.3f}; spoken (rows) and predicted (columns):")
print(score["confusion_matrix"])
assert score["accuracy"] > 0.85
