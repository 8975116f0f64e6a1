"""`treatystance.evidence.reliability`: calibration figures against scikit-learn's and figures worked out by hand."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from treatystance.evidence.reliability import Calibration, calibration
from treatystance.evidence.scored import ScoredRows
from treatystance.statement import LabelSet

ONE = LabelSet(("out",))


def table(p: Any, y: Any, documents: list[str] | None = None, drawn: Any = None, labels: LabelSet = ONE) -> ScoredRows:
    p = np.asarray(p, np.float64).reshape(-1, len(labels))
    n = len(p)
    return ScoredRows(
        labels,
        tuple(f"r{i}" for i in range(n)),
        tuple(documents or (f"d{i}" for i in range(n))),
        ("0" * 64,) * n,
        np.zeros(n, np.int64),
        np.ones(n) if drawn is None else np.asarray(drawn, np.float64),
        np.asarray(y, bool).reshape(p.shape),
        p >= 0.5,
        np.zeros(p.shape, bool),
        p,
        ({},) * n,
    )


def simulated(n: int, seed: int, slope: float = 1.0, intercept: float = 0.0) -> tuple[Any, Any]:
    """Scores, and truth whose log-odds are `intercept` + `slope` times those of the score."""
    rng = np.random.default_rng(seed)
    x = rng.normal(-1, 2, n)
    return 1 / (1 + np.exp(-x)), rng.random(n) < 1 / (1 + np.exp(-(slope * x + intercept)))


def one(p: Any, y: Any, weights: Any = None, **given: Any) -> Calibration:
    documents = given.pop("documents", None)
    return calibration(table(p, y, documents), weights, **{"resamples": 100, **given})["out"]


@pytest.mark.parametrize("weighted", [False, True])
def test_brier_score_skill_and_slope_equal_those_of_scikit_learn(weighted: bool) -> None:
    p, y = simulated(500, 1, 0.7, 0.3)
    weights = np.random.default_rng(2).uniform(0.5, 8, 500) if weighted else None
    found = one(p, y, weights)
    base = np.average(y, weights=weights)
    assert found.base_rate == pytest.approx(base)
    assert found.brier == pytest.approx(brier_score_loss(y, p, sample_weight=weights))
    assert found.skill == pytest.approx(
        1 - found.brier / brier_score_loss(y, np.full(500, base), sample_weight=weights)
    )
    x = np.log(p / (1 - p))[:, None]
    cox = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(x, y, sample_weight=weights)
    assert found.slope == pytest.approx(cox.coef_[0, 0], abs=1e-4)
    assert found.intercept == pytest.approx(cox.intercept_[0], abs=1e-4)
    assert (found.rows, found.positives, found.rows_above) == (500, y.sum(), (p > 0.1).sum())


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 4), st.floats(-3, 3), st.integers(20, 200))
@settings(max_examples=40, deadline=None)
def test_the_slope_maximises_the_likelihood(seed: int, slope: float, intercept: float, n: int) -> None:
    p, y = simulated(n, seed, slope, intercept)
    found = one(p, y, resamples=1)
    if math.isnan(found.slope):
        return
    x = np.log(p / (1 - p))
    q = 1 / (1 + np.exp(-(found.slope * x + found.intercept)))
    # At the maximum the score vector is zero.
    assert np.abs([(y - q).sum(), ((y - q) * x).sum()]).max() < 1e-4 * n


def test_expected_calibration_error_by_hand() -> None:
    # Two bins of three rows: mean scores 0.2 and 0.7, shares 0 and 1/3.
    p, y = [0.1, 0.2, 0.3, 0.6, 0.7, 0.8], [0, 0, 0, 0, 0, 1]
    assert one(p, y, bins=2).ece == pytest.approx((0.2 + (0.7 - 1 / 3)) / 2)
    assert one(p, y, bins=1).ece == pytest.approx(0.45 - 1 / 6)
    assert one(p, y, bins=6).ece == pytest.approx(np.mean([0.1, 0.2, 0.3, 0.6, 0.7, 0.2]))
    # The last row stands for three: half of the mass is in it and its neighbour.
    weights = np.array([1, 1, 1, 1, 1, 3.0])
    low, high = abs(0.1 + 0.2 + 0.3 + 0.6), abs(0.7 + 3 * -0.2)
    assert one(p, y, weights, bins=2).ece == pytest.approx((low + high) / 8)


def test_error_above_a_tenth_leaves_low_scores_out() -> None:
    p = np.concatenate([np.full(1000, 0.05), np.full(30, 0.4)])
    y = np.concatenate([np.zeros(1000), np.ones(15), np.zeros(15)])
    found = one(p, y)
    assert found.rows_above == 30
    assert found.ece_above == pytest.approx(0.1)
    assert found.ece == pytest.approx((1000 * 0.05 + 30 * 0.1) / 1030)
    none = one(np.full(50, 0.1), np.zeros(50))
    assert (none.rows_above, len(none.points)) == (0, 1)
    assert math.isnan(none.ece_above)


def test_equal_scores_stand_in_one_bin_whatever_their_order() -> None:
    p, y = np.full(100, 0.3), np.arange(100) < 30
    assert one(p, y).ece == pytest.approx(0)
    (point,) = one(p, y).points
    assert (point.score, point.share, point.rows) == pytest.approx((0.3, 0.3, 100))


def test_points_are_one_low_bin_and_bins_of_twenty_rows_above() -> None:
    p, y = simulated(400, 3)
    found = one(p, y)
    above = int((p > 0.1).sum())
    assert found.points[0].rows == 400 - above
    assert found.points[0].share == pytest.approx(y[p <= 0.1].mean())
    assert len(found.points) == 1 + min(10, above // 20)
    assert sum(point.rows for point in found.points) == 400
    assert [point.score for point in found.points] == sorted(point.score for point in found.points)
    assert all(point.share_ci[0] <= point.share <= point.share_ci[1] for point in found.points)
    few = one(p[:70], y[:70])
    assert len(few.points) == 1 + (p[:70] > 0.1).sum() // 20


def test_intervals_of_the_slope_are_those_of_single_rows() -> None:
    """Resamples regress on cells of scores; a bootstrap row by row with scikit-learn gives the same interval."""
    p, y = simulated(300, 4, 0.8)
    found = one(p, y, resamples=1000)
    rng = np.random.default_rng(0)
    x = np.log(p / (1 - p))[:, None]
    slopes = []
    for _ in range(300):
        rows = rng.integers(0, 300, 300)
        slopes.append(LogisticRegression(C=np.inf, tol=1e-6, max_iter=200).fit(x[rows], y[rows]).coef_[0, 0])
    assert found.slope_ci == pytest.approx(tuple(np.quantile(slopes, [0.025, 0.975])), abs=0.06)


def test_intervals_contain_the_truth_about_as_often_as_they_say() -> None:
    hits = {"slope": 0, "intercept": 0}
    repeats = 100
    for seed in range(repeats):
        p, y = simulated(400, 1000 + seed, 0.8, 0.3)
        found = one(p, y, resamples=200, seed=seed)
        hits["slope"] += found.slope_ci[0] <= 0.8 <= found.slope_ci[1]
        hits["intercept"] += found.intercept_ci[0] <= 0.3 <= found.intercept_ci[1]
    # Binomial: 95 of 100 with a standard deviation of 2.2.
    assert min(hits.values()) >= 88


def test_rows_of_one_document_widen_intervals() -> None:
    p, y = simulated(100, 5)
    alone = one(np.repeat(p, 5), np.repeat(y, 5), resamples=300)
    together = one(np.repeat(p, 5), np.repeat(y, 5), resamples=300, documents=[f"d{i // 5}" for i in range(500)])
    single = one(p, y, resamples=300)
    assert (alone.brier, together.brier) == pytest.approx((single.brier, single.brier))

    def width(found: Calibration) -> float:
        return found.slope_ci[1] - found.slope_ci[0]

    assert width(together) > 1.7 * width(alone)
    assert width(together) == pytest.approx(width(single), rel=0.2)


@pytest.mark.parametrize("y", [[0, 0, 0, 0], [1, 1, 1, 1]])
def test_one_sided_truth_leaves_skill_and_slope_undefined(y: list[int]) -> None:
    found = one([0.1, 0.2, 0.6, 0.9], y)
    assert math.isnan(found.skill)
    assert math.isnan(found.slope)
    record = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert (record["skill"], record["slope"], record["slope_ci"]) == (None, None, [None, None])
    assert record["brier"] == pytest.approx(brier_score_loss(y, [0.1, 0.2, 0.6, 0.9], labels=[0, 1]))


def test_scores_without_error_have_no_finite_slope() -> None:
    found = one([0.1, 0.2, 0.8, 0.9] * 5, [0, 0, 1, 1] * 5)
    assert math.isnan(found.slope)
    assert found.skill > 0.8
    constant = one([0.3] * 20, [0, 1] * 10)
    assert math.isnan(constant.slope)


def test_scores_at_the_ends_are_finite() -> None:
    found = one([0.0, 1.0, 0.0, 1.0, 0.5, 0.5], [0, 1, 1, 0, 1, 0])
    assert math.isfinite(found.slope)
    assert found.brier == pytest.approx((2 * 1 + 2 * 0.25) / 6)


def test_one_row() -> None:
    found = one([0.7], [1], resamples=10)
    assert (found.rows, found.brier) == pytest.approx((1, 0.09))
    assert math.isnan(found.slope)


def test_labels_are_apart_and_the_seed_decides() -> None:
    (p, y), (q, z) = simulated(200, 6), simulated(200, 7, 0.3)
    both = table(np.column_stack([p, q]), np.column_stack([y, z]), labels=LabelSet(("out", "in")))
    found = calibration(both, resamples=50, seed=3)
    assert list(found) == ["out", "in"]
    alone = calibration(table(q, z), resamples=50, seed=3)["out"]
    assert found["in"] == alone
    assert calibration(both, resamples=50, seed=4)["in"].slope_ci != alone.slope_ci


def test_the_slope_is_found_where_a_few_heavy_rows_make_newtons_step_overshoot() -> None:
    from treatystance.evidence.scored import read_scored
    from treatystance.statement import DEFAULT_LABELS

    labels = LabelSet(DEFAULT_LABELS)
    scored = read_scored(
        Path(__file__).parents[1] / "experiments" / "encoder_relatives" / "distilled.out_of_fold.jsonl", labels
    )
    for k, found in enumerate(calibration(scored, scored.weights, resamples=10).values()):
        p = np.clip(scored.probabilities[:, k], 1e-12, 1 - 1e-12)
        x = np.log(p / (1 - p)).reshape(-1, 1)
        cox = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(x, scored.targets[:, k], scored.weights)
        assert found.slope == pytest.approx(cox.coef_[0, 0], abs=0.02)
