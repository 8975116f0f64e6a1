"""`treatystance.evidence.paired`: differences equal naive loops, and only the same rows are compared."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, f1_score

from treatystance.errors import InputError
from treatystance.evaluation import evaluate_scores, replicates
from treatystance.evidence.paired import Difference, PairedComparison, aligned, compare, compare_parts
from treatystance.evidence.paired_calibration import compare_calibration
from treatystance.evidence.reliability import calibration, calibration_error, equal_mass
from treatystance.evidence.scored import ScoredRows
from treatystance.statement import LabelSet

LABELS = LabelSet(("out", "in"))


def table(seed: int, skill: float = 0.3, documents: int = 25) -> ScoredRows:
    """Rows of `documents` documents, the same for every seed, and what a model of some skill says of them."""
    rows = np.random.default_rng(99)
    n = 3 * documents
    targets = rows.random((n, 2)) < (0.4, 0.2)
    drawn = rows.choice([0.1, 0.5, 1.0], n)
    p = np.clip(skill * targets + np.random.default_rng(seed).random((n, 2)) * (1 - skill), 0, 1)
    return ScoredRows(
        LABELS,
        tuple(f"r{i}" for i in range(n)),
        tuple(f"d{rows.integers(documents)}" for _ in range(n)),
        tuple(f"{i:064x}" for i in range(n)),
        np.arange(n) % 5,
        drawn,
        targets,
        p > 0.5,
        np.zeros((n, 2), bool),
        p,
        tuple({"half": "first" if i < n / 2 else "second"} for i in range(n)),
    )


def draws(scored: ScoredRows, resamples: int) -> Any:
    """How often each row is drawn, resample by resample: as whole numbers."""
    return replicates(scored.documents, resamples, 0, lambda weights: weights).astype(int)


def naive_f1(scored: ScoredRows, times: Any, rows: Any, weights: Any) -> list[float]:
    """F1 of each label by scikit-learn on rows repeated as often as they were drawn; NaN where it does not occur."""
    picked = np.repeat(rows, times[rows])
    return [
        f1_score(target, tags, sample_weight=w, zero_division=0) if target.any() else np.nan
        for k in range(2)
        for target, tags, w in [(scored.targets[picked, k], scored.tags[picked, k], weights[picked])]
    ]


@pytest.mark.parametrize("ordinary", [False, True])
@pytest.mark.parametrize("part", [slice(None), slice(10, 31)])
def test_intervals_equal_those_of_a_naive_loop(ordinary: bool, part: slice) -> None:
    mine, theirs = table(1), table(2)
    rows = np.arange(len(mine))[part]
    weights = mine.weights if ordinary else np.ones(len(mine))
    found = compare_parts(mine, theirs, {"x": rows.tolist()}, 60, 0.8, 0, ordinary)["x"]
    gaps, macro_gaps = [], []
    for times in draws(mine, 60):
        a, b = naive_f1(mine, times, rows, weights), naive_f1(theirs, times, rows, weights)
        gaps.append(np.subtract(a, b))
        macro_gaps.append(np.nanmean(a) - np.nanmean(b))
    assert found.macro_f1.interval == pytest.approx(np.quantile(macro_gaps, [0.1, 0.9]))
    for k, name in enumerate(LABELS.names):
        column = np.array(gaps)[:, k]
        assert found.per_label[name].interval == pytest.approx(np.quantile(column[~np.isnan(column)], [0.1, 0.9]))
    once = np.ones(len(mine), int)
    points = [naive_f1(scored, once, rows, weights) for scored in (mine, theirs)]
    assert found.macro_f1.challenger == pytest.approx(np.mean(points[0]))
    assert found.macro_f1.champion == pytest.approx(np.mean(points[1]))
    assert found.per_label["in"].difference == pytest.approx(points[0][1] - points[1][1])
    assert (found.n, found.documents) == (len(rows), len({mine.documents[i] for i in rows}))


def test_the_whole_is_the_part_with_every_row_and_the_report_s_figures() -> None:
    mine, theirs = table(1), table(2)
    found = compare(mine, theirs, 50)
    assert found == compare_parts(mine, theirs, {"all": range(len(mine))}, 50)["all"]
    report = evaluate_scores(LABELS, mine.targets, mine.probabilities, mine.tags, mine.documents, 100)
    assert found.macro_f1.challenger == pytest.approx(report.macro_f1)
    assert found.per_label["out"].challenger == pytest.approx(report.per_label["out"].f1)


def test_a_pair_is_told_apart_more_surely_than_each_alone() -> None:
    """Both models are good and bad on the same documents: that is what pairing takes out."""
    mine = table(1)
    theirs = replace(mine, tags=mine.tags ^ (np.arange(len(mine)) % 25 == 0)[:, None])
    low, high = compare(mine, theirs, 400).macro_f1.interval
    alone = evaluate_scores(LABELS, mine.targets, mine.probabilities, mine.tags, mine.documents, 400).macro_f1_ci
    assert 0 < high - low < 0.7 * (alone[1] - alone[0])


def test_turning_the_pair_round_turns_the_signs() -> None:
    one, other = compare(table(1), table(2), 80).macro_f1, compare(table(2), table(1), 80).macro_f1
    assert one.difference == pytest.approx(-other.difference)
    assert one.interval == pytest.approx((-other.interval[1], -other.interval[0]))


def test_a_model_against_itself_differs_by_nothing() -> None:
    found = compare(table(1), table(1), 50)
    assert found.macro_f1.interval == (0.0, 0.0)
    assert {(test.challenger_only, test.champion_only, test.p_value) for test in found.mcnemar.values()} == {(0, 0, 1)}


def test_seed_and_confidence() -> None:
    def interval(**settings: Any) -> tuple[float, float]:
        return compare(table(1), table(2), 200, **settings).macro_f1.interval

    assert interval(seed=1) == interval(seed=1) != interval(seed=2)
    wide, narrow = interval(confidence=0.99), interval(confidence=0.5)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def tagged(targets: list[int], tags: list[int]) -> ScoredRows:
    """A table of one label with these flags, each row a document."""
    n = len(targets)
    some = table(1).take(range(n))
    columns = np.array([targets, tags], bool)[:, :, None]
    return replace(
        some,
        labels=LabelSet(("out",)),
        documents=some.ids,
        targets=columns[0],
        tags=columns[1],
        uncertain=np.zeros((n, 1), bool),
        probabilities=np.where(columns[1], 0.9, 0.1),
    )


def test_mcnemar_by_hand() -> None:
    targets = [1] * 12 + [0] * 8
    # Right alone: the challenger on 9 rows, the champion on one; both on 8, none on two.
    mine = tagged(targets, [1] * 9 + [0] * 3 + [0] * 8)
    theirs = tagged(targets, [0] * 9 + [1] + [0] * 2 + [0] * 8)
    test = compare(mine, theirs, 10).mcnemar["out"]
    assert (test.challenger_only, test.champion_only) == (9, 1)
    assert test.p_value == pytest.approx(2 * (1 + 10) / 2**10)
    turned = compare(theirs, mine, 10).mcnemar["out"]
    assert (turned.challenger_only, turned.champion_only, turned.p_value) == (1, 9, test.p_value)


def test_a_label_that_never_occurs_tells_nothing() -> None:
    mine, theirs = table(1), table(2)

    def on(kept: list[bool]) -> PairedComparison:
        bare = [replace(s, targets=s.targets & kept) for s in (mine, theirs)]
        return compare(bare[0], bare[1], 50)

    found, nothing = on([True, False]), on([False, False])
    assert found.per_label["in"] == Difference(0.0, 0.0, (-1.0, 1.0))
    assert found.macro_f1.challenger == found.per_label["out"].challenger
    assert nothing.macro_f1 == Difference(0.0, 0.0, (-1.0, 1.0))


def test_labels_with_few_rows_stay_out_of_macro_f1() -> None:
    mine, theirs = table(1), table(2)
    rare = int(mine.targets[:, 1].sum())
    parts = {"all": range(len(mine))}
    with_it = compare_parts(mine, theirs, parts, 20, least=rare)["all"]
    without = compare_parts(mine, theirs, parts, 20, least=rare + 1)["all"]
    assert with_it.macro_f1 == compare(mine, theirs, 20).macro_f1
    assert without.macro_f1 == without.per_label["out"]


def test_one_row() -> None:
    one = tagged([1], [1])
    assert compare(one, replace(one, tags=~one.tags), 10).macro_f1 == Difference(1.0, 0.0, (1.0, 1.0))


def test_the_order_of_rows_does_not_matter() -> None:
    mine, theirs = table(1), table(2)
    shuffled = theirs.take(np.random.default_rng(0).permutation(len(theirs)))
    assert compare(mine, shuffled, 50) == compare(mine, theirs, 50)
    assert aligned(mine, shuffled).ids == mine.ids


def changed(name: str, *places: int) -> Callable[[ScoredRows], ScoredRows]:
    def change(scored: ScoredRows) -> ScoredRows:
        values = getattr(scored, name)
        if isinstance(values, tuple):
            new: Any = tuple(f"{v}!" if i in places else v for i, v in enumerate(values))
            return replace(scored, **{name: new})
        array = values.copy()
        array[list(places)] = ~array[list(places)] if array.dtype == bool else array[list(places)] + 1
        return replace(scored, **{name: array})

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda s: s.take(range(70)), ["5 rows that only the challenger's table has", "70 rows are in both"]),
        (changed("ids", 3, 4), ["2 rows that only the challenger's table has", "2 rows that only the champion's has"]),
        (changed("sha256", 7), ["1 rows with another sentence"]),
        (changed("documents", 7, 8), ["2 rows of another document"]),
        (changed("targets", 1, 2, 3), ["3 rows with other labels"]),
        (changed("fold", 0, 10), ["2 rows tested in another fold"]),
        (lambda s: replace(s, drawn=s.drawn / 2), ["75 rows that stand for another number of sentences"]),
        (lambda s: changed("fold", 0)(changed("sha256", 1)(s)), ["1 rows with another sentence, 1 rows tested"]),
        (lambda s: s.take([]), ["75 rows that only the challenger's"]),
        (lambda s: replace(s, labels=LabelSet(("out", "stay"))), ["['out', 'in']", "['out', 'stay']"]),
        (lambda s: replace(s, labels=LabelSet(("out", "in"), exclusive=True)), ["['out', 'in'] (one each)"]),
    ],
)
@pytest.mark.parametrize("function", [compare, compare_calibration])
def test_other_rows_are_refused(function: Any, change: Callable[[ScoredRows], ScoredRows], told: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        function(table(1), change(table(2)), 10)
    assert "\n" not in str(caught.value)
    for part in told:
        assert part in str(caught.value)


def test_no_rows_are_refused() -> None:
    with pytest.raises(InputError, match="no row"):
        compare(table(1).take([]), table(2).take([]))


def test_to_dict_is_plain() -> None:
    import json

    record = json.loads(json.dumps(compare(table(1), table(2), 20).to_dict()))
    assert set(record["per_label"]) == set(record["mcnemar"]) == set(LABELS.names)
    macro = record["macro_f1"]
    assert macro["difference"] == pytest.approx(macro["challenger"] - macro["champion"])
    assert len(macro["interval"]) == 2


def naive_error(target: Any, p: Any, weights: Any, whole: Any) -> float:
    """Expected calibration error, bin by bin; the bins have equal mass in the whole table."""
    total, bins = 0.0, equal_mass(p, whole, 10)
    for i in range(10):
        inside = bins == i
        if weights[inside].sum():
            gap = np.average(p[inside], weights=weights[inside]) - np.average(target[inside], weights=weights[inside])
            total += abs(gap) * weights[inside].sum()
    return float(total / weights.sum())


def naive_skill(target: Any, p: Any, weights: Any, whole: Any) -> float:
    base = np.full(len(p), np.average(target, weights=weights))
    if base[0] in (0, 1):
        return np.nan
    return float(
        1 - brier_score_loss(target, p, sample_weight=weights) / brier_score_loss(target, base, sample_weight=weights)
    )


def test_calibration_equals_a_naive_loop() -> None:
    mine, theirs = table(1), table(2)
    times = draws(mine, 50)
    for found, each in zip(compare_calibration(mine, theirs, 50, 0.8), (np.ones(len(mine)), mine.weights), strict=True):
        for k, name in enumerate(LABELS.names):
            for part, figure in (
                (found[name].calibration_error, naive_error),
                (found[name].brier_skill, naive_skill),
            ):

                def value(
                    scored: ScoredRows, weights: Any, figure: Any = figure, k: int = k, whole: Any = each
                ) -> float:
                    return float(figure(scored.targets[:, k], scored.probabilities[:, k], weights, whole))

                assert part.challenger == pytest.approx(value(mine, each))
                assert part.champion == pytest.approx(value(theirs, each))
                gaps = [value(mine, each * t) - value(theirs, each * t) for t in times]
                assert part.interval == pytest.approx(np.nanquantile(gaps, [0.1, 0.9]))


def test_the_gate_and_the_report_mean_the_same_by_calibration_error() -> None:
    mine, theirs = table(1), table(2)
    for found, each in zip(compare_calibration(mine, theirs, 20), (None, mine.weights), strict=True):
        for scored, model in ((mine, "challenger"), (theirs, "champion")):
            told = calibration(scored, each, resamples=20)
            for name in LABELS.names:
                assert getattr(found[name].calibration_error, model) == pytest.approx(told[name].ece)


def test_calibration_error_of_sure_and_right_is_nothing_and_of_sure_and_wrong_is_all() -> None:
    target, weights = np.array([1.0, 1.0, 0.0]), np.array([1.0, 2.0, 5.0])
    assert calibration_error(target, target, weights) == 0
    assert calibration_error(1 - target, target, weights) == 1
    assert calibration_error(np.full(3, 3 / 8), target, weights) == pytest.approx(0)


def test_calibration_of_a_label_on_no_row() -> None:
    mine, theirs = (replace(s, targets=s.targets & [True, False]) for s in (table(1), table(2)))
    for found in compare_calibration(mine, theirs, 20):
        assert found["in"].brier_skill == Difference(0.0, 0.0, (-1.0, 1.0))
        assert found["in"].calibration_error.challenger > 0
