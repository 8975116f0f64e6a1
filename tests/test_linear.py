"""`treatystance.models.linear`: fast scoring equals the scikit-learn pipeline, whatever else is scored beside it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save
from scipy.sparse import hstack

from treatystance.config import Classifier, Features
from treatystance.corpus import Corpus
from treatystance.errors import ArtifactError, InputError
from treatystance.models import linear
from treatystance.models.base import Batch
from treatystance.models.classes import class_names
from treatystance.models.linear import LinearModel, NgramSettings
from treatystance.models.linear_fit import Block, class_matrix, fit_linear, fit_pipeline
from treatystance.models.ngrams import Tokenizer
from treatystance.statement import ANY_GOVERNMENT, LabelSet, speaker

AWKWARD = [
    "",
    " ",
    "?!",
    "— “…”",
    "🕊️🇵🇱",
    "a",
    "We",
    "withdraw",
    "zzzzqx",
    "xcountry",
    "the the the the the",
    "we will we will we will leave leave leave",
    "The United Kingdom’s word is Papua New Guinea's word.",
    "Guinea-Bissau and the Democratic People's Republic of Korea will withdraw.",
    "Poland’s Government, Poland's people and the Poles",
    "We don’t, won't and can’t leave the treaty's zone.",
    "new zealand zealand new united united kingdom",
    "a b c d e f g " * 300,
    "withdraw" * 500,
    "İstanbul ΣΑΣ ﬁne 条约 e\u0301tat",
    "Treaty we we leave treaty treaty we Poland convention",
    "treaty treaty",
    "leave the pact",
    "pact: leave, leave",
    "line\nbreak\r\n\tand\u2028more\0zero",
]
GOVERNMENTS = [None, "POL", "GBR", "PNG", ANY_GOVERNMENT]


def batch_of(texts: Sequence[str], governments: Sequence[str | None] | None = None) -> Batch:
    return Batch(texts, [None] * len(texts), governments or [None] * len(texts))


@dataclass(frozen=True)
class Pair:
    """The same fit twice: as scikit-learn's objects, and as the model made of them."""

    settings: NgramSettings
    class_weight: float
    blocks: list[Block]
    classifiers: list[Any]
    model: LinearModel

    @classmethod
    def of(cls, given: tuple[Batch, Any, Any], labels: LabelSet, features: Features, classifier: Classifier) -> "Pair":
        settings, blocks, classifiers = fit_pipeline(*given, features, classifier, 3)
        model = fit_linear(*given, labels, features, classifier, 3)
        return cls(settings, features.class_weight, blocks, classifiers, model)

    def expected(self, batch: Batch) -> Any:
        """The n-grams' part and the classes' part, as scikit-learn sums them."""
        tokenizer = Tokenizer(self.settings.countries)
        tokens = [tokenizer(t, g) for t, g in zip(batch.texts, batch.governments, strict=True)]
        columns = [block.transform(tokens) for block in self.blocks]
        if self.settings.classes:
            columns.append(self.class_weight * class_matrix(tokens, self.settings))
        matrix = hstack(columns).tocsr()
        return np.column_stack([one.decision_function(matrix) for one in self.classifiers])


RECIPES: dict[str, tuple[Features, Classifier]] = {
    "default": (Features(), Classifier()),
    "words alone": (Features(word_ngrams=(1, 1), char_ngrams=None), Classifier()),
    "three words, no characters": (Features(word_ngrams=(1, 3), char_ngrams=None), Classifier()),
    "three words and characters": (Features(word_ngrams=(1, 3), char_ngrams=(3, 4), min_df=1), Classifier()),
    "rare three words": (Features(word_ngrams=(1, 3), char_ngrams=None, min_df=9), Classifier()),
    "weighted characters, no countries": (
        Features(char_ngrams=(1, 6), char_weight=0.3, countries=False, min_df=3),
        Classifier(c=0.5, balanced=False),
    ),
    "anchors, not in alphabetical order": (
        Features(anchors={"treaty": ("treaty", "convention", "pact"), "speaker": ("we", "our", "xself"), "none": ()}),
        Classifier(),
    ),
    "one anchor, three words, no characters": (
        Features(word_ngrams=(1, 3), char_ngrams=None, anchors={"country": ("xcountry",)}, min_df=3),
        Classifier(),
    ),
    "classes of words": (
        Features(
            classes={
                "speaker": ("we", "our", "xself"),
                "exit": ("withdraw", "leave"),
                "none": (),
                "treaty": ("treaty",),
            },
            anchors={"treaty": ("treaty", "convention", "pact")},
        ),
        Classifier(),
    ),
    "support vectors": (Features(word_ngrams=(1, 2), char_ngrams=None), Classifier(kind="linear_svm", c=0.1)),
}


