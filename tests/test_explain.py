"""`treatystance.evidence.explain`: weights that sum to the logit, places that hold on any text, occlusion by hand."""

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treatystance.artifact import Artifact
from treatystance.calibration import DecisionRule
from treatystance.corpus import load_corpus
from treatystance.evidence import explain as module
from treatystance.evidence.explain import Explanation, explain
from treatystance.models.base import Batch, sigmoid
from treatystance.models.classes import class_names
from treatystance.models.linear import LinearModel, NgramSettings
from treatystance.models.ngrams import REPORT, Tokenizer, country_names
from treatystance.registry import load_reference
from treatystance.statement import ANY_GOVERNMENT, LabelSet

AWKWARD = [
    "",
    " \t ",
    "?!",
    "🕊️🇵🇱 — “…”",
    "İİİ leave İstanbul's İ pact",
    "ΣΑΣ ﬁne 条约 e\u0301tat",
    "  We   leave\nthe\r\n\ttreaty ,  the  treaty",
    "The United Kingdom’s word is Papua New Guinea's word; United Kingdom",
    "Papua\nNew  Guinea and the Democratic People's Republic of Korea will withdraw.",
    "the the the the the",
    "Treaty we we leave treaty treaty we Poland convention",
    "a b c d e f g " * 60,
    "xreport xcountry xself",
    "line\u2028more\0zero",
]
GOVERNMENTS = [None, "POL", "GBR", "PNG", ANY_GOVERNMENT]
texts = st.one_of(
    st.text(max_size=40),
    st.sampled_from(AWKWARD),
    st.lists(
        st.sampled_from(["we", "We", "İ", "leave", "treaty", "’s", "don’t", "New Zealand", "Poland", "!", "\n", "not"]),
        max_size=15,
    ).map(" ".join),
)


def batch_of(texts: Sequence[str], governments: Sequence[str | None] | None = None) -> Batch:
    return Batch(texts, [None] * len(texts), governments or [None] * len(texts))


@pytest.fixture(scope="module")
def bundled() -> Artifact:
    return load_reference("bundled")


def check_sums(explained: list[tuple[Explanation, ...]], logits: npt.NDArray[np.float64]) -> None:
    for row, wanted in zip(explained, logits, strict=True):
        for explanation, logit in zip(row, wanted, strict=True):
            assert explanation.exact
            assert explanation.logit == logit
            assert abs(explanation.base + sum(word.weight for word in explanation.words) - logit) < 1e-6


def test_weights_sum_to_the_logit_on_composed_text(bundled: Artifact) -> None:
    rows = load_corpus(["package:composed"]).rows[::10]
    assert len(rows) > 600
    batch = Batch.of(rows)
    assert ANY_GOVERNMENT in batch.governments
    explained = explain(bundled.model, batch)
    assert [one.label for one in explained[0]] == list(bundled.labels.names)
    check_sums(explained, bundled.model.logits(batch))
    # Otherwise one word could carry everything, and the sums would show nothing.
    assert np.mean([sum(w.weight != 0 for w in one[0].words) / max(1, len(one[0].words)) for one in explained]) > 0.9


@pytest.mark.parametrize("government", GOVERNMENTS)
def test_weights_sum_to_the_logit_on_awkward_text(bundled: Artifact, government: str | None) -> None:
    batch = batch_of(AWKWARD, [government] * len(AWKWARD))
    check_sums(explain(bundled.model, batch), bundled.model.logits(batch))


@given(texts, st.sampled_from(GOVERNMENTS))
@settings(max_examples=100, deadline=None)
def test_places_are_words_in_order_whatever_the_text(text: str, government: str | None) -> None:
    tokenizer = Tokenizer(country_names())
    located = tokenizer.located(text, government)
    assert [token for token, _, _ in located] == tokenizer(text, government), "one tokenisation"
    words = [(token, start, end) for token, start, end in located if end > start]
    assert [token for token, start, end in located if end == start] == [REPORT] * (government == ANY_GOVERNMENT)
    end_before = 0
    for token, start, end in words:
        assert 0 <= start <= len(text)
        assert end_before <= start or text[start] == "İ", "two words of one character: İ and its dot"
        end_before = end
        assert end <= len(text)
        if not token.startswith("x"):
            assert text[start:end].lower().replace("’", "'").replace("‘", "'").startswith(token)


