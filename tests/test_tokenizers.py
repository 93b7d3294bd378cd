"""`load_tokenizer`: files of the library `tokenizers`; and what every tokenizer lets a recorded step read."""

import builtins
import json
import pickle

import numpy as np
import pytest

import dlcore as dl
from dlcore.data import ByteTokenizer, CharTokenizer, SubwordTokenizer, Vocabulary, load_tokenizer


@pytest.fixture
def file(tmp_path):
    """A small tokenizer of byte pairs, with a special token at the beginning of each text."""
    library = pytest.importorskip("tokenizers")
    from tokenizers import decoders, models, pre_tokenizers, processors, trainers

    tokenizer = library.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<s>"], initial_alphabet=letters, show_progress=False)
    tokenizer.train_from_iterator(["to be or not to be, that is the question"] * 4, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


def test_a_tokenizer_of_a_file(file, tmp_path):
    tokenizer = load_tokenizer(file)
    text = "to be, or nöt 日本 to be?\n"
    ids = tokenizer.encode(text)
    assert ids.dtype == np.int64 and ids.ndim == 1 and 0 not in ids and len(ids) < len(text.encode())
    assert tokenizer.decode(ids) == text and tokenizer(text).tolist() == ids.tolist()
    assert tokenizer.decode([]) == "" and tokenizer.encode("").shape == (0,)
    assert len(tokenizer) == tokenizer.size > ids.max()
    model = dl.models.GPT(tokenizer.size, 1, 2, 8, 16)
    assert isinstance(tokenizer.decode(dl.models.generate(model, ids, 10, seed=0)), str)
    dl.save(model, tmp_path / "model", preprocessing=tokenizer)
    for other in (dl.load(tmp_path / "model").preprocessing, pickle.loads(pickle.dumps(tokenizer))):
        assert isinstance(other, SubwordTokenizer) and other.encode(text).tolist() == ids.tolist()


def rules(kind):
    """A tokenizer of one of the models of the library, as its users make them."""
    library = pytest.importorskip("tokenizers")
    from tokenizers import decoders, models, pre_tokenizers, processors, trainers

    model, trainer, before, after = {
        "bpe": (models.BPE(unk_token="<unk>"), trainers.BpeTrainer, pre_tokenizers.Whitespace(), decoders.BPEDecoder()),
        "wordpiece": (models.WordPiece(unk_token="<unk>"), trainers.WordPieceTrainer, pre_tokenizers.BertPreTokenizer(),
                      decoders.WordPiece()),
        "unigram": (models.Unigram(), trainers.UnigramTrainer, pre_tokenizers.Metaspace(), decoders.Metaspace()),
        "words": (models.WordLevel(unk_token="<unk>"), trainers.WordLevelTrainer, pre_tokenizers.Whitespace(), None),
    }[kind]  # fmt: skip
    tokenizer = library.Tokenizer(model)
    tokenizer.pre_tokenizer = before
    if after is not None:
        tokenizer.decoder = after
    special = {"unk_token": "<unk>"} if kind == "unigram" else {}
    asked = trainer(vocab_size=80, special_tokens=["<unk>", "<s>"], show_progress=False, **special)
    tokenizer.train_from_iterator(["to be or not to be that is the question"] * 4, asked)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


@pytest.mark.parametrize("kind", ["bpe", "wordpiece", "unigram", "words"])
def test_tokenizers_of_every_kind(kind, tmp_path):
    theirs, text = rules(kind), "to be or not to be"
    theirs.enable_truncation(4)
    theirs.enable_padding(length=50)
    theirs.save(str(tmp_path / "tokenizer.json"))
    tokenizer = load_tokenizer(tmp_path / "tokenizer.json")
    theirs.no_truncation()
    theirs.no_padding()
    for given in (text, "", "\N{GRINNING FACE} na\u00efve \u4f60", "<s> to <unk>", text * 40):
        ids = tokenizer.encode(given)
        assert ids.tolist() == theirs.encode(given, add_special_tokens=False).ids
        assert tokenizer.decode(ids) == theirs.decode(ids.tolist(), skip_special_tokens=False)
    assert 0 in tokenizer.encode("\N{GRINNING FACE}") and tokenizer.encode("<s>").tolist()[-1] == 1
    model = dl.models.GPT(tokenizer.size, 1, 2, 8, 16)
    windows = dl.data.TextWindows(tokenizer.encode(text * 40), 8)
    loss = lambda x, y: dl.cross_entropy(x.reshape(-1, tokenizer.size), y.reshape(-1))  # noqa: E731
    adam = dl.optim.Adam(model.parameters(), lr=1e-2)
    dl.fit(model, windows, loss=loss, optimizer=adam, epochs=1, steps_per_epoch=3, batch_size=4, progress=False, seed=0)
    written = dl.models.generate(model, tokenizer.encode("to"), 5, seed=0)
    assert isinstance(tokenizer.decode(written), str)


def test_bad_input(file, tmp_path):
    tokenizer = load_tokenizer(file)
    with pytest.raises(IndexError, match=f"{tokenizer.size} at 1 is no number of {tokenizer.size} tokens"):
        tokenizer.decode([0, tokenizer.size])
    with pytest.raises(TypeError, match="vector of integers"):
        tokenizer.decode([0.5])
    with pytest.raises(TypeError, match="is not a text"):
        tokenizer.encode(5)
    (tmp_path / "other.json").write_text(json.dumps({"version": 1}))
    with pytest.raises(ValueError, match=r"load_tokenizer: .*other.json: it holds no tokenizer"):
        load_tokenizer(tmp_path / "other.json")
    (tmp_path / "other.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"load_tokenizer: .*other.json: 'utf-8' codec can't decode"):
        load_tokenizer(tmp_path / "other.json")
    with pytest.raises(FileNotFoundError):
        load_tokenizer(tmp_path / "missing.json")
    with pytest.raises(ValueError, match=r"SubwordTokenizer: '\\ud800' at 3 is half of a surrogate pair"):
        tokenizer.encode("to \ud800")


def test_without_the_library(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name.partition(".")[0] == "tokenizers":
            raise ImportError(name)
        return real(name, *rest)

    (tmp_path / "tokenizer.json").write_text("{}")
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"tokenizers is missing: pip install 'dlcore\[text\]'"):
        load_tokenizer(tmp_path / "tokenizer.json")


@pytest.mark.parametrize("make", [lambda: CharTokenizer.of("abc"), lambda: Vocabulary.of(["a", "b"]), ByteTokenizer])
def test_a_recorded_step_may_read_the_size(make):
    tokenizer = make()
    step = dl.capture(lambda x: x.reshape(-1, tokenizer.size).sum(0))
    x = dl.ones(2 * tokenizer.size)
    for _ in range(3):
        assert step(x).shape == (tokenizer.size,)
    assert step.recordings == 1


@pytest.mark.parametrize("given", [b"ab", None, [1, 2]])
def test_a_text_is_asked_for(given):
    with pytest.raises(TypeError, match=r"CharTokenizer: (text|character) .* is not a (list of characters|text)"):
        CharTokenizer.of("ab").encode(given)


def test_bytes_take_every_text():
    assert ByteTokenizer().encode("a\ud800").tolist() == [97, 237, 160, 128]