@pytest.fixture(scope="module")
def training(tiny_corpus: Corpus) -> Corpus:
    return tiny_corpus.take(range(250))


@pytest.fixture(scope="module", params=RECIPES)
def pair(request: pytest.FixtureRequest, training: Corpus) -> Pair:
    features, classifier = RECIPES[request.param]
    given = (Batch.of(training.rows), training.label_matrix(), np.linspace(0.5, 2, len(training)))
    return Pair.of(given, training.labels, features, classifier)


def test_equal_to_scikit_learn_on_composed_text(pair: Pair, tiny_corpus: Corpus) -> None:
    batch = Batch.of(tiny_corpus.rows)
    found = pair.model.logits(batch)
    assert found.shape == (len(tiny_corpus), 3)
    np.testing.assert_allclose(found, pair.expected(batch), atol=1e-5, rtol=0)


@pytest.mark.parametrize("government", GOVERNMENTS)
def test_equal_to_scikit_learn_on_awkward_text(pair: Pair, government: str | None) -> None:
    batch = batch_of(AWKWARD, [government] * len(AWKWARD))
    # Repeated a thousand times, words sum to logits in the hundreds, where float32 weights carry seven digits.
    np.testing.assert_allclose(pair.model.logits(batch), pair.expected(batch), atol=1e-5, rtol=1e-6)


def test_files_round_trip_is_bit_equal(pair: Pair, tiny_corpus: Corpus) -> None:
    files = pair.model.files()
    back = LinearModel.from_files(pair.model.labels, files)
    assert back.files() == files
    assert back.describe() == pair.model.describe()
    batch = Batch.of(tiny_corpus.rows)
    np.testing.assert_array_equal(back.logits(batch), pair.model.logits(batch))


ANCHORED = Features(
    word_ngrams=(1, 3),
    char_ngrams=(2, 3),
    min_df=1,
    # Classes that overlap, one word that no text holds, one that is no word of the language, one alone.
    anchors={"treaty": ("treaty", "pact", "unheard"), "speaker": ("we", "xself", "pact"), "country": ("xcountry",)},
)
CLASSED = Features(
    word_ngrams=(1, 2),
    char_ngrams=(2, 3),
    min_df=1,
    # One word that no text holds, one that is no word of the language, one class that is also an anchor, one empty.
    classes={
        "treaty": ("treaty", "pact", "unheard"),
        "speaker": ("we", "xself"),
        "empty": (),
        "exit": ("leave", "leaves", "quit"),
        "country": ("xcountry",),
    },
    class_weight=0.3,
    class_distance=2,
)
# The recipe, and whether it has character n-grams.
NEAR = {
    "anchors": ANCHORED,
    "anchors, no characters": ANCHORED.model_copy(update={"char_ngrams": None}),
    "classes": CLASSED,
    "classes, no characters": CLASSED.model_copy(update={"char_ngrams": None}),
    "classes and anchors": CLASSED.model_copy(update={"anchors": ANCHORED.anchors, "class_distance": 5}),
}
SENTENCES = [
    "We leave the treaty.",
    "The treaty leaves us.",
    "We leave, we stay: pact, treaty, pact.",
    "Poland and we leave New Zealand's pact.",
    "Treaty",
    "They uphold the treaty and leave the pact to Poland.",
    "Rain fell.",
]


