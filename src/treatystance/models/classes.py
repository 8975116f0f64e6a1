"""Classes of words and how they stand to one another: what "we leave the pact" and "Chad quits the accord" share.

A sentence's class features are, each once: the classes it has ("+exit") and lacks ("-exit"), the pairs it has
("exit&treaty"), and the pairs of which one word stands before the other by at most `distance` places ("exit>treaty").
They are few, say the same whatever the words, and count alike in short and long sentences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt

from treatystance.models.base import Floats

__all__ = ["ClassWeights", "class_features", "class_names"]

Ids = npt.NDArray[np.int64]


def class_names(classes: Sequence[str]) -> list[str]:
    """Every feature that sentences can have, in a fixed order."""
    return [
        *(sign + name for sign in "+-" for name in classes),
        *(f"{a}&{b}" for a, b in combinations(classes, 2)),
        *(f"{a}>{b}" for a in classes for b in classes),
    ]


def class_features(tokens: Sequence[str], classes: Mapping[str, str], names: Sequence[str], distance: int) -> list[str]:
    """The class features of a sentence: the plain definition, which training uses and scoring equals.

    Args:
        tokens: the sentence.
        classes: word to class.
        names: the classes in their order.
        distance: how far apart a pair in order may stand, in tokens.
    """
    found = [(place, classes[token]) for place, token in enumerate(tokens) if token in classes]
    present = {name for _, name in found}
    features = [("+" if name in present else "-") + name for name in names]
    features += [f"{a}&{b}" for a, b in combinations(names, 2) if a in present and b in present]
    near = (f"{a}>{b}" for i, (here, a) in enumerate(found) for there, b in found[i + 1 :] if there - here <= distance)
    return features + list(dict.fromkeys(near))


class ClassWeights:
    """The weights of class features, and their sum for many sentences at once.

    Args:
        names: the classes in their order.
        distance: as in `class_features`.
        weights: shape (len(class_names(names)), labels).
    """

    def __init__(self, names: Sequence[str], distance: int, weights: npt.NDArray[np.float32]) -> None:
        count, labels = len(names), weights.shape[1]
        self.distance = distance
        double = weights.astype(np.float64)
        present, absent, rest = double[:count], double[count : 2 * count], double[2 * count :]
        self._bias = absent.sum(axis=0)
        self._present = present - absent
        pairs = count * (count - 1) // 2
        self._both = np.zeros((labels, count, count))
        upper = np.triu_indices(count, 1)
        self._both[:, upper[0], upper[1]] = rest[:pairs].T
        self._near = rest[pairs:]
        self._count = count

    def sums(self, members: Ids, owner: Ids, sentences: int) -> Floats:
        """Summed weights per sentence, shape (sentences, labels).

        Args:
            members: the class of each token, -1 for none.
            owner: the sentence of each token, sorted.
            sentences: how many there are.
        """
        count = self._count
        present = np.zeros((sentences, count))
        inside = np.flatnonzero(members >= 0)
        present[owner[inside], members[inside]] = 1.0
        sums = self._bias + present @ self._present
        for label, matrix in enumerate(self._both):
            sums[:, label] += ((present @ matrix) * present).sum(axis=1)
        keys = [np.zeros(0, np.int64)]
        for gap in range(1, min(self.distance, len(members) - 1) + 1):
            left, right = members[:-gap], members[gap:]
            pair = np.flatnonzero((left >= 0) & (right >= 0) & (owner[:-gap] == owner[gap:]))
            keys.append((owner[pair] * count + left[pair]) * count + right[pair])
        whose, pair = np.divmod(np.unique(np.concatenate(keys)), count * count)
        np.add.at(sums, whose, self._near[pair])
        return np.asarray(sums, dtype=np.float64)
