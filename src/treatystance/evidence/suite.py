"""Behavioural tests as data: JSON Lines, a case a line → a validated suite; and what of it stands too near other text.

The three kinds of test are those of CheckList (Ribeiro et al. 2020).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator, model_validator

from treatystance.config import explain
from treatystance.corpus.load import data_path
from treatystance.corpus.records import KINDS, Slug, Text
from treatystance.corpus.rows import Row
from treatystance.errors import CorpusError, InputError
from treatystance.segment import segment
from treatystance.split import near_duplicates
from treatystance.statement import Statement, check_government

__all__ = [
    "Case",
    "Directional",
    "Invariance",
    "MinimumFunctionality",
    "Overlap",
    "Suite",
    "Variant",
    "load_suite",
    "near_copies",
    "overlaps",
]

SHIPPED = "package:behaviour"


class _Said(BaseModel):
    """Something that a government says."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    text: Text
    government: str | None = None

    @field_validator("government")
    @classmethod
    def _government(cls, code: str | None) -> str | None:
        if code is not None:
            try:
                check_government(code)
            except InputError as error:
                raise ValueError(str(error)) from None
        return code


class Variant(_Said):
    """Another way to say the same; `government` is that of the case where it is not given."""


class _Case(_Said):
    id: Text
    phenomenon: Slug
    kind: str | None = None
    rule: Text | None = None

    @field_validator("kind")
    @classmethod
    def _kind(cls, kind: str | None) -> str | None:
        if kind is not None and kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(sorted(KINDS))}, not {kind!r}")
        return kind

    @property
    def statements(self) -> list[Statement]:
        """What a model is asked, `text` first."""
        first = Statement(self.text, id=self.id, government=self.government, kind=self.kind)
        return [first, *(replace(first, text=v.text, government=v.government or self.government) for v in self._more)]

    @property
    def named_tags(self) -> tuple[str, ...]:
        """The tags that the case names."""
        return ()

    @property
    def _more(self) -> tuple[Variant, ...]:
        return ()


class MinimumFunctionality(_Case):
    """The tags of `text` are exactly `tags`."""

    test: Literal["minimum_functionality"]
    tags: tuple[Text, ...]

    @field_validator("tags")
    @classmethod
    def _distinct(cls, tags: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(tags)) != len(tags):
            raise ValueError(f"a tag stands twice in {list(tags)}")
        return tags

    @property
    def named_tags(self) -> tuple[str, ...]:
        """The tags that the case names."""
        return self.tags