def test_places_on_odd_spacing_and_letters_that_grow(bundled: Artifact) -> None:
    text = "İ “İstanbul’s”  pact,\n\tPapua\nNew  Guinea: we quit\u00a0it — don’t we?"
    words = explain(bundled.model, batch_of([text]))[0][0].words
    found = [text[word.start : word.end] for word in words]
    assert found == ["İ", "İ", "stanbul", "s", "pact", "Papua\nNew  Guinea", "we", "quit", "it", "don’t", "we"]


def linear(grams: dict[str, float], settings: NgramSettings, classes: dict[str, float] | None = None) -> LinearModel:
    """A model of one label with these weights and bias 0.5."""
    names = class_names(settings.class_order)
    weights = np.array([[(classes or {}).get(name, 0.0)] for name in names], np.float32).reshape(len(names), 1)
    values = np.array([[w] for w in grams.values()], np.float32)
    none, bias = np.zeros((0, 1), np.float32), np.full(1, 0.5, np.float32)
    return LinearModel(LabelSet(("a",)), settings, list(grams), values, [], none, bias, weights)


def weights_of(model: LinearModel, text: str) -> dict[str, float]:
    (explanation,) = explain(model, batch_of([text]))[0]
    found: dict[str, float] = {}
    for word in explanation.words:
        found[text[word.start : word.end]] = found.get(text[word.start : word.end], 0) + word.weight
    return found


def test_ngrams_are_shared_by_their_words_by_hand() -> None:
    model = linear({"leave": 2, "pact": 1, "we": 0, "we leave": 6, "leave the pact": 9}, NgramSettings(3, None, {}))
    root = np.sqrt(5)  # four distinct words and one
    found = weights_of(model, "we leave the pact")
    wanted = {"we": 3, "leave": 2 + 3 + 3, "the": 3, "pact": 1 + 3}
    assert found == pytest.approx({word: weight / root for word, weight in wanted.items()})
    # A word counts once, and its occurrences share it.
    (explanation,) = explain(model, batch_of(["leave leave pact"]))[0]
    assert [w.weight for w in explanation.words] == pytest.approx(np.array([1, 1, 1]) / np.sqrt(3))


def test_anchored_words_bear_their_own_weights_by_hand() -> None:
    grams = {"leave": 0.0, "treaty>leave": 8, "treaty<leave": -2, "treaty!leave": 5}
    model = linear(grams, NgramSettings(1, None, {}, {"treaty": ("pact",)}))
    root = np.sqrt(3)
    assert weights_of(model, "leave pact") == pytest.approx({"leave": 8 / root, "pact": 0})
    assert weights_of(model, "pact leave") == pytest.approx({"leave": -2 / root, "pact": 0})
    assert weights_of(model, "leave") == pytest.approx({"leave": 5 / np.sqrt(2)})


def test_class_features_are_shared_by_the_words_that_make_them_by_hand() -> None:
    settings = NgramSettings(1, None, {}, {}, {"exit": ("leave", "quit"), "treaty": ("pact",)}, 2)
    classes = {"+exit": 3.0, "-exit": 1.0, "-treaty": 0.25, "exit&treaty": 6.0, "exit>treaty": 8.0}
    model = linear({}, settings, classes)
    (empty,) = explain(model, batch_of([""]))[0]
    assert (empty.base, empty.logit, empty.words) == (0.5 + 1 + 0.25, 0.5 + 1 + 0.25, ())
    # "quit" stands too far from "pact" to make the pair in order, but has a part in the class and in the pair.
    wanted = {"quit": 2 / 2 + 6 / 3, "the": 0, "old": 0, "leave": 2 / 2 + 6 / 3 + 8 / 2, "pact": -0.25 + 6 / 3 + 8 / 2}
    assert weights_of(model, "quit the old leave pact") == pytest.approx(wanted)


def test_character_ngrams_belong_to_their_word_by_hand() -> None:
    weights = np.array([[4], [1]], np.float32)
    none, bias = np.zeros((0, 1), np.float32), np.zeros(1, np.float32)
    model = LinearModel(LabelSet(("a",)), NgramSettings(1, (2, 2), {}), [], none, ["av", "a "], weights, bias)
    assert weights_of(model, "leave a") == pytest.approx({"leave": 4 / np.sqrt(3), "a": 1 / np.sqrt(3)})


def test_a_report_s_mark_is_part_of_the_base() -> None:
    settings = NgramSettings(1, None, {"poland": "POL"})
    model = linear({REPORT: 6, "we": 1}, settings)
    (report,), (speech,) = explain(model, batch_of(["we", "we"], [ANY_GOVERNMENT, None]))
    assert report.base == pytest.approx(0.5 + 6 / np.sqrt(3))
    assert speech.base == 0.5
    assert [(word.start, word.end) for word in report.words] == [(0, 2)]


