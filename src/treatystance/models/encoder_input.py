"""From a sentence and its context to token ids: the one tokenisation that encoders share in training and scoring.

Without context, the sentence stands in the tokenizer's template for one text, and every token is pooled. With context
(`settings.government`, `settings.previous_tokens`) the tokenizer's template for a pair holds the context, such as
"Poland: " and the end of the sentence before, and then the sentence; the sentence's own tokens and what ends them
are pooled. A sentence of which nothing more is known then follows an empty context, so that all are read alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from treatystance.config.encoders import Input
from treatystance.errors import InputError, MissingExtraError
from treatystance.models.base import Batch
from treatystance.models.countries import CountryMarker
from treatystance.models.ngrams import country_names
from treatystance.statement import ANY_GOVERNMENT

__all__ = ["Encoded", "InputEncoder", "government_name"]

REPORT = "news report"
_PADDING = ("[PAD]", "<pad>", "<|padding|>")
_CHUNK = 16_384  # texts given to the tokenizer at once: its own records of a text take far more room than ids
_SPLICE = ("a", "the", "0", "\ufffd")  # texts of which every tokenizer makes a token of at least one
_RARE = "龘"


@dataclass(frozen=True, slots=True)
class Encoded:
    """One sentence as the encoder reads it: token ids, token types (0 or 1), and 1 where a token is pooled, else 0."""

    ids: list[int]
    types: list[int]
    pool: list[int]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class _Template:
    """Special tokens before, between and after the texts with their types, and the type of each text's own tokens."""

    special: list[list[int]]
    types: list[list[int]]
    own: list[int]

    @property
    def size(self) -> int:
        return sum(map(len, self.special))


@cache
def government_name(code: str) -> str:
    """The English name of a government: that of the country, "news report" for "*", the code itself if unknown."""
    import pycountry

    if code == ANY_GOVERNMENT:
        return REPORT
    if code == "EU":
        return "European Union"
    if country := pycountry.countries.get(alpha_3=code):
        return str(getattr(country, "common_name", country.name))
    former = pycountry.historic_countries.get(alpha_3=code)
    return str(former.name).split(",")[0] if former else code