@pytest.fixture(scope="module", params=NEAR)
def near_pair(request: pytest.FixtureRequest) -> Pair:
    governments = [None, "POL", ANY_GOVERNMENT, "NZL", None, "POL", None]
    targets = np.array([[i % 2 == 0, i < 3] for i in range(len(SENTENCES))])
    given = (batch_of(SENTENCES, governments), targets, np.ones(len(SENTENCES)))
    return Pair.of(given, LabelSet(("a", "b")), NEAR[request.param], Classifier())


near_words = st.lists(
    st.sampled_from(
        ["we", "leave", "quit", "treaty", "pact", "unheard", "Poland", "New Zealand", "the", "zyx", "stay", "!"]
    ),
    max_size=14,
).map(" ".join)


@given(st.lists(st.tuples(near_words, st.sampled_from(GOVERNMENTS)), min_size=1, max_size=8))
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_anchors_and_classes_equal_scikit_learn_wherever_they_stand(
    near_pair: Pair, given_texts: list[tuple[str, str | None]]
) -> None:
    batch = batch_of(*zip(*given_texts, strict=True))
    wanted = near_pair.expected(batch)
    np.testing.assert_allclose(near_pair.model.logits(batch), wanted, atol=1e-5, rtol=1e-6)
    back = LinearModel.from_files(near_pair.model.labels, near_pair.model.files())
    np.testing.assert_array_equal(back.logits(batch), near_pair.model.logits(batch))


def test_classes_weigh_in_the_parity_test() -> None:
    """Otherwise the test above would show nothing of them."""
    targets = np.array([[i % 2 == 0, i < 3] for i in range(len(SENTENCES))])
    given = (batch_of(SENTENCES), targets, np.ones(len(SENTENCES)))
    pair = Pair.of(given, LabelSet(("a", "b")), CLASSED, Classifier())
    weights = load(pair.model.files()["weights.safetensors"])["class"]
    names = class_names(pair.settings.class_order)
    assert weights.shape == (len(names), 2)
    for name in ("+exit", "-exit", "speaker&treaty", "speaker>exit", "treaty>exit"):
        assert (np.abs(weights[names.index(name)]) > 1e-3).all(), name
    # Two places apart count, three do not; the words are the same.
    near, far = pair.model.logits(batch_of(["we zyx zyz leave", "we zyz leave zyx"]))
    assert (np.abs(near - far) > 1e-3).all()


def test_files_round_trip_with_classes_is_bit_equal(near_pair: Pair) -> None:
    files = near_pair.model.files()
    back = LinearModel.from_files(near_pair.model.labels, files)
    assert back.files() == files
    assert back.settings == near_pair.settings
    batch = batch_of(SENTENCES + AWKWARD)
    np.testing.assert_array_equal(back.logits(batch), near_pair.model.logits(batch))


def test_classes_with_an_intercept_for_auxiliary_rows(training: Corpus) -> None:
    """The auxiliary rows' column is the last, after the classes', and nothing is scored with it."""
    batch = Batch.of(training.rows)
    given = (batch, training.label_matrix(), np.ones(len(training)))
    auxiliary = np.arange(len(training)) % 3 == 0
    settings, blocks, classifiers = fit_pipeline(*given, CLASSED, Classifier(), 3, auxiliary)
    model = fit_linear(*given, training.labels, CLASSED, Classifier(), 3, auxiliary)
    assert all(abs(one.coef_[0, -1]) > 1e-6 for one in classifiers)
    for one in classifiers:
        one.coef_, one.n_features_in_ = one.coef_[:, :-1], one.n_features_in_ - 1
    pair = Pair(settings, CLASSED.class_weight, blocks, classifiers, model)
    np.testing.assert_allclose(model.logits(batch), pair.expected(batch), atol=1e-5, rtol=1e-6)


