"""A linear model that learns from labelled rows and from a teacher's probabilities on unlabelled sentences.

Knowledge distillation (Hinton, Vinyals & Dean 2015): a sentence to which the teacher gives probability p counts as one
that carries the label with weight p and as one that does not with weight 1 - p, which is cross-entropy with a soft
target. The n-grams are those of the linear family, so that the model scores as fast as one fitted on labels alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer

from treatystance.config import Classifier, LinearPart
from treatystance.errors import InputError
from treatystance.models.base import Batch, Floats
from treatystance.models.linear import LinearModel
from treatystance.models.linear_fit import (
    Analyzer,
    Block,
    analyzers,
    check_targets,
    folded,
    ngram_settings,
    scale_for,
    stacked,
    tokenized,
    unfitted,
)
from treatystance.statement import LabelSet

__all__ = ["fit_distilled"]

_NEGLIGIBLE = 1e-3  # a share of a sentence too small to be a row of its own
# An n-gram that too few labelled rows hold must stand in so many pool sentences, and in such a share of them: 200,000
# sentences then give about as many n-grams again as the labelled rows have, and a larger pool hardly more.
_POOL_MIN_DF, _POOL_MIN_SHARE = 20, 1e-4


def fit_distilled(
    batch: Batch,
    targets: npt.NDArray[np.bool_],
    weights: Floats,
    labels: LabelSet,
    part: LinearPart,
    seed: int,
    auxiliary: npt.NDArray[np.bool_] | None,
    pool: Batch,
    pool_probabilities: Floats,
    pool_weight: float,
) -> LinearModel:
    """Fit a linear model to labelled rows and to a teacher's probabilities on a pool of sentences.

    An n-gram is kept where `min_df` labelled rows hold it, or where many pool sentences do. `balanced` weighs the
    classes of each label by their frequency among the labelled rows, and the pool's shares by the same two weights:
    the odds of both are then tilted alike. With an empty pool the model is that of `fit_linear`.

    Args:
        batch: labelled sentences.
        targets: (sentences, labels), True where a sentence carries the label.
        weights: (sentences,), each row's weight in the loss.
        labels: names of the columns.
        part: which n-grams and which classifier.
        seed: of the solver.
        auxiliary: (sentences,), True for text of another kind than will be scored; pool sentences are none.
        pool: unlabelled sentences.
        pool_probabilities: (pool sentences, labels), the teacher's calibrated probabilities.
        pool_weight: how much the pool weighs in all, as a multiple of the labelled rows' weight.

    Raises:
        InputError: no n-gram is frequent enough, a label has no positive or no negative row, or the probabilities are
            not one per pool sentence and label, between 0 and 1.
    """
    check_targets(targets, labels)
    if pool_probabilities.shape != (len(pool), len(labels)):
        raise InputError(
            f"the teacher's probabilities have shape {pool_probabilities.shape}, not {(len(pool), len(labels))}"
        )
    if not ((pool_probabilities >= 0) & (pool_probabilities <= 1)).all():
        raise InputError("a probability of the teacher is not between 0 and 1")
    features = part.features
    settings = ngram_settings(features)
    tokens = tokenized(batch, settings) + tokenized(pool, settings)
    families = [
        _fit_block(tokens, len(batch), analyzer, features.min_df, weight)
        for analyzer, weight in analyzers(settings, features)
    ]
    apart = None if auxiliary is None else np.append(auxiliary, np.zeros(len(pool), bool))
    matrix = stacked([columns for _, columns in families], tokens, settings, features, apart)
    share = pool_weight * float(weights.sum()) / max(len(pool), 1)
    fitted = [
        _fit_label(matrix, target, weights, probability, share, part.classifier, seed)
        for target, probability in zip(targets.T, pool_probabilities.T, strict=True)
    ]
    return folded(labels, features, settings, [block for block, _ in families], fitted)


def _fit_block(
    tokens: list[list[str]], labelled: int, analyzer: Analyzer, min_df: int, weight: float
) -> tuple[Block, Any]:
    """A block of the n-grams kept, and its matrix of all sentences, of which the first `labelled` are labelled rows.

    Document frequencies are those of all sentences; the scale is that of the labelled rows, so that the classifier's
    `c` means the same as without a pool.
    """
    counts = CountVectorizer(analyzer=analyzer, dtype=np.float64)
    try:
        found = counts.fit_transform(tokens)
    except ValueError:
        raise InputError("no training text holds a word: give other text") from None
    pool_min_df = max(_POOL_MIN_DF, min_df, int(np.ceil(_POOL_MIN_SHARE * (len(tokens) - labelled))))
    kept = (_frequencies(found[:labelled]) >= min_df) | (_frequencies(found[labelled:]) >= pool_min_df)
    if not kept.any():
        raise InputError(f"no n-gram stands in {min_df} training texts: give more text or a smaller features.min_df")
    names = counts.get_feature_names_out()[kept]
    found = found[:, np.flatnonzero(kept)]
    tfidf = TfidfTransformer(norm=None).fit(found)
    block = Block(CountVectorizer(analyzer=analyzer, vocabulary=names.tolist(), dtype=np.float64), tfidf, 1.0)
    unscaled = block.weigh(found, tokens)
    scale = scale_for(unscaled[:labelled], weight)
    return Block(block.counts, tfidf, scale), unscaled * scale


def _frequencies(counts: Any) -> npt.NDArray[np.int64]:
    """In how many rows each n-gram stands: shape (n-grams,)."""
    return np.bincount(counts.indices, minlength=counts.shape[1])


def _fit_label(
    matrix: Any,
    target: npt.NDArray[np.bool_],
    weights: Floats,
    probability: Floats,
    share: float,
    classifier: Classifier,
    seed: int,
) -> Any:
    """The classifier of one label, fitted to the labelled rows and the shares of the pool sentences.

    Each sentence of the pool weighs `share`. liblinear takes the shares as rows: on 62,000 rows its trust-region Newton
    method was three times as fast as L-BFGS on the soft targets, and does not depend on the number of threads.
    """
    yes = np.flatnonzero(probability >= _NEGLIGIBLE)
    no = np.flatnonzero(1 - probability >= _NEGLIGIBLE)
    # What scikit-learn's "balanced" would give the labelled rows by themselves.
    total, positive = float(weights.sum()), float(weights[target].sum())
    for_yes, for_no = (total / (2 * positive), total / (2 * (total - positive))) if classifier.balanced else (1.0, 1.0)
    labelled = len(target)
    rows = np.concatenate([np.arange(labelled), labelled + yes, labelled + no])
    goals = np.concatenate([target, np.ones(len(yes), bool), np.zeros(len(no), bool)])
    sizes = np.concatenate([weights, share * probability[yes], share * (1 - probability[no])])
    plain = classifier.model_copy(update={"balanced": False})
    return unfitted(plain, seed).fit(matrix[rows], goals, sample_weight=sizes * np.where(goals, for_yes, for_no))
