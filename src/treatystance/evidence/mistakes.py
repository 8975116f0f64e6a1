"""A model's errors on labelled sentences, the most confident first, each with what helps to see why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from treatystance.calibration import DecisionRule
from treatystance.corpus.rows import Row
from treatystance.evidence.codebook import Passage, bearing, packaged_codebook
from treatystance.evidence.explain import Explanation, explain
from treatystance.evidence.neighbours import Neighbour, nearest
from treatystance.models.base import Batch, Model

__all__ = ["LabelCounts", "Mistake", "worst_mistakes"]

_SMALLEST = 1e-15  # a probability as certain as any: its log loss is 34.5


@dataclass(frozen=True, slots=True)
class LabelCounts:
    """Of one label: sentences that carry it, to which the model gave it, errors of both kinds, and errors shown."""

    label: str
    carried: int
    given: int
    misses: int
    false_alarms: int
    shown: int


@dataclass(frozen=True, slots=True)
class Mistake:
    """One label wrongly given to, or kept from, one sentence.

    `miss` tells a missing label from a false alarm; `threshold` is None where the highest score wins; `loss` is the
    log loss of `probability`; `tags` are all that the model gave; `passages` are those of the codebook that bear on it.
    """

    row: Row
    label: str
    miss: bool
    probability: float
    threshold: float | None
    loss: float
    uncertain: bool
    tags: tuple[str, ...]
    explanation: Explanation
    neighbours: tuple[Neighbour, ...]
    passages: tuple[Passage, ...]


def worst_mistakes(
    model: Model, decision: DecisionRule, rows: Sequence[Row], known: Sequence[Row], top: int = 100
) -> tuple[list[LabelCounts], list[Mistake]]:
    """The errors of highest log loss.

    Args:
        model: the model.
        decision: how its logits become tags.
        rows: labelled sentences.
        known: labelled sentences among which neighbours are looked for.
        top: how many errors of each label.

    Returns:
        Counts for each label in order, and the errors, those of highest log loss first.
    """
    batch, names = Batch.of(rows), model.labels.names
    targets = np.array([[name in row.labels for name in names] for row in rows], bool).reshape(-1, len(names))
    decided = decision.decide(model.logits(batch))
    p = decided.probabilities
    loss = -np.log(np.maximum(np.where(targets, p, 1 - p), _SMALLEST))
    wrong = targets != decided.tags
    chosen: list[tuple[int, int]] = []
    counts = []
    for k, name in enumerate(names):
        places = np.flatnonzero(wrong[:, k])
        worst = places[np.argsort(-loss[places, k], kind="stable")][:top].tolist()
        chosen += [(i, k) for i in worst]
        misses = int((wrong & targets)[:, k].sum())
        counts.append(
            LabelCounts(
                name,
                int(targets[:, k].sum()),
                int(decided.tags[:, k].sum()),
                misses,
                len(places) - misses,
                len(worst),
            )
        )
    sentences = sorted({i for i, _ in chosen})
    explained = dict(zip(sentences, explain(model, batch.take(sentences), decision), strict=True))
    near = dict(zip(sentences, nearest([rows[i].text for i in sentences], known), strict=True))
    codebook = packaged_codebook()
    chosen.sort(key=lambda place: -loss[place])
    mistakes = [
        Mistake(
            row=rows[i],
            label=names[k],
            miss=bool(targets[i, k]),
            probability=float(p[i, k]),
            threshold=None if decision.exclusive else decision.threshold[k],
            loss=float(loss[i, k]),
            uncertain=bool(decided.uncertain[i, k]),
            tags=tuple(name for name, given in zip(names, decided.tags[i], strict=True) if given),
            explanation=explained[i][k],
            neighbours=near[i],
            passages=bearing(codebook, names[k], rows[i].text, batch.governments[i]),
        )
        for i, k in chosen
    ]
    return counts, mistakes
