"""`treatystance.models.nli` with tiny random classifiers: the right class, the right hypothesis, the right sentence."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertForSequenceClassification, BertModel, PreTrainedTokenizerFast

from treatystance.errors import InputError, MissingExtraError, ModelReferenceError, TreatystanceError
from treatystance.models import nli
from treatystance.models.base import Batch
from treatystance.models.nli import HYPOTHESES, NliModel, hypotheses_of, premise
from treatystance.statement import DEFAULT_LABELS, LabelSet

THREE = ("contradiction", "neutral", "entailment")
TEXTS = [
    "We will leave the pact.",
    "",
    "Our word stands, and the treaty binds us as it always has, in peace and in war.",
    "Help is on its way.",
    "We stand by it.",
    "condemn 条约 🕊️ \ud800 [SEP] [CLS]",
]
Make = Callable[..., Path]


def save_tokenizer(folder: Path, longest: int | None = 96) -> None:
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    tokenizer = Tokenizer(models.WordPiece(**{"unk_token": names["unk_token"]}))
    fast: Any = tokenizer
    fast.normalizer = normalizers.BertNormalizer()
    fast.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=list(names.values()), show_progress=False)
    tokenizer.train_from_iterator([*TEXTS[:-1], *(h for group in HYPOTHESES.values() for h in group)], trainer)
    fast.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    settings: dict[str, Any] = {"model_input_names": ["input_ids", "token_type_ids", "attention_mask"]}
    settings |= {"model_max_length": longest} if longest else {}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names, **settings).save_pretrained(folder)


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """A folder with a tiny classifier of these classes."""

    def call(classes: Sequence[str] = THREE, longest: int | None = 96, positions: int = 128) -> Path:
        folder = tmp_path_factory.mktemp("nli")
        torch.manual_seed(5)
        config = BertConfig(
            vocab_size=320,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=positions,
            initializer_range=0.3,  # scores that differ
            id2label=dict(enumerate(classes)),
            label2id={name: place for place, name in enumerate(classes)},
        )
        BertForSequenceClassification(config).save_pretrained(folder)
        save_tokenizer(folder, longest)
        return folder

    return call


@pytest.fixture(scope="module")
def folder(make: Make) -> Path:
    return make()


@pytest.fixture(scope="module")
def model(folder: Path) -> NliModel:
    return NliModel.load(str(folder))


def batch_of(texts: Sequence[str]) -> Batch:
    return Batch(texts, [None] * len(texts), [None] * len(texts))


def probabilities(folder: Path, text: str, hypothesis: str) -> Any:
    """The softmax over all classes of one pair, with neither batch nor padding."""
    network: Any = BertForSequenceClassification.from_pretrained(folder)
    tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True
    pair = tokenizer.encode(text, hypothesis)
    with torch.inference_mode():
        raw = network.eval()(
            input_ids=torch.tensor([pair.ids]),
            attention_mask=torch.ones(1, len(pair.ids), dtype=torch.long),
            token_type_ids=torch.tensor([pair.type_ids]),
        ).logits[0]
    return raw.double().softmax(0).numpy()


@pytest.mark.parametrize(
    "classes",
    [THREE, ("ENTAILMENT", "neutral", "CONTRADICTION"), ("entailment", "not_entailment"), ("Not-Entailment", "Entail")],
)
def test_scores_are_entailment_against_contradiction(make: Make, classes: tuple[str, ...]) -> None:
    folder = make(classes)
    found = 1 / (1 + np.exp(-NliModel.load(str(folder)).logits(batch_of(TEXTS))))
    names = [name.lower() for name in classes]
    yes = next(i for i, name in enumerate(names) if name.startswith("entail"))
    no = next(i for i, name in enumerate(names) if name.startswith(("contra", "not")))
    for row, text in enumerate(TEXTS):
        for column, label in enumerate(DEFAULT_LABELS):
            clean = text.replace("\ud800", "?")
            p = [probabilities(folder, clean, hypothesis) for hypothesis in HYPOTHESES[label]]
            expected = max(one[yes] / (one[yes] + one[no]) for one in p)
            assert found[row, column] == pytest.approx(expected, abs=1e-5), (text, label)
    assert np.ptp(found, axis=0).min() > 0.01  # the sentences are told apart


def test_order_and_neighbours_change_nothing(model: NliModel) -> None:
    texts = [f"{text} {number}" for number in range(6) for text in TEXTS]
    places = np.random.default_rng(1).permutation(len(texts))
    scores = model.logits(batch_of(texts))
    np.testing.assert_allclose(model.logits(batch_of([texts[i] for i in places])), scores[places], atol=1e-4)
    np.testing.assert_allclose(model.logits(batch_of(texts[3:4])), scores[3:4], atol=1e-4)


def test_nothing_in_nothing_out(model: NliModel) -> None:
    assert model.logits(batch_of([])).shape == (0, 3)


def test_the_premise_names_the_context() -> None:
    assert premise("We leave.") == "We leave."
    assert premise("We leave.", None, "POL") == 'The government of Poland is speaking. Now: "We leave."'
    assert premise("We leave.", "It was\nhot. ", None) == 'Before: "It was hot." Now: "We leave."'
    assert premise("We leave.", "It was hot.", "*") == (
        'A news report on a government. Before: "It was hot." Now: "We leave."'
    )
    assert premise("We leave.", " ", None) == "We leave."
    assert len(premise("We leave.", "far " * 1000)) < 250


def test_the_context_is_read(model: NliModel) -> None:
    sentence = "We will leave it."
    alone, before, speaker, both = model.logits(
        Batch([sentence] * 4, [None, "The treaty binds us.", None, "The treaty binds us."], [None, None, "POL", "POL"])
    )
    rows = [alone, before, speaker, both]
    assert all(np.abs(a - b).max() > 1e-3 for i, a in enumerate(rows) for b in rows[:i])


def test_what_is_too_long_loses_its_beginning_and_keeps_the_hypothesis(model: NliModel) -> None:
    end = "and the treaty binds us " * 30
    one, other, different = model.logits(
        batch_of(["help " * 200 + end, "war " * 200 + end, "help " * 200 + end + "not"])
    )
    np.testing.assert_allclose(one, other, atol=1e-4)
    assert np.abs(one - different).max() > 1e-3
    assert np.ptp(one) > 1e-3  # each label's hypotheses are still there


@pytest.mark.parametrize(("longest", "positions", "read"), [(96, 128, 96), (None, 64, 64), (None, 600, 512)])
def test_how_many_tokens_are_read(make: Make, longest: int | None, positions: int, read: int) -> None:
    model = NliModel.load(str(make(longest=longest, positions=positions)))
    assert model.max_tokens == read
    assert np.isfinite(model.logits(batch_of(["the treaty " * 1000]))).all()


def test_other_labels_are_topics(folder: Path) -> None:
    assert hypotheses_of("peace_talks") == ("This text is about peace talks.",)
    model = NliModel.load(str(folder), LabelSet(("peace_talks", "reaffirmation")))
    found = model.logits(batch_of(TEXTS[:1]))
    p = probabilities(folder, TEXTS[0], "This text is about peace talks.")
    assert found[0, 0] == pytest.approx(np.log(p[2] / p[0]), abs=1e-4)
    assert found[0, 1] == pytest.approx(NliModel.load(str(folder)).logits(batch_of(TEXTS[:1]))[0, 1], abs=1e-4)


def test_every_tag_of_the_codebook_has_hypotheses() -> None:
    assert set(HYPOTHESES) == set(DEFAULT_LABELS)
    texts = [text for group in HYPOTHESES.values() for text in group]
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize(
    "classes",
    [("yes", "no"), ("LABEL_0", "LABEL_1"), ("not_entailment", "neutral"), ("entailment",), ("entail", "entailed")],
)
def test_checkpoints_without_one_class_of_entailment_are_refused(make: Make, classes: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="one class must be entailment") as caught:
        NliModel.load(str(make(classes)))
    assert "\n" not in str(caught.value)


def test_a_checkpoint_without_a_trained_head_is_refused(folder: Path, tmp_path: Path) -> None:
    BertModel.from_pretrained(folder).save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    with pytest.raises(ModelReferenceError, match=r"lacks 2 weights of a classifier, such as classifier\.bias"):
        NliModel.load(str(tmp_path))


def test_pickles_are_never_read(folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        if path.suffix == ".json":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelReferenceError, match="safetensors"):
        NliModel.load(str(tmp_path))


def test_no_code_of_a_checkpoint_is_run(folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "strange", "auto_map": {"AutoConfig": "strange.Config"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "strange.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(ModelReferenceError) as caught:
        NliModel.load(str(tmp_path))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", bytes(100), b"{}"], ids=["empty", "zeros", "text"])
def test_broken_weights_are_told_in_one_line(folder: Path, tmp_path: Path, content: bytes) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelReferenceError, match="cannot be read as a classifier") as caught:
        NliModel.load(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_checkpoint_that_is_nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for name in ("nobody/nothing-of-this-name", "./no-such-folder", "a/b/c"):
        with pytest.raises(ModelReferenceError, match=name) as caught:
            NliModel.load(name)
        assert "\n" not in str(caught.value)


def test_a_checkpoint_that_reads_too_little(make: Make) -> None:
    with pytest.raises(InputError, match="reads 12 tokens, but a hypothesis alone takes"):
        NliModel.load(str(make(longest=None, positions=12)))


def test_scores_that_are_no_numbers_are_an_error(folder: Path) -> None:
    model = NliModel.load(str(folder))
    with torch.no_grad():
        model._network.classifier.bias.fill_(float("nan"))
    with pytest.raises(TreatystanceError, match="no finite number"):
        model.logits(batch_of(TEXTS[:1]))


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nli, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'treatystance\[train\]'"):
        NliModel.load("anything")


def test_it_is_not_saved_and_tells_of_itself(model: NliModel, folder: Path) -> None:
    with pytest.raises(TreatystanceError, match="nli:CHECKPOINT"):
        model.files()
    told = model.describe()
    assert told["checkpoint"] == str(folder)
    assert told["parameters"] > 1000
    assert told["hypotheses"]["reaffirmation"] == list(HYPOTHESES["reaffirmation"])
    json.dumps(told)
