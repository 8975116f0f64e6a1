"""Files of labelled data → one validated Corpus; every fault of every file named in one run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

from treatystance.corpus.records import Annotation, LabelledRow, StatementRecord, read_records
from treatystance.corpus.rows import Corpus, Row, infer_labels, neighbours
from treatystance.corpus.standoff import join
from treatystance.errors import CorpusError, InputError
from treatystance.statement import LabelSet

__all__ = ["codebook_sha256", "data_path", "expand", "load_corpus", "load_rows", "read_annotations"]

PACKAGED = "package:"


def data_path(path: str | Path) -> Path:
    """A path of the user's, or "package:NAME" for a file or folder that the package ships in its data folder."""
    text = str(path)
    if text.startswith(PACKAGED):
        return Path(str(files("treatystance").joinpath("data", text.removeprefix(PACKAGED))))
    return Path(text)


def codebook_sha256() -> str:
    """SHA-256 of the codebook that the package's labels follow."""
    return hashlib.sha256(data_path("package:codebook.md").read_bytes()).hexdigest()


def load_corpus(
    paths: Sequence[str | Path], labels: LabelSet | None = None, corpora: Mapping[str, Path] | None = None
) -> Corpus:
    """Read labelled files (or folders of *.jsonl) of any of the three formats as one corpus.

    Args:
        paths: files, folders, or "package:NAME".
        labels: the allowed labels; None takes those found.
        corpora: local copies of public corpora by name, for stand-off annotations.

    Raises:
        CorpusError: with every fault of every file.
        InputError: a file or a public corpus is not there.
    """
    faults: list[str] = []
    rows = load_rows(paths, corpora or {}, faults, labels)
    if faults:
        raise CorpusError(faults)
    found = labels or infer_labels(label for row in rows for label in row.labels)
    return Corpus(tuple(rows), found, codebook_sha256())


def read_annotations(paths: Sequence[str | Path], labels: LabelSet) -> list[Annotation]:
    """The stand-off annotations of files (or folders of *.jsonl), without their text; rows of other kinds are left out.

    Raises:
        CorpusError: with every fault, a label outside the set and a place named twice among them.
        InputError: a file is not there.
    """
    faults: list[str] = []
    found: list[Annotation] = []
    places: dict[tuple[str, str, int], str] = {}
    for path in expand(paths):
        for number, record in read_records(path, faults):
            if not isinstance(record, Annotation):
                continue
            where = f"{path}:{number}"
            _check_labels(record, where, labels, faults)
            faults.extend(
                f"{where}: unknown label {label!r}; the labels are {', '.join(labels.names)}"
                for label in sorted({*(record.first or ()), *(record.second or ())} - {*labels.names, *record.labels})
            )
            place = (record.corpus, record.doc_id, record.start)
            if place in places:
                faults.append(f"{where}: this place is annotated already at {places[place]}; name a file once")
            places.setdefault(place, where)
            found.append(record)
    if faults:
        raise CorpusError(faults)
    return found


def load_rows(
    paths: Iterable[str | Path],
    corpora: Mapping[str, Path],
    faults: list[str],
    labels: LabelSet | None = None,
) -> list[Row]:
    """The sound rows of the files; a line in `faults` for each fault."""
    rows: list[Row] = []
    annotations: list[tuple[str, Annotation]] = []
    places: dict[str, str] = {}
    texts: dict[str, str] = {}
    for path in expand(paths):
        for number, record in read_records(path, faults):
            where = f"{path}:{number}"
            new = _rows_of(record, path, number)
            _check_labels(record, where, labels, faults)
            for row_id in _identities(record, new):
                if row_id in places:
                    faults.append(f"{where}: {row_id!r} stands already at {places[row_id]}; give each its own id")
                places.setdefault(row_id, where)
            if isinstance(record, StatementRecord):
                _check_repeats(new, where, texts, faults)
            if isinstance(record, Annotation):
                annotations.append((where, record))
            rows.extend(new)
    if annotations:
        rows.extend(join(annotations, corpora, faults))
    return rows


def expand(paths: Iterable[str | Path]) -> list[Path]:
    """The files behind paths, folders and "package:NAME", in order.

    Raises:
        InputError: a folder holds no .jsonl file.
    """
    found: list[Path] = []
    for given in paths:
        path = data_path(given)
        if path.is_dir():
            inside = sorted(path.glob("*.jsonl"))
            if not inside:
                raise InputError(f"{path}: no .jsonl file in this folder")
            found.extend(inside)
        else:
            found.append(path)
    return found


def _rows_of(record: StatementRecord | Annotation | LabelledRow, path: Path, number: int) -> list[Row]:
    if isinstance(record, Annotation):
        return []
    if isinstance(record, LabelledRow):
        row_id = str(record.id) if record.id is not None else f"{path.name}:{number}"
        doc_id = str(record.doc_id) if record.doc_id is not None else row_id
        facts = record.model_dump(exclude={"id", "doc_id"})
        return [Row(id=row_id, doc_id=doc_id, origin=path.name, **facts)]
    texts = [sentence.text for sentence in record.sentences]
    whole = Row(
        id="",
        doc_id=f"composed:{record.id}",
        text="",
        government=record.government,
        co_governments=record.co_governments,
        year=int(record.date[:4]) if record.date else None,
        kind=record.kind,
        treaty=record.treaty,
        language=record.language,
        origin="composed",
    )
    rows = []
    for i, sentence in enumerate(record.sentences):
        before, after = neighbours(texts, i)
        rows.append(
            replace(
                whole,
                id=f"{whole.doc_id}:{i}",
                text=sentence.text,
                labels=sentence.labels,
                phenomenon=sentence.phenomenon,
                position=i,
                prev=before,
                next=after,
            )
        )
    return rows


def _identities(record: StatementRecord | Annotation | LabelledRow, rows: list[Row]) -> list[str]:
    if isinstance(record, Annotation):
        return [f"{record.corpus}:{record.doc_id}:{record.start}"]
    return [row.id for row in rows]


def _check_labels(
    record: StatementRecord | Annotation | LabelledRow, where: str, labels: LabelSet | None, faults: list[str]
) -> None:
    if labels is None:
        return
    parts = record.sentences if isinstance(record, StatementRecord) else (record,)
    for i, part in enumerate(parts):
        place = f"{where}: sentence {i + 1}" if len(parts) > 1 else where
        faults.extend(
            f"{place}: unknown label {label!r}; the labels are {', '.join(labels.names)}"
            for label in part.labels
            if label not in labels.names
        )
        if labels.exclusive and len(part.labels) != 1:
            faults.append(f"{place}: exactly one label is wanted, not {len(part.labels)}")


def _check_repeats(rows: list[Row], where: str, texts: dict[str, str], faults: list[str]) -> None:
    """A composed sentence stands in one place only: repeats would weigh double and leak across folds."""
    for row in rows:
        key = " ".join(row.text.casefold().split())
        if key in texts:
            faults.append(f"{where}: sentence {row.position + 1} repeats the one at {texts[key]}")
        texts.setdefault(key, f"{where} sentence {row.position + 1}")
