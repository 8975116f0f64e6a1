"""The linear family at scoring time: a table of n-gram weights and a loop over numpy arrays. No scikit-learn here.

A sentence's logit for a label is

    bias + (sum of the weights of its word n-grams and of its words' character n-grams) / sqrt(distinct words + 1)

where a word counts once.
Character n-grams stay within a word, so what they add is a property of the word: it is summed once per distinct word
and looked up afterwards, the way fastText sums subwords (Bojanowski et al. 2017). `linear_fit` learns the weights.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from treatystance.errors import ArtifactError
from treatystance.models.base import Batch, Floats
from treatystance.models.ngrams import Tokenizer, char_ngrams
from treatystance.statement import LabelSet

__all__ = ["LinearModel", "NgramSettings"]

_UNKNOWN = -1
_MAX_CACHED_WORDS = 400_000
_CHUNK = 4096
_BASE = 1 << 32
Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class NgramSettings:
    """Longest word n-gram, span of character n-grams (None: none), and country names with their codes."""

    longest: int
    chars: tuple[int, int] | None
    countries: Mapping[str, str]


class _Words(dict[str, int]):
    """Word → number; a new word gets the next one, and its weights are summed from its character n-grams."""

    def __init__(self, model: LinearModel) -> None:
        super().__init__()
        self.model = model

    def __missing__(self, word: str) -> int:
        number = len(self)
        self[word] = number
        self.model._learn_word(number, word)
        return number


def _sum_per_sentence(
    sentences: Sequence[Collection[str]], values: Callable[[Ids, Ids], Floats], words: _Words, labels: int
) -> tuple[Floats, Ids]:
    """Sum `values(word numbers, sentence numbers)` over each sentence; also the sentences' lengths."""
    lengths = np.fromiter(map(len, sentences), np.int64, len(sentences))
    ids = np.fromiter(map(words.__getitem__, chain.from_iterable(sentences)), np.int64, int(lengths.sum()))
    sums = np.zeros((len(sentences), labels))
    filled = lengths > 0
    if len(ids):
        starts = (np.cumsum(lengths) - lengths)[filled]
        owner = np.repeat(np.arange(len(sentences)), lengths)
        sums[filled] = np.add.reduceat(values(ids, owner), starts, axis=0)
    return sums, lengths


