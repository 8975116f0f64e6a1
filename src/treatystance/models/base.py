"""The contract of every model family: sentences in, one raw score (logit) per sentence and label out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from treatystance.statement import LabelSet, speaker

__all__ = ["Batch", "Floats", "Model", "Named", "sigmoid"]

Floats = npt.NDArray[np.float64]


def sigmoid(x: Floats) -> Floats:
    """Probabilities of log-odds, elementwise and without overflow.

    As scipy.special.expit gives them; importing that takes longer than scoring a statement.
    """
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, small) / (1.0 + small)


class Named(Protocol):
    """A sentence with its context, such as a corpus Row."""

    @property
    def text(self) -> str: ...  # noqa: D102
    @property
    def prev(self) -> str | None: ...  # noqa: D102
    @property
    def government(self) -> str | None: ...  # noqa: D102
    @property
    def kind(self) -> str | None: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Batch:
    """Sentences as columns of equal length: texts, the sentences before them, the speaking governments.

    A government of "*" stands for a news report, in which any government may be the one whose stance is told.
    """

    texts: Sequence[str]
    previous: Sequence[str | None]
    governments: Sequence[str | None]

    @classmethod
    def of(cls, sentences: Iterable[Named]) -> Batch:
        """The batch of these sentences, in order."""
        members = list(sentences)
        speakers = [speaker(member.government, member.kind) for member in members]
        return cls([member.text for member in members], [member.prev for member in members], speakers)

    def take(self, places: Iterable[int]) -> Batch:
        """The sentences at these places, in this order."""
        chosen = list(places)
        return Batch(
            [self.texts[i] for i in chosen], [self.previous[i] for i in chosen], [self.governments[i] for i in chosen]
        )

    def __len__(self) -> int:
        return len(self.texts)


class Model(Protocol):
    """What a fitted model can do."""

    kind: str
    labels: LabelSet

    def logits(self, batch: Batch) -> Floats:
        """Raw scores, shape (sentences, labels); shape (0, labels) for an empty batch."""
        ...

    def files(self) -> dict[str, bytes]:
        """The model as named files without code, to be read back by its family's `from_files`."""
        ...

    def describe(self) -> dict[str, Any]:
        """Sizes and settings worth showing to people."""
        ...