def test_class_features_by_hand() -> None:
    """Each weight stands alone for its feature, whatever the length of the sentence."""
    none = np.zeros((0, 1), np.float32)
    # Weights are in the order of the settings, which outlives a file, and not in that of the recipe.
    settings = NgramSettings(1, None, {}, {}, {"treaty": ("pact",), "exit": ("leave", "quit")}, 2)
    names = class_names(settings.class_order)
    weights = np.zeros((len(names), 1), np.float32)
    for name, weight in {"+exit": 1, "-treaty": 2, "exit&treaty": 4, "exit>treaty": 8, "treaty>exit": 16}.items():
        weights[names.index(name)] = weight
    made = LinearModel(LabelSet(("a",)), settings, [], none, [], none, np.full(1, 0.5, np.float32), weights)
    texts = {
        "leave pact": 1 + 4 + 8,
        "leave the pact": 1 + 4 + 8,
        "leave the old pact": 1 + 4,
        "pact quit": 1 + 4 + 16,
        "quit pact leave pact": 1 + 4 + 8 + 16,
        "pact": 0,
        "leave quit": 1 + 2,
        "rain fell": 2,
        "": 2,
    }
    for model in (made, LinearModel.from_files(made.labels, made.files())):
        found = model.logits(batch_of(list(texts)))[:, 0]
        np.testing.assert_allclose(found, np.array(list(texts.values())) + 0.5, atol=1e-12)


def test_the_side_of_an_anchor_matters() -> None:
    """By hand: one weight for a word before the anchor, one for a word after it, nothing else."""
    weights = np.array([[0], [0], [8], [-8]], np.float32)
    grams = ["leave", "pact", "treaty>leave", "treaty<leave"]
    settings = NgramSettings(1, None, {}, {"treaty": ("pact", "accord")})
    made = LinearModel(
        LabelSet(("a",)), settings, grams, weights, [], np.zeros((0, 1), np.float32), np.zeros(1, np.float32)
    )
    texts = ["leave pact", "pact leave", "leave pact leave", "leave", "pact", "accord leave pact", "leave accord", ""]
    # In "accord leave pact" the word is before the last anchor and after the first: both weights count.
    root = np.sqrt([3, 3, 3, 2, 2, 4, 3, 1])
    for model in (made, LinearModel.from_files(made.labels, made.files())):
        found = model.logits(batch_of(texts))[:, 0]
        np.testing.assert_allclose(found, np.array([8, -8, 0, 0, 0, 0, 8, 0]) / root, atol=1e-12)
        assert model.settings == settings


def test_a_model_without_character_ngrams_says_null_and_reloads(training: Corpus) -> None:
    given = (Batch.of(training.rows), training.label_matrix(), np.ones(len(training)), training.labels)
    fitted = fit_linear(*given, Features(char_ngrams=None, anchors={"speaker": ("we",)}), Classifier(), 3)
    files = fitted.files()
    assert json.loads(files["ngrams.json"])["chars"] is None
    assert json.loads(files["vocabulary.json"])[1] == []
    assert fitted.describe()["char_ngrams"] == 0
    back = LinearModel.from_files(training.labels, files)
    assert back.settings == fitted.settings
    assert back.files() == files
    np.testing.assert_array_equal(back.logits(batch_of(AWKWARD)), fitted.logits(batch_of(AWKWARD)))


def test_vocabulary_json_holds_words_then_characters(model: LinearModel) -> None:
    words, chars = json.loads(model.files()["vocabulary.json"])
    assert (len(words), len(chars)) == (model.describe()["word_ngrams"], model.describe()["char_ngrams"])
    assert "treaty" in words
    assert {len(gram) for gram in chars} == {3, 4}


@pytest.fixture(scope="module")
def model(tiny_artifact: Any) -> LinearModel:
    assert isinstance(tiny_artifact.model, LinearModel)
    return tiny_artifact.model


words = st.sampled_from(
    ["we", "will", "withdraw", "from", "the", "treaty", "Poland", "New Zealand", "zyx", "don’t", "uphold", "!"]
)
texts = st.one_of(st.lists(words, max_size=12).map(" ".join), st.text(max_size=30), st.sampled_from(AWKWARD[:-3]))


