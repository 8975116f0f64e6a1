"""`treatystance.evidence.abstention`: risk-coverage worked out by hand, conformal coverage on simulated data."""

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import beta

from treatystance.calibration import fit_decision_rule
from treatystance.evidence.abstention import ALL, Coverage, conformal_coverage, risk_coverage
from treatystance.evidence.scored import ScoredRows
from treatystance.statement import LabelSet

ONE = LabelSet(("out",))


def table(p: Any, y: Any, uncertain: Any = None, tags: Any = None, documents: Any = None, **more: Any) -> ScoredRows:
    p = np.asarray(p, np.float64).reshape(-1, 1)
    n = len(p)
    return ScoredRows(
        ONE,
        tuple(f"r{i}" for i in range(n)),
        tuple(documents if documents is not None else (f"d{i}" for i in range(n))),
        ("0" * 64,) * n,
        np.zeros(n, np.int64),
        np.asarray(more.get("drawn", np.ones(n)), np.float64),
        np.asarray(y, bool).reshape(-1, 1),
        p >= 0.5 if tags is None else np.asarray(tags, bool).reshape(-1, 1),
        np.zeros((n, 1), bool) if uncertain is None else np.asarray(uncertain, bool).reshape(-1, 1),
        p,
        tuple(more.get("facts", ({},) * n)),
    )


def exact(successes: int, trials: int) -> tuple[float, float]:
    """Clopper and Pearson's interval by quantiles of the beta distribution."""
    low = 0.0 if successes == 0 else beta.ppf(0.025, successes, trials - successes + 1)
    high = 1.0 if successes == trials else beta.ppf(0.975, successes + 1, trials - successes)
    return pytest.approx((low, high))  # type: ignore[return-value]


def test_risk_by_hand() -> None:
    # From the surest: 0.99 right, 0.02 wrong (0.98 sure), 0.9 right, 0.4 right (0.6 sure), 0.55 wrong.
    scored = table([0.99, 0.02, 0.9, 0.4, 0.55], [1, 1, 1, 0, 0])
    found = risk_coverage(scored, points=5)["out"]
    assert found.coverage == pytest.approx((0.2, 0.4, 0.6, 0.8, 1.0))
    assert found.risk == pytest.approx((0, 1 / 2, 1 / 3, 1 / 4, 2 / 5))
    assert found.answered == 1
    assert found.answered_risk == pytest.approx(0.4)


def test_area_is_the_mean_risk() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(300)
    y = rng.random(300) < p
    found = risk_coverage(table(p, y))["out"]
    order = np.argsort(-np.maximum(p, 1 - p))
    wrong = ((p >= 0.5) != y)[order]
    assert found.area == pytest.approx((np.cumsum(wrong) / np.arange(1, 301)).mean(), abs=0.003)
    assert found.area < found.risk[-1] == pytest.approx(wrong.mean())
    # Where confidence tells nothing, abstaining does not help.
    blind = risk_coverage(table(np.full(300, 0.7), y))["out"]
    assert blind.area == pytest.approx(1 - y.mean())
    assert blind.area == pytest.approx(blind.risk[0])


def test_the_order_of_rows_that_are_equally_sure_tells_nothing() -> None:
    p, y = np.array([0.8, 0.2] * 50), np.arange(100) < 30
    backwards = risk_coverage(table(p[::-1], y[::-1]))["out"]
    found = risk_coverage(table(p, y))["out"]
    assert found.risk == pytest.approx(backwards.risk)
    assert found.risk == pytest.approx((found.risk[-1],) * 50)
    assert found.area == pytest.approx(backwards.area)


def test_a_tag_below_one_half_is_as_sure_as_its_score() -> None:
    # The threshold is 0.3: at 0.35 the label is given, with a probability of 0.35 of being right.
    found = risk_coverage(table([0.35, 0.2, 0.1], [0, 0, 0], tags=[1, 0, 0]), points=3)["out"]
    assert found.risk == pytest.approx((0, 0, 1 / 3))


def test_weighted_rows_count_as_repeated_ones() -> None:
    p, y, times = np.array([0.9, 0.3, 0.6, 0.2]), np.array([1, 1, 0, 0]), np.array([1, 2, 3, 2])
    uncertain = np.array([0, 1, 1, 0])
    weighted = table(p, y, uncertain, drawn=1 / times)
    repeated = table(np.repeat(p, times), np.repeat(y, times), np.repeat(uncertain, times))
    mine, theirs = risk_coverage(weighted, weighted.weights)["out"], risk_coverage(repeated)["out"]
    assert mine.risk == pytest.approx(theirs.risk)
    assert mine.area == pytest.approx(theirs.area)
    assert (mine.answered, theirs.answered) == pytest.approx((3 / 8, 3 / 8))
    assert mine.answered_risk == pytest.approx(0)


def test_a_model_that_never_answers_has_no_risk() -> None:
    found = risk_coverage(table([0.4, 0.6], [0, 1], [1, 1]))["out"]
    assert found.answered == 0
    assert math.isnan(found.answered_risk)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["answered_risk"] is None


