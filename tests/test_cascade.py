"""`treatystance.models.cascade` and `stacking`: who reads what, on one scale, and no file is trusted."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import expit, softmax

from treatystance.artifact import Artifact, load_artifact, save_artifact
from treatystance.calibration import DecisionRule, fit_decision_rule
from treatystance.config.encoders import Input
from treatystance.errors import ArtifactError, InputError
from treatystance.models.base import Batch, Floats
from treatystance.models.cascade import CascadeModel, CascadeSettings
from treatystance.models.encoder import EncoderModel
from treatystance.models.encoder_input import InputEncoder
from treatystance.models.linear import LinearModel, NgramSettings
from treatystance.stacking import FittedCascade, fit_cascade
from treatystance.statement import LabelSet

LABELS = LabelSet(("leave", "stay"))
TEXTS = ["rain fell", "we leave", "we stay", "we leave or stay", "rain fell", "snow"]


def batch_of(texts: list[str]) -> Batch:
    return Batch(texts, [None, *texts[:-1]], ["POL"] * len(texts))


class Stub:
    """A stand-in for the encoder: the number of letters, and a record of what it was given."""

    kind = "encoder"

    def __init__(self, labels: LabelSet, factor: float = 1.0) -> None:
        self.labels, self.factor = labels, factor
        self.calls: list[Batch] = []

    def logits(self, batch: Batch) -> Floats:
        self.calls.append(batch)
        return np.array([[self.factor * len(text)] * len(self.labels) for text in batch.texts])

    def files(self) -> dict[str, bytes]:
        return {"encoder.json": json.dumps(self.factor).encode(), "model.onnx": b"\0\1"}

    @classmethod
    def from_files(cls, labels: LabelSet, content: Mapping[str, bytes]) -> "Stub":
        if set(content) != {"encoder.json", "model.onnx"}:
            raise ArtifactError("the encoder's files do not fit together")
        return cls(labels, json.loads(content["encoder.json"]))

    def describe(self) -> dict[str, Any]:
        return {"parameters": 7}


def linear_model(labels: LabelSet = LABELS) -> LinearModel:
    """Logit of a label: 8 / root of (distinct words + 1) where its word stands, -4 in any case."""
    weights = np.eye(2, len(labels), dtype=np.float32) * 8
    none = np.zeros((0, len(labels)), np.float32)
    bias = np.full(len(labels), -4, np.float32)
    return LinearModel(labels, NgramSettings(1, None, {}), ["leave", "stay"], weights, [], none, bias)


SETTINGS = CascadeSettings(0.05, (1.0, 2.0), (0.0, 4.0), (0.5, 0.25), (0.0, 1.0), (-1.0, 3.0))


@pytest.fixture(autouse=True)
def encoder_stub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("treatystance.models.encoder.EncoderModel", Stub)


def cascade(settings: CascadeSettings = SETTINGS, labels: LabelSet = LABELS) -> CascadeModel:
    encoder: Any = Stub(labels)
    return CascadeModel(labels, linear_model(labels), encoder, settings)


def calls(model: CascadeModel) -> list[Batch]:
    encoder: Any = model.encoder
    found: list[Batch] = encoder.calls
    return found


def test_settled_sentences_keep_the_linear_score_and_the_rest_are_mixed_in_one_call() -> None:
    model = cascade()
    batch = batch_of(TEXTS)
    found = model.logits(batch)
    linear = linear_model().logits(batch)
    calibrated = linear * [1, 2] + [0, 4]
    read = (expit(calibrated) >= 0.05).any(axis=1)
    assert read.tolist() == [False, True, True, True, False, False]
    np.testing.assert_array_equal(found[~read], calibrated[~read])
    lengths = np.array([[len(text)] for text in TEXTS])[read]
    np.testing.assert_allclose(found[read], linear[read] * [0.5, 0.25] + lengths * [0, 1] + [-1, 3], atol=1e-12)
    np.testing.assert_array_equal(found, SETTINGS.combined(linear, Stub(LABELS).logits(batch), False))
    (given,) = calls(model)
    assert (given.texts, given.previous) == (TEXTS[1:4], TEXTS[0:3])
    assert list(given.governments) == ["POL"] * 3


def test_each_label_alone_can_have_a_sentence_read() -> None:
    model = cascade(replace(SETTINGS, offset=(-100.0, 4.0)))
    model.logits(batch_of(["we leave", "we stay"]))
    assert [list(given.texts) for given in calls(model)] == [["we stay"]]


def test_the_encoder_rests_where_nothing_is_left_to_read() -> None:
    model = cascade(replace(SETTINGS, cut=0.9999))
    assert model.logits(batch_of(TEXTS)).shape == (6, 2)
    assert model.logits(Batch([], [], [])).shape == (0, 2)
    assert calls(model) == []


def test_a_score_does_not_depend_on_what_else_is_scored() -> None:
    together = cascade().logits(batch_of(TEXTS))
    alone = [cascade().logits(batch_of([text])) for text in TEXTS]
    np.testing.assert_array_equal(together, np.concatenate(alone))


def test_exclusive_labels_are_settled_by_the_highest_probability() -> None:
    labels = LabelSet(("leave", "stay", "other"), exclusive=True)
    three = CascadeSettings(0.2, (1.0,) * 3, (0.0, 0.0, 1.0), (1.0,) * 3, (1.0,) * 3, (0.0,) * 3)
    texts = ["we leave leave", "rain", "we stay"]
    counts = []
    for cut in (0.02, 0.2, 0.6):
        model = cascade(replace(three, cut=cut), labels)
        batch = batch_of(texts)
        model.logits(batch)
        p = softmax(linear_model(labels).logits(batch) + np.array([0, 0, 1]), axis=1)
        wanted = [text for text, row in zip(texts, p, strict=True) if row.max() < 1 - cut]
        assert [text for given in calls(model) for text in given.texts] == wanted
        counts.append(len(wanted))
    assert counts == [3, 1, 0]


def test_share_read_counts_distinct_sentences() -> None:
    model = cascade()
    same = Batch(["we leave"] * 8 + ["rain fell"] * 2, [None] * 10, ["POL"] * 9 + ["GBR"])
    assert model.share_read(same) == pytest.approx(1 / 3)
    assert model.share_read(Batch([], [], [])) == 0.0
    assert calls(model) == []


def test_files_round_trip_is_bit_equal() -> None:
    model = cascade()
    files = model.files()
    assert set(files) == {
        "cascade.json",
        "linear.ngrams.json",
        "linear.vocabulary.json",
        "linear.weights.safetensors",
        "encoder.encoder.json",
        "encoder.model.onnx",
    }
    back = CascadeModel.from_files(LABELS, files)
    assert back.files() == files
    assert back.settings == SETTINGS
    np.testing.assert_array_equal(back.logits(batch_of(TEXTS)), model.logits(batch_of(TEXTS)))
    assert back.describe() == {
        "cut": 0.05,
        "linear.word_ngrams": 2,
        "linear.char_ngrams": 0,
        "encoder.parameters": 7,
    }


def _changed(**changes: Any) -> bytes:
    return json.dumps(SETTINGS.to_dict() | changes).encode()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"not JSON", "cannot be read"),
        (b"[" * 100_000, "cannot be read"),
        (b"[]", "not a mapping"),
        (b"{}", "incomplete"),
        (_changed(slope=None), "incomplete"),
        (_changed(slope=["a", "b"]), "incomplete"),
        (_changed(cut="high"), "incomplete"),
        (_changed(bias=[1.0]), "one finite number for each of 2"),
        (_changed(bias=[1.0, 2.0, 3.0]), "one finite number for each of 2"),
        (_changed(encoder_weight=[1.0, float("nan")]), "one finite number for each of 2"),
        (_changed(offset=[1.0, float("inf")]), "one finite number for each of 2"),
        (_changed(cut=0), "not between 0 and 1"),
        (_changed(cut=1.0), "not between 0 and 1"),
        (_changed(cut=float("nan")), "not between 0 and 1"),
        (_changed(slope=[1.0, -1.0]), "negative"),
    ],
)
def test_faulty_settings_are_refused(content: bytes, reason: str) -> None:
    files = cascade().files() | {"cascade.json": content}
    with pytest.raises(ArtifactError, match=reason):
        CascadeModel.from_files(LABELS, files)


@pytest.mark.parametrize("name", ["cascade.json", "linear.vocabulary.json", "encoder.model.onnx"])
def test_a_missing_file_is_told(name: str) -> None:
    files = cascade().files()
    del files[name]
    with pytest.raises(ArtifactError):
        CascadeModel.from_files(LABELS, files)


def test_parts_with_other_labels_are_refused() -> None:
    other: Any = Stub(LabelSet(("stay", "leave")))
    with pytest.raises(ArtifactError, match="do not have the cascade's labels"):
        CascadeModel(LABELS, linear_model(), other, SETTINGS)
    with pytest.raises(ArtifactError):
        CascadeModel.from_files(LabelSet(("a", "b", "c")), cascade().files())


def real_encoder() -> EncoderModel:
    """A graph that counts tokens, the special two included."""
    onnx: Any = pytest.importorskip("onnx")
    tokenizers: Any = pytest.importorskip("tokenizers")
    pytest.importorskip("onnxruntime")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "we", "leave", "stay", "or", "rain", "fell", "a", "the", "0", "snow"]
    vocabulary = {word: i for i, word in enumerate(words)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))  # noqa: S106
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    helper, kinds = onnx.helper, onnx.TensorProto
    nodes = [
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=kinds.FLOAT),
        helper.make_node("ReduceSum", ["mask", "axis"], ["count"], keepdims=1),
        helper.make_node("Expand", ["count", "shape"], ["wide"]),
        helper.make_node("Identity", ["wide"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "count",
        [helper.make_tensor_value_info("attention_mask", kinds.INT64, ["n", "length"])],
        [helper.make_tensor_value_info("logits", kinds.FLOAT, ["n", 2])],
        [helper.make_tensor("axis", kinds.INT64, [1], [1]), helper.make_tensor("shape", kinds.INT64, [2], [1, 2])],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    encoder_input = InputEncoder(tokenizer.to_str().encode(), Input())
    return EncoderModel(LABELS, encoder_input, made.SerializeToString(), {"parameters": 0}, threads=1)


def test_with_a_real_encoder_through_a_model_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("treatystance.models.encoder.EncoderModel", EncoderModel)
    model = CascadeModel(LABELS, linear_model(), real_encoder(), SETTINGS)
    batch = batch_of(TEXTS)
    found = model.logits(batch)
    linear = linear_model().logits(batch)
    np.testing.assert_allclose(found[1], linear[1] * [0.5, 0.25] + np.array([0, 4]) + [-1, 3], atol=1e-6)
    np.testing.assert_allclose(found[0], linear[0] * [1, 2] + [0, 4], atol=1e-12)
    two = (0.5, 0.5)
    rule = DecisionRule(False, (1.0, 1.0), (0.0, 0.0), two, two, two)
    save_artifact(Artifact("cascade", "1", model, rule), tmp_path / "model")
    back = load_artifact(tmp_path / "model")
    assert isinstance(back.model, CascadeModel)
    np.testing.assert_array_equal(back.model.logits(batch), found)
    (tmp_path / "model" / "cascade.json").write_bytes(_changed(cut=0.9))
    with pytest.raises(ArtifactError, match="changed since it was written"):
        load_artifact(tmp_path / "model")


# Fitting, on simulated scores: the encoder's are better, and rows are drawn more often the higher the linear one.


def simulated(seed: int, rows: int = 25_000, good: float = 2.5) -> tuple[Floats, Floats, Any, Floats]:
    rng = np.random.default_rng(seed)
    linear = rng.normal(size=(rows, 2)) * 3 - 1
    encoder = 0.2 * linear + rng.normal(size=(rows, 2))
    truth = rng.random((rows, 2)) < expit(0.5 * linear + good * encoder - 6)
    probability = np.where(linear.max(axis=1) > 2, 1.0, 0.05)
    drawn = rng.random(rows) < probability
    return linear[drawn], encoder[drawn], truth[drawn], 1 / probability[drawn]


def test_the_mix_gives_both_models_an_equal_say_and_its_log_odds_are_those_of_ordinary_text() -> None:
    linear, encoder, targets, weights = simulated(1, 150_000)
    fitted = fit_cascade(linear, encoder, targets, weights, False, 0.99).settings
    drawn = np.ones(len(targets))
    slopes = [np.array(fit_decision_rule(scores, targets, drawn).slope) for scores in (linear, encoder)]
    ratio = np.array(fitted.linear_weight) / np.array(fitted.encoder_weight)
    np.testing.assert_allclose(ratio, slopes[0] / slopes[1], rtol=1e-9)
    # Both ways of scoring are calibrated: what the rows carry is what the probabilities add up to.
    for scores in (fitted.calibrated(linear), fitted.mixed(linear, encoder)):
        np.testing.assert_allclose(weights @ expit(scores), weights @ targets, rtol=0.02)


def test_a_cascade_settles_much_and_keeps_what_it_promises() -> None:
    given = simulated(2)
    before = -1.0
    for keep in (1.0, 0.99, 0.9, 0.5):
        fitted = fit_cascade(*given, False, keep)
        assert all(part >= keep * whole for part, whole in zip(fitted.f1, fitted.f1_reading_all, strict=True))
        assert fitted.settled >= before
        before = fitted.settled
    assert fit_cascade(*given, False, 0.99).settled > 0.1
    # The share told is that of the model's own rule.
    linear, weights = given[0], given[3]
    settled = fitted.settings.settled(fitted.settings.calibrated(linear), False)
    assert fitted.settled == pytest.approx(weights[settled].sum() / weights.sum())


def test_the_cut_holds_over_rows_as_drawn_and_over_ordinary_text() -> None:
    """A cut of which one of the two countings disapproves is not taken: the next one up breaks one of the promises."""
    linear, encoder, targets, weights = simulated(3)
    fitted = fit_cascade(linear, encoder, targets, weights, False, 0.97)
    scores = replace(fitted.settings, cut=fitted.settings.cut * 1.12).combined(linear, encoder, False)
    same = fit_cascade(linear, encoder, targets, weights, False, 0.97)
    assert fitted == same
    f1 = [_best_f1(scores, targets, counted) for counted in (np.ones(len(weights)), weights)]
    assert any(part < 0.97 * whole for part, whole in zip(f1, fitted.f1_reading_all, strict=True))


def _best_f1(scores: Floats, targets: Any, weights: Floats) -> float:
    """The plain definition: every threshold tried."""
    best = []
    for score, target in zip(scores.T, targets.T, strict=True):
        order = np.argsort(-score)
        both, given = np.cumsum(weights[order] * target[order]), np.cumsum(weights[order])
        best.append((2 * both / (given + weights[target].sum())).max())
    return float(np.mean(best))


def test_an_encoder_that_knows_nothing_is_not_listened_to() -> None:
    linear, encoder, targets, weights = simulated(4, good=0.0)
    fitted = fit_cascade(linear, -encoder - linear, targets, weights, False, 0.98)
    assert max(fitted.settings.encoder_weight) < 0.3
    assert fitted.settled > 0.8
    against = fit_cascade(linear, -linear, targets, weights, False, 0.98).settings
    assert min(against.linear_weight) > 0
    assert min(against.encoder_weight) >= 0


def test_the_scale_of_an_encoder_does_not_matter() -> None:
    linear, encoder, targets, weights = simulated(5)
    plain = fit_cascade(linear, encoder, targets, weights, False, 0.99)
    large = fit_cascade(linear, encoder * 10, targets, weights, False, 0.99)
    np.testing.assert_allclose(np.array(large.settings.encoder_weight) * 10, plain.settings.encoder_weight, rtol=0.02)
    assert large.f1_reading_all == pytest.approx(plain.f1_reading_all, abs=1e-3)


def test_exclusive_labels() -> None:
    rng = np.random.default_rng(6)
    rows = 3000
    truth = rng.integers(0, 3, rows)
    linear = rng.normal(size=(rows, 3)) + 1.5 * np.eye(3)[truth]
    encoder = rng.normal(size=(rows, 3)) + 2.5 * np.eye(3)[truth]
    targets = np.eye(3, dtype=bool)[truth]
    weights = np.ones(rows)
    fitted = fit_cascade(linear, encoder, targets, weights, True, 0.98)
    settings = fitted.settings
    # Two Gaussians of unit variance: log-odds are the scores times the distance of the means.
    np.testing.assert_allclose(settings.slope, 1.5, atol=0.1)
    np.testing.assert_allclose(settings.linear_weight, 1.5, atol=0.15)
    np.testing.assert_allclose(settings.encoder_weight, 2.5, atol=0.2)
    assert settings.bias == settings.offset == (0.0, 0.0, 0.0)
    assert 0.1 < fitted.settled < 1
    assert fitted.f1[0] == fitted.f1[1] >= 0.98 * fitted.f1_reading_all[0]
    CascadeSettings.from_dict(settings.to_dict(), 3)


def test_labels_that_no_row_carries_and_few_rows() -> None:
    linear, encoder, targets, weights = simulated(7, 2000)
    targets[:, 1] = False
    fitted = fit_cascade(linear, encoder, targets, weights, False, 1.0)
    one = fit_cascade(linear[:1], encoder[:1], targets[:1], weights[:1], False, 1.0)
    for found in (fitted, one):
        assert isinstance(found, FittedCascade)
        assert CascadeSettings.from_dict(found.settings.to_dict(), 2) == found.settings


def test_calibrated_is_the_linear_models_own_decision_rule() -> None:
    linear, encoder, targets, weights = simulated(8, 5000)
    fitted = fit_cascade(linear, encoder, targets, weights, False, 0.99).settings
    rule = fit_decision_rule(linear, targets, weights)
    np.testing.assert_allclose(expit(fitted.calibrated(linear)), rule.probabilities(linear), atol=1e-12)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda given: [part[:0] for part in given],
        lambda given: [given[0][:, :1], *given[1:]],
        lambda given: [given[0], given[1][:-1], *given[2:]],
        lambda given: [*given[:3], given[3][:-1]],
    ],
)
def test_scores_that_do_not_fit_together_are_refused(spoil: Callable[[Any], Any]) -> None:
    linear, encoder, targets, weights = spoil(simulated(9, 500))
    with pytest.raises(InputError, match="a cascade is fitted on"):
        fit_cascade(linear, encoder, targets, weights, False, 0.99)
