"""Rows of a corpus and a recipe → one fitted model. Fitted encoders can be kept, so that a broken run goes on."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from treatystance.artifact import Artifact, load_artifact, save_artifact
from treatystance.calibration import DecisionRule
from treatystance.config import DistilledConfig, EncoderConfig, EncoderPart, LinearConfig, LinearPart
from treatystance.corpus.public import PUBLISHERS, locate
from treatystance.corpus.rows import Corpus
from treatystance.models.base import Batch, Model

__all__ = ["Fitter", "Progress", "Track"]

Indices = npt.NDArray[np.intp]
Progress = Callable[[str], None]
Track = Callable[[dict[str, float], int], None]


_VOCABULARY_SENTENCES = 100_000


def _silent(message: str) -> None:
    """Say nothing."""


def _untracked(metrics: dict[str, float], step: int) -> None:
    """Track nothing."""


@dataclass(frozen=True)
class Fitter:
    """Fits models on rows of one corpus.

    Args:
        corpus: all rows; `members` below are places in it.
        seed: of every model.
        folder: where fitted encoders and the checkpoints of the one being fitted are kept; a second run with the same
            recipe and rows takes them from there. None: nothing is kept.
        say: told of each step.
        track: given metrics and step of each epoch; the metrics' names begin with that of the model.
    """

    corpus: Corpus
    seed: int
    folder: Path | None = None
    say: Progress = _silent
    track: Track = _untracked

    def model(self, config: LinearConfig | EncoderConfig, members: Indices, name: str = "model") -> Model:
        """The recipe's model fitted on these rows; `name` says which one it is in messages and metrics."""
        if isinstance(config, LinearConfig):
            return self.linear(config, members)
        return self.encoder(config, members, name)

    def linear(self, part: LinearPart, members: Indices) -> Model:
        """A linear model fitted on these rows."""
        from treatystance.models.linear_fit import fit_linear

        rows = self.corpus.take(members)
        return fit_linear(
            Batch.of(rows),
            rows.label_matrix(),
            np.array([row.weight for row in rows]),
            self.corpus.labels,
            part.features,
            part.classifier,
            self.seed,
            np.array([row.auxiliary for row in rows], bool),
        )

    def encoder(self, part: EncoderPart, members: Indices, name: str = "model") -> Model:
        """An encoder fitted on these rows, or the one kept of an earlier run with the same recipe and rows."""
        from treatystance.models.encoder_fit import fit_encoder

        rows = self.corpus.take(members)
        settings = EncoderPart(**{field: getattr(part, field) for field in EncoderPart.model_fields})
        kept = model_folder = None
        if self.folder:
            # Written in another way, it is the same fitted encoder.
            key = json.dumps(
                [
                    settings.model_dump(mode="json", exclude={"export"}),
                    self.seed,
                    rows.sha256,
                    *_weights_sha256(settings.checkpoint.source),
                ],
                sort_keys=True,
            )
            kept = self.folder / hashlib.sha256(key.encode()).hexdigest()[:24]
            model_folder = kept / f"{settings.export.precision}-{settings.export.vocabulary}"
            if model_folder.is_dir():
                self.say(f"{name}: taken from {model_folder}")
                return load_artifact(model_folder).model
        model = fit_encoder(
            Batch.of(rows),
            rows.label_matrix(),
            np.array([row.weight for row in rows]),
            self.corpus.labels,
            settings,
            self.seed,
            auxiliary=np.array([row.auxiliary for row in rows], bool),
            documents=[row.doc_id for row in rows],
            folder=kept / "checkpoints" if kept else None,
            adaptation_texts=_texts(settings.adaptation.corpora, settings.adaptation.sentences, self.seed)
            if settings.adaptation
            else None,
            texts_for_vocabulary=self._vocabulary_texts if settings.export.vocabulary == "corpus" else (),
            track=lambda step, metrics: self.track({f"{name}.{key}": value for key, value in metrics.items()}, step),
            say=lambda message: self.say(f"{name}: {message}"),
        )
        if model_folder:
            _keep(model, model_folder)
        return model

    @cached_property
    def _vocabulary_texts(self) -> list[str]:
        """Sentences of the public corpora at hand, documents kept aside left out."""
        corpora = [name for name in PUBLISHERS if locate(name)]
        return list(_texts(corpora, _VOCABULARY_SENTENCES, self.seed)) if corpora else []

    def distilled(
        self,
        config: DistilledConfig,
        members: Indices,
        rule: DecisionRule,
        name: str = "model",
        skip: Collection[str] = (),
    ) -> Model:
        """A linear model that learned from these rows and from a teacher fitted on them.

        Args:
            config: the recipe.
            members: the rows.
            rule: calibrates the teacher, from scores of rows that teachers did not see.
            name: of the model.
            skip: governments whose public text the teacher does not label.
        """
        from treatystance.models.distilled_fit import fit_distilled
        from treatystance.pool import pool_sentences

        teacher = self.encoder(config.teacher, members, f"{name}.teacher")
        pool = pool_sentences(config.corpora, config.sentences, self.seed, frozenset(skip))
        self.say(f"{name}: the teacher labels {len(pool)} sentences")
        probabilities = rule.probabilities(teacher.logits(pool))
        rows = self.corpus.take(members)
        return fit_distilled(
            Batch.of(rows),
            rows.label_matrix(),
            np.array([row.weight for row in rows]),
            self.corpus.labels,
            config.linear,
            self.seed,
            np.array([row.auxiliary for row in rows], bool),
            pool,
            probabilities,
            config.weight,
        )


def _weights_sha256(source: str) -> list[str]:
    """What tells the weights of a local folder from others that lay there before; nothing for a name."""
    path = Path(source) / "model.safetensors"
    if not path.is_file():
        return []
    with path.open("rb") as file:
        return [hashlib.file_digest(file, "sha256").hexdigest()]


def _texts(corpora: Collection[str], count: int, seed: int) -> Iterator[str]:
    from treatystance.pool import pool_sentences

    yield from pool_sentences(tuple(corpora), count, seed, frozenset()).texts


def _keep(model: Model, folder: Path) -> None:
    """Save a fitted model without a decision rule of its own, whole or not at all."""
    blank = (0.0,) * len(model.labels)
    one = (1.0,) * len(model.labels)
    rule = DecisionRule(model.labels.exclusive, one, blank, (0.5,) * len(model.labels), one, blank)
    part = folder.with_name("part")
    shutil.rmtree(part, ignore_errors=True)
    save_artifact(Artifact("kept", "0", model, rule), part)
    part.rename(folder)
