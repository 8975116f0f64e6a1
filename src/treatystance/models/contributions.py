"""What single words add to a linear model's score: for explaining it, not for scoring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from treatystance.models.base import Floats
from treatystance.models.classes import class_features, class_names

__all__ = ["Contribution", "shared_class_weights"]


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one token adds: where it stands in the sentence ((0, 0): nowhere), and weights of shape (labels,)."""

    start: int
    end: int
    weights: Floats


def shared_class_weights(
    tokens: Sequence[str],
    classes: Mapping[str, str],
    names: Sequence[str],
    distance: int,
    weights: npt.NDArray[np.float32],
) -> Floats:
    """The class features' weights, less those of a sentence without words: shape (tokens, labels).

    A class that is there ("+exit") adds its weight less that of its absence ("-exit"). Each feature is shared evenly
    by all words that make it: for a pair in order, by those that stand near enough.

    Args:
        tokens: the sentence.
        classes: word to class.
        names: the classes in their order.
        distance: how far apart a pair in order may stand, in tokens.
        weights: shape (len(class_names(names)), labels).
    """
    place = {feature: i for i, feature in enumerate(class_names(names))}
    double = weights.astype(np.float64)
    members = [(i, classes[token]) for i, token in enumerate(tokens) if token in classes]
    shared = np.zeros((len(tokens), weights.shape[1]))
    for feature in class_features(tokens, classes, names, distance):
        if feature[0] == "-":
            continue
        weight = double[place[feature]]
        if feature[0] == "+":
            makers = {i for i, name in members if name == feature[1:]}
            weight = weight - double[place["-" + feature[1:]]]
        elif "&" in feature:
            makers = {i for i, name in members if name in feature.split("&")}
        else:
            first, second = feature.split(">")
            pairs = [(i, j) for i, a in members for j, b in members if (a, b) == (first, second)]
            makers = {i for pair in pairs if 0 < pair[1] - pair[0] <= distance for i in pair}
        shared[sorted(makers)] += weight / len(makers)
    return shared
