"""Cross-validation of a recipe: nothing of a tested fold is seen by what scores it.

Linear models are cheap, so theirs is nested: thresholds and calibration of a fold come from inner folds of its training
rows. Encoders are not: theirs come from the out-of-fold scores of the other folds (cross-fitting), whose models did
see rows of the fold, but never its scores.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from treatystance.calibration import DecisionRule, Decisions, fit_decision_rule, unreached
from treatystance.config import (
    CascadeConfig,
    DistilledConfig,
    EncoderConfig,
    GroupedSplit,
    LinearConfig,
    Recipe,
    TemporalSplit,
)
from treatystance.corpus.rows import Corpus
from treatystance.errors import InputError
from treatystance.evaluation import Report, evaluate_scores
from treatystance.evidence.scored import ScoredRows
from treatystance.fitting import Fitter, Progress
from treatystance.models.base import Batch, Floats, Model
from treatystance.split import Fold, grouped_folds, leave_one_treaty_out, near_duplicates, temporal_split

if TYPE_CHECKING:
    from treatystance.models.cascade import CascadeSettings

__all__ = [
    "CrossValidation",
    "cross_validate",
    "finish",
    "fit_model",
    "out_of_fold",
    "outer_folds",
]

Indices = npt.NDArray[np.intp]


Parts = dict[str, Floats]
Combination = Callable[[Parts], Floats]


@dataclass(frozen=True)
class CrossValidation:
    """Out-of-fold results: nothing of a tested fold was seen by what scored it, thresholds and vocabulary included.

    `tested` are row indices; `parts` (the scores of each model that the recipe combines, or of the one it is),
    `decisions` and `fold` belong to them, in that order. `report` counts each row once; `ordinary` as often as it
    stands for a sentence of ordinary text.
    """

    folds: tuple[Fold, ...]
    tested: Indices
    fold: npt.NDArray[np.int64]
    parts: Parts
    decisions: Decisions
    report: Report
    ordinary: Report
    fold_reports: tuple[Report, ...]


def fit_model(config: LinearConfig, corpus: Corpus, members: Indices) -> Model:
    """Fit a linear recipe's model on the rows with these indices."""
    return Fitter(corpus, config.seed).linear(config, members)


def finish(config: Recipe, corpus: Corpus, validation: CrossValidation, fitter: Fitter) -> tuple[Model, DecisionRule]:
    """The recipe's model fitted on every row, and its decision rule from the out-of-fold scores."""
    everything = np.arange(len(corpus))
    rows, parts = validation.tested, validation.parts
    if isinstance(config, DistilledConfig):
        teacher = _decision_rule(config, corpus, rows, parts["teacher"])
        model = fitter.distilled(config, everything, teacher)
        return model, _decision_rule(config, corpus, rows, parts["model"], fitter.say)
    if not isinstance(config, CascadeConfig):
        model = fitter.model(config, everything)
        return model, _decision_rule(config, corpus, rows, parts["model"], fitter.say)
    from treatystance.models.cascade import CascadeModel
    from treatystance.models.encoder import EncoderModel
    from treatystance.models.linear import LinearModel

    settings = _fit_cascade(config, corpus, rows, parts)
    linear, encoder = fitter.linear(config.linear, everything), fitter.encoder(config.encoder, everything)
    assert isinstance(linear, LinearModel)  # noqa: S101
    assert isinstance(encoder, EncoderModel)  # noqa: S101
    combined = settings.combined(parts["linear"], parts["encoder"], corpus.labels.exclusive)
    rule = _decision_rule(config, corpus, rows, combined, fitter.say)
    return CascadeModel(corpus.labels, linear, encoder, settings), rule


def _nested(
    config: LinearConfig, corpus: Corpus, fold: Fold, pairs: Sequence[tuple[int, int]]
) -> tuple[Floats, Decisions]:
    """Logits and decisions on a fold's test rows, thresholds and calibration from inner folds of its training rows."""
    inner = _inner_folds(config, corpus, fold.train, pairs)
    rows = np.concatenate([part.test for part in inner])
    scores = [fit_model(config, corpus, part.train).logits(Batch.of(corpus.take(part.test))) for part in inner]
    rule = _decision_rule(config, corpus, rows, np.concatenate(scores))
    logits = fit_model(config, corpus, fold.train).logits(Batch.of(corpus.take(fold.test)))
    return logits, rule.decide(logits)


