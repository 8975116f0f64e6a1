"""Stand-off annotations joined with a local copy of the documents, every hash checked."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from treatystance.corpus.public import CORPORA_VARIABLE, PUBLISHERS, locate, read_documents
from treatystance.corpus.records import Annotation
from treatystance.corpus.rows import Row
from treatystance.errors import InputError

__all__ = ["join", "sentence_sha256"]

_SPACE = re.compile(r"\s+")


def _fold(text: str) -> str:
    return _SPACE.sub(" ", text).strip()


def sentence_sha256(text: str) -> str:
    """SHA-256 of a sentence with its white space folded to single spaces."""
    return hashlib.sha256(_fold(text).encode()).hexdigest()


def join(annotations: Iterable[tuple[str, Annotation]], corpora: Mapping[str, Path], faults: list[str]) -> list[Row]:
    """Rows of the annotations whose hash matches; a line in `faults` for each other.

    Args:
        annotations: pairs of where an annotation stands ("file:line") and the annotation.
        corpora: corpus name to local file; those not named are looked for where TREATYSTANCE_CORPORA says.
        faults: receives "file:line: reason".

    Raises:
        InputError: a corpus has no local copy.
    """
    by_corpus: dict[str, list[tuple[str, Annotation]]] = {}
    for where, annotation in annotations:
        by_corpus.setdefault(annotation.corpus, []).append((where, annotation))
    rows: list[Row] = []
    for name, group in by_corpus.items():
        path = corpora.get(name) or locate(name)
        if path is None:
            source = PUBLISHERS.get(name, "its publisher")
            raise InputError(
                f"no local copy of corpus {name!r} ({source}): give --corpus {name}=FILE or set {CORPORA_VARIABLE}"
            )
        texts = read_documents(path, {annotation.doc_id for _, annotation in group})
        for where, annotation in group:
            reason = _check(annotation, texts.get(annotation.doc_id), path)
            if reason:
                faults.append(f"{where}: {reason}")
            else:
                rows.append(_row(annotation, texts[annotation.doc_id]))
    return rows


def _check(annotation: Annotation, text: str | None, path: Path) -> str | None:
    if text is None:
        return f"document {annotation.doc_id!r} is not in {path}"
    if annotation.end > len(text):
        return f"offsets {annotation.start}-{annotation.end} lie beyond document {annotation.doc_id!r} in {path}"
    if sentence_sha256(text[annotation.start : annotation.end]) != annotation.sha256:
        return (
            f"hash mismatch at {annotation.doc_id} {annotation.start}-{annotation.end}: {path} holds another text "
            "or edition; the row is not used"
        )
    return None


def _row(annotation: Annotation, text: str) -> Row:
    before = _fold(text[annotation.prev_start : annotation.start]) if annotation.prev_start is not None else ""
    after = _fold(text[annotation.end : annotation.next_end]) if annotation.next_end is not None else ""
    return Row(
        id=f"{annotation.corpus}:{annotation.doc_id}:{annotation.start}",
        doc_id=f"{annotation.corpus}:{annotation.doc_id}",
        text=_fold(text[annotation.start : annotation.end]),
        labels=annotation.labels,
        position=annotation.start,
        prev=before or None,
        next=after or None,
        government=annotation.government,
        year=annotation.year,
        kind=annotation.kind,
        language="en",
        phenomenon=annotation.stratum,
        origin=annotation.corpus,
        probability=annotation.probability or 1.0,
    )
