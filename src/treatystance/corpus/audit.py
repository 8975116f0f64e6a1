"""Which labels are likely wrong: confident learning (Northcutt et al. 2021) on cross-validated scores, by cleanlab."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from treatystance.errors import InputError, MissingExtraError
from treatystance.statement import LabelSet

__all__ = ["audit", "read_out_of_fold"]


def read_out_of_fold(path: Path) -> list[dict[str, Any]]:
    """The rows of an out-of-fold table, as training logs it: `id`, `labels`, `probabilities` in label order.

    Raises:
        InputError: the file cannot be read or is no such table.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            rows.append({**row, "id": str(row["id"]), "labels": list(row["labels"])})
            if not all(0 <= p <= 1 for p in row["probabilities"]):
                raise ValueError("a probability lies outside 0 to 1")
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}:{number}: not a row of an out-of-fold table ({error})") from None
    if not rows:
        raise InputError(f"{path}: empty; give the out_of_fold.jsonl of a training run")
    return rows


def audit(
    rows: Iterable[Mapping[str, Any]], labels: LabelSet, texts: Mapping[str, str] | None = None, top: int = 150
) -> list[dict[str, Any]]:
    """The rows whose labels agree least with scores that did not see them, worst first.

    Args:
        rows: of an out-of-fold table.
        labels: names of the columns.
        texts: sentences by row id, shown where known.
        top: how many rows.

    Returns:
        For each row `id`, `labels`, `scores`, `quality` (0 to 1, low where a label is likely wrong), `suspect` (the
        labels in doubt) and `text`.

    Raises:
        InputError: a label is unknown, or a row has not one probability per label.
        MissingExtraError: cleanlab is not installed.
    """
    try:
        from cleanlab.multilabel_classification import get_label_quality_scores
    except ImportError:
        raise MissingExtraError("the label audit needs cleanlab: pip install 'treatystance[audit]'") from None
    rows = list(rows)
    place = {name: i for i, name in enumerate(labels.names)}
    for row in rows:
        if unknown := [name for name in row["labels"] if name not in place]:
            raise InputError(f"{row['id']}: unknown label {unknown[0]!r}; the labels are {', '.join(labels.names)}")
        if len(row["probabilities"]) != len(labels):
            raise InputError(f"{row['id']}: {len(row['probabilities'])} probabilities for {len(labels)} labels")
    given = [[place[name] for name in row["labels"]] for row in rows]
    scores = np.array([row["probabilities"] for row in rows], dtype=np.float64)
    # The lowest self-confidence of a row's labels: one wrong label is enough to look at the row.
    quality = get_label_quality_scores(given, scores, method="self_confidence", aggregator_kwargs={"method": _lowest})
    worst = np.argsort(quality, kind="stable")[:top]
    found = []
    for i in worst:
        row = rows[i]
        doubt = [n for n, k in place.items() if (scores[i, k] < 0.5) == (n in row["labels"])]
        found.append(
            {
                "id": row["id"],
                "labels": list(row["labels"]),
                "suspect": doubt,
                "quality": round(float(quality[i]), 4),
                "scores": {name: round(float(scores[i, k]), 4) for name, k in place.items()},
                "text": (texts or {}).get(row["id"]),
            }
        )
    return found


def _lowest(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(scores.min(axis=1), dtype=np.float64)