class InputEncoder:
    """Turns sentences into token ids.

    Args:
        tokenizer_json: a fast tokenizer as the tokenizers library writes it; its truncation and padding are not used,
            and special tokens spelled out in a text are read as ordinary text.
        settings: what to read of a sentence.

    Attributes:
        pad_id: the id of the padding token.
        vocabulary: the tokenizer's tokens and their ids, added ones included.

    Raises:
        InputError: not a tokenizer, or one that has no padding token or cannot encode a text.
        MissingExtraError: the tokenizers library is not installed.
    """

    def __init__(self, tokenizer_json: bytes, settings: Input) -> None:
        try:
            from tokenizers import Tokenizer
        except ImportError:
            raise MissingExtraError("an encoder needs tokenizers: pip install 'treatystance[encoder]'") from None
        self.tokenizer_json, self.settings = tokenizer_json, settings
        self._mark = CountryMarker(country_names()) if settings.countries else None
        try:
            self._tokenizer: Any = Tokenizer.from_str(tokenizer_json.decode("utf-8"))
            padding = self._tokenizer.padding
            self._tokenizer.no_padding()
            self._tokenizer.no_truncation()
            self._tokenizer.encode_special_tokens = True
            self.vocabulary: dict[str, int] = self._tokenizer.get_vocab(with_added_tokens=True)
            self._single, self._pair = self._template(1), self._template(2)
            self._tokenizer.encode(_RARE)  # fails where words of unknown characters have no token
        except InputError:
            raise
        except Exception as error:  # tokenizers raises plain Exception
            raise InputError(f"the tokenizer cannot be used ({' '.join(str(error).split())[:200]})") from None
        known = (self.vocabulary[token] for token in _PADDING if token in self.vocabulary)
        pad_id = padding["pad_id"] if padding else next(known, None)
        if pad_id is None:
            raise InputError(f"the tokenizer has no padding token ({', '.join(_PADDING)}); an encoder's has one")
        self.pad_id = int(pad_id)

    def _template(self, texts: int) -> _Template:
        """Where the tokenizer puts its special tokens around one text or two."""
        # Not `post_process`, which forgets where the first of two texts stands.
        wholes = (self._tokenizer.encode(*[text] * texts) for text in _SPLICE)
        whole = next((whole for whole in wholes if set(whole.sequence_ids) - {None}), None)
        if whole is None:
            raise InputError("the tokenizer makes no token of any text")
        special: list[list[int]] = [[]]
        types: list[list[int]] = [[]]
        own: list[int] = []
        for token, kind, sequence in zip(whole.ids, whole.type_ids, whole.sequence_ids, strict=True):
            if sequence is None:
                special[-1].append(token)
                types[-1].append(kind)
            elif sequence == len(own):
                own.append(kind)
                special.append([])
                types.append([])
            elif sequence != len(own) - 1 or special[-1]:
                break
        if len(own) != texts or len(whole) != sum(map(len, special)) + sum(i is not None for i in whole.sequence_ids):
            raise InputError("the tokenizer's template does not hold each text once, in order")
        return _Template(special, types, own)

    @property
    def has_context(self) -> bool:
        """Whether anything but the sentence is read."""
        return self.settings.government or self.settings.previous_tokens > 0

    def encode(self, batch: Batch) -> list[Encoded]:
        """The sentences in order, each at most `settings.max_tokens` long: first its context gives way, from the left.

        An empty text gives special tokens only. Halves of surrogate pairs, which no encoding holds, become U+FFFD.
        """
        texts, before_texts = self.read(batch)
        previous = before_texts if self.settings.previous_tokens else ()
        heads = {code: f"{government_name(code)}:" for code in set(batch.governments) if code is not None}
        heads = heads if self.settings.government else {}
        # The sentence before is most often a sentence of the batch itself: each distinct text is tokenised once.
        tokens = self._tokens(chain(texts, (text for text in previous if text), heads.values()))
        if not self.has_context:
            return [self._alone(tokens[text]) for text in texts]
        encoded = []
        for text, before, code in zip(texts, before_texts, batch.governments, strict=True):
            context = tokens[heads[code]] if code in heads else []
            if before and previous:
                context = context + tokens[before][-self.settings.previous_tokens :]
            encoded.append(self._after(context, tokens[text]))
        return encoded

    def read(self, batch: Batch) -> tuple[Sequence[str], Sequence[str | None]]:
        """The sentences and those before them as they are read."""
        if self._mark is None:
            return batch.texts, batch.previous
        said = [self._mark(text, code) for text, code in zip(batch.texts, batch.governments, strict=True)]
        if not self.settings.previous_tokens:
            return said, batch.previous
        pairs = zip(batch.previous, batch.governments, strict=True)
        return said, [text and self._mark(text, code) for text, code in pairs]

    def _tokens(self, texts: Iterable[str]) -> dict[str, list[int]]:
        """Distinct texts and their tokens, without special ones."""
        distinct = list(dict.fromkeys(texts))
        found: dict[str, list[int]] = {}
        for start in range(0, len(distinct), _CHUNK):
            chunk = distinct[start : start + _CHUNK]
            clean = [text if text.isascii() else _well_formed(text) for text in chunk]
            encodings = self._tokenizer.encode_batch_fast(clean, add_special_tokens=False)
            found.update(zip(chunk, (encoding.ids for encoding in encodings), strict=True))
        return found

    def _alone(self, tokens: list[int]) -> Encoded:
        template = self._single
        (first, last), (first_types, last_types) = template.special, template.types
        own = tokens[: max(0, self.settings.max_tokens - template.size)]
        ids = [*first, *own, *last]
        return Encoded(ids, [*first_types, *template.own * len(own), *last_types], [1] * len(ids))

    def _after(self, context: list[int], tokens: list[int]) -> Encoded:
        template = self._pair
        (first, middle, last), (first_types, middle_types, last_types) = template.special, template.types
        room = max(0, self.settings.max_tokens - template.size)
        own = tokens[:room]
        kept = context[max(0, len(context) - (room - len(own))) :]
        ids = [*first, *kept, *middle, *own, *last]
        types = [*first_types, *template.own[:1] * len(kept), *middle_types, *template.own[1:] * len(own), *last_types]
        pooled = len(own) + len(last)
        return Encoded(ids, types, [0] * (len(ids) - pooled) + [1] * pooled)

    def pad(self, encoded: Sequence[Encoded]) -> dict[str, npt.NDArray[np.int64]]:
        """Matrices "input_ids", "token_type_ids", "attention_mask", "pool_mask" of shape (sentences, longest)."""
        lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
        longest = int(lengths.max(initial=min(1, len(encoded))))
        there = np.arange(longest) < lengths[:, None]

        def matrix(rows: Iterable[list[int]], filler: int) -> npt.NDArray[np.int64]:
            filled = np.full(there.shape, filler, np.int64)
            filled[there] = np.fromiter(chain.from_iterable(rows), np.int64, int(lengths.sum()))
            return filled

        return {
            "input_ids": matrix((row.ids for row in encoded), self.pad_id),
            "token_type_ids": matrix((row.types for row in encoded), 0),
            "attention_mask": there.astype(np.int64),
            "pool_mask": matrix((row.pool for row in encoded), 0),
        }


def _well_formed(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
