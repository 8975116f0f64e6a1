"""Recorded experiments: a folder per question, with a flat `result.json` and a README whose heading asks it."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from treatystance.errors import InputError
from treatystance.segment import segment

__all__ = ["Experiment", "Figure", "Records", "read_experiment", "read_experiments", "table"]

RESULT, README = "result.json", "README.md"
_SCORE = re.compile(r"(?:.*[._])?(?:macro|weighted)_f1(?:_mean)?")
_INDENT = "    "


@dataclass(frozen=True, slots=True)
class Figure:
    """A score by its name in the record, with its interval where one was recorded."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        interval = "" if self.low is None or self.high is None else f" ({self.low:.3f} to {self.high:.3f})"
        name = self.name.replace("macro_f1", "macro-F1").replace("weighted_f1", "weighted F1").replace("_", " ")
        return f"{name.replace('.', ' ')} {self.value:.3f}{interval}"


@dataclass(frozen=True)
class Experiment:
    """A record: its question, its verdict (a paragraph of the README; empty where it has none) and the flat result."""

    name: str
    question: str
    verdict: str
    result: Mapping[str, Any]

    @property
    def headline(self) -> str:
        """The verdict's first sentence."""
        spans = segment(self.verdict)
        return self.verdict[slice(*spans[0])] if spans else ""

    @cached_property
    def figures(self) -> tuple[Figure, ...]:
        """The main scores: the run's macro-F1, else means over splits, else the macro-F1 of each model, best first."""
        names = [name for name in self.result if _SCORE.fullmatch(name) and _number(self.result[name]) is not None]
        chosen = (
            [name for name in names if name == "macro_f1"]
            or [name for name in names if "mean" in name]
            or [name for name in names if name.endswith(".macro_f1")]
        )
        found = [
            Figure(
                name,
                float(self.result[name]),
                _number(self.result.get(f"{name}_low")),
                _number(self.result.get(f"{name}_high")),
            )
            for name in chosen
        ]
        return tuple(sorted(found, key=lambda figure: -figure.value))

    @cached_property
    def config(self) -> dict[str, Any] | None:
        """The recipe that was recorded, nested as in its YAML file; None where there is none."""
        nested: dict[str, Any] = {}
        for key, value in self.result.items():
            if key.startswith("config."):
                *path, last = key.split(".")[1:]
                place = nested
                for part in path:
                    place = place.setdefault(part, {})
                place[last] = value
        return _with_lists(nested) if nested else None

    def first(self, *names: str) -> str:
        """The value of the first of these names that is recorded, as text; empty where none is."""
        return next((str(self.result[name]) for name in names if self.result.get(name) is not None), "")

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON: what the table shows, nothing shortened."""
        return {
            "name": self.name,
            "question": self.question,
            "verdict": self.verdict,
            "figures": {f.name: {"value": f.value, "low": f.low, "high": f.high} for f in self.figures},
            "data_sha256": self.first("corpus_sha256", "data_sha256") or None,
            "seed": self.result.get("seed"),
            "git_commit": self.first("git_commit") or None,
            "date": self.first("date") or None,
        }


@dataclass(frozen=True, slots=True)
class Records:
    """The experiments of a folder, by name, and one line for each record that cannot be read."""

    experiments: tuple[Experiment, ...]
    faults: tuple[str, ...]


def read_experiments(folder: Path) -> Records:
    """Every record in a folder.

    Raises:
        InputError: there is no such folder, or no record in it.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the folder that holds a folder for each experiment")
    found, faults = [], []
    for path in sorted(folder.iterdir()):
        if not ((path / RESULT).exists() or (path / README).exists()):
            continue
        try:
            found.append(read_experiment(path))
        except InputError as error:
            faults.append(str(error))
    if not found and not faults:
        raise InputError(f"{folder}: no record here; an experiment is a folder with {RESULT} and {README}")
    return Records(tuple(found), tuple(faults))


def read_experiment(folder: Path) -> Experiment:
    """The record in a folder.

    Raises:
        InputError: a file is missing, `result.json` is not a flat object, or the README has no heading.
    """
    path = folder / RESULT
    try:
        result = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error}); record the experiment again") from None
    if not isinstance(result, dict) or not result:
        raise InputError(f"{path}: not an object of names and values; record the experiment again")
    if nested := [name for name, value in result.items() if not _is_flat(value)]:
        raise InputError(f"{path}: {nested[0]!r} is neither a plain value nor a list of them; flatten it")
    path = folder / README
    text = _text(path)
    heading = re.search(r"^# +(.+?) *$", text, re.MULTILINE)
    if not heading:
        raise InputError(f"{path}: no heading; begin with '# ' and the question")
    verdict = re.search(r"^(?:Verdict:|## Verdict\n)\s*(.+?)(?:\n\s*\n|\Z)", text, re.MULTILINE | re.DOTALL)
    return Experiment(folder.name, heading[1], _plain(verdict[1]) if verdict else "", result)


def table(experiments: Sequence[Experiment], width: int = 120) -> Iterator[str]:
    """The records as lines: aligned columns, and below each row the question and the verdict's first sentence.

    Args:
        experiments: what `read_experiments` found.
        width: characters of a line, at which questions and verdicts are wrapped.
    """
    rows = [("experiment", "figures", "data", "seed", "commit", "date")]
    rows += [
        (
            experiment.name,
            _shown(experiment.figures),
            experiment.first("corpus_sha256", "data_sha256")[:8],
            experiment.first("seed"),
            experiment.first("git_commit")[:8],
            experiment.first("date")[:10],
        )
        for experiment in experiments
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(f"{cell or '-':{size}}" for cell, size in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    yield lines[0]
    for line, experiment in zip(lines[1:], experiments, strict=True):
        yield line
        for text in (experiment.question, experiment.headline or "no verdict"):
            yield from textwrap.wrap(text, max(width, 40), initial_indent=_INDENT, subsequent_indent=_INDENT)


def _shown(figures: Sequence[Figure]) -> str:
    return "".join(map(str, figures[:1])) + (f", {len(figures) - 1} lower" if len(figures) > 1 else "")


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: missing; an experiment is a folder with {RESULT} and {README}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start + 1}") from None


def _plain(markdown: str) -> str:
    return " ".join(markdown.replace("**", "").split())


def _is_flat(value: Any) -> bool:
    def plain(part: Any) -> bool:
        return part is None or isinstance(part, (str, int, float))

    return plain(value) or (isinstance(value, list) and all(map(plain, value)))


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _with_lists(value: Any) -> Any:
    """The same with lists where keys are numbers, as they were before the record was flattened."""
    if not isinstance(value, dict):
        return value
    if value and all(key.isdigit() for key in value):
        return [_with_lists(value[key]) for key in sorted(value, key=int)]
    return {key: _with_lists(part) for key, part in value.items()}
