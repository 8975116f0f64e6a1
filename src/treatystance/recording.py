"""What a run leaves as flat names and values: parameters and metrics for MLflow, a record for `experiments/`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from treatystance.artifact import Artifact
from treatystance.crossval import CrossValidation
from treatystance.evaluation import Report

__all__ = ["experiment_record", "flat", "report_metrics"]


def experiment_record(artifact: Artifact, validation: CrossValidation) -> dict[str, Any]:
    """One flat record of a run, for `experiments/`: settings, hashes, seed, commit and figures.

    Args:
        artifact: the model that was fitted.
        validation: its cross-validation.
    """
    provenance = artifact.provenance
    nested = ("config", "counts", "cross_validation", "ordinary_text")
    facts = {key: value for key, value in provenance.items() if key not in nested}
    return {
        "name": artifact.name,
        "version": artifact.version,
        **facts,
        **flat(provenance["counts"], "counts."),
        **{f"config.{key}": value for key, value in flat(provenance["config"]).items()},
        **flat(artifact.model.describe(), "model."),
        **{key: round(value, 6) for key, value in report_metrics(validation.report).items()},
        **{key: round(value, 6) for key, value in report_metrics(validation.ordinary, "ordinary.").items()},
    }


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values as one level, names joined by dots; members of a list of mappings by their numbers."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            for i, part in enumerate(value):
                found |= flat(part, f"{prefix}{key}.{i}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def report_metrics(report: Report, prefix: str = "", intervals: bool = True) -> dict[str, float]:
    """Flat metrics; undefined ones (a label that a fold lacks) are left out."""
    metrics = {
        "macro_f1": report.macro_f1,
        "weighted_f1": report.weighted_f1,
        "macro_average_precision": report.macro_average_precision,
        "exact_match": report.exact_match,
        "rows": float(report.n),
    }
    if intervals:
        metrics["macro_f1_low"], metrics["macro_f1_high"] = report.macro_f1_ci
    for label, part in report.per_label.items():
        for name in ("precision", "recall", "f1", "average_precision", "support"):
            metrics[f"{label}.{name}"] = float(getattr(part, name))
        if intervals:
            for name in ("precision", "recall", "f1"):
                metrics[f"{label}.{name}_low"], metrics[f"{label}.{name}_high"] = getattr(part, f"{name}_ci")
    return {prefix + name: value for name, value in metrics.items() if np.isfinite(value)}
