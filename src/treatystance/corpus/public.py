"""Documents of public corpora, which we never ship: from Parquet, or from the publisher's archive of text files."""

from __future__ import annotations

import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from treatystance.errors import InputError

__all__ = ["CORPORA_VARIABLE", "PUBLISHERS", "locate", "read_documents"]

CORPORA_VARIABLE = "TREATYSTANCE_CORPORA"
PUBLISHERS = {
    "ungdc": "UN General Debate Corpus, Harvard Dataverse, doi:10.7910/DVN/0TJX8Y",
    "whitehouse": "White House publications, whitehouse.gov and its archives",
}


def locate(name: str) -> Path | None:
    """The Parquet file of a corpus in the folder that TREATYSTANCE_CORPORA names, or None."""
    folder = os.environ.get(CORPORA_VARIABLE)
    path = Path(folder) / f"{name}.parquet" if folder else None
    return path if path and path.is_file() else None


def read_documents(path: Path, wanted: set[str]) -> dict[str, str]:
    """Texts of the wanted documents by id; those that the corpus lacks are absent from the result.

    Args:
        path: a Parquet file with `doc_id` and `text`; or a folder, zip or tar archive of UTF-8 text files, where a
            document's id is its file name without ".txt".
        wanted: ids to read.

    Raises:
        InputError: the file is missing, or is neither form.
    """
    if not path.exists():
        raise InputError(f"{path}: no such corpus file; give the Parquet file or the publisher's archive")
    if path.suffix == ".parquet":
        return _from_parquet(path, wanted)
    try:
        return dict(_from_text_files(path, wanted))
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise InputError(f"{path}: damaged archive ({error}); download it again") from None


def _from_parquet(path: Path, wanted: set[str]) -> dict[str, str]:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]})") from None
    missing = {"doc_id", "text"} - set(file.schema_arrow.names)
    if missing:
        raise InputError(f"{path}: column {sorted(missing)[0]!r} is missing; doc_id and text are needed")
    texts: dict[str, str] = {}
    ids = pa.array(sorted(wanted), pa.string())
    for batch in file.iter_batches(batch_size=512, columns=["doc_id", "text"]):
        kept = batch.filter(pc.is_in(batch.column("doc_id").cast(pa.string()), value_set=ids))
        texts.update(zip(kept.column("doc_id").to_pylist(), kept.column("text").to_pylist(), strict=True))
    return texts


def _from_text_files(path: Path, wanted: set[str]) -> Iterator[tuple[str, str]]:
    def stem(name: str) -> str | None:
        part = PurePosixPath(name)
        return part.stem if part.suffix == ".txt" and part.stem in wanted else None

    if path.is_dir():
        for file in sorted(path.rglob("*.txt")):
            if doc_id := stem(file.name):
                yield doc_id, _decode(file.read_bytes(), str(file))
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if doc_id := stem(name):
                    yield doc_id, _decode(archive.read(name), f"{path}:{name}")
    elif tarfile.is_tarfile(path):
        with tarfile.open(path) as tar:
            for member in tar:
                if member.isfile() and (doc_id := stem(member.name)) and (stream := tar.extractfile(member)):
                    yield doc_id, _decode(stream.read(), f"{path}:{member.name}")
    else:
        raise InputError(f"{path}: neither Parquet, a folder, nor a zip or tar archive of text files")


def _decode(content: bytes, where: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: not UTF-8 at byte {error.start + 1}") from None
