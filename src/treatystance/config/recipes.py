"""Recipes: a YAML file and overrides → a frozen, strict configuration. Unknown keys and wrong types are refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError, field_validator

from treatystance.config.encoders import Adaptation, Checkpoint, Contrastive, Export, FineTuning, Frozen, Input
from treatystance.config.sections import (
    Classifier,
    Decision,
    Evaluation,
    Features,
    GroupedSplit,
    Section,
    Source,
    TemporalSplit,
    TreatySplit,
)
from treatystance.errors import ConfigError
from treatystance.statement import LabelSet

__all__ = [
    "CascadeConfig",
    "DistilledConfig",
    "EncoderConfig",
    "LinearConfig",
    "Recipe",
    "explain",
    "load_config",
    "parse_config",
    "read_yaml",
]


class _Common(Section):
    """What every recipe says.

    `name` is that of the registered model; `labels` the label set (null: taken from the corpus); `exclusive` is true
    where a text carries exactly one label.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*$")] = "treatystance"
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    labels: tuple[str, ...] | None = None
    exclusive: bool = False
    data: Annotated[tuple[Source, ...], Field(min_length=1)]
    split: Annotated[GroupedSplit | TemporalSplit | TreatySplit, Field(discriminator="kind")] = GroupedSplit()
    decision: Decision = Decision()
    evaluation: Evaluation = Evaluation()

    @field_validator("labels")
    @classmethod
    def _labels(cls, labels: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if labels is not None and (len(set(labels)) != len(labels) or not labels or not all(labels)):
            raise ValueError(f"labels must be distinct, none empty, and at least one, not {list(labels)}")
        return labels

    @property
    def label_set(self) -> LabelSet | None:
        """The declared label set, or None where the corpus decides."""
        return LabelSet(self.labels, self.exclusive) if self.labels else None

    @property
    def sha256(self) -> str:
        """SHA-256 of the canonical form."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


class LinearPart(Section):
    """How a linear model is fitted: its n-grams and its classifier."""

    features: Features = Features()
    classifier: Classifier = Classifier()


class EncoderPart(Section):
    """How an encoder is fitted: where it starts, what it reads, how it learns, and how it is written for scoring."""

    checkpoint: Checkpoint = Checkpoint()
    input: Input = Input()
    adaptation: Adaptation | None = None
    fitting: Annotated[FineTuning | Frozen | Contrastive, Field(discriminator="kind")] = FineTuning()
    export: Export = Export()


class LinearConfig(_Common, LinearPart):
    """A recipe for a linear model on n-grams."""

    kind: Literal["linear"]


class EncoderConfig(_Common, EncoderPart):
    """A recipe for a transformer encoder: fine-tuned, frozen with a logistic head, or contrastively tuned."""

    kind: Literal["encoder"]


class CascadeConfig(_Common):
    """A recipe for a cascade: the linear model settles what it is sure carries no tag, the encoder reads the rest.

    `keep` is the share of the macro-F1 of reading everything that the cut must keep on rows not trained on.
    """

    kind: Literal["cascade"]
    linear: LinearPart = LinearPart()
    encoder: EncoderPart = EncoderPart()
    keep: Annotated[float, Field(gt=0, le=1)] = 0.99


class DistilledConfig(_Common):
    """A recipe for a linear model that learns from a teacher's probabilities too (Hinton et al. 2015).

    The teacher, fitted on the same rows, labels `sentences` sentences of the public corpora named (documents kept
    aside and governments tested on are left out); together they weigh as much as `weight` times the labelled rows.
    """

    kind: Literal["distilled"]
    linear: LinearPart = LinearPart()
    teacher: EncoderPart = EncoderPart()
    corpora: Annotated[tuple[str, ...], Field(min_length=1)] = ("ungdc", "whitehouse")
    sentences: Annotated[int, Field(ge=1)] = 200_000
    weight: Annotated[float, Field(gt=0)] = 1.0


Recipe = LinearConfig | EncoderConfig | CascadeConfig | DistilledConfig
_PARTS: dict[str, type[LinearPart | EncoderPart]] = {
    "linear": LinearPart,
    "encoder": EncoderPart,
    "teacher": EncoderPart,
}
_KINDS = ("linear", "encoder", "cascade", "distilled")
_CHOICES = ("split", "fitting")
_RECIPE: TypeAdapter[Recipe] = TypeAdapter(Annotated[Recipe, Field(discriminator="kind")])


def load_config(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and apply `key.sub=value` overrides (values are YAML; list items by number).

    In place of the section `linear`, `encoder` or `teacher` a recipe may name another recipe's file beside it, whose
    settings of the model are then taken.

    Raises:
        ConfigError: the file cannot be read, a key is unknown, a value has the wrong type or range.
    """
    values = read_yaml(path)
    for name, part in _PARTS.items():
        if isinstance(values.get(name), str):
            other = read_yaml(path.parent / values[name])
            values[name] = {key: other[key] for key in part.model_fields if key in other}
    for override in overrides:
        _apply(values, override)
    return parse_config(values, str(path))


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds.

    Raises:
        ConfigError: it cannot be read, or holds something else.
    """
    import yaml

    try:
        content = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start + 1}; it must be a YAML text file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        values = yaml.safe_load(content)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML ({' '.join(str(error).split())})") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: must be a mapping of keys to values, and this file is not")
    return values


def parse_config(values: Mapping[str, Any], where: str = "config") -> Recipe:
    """A recipe from plain values.

    Raises:
        ConfigError: naming every faulty key.
    """
    try:
        plain = json.dumps(values, default=str)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: keys must be strings and values plain ({error})") from None
    try:
        # JSON mode lets a YAML list stand for a tuple while everything else stays strict.
        return _RECIPE.validate_json(plain)
    except ValidationError as error:
        raise ConfigError(f"{where}: " + "; ".join(explain(error))) from None


def explain(error: ValidationError) -> list[str]:
    """pydantic's faults as short lines "place: reason"."""
    lines = []
    faults = error.errors(include_url=False)
    for fault in faults:
        # A list is "too short" for pydantic when its items are faulty; the items' own faults say more.
        spot = fault["loc"]
        if fault["type"] == "too_short" and any(f["loc"][: len(spot)] == spot for f in faults if f is not fault):
            continue
        # Behind a choice by `kind`, pydantic names the kind as a place; the file has no such place.
        place = ".".join(
            str(part)
            for i, part in enumerate(spot)
            if (spot[i - 1] not in _CHOICES if i else part not in _KINDS or len(spot) == 1)
        )
        reason = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "missing":
            reason = "is missing"
        elif fault["type"] == "extra_forbidden":
            reason = "is not a known key; check its spelling"
        elif "input" in fault and not isinstance(fault["input"], (dict, list)):
            reason += f" (found {str(fault['input'])[:60]!r})"
        lines.append(f"{place} {reason}" if fault["type"] in ("missing", "extra_forbidden") else f"{place}: {reason}")
    return lines


def _apply(values: dict[str, Any], override: str) -> None:
    import yaml

    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {override}: write key=value, such as classifier.c=3")
    place: Any = values
    *path, last = key.split(".")
    try:
        for part in path:
            place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
        if isinstance(place, list):
            place[int(last)] = yaml.safe_load(text)
        else:
            place[last] = yaml.safe_load(text)
    except (ValueError, IndexError, TypeError, AttributeError, yaml.YAMLError):
        raise ConfigError(f"--set {override}: there is no such place in the recipe") from None
