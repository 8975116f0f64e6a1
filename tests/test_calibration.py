"""`treatystance.calibration`: known parameters are recovered, thresholds are the best, abstention errs as promised."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.special import expit, softmax
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression

from treatystance.calibration import (
    DecisionRule,
    _quantile,
    best_f1_threshold,
    fit_decision_rule,
    threshold_at,
    unreached,
)
from treatystance.config.sections import OperatingPoint
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


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_heavy_rows_move_the_slope_with_a_power_of_their_weight(power: float) -> None:
    logits, targets = simulated(20_000, 9)
    weights = np.ones(20_000)
    weights[:200] = 300.0
    targets[:200] = np.arange(400).reshape(200, 2) % 4 < 2  # and their scores say nothing
    rule = fit_decision_rule(logits, targets, weights, slope_weight_power=power)
    for k in range(2):
        z, y = logits[:, [k]], targets[:, k]
        # Independent: scikit-learn for the slope, a root of the score function for the offset (targets not smoothed).
        slope = LogisticRegression(C=np.inf, tol=1e-10).fit(z, y, weights**power).coef_[0, 0]

        def excess(offset: float, k: int = k, slope: float = slope) -> float:
            return float(weights @ (expit(slope * logits[:, k] + offset) - targets[:, k]))

        assert rule.slope[k] == pytest.approx(slope, abs=0.02)
        assert rule.offset[k] == pytest.approx(brentq(excess, -20, 20), abs=0.05)
    # Probabilities add up to the share of positives in what the rows stand for.
    shares = weights @ targets / weights.sum()
    assert weights @ rule.probabilities(logits) / weights.sum() == pytest.approx(shares, abs=0.002)


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


def precise(least: float) -> OperatingPoint:
    return OperatingPoint(precision=least)


def complete(least: float) -> OperatingPoint:
    return OperatingPoint(recall=least)


def at(threshold: float, p: Any, target: Any, weight: Any) -> tuple[float, float]:
    """Precision and recall."""
    given = p >= threshold
    both = weight[given & target].sum()
    return float(both / weight[given].sum()), float(both / weight[target].sum())


LEAST = st.sampled_from([0.2, 0.4, 0.55, 0.7, 0.85, 0.95, 1.0])


@given(scored, LEAST)
@settings(max_examples=300, deadline=None)
def test_wanted_precision_equals_brute_force(case: tuple[list[float], list[bool], list[float]], least: float) -> None:
    p, target, weight = (np.array(part) for part in case)
    cuts = [at(cut, p, target, weight) for cut in np.unique(p)]
    precision, recall = at(threshold_at(p, target, weight, precise(least)), p, target, weight)
    if reaching := [part for part in cuts if part[0] >= least]:
        # The highest recall, and of those with it the highest precision.
        assert (recall, precision) == max((r, q) for q, r in reaching)
    else:
        assert precision == max(q for q, _ in cuts)


@given(scored, LEAST)
@settings(max_examples=300, deadline=None)
def test_wanted_recall_equals_brute_force(case: tuple[list[float], list[bool], list[float]], least: float) -> None:
    p, target, weight = (np.array(part) for part in case)
    reaching = [part for part in (at(cut, p, target, weight) for cut in np.unique(p)) if part[1] >= least]
    precision, recall = at(threshold_at(p, target, weight, complete(least)), p, target, weight)
    assert recall >= least
    assert precision == max(q for q, _ in reaching)


def test_operating_points_by_hand() -> None:
    p = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    target = np.array([True, True, False, True, True, False])
    ones = np.ones(6)
    # From the top, precision: 1, 1, 2/3, 3/4, 4/5, 2/3; recall: 1/4, 1/2, 1/2, 3/4, 1, 1.
    wanted = {0.6: 0.45, 0.8: 0.45, 0.81: 0.75, 1.0: 0.75}
    assert {least: threshold_at(p, target, ones, precise(least)) for least in wanted} == pytest.approx(wanted)
    wanted = {0.2: 0.85, 0.5: 0.75, 0.51: 0.45, 0.75: 0.45, 1.0: 0.45}
    assert {least: threshold_at(p, target, ones, complete(least)) for least in wanted} == pytest.approx(wanted)
    # The precision of ordinary text: each row as often as it stands for a sentence of it.
    rare = np.where(target, 1.0, 4.0)
    assert threshold_at(p, target, rare, precise(0.6)) == pytest.approx(0.75)
    # No threshold is so precise: the highest precision, 2/3 at the first three.
    missed = np.array([False, True, True, False, False, False])
    assert threshold_at(p, missed, ones, precise(0.9)) == pytest.approx(0.65)


def test_each_label_gets_what_is_wanted_of_it() -> None:
    logits, targets = simulated(500, 6)
    weights = np.where(np.arange(500) % 4 == 0, 5.0, 1.0)
    plain = fit_decision_rule(logits, targets, weights)
    for wanted in ((precise(0.9), None), (None, complete(0.99)), (complete(0.99), precise(0.9))):
        rule = fit_decision_rule(logits, targets, weights, wanted=wanted)
        given = rule.decide(logits).tags
        hits = weights @ (given & targets)
        for k, point in enumerate(wanted):
            if point is None:
                assert rule.threshold[k] == plain.threshold[k]
            elif point.precision:
                assert hits[k] / (weights @ given[:, k]) >= point.precision
            elif point.recall:
                assert hits[k] / (weights @ targets[:, k]) >= point.recall
        assert unreached(rule, logits, targets, weights, wanted) == {}
        assert (rule.slope, rule.offset, rule.maybe_yes) == (plain.slope, plain.offset, plain.maybe_yes)


def test_a_precision_that_no_threshold_has_is_told() -> None:
    logits = np.array([[3.0, 3.0], [2.0, 2.0], [1.0, 1.0], [0.0, 0.0]])
    targets = np.array([[False, True], [True, True], [True, False], [False, False]])
    wanted = (precise(0.9), precise(0.9))
    rule = fit_decision_rule(logits, targets, np.ones(4), wanted=wanted)
    assert unreached(rule, logits, targets, np.ones(4), wanted) == {0: pytest.approx(2 / 3)}
    assert unreached(rule, logits, targets, np.ones(4), (None, precise(1.0))) == {}
    never = np.zeros((4, 2), bool)
    rule = fit_decision_rule(logits - 9, never, np.ones(4), wanted=wanted)
    assert unreached(rule, logits - 9, never, np.ones(4), wanted) == {}


def test_threshold_without_positive_rows_is_a_half() -> None:
    for point in (None, precise(0.9), complete(0.9)):
        assert threshold_at(np.array([0.1, 0.9]), np.array([False, False]), np.ones(2), point) == 0.5
    assert best_f1_threshold(np.array([0.1, 0.9]), np.array([False, False]), np.ones(2)) == 0.5


def shares_wrong_without_doubt(rule: DecisionRule, logits: Any, targets: Any) -> Any:
    """Of positives and of negatives, by label: shape (2, labels)."""
    decided = rule.decide(logits)
    wrong = (decided.tags != targets) & ~decided.uncertain
    return np.array([wrong[targets[:, k] == side, k].mean() for side in (True, False) for k in range(2)]).reshape(2, 2)


REPETITIONS = 150


@pytest.mark.parametrize("error_rate", [0.05, 0.1, 0.3])
def test_coverage_of_positives_and_negatives_apart(error_rate: float) -> None:
    """Exchangeable rows: at most the error rate is expected to be excluded, little less; answers err no more."""
    excluded, erring = [], []
    for seed in range(REPETITIONS):
        logits, targets = simulated(1300, 100 + seed)
        rule = fit_decision_rule(logits[:300], targets[:300], np.ones(300), error_rate=error_rate)
        p, fresh = rule.probabilities(logits[300:]), targets[300:]
        yes = [np.mean(p[fresh[:, k], k] < rule.maybe_yes[k]) for k in range(2)]
        no = [np.mean(p[~fresh[:, k], k] > rule.maybe_no[k]) for k in range(2)]
        excluded.append([yes, no])
        erring.append(shares_wrong_without_doubt(rule, logits[300:], fresh))
    error = np.std(excluded, axis=0) / REPETITIONS**0.5  # Monte-Carlo, of the mean: about 0.002
    assert error.max() < 0.005
    rate = np.mean(excluded, axis=0)
    assert (rate <= error_rate + 3 * error).all()
    assert (rate >= error_rate - 0.02).all()
    assert (np.mean(erring, axis=0) <= error_rate + 3 * error).all()


@pytest.mark.parametrize("error_rate", [0.1, 0.2])
def test_coverage_where_rows_were_drawn_by_their_score(error_rate: float) -> None:
    """As annotated: sentences of high scores drawn often, the others rarely; coverage is that of all sentences."""
    rng = np.random.default_rng(5)
    wrong = []
    for _ in range(REPETITIONS):
        logits = rng.normal(scale=2, size=(5_000, 2))
        targets = rng.random(logits.shape) < expit(logits * SLOPE + OFFSET - 2)
        probability = np.select([logits[:, 0] > 4, logits[:, 0] > 2, logits[:, 0] > 0], [1.0, 0.3, 0.1], 0.03)
        drawn = rng.random(len(logits)) < probability
        rule = fit_decision_rule(logits[drawn], targets[drawn], 1 / probability[drawn], error_rate=error_rate)
        p = rule.probabilities(logits)
        wrong.append([np.mean(p[targets[:, k], k] < rule.maybe_yes[k]) for k in range(2)])
        wrong[-1] += [np.mean(p[~targets[:, k], k] > rule.maybe_no[k]) for k in range(2)]
    error = np.std(wrong, axis=0) / REPETITIONS**0.5
    assert error.max() < 0.006
    assert (np.mean(wrong, axis=0) <= error_rate + 3 * error).all()
    assert (np.mean(wrong, axis=0) > error_rate / 3).all()  # and it is no empty promise


@pytest.mark.parametrize("error_rate", [0.1, 0.2])
def test_coverage_where_few_heavy_rows_score_low(error_rate: float) -> None:
    """As the positives were drawn: those of high scores all, one of 600 of the lowest."""
    rng = np.random.default_rng(7)
    shares = []
    for _ in range(1000):
        scores = rng.normal(size=9000)
        probability = np.select([scores > 1.2, scores > 0.6, scores > -0.2], [1.0, 0.1, 1 / 60], 1 / 600)
        drawn = rng.random(9000) < probability
        bound = -_quantile(-scores[drawn], 1 / probability[drawn], error_rate, np.inf)
        shares.append(norm.cdf(bound))
    # The Monte-Carlo error of the mean is about 0.003; with the mean weight in place of the heaviest it would be 0.22.
    assert np.mean(shares) <= error_rate + 3 * np.std(shares) / 1000**0.5


def test_coverage_with_ties_and_few_positives() -> None:
    """Twelve positives of which many score alike: excluding is rare, never too frequent."""
    rng = np.random.default_rng(6)
    excluded = []
    for _ in range(2000):
        scores = rng.integers(0, 4, 12) / 4
        bound = _quantile(scores[:11], np.ones(11), 0.2, 1.0)
        excluded.append(scores[11] > bound)
    assert np.mean(excluded) <= 0.2 + 3 * (0.2 * 0.8 / 2000) ** 0.5


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
    """Each row stands as often as it weighs, and the new sentence, infinitely nonconforming, like the heaviest."""
    scores, times = (np.array(part) for part in zip(*case, strict=True))
    repeated = np.sort(np.append(scores.repeat(times), [np.inf] * int(times.max())))
    wanted = repeated[int(np.ceil((1 - rate) * len(repeated) * (1 - 1e-12))) - 1]
    assert _quantile(scores, times.astype(float), rate, 1.0) == (1.0 if np.isinf(wanted) else wanted)
    # Only what rows weigh beside one another counts, not their order.
    assert _quantile(scores[::-1], times[::-1] * 0.125, rate, 1.0) == _quantile(scores, times.astype(float), rate, 1.0)


@given(nonconforming, RATES)
@settings(max_examples=200, deadline=None)
def test_quantile_of_equal_weights_is_that_of_split_conformal_prediction(
    case: list[tuple[float, int]], rate: float
) -> None:
    scores = np.array([score for score, _ in case])
    rank = int(np.ceil((len(scores) + 1) * (1 - rate) * (1 - 1e-12)))
    wanted = np.sort(scores)[rank - 1] if rank <= len(scores) else 1.0
    for weight in (1.0, 3.0, 0.01):
        assert _quantile(scores, np.full(len(scores), weight), rate, 1.0) == wanted


def test_quantile_of_repeated_rows_where_there_are_many() -> None:
    rng = np.random.default_rng(8)
    scores, times = rng.random(4000), rng.integers(1, 6, 4000)
    weighted = _quantile(scores, times.astype(float), 0.1, 1.0)
    assert weighted == pytest.approx(_quantile(scores.repeat(times), np.ones(times.sum()), 0.1, 1.0), abs=1e-3)
    assert _quantile(np.zeros(0), np.zeros(0), 0.1, 1.0) == 1.0


def test_the_row_at_the_bound_is_not_excluded() -> None:
    """However small its probability: 1 - (1 - p) is not p."""
    logits = np.linspace(-40, -20, 99)[:, None]
    targets = np.arange(99)[:, None] % 2 == 0
    rule = fit_decision_rule(logits, targets, np.where(targets[:, 0], 1.0, 1e9), error_rate=0.2)
    p = rule.probabilities(logits)[:, 0]
    assert p.max() < 1e-6
    assert rule.maybe_yes[0] in p[targets[:, 0]]
    # The 41st of 50 + 1, from above: nine lie below.
    assert (p[targets[:, 0]] < rule.maybe_yes[0]).sum() == 9


def test_uncertain_is_where_neither_answer_is_excluded() -> None:
    rule = DecisionRule(False, (1.0,), (0.0,), (0.5,), (0.25,), (0.75,))
    p = np.array([[0.2], [0.3], [0.5], [0.7], [0.8]])
    decided = rule.decide(np.log(p / (1 - p)))
    assert decided.probabilities == pytest.approx(p)
    assert decided.tags.ravel().tolist() == [False, False, True, True, True]
    assert decided.uncertain.ravel().tolist() == [False, True, True, True, False]


@pytest.mark.parametrize(
    ("threshold", "maybe_yes", "maybe_no", "uncertain"),
    [
        # Both answers are excluded between the bounds: the given one stands.
        (0.5, 0.75, 0.25, [False, False, False, False, False]),
        # Only "yes" is left above 0.25, but the threshold says no up to 0.75: "yes" cannot be denied without doubt.
        (0.75, 0.25, 0.25, [False, True, True, True, False]),
        (0.75, 0.45, 0.25, [False, False, True, True, False]),
        # Only "no" is left below 0.75, but the threshold says yes.
        (0.25, 0.75, 0.75, [False, True, True, True, False]),
        (0.25, 0.75, 0.55, [False, True, True, False, False]),
    ],
)
def test_the_given_answer_is_always_in_the_set(
    threshold: float, maybe_yes: float, maybe_no: float, uncertain: list[bool]
) -> None:
    rule = DecisionRule(False, (1.0,), (0.0,), (threshold,), (maybe_yes,), (maybe_no,))
    p = np.array([[0.2], [0.3], [0.5], [0.7], [0.8]])
    decided = rule.decide(np.log(p / (1 - p)))
    assert decided.uncertain.ravel().tolist() == uncertain
    assert decided.tags.ravel().tolist() == (p.ravel() >= threshold).tolist()


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
