"""`treatystance.calibration`: known parameters are recovered, thresholds are the best, abstention errs as promised."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, softmax

from treatystance.calibration import DecisionRule, best_f1_threshold, fit_decision_rule
from treatystance.errors import ArtifactError

SLOPE, OFFSET = (0.5, 2.0), (1.0, -1.5)


def simulated(rows: int, seed: int) -> tuple[Any, Any]:
    """Logits of two labels, and labels drawn with probability sigmoid(slope * logit + offset)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2, size=(rows, 2))
    return logits, rng.random((rows, 2)) < expit(logits * SLOPE + OFFSET)


def test_platt_recovers_slope_and_offset() -> None:
    logits, targets = simulated(40_000, 0)
    rule = fit_decision_rule(logits, targets, np.ones(len(logits)))
    assert rule.slope == pytest.approx(SLOPE, abs=0.06)
    assert rule.offset == pytest.approx(OFFSET, abs=0.06)


@pytest.mark.parametrize(("positives", "negatives"), [(8, 2), (8, 0), (0, 3)])
def test_platt_aims_at_smoothed_targets(positives: int, negatives: int) -> None:
    # Scores that tell nothing: the probability is the mean of (n+ + 1) / (n+ + 2) and 1 / (n- + 2) over the rows.
    rows = positives + negatives
    rule = fit_decision_rule(np.zeros((rows, 1)), np.arange(rows)[:, None] < positives, np.ones(rows))
    wanted = (positives * (positives + 1) / (positives + 2) + negatives / (negatives + 2)) / rows
    assert rule.probabilities(np.zeros((1, 1)))[0, 0] == pytest.approx(wanted, abs=1e-4)


def test_probabilities_are_monotone_also_where_scores_mislead() -> None:
    logits, targets = simulated(400, 1)
    rule = fit_decision_rule(np.column_stack([logits[:, 0], -logits[:, 1]]), targets, np.ones(400))
    grid = rule.probabilities(np.linspace(-30, 30, 101)[:, None].repeat(2, axis=1))
    assert (np.diff(grid, axis=0) >= 0).all()
    assert (np.diff(grid[:, 0]) > 0)[25:75].all()
    assert ((grid >= 0) & (grid <= 1)).all()


def test_a_weight_counts_like_a_repeated_row() -> None:
    logits, targets = simulated(60, 2)
    weights = np.where(np.arange(60) % 3 == 0, 3.0, 1.0)
    times = weights.astype(int)
    weighted = fit_decision_rule(logits, targets, weights)
    repeated = fit_decision_rule(logits.repeat(times, axis=0), targets.repeat(times, axis=0), np.ones(times.sum()))
    assert weighted.slope == pytest.approx(repeated.slope, rel=1e-3)
    assert weighted.offset == pytest.approx(repeated.offset, abs=1e-3)
    assert weighted.threshold == pytest.approx(repeated.threshold, abs=1e-3)


@pytest.mark.parametrize("present", [False, True])
def test_one_sided_labels_stay_finite(present: bool) -> None:
    logits, _ = simulated(50, 3)
    rule = fit_decision_rule(logits, np.full((50, 2), present), np.ones(50))
    assert np.isfinite([rule.slope, rule.offset, rule.threshold, rule.maybe_yes, rule.maybe_no]).all()
    assert (rule.probabilities(logits).mean(axis=0) > 0.5).all() == present


def exclusive_data(temperature: float, rows: int, seed: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=3, size=(rows, 3))
    cumulative = softmax(logits / temperature, axis=1).cumsum(axis=1)
    chosen = (rng.random((rows, 1)) < cumulative).argmax(axis=1)
    return logits, np.eye(3, dtype=bool)[chosen]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_temperature_is_recovered(temperature: float) -> None:
    logits, targets = exclusive_data(temperature, 20_000, 4)
    rule = fit_decision_rule(logits, targets, np.ones(len(logits)), exclusive=True)
    assert 1 / np.array(rule.slope) == pytest.approx([temperature] * 3, rel=0.05)
    assert rule.offset == (0.0, 0.0, 0.0)


def test_exclusive_gives_one_tag_and_probabilities_that_add_up() -> None:
    logits, targets = exclusive_data(2.0, 300, 5)
    rule = fit_decision_rule(logits, targets, np.ones(300), exclusive=True)
    decided = rule.decide(np.vstack([logits, [[1e4, 0, 0]], [[0, 0, 0]]]))
    assert decided.probabilities.sum(axis=1) == pytest.approx(np.ones(302))
    assert (decided.tags.sum(axis=1) == 1).all()
    assert (decided.tags.argmax(axis=1) == decided.probabilities.argmax(axis=1)).all()


def f1_at(threshold: float, p: Any, target: Any, weight: Any) -> float:
    given = p >= threshold
    both = weight[given & target].sum()
    total = weight[given].sum() + weight[target].sum()
    return float(2 * both / total)


