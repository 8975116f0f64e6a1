"""Methods of calibration compared out of fold, and the coverage of the abstention.

`python experiments/calibration/run.py` from the repository's root; reads `logits.csv` (raw out-of-fold logits, made by
`logits.py`) and labels, folds and weights of `../bundled/out_of_fold.jsonl`. Everything that is fitted is fitted on the
rows of four folds and measured on the fifth.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from treatystance.calibration import fit_decision_rule, threshold_at
from treatystance.evaluation import resample_weights
from treatystance.evidence.reliability import calibration
from treatystance.evidence.scored import ScoredRows, read_scored
from treatystance.provenance import run_facts
from treatystance.stacking import fit_cascade
from treatystance.statement import LabelSet

HERE = Path(__file__).parent
SEED, RESAMPLES, SLOPE_RESAMPLES = 5, 1000, 400
Map = Callable[[np.ndarray], np.ndarray]
Method = Callable[[np.ndarray, np.ndarray, np.ndarray], Map]


def logistic(features: np.ndarray, y: np.ndarray, weight: np.ndarray, fixed: np.ndarray | None = None) -> np.ndarray:
    """Coefficients, the last the intercept, by weighted maximum likelihood with Platt's targets; the others >= 0."""
    positives, negatives = weight[y].sum(), weight[~y].sum()
    goal = np.where(y, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    columns = np.column_stack([features, np.ones(len(y))])

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        z = columns @ theta
        gradient = columns.T @ (weight * (expit(z) - goal))
        return float(weight @ (np.logaddexp(0, z) - goal * z)) / weight.sum(), gradient / weight.sum()

    start = np.ones(columns.shape[1]) if fixed is None else np.append(fixed, 0.0)
    start[-1] = np.log((positives + 1) / (negatives + 1))
    bounds = [(1e-3, None)] * features.shape[1] if fixed is None else [(value, value) for value in fixed]
    options = {"ftol": 1e-13, "gtol": 1e-9}
    return minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[*bounds, (None, None)], options=options).x


def one(x: np.ndarray) -> np.ndarray:
    """The logit itself."""
    return x[:, None]


def beta(x: np.ndarray) -> np.ndarray:
    """The features of beta calibration (Kull et al. 2017)."""
    return np.column_stack([-np.logaddexp(0, -x), np.logaddexp(0, x)])


