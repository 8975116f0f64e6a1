"""Learning a cascade's numbers from scores of rows that neither model was trained on: calibration, mix, cut.

The mix is the mean of the two models' calibrated log-odds, a logarithmic opinion pool (Genest & Zidek 1986) with equal
weights, each model calibrated on the rows as they were drawn. Weights learned by logistic regression (stacked
generalization, Wolpert 1992) did worse out of fold on the annotated rows, where the choice was made (average precision
of withdrawal 0.34 against 0.41): with some eighty positive rows they are mostly noise. Scale and intercept of the mix
are then calibrated on the rows weighted to ordinary text, which only they can tell of.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from treatystance.calibration import best_f1_threshold, fit_decision_rule
from treatystance.errors import InputError
from treatystance.models.base import Floats
from treatystance.models.cascade import CascadeSettings

__all__ = ["FittedCascade", "fit_cascade"]

Bools = npt.NDArray[np.bool_]
_CUTS = np.geomspace(1e-6, 0.5, 120)  # above a half, a sentence would be settled that more likely than not is tagged


@dataclass(frozen=True, slots=True)
class FittedCascade:
    """Settings and what they cost, on the rows that they were learned from, thresholds chosen there too.

    `settled` is the share of ordinary text that the encoder need not read; `f1` and `f1_reading_all` are the macro-F1
    of the cascade and of the same mix where the encoder reads everything, first over the rows as drawn, then over
    ordinary text.
    """

    settings: CascadeSettings
    settled: float
    f1: tuple[float, float]
    f1_reading_all: tuple[float, float]


def fit_cascade(
    linear_logits: Floats,
    encoder_logits: Floats,
    targets: Bools,
    weights: Floats,
    exclusive: bool,
    keep: float,
) -> FittedCascade:
    """Calibrate the linear model, mix the two, and choose the cut.

    The cut is the highest of a grid whose macro-F1, with the best threshold of each label, is at least `keep` times
    that of reading everything, both over the rows as drawn and over ordinary text. Where none is, it lies below every
    row's doubt, and the encoder reads (nearly) everything. Labels that no row carries do not count.

    Args:
        linear_logits: out-of-fold scores of the linear model, shape (rows, labels).
        encoder_logits: those of the encoder, same shape.
        targets: labels, same shape.
        weights: shape (rows,), how many sentences of ordinary text each row stands for.
        exclusive: single-label: the highest score wins.
        keep: above 0, at most 1.

    Raises:
        InputError: there are no rows, or the shapes differ.
    """
    rows = len(targets)
    if not rows or {linear_logits.shape, encoder_logits.shape} != {targets.shape} or weights.shape != (rows,):
        raise InputError("a cascade is fitted on at least one row, with two scores, a target per label and one weight")
    platt = fit_decision_rule(linear_logits, targets, weights, exclusive)
    mix = _mix(linear_logits, encoder_logits, targets, exclusive)
    mixed = linear_logits * mix[0] + encoder_logits * mix[1] + mix[2]
    scale = fit_decision_rule(mixed, targets, weights, exclusive)
    linear_weight, encoder_weight, bias = mix * np.array(scale.slope)
    settings = CascadeSettings(
        0.5,
        platt.slope,
        platt.offset,
        tuple(linear_weight.tolist()),
        tuple(encoder_weight.tolist()),
        tuple((bias + np.array(scale.offset)).tolist()),
    )
    return _cut(settings, linear_logits, encoder_logits, targets, weights, exclusive, keep)


def _mix(linear: Floats, encoder: Floats, targets: Bools, exclusive: bool) -> Floats:
    """Weights of the linear logits, of the encoder's, and intercepts: shape (3, labels)."""
    drawn = np.ones(len(targets))
    rules = [fit_decision_rule(logits, targets, drawn, exclusive) for logits in (linear, encoder)]
    offset = np.mean([rule.offset for rule in rules], axis=0)
    return np.array([np.array(rules[0].slope) / 2, np.array(rules[1].slope) / 2, offset])


def _cut(
    settings: CascadeSettings,
    linear: Floats,
    encoder: Floats,
    targets: Bools,
    weights: Floats,
    exclusive: bool,
    keep: float,
) -> FittedCascade:
    """The settings with the highest cut that keeps the macro-F1."""
    drawn = np.ones(len(targets))

    def f1_of(scores: Floats) -> tuple[float, float]:
        f1, ordinary = (_macro_f1(scores, targets, counted, exclusive) for counted in (drawn, weights))
        return f1, ordinary

    calibrated = settings.calibrated(linear)
    reading_all = f1_of(settings.mixed(linear, encoder))
    below = max(float(settings.doubt(calibrated, exclusive).min()) / 2, float(np.finfo(np.float64).tiny))
    for cut in sorted({below, *_CUTS.tolist()}, reverse=True):
        settings = replace(settings, cut=cut)
        f1 = f1_of(settings.combined(linear, encoder, exclusive))
        if cut <= below or all(part >= keep * whole for part, whole in zip(f1, reading_all, strict=True)):
            break
    share = float(weights[settings.settled(calibrated, exclusive)].sum() / weights.sum())
    return FittedCascade(settings, share, f1, reading_all)


def _macro_f1(scores: Floats, targets: Bools, weights: Floats, exclusive: bool) -> float:
    """Mean F1 of the labels that some row carries, each at its best threshold (exclusive: the highest score wins)."""
    from scipy.special import expit

    if exclusive:
        tags = scores.argmax(axis=1)[:, None] == np.arange(scores.shape[1])
    else:
        p = np.asarray(expit(scores), dtype=np.float64)
        found = [best_f1_threshold(p[:, k], targets[:, k], weights) for k in range(p.shape[1])]
        tags = p >= np.array(found)
    both, given, true = (weights @ part for part in (tags & targets, tags, targets))
    carried = true > 0
    return float(np.mean(2 * both[carried] / (given + true)[carried])) if carried.any() else 0.0
