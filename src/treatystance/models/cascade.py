"""The cascade at scoring time: the linear model settles what it is sure of, the encoder reads the rest.

A classifier cascade (Viola & Jones 2001) of two stages. The linear model scores every sentence. Where it is sure
enough, its calibrated score stands; elsewhere the encoder reads the sentence too, and the two scores are mixed. Both
ways end in log-odds of ordinary text, so that all sentences are ranked on one scale. `stacking` learns the numbers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from treatystance.errors import ArtifactError
from treatystance.models.base import Batch, Floats, sigmoid
from treatystance.models.linear import LinearModel
from treatystance.statement import LabelSet

if TYPE_CHECKING:
    from treatystance.models.encoder import EncoderModel

__all__ = ["CascadeModel", "CascadeSettings"]

Bools = npt.NDArray[np.bool_]
_FILE = "cascade.json"
_PER_LABEL = ("slope", "offset", "linear_weight", "encoder_weight", "bias")


@dataclass(frozen=True, slots=True)
class CascadeSettings:
    """When the encoder reads, and how scores become log-odds; every tuple has one number per label.

    `slope` and `offset` calibrate the linear model's logit (exclusive labels: `slope` holds 1 / temperature). A
    sentence is settled where every calibrated probability is below `cut` (exclusive: where the highest is at least
    1 - `cut`). Where the encoder reads, the score is `linear_weight` times the linear logit, as it comes from the
    model, plus `encoder_weight` times the encoder's, plus `bias`.
    """

    cut: float
    slope: tuple[float, ...]
    offset: tuple[float, ...]
    linear_weight: tuple[float, ...]
    encoder_weight: tuple[float, ...]
    bias: tuple[float, ...]

    def calibrated(self, linear: Floats) -> Floats:
        """Log-odds by the linear model alone, of its logits of shape (sentences, labels)."""
        return np.asarray(linear * np.array(self.slope) + np.array(self.offset), dtype=np.float64)

    def mixed(self, linear: Floats, encoder: Floats) -> Floats:
        """Log-odds by both models, of their logits of shape (sentences, labels)."""
        mixed = linear * np.array(self.linear_weight) + encoder * np.array(self.encoder_weight) + np.array(self.bias)
        return np.asarray(mixed, dtype=np.float64)

    def doubt(self, calibrated: Floats, exclusive: bool) -> Floats:
        """How far the linear model is from settling each sentence, in probability: shape (sentences,).

        The highest probability of any label; for exclusive labels, that of another label than the highest.
        """
        if not len(calibrated):
            return np.zeros(0)
        if exclusive:
            from scipy.special import softmax

            # Summed rather than taken from 1, which would round the smallest doubts to nothing.
            p = np.sort(softmax(calibrated, axis=1), axis=1)
            return np.asarray(p[:, :-1].sum(axis=1), dtype=np.float64)
        return sigmoid(calibrated.max(axis=1))

    def settled(self, calibrated: Floats, exclusive: bool) -> Bools:
        """Which sentences the encoder need not read, by their log-odds of `calibrated`: shape (sentences,)."""
        doubt = self.doubt(calibrated, exclusive)
        return doubt <= self.cut if exclusive else doubt < self.cut

    def combined(self, linear: Floats, encoder: Floats, exclusive: bool) -> Floats:
        """Log-odds of sentences that both models have scored, as the cascade gives them: shape (sentences, labels)."""
        calibrated = self.calibrated(linear)
        return np.where(self.settled(calibrated, exclusive)[:, None], calibrated, self.mixed(linear, encoder))

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], labels: int) -> CascadeSettings:
        """Read back what `to_dict` gave.

        Raises:
            ArtifactError: a part is missing or has not one finite number per label, `cut` is not between 0 and 1, or
                a slope or weight is negative.
        """
        try:
            cut = float(values["cut"])
            parts = {name: tuple(float(value) for value in values[name]) for name in _PER_LABEL}
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"the cascade's settings are incomplete ({error!r})") from None
        if any(len(part) != labels or not np.isfinite(part).all() for part in parts.values()):
            raise ArtifactError(f"the cascade's settings do not hold one finite number for each of {labels} labels")
        if not 0 < cut < 1:
            raise ArtifactError(f"the cascade's cut is {cut}, not between 0 and 1")
        if any(min(parts[name]) < 0 for name in ("slope", "linear_weight", "encoder_weight")):
            raise ArtifactError("the cascade's settings turn a score around: a slope or weight is negative")
        return cls(cut, **parts)


class CascadeModel:
    """A fitted cascade.

    Args:
        labels: the label set; its order is the column order of `logits`.
        linear: the model that scores every sentence.
        encoder: the model that reads what the linear model does not settle.
        settings: cut, calibration and mix.

    Raises:
        ArtifactError: a part has other labels, or the settings are not for so many labels.
    """

    kind = "cascade"

    def __init__(self, labels: LabelSet, linear: LinearModel, encoder: EncoderModel, settings: CascadeSettings) -> None:
        if linear.labels != labels or encoder.labels != labels:
            raise ArtifactError("the cascade's parts do not have the cascade's labels")
        self.labels, self.linear, self.encoder = labels, linear, encoder
        self.settings = CascadeSettings.from_dict(settings.to_dict(), len(labels))

    @property
    def threads(self) -> int | None:
        """How many threads the encoder scores with, as of `EncoderModel`."""
        return self.encoder.threads

    @threads.setter
    def threads(self, threads: int | None) -> None:
        self.encoder.threads = threads

    def logits(self, batch: Batch) -> Floats:
        """Log-odds, shape (sentences, labels)."""
        linear = self.linear.logits(batch)
        scores = self.settings.calibrated(linear)
        read = np.flatnonzero(~self.settings.settled(scores, self.labels.exclusive))
        if len(read):
            scores[read] = self.settings.mixed(linear[read], self.encoder.logits(batch.take(read)))
        return scores

    def share_read(self, batch: Batch) -> float:
        """The share of distinct sentences that the encoder reads; 0 for an empty batch.

        Sentences are distinct where the text, the sentence before or the government differs.
        """
        distinct = {key: i for i, key in enumerate(zip(batch.texts, batch.previous, batch.governments, strict=True))}
        if not distinct:
            return 0.0
        calibrated = self.settings.calibrated(self.linear.logits(batch.take(np.array([*distinct.values()]))))
        return 1.0 - float(self.settings.settled(calibrated, self.labels.exclusive).mean())

    def describe(self) -> dict[str, Any]:
        """The cut, and what the parts say of themselves, as `linear.…` and `encoder.…`."""
        parts: dict[str, LinearModel | EncoderModel] = {"linear": self.linear, "encoder": self.encoder}
        return {"cut": self.settings.cut} | {
            f"{name}.{key}": value for name, part in parts.items() for key, value in part.describe().items()
        }

    def files(self) -> dict[str, bytes]:
        """`cascade.json`, and the parts' files as `linear.…` and `encoder.…`."""
        content = {_FILE: json.dumps(self.settings.to_dict(), allow_nan=False, sort_keys=True).encode()}
        content |= {f"linear.{name}": data for name, data in self.linear.files().items()}
        return content | {f"encoder.{name}": data for name, data in self.encoder.files().items()}

    @classmethod
    def from_files(cls, labels: LabelSet, content: Mapping[str, bytes]) -> CascadeModel:
        """The model of the files that `files` gave.

        Raises:
            ArtifactError: the files do not fit together.
        """
        from treatystance.models.encoder import EncoderModel

        try:
            stored = json.loads(content[_FILE])
        except (KeyError, ValueError, RecursionError) as error:
            raise ArtifactError(f"the cascade's settings cannot be read ({error!r})") from None
        if not isinstance(stored, dict):
            raise ArtifactError("the cascade's settings are not a mapping")
        settings = CascadeSettings.from_dict(stored, len(labels))
        linear = LinearModel.from_files(labels, _part(content, "linear."))
        return cls(labels, linear, EncoderModel.from_files(labels, _part(content, "encoder.")), settings)


def _part(content: Mapping[str, bytes], prefix: str) -> dict[str, bytes]:
    return {name.removeprefix(prefix): data for name, data in content.items() if name.startswith(prefix)}
