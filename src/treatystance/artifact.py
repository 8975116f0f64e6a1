"""The model on disk: a folder of data files and a manifest with their hashes. Nothing in it is ever executed.

Format version 4 (1 had no classes of words; 2 no files shared with a model in the folder beside; 3 no documents).
To change the format: raise FORMAT_VERSION, teach `_model` and `load_artifact` the new form,
keep reading every older version listed in READABLE or drop it there with a message that says how to retrain,
and add a folder of the old form to the tests.

Reading goes in three steps, each before the next: parse the manifest, verify every file against it, construct.
Documents (the card, its pictures, the evidence) lie beside the files: verified like them, and no part of the model.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from treatystance.calibration import DecisionRule, Decisions
from treatystance.errors import ArtifactError, InputError
from treatystance.models.base import Batch, Model
from treatystance.statement import LabelSet

__all__ = [
    "CARD",
    "DOCUMENTS",
    "EVIDENCE",
    "FORMAT_VERSION",
    "Artifact",
    "load_artifact",
    "read_documents",
    "read_manifest",
    "save_artifact",
]

FORMAT_VERSION = 4
READABLE = frozenset({1, 2, 3, 4})
MANIFEST = "manifest.json"
_FORMAT = "treatystance-model"
_MAX_FILE_BYTES = 2 << 30
_MAX_DOCUMENT_BYTES = 16 << 20
_FIRST_WITH_DOCUMENTS = 4
CARD = "README.md"
EVIDENCE = "evidence.json"
# What may be kept with a model for its readers: the list is ours, never the folder's own.
DOCUMENTS = frozenset({CARD, EVIDENCE, "reliability.png", "risk_coverage.png", "slices.png", "behaviour.png"})
T = TypeVar("T")
# A file of a model folder beside: never one elsewhere.
_BESIDE = re.compile(r"[A-Za-z0-9][\w-]*/[a-z_]+\.[a-z]+")

_LINEAR = frozenset({"ngrams.json", "vocabulary.json", "weights.safetensors"})
_ENCODER = frozenset({"encoder.json", "tokenizer.json", "model.onnx"})
_CASCADE = frozenset(
    {"cascade.json", *(f"linear.{name}" for name in _LINEAR), *(f"encoder.{name}" for name in _ENCODER)}
)
# The families that we build, and the files of each: the list is ours, never the folder's own.
_FAMILIES = {"linear": _LINEAR, "encoder": _ENCODER, "cascade": _CASCADE}


def _model(kind: str, labels: LabelSet, content: Mapping[str, bytes]) -> Model:
    """The model of a family's files; libraries of other families are not loaded."""
    if kind == "linear":
        from treatystance.models.linear import LinearModel

        return LinearModel.from_files(labels, content)
    if kind == "encoder":
        from treatystance.models.encoder import EncoderModel

        return EncoderModel.from_files(labels, content)
    from treatystance.models.cascade import CascadeModel

    return CascadeModel.from_files(labels, content)


