"""The linear family at scoring time: tables of n-gram weights and a loop over numpy arrays. No scikit-learn here.

A sentence's logit for a label is

    bias + (sum of its n-grams' weights) / sqrt(number of distinct words + 1) + (sum of its class features' weights)

where the n-grams are its distinct words, their character n-grams, its longer word n-grams, and its distinct words by
the side of each anchor on which they stand (or as alone, without one). Character n-grams stay within a word, so what
they add is a property of the word: summed once per distinct word and looked up afterwards, the way fastText sums
subwords (Bojanowski et al. 2017). `classes` tells of the class features; `linear_fit` learns the weights.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from treatystance.errors import ArtifactError
from treatystance.models.base import Batch, Floats
from treatystance.models.classes import ClassWeights, class_names
from treatystance.models.contributions import Contribution, shared_class_weights
from treatystance.models.ngrams import Tokenizer, char_ngrams
from treatystance.statement import LabelSet

__all__ = ["LinearModel", "NgramSettings"]

Ids = npt.NDArray[np.int64]
_MAX_WORDS = 400_000  # words remembered before the table is begun anew
_CHUNK = 4096  # sentences scored at once
_BASE = 1 << 32  # above any word's number


@dataclass(frozen=True, slots=True)
class NgramSettings:
    """How sentences become features.

    Longest word n-gram, span of character n-grams (None: none), names of countries with their codes, anchors, classes,
    and how far apart two words of a class feature may stand.
    """

    longest: int
    chars: tuple[int, int] | None
    countries: Mapping[str, str]
    anchors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    distance: int = 1

    @property
    def class_order(self) -> list[str]:
        """The classes by name: the order of the weights, which no file format can disturb."""
        return sorted(self.classes)

    @property
    def class_of(self) -> dict[str, str]:
        """Word to class."""
        return {word: name for name, words in self.classes.items() for word in words}


class _Words(dict[str, int]):
    """Word → number. A new word gets the next number, and the model sums its weights."""

    def __init__(self, model: LinearModel) -> None:
        super().__init__()
        self.model = model

    def __missing__(self, word: str) -> int:
        self[word] = number = len(self)
        self.model._learn_word(number, word)
        return number


@dataclass(frozen=True, slots=True)
class _Read:
    """Sentences as numbers: of each word its number and sentence, of each distinct word of a sentence its weights.

    `order` brings words together that are the same in a sentence; of each there are as many as `occurrences` says.
    """

    ids: Ids
    owner: Ids
    order: Ids
    occurrences: Ids
    whose: Ids
    values: Floats


class LinearModel:
    """A fitted linear model.

    Args:
        labels: the label set; its order is the column order of `logits`.
        settings: how sentences become features.
        words: word n-grams (tokens joined by spaces) and anchored words ("anchor>word", "anchor<word", "anchor!word").
        word_weights: shape (len(words), labels), float32.
        chars: character n-grams.
        char_weights: shape (len(chars), labels), float32.
        bias: shape (labels,), float32.
        class_weights: shape (class features, labels), float32; None where the settings name no class.
    """

    kind = "linear"

    def __init__(
        self,
        labels: LabelSet,
        settings: NgramSettings,
        words: list[str],
        word_weights: npt.NDArray[np.float32],
        chars: list[str],
        char_weights: npt.NDArray[np.float32],
        bias: npt.NDArray[np.float32],
        class_weights: npt.NDArray[np.float32] | None = None,
    ) -> None:
        self.labels, self.settings = labels, settings
        self._grams, self._gram_weights = words, word_weights
        self._chars, self._char_weights, self._bias = chars, char_weights, bias
        features = len(class_names(settings.class_order))
        self._class_weights = np.zeros((features, len(labels)), np.float32) if class_weights is None else class_weights
        self._classes = ClassWeights(settings.class_order, settings.distance, self._class_weights)
        self._tokenize = Tokenizer(settings.countries)
        self._places = {gram: i for i, gram in enumerate(words)}
        self._char_places = {gram: i for i, gram in enumerate(chars)}
        self._known = [gram for gram in words if not set(" <>!") & set(gram)]
        self._reset()
        self._sides = [
            tuple(self._table_of([f"{name}{side}{word}" for word in self._known]) for side in "><!")
            for name in settings.anchors
        ]
        self._longer = self._longer_tables()

    def _reset(self) -> None:
        """Forget the words met; those of the vocabulary keep their numbers, and so do the anchors' words."""
        self._words = _Words(self)
        self._table = np.zeros((1024, len(self.labels)))
        for word in chain(self._known, *self.settings.anchors.values(), *self.settings.classes.values()):
            self._words[word]
        # The class of each word by its number; words met later have none, and share the last place.
        self._class_of = np.full(len(self._words) + 1, -1, np.int64)
        for place, name in enumerate(self.settings.class_order):
            self._class_of[[self._words[word] for word in self.settings.classes[name]]] = place
        self._anchors = [np.array(sorted({self._words[w] for w in ws})) for ws in self.settings.anchors.values()]

    def _learn_word(self, number: int, word: str) -> None:
        if number >= len(self._table):
            self._table = np.vstack([self._table, np.zeros_like(self._table)])
        row = self._table[number]
        if (place := self._places.get(word)) is not None:
            row += self._gram_weights[place]
        if self.settings.chars:
            found = (self._char_places.get(gram) for gram in char_ngrams(word, *self.settings.chars))
            known = [place for place in found if place is not None]
            row += self._char_weights[known].sum(axis=0, dtype=np.float64)

    def _table_of(self, grams: list[str]) -> Floats:
        """The weights of these n-grams, zero for those that the model lacks, and a last row of zeros."""
        table = np.zeros((len(grams) + 1, len(self.labels)))
        for row, gram in enumerate(grams):
            if (place := self._places.get(gram)) is not None:
                table[row] = self._gram_weights[place]
        return table

    def _longer_tables(self) -> list[tuple[Ids, Floats]]:
        """For each n > 1 the sorted keys of its n-grams and their weights.

        An n-gram's key is made of the place of its first n-1 words (a word's number, or the row of the shorter n-gram)
        and the number of its last word.
        """
        tables = []
        rows: dict[str, int] = self._words
        wanted = {gram for gram in self._grams if " " in gram}
        wanted |= {gram.rsplit(" ", 1)[0] for gram in wanted if gram.count(" ") > 1}
        for n in range(2, self.settings.longest + 1):
            parts = ((gram, *gram.rsplit(" ", 1)) for gram in wanted if gram.count(" ") == n - 1)
            keyed = sorted((rows[head] * _BASE + self._words[tail], gram) for gram, head, tail in parts)
            tables.append((np.array([key for key, _ in keyed], np.int64), self._table_of([gram for _, gram in keyed])))
            rows = {gram: row for row, (_, gram) in enumerate(keyed)}
        return tables

    def logits(self, batch: Batch) -> Floats:
        """Raw scores, shape (sentences, labels)."""
        scores = np.zeros((len(batch), len(self.labels)))
        for start in range(0, len(batch), _CHUNK):
            texts = batch.texts[start : start + _CHUNK]
            governments = batch.governments[start : start + _CHUNK]
            scores[start : start + _CHUNK] = self._score(
                [self._tokenize(t, g) for t, g in zip(texts, governments, strict=True)]
            )
        return scores

    def contributions(self, batch: Batch) -> tuple[Floats, list[list[Contribution]]]:
        """What each token of each sentence adds to the logits, exactly.

        A word's weights are shared by its occurrences, those of a longer n-gram by its words, and those of a class
        feature by the words that make it.

        Returns:
            The logits of a sentence without words, shape (labels,), and for each sentence its tokens in order, whose
            weights and these logits sum to the sentence's own.
        """
        base = self._score([[]])[0]
        found = []
        for text, government in zip(batch.texts, batch.governments, strict=True):
            located = self._tokenize.located(text, government)
            weights = self._token_weights([token for token, _, _ in located])
            found.append([Contribution(start, end, w) for (_, start, end), w in zip(located, weights, strict=True)])
        return base, found

    def _token_weights(self, tokens: list[str]) -> Floats:
        """The logits of one sentence less those of none, shared among its tokens: shape (tokens, labels)."""
        read = self._read([tokens])
        distinct = np.zeros(len(tokens), np.int64)
        distinct[read.order] = np.repeat(np.arange(len(read.values)), read.occurrences)
        weights = (read.values / read.occurrences[:, None])[distinct]
        for n, values in self._longer_values(read.ids, read.owner):
            for place in range(n):
                weights[place : place + len(values)] += values / n
        weights /= np.sqrt(len(read.values) + 1.0)
        if self.settings.classes:
            weights += shared_class_weights(
                tokens, self.settings.class_of, self.settings.class_order, self.settings.distance, self._class_weights
            )
        return weights

    def _read(self, sentences: list[list[str]]) -> _Read:
        """Sentences as numbers, and what their distinct words weigh, anchored words included."""
        if len(self._words) > _MAX_WORDS:
            self._reset()
        lengths = np.fromiter(map(len, sentences), np.int64, len(sentences))
        ids = np.fromiter(map(self._words.__getitem__, chain.from_iterable(sentences)), np.int64, int(lengths.sum()))
        owner = np.repeat(np.arange(len(sentences)), lengths)
        # Distinct words of each sentence, with the places of their first and last occurrence in the chunk.
        order = np.argsort(owner * _BASE + ids, kind="stable")
        code = (owner * _BASE + ids)[order]
        begins = np.flatnonzero(np.diff(code, prepend=-1))
        word, whose = ids[order[begins]], owner[order[begins]]
        first, last = order[begins], order[np.append(begins[1:], len(code)) - 1] if len(code) else begins
        values = self._table[word]
        known = np.minimum(word, len(self._known))
        for anchor, (before, after, alone) in zip(self._anchors, self._sides, strict=True):
            places = np.flatnonzero(np.isin(ids, anchor))
            earliest, latest = np.full(len(sentences), len(ids)), np.full(len(sentences), -1)
            np.minimum.at(earliest, owner[places], places)
            np.maximum.at(latest, owner[places], places)
            values += before[np.where(first < latest[whose], known, -1)]
            values += after[np.where(last > earliest[whose], known, -1)]
            values += alone[np.where(latest[whose] < 0, known, -1)]
        return _Read(ids, owner, order, np.diff(begins, append=len(code)), whose, values)

    def _score(self, sentences: list[list[str]]) -> Floats:
        read = self._read(sentences)
        longer = np.zeros((len(read.ids), len(self.labels)))
        for _, values in self._longer_values(read.ids, read.owner):
            longer[: len(values)] += values
        sums = _sum_by(read.whose, read.values, len(sentences)) + _sum_by(read.owner, longer, len(sentences))
        counts = np.bincount(read.whose, minlength=len(sentences))
        scores = sums / np.sqrt(counts + 1.0)[:, None] + self._bias
        if self.settings.classes:
            members = self._class_of[np.minimum(read.ids, len(self._class_of) - 1)]
            scores += self._classes.sums(members, read.owner, len(sentences))
        return np.asarray(scores, dtype=np.float64)

    def _longer_values(self, ids: Ids, owner: Ids) -> Iterator[tuple[int, Floats]]:
        """For each n > 1 the weights of the n-grams that begin with each word, zero for those across sentences."""
        prefix = ids
        for n, (keys, table) in enumerate(self._longer, 2):
            if len(ids) < n or not len(keys):
                break
            key = prefix[: len(ids) - n + 1] * _BASE + ids[n - 1 :]
            row = np.minimum(np.searchsorted(keys, key), len(keys) - 1)
            row[(keys[row] != key) | (owner[: len(row)] != owner[n - 1 :])] = len(keys)
            yield n, table[row]
            prefix = row

    def describe(self) -> dict[str, Any]:
        """Numbers of n-grams."""
        return {"word_ngrams": len(self._grams), "char_ngrams": len(self._chars)}

    def files(self) -> dict[str, bytes]:
        """`ngrams.json`, `vocabulary.json` (word n-grams, character n-grams) and the weights."""
        from safetensors.numpy import save

        settings = {
            "longest": self.settings.longest,
            "chars": list(self.settings.chars) if self.settings.chars else None,
            "countries": dict(self.settings.countries),
            "anchors": {name: list(words) for name, words in self.settings.anchors.items()},
            "classes": {name: list(words) for name, words in self.settings.classes.items()},
            "distance": self.settings.distance,
        }
        weights = {
            "word": self._gram_weights,
            "char": self._char_weights,
            "bias": self._bias,
            "class": self._class_weights,
        }
        return {
            "ngrams.json": json.dumps(settings, ensure_ascii=False, sort_keys=True).encode(),
            "vocabulary.json": json.dumps([self._grams, self._chars], ensure_ascii=False).encode(),
            "weights.safetensors": save(weights),
        }

    @classmethod
    def from_files(cls, labels: LabelSet, content: Mapping[str, bytes]) -> LinearModel:
        """The model of the files that `files` gave.

        Raises:
            ArtifactError: the files do not fit together.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            stored = json.loads(content["ngrams.json"])
            settings = NgramSettings(
                int(stored["longest"]),
                tuple(stored["chars"]) if stored["chars"] else None,
                {**stored["countries"]},
                {name: tuple(words) for name, words in stored["anchors"].items()},
                # Format 1 knew no classes.
                {name: tuple(words) for name, words in stored.get("classes", {}).items()},
                int(stored.get("distance", 1)),
            )
            words, chars = json.loads(content["vocabulary.json"])
            weights = {"class": np.zeros((0, len(labels)), np.float32), **load(content["weights.safetensors"])}
            features = len(class_names(settings.class_order))
            shapes = {
                "word": (len(words), len(labels)),
                "char": (len(chars), len(labels)),
                "bias": (len(labels),),
                "class": (features, len(labels)),
            }
            if {name: weights[name].shape for name in shapes} != shapes:
                raise ValueError("the weights' shapes are not those of the vocabulary")
            if not all(np.isfinite(weights[name]).all() for name in shapes):
                raise ValueError("a weight is not a finite number")
            return cls(
                labels, settings, words, weights["word"], chars, weights["char"], weights["bias"], weights["class"]
            )
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError, SafetensorError) as error:
            raise ArtifactError(f"the linear model's files do not fit together ({error})") from None


def _sum_by(owner: Ids, values: Floats, count: int) -> Floats:
    """Sums of rows by owner, which is sorted: shape (count, columns)."""
    sums = np.zeros((count, values.shape[1]))
    if len(owner):
        begins = np.flatnonzero(np.diff(owner, prepend=-1))
        sums[owner[begins]] = np.add.reduceat(values, begins, axis=0)
    return sums
