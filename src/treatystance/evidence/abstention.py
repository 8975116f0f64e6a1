"""Does the model know what it does not know? Selective risk against coverage, and the promise of its abstentions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from treatystance.evaluation import Interval, percentile_interval, replicates
from treatystance.evidence.scored import ScoredRows
from treatystance.evidence.values import plain, ratio
from treatystance.models.base import Floats

__all__ = ["ALL", "Coverage", "RiskCoverage", "conformal_coverage", "risk_coverage"]

ALL = "all rows"


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """Share of wrong answers (`risk`) where a label is answered for a share `coverage` of the rows, the surest first.

    An answer is as sure as its probability of being right: the score where the label is given, 1 - score where not.
    `area` is the mean risk over all coverages. `answered` is the share of the rows where the model does not abstain,
    `answered_risk` the risk there.
    """

    coverage: tuple[float, ...]
    risk: tuple[float, ...]
    area: float
    answered: float
    answered_risk: float

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON; what is undefined is None."""
        return {name: plain(getattr(self, name)) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Coverage:
    """How often the answer on a label is not wrongly certain, for one side ("positives", "negatives") of one group.

    `covered` counts each row once, `ordinary` as often as it stands for a sentence of ordinary text, which is what the
    promise is about; so does `uncertain`, the share where the model abstains.
    """

    group: str
    label: str
    side: str
    rows: int
    documents: int
    covered: float
    covered_ci: Interval
    ordinary: float
    ordinary_ci: Interval
    uncertain: float

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {name: plain(getattr(self, name)) for name in self.__slots__}


def risk_coverage(scored: ScoredRows, weights: Floats | None = None, points: int = 50) -> dict[str, RiskCoverage]:
    """Selective risk of each label against coverage (El-Yaniv and Wiener 2010).

    Args:
        scored: the rows.
        weights: shape (rows,), such as `scored.weights` for ordinary text; 1 each by default.
        points: of the curve, evenly spaced in coverage up to 1.
    """
    each = np.ones(len(scored)) if weights is None else weights
    total = each.sum()
    coverage = np.arange(1, points + 1) / points
    found = {}
    for k, label in enumerate(scored.labels.names):
        p, tags = scored.probabilities[:, k], scored.tags[:, k]
        wrong = (tags != scored.targets[:, k]).astype(np.float64)
        # Rows that are equally sure are wrong equally often: their order tells nothing.
        _, place = np.unique(-np.where(tags, p, 1 - p), return_inverse=True)
        mass = np.bincount(place, each)
        errors = np.bincount(place, each * wrong)
        kept, missed = np.append(0, np.cumsum(mass)), np.append(0, np.cumsum(errors))
        answered = ~scored.uncertain[:, k]
        found[label] = RiskCoverage(
            coverage=tuple(coverage.tolist()),
            risk=tuple((np.interp(coverage * total, kept, missed) / (coverage * total)).tolist()),
            area=_area(kept, missed),
            answered=float(each[answered].sum() / total),
            answered_risk=float(np.average(wrong[answered], weights=each[answered])) if answered.any() else math.nan,
        )
    return found


def _area(kept: Floats, missed: Floats) -> float:
    """The mean of missed / kept over kept; between the given places missed grows evenly."""
    start, end = kept[:-1], kept[1:]
    slope = np.diff(missed) / (end - start)
    # missed / kept = slope + level / kept there, whose integral is known.
    level = missed[:-1] - slope * start
    growth = np.log(end[1:] / start[1:])
    return float((slope @ (end - start) + level[1:] @ growth) / end[-1])


def conformal_coverage(
    scored: ScoredRows,
    by: str | None = None,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[Coverage, ...]:
    """How often rows that carry a label, and rows that do not, are covered by what a user is told.

    A row is covered on a label where the answer given is right or the model abstains: the label-conditional conformal
    set (Vovk et al. 2005) holds the answer given, and both where the model abstains. What is not covered is a certain
    answer that is wrong. A table without abstentions, such as one of an earlier version, gives the shares of right
    answers.

    Intervals are cluster bootstraps over the group's documents. They are exact (Clopper and Pearson 1934)
    where rows count once and each has a document of its own; and, counting documents, where all or no rows are covered,
    since then no resample differs.

    Args:
        scored: the rows.
        by: a dimension of the facts to group by; None for all rows. Rows that lack it are left out.
        resamples: bootstrap resamples.
        confidence: of the intervals.
        seed: of the resampling.
    """
    groups: dict[str, list[int]] = {}
    for i, facts in enumerate(scored.facts):
        if by is None or by in facts:
            groups.setdefault(ALL if by is None else facts[by], []).append(i)
    return tuple(
        found
        for group in sorted(groups)
        for found in _coverages(group, scored.take(groups[group]), resamples, confidence, seed)
    )


def _coverages(group: str, part: ScoredRows, resamples: int, confidence: float, seed: int) -> Iterator[Coverage]:
    """Coverage of each label and side that has rows in a group."""
    covered = part.uncertain | (part.tags == part.targets)
    sides = [
        (k, side, np.flatnonzero(part.targets[:, k] == carries))
        for k in range(len(part.labels))
        for side, carries in (("positives", True), ("negatives", False))
    ]
    sides = [(k, side, rows) for k, side, rows in sides if len(rows)]
    # For each side the covered and all rows, first each counted once, then each weighted.
    columns = np.zeros((len(part), 4 * len(sides)))
    for i, (k, _, rows) in enumerate(sides):
        ok, weights = covered[rows, k], part.weights[rows]
        columns[rows, 4 * i : 4 * i + 4] = np.column_stack([ok, np.ones(len(rows)), ok * weights, weights])

    def shares(drawn: Floats) -> Floats:
        sums = drawn @ columns
        return ratio(sums[:, ::2], sums[:, 1::2])

    found = replicates(part.documents, resamples, seed, shares)
    for i, (k, side, rows) in enumerate(sides):
        ok = covered[rows, k]
        once, ordinary = (percentile_interval(found[:, 2 * i + j], confidence) for j in (0, 1))
        documents = len({part.documents[row] for row in rows})
        if ok.all() or not ok.any():
            once = ordinary = _clopper_pearson(documents if ok.all() else 0, documents, confidence)
        elif documents == len(rows):
            once = _clopper_pearson(int(ok.sum()), len(rows), confidence)
        yield Coverage(
            group=group,
            label=part.labels.names[k],
            side=side,
            rows=len(rows),
            documents=documents,
            covered=float(ok.mean()),
            covered_ci=once,
            ordinary=float(np.average(ok, weights=part.weights[rows])),
            ordinary_ci=ordinary,
            uncertain=float(np.average(part.uncertain[rows, k], weights=part.weights[rows])),
        )


def _clopper_pearson(successes: int, trials: int, confidence: float) -> Interval:
    from scipy.stats import binomtest

    interval = binomtest(successes, trials).proportion_ci(confidence, "exact")
    return float(interval.low), float(interval.high)
