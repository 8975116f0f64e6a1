"""Splits that cannot leak: by document, government and near-duplicate text; by time; by treaty.

Every split is a list of `Fold`s of row indices. Rows with `evaluate=False` only ever train, and only in folds whose
test rows share no document, near-duplicate or (unless allowed) government with them.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from treatystance.corpus.rows import Row
from treatystance.errors import InputError, LeakError

__all__ = ["Fold", "check_leak", "grouped_folds", "leave_one_treaty_out", "near_duplicates", "temporal_split"]

Indices = npt.NDArray[np.intp]
_WORD = re.compile(r"\w+")
_SHINGLE = 3


@dataclass(frozen=True, slots=True)
class Fold:
    """Row indices to train on and to test on, disjoint; `name` says what the test rows have in common."""

    name: str
    train: Indices
    test: Indices


def near_duplicates(texts: Sequence[str], threshold: float = 0.7) -> list[tuple[int, int]]:
    """Pairs of texts whose sets of word 3-grams have a Jaccard similarity of at least `threshold` (Broder 1997).

    Texts under three words count as duplicates only when they are the same.
    """
    from scipy.sparse import csr_matrix

    shingles: dict[str, int] = {}
    columns: list[int] = []
    ends = [0]
    for text in texts:
        words = _WORD.findall(text.casefold())
        width = min(_SHINGLE, len(words))
        grams = {" ".join(words[i : i + width]) for i in range(len(words) - width + 1)} if words else set()
        columns.extend(shingles.setdefault(gram, len(shingles)) for gram in sorted(grams))
        ends.append(len(columns))
    shape = (len(texts), max(len(shingles), 1))
    sets = csr_matrix((np.ones(len(columns), np.float32), columns, ends), shape=shape)
    sizes = np.diff(ends)
    pairs: list[tuple[int, int]] = []
    for start in range(0, len(texts), 2048):
        common = (sets[start : start + 2048] @ sets.T).tocoo()
        left, right = common.row + start, common.col
        union = sizes[left] + sizes[right] - common.data
        near = (left < right) & (common.data >= threshold * union)
        pairs.extend(zip(left[near].tolist(), right[near].tolist(), strict=True))
    return pairs


def _components(rows: Sequence[Row], members: Indices, pairs: Iterable[tuple[int, int]]) -> npt.NDArray[np.int64]:
    """A group number for each member: connected by document, government or near-duplicate text."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    local = {int(row): i for i, row in enumerate(members)}
    nodes: dict[Hashable, int] = {}
    edges = [(local[a], local[b]) for a, b in pairs if a in local and b in local]
    for row, i in local.items():
        keys: list[Hashable] = [("doc", rows[row].doc_id)]
        keys += [("government", code) for code in rows[row].governments]
        edges += [(i, len(members) + nodes.setdefault(key, len(nodes))) for key in keys]
    size = len(members) + len(nodes)
    left, right = np.array(edges, dtype=np.int64).reshape(-1, 2).T
    graph = coo_matrix((np.ones(len(edges)), (left, right)), shape=(size, size))
    return np.asarray(connected_components(graph, directed=False)[1][: len(members)], dtype=np.int64)


def _strata(labels: npt.NDArray[np.bool_], members: Indices, folds: int) -> npt.NDArray[np.int64]:
    """For each member the rarest label that it carries, so that rare labels spread over the folds."""
    order = np.argsort(labels[members].sum(axis=0), kind="stable")
    strata = np.full(len(members), labels.shape[1], dtype=np.int64)
    for label in reversed(order):
        strata[labels[members, label]] = label
    # A stratum with fewer rows than folds cannot be spread: it joins the rest.
    names, counts = np.unique(strata, return_counts=True)
    strata[np.isin(strata, names[counts < folds])] = labels.shape[1]
    _, counts = np.unique(strata, return_counts=True)
    return strata if counts.min() >= folds else np.zeros_like(strata)


def _admissible(
    rows: Sequence[Row],
    train: Iterable[int],
    test: Indices,
    pairs: Iterable[tuple[int, int]],
    same_government: bool = False,
    auxiliary_apart: bool = True,
) -> Indices:
    """The training rows that share no document, near-duplicate text or (unless allowed) government with a test row."""
    tested = set(test.tolist())
    documents = {rows[i].doc_id for i in tested}
    governments = set() if same_government else {code for i in tested for code in rows[i].governments}
    touched = {a for a, b in pairs if b in tested} | {b for a, b in pairs if a in tested}
    return np.array(
        [
            i
            for i in train
            if i not in touched
            and rows[i].doc_id not in documents
            and not (governments & set(rows[i].governments) and (auxiliary_apart or rows[i].evaluate))
        ],
        dtype=np.intp,
    )


