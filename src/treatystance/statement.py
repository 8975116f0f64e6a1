"""The records that travel through the package: Statement in, Prediction out."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import asdict, dataclass, field
from typing import Any, TypeGuard

from treatystance.errors import InputError

__all__ = ["DEFAULT_LABELS", "LabelSet", "Prediction", "SentencePrediction", "Statement"]

DEFAULT_LABELS = ("intent_to_withdraw", "reaffirmation", "humanitarian_commitment")

# The European Union speaks for its members and has no alpha-3 code; corpora of speeches write EU.
_ISO3 = re.compile(r"[A-Z]{3}|EU")
_DATE = re.compile(r"\d{4}(-\d\d(-\d\d)?)?")


def is_government(code: object) -> TypeGuard[str]:
    """Whether `code` looks like an ISO 3166 alpha-3 code ("POL")."""
    return isinstance(code, str) and bool(_ISO3.fullmatch(code))


def check_government(code: str) -> None:
    """Raise InputError unless `code` looks like an ISO 3166 alpha-3 code ("POL")."""
    if not is_government(code):
        raise InputError(f"government must be an ISO 3166 alpha-3 code such as POL, not {code!r}")


def check_date(date: str) -> None:
    """Raise InputError unless `date` is an ISO 8601 year, month or day."""
    valid = bool(_DATE.fullmatch(date))
    if valid:
        try:
            dt.date.fromisoformat((date + "-01-01")[:10])
        except ValueError:
            valid = False
    if not valid:
        raise InputError(f"date must be ISO 8601, such as 2025-03-18, not {date!r}")


ANY_GOVERNMENT = "*"
_FIRST_PERSON = re.compile(r"\b(?:[Ww]e|[Oo]urs?|us|[Mm]y|I)\b")  # "US" is a country
_REPORTED = re.compile(r"\b(?:said|says|told|announced|according to)\b", re.IGNORECASE)
_QUOTED = re.compile(r"[\"“][^\"“”]{0,600}[\"”]")


def speaker(government: str | None, kind: str | None) -> str | None:
    """Whose own name counts as the speaker's: in a news report, that of any government whose position it conveys."""
    return ANY_GOVERNMENT if kind == "wire_report" else government


def reads_like_report(text: str) -> bool:
    """Whether a text of unknown kind is a news report: it tells what was said, and nobody says we."""
    head = text[:20_000]
    return bool(_REPORTED.search(head)) and not _FIRST_PERSON.search(_QUOTED.sub(" ", head))


@dataclass(frozen=True, slots=True)
class LabelSet:
    """The labels of a corpus, in their fixed order.

    Args:
        names: the labels; their order is the column order of every score matrix.
        exclusive: True where a text carries exactly one label (single-label), False for multi-label.
    """

    names: tuple[str, ...] = DEFAULT_LABELS
    exclusive: bool = False

    def __post_init__(self) -> None:
        if not self.names or len(set(self.names)) != len(self.names):
            raise InputError(f"labels must be distinct and at least one, not {list(self.names)}")

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, slots=True)
class Statement:
    """A text by a government, as given by the user.

    Args:
        text: the whole text.
        id: the user's own identifier.
        government: ISO 3166 alpha-3 code of the speaking government.
        date: ISO 8601 date (a year or a month will do).
        treaty: name of the treaty that it is about.
        kind: kind of text, such as speech, communique or wire_report.
        language: BCP 47 tag.
        source: URL or citation.

    Raises:
        InputError: text is not a string, or a field is malformed.
    """

    text: str
    id: str | None = None
    government: str | None = None
    date: str | None = None
    treaty: str | None = None
    kind: str | None = None
    language: str | None = None
    source: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise InputError(f"a statement's text must be a string, not {type(self.text).__name__}")
        if self.government is not None:
            check_government(self.government)
        if self.date is not None:
            check_date(self.date)


@dataclass(frozen=True, slots=True)
class SentencePrediction:
    """What the model says of one sentence.

    `start` and `end` are character offsets into the statement's text; `scores` maps each tag to its calibrated
    probability; `tags` are those at or above their thresholds; `uncertain` are those on which the model
    abstains: its best guess stands in `tags`, but at the model's error rate neither answer can be excluded.
    """

    start: int
    end: int
    text: str
    scores: dict[str, float]
    tags: tuple[str, ...]
    uncertain: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model says of one statement.

    `scores` are the highest of its sentences' (0 without sentences); `tags` the union of its sentences' tags;
    `uncertain` the tags that are uncertain in some sentence and certain in none; `model` its name and version.
    """

    id: str | None
    scores: dict[str, float]
    tags: tuple[str, ...]
    uncertain: tuple[str, ...]
    sentences: tuple[SentencePrediction, ...] = field(repr=False)
    model: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The prediction as plain lists and dictionaries, ready for JSON."""
        record = asdict(self)
        for part in (record, *record["sentences"]):
            part["tags"], part["uncertain"] = list(part["tags"]), list(part["uncertain"])
        record["sentences"] = list(record["sentences"])
        return record
