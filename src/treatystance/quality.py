"""Is a corpus varied, balanced, and like real text? Repeats, frames, lengths, vocabulary, and a classifier's answer."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from treatystance.corpus.rows import Corpus, Row
from treatystance.errors import InputError
from treatystance.split import near_duplicates

__all__ = ["corpus_quality", "frame", "region_of", "told_apart"]

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
SIMILAR = 0.35  # Jaccard similarity of word 3-grams from which sentences count as one cluster
FRAME = 8  # function words from which a shared frame is no accident


def corpus_quality(corpus: Corpus, real: Corpus | None = None, seed: int = 0) -> dict[str, Any]:
    """How varied a corpus is and, beside real text, how like it.

    Args:
        corpus: what is judged.
        real: real text to hold it against.
        seed: of the sample that the classifier is tried on.

    Returns:
        Plain values for JSON: `distinct_4grams` (different word 4-grams over all), `near_duplicates` (pairs of
        sentences of different statements with a Jaccard similarity of 0.7 or more), `largest_cluster` (sentences linked
        by a similarity of 0.35), `repeated_frames` (see `frame`), `text` and, beside it, `real_text` (length,
        vocabulary), labels by kind, region and decade, and `told_apart_auc` (see `told_apart`).
    """
    rows = corpus.rows
    texts = [row.text for row in rows]
    pairs = near_duplicates(texts, SIMILAR)
    # What is nearly the same is similar too: only those few are compared again.
    linked = sorted({i for pair in pairs for i in pair})
    near = near_duplicates([texts[i] for i in linked], 0.7)
    result: dict[str, Any] = {
        "statements": len({row.doc_id for row in rows}),
        "sentences": len(rows),
        "distinct_4grams": _distinct(texts, 4),
        "near_duplicates": sum(rows[linked[a]].doc_id != rows[linked[b]].doc_id for a, b in near),
        "largest_cluster": _largest_cluster(len(rows), pairs),
        "repeated_frames": _repeated_frames(rows),
        "text": _profile(texts),
        "labels_by_kind": _labels_by(corpus, [row.kind or "unknown" for row in rows]),
        "labels_by_region": _labels_by(corpus, [region_of(row.government) for row in rows]),
        "labels_by_decade": _labels_by(corpus, [f"{row.year // 10 * 10}s" if row.year else "unknown" for row in rows]),
    }
    if real is not None:
        theirs = [row.text for row in real.rows]
        known = set(_words(theirs))
        ours = _words(texts)
        result["real_text"] = _profile(theirs)
        result["words_known_to_real_text"] = round(sum(word in known for word in ours) / max(len(ours), 1), 4)
        result["told_apart_auc"] = round(told_apart(rows, real.rows, seed), 4)
    return result


def frame(text: str) -> str:
    """A sentence's frame: its function words (scikit-learn's stop words), each run of other words a blank."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    slots: list[str] = []
    for word in _WORD.findall(text.casefold()):
        if word in ENGLISH_STOP_WORDS:
            slots.append(word)
        elif not slots or slots[-1] != "_":
            slots.append("_")
    return " ".join(slots)


def told_apart(ours: Sequence[Row], theirs: Sequence[Row], seed: int = 0, folds: int = 5) -> float:
    """How well a classifier tells two bodies of text apart: area under the ROC curve, cross-validated by document.

    0.5: not at all; 1.0: always. Word 1-2-grams, logistic regression, all of the smaller body against as many sentences
    of the larger.

    Raises:
        InputError: a side has fewer documents than there are folds, or no word stands twice.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline

    rng = np.random.default_rng(seed)
    size = min(len(ours), len(theirs))
    sample = [side[i] for side in (ours, theirs) for i in sorted(rng.choice(len(side), size, replace=False))]
    fewest = min(len({row.doc_id for row in side}) for side in (sample[:size], sample[size:]))
    if fewest < folds:
        raise InputError(f"telling two bodies of text apart needs {folds} documents on each side, not {fewest}")
    target = np.repeat([1, 0], size)
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True), LogisticRegression(C=10, max_iter=1000)
    )
    groups = np.unique([row.doc_id for row in sample], return_inverse=True)[1]
    texts = [row.text for row in sample]
    try:
        scores = cross_val_predict(
            model, texts, target, groups=groups, cv=GroupKFold(folds), method="decision_function"
        )
    except ValueError as error:
        raise InputError(f"these texts have no word in common to tell them apart by ({error})") from None
    return float(roc_auc_score(target, scores))


def region_of(government: str | None) -> str:
    """The region of a government: Africa, Americas, Asia, Europe, Oceania, or "unknown"."""
    return _regions().get(government or "", "unknown")


@cache
def _regions() -> dict[str, str]:
    lines = files("treatystance").joinpath("data", "regions.txt").read_text("utf-8").splitlines()
    named = [line.split() for line in lines if not line.startswith("#")]
    return {code: region for region, *codes in named for code in codes}


def _words(texts: Iterable[str]) -> list[str]:
    return [word for text in texts for word in _WORD.findall(text.casefold())]


def _distinct(texts: Sequence[str], n: int) -> float:
    grams = [tuple(w[i : i + n]) for w in map(_WORD.findall, map(str.casefold, texts)) for i in range(len(w) - n + 1)]
    return round(len(set(grams)) / len(grams), 4) if grams else 1.0


def _largest_cluster(size: int, pairs: Sequence[tuple[int, int]]) -> int:
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    if not size:
        return 0
    left, right = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    graph = coo_matrix((np.ones(len(pairs)), (left, right)), shape=(size, size))
    return int(np.bincount(connected_components(graph, directed=False)[1]).max())


def _repeated_frames(rows: Sequence[Row]) -> list[list[str]]:
    """Ids of sentences that share a frame with at least `FRAME` function words."""
    by_frame: dict[str, list[str]] = {}
    for row in rows:
        key = frame(row.text)
        if sum(slot != "_" for slot in key.split()) >= FRAME:
            by_frame.setdefault(key, []).append(row.id)
    return [ids for ids in by_frame.values() if len(ids) > 1]


def _profile(texts: Sequence[str]) -> dict[str, Any]:
    """Length in words and richness of vocabulary; types are counted in the first 20,000 words, so that they compare."""
    lengths = np.array([len(text.split()) for text in texts] or [0])
    words = _words(texts)
    quantiles = np.percentile(lengths, [10, 50, 90])
    return {
        "words_mean": round(float(lengths.mean()), 1),
        "words_p10_p50_p90": [int(q) for q in quantiles],
        "types_in_20000_words": len(set(words[:20000])),
        "words": len(words),
    }


def _labels_by(corpus: Corpus, keys: Sequence[str]) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = {}
    for row, key in zip(corpus.rows, keys, strict=True):
        counts.setdefault(key, Counter()).update(row.labels or ("none",))
    return {key: dict(counts[key]) for key in sorted(counts)}
