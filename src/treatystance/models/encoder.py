"""The encoder family at scoring time: a transformer as an ONNX graph, run by onnxruntime. No torch here.

Sentences with the same text and the same context are scored once. The others go through the graph by length, in
batches that hold about as many tokens each, so that few of them are padding and the working memory stays in the
processor's cache.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from treatystance.config.encoders import Input
from treatystance.cores import cores
from treatystance.errors import ArtifactError, InputError, MissingExtraError
from treatystance.models.base import Batch, Floats
from treatystance.models.encoder_input import Encoded, InputEncoder
from treatystance.statement import LabelSet

__all__ = ["FILES", "INPUTS", "OUTPUT", "EncoderModel", "batches"]

FILES = frozenset({"encoder.json", "tokenizer.json", "model.onnx"})
INPUTS = ("input_ids", "attention_mask", "pool_mask", "token_type_ids")
OUTPUT = "logits"
_WINDOW = 16_384  # sentences tokenised and scored at a time
_BUDGET = 320  # tokens of a batch, padding included; 160 to 480 are as fast with one thread, 1,280 a fifth slower


class EncoderModel:
    """A fitted encoder.

    Args:
        labels: the label set; its order is the column order of `logits`.
        encoder_input: how sentences become token ids.
        onnx: the graph, with its weights inside; its inputs are among `INPUTS`, its output is `OUTPUT`.
        about: what is known of its making (checkpoint, precision …), as plain values.
        threads: how many threads score; None for as many as this process may use.

    Raises:
        ArtifactError: the graph keeps weights in files of its own.
    """

    kind = "encoder"

    def __init__(
        self,
        labels: LabelSet,
        encoder_input: InputEncoder,
        onnx: bytes,
        about: dict[str, Any],
        threads: int | None = None,
    ) -> None:
        # Whatever the encoding, a tensor kept elsewhere spells out the key "location"; nothing of ours does.
        if b"location" in onnx:
            raise ArtifactError("model.onnx refers to data outside of it, which is never read; export the model anew")
        self.labels, self.input, self.about = labels, encoder_input, about
        self._onnx, self._threads = onnx, threads
        self._session: Any = None
        self._names: list[str] = []

    @property
    def threads(self) -> int | None:
        """How many threads score; None for as many as this process may use. Worker processes had best set 1."""
        return self._threads

    @threads.setter
    def threads(self, threads: int | None) -> None:
        self._threads, self._session = threads, None

    def logits(self, batch: Batch) -> Floats:
        """Raw scores, shape (sentences, labels).

        Raises:
            ArtifactError: the graph is damaged or does not fit the labels or the tokenizer.
            MissingExtraError: onnxruntime is not installed.
        """
        distinct, places = self._distinct(batch)
        scores = np.zeros((len(distinct), len(self.labels)))
        for start in range(0, len(distinct), _WINDOW):
            rows = distinct[start : start + _WINDOW]
            texts = [batch.texts[i] for i in rows]
            part = Batch(texts, [batch.previous[i] for i in rows], [batch.governments[i] for i in rows])
            encoded = self.input.encode(part)
            for members in batches(encoded):
                scores[[start + i for i in members]] = self.run(self.input.pad([encoded[i] for i in members]))
        return scores[places]

    def _distinct(self, batch: Batch) -> tuple[list[int], list[int]]:
        """The first row of every sentence that is not like one before, and each row's place among them."""
        columns: list[Iterable[Hashable]] = [batch.texts]
        if self.input.settings.previous_tokens:
            columns.append(batch.previous)
        if self.input.settings.government or self.input.settings.countries:
            columns.append(batch.governments)
        numbers: dict[Hashable, int] = {}
        rows: list[int] = []
        places: list[int] = []
        for row, key in enumerate(zip(*columns, strict=True)):
            place = numbers.setdefault(key, len(rows))
            if place == len(rows):
                rows.append(row)
            places.append(place)
        return rows, places

    def run(self, tokens: Mapping[str, npt.NDArray[np.int64]]) -> npt.NDArray[np.float32]:
        """Scores, shape (sentences, labels), of matrices as `InputEncoder.pad` gives them; errors as for `logits`."""
        if self._session is None:
            self._session = self._open()
        try:
            return self._compute(self._session, tokens)
        except Exception as error:  # onnxruntime's errors have no base of their own
            raise ArtifactError(f"model.onnx cannot score these tokens ({_line(error)})") from None

    def _compute(self, session: Any, tokens: Mapping[str, npt.NDArray[np.int64]]) -> npt.NDArray[np.float32]:
        scores: npt.NDArray[np.float32] = session.run([OUTPUT], {name: tokens[name] for name in self._names})[0]
        if scores.shape != (len(tokens["input_ids"]), len(self.labels)):
            raise ValueError(f"it gives scores of shape {scores.shape} for {len(self.labels)} labels")
        return scores

    def _open(self) -> Any:
        """The graph, ready to run: checked against the four inputs, the labels and the tokenizer."""
        try:
            import onnxruntime
        except ImportError:
            raise MissingExtraError("an encoder needs onnxruntime: pip install 'treatystance[encoder]'") from None

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads or cores()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # onnxruntime's own format, which it would tell by the content, could name other files.
        options.add_session_config_entry("session.load_model_format", "ONNX")
        try:
            session = onnxruntime.InferenceSession(self._onnx, options, providers=["CPUExecutionProvider"])
            self._names = [entry.name for entry in session.get_inputs()]
            if unknown := set(self._names) - set(INPUTS):
                raise ValueError(f"it has an input {min(unknown)!r}")
            # The token of the highest number shows whether the embeddings reach as far as the tokenizer.
            last = max(self.input.vocabulary.values())
            if not np.isfinite(self._compute(session, self.input.pad([Encoded([last], [0], [1])]))).all():
                raise ValueError("its scores are not finite numbers")
        except Exception as error:
            raise ArtifactError(f"model.onnx cannot be used ({_line(error)}); restore the model folder") from None
        return session

    def describe(self) -> dict[str, Any]:
        """What is known of its making, and its sizes."""
        return {
            **self.about,
            "max_tokens": self.input.settings.max_tokens,
            "vocabulary": len(self.input.vocabulary),
            "bytes": len(self._onnx),
        }

    def files(self) -> dict[str, bytes]:
        """`encoder.json` (what is read of a sentence, what is known of the making), the tokenizer and the graph."""
        stored = {"input": self.input.settings.model_dump(mode="json"), "about": self.about}
        return {
            "encoder.json": json.dumps(stored, ensure_ascii=False, sort_keys=True, allow_nan=False).encode(),
            "tokenizer.json": self.input.tokenizer_json,
            "model.onnx": self._onnx,
        }

    @classmethod
    def from_files(cls, labels: LabelSet, content: Mapping[str, bytes]) -> EncoderModel:
        """The model of the files that `files` gave; the graph itself is opened when the first sentence is scored.

        Raises:
            ArtifactError: the files do not fit together.
            MissingExtraError: the tokenizers library is not installed.
        """
        try:
            stored = json.loads(content["encoder.json"])
            if not isinstance(stored, dict) or set(stored) != {"input", "about"}:
                raise ValueError("encoder.json must hold input and about")
            if not isinstance(stored["about"], dict):
                raise ValueError("encoder.json: about must be a mapping")
            settings = Input.model_validate(stored["input"])
            return cls(
                labels, InputEncoder(content["tokenizer.json"], settings), content["model.onnx"], stored["about"]
            )
        except ArtifactError:
            raise
        except ValidationError as error:
            from treatystance.config.recipes import explain

            reason = "; ".join(explain(error))
        except (KeyError, TypeError, ValueError, RecursionError, InputError) as error:
            reason = _line(error)
        raise ArtifactError(f"the encoder's files do not fit together ({reason})")


def batches(encoded: Sequence[Encoded]) -> Iterator[list[int]]:
    """Places of sentences by length, the longest first, `_BUDGET` tokens or one sentence at a time."""
    order = sorted(range(len(encoded)), key=lambda i: len(encoded[i]), reverse=True)
    start = 0
    while start < len(order):
        size = max(1, _BUDGET // max(1, len(encoded[order[start]])))
        yield order[start : start + size]
        start += size


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
