"""Which labels are likely wrong: self-confidence of each label under cross-validated scores (cleanlab; Kuan 2022)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from treatystance.config import explain
from treatystance.errors import InputError, MissingExtraError
from treatystance.statement import LabelSet

__all__ = ["audit", "read_out_of_fold"]


class _TableRow(BaseModel):
    """What the audit needs of a row; other keys are ignored."""

    model_config = ConfigDict(strict=True)

    id: str
    labels: list[str]
    probabilities: list[Annotated[float, Field(ge=0, le=1)]]


def read_out_of_fold(path: Path) -> list[dict[str, Any]]:
    """The rows of an out-of-fold table, as training logs it: `id`, `labels`, `probabilities` in label order.

    Raises:
        InputError: the file cannot be read or is no such table.
    """
    try:
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            rows.append(_TableRow.model_validate_json(line).model_dump())
        except ValidationError as error:
            raise InputError(
                f"{path}:{number}: not a row of an out-of-fold table ({'; '.join(explain(error))})"
            ) from None
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
        from cleanlab.rank import get_label_quality_scores
    except ImportError:
        raise MissingExtraError("the label audit needs cleanlab: pip install 'treatystance[audit]'") from None
    rows = list(rows)
    place = {name: i for i, name in enumerate(labels.names)}
    for row in rows:
        if unknown := [name for name in row["labels"] if name not in place]:
            raise InputError(f"{row['id']}: unknown label {unknown[0]!r}; the labels are {', '.join(labels.names)}")
        if len(row["probabilities"]) != len(labels):
            raise InputError(f"{row['id']}: {len(row['probabilities'])} probabilities for {len(labels)} labels")
    if not rows:
        return []
    given = np.array([[name in row["labels"] for name in place] for row in rows], dtype=np.int64)
    scores = np.array([row["probabilities"] for row in rows], dtype=np.float64)
    # One wrong label is enough to look at a row, so the lowest of its labels' self-confidences counts.
    quality = np.min(
        [get_label_quality_scores(given[:, k], np.column_stack([1 - p, p])) for k, p in enumerate(scores.T)], axis=0
    )
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
