"""The corpus in memory: one Row per labelled sentence, and what identifies it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from treatystance.errors import CorpusError
from treatystance.statement import DEFAULT_LABELS, LabelSet

__all__ = ["Corpus", "Row", "infer_labels"]


@dataclass(frozen=True, slots=True)
class Row:
    """A labelled sentence with its context.

    `doc_id` is the statement that it stands in and `position` its place there (ordinal or character offset);
    `prev` and `next` are its neighbours' text; `co_governments` are further governments whose stance the
    statement conveys; `origin` names the file or public corpus it came from; `evaluate` is False for text that
    only ever helps to train. `weight` multiplies its loss in training; `probability` is that of having been drawn for
    annotation, so that the row stands for 1 / `probability` sentences of ordinary text. `auxiliary` rows get an
    intercept of their own in training, since labels are not as frequent there as in ordinary text.
    """

    id: str
    doc_id: str
    text: str
    labels: tuple[str, ...] = ()
    position: int = 0
    prev: str | None = None
    next: str | None = None
    government: str | None = None
    co_governments: tuple[str, ...] = ()
    year: int | None = None
    kind: str | None = None
    treaty: str | None = None
    language: str | None = None
    phenomenon: str | None = None
    origin: str = ""
    weight: float = 1.0
    probability: float = 1.0
    auxiliary: bool = False
    evaluate: bool = True

    @property
    def governments(self) -> tuple[str, ...]:
        """Every government whose stance the row may carry."""
        return ((self.government,) if self.government else ()) + self.co_governments


@dataclass(frozen=True)
class Corpus:
    """Rows in a fixed order, their label set, and the codebook that they were labelled under."""

    rows: tuple[Row, ...]
    labels: LabelSet
    codebook_sha256: str | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 over every field of every row, whatever their order."""
        digest = hashlib.sha256(json.dumps([self.labels.names, self.labels.exclusive]).encode())
        for line in sorted(json.dumps(asdict(row), sort_keys=True, ensure_ascii=False) for row in self.rows):
            digest.update(line.encode() + b"\n")
        return digest.hexdigest()

    def label_matrix(self) -> npt.NDArray[np.bool_]:
        """Labels as a (rows, labels) matrix, columns in label-set order."""
        return np.array([[name in row.labels for name in self.labels.names] for row in self.rows], bool).reshape(
            len(self.rows), len(self.labels)
        )

    def sampling_weights(self) -> npt.NDArray[np.float64]:
        """How many sentences of ordinary text each row stands for (Horvitz and Thompson 1952): shape (rows,)."""
        return np.array([1 / row.probability for row in self.rows])

    def take(self, indices: Iterable[int]) -> Corpus:
        """The corpus of these rows, in this order."""
        return replace(self, rows=tuple(self.rows[i] for i in indices))


def infer_labels(found: Iterable[str], exclusive: bool = False) -> LabelSet:
    """The label set of a corpus that declares none: the default tags if they cover it, else the sorted labels.

    Raises:
        CorpusError: no label was found.
    """
    names = set(found)
    if names and names <= set(DEFAULT_LABELS) and not exclusive:
        return LabelSet(DEFAULT_LABELS)
    if not names:
        raise CorpusError(["no row carries a label, so the label set is unknown: name it under `labels`"])
    return LabelSet(tuple(sorted(names)), exclusive)


def neighbours(texts: Sequence[str], i: int) -> tuple[str | None, str | None]:
    """The texts before and after place `i`."""
    return (texts[i - 1] if i else None), (texts[i + 1] if i + 1 < len(texts) else None)