@dataclass(frozen=True)
class Artifact:
    """A model with its decision rule and what is known of its making.

    `provenance` holds what training recorded: config, data hashes, seeds, versions, and the cross-validated report.
    """

    name: str
    version: str
    model: Model
    decision: DecisionRule
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def labels(self) -> LabelSet:
        """The label set; its order is that of every score matrix."""
        return self.model.labels

    def decide(self, batch: Batch) -> Decisions:
        """Probabilities, tags and abstentions for sentences as columns: arrays of shape (sentences, labels)."""
        return self.decision.decide(self.model.logits(batch))

    @property
    def full_name(self) -> str:
        """Name and version, as predictions carry them."""
        return f"{self.name}/{self.version}"

    def to_dict(self) -> dict[str, Any]:
        """What a manifest says of the model, its files apart."""
        return {
            "kind": self.model.kind,
            "name": self.name,
            "version": self.version,
            "labels": list(self.labels.names),
            "exclusive": self.labels.exclusive,
            "decision": self.decision.to_dict(),
            "provenance": self.provenance,
        }


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _canonical(manifest: Mapping[str, Any]) -> bytes:
    body = {key: value for key, value in manifest.items() if key != "sha256"}
    return json.dumps(body, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()


def _serialized(manifest: Mapping[str, Any]) -> bytes:
    return json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _entry(content: bytes) -> dict[str, Any]:
    return {"bytes": len(content), "sha256": _sha256(content)}


def save_artifact(
    artifact: Artifact, folder: Path, beside: str | None = None, documents: Mapping[str, bytes] | None = None
) -> None:
    """Write the model as a folder, which must be new or empty.

    Args:
        artifact: the model.
        folder: where to write it.
        beside: the name of a model folder beside it. Files that are the same there, such as those of a cascade's
            encoder, are named by the manifest and not written again.
        documents: what is kept with the model for its readers, by a name of `DOCUMENTS`.

    Raises:
        ArtifactError: the folder holds something already, or cannot be written; a document that no model keeps.
    """
    documents = documents or {}
    if unknown := sorted(set(documents) - DOCUMENTS):
        raise ArtifactError(f"{unknown[0]!r} is not kept with a model; documents are {', '.join(sorted(DOCUMENTS))}")
    if large := [name for name, content in documents.items() if len(content) > _MAX_DOCUMENT_BYTES]:
        raise ArtifactError(f"{large[0]!r} is larger than {_MAX_DOCUMENT_BYTES >> 20} MiB; give a smaller one")
    files = artifact.model.files()
    shared = _shared(files, folder.parent / beside) if beside else {}
    manifest: dict[str, Any] = {
        "format": _FORMAT,
        "format_version": FORMAT_VERSION,
        **artifact.to_dict(),
        "files": {
            name: _entry(c) | ({"beside": shared[name]} if name in shared else {}) for name, c in sorted(files.items())
        },
        "documents": {name: _entry(content) for name, content in sorted(documents.items())},
    }
    manifest["sha256"] = _sha256(_canonical(manifest))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ArtifactError(f"{folder}: not empty; give a new folder for the model")
        for name, content in {**files, **documents}.items():
            if name not in shared:
                (folder / name).write_bytes(content)
        # The manifest comes last: a folder without one is no model.
        (folder / MANIFEST).write_bytes(_serialized(manifest))
    except OSError as error:
        raise ArtifactError(f"{folder}: the model cannot be written ({error.strerror})") from None


def _shared(files: Mapping[str, bytes], other: Path) -> dict[str, str]:
    """The files that another model folder holds too, with their place as seen from the folder above."""
    there = {entry["sha256"]: name for name, entry in read_manifest(other)["files"].items() if "beside" not in entry}
    found = {name: there.get(_sha256(content)) for name, content in files.items()}
    return {name: f"{other.name}/{same}" for name, same in found.items() if same}


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a model folder, checked against its own hash and against what this version can read.

    Raises:
        ArtifactError: no manifest, changed, newer, or not ours.
    """
    path = folder / MANIFEST
    try:
        if path.is_symlink():
            raise ArtifactError(f"{path}: a link, not a file; restore the model folder")
        content = path.read_bytes()
    except FileNotFoundError:
        raise ArtifactError(f"{folder}: no model here ({MANIFEST} is missing)") from None
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        manifest = json.loads(content)
    except (ValueError, RecursionError):
        raise ArtifactError(f"{path}: damaged (not JSON); restore the model folder") from None
    if not isinstance(manifest, dict) or manifest.get("format") != _FORMAT:
        raise ArtifactError(f"{path}: not a treatystance model")
    version = manifest.get("format_version")
    if not isinstance(version, int) or version not in READABLE:
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise ArtifactError(
                f"{folder}: model format {version} is newer than this version reads ({FORMAT_VERSION}); "
                "upgrade treatystance"
            )
        raise ArtifactError(f"{folder}: model format {version!r} is not known; train the model again")
    try:
        intact = manifest.get("sha256") == _sha256(_canonical(manifest)) and content == _serialized(manifest)
    except ValueError:  # not a number, or half a character: never written by us
        intact = False
    if not intact:
        raise ArtifactError(f"{path}: changed since it was written; restore the model folder")
    return manifest


def load_artifact(folder: Path) -> Artifact:
    """Verify a model folder whole, then build the model.

    Raises:
        ArtifactError: a file is changed, missing or not expected, or the folder is not one of ours.
    """
    return _read(folder, _built)


def read_documents(folder: Path) -> dict[str, bytes]:
    """What is kept with a model for its readers, verified; nothing is built. Older formats keep none.

    Raises:
        ArtifactError: a document is changed, missing or not expected, or the folder is not one of ours.
    """
    return _read(folder, _documents)


def _read(folder: Path, read: Callable[[Path, Mapping[str, Any]], T]) -> T:
    if not folder.is_dir():
        raise ArtifactError(f"{folder}: no such model folder")
    manifest = read_manifest(folder)
    try:
        return read(folder, manifest)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        # A manifest with a sound hash and unsound content was not written by this package.
        raise ArtifactError(f"{folder}: the manifest is not that of a treatystance model ({error!r})") from None


def _built(folder: Path, manifest: Mapping[str, Any]) -> Artifact:
    kind = manifest["kind"]
    if kind not in _FAMILIES:
        raise ArtifactError(f"{folder}: model family {kind!r} is not known to this version; upgrade treatystance")
    documents = _documents(folder, manifest)
    content = _verified(folder, manifest["files"], _FAMILIES[kind], set(documents))
    if not all(isinstance(name, str) for name in manifest["labels"]):
        raise ArtifactError(f"{folder}: the labels are not strings")
    try:
        labels = LabelSet(tuple(manifest["labels"]), bool(manifest["exclusive"]))
        model = _model(kind, labels, content)
        decision = DecisionRule.from_dict(manifest["decision"], len(labels))
    except InputError as error:
        raise ArtifactError(f"{folder}: {error}") from None
    return Artifact(str(manifest["name"]), str(manifest["version"]), model, decision, dict(manifest["provenance"]))


def _documents(folder: Path, manifest: Mapping[str, Any]) -> dict[str, bytes]:
    """The documents' content, read once: what was hashed is what is handed on."""
    if manifest["format_version"] < _FIRST_WITH_DOCUMENTS:
        return {}
    listed: Mapping[str, Any] = manifest["documents"]
    if unknown := sorted(set(listed) - DOCUMENTS):
        raise ArtifactError(f"{folder}: the manifest lists {unknown[0]!r}, which is no document of a model")
    return {name: _intact(folder / name, listed[name], _MAX_DOCUMENT_BYTES) for name in sorted(listed)}


def _verified(
    folder: Path, listed: Mapping[str, Any], expected: frozenset[str], documents: set[str]
) -> dict[str, bytes]:
    """The files' content, read once: what was hashed is what is used."""
    if set(listed) != expected:
        raise ArtifactError(f"{folder}: the manifest lists {sorted(listed)}, but {sorted(expected)} make this model")
    present = {path.name for path in folder.iterdir()} - {MANIFEST}
    own = {name for name in expected if "beside" not in listed[name]}
    if extra := sorted(present - own - documents):
        raise ArtifactError(f"{folder}: {extra[0]!r} is no part of the model; remove it")
    content = {}
    for name in sorted(expected):
        path = folder / name
        if name not in own:
            place = str(listed[name]["beside"])
            if not _BESIDE.fullmatch(place):
                raise ArtifactError(f"{folder}: {name!r} may lie in a model folder beside, not at {place!r}")
            path = folder.parent / place
        content[name] = _intact(path, listed[name], _MAX_FILE_BYTES)
    return content


def _intact(path: Path, entry: Mapping[str, Any], largest: int) -> bytes:
    if not path.is_file() or path.is_symlink():
        raise ArtifactError(f"{path}: missing; restore the model folder")
    if path.stat().st_size > largest:
        raise ArtifactError(f"{path}: larger than any model file may be")
    content = path.read_bytes()
    if _sha256(content) != entry.get("sha256"):
        raise ArtifactError(f"{path}: changed since it was written (SHA-256 differs); restore the model folder")
    return content
