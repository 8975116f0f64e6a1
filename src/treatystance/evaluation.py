"""Labels and scores in, a Report out: pure functions. Intervals are percentile bootstraps over documents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from treatystance.models.base import Floats
from treatystance.statement import LabelSet

__all__ = [
    "Bools",
    "Interval",
    "LabelReport",
    "Report",
    "evaluate_scores",
    "f1_scores",
    "mean_defined",
    "percentile_interval",
    "replicates",
    "resample_weights",
]

Bools = npt.NDArray[np.bool_]
Interval = tuple[float, float]
_CELLS = 4_000_000  # resampled rows in memory at once


@dataclass(frozen=True, slots=True)
class LabelReport:
    """Scores on one label; `support` is the number of rows that carry it. Undefined ratios are 0."""

    precision: float
    precision_ci: Interval
    recall: float
    recall_ci: Interval
    f1: float
    f1_ci: Interval
    average_precision: float
    average_precision_ci: Interval
    support: int


@dataclass(frozen=True, slots=True)
class Report:
    """Scores over all labels, with intervals at `confidence`.

    `macro_f1` is the mean of the labels' F1; `weighted_f1` their mean weighted by support; `exact_match` the share of
    rows whose whole label set is right.
    """

    n: int
    documents: int
    macro_f1: float
    macro_f1_ci: Interval
    weighted_f1: float
    macro_average_precision: float
    exact_match: float
    confidence: float
    per_label: dict[str, LabelReport]

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""

        def plain(value: Any) -> Any:
            return list(value) if isinstance(value, tuple) else value

        result = {name: plain(getattr(self, name)) for name in self.__slots__ if name != "per_label"}
        result["per_label"] = {
            label: {name: plain(getattr(part, name)) for name in part.__slots__}
            for label, part in self.per_label.items()
        }
        return result


def resample_weights(documents: Sequence[str], resamples: int, seed: int) -> npt.NDArray[np.float64]:
    """How often each row is drawn in each resample of whole documents: shape (resamples, rows). Cluster bootstrap."""
    _, place = np.unique(np.asarray(documents, dtype=str), return_inverse=True)
    count = int(place.max()) + 1 if len(place) else 0
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(count, np.full(count, 1 / count), size=resamples) if count else np.zeros((resamples, 0))
    return np.asarray(draws[:, place], dtype=np.float64)


def replicates(documents: Sequence[str], resamples: int, seed: int, statistic: Callable[[Floats], Floats]) -> Floats:
    """A statistic of row weights over resamples of whole documents, a bounded number of them in memory at once.

    `statistic` turns weights of shape (some resamples, rows) into values of shape (some resamples, ...).
    """
    step = max(1, _CELLS // max(len(documents), 1))
    seeds = np.random.SeedSequence(seed).generate_state(-(-resamples // step))
    parts = [
        statistic(resample_weights(documents, min(step, resamples - i * step), int(part)))
        for i, part in enumerate(seeds)
    ]
    return np.concatenate(parts)


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.asarray(np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0))


def f1_scores(targets: Bools, tags: Bools, weights: Floats) -> Floats:
    """F1 per row of weights and label: shape (resamples, labels); NaN where a label neither occurs nor is given."""
    both = weights @ (targets & tags)
    sizes = weights @ targets + weights @ tags
    return np.asarray(np.divide(2 * both, sizes, out=np.full(sizes.shape, np.nan), where=sizes > 0))


def percentile_interval(values: Floats, confidence: float) -> Interval:
    """The interval of a figure between 0 and 1 from its replicates, of which undefined ones are NaN and left out."""
    values = values[~np.isnan(values)]
    if not len(values):
        return 0.0, 1.0  # no resample tells anything
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def mean_defined(values: Floats) -> Floats:
    """Mean of each row without its NaN values; NaN where there are no others."""
    defined = ~np.isnan(values)
    total = np.where(defined, values, 0).sum(axis=1)
    return np.asarray(
        np.divide(total, defined.sum(axis=1), out=np.full(len(values), np.nan), where=defined.any(axis=1))
    )


def _average_precision(target: Bools, score: Floats, weights: Floats) -> Floats:
    """Average precision (the step-wise area under precision against recall) per row of weights; ties share a step."""
    order = np.argsort(-score, kind="stable")
    ordered, hit = score[order], target[order]
    ends = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1) if len(ordered) else np.zeros(0, np.intp)
    w = weights[:, order]
    true = np.cumsum(w * hit, axis=1)[:, ends]
    given = np.cumsum(w, axis=1)[:, ends]
    precision = np.divide(true, given, out=np.zeros_like(true), where=given > 0)
    gain = np.diff(true, axis=1, prepend=0.0)
    total = true[:, -1] if true.shape[1] else np.zeros(len(w))
    return np.asarray(np.divide((precision * gain).sum(axis=1), total, out=np.full(len(w), np.nan), where=total > 0))


def evaluate_scores(
    labels: LabelSet,
    targets: Bools,
    probabilities: Floats,
    tags: Bools,
    documents: Sequence[str],
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    weights: Floats | None = None,
) -> Report:
    """The report of decisions against labels.

    Args:
        labels: names of the columns.
        targets: true labels, shape (rows, labels).
        probabilities: scores, same shape.
        tags: decisions, same shape.
        documents: each row's document; resampling draws whole documents.
        resamples: number of bootstrap resamples.
        confidence: of the intervals.
        seed: of the resampling.
        weights: shape (rows,), how many sentences each row stands for; 1 each by default. Every figure but `n`,
            `documents` and `support` is weighted.
    """
    rows, columns = targets.shape
    each = np.ones(rows) if weights is None else weights

    def statistic(drawn: Floats) -> Floats:
        """F1, average precision, precision and recall per label, side by side: shape (resamples, 4 * labels)."""
        w = drawn * each
        average = [_average_precision(targets[:, k], probabilities[:, k], w) for k in range(columns)]
        hits = w @ (targets & tags)
        return np.column_stack(
            [f1_scores(targets, tags, w), *average, _ratio(hits, w @ tags), _ratio(hits, w @ targets)]
        )

    point = statistic(np.ones((1, rows)))[0]
    found = replicates(documents, resamples, seed, statistic)
    # A label that neither occurs nor is given counts 0, as in scikit-learn; its resamples likewise.
    found[:, np.isnan(point)] = 0.0
    point = np.nan_to_num(point)
    per_label = {}
    for k, name in enumerate(labels.names):
        per_label[name] = LabelReport(
            precision=float(point[2 * columns + k]),
            precision_ci=percentile_interval(found[:, 2 * columns + k], confidence),
            recall=float(point[3 * columns + k]),
            recall_ci=percentile_interval(found[:, 3 * columns + k], confidence),
            f1=float(point[k]),
            f1_ci=percentile_interval(found[:, k], confidence),
            average_precision=float(point[columns + k]),
            average_precision_ci=percentile_interval(found[:, columns + k], confidence),
            support=int(targets[:, k].sum()),
        )
    supports = each @ targets
    scores = np.array([part.f1 for part in per_label.values()])
    return Report(
        n=rows,
        documents=len(set(documents)),
        macro_f1=float(scores.mean()),
        macro_f1_ci=percentile_interval(mean_defined(found[:, :columns]), confidence),
        weighted_f1=float(scores @ supports / supports.sum()) if supports.sum() else 0.0,
        macro_average_precision=float(np.mean([part.average_precision for part in per_label.values()])),
        exact_match=float(np.average((targets == tags).all(axis=1), weights=each)) if rows else 0.0,
        confidence=confidence,
        per_label=per_label,
    )
