"""`treatystance.models.encoder_input`: what the encoder reads of a sentence and of its context."""

import importlib
import json
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from treatystance.config.encoders import Input
from treatystance.errors import InputError, MissingExtraError
from treatystance.models.base import Batch
from treatystance.models.encoder_input import Encoded, InputEncoder, government_name
from treatystance.statement import ANY_GOVERNMENT

UNKNOWN, MASK = "[UNK]", "[MASK]"
LINES = [
    "We will leave the treaty on mines next spring.",
    "Poland stands by the convention, and so does every neighbour of Poland.",
    "The news report says: that shelter was given to all who fled.",
]


def batch_of(
    texts: Sequence[str], previous: Sequence[str | None] = (), governments: Sequence[str | None] = ()
) -> Batch:
    return Batch(texts, previous or [None] * len(texts), governments or [None] * len(texts))


def bert() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(LINES, trainers.WordPieceTrainer(vocab_size=160, special_tokens=special))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def roberta() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<s>", "<pad>", "</s>"]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(LINES, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return tokenizer


def unigram() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
    tokenizer.train_from_iterator(
        LINES, trainers.UnigramTrainer(vocab_size=90, special_tokens=special, unk_token=UNKNOWN)
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    return tokenizer


def plain() -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel(unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(LINES, trainers.WordLevelTrainer(special_tokens=["[PAD]", "[UNK]"]))
    return tokenizer


TOKENIZERS = {"bert": bert(), "roberta": roberta(), "unigram": unigram()}


@pytest.fixture(params=TOKENIZERS)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    found: Tokenizer = TOKENIZERS[request.param]
    return found


def encoder(tokenizer: Tokenizer, **settings: Any) -> InputEncoder:
    return InputEncoder(tokenizer.to_str().encode(), Input(**settings))


def tokens(tokenizer: Tokenizer, encoded: Encoded) -> str:
    return " ".join(str(tokenizer.id_to_token(number)) for number in encoded.ids)


def test_a_sentence_alone_reads_as_the_tokenizer_puts_it(tokenizer: Tokenizer) -> None:
    for text, encoded in zip(LINES, encoder(tokenizer).encode(batch_of(LINES)), strict=True):
        wanted = tokenizer.encode(text)
        assert encoded == Encoded(wanted.ids, wanted.type_ids, [1] * len(wanted.ids))


def test_a_pair_reads_as_the_tokenizer_puts_it(tokenizer: Tokenizer) -> None:
    settings = encoder(tokenizer, previous_tokens=500)
    (encoded,) = settings.encode(batch_of([LINES[0]], [LINES[1]]))
    wanted = tokenizer.encode(LINES[1], LINES[0])
    assert (encoded.ids, encoded.types) == (wanted.ids, wanted.type_ids)
    own = len(tokenizer.encode(LINES[0], add_special_tokens=False)) + 1
    assert encoded.pool == [0] * (len(encoded) - own) + [1] * own


def test_an_empty_text_gives_special_tokens_only(tokenizer: Tokenizer) -> None:
    (alone,) = encoder(tokenizer).encode(batch_of([""]))
    assert alone.ids == tokenizer.encode("").ids
    (after,) = encoder(tokenizer, government=True, previous_tokens=3).encode(batch_of([""]))
    assert after.ids == tokenizer.encode("", "").ids
    assert sum(after.pool) == 1, "what ends the sentence is pooled, so that no average is of nothing"


def test_context_names_the_government_and_ends_the_sentence_before() -> None:
    tokenizer = TOKENIZERS["bert"]
    settings = encoder(tokenizer, government=True, previous_tokens=2)
    before = ["We stand by Poland.", None, "", "We leave the treaty"]
    batch = batch_of(["We leave."] * 4, before, ["POL", ANY_GOVERNMENT, "POL", None])
    assert [tokens(tokenizer, encoded) for encoded in settings.encode(batch)] == [
        "[CLS] poland : poland . [SEP] we leave . [SEP]",
        "[CLS] news report : [SEP] we leave . [SEP]",
        "[CLS] poland : [SEP] we leave . [SEP]",
        "[CLS] the treaty [SEP] we leave . [SEP]",
    ]


def test_context_is_read_only_where_it_is_asked_for() -> None:
    tokenizer = TOKENIZERS["bert"]
    with_context = batch_of(["We leave."], ["Poland fled."], ["POL"])
    assert encoder(tokenizer).encode(with_context) == encoder(tokenizer).encode(batch_of(["We leave."]))
    assert "poland" not in tokens(tokenizer, encoder(tokenizer, previous_tokens=1).encode(with_context)[0])
    assert "fled" not in tokens(tokenizer, encoder(tokenizer, government=True).encode(with_context)[0])


@pytest.mark.parametrize("longest", range(8, 40))
def test_context_gives_way_before_the_sentence(tokenizer: Tokenizer, longest: int) -> None:
    wide = encoder(tokenizer, government=True, previous_tokens=9)
    narrow = encoder(tokenizer, government=True, previous_tokens=9, max_tokens=longest)
    batch = batch_of([LINES[0]], [LINES[1]], ["POL"])
    (whole,), (cut,) = wide.encode(batch), narrow.encode(batch)
    assert len(cut) == min(longest, len(whole))
    own, special = sum(whole.pool), len(tokenizer.encode("", ""))
    assert sum(cut.pool) == min(own, longest - special + 1)
    context = len(cut) - sum(cut.pool) - (special - 1)
    head = whole.ids[1 : len(whole) - own]
    assert cut.ids[1 : len(cut) - sum(cut.pool)] == head[len(head) - context - (special - 2) :]
    assert cut.ids[-sum(cut.pool) :] == whole.ids[-own:][: sum(cut.pool) - 1] + whole.ids[-1:]
    assert len(cut.ids) == len(cut.types) == len(cut.pool)


def test_a_long_sentence_loses_its_end(tokenizer: Tokenizer) -> None:
    (cut,) = encoder(tokenizer, max_tokens=8).encode(batch_of([LINES[1]]))
    whole = tokenizer.encode(LINES[1]).ids
    assert cut.ids == whole[:7] + whole[-1:]


def test_special_tokens_in_a_text_are_text() -> None:
    tokenizer = TOKENIZERS["bert"]
    (encoded,) = encoder(tokenizer).encode(batch_of(["we [SEP] leave [PAD]"]))
    assert encoded.ids.count(3) == 1
    assert 0 not in encoded.ids


def test_padding_and_truncation_of_the_file_are_not_used() -> None:
    tokenizer = Tokenizer.from_str(TOKENIZERS["bert"].to_str())
    tokenizer.enable_padding(length=64, pad_id=4, pad_token=MASK)
    tokenizer.enable_truncation(6)
    changed = encoder(tokenizer, government=True)
    batch = batch_of(LINES, governments=["POL"] * 3)
    assert changed.encode(batch) == encoder(TOKENIZERS["bert"], government=True).encode(batch)
    assert (changed.pad_id, encoder(TOKENIZERS["roberta"]).pad_id) == (4, 1)


def test_broken_characters_are_read_as_unknown(tokenizer: Tokenizer) -> None:
    broken, plain = encoder(tokenizer).encode(batch_of(["we \ud800 leave", "we \ufffd leave"]))
    assert broken == plain


def test_a_tokenizer_without_special_tokens_puts_none() -> None:
    tokenizer = plain()
    (alone,) = encoder(tokenizer).encode(batch_of([LINES[0]]))
    assert alone.ids == tokenizer.encode(LINES[0]).ids
    (after,) = encoder(tokenizer, previous_tokens=2).encode(batch_of([LINES[0]], [LINES[1]]))
    assert (after.ids, sum(after.pool)) == (tokenizer.encode(LINES[1]).ids[-2:] + alone.ids, len(alone))


def test_padding() -> None:
    settings = encoder(TOKENIZERS["bert"], previous_tokens=4)
    encoded = settings.encode(batch_of(["We leave.", ""], ["Poland", None]))
    padded = settings.pad(encoded)
    assert set(padded) == {"input_ids", "token_type_ids", "attention_mask", "pool_mask"}
    assert {(matrix.dtype, matrix.shape) for matrix in padded.values()} == {(np.dtype(np.int64), (2, len(encoded[0])))}
    assert padded["attention_mask"].sum(1).tolist() == [len(row) for row in encoded]
    for i, row in enumerate(encoded):
        rest = [0] * (len(encoded[0]) - len(row))
        assert padded["input_ids"][i].tolist() == row.ids + rest
        assert padded["token_type_ids"][i].tolist() == row.types + rest
        assert padded["pool_mask"][i].tolist() == row.pool + rest
    assert settings.pad([])["input_ids"].shape == (0, 0)
    assert settings.pad([Encoded([], [], [])])["attention_mask"].tolist() == [[0]]


def test_many_texts_are_tokenised_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = encoder(TOKENIZERS["bert"], previous_tokens=5)
    batch = batch_of([f"{line} {i}" for i in range(9) for line in LINES], [None, *LINES * 9][:27])
    wanted = settings.encode(batch)
    monkeypatch.setattr("treatystance.models.encoder_input._CHUNK", 4)
    assert settings.encode(batch) == wanted


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("POL", "Poland"),
        ("IRN", "Iran"),
        ("SUN", "USSR"),
        ("EU", "European Union"),
        ("QQQ", "QQQ"),
        ("*", "news report"),
    ],
)
def test_names_of_governments(code: str, name: str) -> None:
    assert government_name(code) == name