class Invariance(_Case):
    """Every variant has the tags of `text`, whatever they are."""

    test: Literal["invariance"]
    variants: Annotated[tuple[Variant, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _varies(self) -> Self:
        said = [(s.text, s.government) for s in self.statements]
        for number, one in enumerate(said[1:], 1):
            if one in said[:number]:
                raise ValueError(f"variant {number} says nothing else than what stands before it")
        return self

    @property
    def _more(self) -> tuple[Variant, ...]:
        return self.variants


class Directional(_Case):
    """From `text` to `changed`, the score of `tag` moves in `direction`."""

    test: Literal["directional"]
    changed: Text
    tag: Text
    direction: Literal["lower", "higher"]

    @model_validator(mode="after")
    def _varies(self) -> Self:
        if self.changed == self.text:
            raise ValueError("changed is the same as text")
        return self

    @property
    def named_tags(self) -> tuple[str, ...]:
        """The tags that the case names."""
        return (self.tag,)

    @property
    def _more(self) -> tuple[Variant, ...]:
        return (Variant(text=self.changed),)


Case = MinimumFunctionality | Invariance | Directional
_CASE: TypeAdapter[Case] = TypeAdapter(Annotated[Case, Field(discriminator="test")])


@dataclass(frozen=True)
class Suite:
    """Cases in the order of their files."""

    cases: tuple[Case, ...]

    def __len__(self) -> int:
        return len(self.cases)

    def __iter__(self) -> Iterator[Case]:
        return iter(self.cases)

    @property
    def phenomena(self) -> tuple[str, ...]:
        """Every phenomenon, in order of its first case."""
        return tuple(dict.fromkeys(case.phenomenon for case in self.cases))

    @property
    def tags(self) -> tuple[str, ...]:
        """Every tag that a case names, sorted."""
        return tuple(sorted({tag for case in self.cases for tag in case.named_tags}))

    @cached_property
    def sha256(self) -> str:
        """Identifies the cases, whatever their order."""
        lines = sorted(json.dumps(case.model_dump(), sort_keys=True) for case in self.cases)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def only(self, phenomena: Sequence[str]) -> Suite:
        """The cases of these phenomena.

        Raises:
            InputError: the suite has no such phenomenon.
        """
        if unknown := set(phenomena) - set(self.phenomena):
            raise InputError(f"no phenomenon {min(unknown)!r}; there are {', '.join(self.phenomena)}")
        return Suite(tuple(case for case in self.cases if case.phenomenon in phenomena))


def load_suite(folder: Path | None = None) -> Suite:
    """Read the *.jsonl files of a folder; by default the suite that ships with the package.

    Raises:
        CorpusError: with every fault of every file.
        InputError: there is no such folder, no such file in it, or one cannot be read.
    """
    folder = data_path(SHIPPED) if folder is None else folder
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give one of .jsonl files with a case a line")
    paths = sorted(folder.glob("*.jsonl"))
    if not paths:
        raise InputError(f"{folder}: no .jsonl file in this folder")
    faults: list[str] = []
    cases: list[Case] = []
    places: dict[str, str] = {}
    for path in paths:
        before = len(cases), len(faults)
        for where, case in _read(path, faults):
            if case.id in places:
                faults.append(f"{where}: {case.id!r} stands already at {places[case.id]}; give each its own id")
            places.setdefault(case.id, where)
            cases.append(case)
        if before == (len(cases), len(faults)):
            faults.append(f"{path}: empty; give one JSON object per line")
    if faults:
        raise CorpusError(faults)
    return Suite(tuple(cases))


def _read(path: Path, faults: list[str]) -> Iterator[tuple[str, Case]]:
    """Yield ("file:line", case) for each sound line; append to `faults` for each other."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            yield where, _CASE.validate_json(line)
        except ValidationError as error:
            # Faults of a case begin with its test, those of the whole line with nothing.
            reasons = [reason.removeprefix(": ") for reason in explain(error)]
            faults.extend(f"{where}: {reason}" for reason in reasons)


@dataclass(frozen=True, slots=True)
class Overlap:
    """A case that repeats a row of labelled data, or nearly so: their ids, and the text of the case that does."""

    case: str
    row: str
    text: str


def overlaps(suite: Suite, rows: Sequence[Row], threshold: float = 0.5) -> list[Overlap]:
    """Texts of the suite, whole or sentence by sentence, that stand in labelled rows too, or nearly so.

    Args:
        suite: the cases.
        rows: labelled data, such as what a model is trained on.
        threshold: the Jaccard similarity of word 3-grams from which on texts are near duplicates.
    """
    pieces = [(case.id, piece) for case in suite for piece in _pieces(case)]
    found = _near([text for _, text in pieces], [row.text for row in rows], threshold)
    return [Overlap(pieces[i][0], rows[j].id, pieces[i][1]) for i, j in found]


def near_copies(suite: Suite, threshold: float = 0.5) -> list[tuple[str, str]]:
    """Pairs of ids of different cases of one phenomenon of which some text of one nearly repeats one of the other."""
    copies: dict[tuple[str, str], None] = {}
    for phenomenon in suite.phenomena:
        said = [(case.id, s.text) for case in suite.only([phenomenon]) for s in case.statements]
        for i, j in near_duplicates([text for _, text in said], threshold):
            if said[i][0] != said[j][0]:
                copies.setdefault((said[i][0], said[j][0]))
    return list(copies)


def _pieces(case: Case) -> list[str]:
    """The distinct texts of a case, and the distinct sentences of each."""
    texts = [statement.text for statement in case.statements]
    sentences = [text[start:end] for text in texts for start, end in segment(text)]
    return list(dict.fromkeys([*texts, *sentences]))


def _near(left: Sequence[str], right: Sequence[str], threshold: float) -> list[tuple[int, int]]:
    pairs = near_duplicates([*left, *right], threshold)
    return sorted((i, j - len(left)) for i, j in pairs if i < len(left) <= j)
