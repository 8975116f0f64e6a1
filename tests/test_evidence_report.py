"""`treatystance.evidence.report` and `pictures`: one dictionary of plain values, and pictures drawn from it."""

import io
import json
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score

from treatystance.errors import InputError
from treatystance.evaluation import evaluate_scores
from treatystance.evidence.pictures import behaviour_figure
from treatystance.evidence.report import calibration_metrics, evidence_report, report_figures, statement_rows
from treatystance.evidence.scored import ScoredRows
from treatystance.statement import LabelSet

LABELS = LabelSet(("out", "in"))


def table(n: int = 400, labels: LabelSet = LABELS, seed: int = 0, facts: bool = True) -> ScoredRows:
    rng = np.random.default_rng(seed)
    targets = rng.random((n, len(labels))) < 0.25
    p = np.clip(0.4 * targets + 0.55 * rng.random(targets.shape), 0.001, 0.999).round(6)
    return ScoredRows(
        labels,
        tuple(f"r{i}" for i in range(n)),
        tuple(f"d{i // 3}" for i in range(n)),
        ("0" * 64,) * n,
        (np.arange(n) // 3 % 5).astype(np.int64),
        rng.choice([0.1, 1.0], n),
        targets,
        p >= 0.5,
        (p > 0.35) & (p < 0.55),
        p,
        tuple({"region": "EA"[i % 2], "person": ("first", "third", "third")[i % 3]} if facts else {} for i in range(n)),
    )


@pytest.fixture(scope="module")
def scored() -> ScoredRows:
    return table()


@pytest.fixture(scope="module")
def report(scored: ScoredRows) -> dict[str, Any]:
    return evidence_report(scored, resamples=100, seed=3)


def test_it_is_plain_values(report: dict[str, Any], scored: ScoredRows) -> None:
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert (report["rows"], report["documents"], report["labels"]) == (400, 134, ["out", "in"])
    assert report["folds_sha256"] == scored.folds_sha256


def test_sentences_and_ordinary_text_are_those_of_the_evaluation(report: dict[str, Any], scored: ScoredRows) -> None:
    arguments = (LABELS, scored.targets, scored.probabilities, scored.tags, scored.documents, 100, 0.95, 3)
    assert report["sentences"] == evaluate_scores(*arguments).to_dict()
    assert report["ordinary_text"] == evaluate_scores(*arguments, scored.weights).to_dict()
    assert report["ordinary_text"]["macro_f1"] != report["sentences"]["macro_f1"]


def test_a_statement_has_what_one_of_its_sentences_has(report: dict[str, Any], scored: ScoredRows) -> None:
    targets, probabilities, tags, documents = statement_rows(scored)
    assert len(documents) == 134
    for place in (0, 57, 133):
        rows = [i for i, name in enumerate(scored.documents) if name == documents[place]]
        assert targets[place].tolist() == scored.targets[rows].any(axis=0).tolist()
        assert tags[place].tolist() == scored.tags[rows].any(axis=0).tolist()
        assert probabilities[place].tolist() == scored.probabilities[rows].max(axis=0).tolist()
    assert report["statements"]["n"] == 134
    assert report["statements"]["macro_f1"] == pytest.approx(f1_score(targets, tags, average="macro"))


def test_its_parts(report: dict[str, Any]) -> None:
    assert [(part["dimension"], part["value"]) for part in report["slices"]] == [
        ("region", "A"),
        ("region", "E"),
        ("person", "first"),
        ("person", "third"),
    ]
    for way in ("as_drawn", "ordinary_text"):
        assert list(report["calibration"][way]) == list(report["risk_coverage"][way]) == ["out", "in"]
    ends = [report["calibration"][way]["out"]["base_rate"] for way in ("as_drawn", "ordinary_text")]
    assert ends[0] != ends[1]
    sides = [(part["label"], part["side"]) for part in report["conformal_coverage"]["overall"]]
    assert sides == [("out", "positives"), ("out", "negatives"), ("in", "positives"), ("in", "negatives")]
    assert {part["group"] for part in report["conformal_coverage"]["region"]} == {"A", "E"}


def test_the_same_seed_gives_the_same_report(report: dict[str, Any], scored: ScoredRows) -> None:
    assert evidence_report(scored, resamples=100, seed=3) == report
    assert evidence_report(scored, resamples=100, seed=4) != report


def test_the_worst_slice_is_named() -> None:
    good = table(600)
    bad = np.array([facts["region"] == "A" for facts in good.facts])
    tags = good.targets.copy()
    tags[bad, 0] ^= np.random.default_rng(0).random(int(bad.sum())) < 0.4
    report = evidence_report(ScoredRows(**{**vars(good), "tags": tags}), resamples=100)
    weakest = report["worst_slices"][0]
    assert (weakest["dimension"], weakest["value"], weakest["label"]) == ("region", "A", "out")
    assert weakest["line"].startswith("region A: out F1 ")


def test_metrics(report: dict[str, Any]) -> None:
    metrics = calibration_metrics(report)
    assert metrics["out.brier"] == report["calibration"]["as_drawn"]["out"]["brier"]
    assert metrics["ordinary_in.calibration_slope"] == report["calibration"]["ordinary_text"]["in"]["slope"]
    assert len(metrics) == 2 * 2 * 5
    assert all(np.isfinite(value) for value in metrics.values())


def pixels(figure: Any) -> Any:
    import matplotlib.image

    with io.BytesIO() as out:
        figure.savefig(out, format="png")
        out.seek(0)
        return matplotlib.image.imread(out, format="png")


def test_pictures(report: dict[str, Any]) -> None:
    # From what was written to a file as well as from what was just computed.
    figures = report_figures(json.loads(json.dumps(report)))
    assert sorted(figures) == ["reliability.png", "risk_coverage.png", "slices.png"]
    for figure in figures.values():
        assert pixels(figure).std() > 0.02
    panels = figures["reliability.png"].axes
    assert [axis.get_title() for axis in panels] == ["out", "in"]
    drawn: Any = panels[0].lines[-1].get_xdata()
    points = report["calibration"]["ordinary_text"]["out"]["points"]
    assert list(drawn) == pytest.approx([point["score"] for point in points])
    values = [tick.get_text() for tick in figures["slices.png"].axes[0].get_yticklabels()]
    assert values == ["A  (200)", "E  (200)", "first  (134)", "third  (266)", "region", "person"]


def edge_cases() -> dict[str, ScoredRows]:
    whole = table(120)
    return {
        "one row": whole.take([0]),
        "no facts, as in older tables": table(60, facts=False),
        "no positives": ScoredRows(**{**vars(whole), "targets": np.zeros_like(whole.targets)}),
        "all positives": ScoredRows(**{**vars(whole), "targets": np.ones_like(whole.targets)}),
        "never answers": ScoredRows(**{**vars(whole), "uncertain": np.ones_like(whole.tags)}),
        "one score": ScoredRows(**{**vars(whole), "probabilities": np.full(whole.tags.shape, 0.2)}),
        "one label": table(80, LabelSet(("out",))),
        "eight labels": table(200, LabelSet(tuple("abcdefgh"))),
        "one label per row": table(80, LabelSet(("hawkish", "dovish"), exclusive=True)),
    }


@pytest.mark.parametrize("case", edge_cases())
def test_edge_cases_are_reported_and_drawn(case: str) -> None:
    report = evidence_report(edge_cases()[case], resamples=100)
    json.dumps(report, allow_nan=False)
    for figure in report_figures(report).values():
        pixels(figure)


def test_no_row_is_no_report() -> None:
    with pytest.raises(InputError, match=r"no row to report on; give the out_of_fold\.jsonl of a training run"):
        evidence_report(table(3).take([]))


def test_behaviour_is_drawn_worst_first() -> None:
    figure = behaviour_figure({"calls_on_others": (14, 14), "denial": (3, 12), "typos": (6, 12)})
    axis: Any = figure.axes[0]
    assert [tick.get_text() for tick in axis.get_yticklabels()] == ["denial", "typos", "calls on others"]
    assert [text.get_text() for text in axis.texts] == ["3 of 12", "6 of 12", "14 of 14"]
    assert [bar.get_width() for bar in axis.patches[1::2]] == pytest.approx([25, 50, 100])
    assert axis.get_ylim()[0] > axis.get_ylim()[1]  # the first on top
    pixels(figure)
