"""Scores on parts of the rows (a region, a decade, a treaty family), and where a label is weakest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from treatystance.evaluation import Report, evaluate_scores
from treatystance.evidence.facts import DIMENSIONS
from treatystance.evidence.scored import ScoredRows

__all__ = ["Slice", "WeakSlice", "slice_reports", "worst"]

# Documents with a label from which its F1 in a slice is worth an opinion.
MIN_DOCUMENTS = 10


@dataclass(frozen=True, slots=True)
class Slice:
    """The rows with one value of a dimension, such as region Africa, and the scores on them.

    `positive_documents` says in how many documents each label stands.
    """

    dimension: str
    value: str
    report: Report
    positive_documents: dict[str, int]

    @property
    def name(self) -> str:
        """For people: "region Africa"."""
        return f"{self.dimension.replace('_', ' ')} {self.value}"

    @property
    def rows(self) -> int:
        """How many rows."""
        return self.report.n

    @property
    def positives(self) -> dict[str, int]:
        """How many rows carry each label."""
        return {label: part.support for label, part in self.report.per_label.items()}

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {
            "dimension": self.dimension,
            "value": self.value,
            "positive_documents": self.positive_documents,
            **self.report.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class WeakSlice:
    """A label that is weak in a slice: its F1 there with its interval, and its F1 on all rows."""

    slice: Slice
    label: str
    overall_f1: float

    @property
    def f1(self) -> float:
        """F1 of the label in the slice."""
        return self.slice.report.per_label[self.label].f1

    @property
    def f1_ci(self) -> tuple[float, float]:
        """Its interval."""
        return self.slice.report.per_label[self.label].f1_ci

    @property
    def positives(self) -> int:
        """How many rows of the slice carry the label."""
        return self.slice.report.per_label[self.label].support

    def __str__(self) -> str:
        low, high = self.f1_ci
        return (
            f"{self.slice.name}: {self.label} F1 {self.f1:.2f} [{low:.2f}, {high:.2f}] on {self.positives} positives, "
            f"{self.overall_f1:.2f} overall"
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {
            "dimension": self.slice.dimension,
            "value": self.slice.value,
            "label": self.label,
            "f1": self.f1,
            "f1_ci": list(self.f1_ci),
            "positives": self.positives,
            "overall_f1": self.overall_f1,
        }


def slice_reports(
    scored: ScoredRows,
    minimum: int = 50,
    resamples: int = 500,
    confidence: float = 0.95,
    seed: int = 0,
    dimensions: Sequence[str] = DIMENSIONS,
) -> tuple[Slice, ...]:
    """Scores on every slice with at least `minimum` rows; by dimension, values sorted.

    A row whose facts lack a dimension stands in none of its slices; a dimension with a single value has no slices.

    Args:
        scored: rows, decisions and facts.
        minimum: rows that a slice needs.
        resamples: bootstrap resamples over the slice's documents.
        confidence: of the intervals.
        seed: of the resampling.
        dimensions: which facts to slice by.
    """
    found = []
    for dimension in dimensions:
        members: dict[str, list[int]] = {}
        for place, facts in enumerate(scored.facts):
            if dimension in facts:
                members.setdefault(facts[dimension], []).append(place)
        if len(members) < 2:
            continue
        for value, places in sorted(members.items()):
            if len(places) >= minimum:
                part = scored.take(places)
                report = evaluate_scores(
                    part.labels,
                    part.targets,
                    part.probabilities,
                    part.tags,
                    part.documents,
                    resamples,
                    confidence,
                    seed,
                )
                documents = {
                    label: len({part.documents[i] for i in np.flatnonzero(part.targets[:, k])})
                    for k, label in enumerate(part.labels.names)
                }
                found.append(Slice(dimension, value, report, documents))
    return tuple(found)


def worst(
    slices: Sequence[Slice], overall: Report, number: int = 3, min_documents: int = MIN_DOCUMENTS
) -> tuple[WeakSlice, ...]:
    """The labels and slices with the surest shortfall, worst first.

    A label's shortfall in a slice is its F1 on all rows less the upper end of its interval in the slice: what is left
    of the difference when the slice is given the benefit of the doubt. So a small slice, whose interval is wide, is
    named only if it is much worse, and a label that is hard everywhere does not fill the list. Slices where the label
    stands in fewer than `min_documents` documents do not count (a bootstrap of few documents has intervals that are too
    narrow), nor do those whose interval reaches the F1 on all rows. Of some hundred intervals, a few miss by chance.

    Args:
        slices: from `slice_reports`.
        overall: the report on all rows.
        number: how many to name at most.
        min_documents: documents with the label that a slice needs.
    """
    weak = [
        (overall.per_label[label].f1 - part.f1_ci[1], WeakSlice(given, label, overall.per_label[label].f1))
        for given in slices
        for label, part in given.report.per_label.items()
        if given.positive_documents[label] >= min_documents
    ]
    weak.sort(key=lambda item: -item[0])
    return tuple(found for shortfall, found in weak[:number] if shortfall > 0)
