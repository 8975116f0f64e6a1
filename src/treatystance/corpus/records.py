"""The file formats of labelled data, each line a JSON object, and their validation.

Three kinds of line, told apart by their keys:

- a **statement** that we hold the text of: `sentences` [{`text`, `labels`, `phenomenon`}] and its facts;
- a **stand-off annotation** of a public document: `corpus`, `doc_id`, `start`, `end`, `sha256`, `labels`;
- a **labelled row**: `text`, `labels`, and optional context.

Reading goes on after a fault, so that one run names them all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from treatystance.config import explain
from treatystance.errors import InputError
from treatystance.statement import check_date, check_government

__all__ = ["Annotation", "LabelledRow", "SentenceRecord", "StatementRecord", "read_records"]

Text = Annotated[str, Field(min_length=1, pattern=r"\S")]
Slug = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
KINDS = frozenset(
    [
        "communique",
        "speech",
        "parliamentary_answer",
        "note_verbale",
        "joint_statement",
        "spokesperson_post",
        "wire_report",
        "interview",
    ]
)


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    @field_validator("labels", check_fields=False)
    @classmethod
    def _distinct(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(labels)) != len(labels):
            raise ValueError(f"a label stands twice in {list(labels)}")
        return labels

    @field_validator("government", check_fields=False)
    @classmethod
    def _government(cls, code: str | None) -> str | None:
        if code is not None:
            _as_value_error(check_government, code)
        return code


def _as_value_error(check: Any, value: str) -> None:
    try:
        check(value)
    except InputError as error:
        raise ValueError(str(error)) from None


class SentenceRecord(_Record):
    """A composed sentence: its text, its labels, and the phenomenon of the codebook it stands for."""

    text: Text
    labels: tuple[str, ...]
    phenomenon: Slug | None = None

    @field_validator("text")
    @classmethod
    def _stripped(cls, text: str) -> str:
        if text != text.strip() or "\n" in text:
            raise ValueError("a sentence has no white space around it and no line break")
        return text


class StatementRecord(_Record):
    """A composed statement and its sentences, in order."""

    id: Text
    government: str | None = None
    co_governments: tuple[str, ...] = ()
    date: str | None = None
    kind: str | None = None
    treaty: Text | None = None
    language: str = "en"
    title: str | None = None
    source: str | None = None
    sentences: Annotated[tuple[SentenceRecord, ...], Field(min_length=1)]

    @field_validator("co_governments")
    @classmethod
    def _co_governments(cls, codes: tuple[str, ...]) -> tuple[str, ...]:
        for code in codes:
            _as_value_error(check_government, code)
        return codes

    @field_validator("date")
    @classmethod
    def _date(cls, date: str | None) -> str | None:
        if date is not None:
            _as_value_error(check_date, date)
        return date

    @field_validator("kind")
    @classmethod
    def _kind(cls, kind: str | None) -> str | None:
        if kind is not None and kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(sorted(KINDS))}, not {kind!r}")
        return kind


class Annotation(_Record):
    """A stand-off annotation: a place in a public document, the hash of what stands there, and its labels.

    `start` and `end` are character offsets into the document; `prev_start` and `next_end` bound its neighbours;
    `sha256` is of the sentence with white space folded; `first` and `second` are the two annotators' labels.
    """

    corpus: Slug
    doc_id: Text
    start: Annotated[int, Field(ge=0)]
    end: Annotated[int, Field(ge=1)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    labels: tuple[str, ...]
    prev_start: Annotated[int, Field(ge=0)] | None = None
    next_end: int | None = None
    first: tuple[str, ...] | None = None
    second: tuple[str, ...] | None = None
    adjudicated: bool | None = None
    annotator: str | None = None
    government: str | None = None
    year: int | None = None
    kind: str | None = None
    stratum: str | None = None
    round: int | None = None
    probability: Annotated[float, Field(gt=0, le=1)] | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Annotation:
        places = [self.prev_start or 0, self.start, self.end, self.end if self.next_end is None else self.next_end]
        if places != sorted(places) or self.start == self.end:
            raise ValueError(f"prev_start, start, end and next_end are out of order: {places}")
        return self


class LabelledRow(_Record):
    """A labelled sentence in a file of the user's; other keys are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    text: Text
    labels: tuple[str, ...]
    id: str | int | None = None
    doc_id: str | int | None = None
    prev: str | None = None
    next: str | None = None
    government: str | None = None
    co_governments: tuple[str, ...] = ()
    year: int | None = None
    kind: str | None = None
    treaty: str | None = None
    language: str | None = None
    phenomenon: str | None = None


Record = StatementRecord | Annotation | LabelledRow


def _record_type(keys: set[str]) -> type[Record]:
    if "sentences" in keys:
        return StatementRecord
    if {"sha256", "start"} <= keys and "text" not in keys:
        return Annotation
    return LabelledRow


def read_records(path: Path, faults: list[str]) -> Iterator[tuple[int, Record]]:
    """Yield (line number, record) for each sound line of a JSON Lines file; append a line to `faults` for each other.

    Raises:
        InputError: there is no such file, or it cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    if b"\0" in content[:4096]:
        faults.append(f"{path}: binary, not JSON Lines; give a text file with one JSON object per line")
        return
    if not content.strip():
        faults.append(f"{path}: empty; give one JSON object per line")
        return
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            value = json.loads(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            faults.append(f"{where}: not UTF-8 at byte {error.start + 1} of the line; save the file as UTF-8")
            continue
        except (ValueError, RecursionError) as error:
            faults.append(f"{where}: not JSON ({error})")
            continue
        if not isinstance(value, dict):
            faults.append(f"{where}: a JSON object is wanted, not {type(value).__name__}")
            continue
        try:
            yield number, _record_type(set(value)).model_validate_json(line)
        except ValidationError as error:
            faults.extend(f"{where}: {fault}" for fault in explain(error))