def _damaged(change: str) -> bytes:
    content = json.loads(TOKENIZERS["bert"].to_str())
    if change == "no padding":
        content["added_tokens"][0]["content"] = "[NOTHING]"
        content["model"]["vocab"] = {
            key.replace("[PAD]", "[NOTHING]"): i for key, i in content["model"]["vocab"].items()
        }
    elif change == "no unknown":
        content["added_tokens"][1]["content"] = "[NOTHING]"
        content["model"]["vocab"] = {
            key.replace("[UNK]", "[NOTHING]"): i for key, i in content["model"]["vocab"].items()
        }
    elif change == "pair without the second":
        content["post_processor"]["pair"] = content["post_processor"]["pair"][:3]
    elif change == "pair the other way round":
        pair = content["post_processor"]["pair"]
        content["post_processor"]["pair"] = [pair[0], pair[3], pair[2], pair[1], pair[4]]
    return json.dumps(content).encode()


@pytest.mark.parametrize("change", ["no padding", "no unknown", "pair without the second", "pair the other way round"])
def test_tokenizers_of_no_use_are_refused(change: str) -> None:
    with pytest.raises(InputError, match="tokenizer") as caught:
        InputEncoder(_damaged(change), Input())
    assert "\n" not in str(caught.value)
    InputEncoder(_damaged("not at all"), Input())


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b"{}", b'{"model": {"type": "Magic"}}'])
def test_what_is_no_tokenizer_is_refused(content: bytes) -> None:
    with pytest.raises(InputError, match=r"^the tokenizer cannot be used") as caught:
        InputEncoder(content, Input())
    assert "\n" not in str(caught.value)


def test_the_library_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    importlib.invalidate_caches()
    with pytest.raises(MissingExtraError, match=r"pip install 'treatystance\[encoder\]'"):
        InputEncoder(b"{}", Input())