class LinearModel:
    """A fitted linear model.

    Args:
        labels: the label set; its order is the column order of `logits`.
        settings: how sentences become n-grams.
        words: word n-grams, tokens joined by spaces.
        word_weights: shape (len(words), labels), float32.
        chars: character n-grams.
        char_weights: shape (len(chars), labels), float32.
        bias: shape (labels,), float32.
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
    ) -> None:
        self.labels, self.settings = labels, settings
        self._grams, self._gram_weights = words, word_weights
        self._chars, self._char_weights, self._bias = chars, char_weights, bias
        self._tokenize = Tokenizer(settings.countries)
        self._char_index = {gram: i for i, gram in enumerate(chars)}
        self._unigrams = {gram: i for i, gram in enumerate(words) if " " not in gram}
        self._reset()

    def _reset(self) -> None:
        """Forget the words met; number anew those of the vocabulary, so that n-gram keys stay valid."""
        self._table = np.zeros((1024, len(self.labels)))
        self._words = _Words(self)
        for gram in self._unigrams:
            self._words[gram]
        # An n-gram's key is (key of its first n-1 words, number of its last word); every prefix gets a key.
        self._keys: list[tuple[Ids, Floats]] = []
        prefixes: dict[str, int] = {}
        for n in range(2, self.settings.longest + 1):
            weights = {g: i for i, g in enumerate(self._grams) if g.count(" ") == n - 1}
            wanted = dict.fromkeys(weights)
            if n < self.settings.longest:
                wanted |= dict.fromkeys(g.rsplit(" ", 1)[0] for g in self._grams if g.count(" ") == n)
            keyed = []
            for gram in wanted:
                head, tail = gram.rsplit(" ", 1)
                first = self._words[head] if n == 2 else prefixes[head]
                keyed.append((first * _BASE + self._words[tail], gram))
            keyed.sort()
            prefixes = {gram: place for place, (_, gram) in enumerate(keyed)}
            table = np.zeros((len(keyed) + 1, len(self.labels)))  # the last row is for what is not there
            for place, (_, gram) in enumerate(keyed):
                if gram in weights:
                    table[place] = self._gram_weights[weights[gram]]
            codes = np.array([code for code, _ in keyed], np.int64)
            self._keys.append((codes, table))

    def _learn_word(self, number: int, word: str) -> None:
        if number >= len(self._table):
            self._table = np.vstack([self._table, np.zeros_like(self._table)])
        row = self._table[number]
        if (place := self._unigrams.get(word)) is not None:
            row += self._gram_weights[place]
        if self.settings.chars:
            found = [self._char_index.get(gram, _UNKNOWN) for gram in char_ngrams(word, *self.settings.chars)]
            known = [place for place in found if place != _UNKNOWN]
            if known:
                row += self._char_weights[known].sum(axis=0, dtype=np.float64)

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

    def _score(self, tokens: list[list[str]]) -> Floats:
        if len(self._words) > _MAX_CACHED_WORDS:
            self._reset()
        distinct = [dict.fromkeys(sentence) for sentence in tokens]
        sums, counts = _sum_per_sentence(distinct, lambda ids, owner: self._table[ids], self._words, len(self.labels))
        if self._keys:
            sums += _sum_per_sentence(tokens, self._longer_ngrams, self._words, len(self.labels))[0]
        return np.asarray(sums / np.sqrt(counts + 1.0)[:, None] + self._bias, dtype=np.float64)

    def _longer_ngrams(self, ids: Ids, owner: Ids) -> Floats:
        """For each word, the weights of the n-grams (n > 1) that begin with it and stay within its sentence."""
        values = np.zeros((len(ids), len(self.labels)))
        prefix = ids
        for n, (codes, table) in enumerate(self._keys, 2):
            if len(ids) < n or not len(codes):
                break
            code = prefix[: len(ids) - n + 1] * _BASE + ids[n - 1 :]
            place = np.minimum(np.searchsorted(codes, code), len(codes) - 1)
            inside = (codes[place] == code) & (owner[: len(owner) - n + 1] == owner[n - 1 :])
            place[~inside] = len(codes)
            values[: len(place)] += table[place]
            prefix = place
        return values

    def describe(self) -> dict[str, Any]:
        """Numbers of n-grams."""
        return {"word_ngrams": len(self._grams), "char_ngrams": len(self._chars)}

    def files(self) -> dict[str, bytes]:
        """`ngrams.json`, `vocabulary.txt` (word n-grams, an empty line, character n-grams) and the weights."""
        from safetensors.numpy import save

        settings = {
            "longest": self.settings.longest,
            "chars": list(self.settings.chars) if self.settings.chars else None,
            "countries": dict(sorted(self.settings.countries.items())),
        }
        vocabulary = "\n".join([*self._grams, "", *self._chars])
        weights = {"word": self._gram_weights, "char": self._char_weights, "bias": self._bias}
        return {
            "ngrams.json": json.dumps(settings, ensure_ascii=False, sort_keys=True).encode(),
            "vocabulary.txt": vocabulary.encode(),
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
            chars = tuple(stored["chars"]) if stored["chars"] else None
            settings = NgramSettings(int(stored["longest"]), chars, {**stored["countries"]})
            vocabulary = content["vocabulary.txt"].decode()
            words, _, char_grams = vocabulary.partition("\n\n")
            weights = load(content["weights.safetensors"])
            model = cls(
                labels,
                settings,
                words.split("\n") if words else [],
                weights["word"],
                char_grams.split("\n") if char_grams else [],
                weights["char"],
                weights["bias"],
            )
        except (KeyError, TypeError, ValueError, IndexError, SafetensorError) as error:
            raise ArtifactError(f"the linear model's files do not fit together ({error})") from None
        return model
