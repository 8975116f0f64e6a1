"""Every error that the package raises on purpose.

    TreatystanceError            anything we report in one line      exit code 1
    ├── InputError               what the user gave cannot be used   exit code 2
    │   ├── ConfigError          a recipe: unknown key, wrong type, value out of range
    │   ├── CorpusError          labelled data: lists every fault, each with file, line and reason
    │   ├── ArtifactError        a model folder: changed, incomplete, newer than this version, not ours
    │   └── ModelReferenceError  a model reference that leads nowhere
    ├── MissingExtraError        an optional dependency is not installed; names the pip command
    ├── LeakError                training and test rows are not disjoint
    └── GateError                a promotion that the gate refused

The message is one line that says what is wrong, where, and what to do.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "ArtifactError",
    "ConfigError",
    "CorpusError",
    "GateError",
    "InputError",
    "LeakError",
    "MissingExtraError",
    "ModelReferenceError",
    "TreatystanceError",
]


class TreatystanceError(Exception):
    """Base of all errors raised on purpose."""

    exit_code = 1


class InputError(TreatystanceError):
    """What the user gave (a file, a text, an option) cannot be used."""

    exit_code = 2


class ConfigError(InputError):
    """A recipe that cannot be used."""


class CorpusError(InputError):
    """Labelled data with faults.

    Args:
        faults: every fault found, each a line "file:line: reason".
    """

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        head = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        super().__init__(f"{head} in labelled data:\n" + "\n".join(f"  {fault}" for fault in self.faults))


class ArtifactError(InputError):
    """A model folder that is changed, incomplete, newer than this version, or not ours."""


class ModelReferenceError(InputError):
    """A model reference that leads nowhere."""


class MissingExtraError(TreatystanceError):
    """An optional dependency is missing; the message names the pip command."""


class LeakError(TreatystanceError):
    """Training and test rows are not disjoint."""


class GateError(TreatystanceError):
    """The promotion gate refused."""
