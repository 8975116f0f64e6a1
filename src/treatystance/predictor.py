"""The one way to a prediction: command line, batch, MLflow and HTTP all go through `Predictor`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from treatystance.artifact import Artifact
from treatystance.calibration import Decisions
from treatystance.models.base import Batch
from treatystance.registry import load_reference
from treatystance.segment import segment
from treatystance.statement import LabelSet, Prediction, SentencePrediction, Statement, reads_like_report, speaker

__all__ = ["Predictor"]


class Predictor:
    """A loaded model.

    predictor = Predictor.load()
    predictor.predict(["We will leave the Convention. We remain bound by humanitarian law."])
    """

    def __init__(self, artifact: Artifact) -> None:
        self.artifact = artifact

    @classmethod
    def load(cls, reference: str = "bundled") -> Predictor:
        """The predictor of a reference: `bundled`, a folder, `models:/NAME@ALIAS`, `models:/NAME/VERSION`, `runs:/…`.

        Raises:
            ModelReferenceError: the reference leads nowhere.
            ArtifactError: the model is changed, incomplete or newer than this version.
        """
        return cls(load_reference(reference))

    @property
    def labels(self) -> LabelSet:
        """The labels, in the order of every score."""
        return self.artifact.labels

    @property
    def model(self) -> str:
        """Name and version of the model."""
        return self.artifact.full_name

    def decide(self, batch: Batch) -> Decisions:
        """Probabilities, tags and abstentions for sentences as columns: arrays of shape (sentences, labels)."""
        return self.artifact.decide(batch)

    def predict(self, statements: Iterable[str | Statement]) -> list[Prediction]:
        """Split statements into sentences and tag each.

        Args:
            statements: strings or Statements; a single string is refused, since it would be read letter by letter.

        Returns:
            One Prediction per statement, in the same order.

        Raises:
            InputError: a statement's text is not a string.
            TypeError: a single string was given.
        """
        if isinstance(statements, (str, Statement)):
            raise TypeError("predict takes a list of statements; put the one you have into a list")
        given = [s if isinstance(s, Statement) else Statement(text=s) for s in statements]
        spans, batch = self.split(given)
        sentences = self._sentences(batch, [place for places in spans for place in places])
        predictions, first = [], 0
        for statement, places in zip(given, spans, strict=True):
            predictions.append(self._statement(statement, sentences[first : first + len(places)]))
            first += len(places)
        return predictions

    def split(self, statements: Sequence[Statement]) -> tuple[list[list[tuple[int, int]]], Batch]:
        """The sentences of statements: their places in each, and all of them as one batch, in order."""
        spans = [segment(statement.text) for statement in statements]
        texts: list[str] = []
        previous: list[str | None] = []
        governments: list[str | None] = []
        for statement, places in zip(statements, spans, strict=True):
            pieces = [statement.text[start:end] for start, end in places]
            texts += pieces
            previous += ([None, *pieces] if pieces else [])[: len(pieces)]
            governments += [self.speaker(statement)] * len(pieces)
        return spans, Batch(texts, previous, governments)

    def predict_sentences(
        self, sentences: Sequence[str], governments: Sequence[str | None] | None = None
    ) -> list[SentencePrediction]:
        """Tag sentences as they are given, without splitting: one result per sentence, in the same order."""
        if isinstance(sentences, str):
            raise TypeError("predict_sentences takes a list of sentences; put the one you have into a list")
        nothing: list[str | None] = [None] * len(sentences)
        batch = Batch(list(sentences), nothing, list(governments) if governments is not None else nothing)
        return self._sentences(batch, [(0, len(text)) for text in sentences])

    @staticmethod
    def speaker(statement: Statement) -> str | None:
        """Whose voice the model should assume; a text of unknown kind and government may turn out to be a report."""
        known = statement.government or statement.kind
        kind = "wire_report" if not known and reads_like_report(statement.text) else statement.kind
        return speaker(statement.government, kind)

    def _sentences(self, batch: Batch, places: Sequence[tuple[int, int]]) -> list[SentencePrediction]:
        decided = self.decide(batch)
        names = self.labels.names
        return [
            SentencePrediction(
                start=start,
                end=end,
                text=text,
                scores=dict(zip(names, scores, strict=True)),
                tags=_chosen(names, tags),
                uncertain=_chosen(names, uncertain),
            )
            for text, (start, end), scores, tags, uncertain in zip(
                batch.texts,
                places,
                decided.probabilities.tolist(),
                decided.tags.tolist(),
                decided.uncertain.tolist(),
                strict=True,
            )
        ]

    def _statement(self, statement: Statement, sentences: Sequence[SentencePrediction]) -> Prediction:
        names = self.labels.names
        certain = {tag for s in sentences for tag in s.tags if tag not in s.uncertain}
        doubted = {tag for s in sentences for tag in s.uncertain}
        return Prediction(
            id=statement.id,
            scores={name: max((s.scores[name] for s in sentences), default=0.0) for name in names},
            tags=tuple(name for name in names if any(name in s.tags for s in sentences)),
            uncertain=tuple(name for name in names if name in doubted - certain),
            sentences=tuple(sentences),
            model=self.model,
        )


def _chosen(names: Sequence[str], flags: Sequence[bool]) -> tuple[str, ...]:
    return tuple(name for name, flag in zip(names, flags, strict=True) if flag)
