"""Two annotators: Krippendorff's alpha per label with a bootstrap interval, their confusion, and adjudications."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from treatystance.corpus.records import Annotation
from treatystance.errors import InputError
from treatystance.statement import LabelSet

__all__ = ["Agreement", "adjudications", "agreement", "confusion"]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement on one label.

    `alpha` is Krippendorff's alpha (nominal; Krippendorff 2011) with its 95 % percentile interval over documents, both
    None where the label does not vary;
    `raw` the share of sentences on which both agree; `both`, `first_only`, `second_only`, `neither` the confusion.
    """

    label: str
    alpha: float | None
    alpha_ci: tuple[float, float] | None
    raw: float
    both: int
    first_only: int
    second_only: int
    neither: int

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {**asdict(self), "alpha_ci": list(self.alpha_ci) if self.alpha_ci else None}


def agreement(
    annotations: Sequence[Annotation], labels: LabelSet, resamples: int = 1000, seed: int = 0
) -> list[Agreement]:
    """Agreement per label over the annotations that carry both annotators' labels.

    Raises:
        InputError: no annotation carries both.
    """
    import krippendorff

    pairs = _pairs(annotations)
    documents, place = np.unique([f"{a.corpus}:{a.doc_id}" for a in pairs], return_inverse=True)
    members = [np.flatnonzero(place == i) for i in range(len(documents))]
    rng = np.random.default_rng(seed)
    draws = [
        np.concatenate([members[i] for i in rng.integers(len(documents), size=len(documents))])
        for _ in range(resamples)
    ]
    results = []
    for name in labels.names:
        first = np.array([name in (a.first or ()) for a in pairs], float)
        second = np.array([name in (a.second or ()) for a in pairs], float)

        def alpha(rows: Any, first: Any = first, second: Any = second) -> float:
            values = np.stack([first[rows], second[rows]])
            if values.min() == values.max():
                return float("nan")
            return float(krippendorff.alpha(reliability_data=values, level_of_measurement="nominal"))

        point = alpha(np.arange(len(pairs)))
        defined = [value for rows in draws if not np.isnan(value := alpha(rows))]
        interval = np.percentile(defined, [2.5, 97.5]).tolist() if defined else None
        a, b = first.astype(bool), second.astype(bool)
        results.append(
            Agreement(
                label=name,
                alpha=None if np.isnan(point) else point,
                alpha_ci=(interval[0], interval[1]) if interval else None,
                raw=float(np.mean(a == b)),
                both=int(np.sum(a & b)),
                first_only=int(np.sum(a & ~b)),
                second_only=int(np.sum(~a & b)),
                neither=int(np.sum(~a & ~b)),
            )
        )
    return results


def confusion(annotations: Sequence[Annotation]) -> list[dict[str, Any]]:
    """How often the first annotator gave one set of labels and the second another (or the same), most often first.

    Raises:
        InputError: no annotation carries both.
    """
    counts = Counter((tuple(sorted(a.first or ())), tuple(sorted(a.second or ()))) for a in _pairs(annotations))
    return [
        {"first": list(first), "second": list(second), "count": count}
        for (first, second), count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]


def adjudications(annotations: Sequence[Annotation]) -> list[dict[str, Any]]:
    """The rows on which the annotators differed or a label was changed later: where, what each said, what was decided.

    Raises:
        InputError: no annotation carries both annotators' labels.
    """
    return [
        {
            "corpus": a.corpus,
            "doc_id": a.doc_id,
            "start": a.start,
            "first": list(a.first or ()),
            "second": list(a.second or ()),
            "labels": list(a.labels),
        }
        for a in _pairs(annotations)
        if not set(a.first or ()) == set(a.second or ()) == set(a.labels)
    ]


def _pairs(annotations: Sequence[Annotation]) -> list[Annotation]:
    pairs = [a for a in annotations if a.first is not None and a.second is not None]
    if not pairs:
        raise InputError("no row carries the labels of two annotators (`first` and `second`)")
    return pairs
