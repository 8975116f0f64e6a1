"""Learning the linear family with scikit-learn: n-gram counts, TF-IDF, one linear classifier per label."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix, diags, hstack
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from treatystance.config import Classifier, Features
from treatystance.errors import InputError
from treatystance.models.base import Batch, Floats
from treatystance.models.classes import class_features, class_names
from treatystance.models.linear import LinearModel, NgramSettings
from treatystance.models.ngrams import Tokenizer, anchored, char_ngrams, country_names, word_ngrams
from treatystance.statement import LabelSet

__all__ = [
    "Analyzer",
    "Block",
    "analyzers",
    "check_targets",
    "class_matrix",
    "fit_linear",
    "fit_pipeline",
    "folded",
    "ngram_settings",
    "scale_for",
    "stacked",
    "tokenized",
    "unfitted",
]

Analyzer = Callable[[list[str]], list[str]]

_UNREGULARISED = 10.0  # a column so large that the penalty on its small coefficient is nothing


@dataclass(frozen=True)
class Block:
    """One family of n-grams: its counts, its inverse document frequencies, and the scale that makes rows comparable."""

    counts: CountVectorizer
    tfidf: TfidfTransformer
    scale: float

    def transform(self, tokens: list[list[str]]) -> Any:
        """TF-IDF over the square root of the number of distinct words: additive over words, unlike a Euclidean norm."""
        return self.weigh(self.counts.transform(tokens), tokens)

    def weigh(self, counts: Any, tokens: list[list[str]]) -> Any:
        """The same, from counts that are known already."""
        lengths = np.array([len(set(sentence)) + 1.0 for sentence in tokens])
        return diags(self.scale / np.sqrt(lengths)) @ self.tfidf.transform(counts)


def _fit_block(tokens: list[list[str]], analyzer: Any, min_df: int, weight: float) -> tuple[Block, Any]:
    """A block fitted to the training sentences, and its matrix of them."""
    counts = CountVectorizer(analyzer=analyzer, min_df=min_df, dtype=np.float64)
    try:
        found = counts.fit_transform(tokens)
    except ValueError:
        raise InputError(
            f"no n-gram stands in {min_df} training texts: give more text or a smaller features.min_df"
        ) from None
    tfidf = TfidfTransformer(norm=None).fit(found)
    unscaled = Block(counts, tfidf, 1.0).weigh(found, tokens)
    scale = scale_for(unscaled, weight)
    return Block(counts, tfidf, scale), unscaled * scale


def scale_for(unscaled: Any, weight: float) -> float:
    """What brings the median norm of the rows that are not empty to `weight`."""
    norms = np.sqrt(np.asarray(unscaled.multiply(unscaled).sum(axis=1)).ravel())
    return weight / float(np.median(norms[norms > 0])) if (norms > 0).any() else weight


def fit_pipeline(
    batch: Batch,
    targets: npt.NDArray[np.bool_],
    weights: Floats,
    features: Features,
    classifier: Classifier,
    seed: int,
    auxiliary: npt.NDArray[np.bool_] | None = None,
) -> tuple[NgramSettings, list[Block], list[Any]]:
    """Fit vocabulary, TF-IDF and one scikit-learn classifier per column of `targets`.

    Where some rows are `auxiliary`, each classifier has one coefficient more, the last: an intercept of theirs. It
    keeps their other rate of labels out of the n-grams' weights, and nothing is scored with it (the domain features
    of Daumé III 2007, of the intercept alone).

    Raises:
        InputError: no n-gram is frequent enough.
    """
    settings = ngram_settings(features)
    tokens = tokenized(batch, settings)
    families = [
        _fit_block(tokens, analyzer, features.min_df, weight) for analyzer, weight in analyzers(settings, features)
    ]
    matrix = stacked([part for _, part in families], tokens, settings, features, auxiliary)
    fitted = []
    for column in range(targets.shape[1]):
        target = targets[:, column]
        fitted.append(unfitted(classifier, seed).fit(matrix, target, sample_weight=weights))
    return settings, [block for block, _ in families], fitted


def ngram_settings(features: Features) -> NgramSettings:
    """How a recipe's features make features of sentences."""
    return NgramSettings(
        features.word_ngrams[1],
        features.char_ngrams,
        country_names() if features.countries else {},
        {name: tuple(words) for name, words in features.anchors.items()},
        {name: tuple(words) for name, words in features.classes.items()},
        features.class_distance,
    )


def tokenized(batch: Batch, settings: NgramSettings) -> list[list[str]]:
    """The tokens of each sentence."""
    tokenizer = Tokenizer(settings.countries)
    return [tokenizer(t, g) for t, g in zip(batch.texts, batch.governments, strict=True)]


