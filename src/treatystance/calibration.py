"""The only place where a score becomes a tag: calibration, thresholds, abstention.

Multi-label: each label's logit is calibrated by Platt scaling (Platt 1999) with his target smoothing, and compared
with a threshold: that of the best F1, or one that reaches a wanted precision or recall. Single-label: temperature
scaling (Guo et al. 2017) of the softmax, the highest wins.

Abstention is label-conditional (Mondrian) split-conformal prediction (Vovk et al. 2005). An answer is excluded where
fewer than the wanted error rate of the sentences whose true answer it is score so. The prediction set holds the answers
that are not excluded, and always the one given: what conformal prediction would leave empty, or would take from the
threshold's answer, can only gain by it (Sadinle et al. 2019 fill empty sets likewise). A label is uncertain where the
set holds both. So of all sentences that carry a label, at most the error rate are expected to be denied it without
doubt, and of all that do not, at most the error rate to be given it without doubt. That holds for sentences drawn like
the rows that the rule was fitted on, scored by models like those that scored these; it says nothing of precision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from treatystance.errors import ArtifactError
from treatystance.models.base import Floats, sigmoid

if TYPE_CHECKING:
    from treatystance.config.sections import OperatingPoint

__all__ = ["DecisionRule", "Decisions", "best_f1_threshold", "fit_decision_rule", "threshold_at", "unreached"]

Bools = npt.NDArray[np.bool_]
_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Decisions:
    """Probabilities, tags and abstentions, each of shape (sentences, labels)."""

    probabilities: Floats
    tags: Bools
    uncertain: Bools


@dataclass(frozen=True, slots=True)
class DecisionRule:
    """How logits become tags, stored with the model.

    `slope` and `offset` calibrate each label's logit (single-label: `slope` holds 1 / temperature); `threshold` is in
    calibrated probability. "Yes" is excluded below `maybe_yes`, "no" above `maybe_no`; a label is uncertain where the
    answer that it does not get is not excluded.
    """

    exclusive: bool
    slope: tuple[float, ...]
    offset: tuple[float, ...]
    threshold: tuple[float, ...]
    maybe_yes: tuple[float, ...]
    maybe_no: tuple[float, ...]

    def probabilities(self, logits: Floats) -> Floats:
        """Calibrated probabilities of logits of shape (sentences, labels)."""
        scaled = logits * np.array(self.slope) + np.array(self.offset)
        if self.exclusive:
            shifted = np.exp(scaled - scaled.max(axis=1, keepdims=True, initial=-np.inf))
            return np.asarray(shifted / shifted.sum(axis=1, keepdims=True), dtype=np.float64)
        return sigmoid(scaled)

    def decide(self, logits: Floats) -> Decisions:
        """Probabilities, tags and abstentions of logits of shape (sentences, labels)."""
        p = self.probabilities(logits)
        if self.exclusive:
            tags = np.zeros(p.shape, bool)
            if len(p):
                tags[np.arange(len(p)), p.argmax(axis=1)] = True
        else:
            tags = p >= np.array(self.threshold)
        return Decisions(p, tags, np.where(tags, p <= np.array(self.maybe_no), p >= np.array(self.maybe_yes)))

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], labels: int) -> DecisionRule:
        """Read back what `to_dict` gave.

        Raises:
            ArtifactError: a part is missing or has not one finite number per label.
        """
        try:
            parts = {
                name: tuple(float(v) for v in values[name])
                for name in ("slope", "offset", "threshold", "maybe_yes", "maybe_no")
            }
            exclusive = values["exclusive"]
            if not isinstance(exclusive, bool):
                raise TypeError("exclusive is not true or false")
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"the model's decision rule is incomplete ({error})") from None
        if any(len(part) != labels or not np.isfinite(part).all() for part in parts.values()):
            raise ArtifactError(
                f"the model's decision rule does not hold one finite number for each of {labels} labels"
            )
        return cls(exclusive=exclusive, **parts)


def fit_decision_rule(
    logits: Floats,
    targets: Bools,
    weights: Floats,
    exclusive: bool = False,
    error_rate: float = 0.1,
    wanted: Sequence[OperatingPoint | None] | None = None,
    slope_weight_power: float = 1.0,
) -> DecisionRule:
    """Fit calibration, thresholds and abstention on scores of rows that the model was not trained on.

    Args:
        logits: out-of-fold scores, shape (rows, labels).
        targets: labels, same shape.
        weights: shape (rows,), how many rows of ordinary text each stands for.
        exclusive: single-label.
        error_rate: of the abstention, for positives and negatives apart.
        wanted: what each label's threshold must reach; None: the best F1.
        slope_weight_power: from 0 to 1; the power of the weights with which the slope is learned (multi-label).
    """
    if exclusive:
        slope = np.full(logits.shape[1], 1.0 / _temperature(logits, targets, weights))
        offset = np.zeros(logits.shape[1])
    else:
        pairs = [_platt(logits[:, k], targets[:, k], weights, slope_weight_power) for k in range(logits.shape[1])]
        slope, offset = (np.array(part) for part in zip(*pairs, strict=True))
    blank = (0.5,) * logits.shape[1]
    rule = DecisionRule(exclusive, tuple(slope.tolist()), tuple(offset.tolist()), blank, blank, blank)
    p = rule.probabilities(logits)
    bounds = [_conformal(p[:, k], targets[:, k], weights, error_rate) for k in range(p.shape[1])]
    points = wanted or (None,) * p.shape[1]
    thresholds = tuple(threshold_at(p[:, k], targets[:, k], weights, point) for k, point in enumerate(points))
    return DecisionRule(
        exclusive,
        rule.slope,
        rule.offset,
        blank if exclusive else thresholds,
        tuple(low for low, _ in bounds),
        tuple(high for _, high in bounds),
    )


def unreached(
    rule: DecisionRule, logits: Floats, targets: Bools, weights: Floats, wanted: Sequence[OperatingPoint | None]
) -> dict[int, float]:
    """The labels, by number, whose threshold misses the precision that is wanted of it, and the precision it has.

    Args:
        rule: fitted on the same scores, targets, weights and wishes.
        logits: shape (rows, labels).
        targets: same shape.
        weights: shape (rows,).
        wanted: one per label.
    """
    tags = rule.decide(logits).tags
    given, hits = weights @ tags, weights @ (tags & targets)
    return {
        k: float(hits[k] / given[k])
        for k, point in enumerate(wanted)
        if point and point.precision is not None and hits[k] < point.precision * given[k] * (1 - _ROUNDING)
    }


def _platt(logit: Floats, target: Bools, weight: Floats, power: float) -> tuple[float, float]:
    """Slope and offset by maximum likelihood with Platt's smoothed targets; the slope is never negative.

    The slope is learned with the weights to a power: below 1, a handful of heavy rows says less, and the slope varies
    less and is more biased (Shimodaira 2000). The offset, given the slope, always counts the weights as they are, so
    that probabilities add up to the share of positives in what the rows stand for.
    """
    from scipy.optimize import minimize

    def fitted(weight: Floats, start: float, slopes: tuple[float, float | None]) -> tuple[float, float]:
        positives, negatives = float(weight[target].sum()), float(weight[~target].sum())
        goal = np.where(target, (positives + 1) / (positives + 2), 1 / (negatives + 2))

        def loss(theta: Floats) -> tuple[float, Floats]:
            z = theta[0] * logit + theta[1]
            value = float(np.sum(weight * (np.logaddexp(0, z) - goal * z)))
            residual = weight * (sigmoid(z) - goal)
            return value, np.array([residual @ logit, residual.sum()])

        prior = np.log((positives + 1) / (negatives + 1))
        found = minimize(loss, (start, prior), jac=True, method="L-BFGS-B", bounds=[slopes, (None, None)])
        return float(found.x[0]), float(found.x[1])

    slope, offset = fitted(weight**power, 1.0, (1e-3, None))
    return (slope, offset) if power == 1 else fitted(weight, slope, (slope, slope))


def _temperature(logits: Floats, targets: Bools, weights: Floats) -> float:
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    def loss(log_temperature: float) -> float:
        log_p = log_softmax(logits / np.exp(log_temperature), axis=1)
        return -float(np.sum(weights * (log_p * targets).sum(axis=1)))

    return float(np.exp(minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded").x))


def best_f1_threshold(probability: Floats, target: Bools, weight: Floats) -> float:
    """The probability from which on a label is given so that F1 is highest; 0.5 without positive rows."""
    return threshold_at(probability, target, weight)


def threshold_at(probability: Floats, target: Bools, weight: Floats, wanted: OperatingPoint | None = None) -> float:
    """The probability from which on a label is given; 0.5 without positive rows.

    By default that of the highest F1. With a wanted precision, that of the highest recall among those whose precision
    reaches it; where none does, the most precise one (`unreached` tells). With a wanted recall, that of the highest
    precision among those whose recall reaches it.
    """
    if not target.any():
        return 0.5
    order = np.argsort(-probability, kind="stable")
    p, hit, w = probability[order], target[order], weight[order]
    given, true = np.cumsum(w), np.cumsum(w * hit)
    precision, recall = true / given, true / true[-1]
    # A threshold lies between two different probabilities; the last row has none below it.
    cut = np.append(p[:-1] > p[1:], True)
    if wanted is None:
        value = 2 * true / (given + true[-1])
    elif wanted.recall is not None:
        value = np.where(recall >= wanted.recall * (1 - _ROUNDING), precision, -1.0)
    else:
        reached = precision >= (wanted.precision or 0.0) * (1 - _ROUNDING)
        value = np.where(reached, recall, -1.0) if (cut & reached).any() else precision
    best = int(np.argmax(np.where(cut, value, -1.0)))
    below = p[best + 1] if best + 1 < len(p) else 0.0
    return float((p[best] + below) / 2)


def _conformal(probability: Floats, target: Bools, weight: Floats, error_rate: float) -> tuple[float, float]:
    """The bounds (maybe_yes, maybe_no); with too few rows of a side nothing can be excluded on that side.

    They are ranks among the rows: a calibration fitted on the same rows, increasing in the logit, takes nothing off.
    """
    yes = _quantile(-probability[target], weight[target], error_rate, 0.0)
    return 0.0 - yes, _quantile(probability[~target], weight[~target], error_rate, 1.0)


def _quantile(nonconformity: Floats, weight: Floats, error_rate: float, highest: float) -> float:
    """The smallest nonconformity score that a share 1 - `error_rate` of the weight does not exceed, or else `highest`.

    A new sentence counts as infinitely nonconforming and weighs as much as the heaviest row, which with equal weights
    gives the ceil((n + 1)(1 - error_rate))-th smallest (Vovk et al. 2005). Its own weight would be right (Tibshirani
    et al. 2019), but how likely it would have been drawn is not known; the bound only moves outwards as it grows, so
    what holds for the heaviest holds for all.
    """
    if not len(nonconformity):
        return highest
    order = np.argsort(nonconformity, kind="stable")
    reached = np.cumsum(weight[order])
    enough = reached >= (1 - error_rate) * (reached[-1] + weight.max()) * (1 - _ROUNDING)
    return float(nonconformity[order][np.argmax(enough)]) if enough.any() else highest
