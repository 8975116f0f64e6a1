"""The words that carried a score: exact contributions of linear models, occlusion for every other.

A linear model's logit is a sum over its features, each made of words of the sentence: what a word adds is known, and
the parts sum to the logit. Of any other model each word (a country's name counts as one) is left out in turn, and the
change of the logit is the word's weight (occlusion: Zeiler & Fergus 2014; of words: Li et al. 2016). Such weights need
not sum to the logit, since words work together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from treatystance.calibration import DecisionRule
from treatystance.models.base import Batch, Floats, Model
from treatystance.models.linear import LinearModel
from treatystance.models.ngrams import Tokenizer, country_names

__all__ = ["Explanation", "WordWeight", "explain"]

_AT_ONCE = 4096  # sentences with a word left out, held at a time


@dataclass(frozen=True, slots=True)
class WordWeight:
    """A word, by its characters from `start` to before `end` of the sentence, and what it adds to the logit."""

    start: int
    end: int
    weight: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a sentence has its score for a label.

    `logit` is the sentence's, `base` what it would be without any of the words, which stand in `words` in order.
    Where `exact`, the logit is the base and the words' weights summed; else each weight is the change of the logit
    when that word alone is left out.
    """

    label: str
    logit: float
    base: float
    words: tuple[WordWeight, ...]
    exact: bool


def explain(model: Model, batch: Batch, decision: DecisionRule | None = None) -> list[tuple[Explanation, ...]]:
    """What each word adds to the score of each sentence.

    Args:
        model: a fitted model.
        batch: the sentences.
        decision: the model's decision rule, to have everything as calibrated log-odds, of which the sigmoid is the
            score shown to people (exclusive labels: the softmax); None gives the model's raw logits.

    Returns:
        For each sentence, an explanation for each label in order.
    """
    labels = model.labels.names
    slope = np.ones(len(labels)) if decision is None else np.array(decision.slope)
    offset = np.zeros(len(labels)) if decision is None else np.array(decision.offset)
    exact = isinstance(model, LinearModel)
    whole = model.logits(batch)
    parts = _contributions(model, batch) if isinstance(model, LinearModel) else _occlusion(model, batch, whole)
    explained = []
    for logits, (base, places, weights) in zip(whole * slope + offset, parts, strict=True):
        base, columns = base * slope + offset, (weights * slope).T.tolist()
        explained.append(
            tuple(
                Explanation(
                    label,
                    float(logits[k]),
                    float(base[k]),
                    tuple(WordWeight(*place, weight) for place, weight in zip(places, columns[k], strict=True)),
                    exact,
                )
                for k, label in enumerate(labels)
            )
        )
    return explained


# Of a sentence: logits without its words, shape (labels,); the words' places; their weights, shape (words, labels).
_Parts = tuple[Floats, list[tuple[int, int]], Floats]


def _contributions(model: LinearModel, batch: Batch) -> Iterator[_Parts]:
    empty, sentences = model.contributions(batch)
    for tokens in sentences:
        # What marks a report is no word of the sentence.
        base = empty + sum((token.weights for token in tokens if token.start == token.end), np.zeros(len(empty)))
        words = [token for token in tokens if token.start < token.end]
        weights = np.array([token.weights for token in words]).reshape(-1, len(empty))
        yield base, [(token.start, token.end) for token in words], weights


def _occlusion(model: Model, batch: Batch, whole: Floats) -> Iterator[_Parts]:
    tokenizer = Tokenizer(country_names())
    places = [[(start, end) for _, start, end in tokenizer.located(text)] for text in batch.texts]
    empty = model.logits(_with_texts(batch, [""] * len(batch)))
    changes = _changes(model, batch, places, whole)
    for i, words in enumerate(places):
        weights = np.array(list(islice(changes, len(words)))).reshape(-1, whole.shape[1])
        yield empty[i], words, weights


def _changes(model: Model, batch: Batch, places: list[list[tuple[int, int]]], whole: Floats) -> Iterator[Floats]:
    """For each word of each sentence, the logits with it less those without it."""
    left_out = ((i, _without(batch.texts[i], *place)) for i, words in enumerate(places) for place in words)
    while some := list(islice(left_out, _AT_ONCE)):
        rows = [i for i, _ in some]
        yield from whole[rows] - model.logits(_with_texts(batch.take(rows), [text for _, text in some]))


def _with_texts(batch: Batch, texts: list[str]) -> Batch:
    return Batch(texts, batch.previous, batch.governments)


def _without(text: str, start: int, end: int) -> str:
    """The text without these characters and the space before them."""
    return text[:start].rstrip() + text[end:] if start else text[end:].lstrip()