def analyzers(settings: NgramSettings, features: Features) -> list[tuple[Analyzer, float]]:
    """For each family of n-grams what makes them of a sentence's tokens, and the family's weight: words first."""
    anchors = {name: frozenset(words) for name, words in settings.anchors.items()}
    families: list[tuple[Analyzer, float]] = [
        (lambda words: word_ngrams(words, settings.longest) + anchored(words, anchors), 1.0)
    ]
    if chars := settings.chars:
        families.append(
            (
                lambda words: [g for word in dict.fromkeys(words) for g in char_ngrams(word, *chars)],
                features.char_weight,
            )
        )
    return families


def stacked(
    parts: Sequence[Any],
    tokens: list[list[str]],
    settings: NgramSettings,
    features: Features,
    auxiliary: npt.NDArray[np.bool_] | None = None,
) -> Any:
    """The training matrix: the n-gram families' parts, the class features, the intercept of the auxiliary rows."""
    columns = list(parts)
    if settings.classes:
        columns.append(features.class_weight * class_matrix(tokens, settings))
    if auxiliary is not None and auxiliary.any():
        columns.append(_UNREGULARISED * csr_matrix(auxiliary[:, None], dtype=np.float64))
    return hstack(columns).tocsr()


def class_matrix(tokens: list[list[str]], settings: NgramSettings) -> Any:
    """1 where a sentence has a class feature: shape (sentences, class features)."""
    class_of, names = settings.class_of, settings.class_order
    counts = CountVectorizer(
        analyzer=lambda words: class_features(words, class_of, names, settings.distance),
        vocabulary=class_names(names),
        dtype=np.float64,
    )
    return counts.transform(tokens)


def unfitted(settings: Classifier, seed: int) -> Any:
    """The scikit-learn classifier of one label, yet to be fitted."""
    # liblinear runs in one thread without BLAS, so the same rows give the same weights on every machine.
    common = {
        "C": settings.c,
        "class_weight": "balanced" if settings.balanced else None,
        "random_state": seed,
        "tol": 1e-5,
        "max_iter": 5000,
    }
    if settings.kind == "linear_svm":
        return LinearSVC(dual=True, **common)
    return LogisticRegression(solver="liblinear", **common)


def fit_linear(
    batch: Batch,
    targets: npt.NDArray[np.bool_],
    weights: Floats,
    labels: LabelSet,
    features: Features,
    classifier: Classifier,
    seed: int,
    auxiliary: npt.NDArray[np.bool_] | None = None,
) -> LinearModel:
    """Fit a linear model.

    Args:
        batch: training sentences.
        targets: (sentences, labels), True where a sentence carries the label.
        weights: (sentences,), each row's weight in the loss.
        labels: names of the columns.
        features: which n-grams.
        classifier: which classifier.
        seed: of the solver.
        auxiliary: (sentences,), True for text of another kind than will be scored, with another rate of labels.

    Raises:
        InputError: no n-gram is frequent enough, or a label has no positive or no negative row.
    """
    check_targets(targets, labels)
    settings, blocks, fitted = fit_pipeline(batch, targets, weights, features, classifier, seed, auxiliary)
    return folded(labels, features, settings, blocks, fitted)


def check_targets(targets: npt.NDArray[np.bool_], labels: LabelSet) -> None:
    """Raise InputError where a label has no positive or no negative row."""
    for name, target in zip(labels.names, targets.T, strict=True):
        if target.all() or not target.any():
            raise InputError(
                f"label {name!r} is carried by {int(target.sum())} of {len(target)} rows: nothing to learn"
            )


def folded(
    labels: LabelSet, features: Features, settings: NgramSettings, blocks: Sequence[Block], fitted: Sequence[Any]
) -> LinearModel:
    """The model of fitted blocks and classifiers (one per label)."""
    coefficients = np.vstack([one.coef_ for one in fitted])
    bias = np.array([one.intercept_[0] for one in fitted], np.float32)
    grams: list[list[str]] = []
    tables: list[npt.NDArray[np.float32]] = []
    start = 0
    for block in blocks:
        names = block.counts.get_feature_names_out().tolist()
        # Scale and inverse document frequency fold into the weights: scoring only adds.
        part = coefficients[:, start : start + len(names)] * block.tfidf.idf_ * block.scale
        grams.append(names)
        tables.append(np.ascontiguousarray(part.T, dtype=np.float32))
        start += len(names)
    stop = start + len(class_names(settings.class_order))
    class_weights = np.ascontiguousarray((coefficients[:, start:stop] * features.class_weight).T, dtype=np.float32)
    if len(blocks) == 1:
        grams.append([])
        tables.append(np.zeros((0, len(labels)), np.float32))
    return LinearModel(labels, settings, grams[0], tables[0], grams[1], tables[1], bias, class_weights)
