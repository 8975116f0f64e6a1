"""The evaluation report of an out-of-fold table: what can be said for a model, and where it must not be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from treatystance.errors import InputError
from treatystance.evaluation import Bools, evaluate_scores
from treatystance.evidence.abstention import conformal_coverage, risk_coverage
from treatystance.evidence.reliability import calibration
from treatystance.evidence.scored import ScoredRows
from treatystance.evidence.slices import slice_reports, worst
from treatystance.models.base import Floats

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["AS_DRAWN", "ORDINARY", "calibration_metrics", "evidence_report", "report_figures", "statement_rows"]

AS_DRAWN, ORDINARY = "as_drawn", "ordinary_text"


def evidence_report(
    scored: ScoredRows, resamples: int = 500, confidence: float = 0.95, seed: int = 0
) -> dict[str, Any]:
    """Everything that an out-of-fold table says of a model, as plain values for JSON; undefined figures are None.

    `sentences` counts each row once, `ordinary_text` as often as it stands for a sentence of ordinary text.
    `statements` scores whole documents, of which only the annotated sentences are known. `calibration` and
    `risk_coverage` come both ways (`as_drawn`, `ordinary_text`). `slices` have half the resamples.

    Args:
        scored: the rows.
        resamples: bootstrap resamples over documents.
        confidence: of the intervals.
        seed: of the resampling.

    Raises:
        InputError: there is no row.
    """
    if not len(scored):
        raise InputError("no row to report on; give the out_of_fold.jsonl of a training run")
    weights, settings = scored.weights, (resamples, confidence, seed)
    labels, documents = scored.labels, scored.documents
    whole = evaluate_scores(labels, scored.targets, scored.probabilities, scored.tags, documents, *settings)
    ordinary = evaluate_scores(labels, scored.targets, scored.probabilities, scored.tags, documents, *settings, weights)
    statements = evaluate_scores(labels, *statement_rows(scored), *settings)
    slices = slice_reports(scored, resamples=max(resamples // 2, 1), confidence=confidence, seed=seed)
    ways = {AS_DRAWN: None, ORDINARY: weights}
    return {
        "labels": list(labels.names),
        "rows": len(scored),
        "documents": len(set(documents)),
        "folds_sha256": scored.folds_sha256,
        "resamples": resamples,
        "confidence": confidence,
        "seed": seed,
        "sentences": whole.to_dict(),
        "ordinary_text": ordinary.to_dict(),
        "statements": statements.to_dict(),
        "slices": [part.to_dict() for part in slices],
        "worst_slices": [part.to_dict() | {"line": str(part)} for part in worst(slices, whole)],
        "calibration": {
            way: {
                label: part.to_dict()
                for label, part in calibration(
                    scored, given, resamples=resamples, confidence=confidence, seed=seed
                ).items()
            }
            for way, given in ways.items()
        },
        "risk_coverage": {
            way: {label: part.to_dict() for label, part in risk_coverage(scored, given).items()}
            for way, given in ways.items()
        },
        "conformal_coverage": {
            name: [part.to_dict() for part in conformal_coverage(scored, by, *settings)]
            for name, by in (("overall", None), ("region", "region"))
        },
    }


def statement_rows(scored: ScoredRows) -> tuple[Bools, Floats, Bools, list[str]]:
    """Targets, probabilities, tags and ids of the documents: union of labels, highest score, union of tags."""
    names, place = np.unique(np.asarray(scored.documents, str), return_inverse=True)
    shape = (len(names), len(scored.labels))
    targets, tags, probabilities = np.zeros(shape, bool), np.zeros(shape, bool), np.zeros(shape)
    np.logical_or.at(targets, place, scored.targets)
    np.logical_or.at(tags, place, scored.tags)
    np.maximum.at(probabilities, place, scored.probabilities)
    return targets, probabilities, tags, names.tolist()


def calibration_metrics(report: Mapping[str, Any]) -> dict[str, float]:
    """The calibration of an `evidence_report` as flat metrics; those of ordinary text begin with "ordinary_"."""
    names = {
        "brier": "brier",
        "skill": "brier_skill",
        "ece": "ece",
        "ece_above": "ece_above",
        "slope": "calibration_slope",
    }
    return {
        f"{prefix}{label}.{metric}": float(part[name])
        for prefix, way in (("", AS_DRAWN), ("ordinary_", ORDINARY))
        for label, part in report["calibration"][way].items()
        for name, metric in names.items()
        if part[name] is not None
    }


def report_figures(report: Mapping[str, Any]) -> dict[str, Figure]:
    """The pictures of an `evidence_report`, by file name."""
    from treatystance.evidence.pictures import reliability_figure, risk_coverage_figure, slices_figure

    return {
        "reliability.png": reliability_figure(report["calibration"]),
        "risk_coverage.png": risk_coverage_figure(report["risk_coverage"]),
        "slices.png": slices_figure(report["slices"], report["sentences"]),
    }
