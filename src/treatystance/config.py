"""Recipes: a YAML file and overrides → a frozen, strict configuration. Unknown keys and wrong types are refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from treatystance.errors import ConfigError
from treatystance.statement import LabelSet

__all__ = ["LinearConfig", "Source", "explain", "load_config", "parse_config"]

Fraction = Annotated[float, Field(gt=0, lt=1)]
Token = Annotated[str, Field(pattern=r"^[a-z0-9']+$")]
ClassName = Annotated[str, Field(pattern=r"^[a-z]+$")]
Count = Annotated[int, Field(ge=1)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Source(_Frozen):
    """Labelled data to train on.

    `path` is a file, a folder of *.jsonl, or "package:NAME" for what the package ships; `corpora` maps public corpora
    to local files (those not named are looked for where TREATYSTANCE_CORPORA says). Rows of a source with
    `evaluate: true` are tested on in cross-validation; the others only help to train, with an intercept of their own,
    since labels are not as frequent there, except for the files whose names match a pattern of `shared_intercept`.
    `optional` sources are left out, with a message, where their public corpus is absent. `weight` multiplies the loss
    of each row.
    """

    path: str
    corpora: dict[str, str] = {}
    evaluate: bool = True
    shared_intercept: tuple[str, ...] = ()
    optional: bool = False
    weight: Annotated[float, Field(gt=0)] = 1.0


class GroupedSplit(_Frozen):
    """Cross-validation grouped by document, government and near-duplicate text, stratified by label.

    With `auxiliary_apart`, rows that only ever train are left out where they speak for a tested government.
    """

    kind: Literal["grouped"] = "grouped"
    auxiliary_apart: bool = True
    folds: Annotated[int, Field(ge=2)] = 5
    inner_folds: Annotated[int, Field(ge=2)] = 4


class TemporalSplit(_Frozen):
    """Train on what was said before `year`, test on the rest."""

    kind: Literal["temporal"]
    year: int
    inner_folds: Annotated[int, Field(ge=2)] = 4


class TreatySplit(_Frozen):
    """Each treaty with at least `minimum` rows is tested on in turn, trained on the other treaties."""

    kind: Literal["leave_one_treaty_out"]
    minimum: Count = 20
    inner_folds: Annotated[int, Field(ge=2)] = 4


class Features(_Frozen):
    """Word and character n-grams.

    `word_ngrams` and `char_ngrams` give the shortest and longest n-gram (`char_ngrams: null` for none; they stay
    within a word); an n-gram is kept when `min_df` training texts hold it; `char_weight` scales the character block;
    `countries` replaces the names of countries by the token xcountry, and the speaker's own by xself; `anchors` names
    classes of words, and has every other word counted also by the side of them on which it stands (or
    as alone). `classes` names further classes, a word in one only: which of them a sentence has, and which stand
    within `class_distance` words of one another, counts `class_weight` each (see `models.classes`).
    """

    word_ngrams: tuple[Count, Count] = (1, 2)
    char_ngrams: tuple[Count, Count] | None = (2, 5)
    min_df: Count = 2
    char_weight: Annotated[float, Field(gt=0)] = 1.0
    countries: bool = True
    anchors: dict[ClassName, tuple[Token, ...]] = {}
    classes: dict[ClassName, tuple[Token, ...]] = {}
    class_weight: Annotated[float, Field(gt=0)] = 0.05
    class_distance: Count = 6

    @model_validator(mode="after")
    def _ordered(self) -> Features:
        for name in ("word_ngrams", "char_ngrams"):
            span = getattr(self, name)
            if span and span[0] > span[1]:
                raise ValueError(f"{name}: the shortest n-gram stands first, not {list(span)}")
        if self.word_ngrams[0] != 1 or self.word_ngrams[1] > 3:
            raise ValueError(f"word_ngrams start at 1 and end at 3 at most, not {list(self.word_ngrams)}")
        seen: dict[str, str] = {}
        for name, words in self.classes.items():
            for word in words:
                if seen.setdefault(word, name) != name or words.count(word) > 1:
                    raise ValueError(f"classes: {word!r} stands in {seen[word]!r} and again in {name!r}")
        return self


class Classifier(_Frozen):
    """One linear classifier per label: `logistic_regression` or `linear_svm`; `c` is the inverse regularisation."""

    kind: Literal["logistic_regression", "linear_svm"] = "logistic_regression"
    c: Annotated[float, Field(gt=0)] = 10.0
    balanced: bool = True


class Decision(_Frozen):
    """From score to tag.

    Thresholds maximise F1 per label, among those whose precision is at least `min_precision` where one is given. Both
    count each row as often as it stands for a sentence of ordinary text. `error_rate` is that of the conformal
    abstention, for the positives and for the negatives apart.
    """

    error_rate: Fraction = 0.1
    min_precision: Fraction | None = None


class Evaluation(_Frozen):
    """Bootstrap over documents: number of resamples and confidence of the interval."""

    resamples: Annotated[int, Field(ge=100)] = 1000
    confidence: Fraction = 0.95


class LinearConfig(_Frozen):
    """A recipe for a linear model on n-grams.

    `name` is that of the registered model; `labels` the label set (null: taken from the corpus); `exclusive` is true
    where a text carries exactly one label.
    """

    kind: Literal["linear"]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*$")] = "treatystance"
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    labels: tuple[str, ...] | None = None
    exclusive: bool = False
    data: Annotated[tuple[Source, ...], Field(min_length=1)]
    split: Annotated[GroupedSplit | TemporalSplit | TreatySplit, Field(discriminator="kind")] = GroupedSplit()
    features: Features = Features()
    classifier: Classifier = Classifier()
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


def load_config(path: Path, overrides: Sequence[str] = ()) -> LinearConfig:
    """Read a recipe and apply `key.sub=value` overrides (values are YAML; list items by number).

    Raises:
        ConfigError: the file cannot be read, a key is unknown, a value has the wrong type or range.
    """
    import yaml

    try:
        content = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start + 1}; a recipe is a YAML text file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        values = yaml.safe_load(content)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML ({' '.join(str(error).split())})") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: a recipe is a mapping of keys to values, and this file is not")
    for override in overrides:
        _apply(values, override)
    return parse_config(values, str(path))


def parse_config(values: Mapping[str, Any], where: str = "config") -> LinearConfig:
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
        return LinearConfig.model_validate_json(plain)
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
        place = ".".join(str(part) for part in fault["loc"])
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
