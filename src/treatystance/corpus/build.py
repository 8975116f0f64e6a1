"""Stand-off annotations and public corpora → one file of joined rows; what does not match is refused and reported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from treatystance.corpus.dataset import write_corpus
from treatystance.corpus.load import codebook_sha256, load_rows
from treatystance.corpus.rows import Corpus, infer_labels

__all__ = ["build_corpus"]


def build_corpus(paths: Sequence[str | Path], corpora: Mapping[str, Path], out: Path) -> tuple[int, list[str]]:
    """Join annotation files with local corpora and write the sound rows.

    Args:
        paths: annotation files.
        corpora: local copies by corpus name; others are looked for where TREATYSTANCE_CORPORA says.
        out: a .parquet or .jsonl file.

    Returns:
        The number of rows written, and a line "file:line: reason" for every row that was refused.

    Raises:
        InputError: a file or a corpus is not there, or `out` cannot be written.
        CorpusError: no row carries a label.
    """
    faults: list[str] = []
    rows = load_rows(paths, corpora, faults)
    if rows:
        write_corpus(
            Corpus(tuple(rows), infer_labels(label for r in rows for label in r.labels), codebook_sha256()),
            out,
        )
    return len(rows), faults
