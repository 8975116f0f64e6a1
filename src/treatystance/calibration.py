"""The only place where a score becomes a tag: calibration, thresholds, abstention.

Multi-label: each label's logit is calibrated by Platt scaling (Platt 1999) with his target smoothing, and compared
with a threshold that maximises F1. Single-label: temperature scaling (Guo et al. 2017) of the softmax, the highest
wins. Abstention is label-conditional (Mondrian) split-conformal prediction (Vovk et al. 2005): a label is uncertain
where, at the wanted error rate for positives and for negatives apart, neither "yes" nor "no" can be excluded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from treatystance.errors import ArtifactError
from treatystance.models.base import Floats, sigmoid

__all__ = ["DecisionRule", "Decisions", "best_f1_threshold", "fit_decision_rule"]

Bools = npt.NDArray[np.bool_]


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
    calibrated probability; a label is uncertain where `maybe_yes` <= probability <= `maybe_no`.
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
        return Decisions(p, tags, (p >= np.array(self.maybe_yes)) & (p <= np.array(self.maybe_no)))

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
    min_precision: float | None = None,
) -> DecisionRule:
    """Fit calibration, thresholds and abstention on scores of rows that the model was not trained on.

    Args:
        logits: out-of-fold scores, shape (rows, labels).
        targets: labels, same shape.
        weights: shape (rows,), how many rows of ordinary text each stands for.
        exclusive: single-label.
        error_rate: of the abstention, for positives and negatives apart.
        min_precision: that a threshold must reach, where any does.
    """
    if exclusive:
        slope = np.full(logits.shape[1], 1.0 / _temperature(logits, targets, weights))
        offset = np.zeros(logits.shape[1])
    else:
        pairs = [_platt(logits[:, k], targets[:, k], weights) for k in range(logits.shape[1])]
        slope, offset = (np.array(part) for part in zip(*pairs, strict=True))
    blank = (0.5,) * logits.shape[1]
    rule = DecisionRule(exclusive, tuple(slope.tolist()), tuple(offset.tolist()), blank, blank, blank)
    p = rule.probabilities(logits)
    bounds = [_conformal(p[:, k], targets[:, k], weights, error_rate) for k in range(p.shape[1])]
    threshold = (
        blank
        if exclusive
        else tuple(best_f1_threshold(p[:, k], targets[:, k], weights, min_precision) for k in range(p.shape[1]))
    )
    return DecisionRule(
        exclusive,
        rule.slope,
        rule.offset,
        threshold,
        tuple(low for low, _ in bounds),
        tuple(high for _, high in bounds),
    )


def _platt(logit: Floats, target: Bools, weight: Floats) -> tuple[float, float]:
    """Slope and offset by maximum likelihood with Platt's smoothed targets; the slope is never negative."""
    from scipy.optimize import minimize

    positives, negatives = float(weight[target].sum()), float(weight[~target].sum())
    goal = np.where(target, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def loss(theta: Floats) -> tuple[float, Floats]:
        z = theta[0] * logit + theta[1]
        value = float(np.sum(weight * (np.logaddexp(0, z) - goal * z)))
        residual = weight * (sigmoid(z) - goal)
        return value, np.array([residual @ logit, residual.sum()])

    start = np.array([1.0, np.log((positives + 1) / (negatives + 1))])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(1e-3, None), (None, None)])
    return float(found.x[0]), float(found.x[1])


def _temperature(logits: Floats, targets: Bools, weights: Floats) -> float:
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    def loss(log_temperature: float) -> float:
        log_p = log_softmax(logits / np.exp(log_temperature), axis=1)
        return -float(np.sum(weights * (log_p * targets).sum(axis=1)))

    return float(np.exp(minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded").x))


def best_f1_threshold(probability: Floats, target: Bools, weight: Floats, min_precision: float | None = None) -> float:
    """The probability from which on a label is given so that F1 is highest; 0.5 without positive rows.

    With `min_precision`, the highest F1 among the thresholds whose precision reaches it; where none does, the one of
    the highest precision.
    """
    if not target.any():
        return 0.5
    order = np.argsort(-probability, kind="stable")
    p, hit, w = probability[order], target[order], weight[order]
    given, true = np.cumsum(w), np.cumsum(w * hit)
    value = 2 * true / (given + true[-1])
    # A threshold lies between two different probabilities; the last row has none below it.
    cut = np.append(p[:-1] > p[1:], True)
    if min_precision is not None:
        precision = true / given
        precise = cut & (precision >= min_precision)
        cut, value = (precise, value) if precise.any() else (cut, precision)
    best = int(np.argmax(np.where(cut, value, -1.0)))
    below = p[best + 1] if best + 1 < len(p) else 0.0
    return float((p[best] + below) / 2)


def _conformal(probability: Floats, target: Bools, weight: Floats, error_rate: float) -> tuple[float, float]:
    """The bounds (maybe_yes, maybe_no); with too few rows of a side nothing can be excluded on that side."""
    yes = _quantile(1 - probability[target], weight[target], error_rate)
    return 1 - yes, _quantile(probability[~target], weight[~target], error_rate)


def _quantile(nonconformity: Floats, weight: Floats, error_rate: float) -> float:
    """The smallest nonconformity score that a share 1 - `error_rate` of the weight does not exceed; 1 if there is none.

    A new sentence of average weight counts as infinitely nonconforming (Tibshirani et al. 2019), which with equal
    weights gives the ceil((n + 1)(1 - error_rate))-th smallest.
    """
    if not len(nonconformity):
        return 1.0
    order = np.argsort(nonconformity, kind="stable")
    reached = np.cumsum(weight[order])
    enough = reached >= (1 - error_rate) * (reached[-1] + weight.mean()) * (1 - 1e-12)
    return float(nonconformity[order][np.argmax(enough)]) if enough.any() else 1.0
