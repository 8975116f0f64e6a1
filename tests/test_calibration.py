"""`treatystance.calibration`: known parameters are recovered, thresholds are the best, abstention errs as promised."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, softmax

from treatystance.calibration import DecisionRule, _quantile, best_f1_threshold, fit_decision_rule
from treatystance.errors import ArtifactError
from treatystance.models.base import sigmoid

SLOPE, OFFSET = (0.5, 2.0), (1.0, -1.5)


def simulated(rows: int, seed: int) -> tuple[Any, Any]:
    """Logits of two labels, and labels drawn with probability sigmoid(slope * logit + offset)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2, size=(rows, 2))
    return logits, rng.random((rows, 2)) < expit(logits * SLOPE + OFFSET)


def test_sigmoid_is_scipy_s_expit() -> None:
    x = np.concatenate([np.linspace(-800, 800, 4001), [-np.inf, np.inf, 0.0]])
    np.testing.assert_allclose(sigmoid(x), expit(x), rtol=1e-15, atol=1e-300)
    assert sigmoid(np.zeros((0, 3))).shape == (0, 3)


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


def precision_at(threshold: float, p: Any, target: Any, weight: Any) -> float:
    given = p >= threshold
    return float(weight[given & target].sum() / weight[given].sum())


@given(scored, st.sampled_from([0.2, 0.4, 0.55, 0.7, 0.85, 0.95]))
@settings(max_examples=300, deadline=None)
def test_threshold_reaches_a_least_precision_where_any_does(
    case: tuple[list[float], list[bool], list[float]], least: float
) -> None:
    p, target, weight = (np.array(part) for part in case)
    cuts = [(precision_at(cut, p, target, weight), f1_at(cut, p, target, weight)) for cut in np.unique(p)]
    threshold = best_f1_threshold(p, target, weight, least)
    precision, f1 = precision_at(threshold, p, target, weight), f1_at(threshold, p, target, weight)
    reaching = [part for part in cuts if part[0] >= least]
    if reaching:
        assert precision >= least
        assert f1 == pytest.approx(max(value for _, value in reaching))
    else:
        assert precision == pytest.approx(max(value for value, _ in cuts))


def test_least_precision_by_hand() -> None:
    p = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    target = np.array([True, True, False, True, True, False])
    ones = np.ones(6)
    # Precision from the top: 1, 1, 2/3, 3/4, 4/5, 2/3; F1: 2/5, 4/6, 4/7, 6/8, 8/9, 8/10.
    wanted = {None: 0.45, 0.8: 0.45, 0.81: 0.75, 0.99: 0.75}
    assert {least: best_f1_threshold(p, target, ones, least) for least in wanted} == pytest.approx(wanted)
    # The precision of ordinary text: each row as often as it stands for a sentence of it.
    rare = np.where(target, 1.0, 4.0)
    assert best_f1_threshold(p, target, rare, 0.6) == pytest.approx(0.75)
    # No threshold is so precise: the highest precision, 2/3 at the first three.
    missed = np.array([False, True, True, False, False, False])
    assert best_f1_threshold(p, missed, ones, 0.9) == pytest.approx(0.65)


def test_least_precision_is_that_of_the_fitted_rule() -> None:
    logits, targets = simulated(500, 6)
    weights = np.where(np.arange(500) % 4 == 0, 5.0, 1.0)
    precisions = []
    for least in (None, 0.9):
        rule = fit_decision_rule(logits, targets, weights, min_precision=least)
        given = rule.decide(logits).tags
        precisions.append((weights @ (given & targets)) / (weights @ given))
    assert (precisions[0] < 0.9).any()
    assert (precisions[1] >= 0.9).all()


def test_threshold_without_positive_rows_is_a_half() -> None:
    assert best_f1_threshold(np.array([0.1, 0.9]), np.array([False, False]), np.ones(2), 0.9) == 0.5
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


nonconforming = st.lists(st.tuples(st.integers(0, 8).map(lambda i: i / 10), st.integers(1, 5)), min_size=1, max_size=30)
RATES = st.sampled_from([0.05, 0.1, 0.25, 0.3, 0.5])


@given(nonconforming, RATES)
@settings(max_examples=300, deadline=None)
def test_quantile_with_weights_equals_repeated_rows(case: list[tuple[float, int]], rate: float) -> None:
    """Each row stands as often as it weighs, and the new sentence, infinitely nonconforming, as often as on average.

    Rows are repeated len(case) times their weight, so that the average is a whole number of repeats.
    """
    scores, times = (np.array(part) for part in zip(*case, strict=True))
    repeated = np.sort(np.append(scores.repeat(times * len(case)), [np.inf] * int(times.sum())))
    wanted = repeated[int(np.ceil((1 - rate) * len(repeated) * (1 - 1e-12))) - 1]
    assert _quantile(scores, times.astype(float), rate) == (1.0 if np.isinf(wanted) else wanted)
    # Only what rows weigh beside one another counts, and neither their order nor how equal ones are divided.
    assert _quantile(scores[::-1], times[::-1] * 0.125, rate) == _quantile(scores, times.astype(float), rate)


@given(nonconforming, RATES)
@settings(max_examples=200, deadline=None)
def test_quantile_of_equal_weights_is_that_of_split_conformal_prediction(
    case: list[tuple[float, int]], rate: float
) -> None:
    scores = np.array([score for score, _ in case])
    rank = int(np.ceil((len(scores) + 1) * (1 - rate) * (1 - 1e-12)))
    wanted = np.sort(scores)[rank - 1] if rank <= len(scores) else 1.0
    for weight in (1.0, 3.0, 0.01):
        assert _quantile(scores, np.full(len(scores), weight), rate) == wanted


def test_quantile_of_repeated_rows_where_there_are_many() -> None:
    rng = np.random.default_rng(8)
    scores, times = rng.random(4000), rng.integers(1, 6, 4000)
    weighted = _quantile(scores, times.astype(float), 0.1)
    assert weighted == pytest.approx(_quantile(scores.repeat(times), np.ones(times.sum()), 0.1), abs=1e-3)
    assert _quantile(np.zeros(0), np.zeros(0), 0.1) == 1.0


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
