"""The corpus as a Hugging Face Dataset with typed features, and files written from it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from treatystance.corpus.rows import Corpus, Row
from treatystance.errors import InputError
from treatystance.statement import LabelSet

if TYPE_CHECKING:
    from datasets import Dataset, Features

__all__ = ["features", "from_dataset", "to_dataset", "write_corpus"]


def features(labels: LabelSet) -> Features:
    """The typed columns of a corpus: `labels` is a list of ClassLabel, the rest strings and integers."""
    from datasets import ClassLabel, Features, List, Value

    text, integer = Value("string"), Value("int32")
    return Features(
        {
            "id": text,
            "doc_id": text,
            "position": integer,
            "text": text,
            "prev": text,
            "next": text,
            "labels": List(ClassLabel(names=list(labels.names))),
            "government": text,
            "co_governments": List(text),
            "year": integer,
            "kind": text,
            "treaty": text,
            "language": text,
            "phenomenon": text,
            "origin": text,
            "weight": Value("float64"),
            "probability": Value("float64"),
            "auxiliary": Value("bool"),
            "evaluate": Value("bool"),
        }
    )


def to_dataset(corpus: Corpus) -> Dataset:
    """The corpus as a Dataset, a row per sentence; its description carries both fingerprints."""
    from datasets import Dataset, DatasetInfo

    typed = features(corpus.labels)
    columns: dict[str, list[Any]] = {
        name: [getattr(row, name) for row in corpus.rows] for name in typed if name not in ("labels", "co_governments")
    }
    place = {name: i for i, name in enumerate(corpus.labels.names)}
    columns["labels"] = [[place[label] for label in row.labels] for row in corpus.rows]
    columns["co_governments"] = [list(row.co_governments) for row in corpus.rows]
    description = f"corpus sha256 {corpus.sha256}; codebook sha256 {corpus.codebook_sha256}"
    return Dataset.from_dict(columns, features=typed, info=DatasetInfo(description=description, features=typed))


def from_dataset(dataset: Dataset, exclusive: bool = False) -> Corpus:
    """The corpus of a Dataset made by `to_dataset` (or read back from a file written from one)."""
    names = tuple(dataset.features["labels"].feature.names)
    rows = []
    for record in dataset:
        labels = tuple(names[i] for i in record.pop("labels"))
        co_governments = tuple(record.pop("co_governments"))
        rows.append(Row(labels=labels, co_governments=co_governments, **record))
    return Corpus(tuple(rows), LabelSet(names, exclusive))


def write_corpus(corpus: Corpus, path: Path) -> None:
    """Write the corpus as Parquet or JSON Lines, by the file's ending; JSON Lines carries label names.

    Raises:
        InputError: another ending, or the place cannot be written.
    """
    import json

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".parquet":
            to_dataset(corpus).to_parquet(str(path))
        elif path.suffix == ".jsonl":
            with path.open("w", encoding="utf-8") as out:
                for record in to_dataset(corpus):
                    record["labels"] = [corpus.labels.names[i] for i in record["labels"]]
                    out.write(json.dumps(record, ensure_ascii=False) + "\n")
        else:
            raise InputError(f"{path}: the ending must be .parquet or .jsonl")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None
