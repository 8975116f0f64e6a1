"""`treatystance.evaluation`: figures equal scikit-learn's, intervals resample whole documents."""

import json
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score

from treatystance import evaluation
from treatystance.evaluation import Report, evaluate_scores, resample_weights
from treatystance.statement import LabelSet

LABELS = LabelSet(("out", "in"))


def ordinary(seed: int = 0, documents: int = 60) -> tuple[Any, Any, Any, list[str]]:
    """Targets, probabilities, tags and documents of five rows each, with scores that tell something."""
    rng = np.random.default_rng(seed)
    targets = rng.random((documents * 5, 2)) < (0.3, 0.15)
    p = np.clip(0.35 * targets + rng.random(targets.shape) * 0.6, 0, 1)
    return targets, p, p > 0.5, [f"d{i // 5}" for i in range(len(targets))]


def report(targets: Any, p: Any, tags: Any, documents: list[str], **settings: Any) -> Report:
    return evaluate_scores(LABELS, targets, p, tags, documents, **{"resamples": 200, **settings})


@st.composite
def tables(draw: st.DrawFn) -> tuple[Any, Any, Any]:
    n = draw(st.integers(1, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    # Few distinct scores: many ties.
    p = rng.integers(0, draw(st.sampled_from([2, 4, 1000])), size=(n, 2)) / 1000
    return rng.random((n, 2)) < draw(st.sampled_from([0.1, 0.5, 0.9])), p, rng.random((n, 2)) < 0.5


@given(tables())
@settings(max_examples=150, deadline=None)
def test_figures_equal_those_of_scikit_learn(table: tuple[Any, Any, Any]) -> None:
    targets, p, tags = table
    found = report(targets, p, tags, ["d"] * len(p), resamples=100)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns where a label never occurs
        for k, name in enumerate(LABELS.names):
            part = found.per_label[name]
            pair = (targets[:, k], tags[:, k])
            assert part.precision == pytest.approx(precision_score(*pair, zero_division=0))
            assert part.recall == pytest.approx(recall_score(*pair, zero_division=0))
            assert part.f1 == pytest.approx(f1_score(*pair, zero_division=0))
            assert part.average_precision == pytest.approx(average_precision_score(targets[:, k], p[:, k]))
            assert part.support == targets[:, k].sum()
        assert found.macro_f1 == pytest.approx(f1_score(targets, tags, average="macro", zero_division=0))
        assert found.weighted_f1 == pytest.approx(f1_score(targets, tags, average="weighted", zero_division=0))
    assert found.exact_match == pytest.approx((targets == tags).all(axis=1).mean())


def test_average_precision_of_resamples_equals_repeated_rows() -> None:
    targets, p, _, documents = ordinary(1, 8)
    weights = resample_weights(documents, 5, 0)
    found = evaluation._average_precision(targets[:, 0], p[:, 0], weights)
    times = weights.astype(int)
    wanted = [average_precision_score(targets[:, 0].repeat(t), p[:, 0].repeat(t)) for t in times]
    assert found == pytest.approx(wanted)


POINTS = ("macro_f1", "weighted_f1", "macro_average_precision", "exact_match")
LABEL_POINTS = ("precision", "recall", "f1", "average_precision")


def points(found: Report) -> list[float]:
    """Every figure but intervals and counts."""
    parts = found.per_label.values()
    return [getattr(found, n) for n in POINTS] + [getattr(part, n) for part in parts for n in LABEL_POINTS]


@given(tables(), st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_a_weight_counts_like_repeated_rows(table: tuple[Any, Any, Any], seed: int) -> None:
    targets, p, tags = table
    times = np.random.default_rng(seed).integers(1, 6, len(p))
    documents = [f"d{i // 2}" for i in range(len(p))]
    weighted = report(targets, p, tags, documents, resamples=100, weights=times.astype(float))
    many = [part.repeat(times, axis=0) for part in (targets, p, tags)]
    repeated = report(many[0], many[1], many[2], np.array(documents).repeat(times).tolist(), resamples=100)
    assert points(weighted) == pytest.approx(points(repeated))
    # Counts are of rows.
    assert (weighted.n, weighted.documents) == (len(p), repeated.documents)
    assert [part.support for part in weighted.per_label.values()] == targets.sum(axis=0).tolist()


def test_weights_by_hand() -> None:
    targets = np.array([[True], [True], [False], [False]])
    tags = np.array([[True], [False], [True], [False]])
    p = np.array([[0.9], [0.4], [0.8], [0.1]])
    weights = np.array([2.0, 1.0, 4.0, 3.0])
    found = evaluate_scores(LabelSet(("a",)), targets, p, tags, list("wxyz"), 100, weights=weights)
    part = found.per_label["a"]
    assert (part.precision, part.recall, part.support) == pytest.approx((2 / 6, 2 / 3, 2))
    assert part.f1 == found.macro_f1 == found.weighted_f1 == pytest.approx(4 / 9)
    assert part.average_precision == pytest.approx(2 / 3 * 1 + 1 / 3 * 3 / 7)
    assert found.exact_match == pytest.approx(5 / 10)


def test_only_what_rows_weigh_beside_one_another_counts() -> None:
    data = ordinary()
    weights = np.random.default_rng(4).uniform(0.5, 20, len(data[0]))
    plain, ones = report(*data), report(*data, weights=np.full(len(data[0]), 1.0))
    assert plain == ones
    one, other = report(*data, weights=weights), report(*data, weights=weights / 64)
    assert points(one) == pytest.approx(points(other))
    assert points(one) != pytest.approx(points(plain), abs=1e-3)
    assert one.macro_f1_ci == pytest.approx(other.macro_f1_ci)
    assert one.macro_f1_ci[0] < one.macro_f1 < one.macro_f1_ci[1]


def test_intervals_contain_the_point_estimate_and_grow_with_confidence() -> None:
    data = ordinary()
    found, wide = report(*data), report(*data, confidence=0.99)
    assert found.macro_f1_ci[0] < found.macro_f1 < found.macro_f1_ci[1]
    assert wide.macro_f1_ci[0] < found.macro_f1_ci[0] < found.macro_f1_ci[1] < wide.macro_f1_ci[1]
    for part in found.per_label.values():
        assert part.f1_ci[0] < part.f1 < part.f1_ci[1]
        assert part.average_precision_ci[0] < part.average_precision < part.average_precision_ci[1]


def test_interval_has_its_nominal_coverage() -> None:
    # The F1 of these data in the limit, and how often the 90 % interval of 40 documents holds it.
    truth = report(*ordinary(99, 20_000), resamples=100).macro_f1
    hits = [low <= truth <= high for low, high in
            (report(*ordinary(seed, 40), confidence=0.9).macro_f1_ci for seed in range(150))]  # fmt: skip
    assert 0.82 <= np.mean(hits) <= 0.97


def test_resampling_draws_whole_documents() -> None:
    documents = ["a", "b", "a", "c", "b", "a"]
    weights = resample_weights(documents, 500, 3)
    assert weights.shape == (500, 6)
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, 0] == weights[:, 5]).all()
    assert (weights[:, 1] == weights[:, 4]).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(6), abs=0.15)


