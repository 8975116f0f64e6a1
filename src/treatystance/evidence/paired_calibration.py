"""Calibration of two models on the same rows, none of which either was trained on, with paired intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from treatystance.evaluation import Bools, replicates
from treatystance.evidence.paired import Difference, aligned, difference
from treatystance.evidence.reliability import BINS, equal_mass
from treatystance.evidence.scored import ScoredRows
from treatystance.models.base import Floats

__all__ = ["CalibrationChange", "compare_calibration"]


@dataclass(frozen=True, slots=True)
class CalibrationChange:
    """How one label's calibration differs: expected calibration error, and Brier skill score over the base rate."""

    calibration_error: Difference
    brier_skill: Difference


def compare_calibration(
    challenger: ScoredRows,
    champion: ScoredRows,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[dict[str, CalibrationChange], dict[str, CalibrationChange]]:
    """Compare the probabilities of two out-of-fold tables of the same rows, label by label.

    The expected calibration error is that of the report (`calibration_error` in `reliability`); its bins of equal mass
    are made once, on the whole table, and kept in every resample. The Brier skill score is 1 less the ratio of the
    Brier score to that of always saying the base rate.

    Args:
        challenger: one table.
        champion: the other; its rows may stand in another order.
        resamples: number of bootstrap resamples of documents.
        confidence: of each interval.
        seed: of the resampling.

    Returns:
        By label, with rows counted as they were drawn; then as often as they stand for sentences of ordinary text.

    Raises:
        InputError: the tables are not of the same rows, sentences, labels and folds.
    """
    champion = aligned(challenger, champion)
    rows, columns = challenger.targets.shape
    parts = [
        (each, _Sums.of(challenger.targets[:, k], scored.probabilities[:, k], each))
        for each in (np.ones(rows), challenger.weights)
        for k in range(columns)
        for scored in (challenger, champion)
    ]

    def statistic(drawn: Floats) -> Floats:
        """Error and skill: shape (resamples, weightings, labels, models, 2)."""
        values = [part.figures(drawn * each) for each, part in parts]
        return np.stack(values, axis=1).reshape(len(drawn), 2, columns, 2, 2)

    point = statistic(np.ones((1, rows)))[0]
    found = replicates(challenger.documents, resamples, seed, statistic)
    drawn, ordinary = (
        {
            name: CalibrationChange(*(difference(point[w, k, :, m], found[:, w, k, :, m], confidence) for m in (0, 1)))
            for k, name in enumerate(challenger.labels.names)
        }
        for w in (0, 1)
    )
    return drawn, ordinary


@dataclass(frozen=True)
class _Sums:
    """What is summed by row weights: shape (rows, bins + 2), sparse."""

    table: Any

    @classmethod
    def of(cls, target: Bools, probability: Floats, weights: Floats) -> _Sums:
        from scipy.sparse import csr_array

        gaps = np.eye(BINS)[equal_mass(probability, weights, BINS)] * (probability - target)[:, None]
        return cls(csr_array(np.column_stack([gaps, target, (probability - target) ** 2])))

    def figures(self, weights: Floats) -> Floats:
        """Calibration error and Brier skill by weights of shape (resamples, rows): shape (resamples, 2).

        The skill is NaN where every row carries the label, or none does.
        """
        sums = weights @ self.table / weights.sum(axis=1, keepdims=True)
        base = sums[:, BINS]
        spread = base * (1 - base)
        ratio = np.divide(sums[:, BINS + 1], spread, out=np.full(spread.shape, np.nan), where=spread > 0)
        # In a bin, the sum of probability less target is its gap times its weight.
        return np.column_stack([np.abs(sums[:, :BINS]).sum(axis=1), 1 - ratio])
