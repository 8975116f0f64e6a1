"""`treatystance.models.distilled_fit`: a linear model that hears a teacher."""

from typing import Any

import numpy as np
import pytest

from treatystance.config import Classifier, Features, LinearPart
from treatystance.corpus import Corpus
from treatystance.errors import InputError
from treatystance.models.base import Batch
from treatystance.models.distilled_fit import fit_distilled
from treatystance.models.linear import LinearModel
from treatystance.models.linear_fit import fit_linear
from treatystance.statement import LabelSet

LABELS = LabelSet(("a", "b"))
EMPTY = (Batch([], [], []), np.zeros((0, 2)))
PART = LinearPart(features=Features(word_ngrams=(1, 2), char_ngrams=(3, 4), min_df=1))


def batch_of(texts: list[str]) -> Batch:
    return Batch(texts, [None] * len(texts), [None] * len(texts))


LABELLED = batch_of(["we leave now", "we leave today", "rain fell", "snow fell", "rain today", "we stay"])
TARGETS = np.array([[1, 0], [1, 0], [0, 0], [0, 0], [0, 0], [0, 1]], bool)
WEIGHTS = np.ones(6)
# Words that no labelled row holds; the teacher knows one of them.
POOL = batch_of(["they depart", "birds sing"] * 30)
TAUGHT = np.array([[0.9, 0.0], [0.0, 0.0]] * 30)


def distilled(pool: tuple[Batch, Any] = (POOL, TAUGHT), weight: float = 1.0, part: LinearPart = PART) -> LinearModel:
    return fit_distilled(LABELLED, TARGETS, WEIGHTS, LABELS, part, 3, None, *pool, weight)


def test_without_a_pool_it_is_the_linear_model(tiny_corpus: Corpus) -> None:
    rows = tiny_corpus.take(range(120))
    weights = np.linspace(0.5, 2, len(rows))
    auxiliary = np.arange(len(rows)) % 3 == 0
    features = Features(classes={"exit": ("leave", "withdraw"), "speaker": ("we",)}, anchors={"speaker": ("we",)})
    for classifier in (Classifier(), Classifier(balanced=False), Classifier(kind="linear_svm", c=0.1)):
        given = (Batch.of(rows.rows), rows.label_matrix(), weights, rows.labels)
        plain = fit_linear(*given, features, classifier, 3, auxiliary)
        part = LinearPart(features=features, classifier=classifier)
        found = fit_distilled(*given, part, 3, auxiliary, EMPTY[0], np.zeros((0, 3)), 1.0)
        assert found.files()["vocabulary.json"] == plain.files()["vocabulary.json"]
        batch = Batch.of(tiny_corpus.rows)
        np.testing.assert_allclose(found.logits(batch), plain.logits(batch), atol=2e-3)


def test_it_learns_words_that_only_the_teacher_knows() -> None:
    asked = batch_of(["they depart", "birds sing", "we leave"])
    for part in (PART, PART.model_copy(update={"classifier": Classifier(balanced=False)})):
        before = distilled(EMPTY, part=part).logits(asked)
        after = distilled(part=part).logits(asked)
        assert after[0, 0] - after[1, 0] > 2
        assert abs(before[0, 0] - before[1, 0]) < 0.5
        assert after[2, 0] > after[1, 0]
        # The other label was not taught.
        assert abs(after[0, 1] - after[1, 1]) < 0.5


def test_a_probability_is_what_the_model_comes_to_say() -> None:
    """With a pool that outweighs all else and classes as they are, soft targets are fitted, not their rounding."""
    part = LinearPart(
        features=Features(word_ngrams=(1, 1), char_ngrams=None, min_df=1), classifier=Classifier(balanced=False, c=1e4)
    )
    taught = np.array([[0.3, 0.6], [0.05, 0.002]] * 30)
    found = distilled((POOL, taught), 1e4, part).logits(batch_of(["they depart", "birds sing"]))
    np.testing.assert_allclose(1 / (1 + np.exp(-found)), taught[:2], atol=0.01)


def test_balance_is_that_of_the_labelled_rows() -> None:
    """A large pool without the label neither moves the labelled classes' weights nor drowns them."""
    share = 2 / 6
    part = LinearPart(
        features=Features(word_ngrams=(1, 1), char_ngrams=None, min_df=1), classifier=Classifier(balanced=True, c=1e4)
    )
    taught = np.array([[0.3, 0.6], [0.05, 0.002]] * 30)
    found = distilled((POOL, taught), 1e4, part).logits(batch_of(["they depart", "birds sing"]))[:, 0]
    odds = np.exp(found) / ((1 - share) / share)
    np.testing.assert_allclose(odds / (1 + odds), [0.3, 0.05], atol=0.01)


def test_more_weight_for_the_pool_brings_the_model_nearer_to_the_teacher() -> None:
    asked = batch_of(["they depart"])
    found = [distilled(weight=weight).logits(asked)[0, 0] for weight in (0.01, 0.1, 1.0, 10.0)]
    assert found == sorted(found)
    assert found[-1] > found[0] + 1


def test_rare_words_of_the_pool_are_not_stored() -> None:
    """What stands in few pool sentences would make the model large; what labelled rows hold stays in any case."""
    features = Features(word_ngrams=(1, 1), char_ngrams=None, min_df=2)
    texts = ["they depart"] * 20 + ["seldom seen"] * 19
    pool = (batch_of(texts), np.full((39, 2), 0.5))
    model = distilled(pool, part=LinearPart(features=features))
    assert set(model._grams) == {"we", "leave", "today", "rain", "fell", "they", "depart"}


def test_the_same_seed_gives_the_same_bytes() -> None:
    assert distilled().files() == distilled().files()


def test_files_round_trip() -> None:
    model = distilled()
    back = LinearModel.from_files(LABELS, model.files())
    np.testing.assert_array_equal(back.logits(POOL), model.logits(POOL))


def test_a_teacher_of_another_shape_or_scale_is_refused() -> None:
    for wrong in (TAUGHT[:-1], TAUGHT[:, :1]):
        with pytest.raises(InputError, match="have shape"):
            distilled((POOL, wrong))
    for number in (-0.1, 1.1, np.nan):
        spoiled = TAUGHT.copy()
        spoiled[3, 1] = number
        with pytest.raises(InputError, match="not between 0 and 1"):
            distilled((POOL, spoiled))


def test_nothing_to_learn_is_told() -> None:
    with pytest.raises(InputError, match="label 'b' is carried by 0 of 6 rows"):
        fit_distilled(LABELLED, TARGETS & [True, False], WEIGHTS, LABELS, PART, 3, None, POOL, TAUGHT, 1.0)
    rare = LinearPart(features=Features(min_df=50))
    with pytest.raises(InputError, match="no n-gram stands in 50 training texts"):
        distilled(EMPTY, part=rare)
    with pytest.raises(InputError, match="no training text holds a word"):
        fit_distilled(batch_of(["!"] * 6), TARGETS, WEIGHTS, LABELS, PART, 3, None, *EMPTY, 1.0)


def test_every_probability_certain() -> None:
    """Neither side of the pool may be missing for the classifier to be fitted."""
    for certain in (0.0, 1.0):
        assert np.isfinite(distilled((POOL, np.full((60, 2), certain))).logits(POOL)).all()
