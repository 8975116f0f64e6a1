"""The corpus as a folder that `datasets.load_dataset` reads, in fixed splits by government."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from treatystance.corpus.dataset import to_dataset
from treatystance.corpus.load import codebook_sha256, data_path, load_corpus, read_annotations
from treatystance.corpus.rows import Corpus
from treatystance.errors import InputError
from treatystance.statement import LabelSet

__all__ = ["SPLITS", "export_corpus", "split_of"]

SPLITS = ("train", "validation", "test")


def split_of(governments: Iterable[str]) -> str:
    """The published split of a row: `test` if any of its governments is a test government, and so on down to `train`.

    So no government of the test split speaks in another one.
    """
    found = set(governments)
    return next((name for name in ("test", "validation") if found & _held_out()[name]), "train")


@cache
def _held_out() -> Mapping[str, frozenset[str]]:
    content = json.loads(data_path("package:splits.json").read_text("utf-8"))
    return {name: frozenset(content[name]) for name in ("validation", "test")}


def export_corpus(out: Path, corpora: Mapping[str, Path] | None = None, real: bool = False) -> dict[str, int]:
    """Write the shipped corpus as a dataset folder.

    `composed/` holds the composed sentences, `annotations/` the stand-off annotations without text, `real/`, on demand,
    the annotations joined with local copies of the public corpora; each as Parquet in three splits.
    `README.md` is the dataset card, whose head tells `load_dataset` of these configurations.

    Args:
        out: a folder that does not exist yet.
        corpora: local copies by corpus name; others are looked for where TREATYSTANCE_CORPORA says.
        real: write `real/` too.

    Returns:
        Rows written by "configuration/split".

    Raises:
        InputError: `out` exists or cannot be written, or a public corpus is not at hand.
        CorpusError: an annotation does not match its document.
    """
    if out.exists():
        raise InputError(f"{out}: exists already; name a new folder")
    composed = load_corpus(["package:composed"], LabelSet())
    joined = load_corpus(["package:annotations"], LabelSet(), corpora) if real else None
    counts: dict[str, int] = {}
    try:
        out.mkdir(parents=True)
        for name, corpus in (("composed", composed), ("real", joined)):
            if corpus is not None:
                counts |= _write_rows(out / name, name, corpus)
        counts |= _write_annotations(out / "annotations")
        card = data_path("package:dataset_card.md").read_text("utf-8")
        (out / "README.md").write_text(card if real else _without_real(card), "utf-8")
        shutil.copy(data_path("package:codebook.md"), out / "codebook.md")
        shutil.copy(data_path("package:splits.json"), out / "splits.json")
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror})") from None
    return counts


def _write_rows(folder: Path, name: str, corpus: Corpus) -> dict[str, int]:
    folder.mkdir()
    counts = {}
    for split in SPLITS:
        rows = tuple(row for row in corpus.rows if split_of(row.governments) == split)
        to_dataset(Corpus(rows, corpus.labels, codebook_sha256())).to_parquet(str(folder / f"{split}.parquet"))
        counts[f"{name}/{split}"] = len(rows)
    return counts


def _write_annotations(folder: Path) -> dict[str, int]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir()
    # One schema for all splits: where a split has no value of a column, its type could not be told.
    table = pa.Table.from_pylist(
        [record.model_dump(mode="json") for record in read_annotations(["package:annotations"], LabelSet())]
    )
    splits = [split_of([government] if government else []) for government in table["government"].to_pylist()]
    counts = {}
    for split in SPLITS:
        part = table.filter(pa.array([name == split for name in splits]))
        pq.write_table(part, folder / f"{split}.parquet")
        counts[f"annotations/{split}"] = len(part)
    return counts


def _without_real(card: str) -> str:
    """The card without the configuration whose files are not there; its head is YAML between two lines of dashes."""
    import yaml

    start, head, text = card.split("---\n", 2)
    told = yaml.safe_load(head)
    told["configs"] = [part for part in told["configs"] if part["config_name"] != "real"]
    return f"{start}---\n{yaml.safe_dump(told, sort_keys=False, allow_unicode=True)}---\n{text}"
