"""`treatystance.models.encoder_heads` and `contrastive`: heads equal scikit-learn's, like labels come together."""

from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

from sklearn.linear_model import LogisticRegression  # noqa: E402

from treatystance.config.encoders import Contrastive, Frozen, Input  # noqa: E402
from treatystance.errors import InputError, MissingExtraError  # noqa: E402
from treatystance.models import checkpoint  # noqa: E402
from treatystance.models.base import Batch  # noqa: E402
from treatystance.models.contrastive import draw_examples, draw_pairs  # noqa: E402
from treatystance.models.encoder_heads import embeddings, fit_head  # noqa: E402
from treatystance.models.encoder_input import InputEncoder  # noqa: E402
from treatystance.models.encoder_network import Network  # noqa: E402
from treatystance.statement import LabelSet  # noqa: E402

LEAVE, STAND, HELP = "we will leave the pact", "we stand by the treaty", "we send food and tents"
NONE = "talks went on for hours", "the weather was mild"
TEXTS = [LEAVE, STAND, HELP, *NONE, f"{LEAVE} and {HELP}", f"{NONE[0]} to the hours {NONE[1]}", ""] * 5
TARGETS = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0] * 3, [0] * 3, [1, 0, 1], [0] * 3, [0] * 3] * 5, bool)
LABELS = LabelSet(("leaves", "stands", "helps"), False)


def batch_of(texts: list[str]) -> Batch:
    before = [None, *texts[:-1]]
    return Batch(texts, before, ["POL"] * len(texts))


def encoder_input(**settings: Any) -> InputEncoder:
    vocabulary = {
        word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *dict.fromkeys(" ".join(TEXTS).split())])
    }
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))  # noqa: S106
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    tokenizer.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return InputEncoder(tokenizer.to_str().encode(), Input(**settings))


def network_of(labels: int = 3, dropout: float = 0.1) -> Network:
    torch.manual_seed(1)
    config = transformers.BertConfig(
        vocab_size=40,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        attn_implementation="eager",
    )
    network = Network(transformers.BertModel(config, add_pooling_layer=False), labels)
    network.eval()
    return network


def logits_of(network: Network, reader: InputEncoder, batch: Batch) -> Any:
    with torch.inference_mode():
        padded = reader.pad(reader.encode(batch))
        return network(**{name: torch.from_numpy(matrix) for name, matrix in padded.items()}).numpy()


@pytest.mark.parametrize("settings", [{}, {"government": True, "previous_tokens": 4}, {"pooling": "first"}])
@pytest.mark.parametrize("size", [1, 3, 64])
def test_embeddings_are_those_of_each_sentence_alone_in_the_order_given(settings: dict[str, Any], size: int) -> None:
    reader, network = encoder_input(**settings), network_of()
    network.pooling = reader.settings.pooling
    batch = batch_of(TEXTS[:8])
    found = embeddings(network, reader, batch, size)
    assert found.shape == (8, 32)
    assert found.dtype == np.float32
    for i, encoded in enumerate(reader.encode(batch)):
        padded = reader.pad([encoded])
        with torch.inference_mode():
            alone = network.embed(**{name: torch.from_numpy(matrix) for name, matrix in padded.items()})
        np.testing.assert_allclose(found[i], alone[0].numpy(), atol=2e-6)


def test_embeddings_know_no_dropout_and_leave_the_network_as_it_was() -> None:
    reader, network = encoder_input(), network_of(dropout=0.5).train()
    first = embeddings(network, reader, batch_of(TEXTS))
    assert network.training
    assert network.backbone.training
    np.testing.assert_array_equal(first, embeddings(network.eval(), reader, batch_of(TEXTS)))
    assert embeddings(network, reader, batch_of([])).shape == (0, 32)


@pytest.mark.parametrize("balanced", [True, False])
def test_the_network_gives_the_logits_of_the_regressions(balanced: bool) -> None:
    reader, network = encoder_input(), network_of()
    weights = np.random.default_rng(0).uniform(0.2, 1, len(TEXTS))
    before = {name: value.clone() for name, value in network.backbone.state_dict().items()}
    matrix = embeddings(network, reader, batch_of(TEXTS)).astype(float)
    fit_head(network, reader, batch_of(TEXTS), TARGETS, weights, LABELS, Frozen(c=0.5, balanced=balanced), 0)
    mean = np.average(matrix, axis=0, weights=weights)
    columns = (matrix - mean) / np.sqrt(np.average((matrix - mean) ** 2, axis=0, weights=weights))
    found = logits_of(network, reader, batch_of(TEXTS))
    for k in range(3):
        model = LogisticRegression(C=0.5, class_weight="balanced" if balanced else None, max_iter=5000)
        model.fit(columns, TARGETS[:, k], sample_weight=weights)
        np.testing.assert_allclose(found[:, k], model.decision_function(columns), atol=1e-4)
    assert all(torch.equal(before[name], value) for name, value in network.backbone.state_dict().items())
    assert network.head.weight.requires_grad


