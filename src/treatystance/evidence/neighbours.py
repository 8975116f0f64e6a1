"""The labelled sentences most like a given one: cosine of TF-IDF vectors of words and word pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from treatystance.corpus.load import load_rows
from treatystance.corpus.rows import Row
from treatystance.errors import CorpusError, InputError
from treatystance.statement import DEFAULT_LABELS, LabelSet

__all__ = ["Neighbour", "known_rows", "nearest"]

_COMPOSED, _ANNOTATIONS = "package:composed", "package:annotations"


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A labelled sentence, its cosine to the given one, and whether it is the same but for white space."""

    row: Row
    similarity: float
    same: bool


def known_rows(paths: Sequence[str] | None, labels: LabelSet, say: Callable[[str], None]) -> list[Row]:
    """The labelled sentences among which to look.

    Args:
        paths: labelled files, folders or "package:NAME"; None for the package's own composed text and, where the
            public corpora are at hand, its annotated text, as far as the labels are the package's.
        labels: of the model.
        say: told what was left out.

    Raises:
        CorpusError: with every fault of the files.
        InputError: a given file is not there.
    """
    faults: list[str] = []
    if paths is not None:
        rows = load_rows(paths, {}, faults, labels)
    elif set(labels.names) != set(DEFAULT_LABELS):
        say("no neighbours: the model's labels are not the package's; name labelled files with --neighbours")
        return []
    else:
        rows = load_rows([_COMPOSED], {}, faults, labels)
        try:
            rows += load_rows([_ANNOTATIONS], {}, faults, labels)
        except InputError:
            say("neighbours come from composed text alone; for real text set TREATYSTANCE_CORPORA")
    if faults:
        raise CorpusError(faults)
    return rows


def nearest(texts: Sequence[str], rows: Sequence[Row], count: int = 3) -> list[tuple[Neighbour, ...]]:
    """For each text the rows most like it, at most `count`, the likest first; none that shares no word with it."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    try:
        known = vectorizer.fit_transform([row.text for row in rows])
    except ValueError:  # no row, or no word in any
        return [() for _ in texts]
    found = []
    for text in texts:
        cosines = (known @ vectorizer.transform([text]).T).toarray().ravel()
        order = np.argsort(-cosines, kind="stable")[:count]
        found.append(
            tuple(
                Neighbour(rows[i], float(cosines[i]), rows[i].text.split() == text.split())
                for i in order.tolist()
                if cosines[i] > 0
            )
        )
    return found
