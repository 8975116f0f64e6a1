"""Nested cross-validation: nothing of a tested fold is seen by what scores it, thresholds and vocabulary included."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from treatystance.calibration import DecisionRule, Decisions, fit_decision_rule
from treatystance.config import GroupedSplit, LinearConfig, TemporalSplit
from treatystance.corpus.rows import Corpus
from treatystance.corpus.standoff import sentence_sha256
from treatystance.evaluation import Report, evaluate_scores
from treatystance.models.base import Batch, Floats, Model
from treatystance.split import Fold, grouped_folds, leave_one_treaty_out, near_duplicates, temporal_split

__all__ = ["CrossValidation", "cross_validate", "decision_rule", "evaluated_sha256", "fit_model", "out_of_fold_table"]

Indices = npt.NDArray[np.intp]
Progress = Callable[[str], None]


@dataclass(frozen=True)
class CrossValidation:
    """Out-of-fold results: nothing of a tested fold was seen by what scored it, thresholds and vocabulary included.

    `tested` are row indices; `logits`, `decisions` and `fold` belong to them, in that order. `report` counts each row
    once; `ordinary` as often as it stands for a sentence of ordinary text.
    """

    folds: tuple[Fold, ...]
    tested: Indices
    fold: npt.NDArray[np.int64]
    logits: Floats
    decisions: Decisions
    report: Report
    ordinary: Report
    fold_reports: tuple[Report, ...]


def fit_model(config: LinearConfig, corpus: Corpus, members: Indices) -> Model:
    """Fit the recipe's model on the rows with these indices."""
    from treatystance.models.linear_fit import fit_linear

    part = corpus.take(members)
    weights = np.array([row.weight for row in part.rows])
    return fit_linear(
        Batch.of(part.rows),
        part.label_matrix(),
        weights,
        corpus.labels,
        config.features,
        config.classifier,
        config.seed,
        np.array([row.auxiliary for row in part.rows], bool),
    )


def _out_of_fold(config: LinearConfig, corpus: Corpus, folds: Sequence[Fold]) -> tuple[Indices, Floats]:
    """Tested rows and their logits, each from a model that did not see its fold."""
    tested = np.concatenate([fold.test for fold in folds])
    logits = [fit_model(config, corpus, fold.train).logits(Batch.of(corpus.take(fold.test).rows)) for fold in folds]
    return tested, np.concatenate(logits)


def _decided(
    config: LinearConfig, corpus: Corpus, fold: Fold, pairs: Sequence[tuple[int, int]]
) -> tuple[Floats, Decisions]:
    """Logits and decisions on a fold's test rows, thresholds and calibration from inner folds of its training rows."""
    inner = _inner_folds(config, corpus, fold.train, pairs)
    rows, inner_logits = _out_of_fold(config, corpus, inner)
    rule = decision_rule(config, corpus, rows, inner_logits)
    model = fit_model(config, corpus, fold.train)
    logits = model.logits(Batch.of(corpus.take(fold.test).rows))
    return logits, rule.decide(logits)


def decision_rule(config: LinearConfig, corpus: Corpus, rows: Indices, logits: Floats) -> DecisionRule:
    """Calibration, thresholds and abstention from out-of-fold logits of these rows, weighted to ordinary text."""
    part = corpus.take(rows)
    return fit_decision_rule(
        logits,
        part.label_matrix(),
        part.sampling_weights(),
        corpus.labels.exclusive,
        config.decision.error_rate,
        config.decision.min_precision,
    )


def _inner_folds(
    config: LinearConfig, corpus: Corpus, members: Indices, pairs: Sequence[tuple[int, int]]
) -> list[Fold]:
    folds = config.split.inner_folds
    apart = not isinstance(config.split, GroupedSplit) or config.split.auxiliary_apart
    return grouped_folds(corpus.rows, corpus.label_matrix(), folds, config.seed + 1, members, pairs, apart)


def _outer_folds(config: LinearConfig, corpus: Corpus, pairs: Sequence[tuple[int, int]]) -> list[Fold]:
    split = config.split
    if isinstance(split, GroupedSplit):
        matrix = corpus.label_matrix()
        return grouped_folds(corpus.rows, matrix, split.folds, config.seed, None, pairs, split.auxiliary_apart)
    if isinstance(split, TemporalSplit):
        return [temporal_split(corpus.rows, split.year, pairs)]
    return leave_one_treaty_out(corpus.rows, split.minimum, pairs)


def cross_validate(
    config: LinearConfig,
    corpus: Corpus,
    pairs: Sequence[tuple[int, int]] | None = None,
    say: Progress = lambda message: None,
) -> CrossValidation:
    """Nested cross-validation of a recipe.

    Args:
        config: the recipe.
        corpus: its data.
        pairs: near-duplicates among the rows, if already known.
        say: told of each fold.
    """
    from joblib import Parallel, delayed

    if pairs is None:
        pairs = near_duplicates([row.text for row in corpus.rows])
    folds = _outer_folds(config, corpus, pairs)
    say(f"cross-validating: {len(folds)} folds of {len(corpus)} rows")
    results = Parallel(n_jobs=-1)(delayed(_decided)(config, corpus, fold, pairs) for fold in folds)
    tested = np.concatenate([fold.test for fold in folds])
    logits = np.concatenate([found for found, _ in results])
    decisions = Decisions(
        *(np.concatenate([getattr(d, part) for _, d in results]) for part in ("probabilities", "tags", "uncertain"))
    )
    place = np.repeat(np.arange(len(folds)), [len(fold.test) for fold in folds])
    whole = _report(config, corpus, tested, decisions)
    ordinary = _report(config, corpus, tested, decisions, corpus.take(tested).sampling_weights())
    parts = []
    for number in range(len(folds)):
        here = place == number
        part = Decisions(decisions.probabilities[here], decisions.tags[here], decisions.uncertain[here])
        parts.append(_report(config, corpus, tested[here], part))
    return CrossValidation(tuple(folds), tested, place, logits, decisions, whole, ordinary, tuple(parts))


def _report(
    config: LinearConfig, corpus: Corpus, tested: Indices, decisions: Decisions, weights: Floats | None = None
) -> Report:
    return evaluate_scores(
        corpus.labels,
        corpus.label_matrix()[tested],
        decisions.probabilities,
        decisions.tags,
        [corpus.rows[i].doc_id for i in tested],
        config.evaluation.resamples,
        config.evaluation.confidence,
        config.seed,
        weights,
    )


def evaluated_sha256(corpus: Corpus, validation: CrossValidation) -> str:
    """Identifies what was tested on, so that two runs are compared only on the same rows and labels."""
    lines = sorted(
        json.dumps([corpus.rows[i].id, sentence_sha256(corpus.rows[i].text), sorted(corpus.rows[i].labels)])
        for i in validation.tested
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def out_of_fold_table(corpus: Corpus, validation: CrossValidation) -> str:
    """JSON Lines without text: row id, sentence hash, fold, labels, tags, and probabilities in label order."""
    lines = []
    names = corpus.labels.names
    for place, i in enumerate(validation.tested):
        row = corpus.rows[i]
        record = {
            "id": row.id,
            "doc_id": row.doc_id,
            "sha256": sentence_sha256(row.text),
            "fold": int(validation.fold[place]),
            "probability": row.probability,
            "labels": [n for n in names if n in row.labels],
            "tags": [n for n, given in zip(names, validation.decisions.tags[place], strict=True) if given],
            "probabilities": [round(float(p), 6) for p in validation.decisions.probabilities[place]],
        }
        lines.append(json.dumps(record))
    return "\n".join(lines) + "\n"