def _metric_name(fold: Fold) -> str:
    """The fold's name where metrics begin with it: MLflow takes no brackets or commas, which treaties' names have."""
    return re.sub(r"\W+", "_", fold.name)


def _scores(
    config: EncoderConfig | CascadeConfig | DistilledConfig, corpus: Corpus, fold: Fold, fitter: Fitter
) -> Parts:
    """Logits on a fold's test rows of the models fitted on its training rows; of a distilled one, of its teacher."""
    batch = Batch.of(corpus.take(fold.test))
    name = _metric_name(fold)
    if isinstance(config, CascadeConfig):
        linear, encoder = fitter.linear(config.linear, fold.train), fitter.encoder(config.encoder, fold.train, name)
        return {"linear": linear.logits(batch), "encoder": encoder.logits(batch)}
    if isinstance(config, DistilledConfig):
        return {"teacher": fitter.encoder(config.teacher, fold.train, f"{name}.teacher").logits(batch)}
    return {"model": fitter.model(config, fold.train, name).logits(batch)}


def _cross_fitted(
    config: EncoderConfig | CascadeConfig | DistilledConfig, corpus: Corpus, folds: Sequence[Fold], fitter: Fitter
) -> tuple[Parts, Decisions]:
    """Out-of-fold scores, and decisions on each fold by what the scores of the other folds say."""
    if len(folds) < 2:
        raise InputError(f"a {config.kind} recipe needs two folds at least: choose split.kind grouped")
    found = [_scores(config, corpus, fold, fitter) for fold in folds]
    parts = {name: np.concatenate([scores[name] for scores in found]) for name in found[0]}
    tested = np.concatenate([fold.test for fold in folds])
    place = np.repeat(np.arange(len(folds)), [len(fold.test) for fold in folds])
    if isinstance(config, DistilledConfig):
        students = []
        for number, fold in enumerate(folds):
            there = place != number
            rule = _decision_rule(config, corpus, tested[there], parts["teacher"][there])
            skip = {code for i in fold.test for code in corpus.rows[i].governments}
            student = fitter.distilled(config, fold.train, rule, _metric_name(fold), skip)
            students.append(student.logits(Batch.of(corpus.take(fold.test))))
        parts["model"] = np.concatenate(students)
    decided = []
    for number in range(len(folds)):
        here = place == number
        others = {name: scores[~here] for name, scores in parts.items()}
        combine = _combination(config, corpus, tested[~here], others)
        rule = _decision_rule(config, corpus, tested[~here], combine(others))
        decided.append(rule.decide(combine({name: scores[here] for name, scores in parts.items()})))
    return parts, _joined(decided)


def _combination(config: Recipe, corpus: Corpus, rows: Indices, parts: Parts) -> Combination:
    """How the scores of a recipe's models become one, learned from these out-of-fold scores."""
    if not isinstance(config, CascadeConfig):
        return lambda given: given["model"]
    settings = _fit_cascade(config, corpus, rows, parts)
    return lambda given: settings.combined(given["linear"], given["encoder"], corpus.labels.exclusive)


def _fit_cascade(config: CascadeConfig, corpus: Corpus, rows: Indices, parts: Parts) -> CascadeSettings:
    from treatystance.stacking import fit_cascade

    part = corpus.take(rows)
    return fit_cascade(
        parts["linear"],
        parts["encoder"],
        part.label_matrix(),
        part.sampling_weights(),
        corpus.labels.exclusive,
        config.keep,
    ).settings


def _joined(decided: Sequence[Decisions]) -> Decisions:
    return Decisions(
        *(np.concatenate([getattr(d, name) for d in decided]) for name in ("probabilities", "tags", "uncertain"))
    )