def grouped_folds(
    rows: Sequence[Row],
    labels: npt.NDArray[np.bool_],
    folds: int = 5,
    seed: int = 0,
    members: Indices | None = None,
    pairs: Sequence[tuple[int, int]] | None = None,
    auxiliary_apart: bool = True,
) -> list[Fold]:
    """Cross-validation folds grouped by document, government and near-duplicate text, stratified by label.

    Args:
        rows: the corpus.
        labels: (rows, labels) matrix.
        folds: how many.
        seed: of the shuffle among equally good assignments.
        members: the rows to split; all by default (used for inner cross-validation).
        pairs: near-duplicates of `rows`, if already known.
        auxiliary_apart: whether rows that only ever train are left out where they speak for a tested government.

    Raises:
        InputError: there are fewer groups than folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    members = np.arange(len(rows)) if members is None else members
    pairs = near_duplicates([row.text for row in rows]) if pairs is None else pairs
    tested = np.array([i for i in members if rows[i].evaluate], dtype=np.intp)
    if not len(tested):
        raise InputError("no row to evaluate on: mark at least one source with `evaluate: true`")
    groups = _components(rows, tested, pairs)
    if len(np.unique(groups)) < folds:
        raise InputError(f"{folds} folds are wanted, but the rows form only {len(np.unique(groups))} separate groups")
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    result = []
    for number, (_, test) in enumerate(splitter.split(tested, _strata(labels, tested, folds), groups)):
        chosen = tested[test]
        rest = np.setdiff1d(members, chosen)
        train = _admissible(rows, rest.tolist(), chosen, pairs, auxiliary_apart=auxiliary_apart)
        fold = Fold(f"fold {number}", train, chosen)
        check_leak(rows, fold, auxiliary_apart=auxiliary_apart)
        result.append(fold)
    return result


def temporal_split(rows: Sequence[Row], year: int, pairs: Sequence[tuple[int, int]] | None = None) -> Fold:
    """Train on what was said before `year`, test on what was said from then on; undated rows only if they only train.

    A government stands on both sides here, so only documents and near-duplicates are kept apart.

    Raises:
        InputError: one of the sides is empty.
    """
    pairs = near_duplicates([row.text for row in rows]) if pairs is None else pairs
    test = np.array([i for i, r in enumerate(rows) if r.evaluate and r.year is not None and r.year >= year], np.intp)
    before = [i for i, r in enumerate(rows) if (r.year < year if r.year is not None else not r.evaluate)]
    train = _admissible(rows, before, test, pairs, same_government=True)
    if not len(train) or not len(test):
        raise InputError(f"a temporal split at {year} leaves {len(train)} rows to train on and {len(test)} to test on")
    fold = Fold(f"from {year}", train, test)
    check_leak(rows, fold, governments=False)
    return fold


def leave_one_treaty_out(
    rows: Sequence[Row], minimum: int = 20, pairs: Sequence[tuple[int, int]] | None = None
) -> list[Fold]:
    """A fold for each treaty with `minimum` rows or more to test on, trained on the rows of other named treaties.

    Raises:
        InputError: no treaty has so many rows, or there is no other to train on.
    """
    pairs = near_duplicates([row.text for row in rows]) if pairs is None else pairs
    by_treaty: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        if row.treaty:
            by_treaty.setdefault(row.treaty.casefold(), []).append(i)
    result = []
    for treaty, members in sorted(by_treaty.items()):
        test = np.array([i for i in members if rows[i].evaluate], np.intp)
        if len(test) < minimum:
            continue
        rest = sorted(i for other, m in by_treaty.items() if other != treaty for i in m)
        fold = Fold(treaty, _admissible(rows, rest, test, pairs, same_government=True), test)
        if not len(fold.train):
            raise InputError(f"no row of another treaty is left to train on when {treaty!r} is tested")
        check_leak(rows, fold, governments=False)
        result.append(fold)
    if not result:
        raise InputError(f"no treaty is named by {minimum} rows that may be tested")
    return result


def check_leak(rows: Sequence[Row], fold: Fold, governments: bool = True, auxiliary_apart: bool = True) -> None:
    """Raise LeakError if train and test share a row, a document, the same text, or (on demand) a government.

    Without `auxiliary_apart`, rows that only ever train may speak for a tested government.
    """

    def shared(what: str, train: Iterable[Hashable], test: Iterable[Hashable]) -> None:
        common = set(train) & set(test)
        if common:
            example = sorted(map(str, common))[0][:80]
            raise LeakError(f"{fold.name}: train and test share {len(common)} {what}, such as {example!r}")

    train, test = [rows[i] for i in fold.train], [rows[i] for i in fold.test]
    shared("rows", fold.train.tolist(), fold.test.tolist())
    shared("documents", (r.doc_id for r in train), (r.doc_id for r in test))
    shared("texts", (r.text.casefold() for r in train), (r.text.casefold() for r in test))
    if governments:
        apart = [r for r in train if auxiliary_apart or r.evaluate]
        shared("governments", (c for r in apart for c in r.governments), (c for r in test for c in r.governments))
