"""Two models on the same rows, none of which either was trained on: differences with paired intervals, McNemar's test.

Intervals are percentile cluster bootstraps: whole documents are resampled, and each resample counts for both models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from treatystance.errors import InputError
from treatystance.evaluation import Bools, Interval, mean_defined, percentile_interval, replicates
from treatystance.evidence.scored import ScoredRows
from treatystance.models.base import Floats

__all__ = [
    "Difference",
    "McNemar",
    "PairedComparison",
    "aligned",
    "compare",
    "compare_parts",
    "difference",
]


@dataclass(frozen=True, slots=True)
class Difference:
    """A figure of both models, and the interval of challenger minus champion."""

    challenger: float
    champion: float
    interval: Interval

    @property
    def difference(self) -> float:
        """Challenger minus champion."""
        return self.challenger - self.champion

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {
            "challenger": self.challenger,
            "champion": self.champion,
            "difference": self.difference,
            "interval": list(self.interval),
        }


@dataclass(frozen=True, slots=True)
class McNemar:
    """McNemar's exact test (1947) of one label: how many rows only one model has right, and the two-sided p-value.

    It takes rows as independent, which those of one document are not; the intervals do not.
    """

    challenger_only: int
    champion_only: int
    p_value: float

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {
            "challenger_only": self.challenger_only,
            "champion_only": self.champion_only,
            "p_value": self.p_value,
        }


@dataclass(frozen=True)
class PairedComparison:
    """Differences of F1, challenger minus champion.

    Macro-F1 is the mean over the labels that occur among the rows (in a resample: among those drawn); where each
    occurs, it is that of the report. With `ordinary`, rows count as often as they stand for sentences of ordinary text;
    McNemar's test always counts rows.
    """

    n: int
    documents: int
    resamples: int
    confidence: float
    ordinary: bool
    macro_f1: Difference
    per_label: dict[str, Difference]
    mcnemar: dict[str, McNemar]

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {
            "n": self.n,
            "documents": self.documents,
            "resamples": self.resamples,
            "confidence": self.confidence,
            "ordinary": self.ordinary,
            "macro_f1": self.macro_f1.to_dict(),
            "per_label": {label: part.to_dict() for label, part in self.per_label.items()},
            "mcnemar": {label: part.to_dict() for label, part in self.mcnemar.items()},
        }


def compare(
    challenger: ScoredRows,
    champion: ScoredRows,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
    ordinary: bool = False,
) -> PairedComparison:
    """Compare the tags of two out-of-fold tables of the same rows.

    Args:
        challenger: one table.
        champion: the other; its rows may stand in another order.
        resamples: number of bootstrap resamples of documents.
        confidence: of the intervals.
        seed: of the resampling.
        ordinary: count a row as often as it stands for a sentence of ordinary text.

    Raises:
        InputError: the tables are not of the same rows, sentences, labels and folds.
    """
    everything = {"": range(len(challenger))}
    return compare_parts(challenger, champion, everything, resamples, confidence, seed, ordinary)[""]


def compare_parts(
    challenger: ScoredRows,
    champion: ScoredRows,
    parts: Mapping[str, Sequence[int]],
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
    ordinary: bool = False,
    least: int = 1,
) -> dict[str, PairedComparison]:
    """Compare on parts of the rows, such as slices, by the same resamples of all documents.

    Args:
        challenger: one table.
        champion: the other; its rows may stand in another order.
        parts: by name, places of rows in the challenger's table; parts may share rows.
        resamples: number of bootstrap resamples of documents.
        confidence: of each interval.
        seed: of the resampling.
        ordinary: count a row as often as it stands for a sentence of ordinary text.
        least: macro-F1 averages the labels that at least so many rows of the part carry.

    Raises:
        InputError: the tables are not of the same rows, sentences, labels and folds.
    """
    from scipy.sparse import csr_array

    champion = aligned(challenger, champion)
    targets, names = challenger.targets, challenger.labels.names
    both = (challenger, champion)
    each = challenger.weights if ordinary else np.ones(len(challenger))
    # Per row and part: what is carried, what each model gives, and what it gives rightly. Their sums are all of F1.
    flags = np.hstack([targets, *(s.tags for s in both), *(s.tags & targets for s in both)])
    inside = np.zeros((len(challenger), len(parts)), bool)
    for column, places in enumerate(parts.values()):
        inside[np.asarray(places, np.intp), column] = True
    table = csr_array((inside[:, :, None] & flags[:, None]).reshape(len(challenger), -1), dtype=np.float64)

    def statistic(drawn: Floats) -> Floats:
        """F1, NaN where the label does not occur: shape (resamples, parts, 2, labels)."""
        sums = np.asarray((drawn * each) @ table).reshape(len(drawn), len(parts), 5, len(names))
        carried, given, right = sums[:, :, :1], sums[:, :, 1:3], sums[:, :, 3:]
        occurs = np.broadcast_to(carried > 0, given.shape)
        return np.asarray(np.divide(2 * right, carried + given, out=np.full(given.shape, np.nan), where=occurs))

    point = statistic(np.ones((1, len(challenger))))[0]
    found = replicates(challenger.documents, resamples, seed, statistic)
    compared = {}
    for p, (part, places) in enumerate(parts.items()):
        rows = np.asarray(places, np.intp)
        counted = targets[rows].sum(axis=0) >= least
        macro_point = mean_defined(np.where(counted, point[p], np.nan))
        macro = [mean_defined(np.where(counted, found[:, p, m], np.nan)) for m in (0, 1)]
        compared[part] = PairedComparison(
            n=len(rows),
            documents=len({challenger.documents[i] for i in rows}),
            resamples=resamples,
            confidence=confidence,
            ordinary=ordinary,
            macro_f1=difference(macro_point, np.column_stack(macro), confidence),
            per_label={name: difference(point[p, :, k], found[:, p, :, k], confidence) for k, name in enumerate(names)},
            mcnemar={
                name: _mcnemar(*(s.tags[rows, k] == targets[rows, k] for s in both)) for k, name in enumerate(names)
            },
        )
    return compared


def aligned(challenger: ScoredRows, champion: ScoredRows) -> ScoredRows:
    """The champion's table in the challenger's order.

    Raises:
        InputError: the tables are not of the same rows, sentences, documents, labels, folds and weights; says how many
            differ.
    """
    if challenger.labels != champion.labels:
        mine, theirs = (
            f"{list(labels.names)}{' (one each)' if labels.exclusive else ''}"
            for labels in (challenger.labels, champion.labels)
        )
        raise InputError(f"label sets differ: {mine} of the challenger, {theirs} of the champion")
    place = {row: i for i, row in enumerate(champion.ids)}
    found = [place.get(row, -1) for row in challenger.ids]
    shared = np.array([i for i, j in enumerate(found) if j >= 0], np.intp)
    order = np.array([j for j in found if j >= 0], np.intp)

    def differing(mine: npt.NDArray[Any], theirs: npt.NDArray[Any]) -> int:
        different = mine[shared] != theirs[order]
        return int((different.any(axis=1) if different.ndim == 2 else different).sum())

    counts = {
        "rows that only the challenger's table has": len(challenger) - len(shared),
        "rows that only the champion's has": len(champion) - len(shared),
        "rows with another sentence": differing(np.array(challenger.sha256), np.array(champion.sha256)),
        "rows of another document": differing(np.array(challenger.documents), np.array(champion.documents)),
        "rows with other labels": differing(challenger.targets, champion.targets),
        "rows tested in another fold": differing(challenger.fold, champion.fold),
        "rows that stand for another number of sentences": differing(challenger.drawn, champion.drawn),
    }
    if faults := [f"{count} {what}" for what, count in counts.items() if count]:
        raise InputError(
            "only rows that neither model was trained on can be compared, and the tables differ: "
            f"{', '.join(faults)} ({len(shared)} rows are in both); train both models on the same "
            "corpus, with the same split and seed"
        )
    if not len(challenger):
        raise InputError("there is no row to compare the models on")
    return champion.take(order)


def difference(point: Floats, drawn: Floats, confidence: float) -> Difference:
    """The difference of a figure from its value for both models, shape (2,), and replicates, shape (resamples, 2)."""
    gaps = drawn[:, 0] - drawn[:, 1]
    # Where no resample defines the figure, nothing is known of the difference.
    interval = (-1.0, 1.0) if np.isnan(gaps).all() else percentile_interval(gaps, confidence)
    challenger, champion = np.nan_to_num(point)
    return Difference(float(challenger), float(champion), interval)


def _mcnemar(challenger: Bools, champion: Bools) -> McNemar:
    """From whether each row is right."""
    from scipy.stats import binomtest

    mine, theirs = int((challenger & ~champion).sum()), int((champion & ~challenger).sum())
    return McNemar(mine, theirs, float(binomtest(mine, mine + theirs).pvalue) if mine + theirs else 1.0)