def test_coverage_by_hand() -> None:
    #        right  wrong  wrong but uncertain  right and uncertain
    y = [1, 0, 1, 0, 1, 0, 1, 0]
    tags = [1, 0, 0, 1, 0, 1, 1, 0]
    uncertain = [0, 0, 0, 0, 1, 1, 1, 1]
    drawn = [0.5, 1, 1, 0.25, 1, 1, 1, 1]
    positives, negatives = conformal_coverage(table(np.full(8, 0.5), y, uncertain, tags, drawn=drawn))
    assert (positives.group, positives.label, positives.side, positives.rows) == (ALL, "out", "positives", 4)
    assert (positives.covered, positives.ordinary, positives.uncertain) == pytest.approx((3 / 4, 4 / 5, 2 / 5))
    assert (negatives.covered, negatives.ordinary, negatives.uncertain) == pytest.approx((3 / 4, 3 / 7, 2 / 7))


def test_single_rows_have_exact_intervals() -> None:
    y = np.ones(50)
    tags = np.arange(50) < 40
    (found,) = conformal_coverage(table(np.full(50, 0.5), y, tags=tags), resamples=50)
    assert found.covered_ci == exact(40, 50)
    (pairs,) = conformal_coverage(table(np.full(50, 0.5), y, tags=tags, documents=[f"d{i // 2}" for i in range(50)]))
    assert pairs.covered_ci != exact(40, 50)
    assert pairs.covered_ci[0] < 0.8 < pairs.covered_ci[1]


@pytest.mark.parametrize("right", [True, False])
def test_all_or_none_covered_is_exact_over_documents(right: bool) -> None:
    scored = table(np.full(30, 0.5), np.ones(30), tags=np.full(30, right), documents=[f"d{i // 3}" for i in range(30)])
    (found,) = conformal_coverage(scored)
    assert found.covered == right
    assert found.covered_ci == found.ordinary_ci == exact(10 * right, 10)
    assert (found.rows, found.documents) == (30, 10)


def test_groups_and_sides_without_rows_are_left_out() -> None:
    facts = [{"region": "Asia"}, {"region": "Asia"}, {"region": "Africa"}, {}]
    found = conformal_coverage(table([0.9, 0.1, 0.9, 0.9], [1, 0, 1, 0], facts=facts), "region", resamples=20)
    assert [(part.group, part.side, part.rows) for part in found] == [
        ("Africa", "positives", 1),
        ("Asia", "positives", 1),
        ("Asia", "negatives", 1),
    ]
    assert conformal_coverage(table([0.9], [1]), "region") == ()
    json.dumps([part.to_dict() for part in found], allow_nan=False)


def sample(rng: Any, n: int) -> tuple[Any, Any]:
    """Logits that tell something, and truth."""
    y = rng.random((n, 1)) < 0.2
    return rng.normal(-1.5 + 2.0 * y, 1.0), y


@pytest.mark.parametrize("error_rate", [0.1, 0.3])
def test_conformal_answers_cover_as_promised(error_rate: float) -> None:
    """Rules fitted on some rows cover others as they promise, and the intervals say so."""
    covered: dict[str, list[float]] = {"positives": [], "negatives": []}
    for repeat in range(40):
        rng = np.random.default_rng(repeat)
        logits, y = sample(rng, 600)
        rule = fit_decision_rule(logits, y, np.ones(600), error_rate=error_rate)
        more, truth = sample(rng, 600)
        decided = rule.decide(more)
        scored = replace(table(decided.probabilities, truth), tags=decided.tags, uncertain=decided.uncertain)
        for part in conformal_coverage(scored, resamples=20):
            covered[part.side].append(part.covered)
    for side, shares in covered.items():
        # An answer that the threshold gives is never excluded, so coverage is at least the promise, but for chance.
        assert np.mean(shares) >= 1 - error_rate - 0.015, side


def test_intervals_contain_the_truth_about_as_often_as_they_say() -> None:
    """Documents of five rows that are right or wrong together, drawn with unequal probabilities."""
    hits = np.zeros(2)
    repeats = 200
    for repeat in range(repeats):
        rng = np.random.default_rng(repeat)
        share = rng.beta(8, 2, 80)
        ok = rng.random((80, 5)) < share[:, None]
        drawn = rng.choice([0.2, 1.0], 400)
        documents = [f"d{i // 5}" for i in range(400)]
        scored = table(np.full(400, 0.5), np.ones(400), tags=ok.ravel(), documents=documents, drawn=drawn)
        (found,) = conformal_coverage(scored, resamples=200, seed=repeat)
        hits += [low <= 0.8 <= high for low, high in (found.covered_ci, found.ordinary_ci)]
    # Binomial: 190 of 200 with a standard deviation of 3.1.
    assert hits.min() >= 180


def test_the_seed_decides() -> None:
    rng = np.random.default_rng(1)
    scored = table(rng.random(100), rng.random(100) < 0.5, documents=[f"d{i // 4}" for i in range(100)])

    def intervals(seed: int) -> list[Coverage]:
        return list(conformal_coverage(scored, seed=seed, resamples=50))

    assert intervals(1) == intervals(1)
    assert intervals(1) != intervals(2)