def test_with_a_decision_rule_everything_is_in_calibrated_log_odds(bundled: Artifact) -> None:
    batch = batch_of(["We will leave the pact.", "We feed refugees."], ["POL", None])
    probabilities = bundled.decide(batch).probabilities
    for row, wanted in zip(explain(bundled.model, batch, bundled.decision), probabilities, strict=True):
        sums = np.array([one.base + sum(word.weight for word in one.words) for one in row])
        np.testing.assert_allclose(sigmoid(sums), wanted, atol=1e-9)
        np.testing.assert_allclose(sigmoid(np.array([one.logit for one in row])), wanted, atol=1e-12)


def test_no_sentences_give_no_explanations(bundled: Artifact) -> None:
    assert explain(bundled.model, batch_of([])) == []
    assert explain(Counting(), batch_of([])) == []


class Counting:
    """A model whose logit is 3 for "not", 1 for each word, and 10 for "leave" with "not"; it notes what it is given."""

    kind = "counting"
    labels = LabelSet(("a", "b"))

    def __init__(self) -> None:
        self.batches: list[Batch] = []

    def logits(self, batch: Batch) -> npt.NDArray[np.float64]:
        self.batches.append(batch)
        found = [re.findall(r"\w+", text) for text in batch.texts]
        first = [3.0 * ("not" in w) + len(w) + 10 * ({"not", "leave"} <= set(w)) for w in found]
        return np.array([[x, -x] for x in first], np.float64).reshape(-1, 2)

    def files(self) -> dict[str, bytes]:
        return {}

    def describe(self) -> dict[str, object]:
        return {}


def test_occlusion_by_hand() -> None:
    model = Counting()
    batch = Batch(["We  do not leave.", "Papua New Guinea left", "..."], ["Before.", None, None], ["POL", None, None])
    explained = explain(model, batch)
    (first, mirrored), (names, _), (empty, _) = explained
    assert not first.exact
    assert (first.logit, first.base) == (17, 0)
    assert [(w.start, w.end, w.weight) for w in first.words] == [(0, 2, 1), (4, 6, 1), (7, 10, 14), (11, 16, 11)]
    assert [w.weight for w in mirrored.words] == [-1, -1, -14, -11]
    assert [(w.start, w.end, w.weight) for w in names.words] == [(0, 16, 3), (17, 21, 1)], "a name is one word"
    assert empty.words == ()
    occluded = model.batches[-1]
    assert list(occluded.texts) == [
        "do not leave.",
        "We not leave.",
        "We  do leave.",
        "We  do not.",
        "left",
        "Papua New Guinea",
    ]
    assert list(occluded.previous) == ["Before."] * 4 + [None] * 2, "the context stays"
    assert list(occluded.governments) == ["POL"] * 4 + [None] * 2


def test_occlusion_in_parts_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = batch_of(["We do not leave.", "", "We stay and we do not leave", "stay"])
    wanted = explain(Counting(), batch)
    monkeypatch.setattr(module, "_AT_ONCE", 3)
    model = Counting()
    assert explain(model, batch) == wanted
    assert max(len(each) for each in model.batches[2:]) == 3


def test_occlusion_of_calibrated_scores() -> None:
    rule = DecisionRule(False, (2.0, 1.0), (5.0, -1.0), (0.5, 0.5), (0.1, 0.1), (0.9, 0.9))
    (first, second) = explain(Counting(), batch_of(["not we"]), rule)[0]
    assert (first.logit, first.base, [w.weight for w in first.words]) == (15, 5, [8, 2])
    assert (second.logit, second.base, [w.weight for w in second.words]) == (-6, -1, [-4, -1])


@pytest.mark.parametrize("reference", ["minilm", "minilm-cascade"])
def test_occlusion_of_the_packaged_encoders(reference: str) -> None:
    for package in ("treatystance_minilm", "onnxruntime", "tokenizers"):
        pytest.importorskip(package, reason=f"{package} IS NOT INSTALLED: NO ENCODER WAS EXPLAINED")
    artifact = load_reference(reference)
    text = "We are withdrawing from the Convention."
    batch = batch_of([text, "We are from the Convention."])
    explained, without = explain(artifact.model, batch)
    assert not explained[0].exact
    (word,) = (w for w in explained[0].words if text[w.start : w.end] == "withdrawing")
    assert word.weight == max(w.weight for w in explained[0].words)
    # Scores of an int8 encoder differ a little with what else stands in its batch.
    assert word.weight == pytest.approx(explained[0].logit - without[0].logit, abs=0.2)