scored = st.integers(1, 25).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 8).map(lambda i: i / 8), min_size=n, max_size=n),
        st.lists(st.booleans(), min_size=n, max_size=n).filter(any),
        st.lists(st.sampled_from([0.5, 1.0, 2.0, 7.0]), min_size=n, max_size=n),
    )
)


@given(scored)
@settings(max_examples=300, deadline=None)
def test_threshold_equals_brute_force(case: tuple[list[float], list[bool], list[float]]) -> None:
    p, target, weight = (np.array(part) for part in case)
    best = max(f1_at(candidate, p, target, weight) for candidate in np.unique(p))
    threshold = best_f1_threshold(p, target, weight)
    assert 0 <= threshold <= 1
    assert f1_at(threshold, p, target, weight) == pytest.approx(best)


def test_threshold_without_positive_rows_is_a_half() -> None:
    assert best_f1_threshold(np.array([0.1, 0.9]), np.array([False, False]), np.ones(2)) == 0.5


@pytest.mark.parametrize("error_rate", [0.05, 0.1, 0.3])
def test_conformal_coverage_of_positives_and_negatives_apart(error_rate: float) -> None:
    excluded_yes, excluded_no = [], []
    for seed in range(40):
        logits, targets = simulated(600, 100 + seed)
        rule = fit_decision_rule(logits[:300], targets[:300], np.ones(300), error_rate=error_rate)
        p = rule.probabilities(logits[300:])
        fresh = targets[300:]
        for k in range(2):
            excluded_yes.append(np.mean(p[fresh[:, k], k] < rule.maybe_yes[k]))
            excluded_no.append(np.mean(p[~fresh[:, k], k] > rule.maybe_no[k]))
    # Exchangeable rows: the expected error is at most the nominal rate, and little below it.
    assert np.mean(excluded_yes) == pytest.approx(error_rate, abs=0.02)
    assert np.mean(excluded_no) == pytest.approx(error_rate, abs=0.02)


@pytest.mark.parametrize(("few", "excludes"), [(8, False), (9, True)])
def test_too_few_rows_never_exclude(few: int, excludes: bool) -> None:
    # At an error rate of 0.1, nine rows of a side are the fewest that allow excluding it.
    logits = np.linspace(-3, 3, 100 + few)[:, None]
    targets = np.arange(100 + few)[:, None] >= 100
    rule = fit_decision_rule(logits, targets, np.ones(100 + few), error_rate=0.1)
    assert (rule.maybe_yes[0] > 0) == excludes
    assert rule.maybe_no[0] < 1
    mirrored = fit_decision_rule(-logits, ~targets, np.ones(100 + few), error_rate=0.1)
    assert (mirrored.maybe_no[0] < 1) == excludes


def test_uncertain_is_where_neither_answer_is_excluded() -> None:
    rule = DecisionRule(False, (1.0,), (0.0,), (0.5,), (0.25,), (0.75,))
    p = np.array([[0.2], [0.3], [0.5], [0.7], [0.8]])
    decided = rule.decide(np.log(p / (1 - p)))
    assert decided.probabilities == pytest.approx(p)
    assert decided.tags.ravel().tolist() == [False, False, True, True, True]
    assert decided.uncertain.ravel().tolist() == [False, True, True, True, False]
    never = DecisionRule(False, (1.0,), (0.0,), (0.5,), (0.75,), (0.25,))
    assert not never.decide(np.log(p / (1 - p))).uncertain.any()


@pytest.mark.parametrize("exclusive", [False, True])
def test_no_rows_give_empty_decisions(exclusive: bool) -> None:
    three = (1.0,) * 3
    decided = DecisionRule(exclusive, three, three, three, three, three).decide(np.zeros((0, 3)))
    assert decided.probabilities.shape == decided.tags.shape == decided.uncertain.shape == (0, 3)


RULE = DecisionRule(True, (1.0, 2.0), (0.1, 1 / 3), (0.5, 0.25), (0.0, 0.2), (1.0, 0.9))


def test_rule_round_trip() -> None:
    assert DecisionRule.from_dict(RULE.to_dict(), 2) == RULE


@pytest.mark.parametrize(
    "change",
    [
        {"slope": None},
        {"slope": 1.0},
        {"slope": [1.0]},
        {"slope": [1.0, 2.0, 3.0]},
        {"offset": [1.0, float("nan")]},
        {"threshold": [float("inf"), 0.5]},
        {"maybe_yes": ["x", "y"]},
        {"maybe_no": [None, 1.0]},
        {"exclusive": "no"},
    ],
)
def test_broken_rule_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ArtifactError, match="decision rule"):
        DecisionRule.from_dict(RULE.to_dict() | change, 2)


@pytest.mark.parametrize("name", RULE.to_dict())
def test_rule_with_a_part_missing_is_refused(name: str) -> None:
    values = RULE.to_dict()
    del values[name]
    with pytest.raises(ArtifactError, match=name):
        DecisionRule.from_dict(values, 2)
