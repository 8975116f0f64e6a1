"""`treatystance.evidence.slices`: reports on parts of the rows, and which are named as worst."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score

from treatystance.evaluation import Report, evaluate_scores
from treatystance.evidence.scored import ScoredRows
from treatystance.evidence.slices import Slice, slice_reports, worst
from treatystance.statement import LabelSet

LABELS = LabelSet(("out", "in"))


def table(
    targets: Any, tags: Any, facts: Sequence[dict[str, str]], documents: Sequence[str] | None = None
) -> ScoredRows:
    n = len(targets)
    return ScoredRows(
        LABELS,
        tuple(f"r{i}" for i in range(n)),
        tuple(documents or (f"d{i}" for i in range(n))),
        ("0" * 64,) * n,
        np.zeros(n, np.int64),
        np.ones(n),
        np.asarray(targets, bool),
        np.asarray(tags, bool),
        np.zeros((n, 2), bool),
        np.where(np.asarray(tags, bool), 0.9, 0.1),
        tuple(facts),
    )


def noisy(values: dict[str, tuple[int, float]], seed: int = 0) -> ScoredRows:
    """Rows of a dimension "part": by value how many, and the share of tags that are wrong."""
    rng = np.random.default_rng(seed)
    facts = [{"part": value} for value, (n, _) in values.items() for _ in range(n)]
    wrong = np.concatenate([rng.random((n, 2)) < share for n, share in values.values()])
    targets = rng.random(wrong.shape) < 0.3
    return table(targets, targets ^ wrong, facts)


def overall(scored: ScoredRows) -> Report:
    return evaluate_scores(LABELS, scored.targets, scored.probabilities, scored.tags, scored.documents, 100)


def sliced(scored: ScoredRows, **settings: Any) -> tuple[Slice, ...]:
    return slice_reports(scored, **{"resamples": 100, "dimensions": ("part",), **settings})


def test_a_slice_is_the_report_of_its_rows() -> None:
    scored = noisy({"b": (120, 0.1), "a": (80, 0.3)})
    found = sliced(scored)
    assert [(part.dimension, part.value, part.rows) for part in found] == [("part", "a", 80), ("part", "b", 120)]
    targets, tags = scored.targets[120:], scored.tags[120:]
    assert found[0].report.macro_f1 == pytest.approx(f1_score(targets, tags, average="macro"))
    assert found[0].positives == {"out": targets[:, 0].sum(), "in": targets[:, 1].sum()}
    assert found[0].name == "part a"
    record = json.loads(json.dumps([part.to_dict() for part in found], allow_nan=False))
    assert record[0]["value"] == "a"
    assert record[0]["per_label"]["out"]["f1"] == found[0].report.per_label["out"].f1


def test_small_slices_and_dimensions_of_one_value_are_left_out() -> None:
    scored = noisy({"a": (60, 0.1), "b": (49, 0.1), "c": (50, 0.1)})
    assert [part.value for part in sliced(scored)] == ["a", "c"]
    assert [part.value for part in sliced(scored, minimum=49)] == ["a", "b", "c"]
    assert sliced(noisy({"a": (60, 0.1)})) == ()
    assert sliced(scored, dimensions=("region",)) == ()


def test_rows_without_facts_stand_in_no_slice() -> None:
    scored = table(np.ones((120, 2)), np.ones((120, 2)), [{"part": "ab"[i % 2]} if i < 110 else {} for i in range(120)])
    assert [part.rows for part in sliced(scored)] == [55, 55]


def test_positive_documents_are_counted_once() -> None:
    targets = [[i < 12, i == 0] for i in range(60)] * 2
    documents = [f"d{i // 4}" for i in range(120)]
    scored = table(targets, targets, [{"part": "ab"[i // 60]} for i in range(120)], documents)
    first = sliced(scored)[0]
    assert first.positives == {"out": 12, "in": 1}
    assert first.positive_documents == {"out": 3, "in": 1}


def test_the_worst_slice_is_named_and_the_better_ones_are_not() -> None:
    scored = noisy({"good": (600, 0.05), "fair": (300, 0.08), "bad": (200, 0.4)})
    weak = worst(sliced(scored), overall(scored))
    assert {(part.slice.value, part.label) for part in weak} == {("bad", "out"), ("bad", "in")}
    line = str(weak[0])
    assert line.startswith(f"part bad: {weak[0].label} F1 {weak[0].f1:.2f} [")
    assert f"on {weak[0].positives} positives, {weak[0].overall_f1:.2f} overall" in line
    assert [part.to_dict()["value"] for part in weak] == ["bad", "bad"]
    assert len(worst(sliced(scored), overall(scored), number=1)) == 1


def test_the_surest_shortfall_comes_first() -> None:
    scored = noisy({"good": (800, 0.02), "bad": (300, 0.2), "worse": (300, 0.45)})
    weak = worst(sliced(scored), overall(scored), number=2)
    assert [part.slice.value for part in weak] == ["worse", "worse"]
    gaps = [part.overall_f1 - part.f1_ci[1] for part in weak]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] > 0


def test_few_documents_cannot_be_worst() -> None:
    # Every positive of "tiny" is missed, so no resample differs: an interval without width, of nine documents.
    targets = np.zeros((200, 2), bool)
    tags = np.zeros((200, 2), bool)
    targets[:60] = tags[:60] = True
    targets[190:199] = True
    scored = table(targets, tags, [{"part": "tiny" if i >= 150 else "rest"} for i in range(200)])
    parts = sliced(scored)
    assert parts[1].value == "tiny"
    assert parts[1].report.per_label["out"].f1_ci == (0.0, 0.0)
    assert worst(parts, overall(scored)) == ()
    assert {part.slice.value for part in worst(parts, overall(scored), min_documents=9)} == {"tiny"}


def test_equal_slices_name_none_but_by_chance() -> None:
    named = 0
    for seed in range(20):
        scored = noisy({"a": (150, 0.2), "b": (150, 0.2), "c": (150, 0.2)}, seed)
        named += len(worst(sliced(scored), overall(scored), number=10))
    # 120 intervals at 95 %, of which 2.5 % lie below.
    assert named <= 10
