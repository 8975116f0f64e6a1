"""Unlabelled sentences of public corpora, for a teacher to label: a seeded sample, kept-aside documents left out.

The sample is drawn in two stages (documents, then sentences of these), so that a small one needs no whole corpus split.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from treatystance.corpus.load import data_path
from treatystance.corpus.public import CORPORA_VARIABLE, PUBLISHERS, locate, read_documents
from treatystance.errors import InputError
from treatystance.models.base import Batch
from treatystance.segment import segment
from treatystance.statement import ANY_GOVERNMENT, reads_like_report

__all__ = ["pool_sentences"]

_RESERVED = "package:annotations/reserved.json"
_SPEAKERS = {"whitehouse": "USA"}  # of corpora in which one government speaks
_SPREAD = 3  # sentences split for each one drawn: the more, the less those of one document stand together
_FIRST_GUESS = 100  # sentences of a document


@dataclass(frozen=True, slots=True)
class _Document:
    corpus: str
    doc_id: str
    government: str | None


def pool_sentences(
    corpora: Sequence[str],
    count: int,
    seed: int,
    skip_governments: Collection[str],
    paths: Mapping[str, Path] | None = None,
) -> Batch:
    """A uniform random sample of distinct sentences of public corpora, in random order.

    Documents kept aside for the final test (`data/annotations/reserved.json`) are never read, nor those of the
    governments named. Sentences are those of `segment`, with the one before and the government, as `Predictor` gives
    them to a model. Sentences that differ in white space or case only count as one.

    Args:
        corpora: names of public corpora, such as "ungdc".
        count: how many sentences; fewer are given where the corpora hold no more.
        seed: of the sample; the same seed and files give the same sample.
        skip_governments: ISO 3166 alpha-3 codes of governments whose documents are left out.
        paths: Parquet files by corpus name; those not named are looked for where TREATYSTANCE_CORPORA says.

    Raises:
        InputError: a corpus is not at hand or not a Parquet file with `doc_id` and `text`, `count` is not positive,
            or no sentence is left.
    """
    if count < 1:
        raise InputError(f"{count} pool sentences: ask for at least 1")
    files = {name: _file(name, paths or {}) for name in dict.fromkeys(corpora)}
    documents = [document for name, path in files.items() for document in _eligible(name, path, skip_governments)]
    rng = np.random.default_rng(seed)
    order = [documents[i] for i in rng.permutation(len(documents))]
    found: dict[str, tuple[str, str | None, str | None]] = {}
    start, per_document = 0, float(_FIRST_GUESS)
    while start < len(order) and len(found) < _SPREAD * count:
        stop = start + int(np.ceil((_SPREAD * count - len(found)) / per_document))
        for sentence in _sentences(order[start:stop], files):
            found.setdefault(" ".join(sentence[0].casefold().split()), sentence)
        start = stop
        per_document = max(len(found) / min(stop, len(order)), 1.0)
    if not found:
        raise InputError(f"no sentence to draw from {', '.join(corpora)}: every document is kept aside or left out")
    sentences = list(found.values())
    drawn = rng.permutation(len(sentences))[:count]
    texts, previous, governments = zip(*(sentences[i] for i in drawn), strict=True)
    return Batch(texts, previous, governments)


def _file(name: str, paths: Mapping[str, Path]) -> Path:
    path = paths.get(name) or locate(name)
    if path is None:
        source = PUBLISHERS.get(name, "its publisher")
        raise InputError(
            f"no local copy of corpus {name!r} ({source}): set {CORPORA_VARIABLE} to the folder of {name}.parquet"
        )
    if path.suffix != ".parquet":
        raise InputError(f"{path}: sentences are drawn from a Parquet file only; convert the corpus {name!r} to one")
    return path


def _eligible(name: str, path: Path, skip_governments: Collection[str]) -> Iterator[_Document]:
    """The documents that may be read, sorted, so that the sample does not depend on their order in the file."""
    reserved = json.loads(data_path(_RESERVED).read_text("utf-8"))
    documents = set(reserved["documents"].get(name, ()))
    governments = {*reserved["governments"].get(name, ()), *skip_governments}
    for doc_id, government in sorted(_speakers(name, path).items()):
        if doc_id not in documents and government not in governments:
            yield _Document(name, doc_id, government)


def _speakers(name: str, path: Path) -> dict[str, str | None]:
    """Every document and the government that speaks in it, where that is known."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]})") from None
    columns = [column for column in ("doc_id", "iso3") if column in file.schema_arrow.names]
    if "doc_id" not in columns:
        raise InputError(f"{path}: column 'doc_id' is missing; doc_id and text are needed")
    table = file.read(columns=columns)
    ids = [str(doc_id) for doc_id in table.column("doc_id").to_pylist()]
    if "iso3" in columns:
        return dict(zip(ids, table.column("iso3").to_pylist(), strict=True))
    return dict.fromkeys(ids, _SPEAKERS.get(name))


def _sentences(
    documents: Sequence[_Document], files: Mapping[str, Path]
) -> Iterable[tuple[str, str | None, str | None]]:
    """Sentences with the one before and the speaking government, document by document in the order given."""
    texts: dict[tuple[str, str], str] = {}
    for name, path in files.items():
        wanted = {document.doc_id for document in documents if document.corpus == name}
        if wanted:
            texts |= {(name, doc_id): text for doc_id, text in read_documents(path, wanted).items()}
    for document in documents:
        text = texts.get((document.corpus, document.doc_id)) or ""
        government = document.government
        if government is None and reads_like_report(text):
            government = ANY_GOVERNMENT
        before: str | None = None
        for start, end in segment(text):
            yield text[start:end], before, government
            before = text[start:end]