def _decision_rule(
    config: Recipe, corpus: Corpus, rows: Indices, logits: Floats, say: Progress = lambda message: None
) -> DecisionRule:
    """Calibration, thresholds and abstention from out-of-fold logits of these rows, weighted to ordinary text."""
    part = corpus.take(rows)
    targets, weights = part.label_matrix(), part.sampling_weights()
    decision, exclusive = config.decision, corpus.labels.exclusive
    wanted = decision.wanted(corpus.labels)
    rule = fit_decision_rule(
        logits, targets, weights, exclusive, decision.error_rate, wanted, decision.slope_weight_power
    )
    for k, precision in unreached(rule, logits, targets, weights, wanted).items():
        say(f"{corpus.labels.names[k]}: no threshold is as precise as wanted; taken: the most precise, {precision:.3f}")
    return rule


def _inner_folds(
    config: LinearConfig, corpus: Corpus, members: Indices, pairs: Sequence[tuple[int, int]]
) -> list[Fold]:
    folds = config.split.inner_folds
    apart = not isinstance(config.split, GroupedSplit) or config.split.auxiliary_apart
    return grouped_folds(corpus.rows, corpus.label_matrix(), folds, config.seed + 1, members, pairs, apart)


def outer_folds(config: Recipe, corpus: Corpus, pairs: Sequence[tuple[int, int]]) -> list[Fold]:
    """The folds that the recipe's split makes of a corpus, near-duplicates among its rows given as `pairs`."""
    split = config.split
    if isinstance(split, GroupedSplit):
        matrix = corpus.label_matrix()
        return grouped_folds(corpus.rows, matrix, split.folds, config.seed, None, pairs, split.auxiliary_apart)
    if isinstance(split, TemporalSplit):
        return [temporal_split(corpus.rows, split.year, pairs)]
    return leave_one_treaty_out(corpus.rows, split.minimum, pairs)


def cross_validate(
    config: Recipe,
    corpus: Corpus,
    pairs: Sequence[tuple[int, int]] | None = None,
    say: Progress = lambda message: None,
    fitter: Fitter | None = None,
) -> CrossValidation:
    """Cross-validation of a recipe: nested for a linear model, cross-fitted for the others.

    Args:
        config: the recipe.
        corpus: its data.
        pairs: near-duplicates among the rows, if already known.
        say: told of each step.
        fitter: fits the models; by default one that keeps nothing.

    Raises:
        ConfigError: the recipe wants a precision or recall of a label that there is not.
        InputError: the rows cannot be split so, or a recipe with an encoder has a single fold.
    """
    from joblib import Parallel, delayed

    config.decision.wanted(corpus.labels)  # refused before anything is fitted
    if pairs is None:
        pairs = near_duplicates([row.text for row in corpus.rows])
    folds = outer_folds(config, corpus, pairs)
    say(f"cross-validating: {len(folds)} folds of {len(corpus)} rows")
    tested = np.concatenate([fold.test for fold in folds])
    if isinstance(config, LinearConfig):
        results = Parallel(n_jobs=-1)(delayed(_nested)(config, corpus, fold, pairs) for fold in folds)
        parts = {"model": np.concatenate([found for found, _ in results])}
        decisions = _joined([decided for _, decided in results])
    else:
        parts, decisions = _cross_fitted(config, corpus, folds, fitter or Fitter(corpus, config.seed, say=say))
    place = np.repeat(np.arange(len(folds)), [len(fold.test) for fold in folds])
    whole = _report(config, corpus, tested, decisions)
    ordinary = _report(config, corpus, tested, decisions, corpus.take(tested).sampling_weights())
    fold_reports = []
    for number in range(len(folds)):
        here = place == number
        part = Decisions(decisions.probabilities[here], decisions.tags[here], decisions.uncertain[here])
        fold_reports.append(_report(config, corpus, tested[here], part))
    return CrossValidation(tuple(folds), tested, place, parts, decisions, whole, ordinary, tuple(fold_reports))


def _report(
    config: Recipe, corpus: Corpus, tested: Indices, decisions: Decisions, weights: Floats | None = None
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


def out_of_fold(corpus: Corpus, validation: CrossValidation) -> ScoredRows:
    """The tested rows with their folds, out-of-fold scores and decisions."""
    rows = [corpus.rows[i] for i in validation.tested]
    return ScoredRows.of(corpus.labels, rows, validation.fold, validation.decisions)