@pytest.mark.parametrize("names", [("a", "b"), ("a", "b", "c")])
def test_labels_that_exclude_each_other_share_one_multinomial_regression(names: tuple[str, ...]) -> None:
    texts = [LEAVE, STAND, HELP, *NONE] * 4
    targets = np.eye(len(names), dtype=bool)[np.arange(len(texts)) % 5 % len(names)]
    reader, network = encoder_input(), network_of(len(names))
    matrix = embeddings(network, reader, batch_of(texts)).astype(float)
    labels = LabelSet(names, True)
    fit_head(network, reader, batch_of(texts), targets, np.ones(len(texts)), labels, Frozen(c=0.1), 0)
    columns = (matrix - matrix.mean(0)) / matrix.std(0)
    model = LogisticRegression(C=0.1, class_weight="balanced", max_iter=5000).fit(columns, targets.argmax(1))
    odds = np.exp(logits_of(network, reader, batch_of(texts)))
    np.testing.assert_allclose(odds / odds.sum(1, keepdims=True), model.predict_proba(columns), atol=1e-4)


def test_auxiliary_rows_have_an_intercept_that_is_not_kept() -> None:
    """The same sentences, tagged ever and never by kind of text: the rate of the auxiliary ones must not be learnt."""
    texts = [LEAVE, STAND] * 40
    auxiliary = np.arange(80) >= 40
    targets = np.zeros((80, 1), bool)
    targets[:4] = True  # 10 % of ordinary text
    targets[40:76] = True  # 90 % of auxiliary text
    logits = {}
    for kind, given in (("apart", auxiliary), ("together", None)):
        reader, network = encoder_input(), network_of(1)
        labels = LabelSet(("tag",), False)
        fit_head(network, reader, batch_of(texts), targets, np.ones(80), labels, Frozen(balanced=False), 0, given)
        logits[kind] = logits_of(network, reader, batch_of(texts[:2])).mean()
    assert logits["together"] == pytest.approx(0, abs=0.05)
    assert logits["apart"] == pytest.approx(np.log(0.1 / 0.9), abs=0.05)


def test_a_label_that_no_row_or_every_row_carries_is_refused() -> None:
    reader, network = encoder_input(), network_of()
    for value in (True, False):
        targets = TARGETS.copy()
        targets[:, 1] = value
        with pytest.raises(InputError, match=r"'stands' is carried by \d+ of 40 rows: nothing to learn"):
            fit_head(network, reader, batch_of(TEXTS), targets, np.ones(40), LABELS, Frozen(), 0)


def test_examples_are_drawn_evenly_over_labels_and_none() -> None:
    rng = np.random.default_rng(0)
    targets = np.zeros((1000, 2), bool)
    targets[:300, 0] = True
    targets[300:310, 1] = True
    drawn = draw_examples(targets, 60, rng)
    assert len(drawn) == len(set(drawn)) == 60
    assert targets[drawn].sum(0).tolist() == [25, 10]
    assert sorted(draw_examples(targets, 5000, rng)) == list(range(1000))


def test_pairs_are_half_alike_and_none_goes_with_none() -> None:
    rng = np.random.default_rng(0)
    first, second, alike = draw_pairs(TARGETS, 4, rng)
    assert len(first) == 4 * len(TARGETS)
    assert np.bincount(first).tolist() == [4] * len(TARGETS)
    assert (first != second).all()
    assert alike.mean() == 0.5
    share = (TARGETS[first] & TARGETS[second]).any(1)
    nothing = ~TARGETS[first].any(1) & ~TARGETS[second].any(1)
    np.testing.assert_array_equal(alike == 1, share | nothing)


def contrast(fitting: Contrastive, seed: int, **settings: Any) -> tuple[Network, InputEncoder]:
    reader, network = encoder_input(**settings), network_of()
    fit_head(network, reader, batch_of(TEXTS), TARGETS, np.ones(len(TEXTS)), LABELS, fitting, seed)
    return network, reader


def gap(network: Network, reader: InputEncoder) -> float:
    """How much closer sentences of like labels are than others, as cosines."""
    rows = embeddings(network, reader, batch_of(TEXTS[:7]))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    kinds = np.column_stack([TARGETS[:7], ~TARGETS[:7].any(1)]).astype(int)
    cosines, alike = rows @ rows.T, kinds @ kinds.T > 0
    return float(cosines[alike & ~np.eye(7, dtype=bool)].mean() - cosines[~alike].mean())


def test_contrastive_fitting_draws_like_labels_together_and_is_seeded(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sentence_transformers")
    fitting = Contrastive(examples=30, pairs=10, epochs=2, batch_size=16, learning_rate=3e-3)
    settings = {"government": True, "previous_tokens": 3}
    network, reader = contrast(fitting, 4, **settings)
    assert gap(network, reader) > gap(network_of(), reader) + 0.2
    logits = logits_of(network, reader, batch_of(TEXTS))
    np.testing.assert_array_equal(logits[np.arange(len(TEXTS)) % 8 < 7] > 0, TARGETS[np.arange(len(TEXTS)) % 8 < 7])
    assert not network.training
    assert all(parameter.grad is None for parameter in network.parameters())
    again, _ = contrast(fitting, 4, **settings)
    np.testing.assert_array_equal(logits, logits_of(again, reader, batch_of(TEXTS)))
    other, _ = contrast(fitting, 5, **settings)
    assert not np.array_equal(logits, logits_of(other, reader, batch_of(TEXTS)))
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_contrastive_fitting_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="alike and unlike, and the 1 drawn make no pairs"):
        contrast(Contrastive(examples=1), 0)
    gone = "sentence_transformers"
    monkeypatch.setattr(checkpoint, "find_spec", lambda name: find_spec(name) if name != gone else None)
    with pytest.raises(MissingExtraError, match=r"sentence-transformers: pip install 'treatystance\["):
        contrast(Contrastive(), 0)