def test_one_document_has_an_interval_without_width() -> None:
    targets, p, tags, _ = ordinary()
    found = report(targets, p, tags, ["d"] * len(p))
    assert found.documents == 1
    assert found.macro_f1_ci == pytest.approx((found.macro_f1, found.macro_f1))


def test_same_seed_same_interval() -> None:
    data = ordinary()
    assert report(*data, seed=1) == report(*data, seed=1)
    assert report(*data, seed=1).macro_f1_ci != report(*data, seed=2).macro_f1_ci


@pytest.mark.parametrize(("cells", "chunks"), [(300 * 200, 1), (300 * 64, 4), (1, 200)])
def test_chunks_give_as_many_replicates(monkeypatch: pytest.MonkeyPatch, cells: int, chunks: int) -> None:
    data = ordinary()
    whole = report(*data).macro_f1_ci
    sizes: list[int] = []

    def recorded(documents: Any, resamples: int, seed: int) -> Any:
        sizes.append(resamples)
        return resample_weights(documents, resamples, seed)

    monkeypatch.setattr(evaluation, "_CELLS", cells)
    monkeypatch.setattr(evaluation, "resample_weights", recorded)
    found = report(*data).macro_f1_ci
    assert (len(sizes), sum(sizes)) == (chunks, 200)
    assert found == pytest.approx(whole, abs=0.02)


def test_chunks_draw_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "_CELLS", 1)
    documents = [str(i) for i in range(30)]
    rows = evaluation.replicates(documents, 20, 0, lambda weights: weights)
    assert len(np.unique(rows, axis=0)) == 20


def undefined(kind: str) -> tuple[Any, Any, Any, list[str]]:
    targets, p, tags, documents = ordinary()
    if kind == "no rows":
        return targets[:0], p[:0], tags[:0], []
    if kind == "a label never occurs":
        return targets & [True, False], p, tags, documents
    if kind == "nothing is given":
        return targets, p, np.zeros_like(tags), documents
    if kind == "a label neither occurs nor is given":
        return targets & [True, False], p, tags & [True, False], documents
    return np.zeros_like(targets), p, np.zeros_like(tags), documents


UNDEFINED = [
    "no rows",
    "a label never occurs",
    "nothing is given",
    "a label neither occurs nor is given",
    "nothing occurs and nothing is given",
]


@pytest.mark.parametrize("kind", UNDEFINED)
def test_undefined_cases_are_zero_within_their_interval_and_json(kind: str) -> None:
    data = undefined(kind)
    found = report(*data)
    assert found.n == len(data[0])
    text = json.dumps(found.to_dict(), allow_nan=False)
    assert set(json.loads(text)["per_label"]) == set(LABELS.names)
    for part in found.per_label.values():
        assert part.f1_ci[0] <= part.f1 <= part.f1_ci[1]
        if not part.support:
            assert part.f1 == part.recall == part.average_precision == 0
    assert found.macro_f1_ci[0] <= found.macro_f1 <= found.macro_f1_ci[1]


def test_to_dict_has_every_field_with_plain_values() -> None:
    record = report(*ordinary()).to_dict()
    assert record == json.loads(json.dumps(record, allow_nan=False))
    assert {"n", "documents", "macro_f1", "macro_f1_ci", "per_label"} <= set(record)
    assert set(record["per_label"]["out"]) >= {"precision", "recall", "f1", "average_precision", "support"}