@given(st.lists(st.tuples(texts, st.sampled_from(GOVERNMENTS)), min_size=1, max_size=8), st.randoms())
@settings(max_examples=60, deadline=None)
def test_scores_depend_on_the_sentence_alone(
    model: LinearModel, given_texts: list[tuple[str, str | None]], random: Any
) -> None:
    whole = model.logits(batch_of(*zip(*given_texts, strict=True)))
    order = list(range(len(given_texts)))
    random.shuffle(order)
    shuffled = model.logits(batch_of(*zip(*(given_texts[i] for i in order), strict=True)))
    np.testing.assert_array_equal(shuffled, whole[order])
    fresh = LinearModel.from_files(model.labels, model.files())
    alone = [fresh.logits(batch_of([text], [government]))[0] for text, government in given_texts]
    np.testing.assert_array_equal(np.stack(alone), whole)


def test_chunks_and_a_full_word_cache_change_nothing(
    model: LinearModel, tiny_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = Batch.of(tiny_corpus.rows)
    wanted = model.logits(batch)
    fresh = LinearModel.from_files(model.labels, model.files())
    monkeypatch.setattr(linear, "_CHUNK", 7)
    monkeypatch.setattr(linear, "_MAX_WORDS", 10)
    np.testing.assert_array_equal(fresh.logits(batch), wanted)
    assert len(fresh._words) < len(model._words)


def test_no_sentences_give_no_rows(model: LinearModel) -> None:
    assert model.logits(batch_of([])).shape == (0, 3)
    assert model.logits(batch_of(["", "?"])).tolist() == [model._bias.tolist()] * 2


def test_same_rows_same_weights(training: Corpus) -> None:
    given = (Batch.of(training.rows), training.label_matrix(), np.ones(len(training)), training.labels)
    one, two = (fit_linear(*given, Features(), Classifier(), 3).files() for _ in range(2))
    assert one == two


def test_weight_matters(training: Corpus) -> None:
    targets = training.label_matrix()
    batch = Batch.of(training.rows)

    def mean_logit(weight: float) -> float:
        weights = np.where(targets[:, 0], weight, 1.0)
        fitted = fit_linear(batch, targets, weights, training.labels, Features(), Classifier(balanced=False), 3)
        return float(fitted.logits(batch)[:, 0].mean())

    assert mean_logit(20.0) > mean_logit(1.0) + 0.1


@pytest.mark.parametrize("present", [True, False])
def test_a_label_without_both_sides_is_refused(training: Corpus, present: bool) -> None:
    targets = training.label_matrix()
    targets[:, 1] = present
    with pytest.raises(
        InputError, match=rf"^label '{training.labels.names[1]}' is carried by {250 if present else 0} of 250 rows"
    ):
        fit_linear(Batch.of(training.rows), targets, np.ones(250), training.labels, Features(), Classifier(), 3)


def test_too_little_text_is_refused() -> None:
    targets = np.array([[True], [False]])
    with pytest.raises(InputError, match=r"smaller features\.min_df"):
        fit_linear(
            batch_of(["alpha", "beta"]), targets, np.ones(2), LabelSet(("a",)), Features(min_df=2), Classifier(), 0
        )


def test_a_report_is_scored_as_if_every_country_spoke(model: LinearModel) -> None:
    text = "Poland told Finland that it will withdraw from the treaty."
    own = "Poland told Poland that it will withdraw from the treaty."
    scores = model.logits(batch_of([text, own, own, text], [ANY_GOVERNMENT, ANY_GOVERNMENT, "POL", None]))
    np.testing.assert_array_equal(scores[0], scores[1])
    assert (scores[1] != scores[2]).any(), "a report is marked as one"
    assert (scores[0] != scores[3]).any()


def test_batch_of_rows_does_not_take_a_reporter_for_a_government(tiny_corpus: Corpus) -> None:
    batch = Batch.of(tiny_corpus.rows)
    assert len(batch) == len(tiny_corpus)
    kinds = {row.kind for row in tiny_corpus}
    assert "wire_report" in kinds
    for row, government in zip(tiny_corpus, batch.governments, strict=True):
        assert government == speaker(row.government, row.kind)
        assert (government == row.government) == (row.kind != "wire_report")


def damaged(files: dict[str, bytes], kind: str) -> dict[str, bytes]:
    files = dict(files)
    weights = load(files["weights.safetensors"])
    settings = json.loads(files["ngrams.json"])
    vocabulary = files["vocabulary.json"]
    words, chars = json.loads(vocabulary)
    assert words
    assert chars
    if kind.startswith("no "):
        del files[kind.removeprefix("no ")]
    elif kind == "settings not JSON":
        files["ngrams.json"] = b"{"
    elif kind == "settings a list":
        files["ngrams.json"] = b"[]"
    elif kind == "countries a list":
        files["ngrams.json"] = json.dumps(settings | {"countries": ["poland"]}).encode()
    elif kind == "anchors a list":
        files["ngrams.json"] = json.dumps(settings | {"anchors": ["treaty"]}).encode()
    elif kind == "anchors missing":
        files["ngrams.json"] = json.dumps({k: v for k, v in settings.items() if k != "anchors"}).encode()
    elif kind == "classes a list":
        files["ngrams.json"] = json.dumps(settings | {"classes": ["treaty"]}).encode()
    elif kind == "a class without weights":
        files["ngrams.json"] = json.dumps(settings | {"classes": {"treaty": ["treaty"]}}).encode()
    elif kind == "distance no number":
        files["ngrams.json"] = json.dumps(settings | {"distance": "far"}).encode()
    elif kind == "class weights of no class":
        files["weights.safetensors"] = save(weights | {"class": np.zeros((3, 3), np.float32)})
    elif kind == "vocabulary a word n-gram list alone":
        files["vocabulary.json"] = json.dumps(words).encode()
    elif kind == "vocabulary without characters":
        files["vocabulary.json"] = json.dumps([words]).encode()
    elif kind == "vocabulary not UTF-8":
        files["vocabulary.json"] = b"\xff" + vocabulary
    elif kind == "a word too many":
        files["vocabulary.json"] = json.dumps([["zzz", *words], chars]).encode()
    elif kind == "a word too few":
        files["vocabulary.json"] = json.dumps([words[1:], chars]).encode()
    elif kind == "a character n-gram too few":
        files["vocabulary.json"] = json.dumps([words, chars[:-1]]).encode()
    elif kind == "weights cut off":
        files["weights.safetensors"] = files["weights.safetensors"][:-5]
    elif kind == "weights of another width":
        files["weights.safetensors"] = save(weights | {"word": weights["word"][:, :2].copy()})
    elif kind == "weights without bias":
        files["weights.safetensors"] = save({key: value for key, value in weights.items() if key != "bias"})
    elif kind == "bias of another width":
        files["weights.safetensors"] = save(weights | {"bias": weights["bias"][:1].copy()})
    elif kind == "weights not finite":
        files["weights.safetensors"] = save(weights | {"bias": np.full(3, np.nan, np.float32)})
    return files


DAMAGE = [
    "no ngrams.json",
    "no vocabulary.json",
    "no weights.safetensors",
    "settings not JSON",
    "settings a list",
    "countries a list",
    "anchors a list",
    "anchors missing",
    "classes a list",
    "a class without weights",
    "distance no number",
    "class weights of no class",
    "vocabulary a word n-gram list alone",
    "vocabulary without characters",
    "vocabulary not UTF-8",
    "a word too many",
    "a word too few",
    "a character n-gram too few",
    "weights cut off",
    "weights of another width",
    "weights without bias",
    "bias of another width",
    "weights not finite",
]


@pytest.mark.parametrize("kind", DAMAGE)
def test_files_that_do_not_fit_together_are_refused(model: LinearModel, kind: str) -> None:
    files = damaged(model.files(), kind)
    assert files != model.files()
    with pytest.raises(ArtifactError, match="do not fit together"):
        LinearModel.from_files(model.labels, files)
