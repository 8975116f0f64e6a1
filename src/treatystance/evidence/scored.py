"""Labelled rows with what a model that had not seen them says of them: the out-of-fold table, which holds no text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from treatystance.calibration import Decisions
from treatystance.config import explain
from treatystance.corpus.rows import Row
from treatystance.corpus.standoff import sentence_sha256
from treatystance.errors import InputError
from treatystance.evidence.facts import facts_of
from treatystance.models.base import Floats
from treatystance.statement import LabelSet

__all__ = ["ScoredRows", "read_scored"]

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ScoredRows:
    """Rows as columns: labels, out-of-fold scores and decisions, and facts to slice by.

    `fold` says which fold a row was tested in; `drawn` is the probability with which it was drawn for annotation, so
    that it stands for 1 / `drawn` sentences of ordinary text. `targets`, `tags`, `uncertain` and `probabilities` are of
    shape (rows, labels). `facts` gives for each row its value by dimension, such as {"region": "Europe"}.
    """

    labels: LabelSet
    ids: tuple[str, ...]
    documents: tuple[str, ...]
    sha256: tuple[str, ...]
    fold: Ints
    drawn: Floats
    targets: Bools
    tags: Bools
    uncertain: Bools
    probabilities: Floats
    facts: tuple[Mapping[str, str], ...]

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of(cls, labels: LabelSet, rows: Sequence[Row], fold: Ints, decisions: Decisions) -> ScoredRows:
        """The table of rows, their folds, and decisions on them in the same order."""
        return cls(
            labels,
            tuple(row.id for row in rows),
            tuple(row.doc_id for row in rows),
            tuple(sentence_sha256(row.text) for row in rows),
            np.asarray(fold, np.int64),
            np.array([row.probability for row in rows], np.float64),
            np.array([[name in row.labels for name in labels.names] for row in rows], bool).reshape(-1, len(labels)),
            decisions.tags,
            decisions.uncertain,
            decisions.probabilities,
            tuple(facts_of(row) for row in rows),
        )

    @property
    def weights(self) -> Floats:
        """How many sentences of ordinary text each row stands for: shape (rows,)."""
        return np.asarray(1 / self.drawn)

    @property
    def folds_sha256(self) -> str:
        """Identifies rows, sentences, labels and folds: what a paired comparison must have in common."""
        lines = sorted(
            json.dumps([i, s, int(f), np.flatnonzero(t).tolist()])
            for i, s, f, t in zip(self.ids, self.sha256, self.fold, self.targets, strict=True)
        )
        return hashlib.sha256("\n".join([json.dumps(self.labels.names), *lines]).encode()).hexdigest()

    @property
    def evaluated_sha256(self) -> str:
        """Identifies rows, sentences and labels, whatever the folds and scores: what a model was tested on."""
        names = np.array(self.labels.names)
        lines = sorted(
            json.dumps([i, s, sorted(names[t].tolist())])
            for i, s, t in zip(self.ids, self.sha256, self.targets, strict=True)
        )
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def take(self, indices: Iterable[int]) -> ScoredRows:
        """These rows, in this order."""
        rows = np.fromiter(indices, np.intp)

        def some(values: Sequence[Any]) -> tuple[Any, ...]:
            return tuple(values[i] for i in rows)

        return ScoredRows(
            self.labels,
            some(self.ids),
            some(self.documents),
            some(self.sha256),
            self.fold[rows],
            self.drawn[rows],
            self.targets[rows],
            self.tags[rows],
            self.uncertain[rows],
            self.probabilities[rows],
            some(self.facts),
        )

    def to_jsonl(self) -> str:
        """JSON Lines without text, a row each; probabilities in label order."""
        names = self.labels.names

        def named(given: Bools) -> list[str]:
            return [name for name, there in zip(names, given, strict=True) if there]

        lines = []
        for i in range(len(self)):
            record = {
                "id": self.ids[i],
                "doc_id": self.documents[i],
                "sha256": self.sha256[i],
                "fold": int(self.fold[i]),
                "probability": float(self.drawn[i]),
                "labels": named(self.targets[i]),
                "tags": named(self.tags[i]),
                "uncertain": named(self.uncertain[i]),
                "probabilities": [round(float(p), 6) for p in self.probabilities[i]],
                "facts": dict(self.facts[i]),
            }
            lines.append(json.dumps(record, ensure_ascii=False))
        return "\n".join(lines) + "\n"


class _Record(BaseModel):
    """A row of the file; tables of earlier versions lack `uncertain` and `facts`."""

    model_config = ConfigDict(strict=True)

    id: str
    doc_id: str
    sha256: str
    fold: Annotated[int, Field(ge=0)]
    probability: Annotated[float, Field(gt=0, le=1)]
    labels: list[str]
    tags: list[str]
    uncertain: list[str] = []
    probabilities: list[Annotated[float, Field(ge=0, le=1)]]
    facts: dict[str, str] = {}


def read_scored(path: Path, labels: LabelSet) -> ScoredRows:
    """Read an out-of-fold table.

    Raises:
        InputError: the file cannot be read, a row is no row of such a table (a row without a fold was scored by a model
            that may have seen it), an id stands twice, or labels differ.
    """
    try:
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None
    records: dict[str, _Record] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = _Record.model_validate_json(line)
        except ValidationError as error:
            reason = "; ".join(explain(error))
            raise InputError(f"{path}:{number}: not a row of an out-of-fold table ({reason})") from None
        if unknown := {*record.labels, *record.tags, *record.uncertain} - set(labels.names):
            raise InputError(f"{path}:{number}: unknown label {min(unknown)!r}; known are {', '.join(labels.names)}")
        if len(record.probabilities) != len(labels):
            raise InputError(f"{path}:{number}: {len(record.probabilities)} probabilities for {len(labels)} labels")
        if record.id in records:
            raise InputError(f"{path}:{number}: {record.id!r} stands twice")
        records[record.id] = record
    if not records:
        raise InputError(f"{path}: empty; give the out_of_fold.jsonl of a training run")
    rows = list(records.values())

    def matrix(attribute: str) -> Bools:
        return np.array([[name in getattr(row, attribute) for name in labels.names] for row in rows], bool)

    return ScoredRows(
        labels,
        tuple(row.id for row in rows),
        tuple(row.doc_id for row in rows),
        tuple(row.sha256 for row in rows),
        np.array([row.fold for row in rows], np.int64),
        np.array([row.probability for row in rows], np.float64),
        matrix("labels"),
        matrix("tags"),
        matrix("uncertain"),
        np.array([row.probabilities for row in rows], np.float64),
        tuple(row.facts for row in rows),
    )