def affine(slope_weight: Callable[[np.ndarray], np.ndarray], features: Callable = one, refit: bool = True) -> Method:
    """Slopes with changed weights; the intercept, where `refit`, with the weights as they are (Horvitz-Thompson)."""

    def fit(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> Map:
        theta = logistic(features(x), y, slope_weight(weight))
        if refit:
            theta = logistic(features(x), y, weight, theta[:-1])
        return lambda new: features(new) @ theta[:-1] + theta[-1]

    return fit


def prior_correction(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> Map:
    """King & Zeng 2001: unweighted, the intercept moved by what the base rates differ."""
    slope, offset = logistic(one(x), y, np.ones(len(y)))
    move = np.log(weight[y].sum() / weight[~y].sum()) - np.log(y.sum() / (~y).sum())
    return lambda new: slope * new + offset + move


def isotonic(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> Map:
    """Weighted isotonic regression (Zadrozny & Elkan 2002)."""
    model = IsotonicRegression(y_min=1e-6, y_max=1 - 1e-6, out_of_bounds="clip").fit(x, y, weight)
    return lambda new: logit(model.predict(new))


def package(power: float) -> Method:
    """What the package does."""

    def fit(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> Map:
        rule = fit_decision_rule(one(x), one(y), weight, slope_weight_power=power)
        return lambda new: rule.slope[0] * new + rule.offset[0]

    return fit


def capped(times: float) -> Callable[[np.ndarray], np.ndarray]:
    """Weights of at most so many times their mean (Potter 1990)."""
    return lambda weight: np.minimum(weight, times * weight.mean())


def power(exponent: float) -> Callable[[np.ndarray], np.ndarray]:
    """Weights to a power (Shimodaira 2000)."""
    return lambda weight: weight**exponent


METHODS: dict[str, Method] = {
    "weighted_platt": affine(power(1.0), refit=False),
    "slope_unweighted": affine(power(0.0)),
    "prior_correction": prior_correction,
    **{f"slope_weights_to_the_{e}": affine(power(e)) for e in (0.25, 0.5, 0.75)},
    **{f"slope_weights_capped_at_{c}": affine(capped(c)) for c in (0.5, 1, 2, 3, 5)},
    "all_weights_capped_at_2": affine(capped(2), refit=False),
    "weighted_beta": affine(power(1.0), beta, refit=False),
    "beta_slopes_weights_to_the_0.5": affine(power(0.5), beta),
    "weighted_isotonic": isotonic,
}


# What the recipes of the model say.
POWER = {"linear": 1.0, "encoder": 0.5, "cascade": 0.5}


def cascades(scored: ScoredRows, linear: np.ndarray, encoder: np.ndarray) -> list[np.ndarray]:
    """For each fold the logits of all rows from the cascade that the other folds' scores make."""
    found = []
    for fold in np.unique(scored.fold):
        there = scored.fold != fold
        fitted = fit_cascade(
            linear[there], encoder[there], scored.targets[there], scored.weights[there], exclusive=False, keep=0.99
        )
        found.append(fitted.settings.combined(linear, encoder, False))
    return found


def out_of_fold(scored: ScoredRows, views: list[np.ndarray], method: Method) -> tuple[np.ndarray, np.ndarray]:
    """Calibrated log-odds and tags of each fold, map and threshold (best F1 in ordinary text) from the others."""
    z, tags = np.zeros(scored.targets.shape), np.zeros(scored.targets.shape, bool)
    for fold, logits in enumerate(views):
        here, there = scored.fold == fold, scored.fold != fold
        for k in range(logits.shape[1]):
            y, weight = scored.targets[there, k], scored.weights[there]
            found = method(logits[there, k], y, weight)
            z[here, k] = found(logits[here, k])
            tags[here, k] = expit(z[here, k]) >= threshold_at(expit(found(logits[there, k])), y, weight)
    return z, tags


def macro_f1(targets: np.ndarray, tags: np.ndarray, weight: np.ndarray) -> float:
    """Mean F1 of the labels."""
    return float(np.mean(2 * weight @ (targets & tags) / (weight @ targets + weight @ tags)))


def skill(loss: np.ndarray, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """1 - log loss / that of the base rate, per row of weights."""
    base = (weight @ y) / weight.sum(axis=-1)
    entropy = -(base * np.log(base) + (1 - base) * np.log(1 - base))
    return 1 - (weight @ loss) / weight.sum(axis=-1) / entropy


def slope(z: np.ndarray, y: np.ndarray, weight: np.ndarray) -> float:
    """Calibration slope (Cox 1958), on probabilities of six digits."""
    model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-6)
    return float(model.fit(one(np.clip(z, *logit([1e-6, 1 - 1e-6]))), y, weight).coef_[0, 0])


def coverage(scored: ScoredRows, views: list[np.ndarray], error_rate: float, drawn: np.ndarray) -> dict[str, object]:
    """Shares of positives and of negatives whose true answer is not excluded, and is not denied without doubt."""
    excluded, denied = np.zeros_like(scored.targets), np.zeros_like(scored.targets)
    doubted = np.zeros_like(scored.targets)
    for fold, logits in enumerate(views):
        here, there = scored.fold == fold, scored.fold != fold
        rule = fit_decision_rule(logits[there], scored.targets[there], scored.weights[there], error_rate=error_rate)
        decided, truth = rule.decide(logits[here]), scored.targets[here]
        p = decided.probabilities
        excluded[here] = np.where(truth, p < np.array(rule.maybe_yes), p > np.array(rule.maybe_no))
        doubted[here] = decided.uncertain
        denied[here] = (decided.tags != truth) & ~decided.uncertain
    result: dict[str, object] = {}
    for counted, each in (("drawn", np.ones(len(scored))), ("ordinary", scored.weights)):
        for k, label in enumerate(scored.labels.names):
            result[f"{counted}.{label}.doubted"] = round(float(np.average(doubted[:, k], weights=each)), 4)
            for side, rows in (("positives", scored.targets[:, k]), ("negatives", ~scored.targets[:, k])):
                weight = np.vstack([each, drawn * each])[:, rows]
                for name, wrong in (("set", excluded), ("answer", denied)):
                    share = 1 - (weight @ wrong[rows, k]) / weight.sum(axis=1)
                    key = f"{counted}.{label}.{side}.{name}_coverage"
                    result[key] = round(float(share[0]), 4)
                    result[f"{key}_low"], result[f"{key}_high"] = (
                        np.quantile(share[1:], [0.025, 0.975]).round(4).tolist()
                    )
    return result


def main() -> None:
    """Measure every method and write result.json."""
    scored = read_scored(HERE.parent / "bundled" / "out_of_fold.jsonl", LabelSet())
    text = (HERE / "logits.csv").read_text("utf-8")
    records = {record["id"]: record for record in csv.DictReader(text.splitlines())}
    drawn = resample_weights(scored.documents, RESAMPLES, SEED)
    weights = scored.weights
    result: dict[str, object] = {
        "seed": SEED,
        "data_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "folds_sha256": scored.folds_sha256,
        **run_facts(),
        "rows": len(scored),
        "resamples": RESAMPLES,
    }

    def logits_of(kind: str) -> np.ndarray:
        return np.array([[float(records[i][f"{kind}.{label}"]) for label in scored.labels.names] for i in scored.ids])

    linear, encoder = logits_of("linear"), logits_of("encoder")
    folds = len(np.unique(scored.fold))
    models = {"linear": [linear] * folds, "encoder": [encoder] * folds, "cascade": cascades(scored, linear, encoder)}
    for kind, views in models.items():
        reference: list[np.ndarray] = []
        for method, fit in {**METHODS, "package": package(POWER[kind])}.items():
            z, tags = out_of_fold(scored, views, fit)
            # Intervals of the calibration where they are reported: for the way it was and the way it is.
            resamples = RESAMPLES if method in ("weighted_platt", "package") else 2
            p = replace(scored, probabilities=expit(z))
            found = calibration(p, weights, resamples=resamples, seed=SEED)
            for k, (label, part) in enumerate(found.items()):
                y, prefix = scored.targets[:, k], f"{kind}.{method}.{label}"
                loss = np.logaddexp(0, z[:, k]) - y * z[:, k]
                replicates = skill(loss, y, drawn * weights)
                if method == "weighted_platt":
                    reference.append(replicates)
                low, high = np.quantile(replicates - reference[k], [0.025, 0.975])
                result |= {
                    f"{prefix}.log_loss_skill": round(float(skill(loss, y, weights)), 4),
                    f"{prefix}.log_loss_skill_gain_low": round(float(low), 4),
                    f"{prefix}.log_loss_skill_gain_high": round(float(high), 4),
                    f"{prefix}.brier_skill": round(part.skill, 4),
                    f"{prefix}.slope": round(slope(z[:, k], y, weights), 3),
                    f"{prefix}.ece_above_0.1": round(part.ece_above, 4) if part.rows_above else None,
                    f"{prefix}.rows_above_0.1": part.rows_above,
                    f"{prefix}.expected_over_observed": round(float(weights @ expit(z[:, k]) / (weights @ y)), 3),
                }
                if resamples == RESAMPLES:
                    slopes = [slope(z[:, k], y, weights * times) for times in drawn[:SLOPE_RESAMPLES]]
                    ends = np.quantile(slopes, [0.025, 0.975])
                    for name, interval in (("brier_skill", part.skill_ci), ("slope", ends)):
                        result[f"{prefix}.{name}_low"], result[f"{prefix}.{name}_high"] = np.round(interval, 3).tolist()
            result[f"{kind}.{method}.drawn_f1"] = round(macro_f1(scored.targets, tags, np.ones(len(scored))), 4)
            result[f"{kind}.{method}.ordinary_f1"] = round(macro_f1(scored.targets, tags, weights), 4)
            print(kind, method, flush=True)
        for error_rate in (0.1, 0.2, 0.3):
            for key, value in coverage(scored, views, error_rate, drawn).items():
                result[f"{kind}.error_rate_{error_rate}.{key}"] = value
    # The recorded probabilities of the bundled model, calibrated by inner folds of each fold's training rows.
    for label, part in calibration(scored, weights, resamples=RESAMPLES, seed=SEED).items():
        for name, value in (("brier_skill", part.skill), ("slope", part.slope), ("ece_above_0.1", part.ece_above)):
            result[f"bundled.{label}.{name}"] = round(value, 4)
        for name, interval in (("brier_skill", part.skill_ci), ("slope", part.slope_ci)):
            ends = np.round(interval, 3).tolist()
            result[f"bundled.{label}.{name}_low"], result[f"bundled.{label}.{name}_high"] = ends
    (HERE / "result.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
