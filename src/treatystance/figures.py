"""Pictures of an evaluation, without a display: confusion and precision-recall per label."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from treatystance.models.base import Floats
from treatystance.statement import LabelSet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["confusion_figure", "precision_recall_figure"]

Bools = npt.NDArray[np.bool_]


def _panels(count: int) -> tuple[Figure, list[object]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.6 * count, 3.6), layout="constrained")
    return figure, list(np.atleast_1d(figure.subplots(1, count)))


def confusion_figure(labels: LabelSet, targets: Bools, tags: Bools) -> Figure:
    """A two-by-two table per label: true against given."""
    figure, axes = _panels(len(labels))
    for k, (axis, name) in enumerate(zip(axes, labels.names, strict=True)):
        table = np.array(
            [[np.sum((targets[:, k] == t) & (tags[:, k] == g)) for g in (False, True)] for t in (False, True)]
        )
        axis.imshow(np.sqrt(table), cmap="Blues", vmin=0)  # type: ignore[attr-defined]
        for (row, column), count in np.ndenumerate(table):
            shade = "white" if np.sqrt(count) > np.sqrt(table).max() / 2 else "black"
            axis.text(column, row, int(count), ha="center", va="center", color=shade)  # type: ignore[attr-defined]
        axis.set(  # type: ignore[attr-defined]
            title=name, xlabel="given", ylabel="true", xticks=[0, 1], yticks=[0, 1],
            xticklabels=["no", "yes"], yticklabels=["no", "yes"],
        )  # fmt: skip
    return figure


def precision_recall_figure(labels: LabelSet, targets: Bools, probabilities: Floats, tags: Bools) -> Figure:
    """The precision-recall curve of each label with the point of its threshold."""
    from sklearn.metrics import precision_recall_curve

    figure, axes = _panels(len(labels))
    for k, (axis, name) in enumerate(zip(axes, labels.names, strict=True)):
        target, given = targets[:, k], tags[:, k]
        if target.any():
            precision, recall, _ = precision_recall_curve(target, probabilities[:, k])
            axis.step(recall, precision, where="post")  # type: ignore[attr-defined]
        if given.any() and target.any():
            both = float(np.sum(target & given))
            axis.plot(both / target.sum(), both / given.sum(), "o", color="black")  # type: ignore[attr-defined]
        axis.set(title=name, xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02))  # type: ignore[attr-defined]
    return figure
