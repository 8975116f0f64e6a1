"""Are the scores of a label probabilities?

Brier score (Brier 1950) and its skill, expected calibration error (Naeini et al. 2015), calibration slope and intercept
(Cox 1958), and the points of the reliability diagram. Every figure may count a row as often as it stands for a sentence
of ordinary text; intervals resample whole documents.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from treatystance.evaluation import Bools, Interval, replicates
from treatystance.evidence.scored import ScoredRows
from treatystance.evidence.values import plain, ratio
from treatystance.models.base import Floats, sigmoid

__all__ = ["BINS", "LOW", "Calibration", "Point", "calibration", "calibration_error", "equal_mass"]

BINS = 10
# Rare labels: most scores are near 0 and right there; what users act upon is above.
LOW = 0.1
# Bins of fewer rows show chance: the expected error of a perfect score in them is not near 0.
_ROWS_A_BIN = 20
_EDGE = 1e-6  # tables round to six digits
# Resamples regress on cells of scores this wide in logits; against single rows the slope moves by less than 0.001.
_CELL = 0.1


@dataclass(frozen=True, slots=True)
class Point:
    """A point of the reliability diagram: a bin's mean score, and the share of its rows that carry the label."""

    score: float
    share: float
    share_ci: Interval
    rows: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """How far a label's scores are probabilities. What is undefined is NaN.

    `skill` is 1 - Brier score / that of always saying the base rate. `ece` is the mean distance of score and share over
    10 bins of equal mass, `ece_above` the same among scores above 0.1, in fewer bins where they would hold less
    than 20 rows on average; neither has an interval, since resampling inflates them. `slope` and `intercept` are those
    of a logistic regression of the label on the logit of its score (1 and 0 are right; a slope below 1 means scores too
    extreme). `points` are one bin of the scores up to 0.1, and those of `ece_above`.
    """

    base_rate: float
    brier: float
    brier_ci: Interval
    skill: float
    skill_ci: Interval
    ece: float
    ece_above: float
    slope: float
    slope_ci: Interval
    intercept: float
    intercept_ci: Interval
    rows: int
    positives: int
    rows_above: int
    points: tuple[Point, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON; what is undefined is None."""
        result = {name: plain(getattr(self, name)) for name in self.__slots__ if name != "points"}
        result["points"] = [{name: plain(getattr(part, name)) for name in part.__slots__} for part in self.points]
        return result


def calibration(
    scored: ScoredRows,
    weights: Floats | None = None,
    bins: int = BINS,
    resamples: int = 500,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Calibration]:
    """Calibration of each label's scores.

    Args:
        scored: the rows.
        weights: shape (rows,), such as `scored.weights` for ordinary text; 1 each by default.
        bins: of equal mass; rows with the same score stand in the same bin.
        resamples: bootstrap resamples over documents.
        confidence: of the intervals.
        seed: of the resampling.
    """
    each = np.ones(len(scored)) if weights is None else weights
    columns = [
        _Column(scored.probabilities[:, k], scored.targets[:, k].astype(np.float64), each, bins)
        for k in range(len(scored.labels))
    ]
    found = replicates(
        scored.documents,
        resamples,
        seed,
        lambda drawn: np.concatenate([column.resampled(drawn * each) for column in columns], axis=1),
    )
    ends = np.cumsum([column.figures for column in columns])[:-1]
    return {
        label: column.calibration(part, confidence)
        for label, column, part in zip(scored.labels.names, columns, np.split(found, ends, axis=1), strict=True)
    }


class _Column:
    """One label: scores `p`, truth `y`, weights, and its diagram's bins."""

    def __init__(self, p: Floats, y: Floats, weights: Floats, bins: int) -> None:
        self.p, self.y, self.weights, self.bins = p, y, weights, bins
        self.high = p > LOW
        self.bins_above = min(bins, max(int(self.high.sum()) // _ROWS_A_BIN, 1))
        place = np.zeros(len(p), np.int64)
        place[self.high] = 1 + equal_mass(p[self.high], weights[self.high], self.bins_above)
        self.masks = np.array([place == b for b in np.unique(place)], np.float64).reshape(-1, len(p))
        self.figures = 4 + len(self.masks)
        self.cox = _cox(_logit(p), y, weights[None, :])[0]
        # Rows of one truth and nearly one score, gathered in a cell.
        self.order = np.lexsort((p, y))
        cell = np.round(_logit(p[self.order]) / _CELL) * 2 + y[self.order]
        self.starts = np.flatnonzero(np.diff(cell, prepend=np.nan) != 0)
        mass = self._cells(weights[None, :])[0]
        self.cell_x = self._cells((weights * _logit(p))[None, :])[0] / mass
        self.cell_y = y[self.order][self.starts]

    def _cells(self, values: Floats) -> Floats:
        return np.add.reduceat(values[:, self.order], self.starts, axis=1)

    def _means(self, w: Floats) -> list[Floats]:
        """Brier score, skill, and each bin's share per row of weights."""
        total = w.sum(axis=1)
        brier, base = ratio(w @ (self.p - self.y) ** 2, total), ratio(w @ self.y, total)
        shares = ratio(w @ (self.masks * self.y).T, w @ self.masks.T)
        return [brier, 1 - ratio(brier, base * (1 - base)), shares]

    def resampled(self, w: Floats) -> Floats:
        """Brier score, skill, slope, intercept and each bin's share per row of weights: shape (resamples, figures)."""
        brier, skill, shares = self._means(w)
        start = self.cox if np.isfinite(self.cox).all() else None
        return np.column_stack([brier, skill, _cox(self.cell_x, self.cell_y, self._cells(w), start), shares])

    def calibration(self, resampled: Floats, confidence: float) -> Calibration:
        brier, skill, shares = self._means(self.weights[None, :])
        intervals = [_interval(column, confidence) for column in resampled.T]
        points = tuple(
            Point(float(np.average(self.p, weights=mask * self.weights)), float(share), interval, int(mask.sum()))
            for mask, share, interval in zip(self.masks, shares[0], intervals[4:], strict=True)
        )
        above = (self.p[self.high], self.y[self.high], self.weights[self.high])
        return Calibration(
            base_rate=float(np.average(self.y, weights=self.weights)),
            brier=float(brier[0]),
            brier_ci=intervals[0],
            skill=float(skill[0]),
            skill_ci=intervals[1],
            ece=calibration_error(self.p, self.y, self.weights, self.bins),
            ece_above=calibration_error(*above, self.bins_above),
            slope=float(self.cox[0]),
            slope_ci=intervals[2],
            intercept=float(self.cox[1]),
            intercept_ci=intervals[3],
            rows=len(self.p),
            positives=int(self.y.sum()),
            rows_above=int(self.high.sum()),
            points=points,
        )


def _interval(values: Floats, confidence: float) -> Interval:
    """The percentile interval of replicates; NaN where more of them are undefined than may lie outside it."""
    defined = values[np.isfinite(values)]
    if len(defined) < confidence * len(values):
        return math.nan, math.nan
    low, high = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _logit(p: Floats) -> Floats:
    inside = np.clip(p, _EDGE, 1 - _EDGE)
    return np.asarray(np.log(inside) - np.log1p(-inside))


def equal_mass(p: Floats, weights: Floats, bins: int) -> npt.NDArray[np.int64]:
    """The bin of each row, from 0; bins have equal weight but for ties, which are not torn apart."""
    order = np.argsort(p, kind="stable")
    middle = np.cumsum(weights[order]) - weights[order] / 2
    place = (bins * middle / weights.sum()).astype(np.int64)
    _, first, group = np.unique(p[order], return_index=True, return_inverse=True)
    found = np.empty(len(p), np.int64)
    found[order] = place[first][group]
    return found


def calibration_error(p: Floats, y: Floats | Bools, weights: Floats, bins: int = BINS) -> float:
    """Expected calibration error of scores over bins of equal mass; NaN without rows.

    Args:
        p: scores, shape (rows,).
        y: whether each row carries the label.
        weights: how often each counts.
        bins: how many.
    """
    if not len(p):
        return math.nan
    gaps = np.bincount(equal_mass(p, weights, bins), weights * (p - y))
    return float(np.abs(gaps).sum() / weights.sum())


def _cox(x: Floats, y: Floats, weights: Floats, start: Floats | None = None) -> Floats:
    """Slope and intercept of the logistic regression of y on x for each row of weights: shape (resamples, 2).

    Newton's method with step halving on all of them at once, from `start` or from the base rate. NaN where the maximum
    lies at infinity or is no point: no positives, no negatives, both told apart without error, or a single score.
    """
    base = ratio(weights @ y, weights.sum(axis=1))
    left = np.flatnonzero((base > 0) & (base < 1))
    theta = np.full((len(weights), 2), np.nan)
    theta[left] = np.column_stack([np.zeros(len(left)), _logit(base[left])]) if start is None else start
    done = np.zeros(len(weights), bool)

    def loss(rows: npt.NDArray[np.intp], at: Floats) -> Floats:
        z = at[:, :1] * x + at[:, 1:]
        return np.asarray((weights[rows] * (np.logaddexp(0, z) - y * z)).sum(axis=1))

    for _ in range(100):
        if not len(left):
            break
        w = weights[left]
        p = sigmoid(theta[left, :1] * x + theta[left, 1:])
        residual, spread = w * (y - p), w * p * (1 - p)
        first, second = residual @ x, residual.sum(axis=1)
        xx, x1, one = spread @ (x * x), spread @ x, spread.sum(axis=1)
        determinant = xx * one - x1 * x1
        sound = determinant > 1e-9 * xx * one
        step = np.column_stack(
            [ratio(one * first - x1 * second, determinant), ratio(xx * second - x1 * first, determinant)]
        )
        step[~sound] = 0
        step /= np.maximum(np.abs(step).max(axis=1, keepdims=True) / 10, 1)
        # Far from the maximum a whole step overshoots; a shortened one never leaves its direction, which is uphill.
        before = loss(left, theta[left])
        for _ in range(30):
            worse = loss(left, theta[left] + step) > before + 1e-9 * np.abs(before)
            if not worse.any():
                break
            step[worse] /= 2
        theta[left] += step
        small = np.abs(step).max(axis=1) < 1e-7
        done[left[small & sound]] = True
        left = left[~small & sound]
    theta[~done] = np.nan
    return theta
