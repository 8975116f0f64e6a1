"""The sections of a recipe: what to train on, how to split it, how to decide and evaluate, and the linear features."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from treatystance.errors import ConfigError
from treatystance.statement import LabelSet

__all__ = [
    "Classifier",
    "Decision",
    "Evaluation",
    "Features",
    "GroupedSplit",
    "OperatingPoint",
    "Section",
    "Source",
    "TemporalSplit",
    "TreatySplit",
]

Fraction = Annotated[float, Field(gt=0, lt=1)]
Token = Annotated[str, Field(pattern=r"^[a-z0-9']+$")]
ClassName = Annotated[str, Field(pattern=r"^[a-z]+$")]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """Frozen and strict: unknown keys, other types and infinities are refused."""

    # Built on first use: a scoring process uses one section of many.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)


class Source(Section):
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


class GroupedSplit(Section):
    """Cross-validation grouped by document, government and near-duplicate text, stratified by label.

    With `auxiliary_apart`, rows that only ever train are left out where they speak for a tested government.
    """

    kind: Literal["grouped"] = "grouped"
    auxiliary_apart: bool = True
    folds: Annotated[int, Field(ge=2)] = 5
    inner_folds: Annotated[int, Field(ge=2)] = 4


class TemporalSplit(Section):
    """Train on what was said before `year`, test on the rest."""

    kind: Literal["temporal"]
    year: int
    inner_folds: Annotated[int, Field(ge=2)] = 4


class TreatySplit(Section):
    """Each treaty with at least `minimum` rows is tested on in turn, trained on the other treaties."""

    kind: Literal["leave_one_treaty_out"]
    minimum: Count = 20
    inner_folds: Annotated[int, Field(ge=2)] = 4


class Features(Section):
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


class Classifier(Section):
    """One linear classifier per label: `logistic_regression` or `linear_svm`; `c` is the inverse regularisation."""

    kind: Literal["logistic_regression", "linear_svm"] = "logistic_regression"
    c: Annotated[float, Field(gt=0)] = 10.0
    balanced: bool = True


class OperatingPoint(Section):
    """What a threshold must reach: a precision, at the highest recall; or a recall, at the highest precision."""

    precision: Annotated[float, Field(gt=0, le=1)] | None = None
    recall: Annotated[float, Field(gt=0, le=1)] | None = None

    @model_validator(mode="after")
    def _one(self) -> OperatingPoint:
        if (self.precision is None) == (self.recall is None):
            raise ValueError("give either precision or recall, such as {precision: 0.8}")
        return self


class Decision(Section):
    """From score to tag.

    The threshold of a label is that of the best F1, or, for the labels named in `thresholds`, the one that reaches the
    precision or recall given there. Both count each row as often as it stands for a sentence of ordinary text.
    `error_rate` is that of the conformal abstention, for the positives and for the negatives apart. The slope of the
    calibration is learned with those weights to the power `slope_weight_power`: 1 for unbiased, 0 for not weighted.
    """

    error_rate: Fraction = 0.1
    thresholds: dict[str, OperatingPoint] = {}
    slope_weight_power: Annotated[float, Field(ge=0, le=1)] = 1.0

    @model_validator(mode="before")
    @classmethod
    def _retired(cls, values: object) -> object:
        """Recipes recorded by earlier versions say that no least precision was asked for."""
        if isinstance(values, dict) and "min_precision" in values and values["min_precision"] is None:
            return {key: value for key, value in values.items() if key != "min_precision"}
        return values

    def wanted(self, labels: LabelSet) -> tuple[OperatingPoint | None, ...]:
        """What each label's threshold must reach; None: the best F1.

        Raises:
            ConfigError: `thresholds` names a label that there is not, or any where the highest score wins.
        """
        if self.thresholds and labels.exclusive:
            raise ConfigError("decision.thresholds: where a text carries exactly one label, the highest score wins")
        if unknown := set(self.thresholds) - set(labels.names):
            known = ", ".join(labels.names)
            raise ConfigError(f"decision.thresholds: unknown label {min(unknown)!r}; known are {known}")
        return tuple(self.thresholds.get(name) for name in labels.names)


class Evaluation(Section):
    """Bootstrap over documents: number of resamples and confidence of the interval."""

    resamples: Annotated[int, Field(ge=100)] = 1000
    confidence: Fraction = 0.95
