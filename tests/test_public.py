"""`treatystance.corpus.public`: reading documents, and the packaged annotations against the public corpora."""

import json
import os
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from treatystance.corpus import data_path, load_corpus
from treatystance.corpus.load import read_annotations
from treatystance.corpus.public import CORPORA_VARIABLE, PUBLISHERS, locate, read_documents
from treatystance.corpus.records import Annotation
from treatystance.errors import InputError
from treatystance.statement import LabelSet

ANNOTATIONS = "package:annotations"


def test_parquet_gives_the_wanted_documents_only(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(
        pa.table({"doc_id": [str(i) for i in range(2000)], "text": [f"Text {i}" for i in range(2000)]}), path
    )
    assert read_documents(path, {"3", "1999", "x"}) == {"3": "Text 3", "1999": "Text 1999"}


def test_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfWe stay.")
    assert read_documents(tmp_path, {"a"}) == {"a": "We stay."}


def test_locate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CORPORA_VARIABLE, raising=False)
    assert locate("debate") is None
    monkeypatch.setenv(CORPORA_VARIABLE, str(tmp_path))
    assert locate("debate") is None
    (tmp_path / "debate.parquet").touch()
    assert locate("debate") == tmp_path / "debate.parquet"


def _truncated_tar(path: Path) -> None:
    source = path.parent / "b.txt"
    source.write_bytes(os.urandom(200_000).hex().encode())
    with tarfile.open(path, "w:gz") as archive:
        archive.add(source, "b.txt")
    path.write_bytes(path.read_bytes()[:100_000])


def _damaged_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("b.txt", "We stay where we are.")
    path.write_bytes(path.read_bytes().replace(b"We stay where", b"We leave what"))


def test_truncated_archives_are_input_errors(tmp_path: Path) -> None:
    for name, make in {"a.tar.gz": _truncated_tar, "a.zip": _damaged_zip}.items():
        make(tmp_path / name)
        with pytest.raises(InputError, match=name):
            read_documents(tmp_path / name, {"b"})


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.parquet", b"PAR1 but not really", "not a readable Parquet file"),
        ("a.csv", b"doc_id,text\n", "neither Parquet, a folder, nor a zip or tar archive"),
        ("a.tar.gz", b"", "neither Parquet"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=reason):
        read_documents(tmp_path / name, {"a"})


def test_missing_file_missing_column_and_wrong_encoding(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such corpus file"):
        read_documents(tmp_path / "none.zip", {"a"})
    pq.write_table(pa.table({"doc_id": ["a"]}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="column 'text' is missing"):
        read_documents(tmp_path / "a.parquet", {"a"})
    (tmp_path / "b.txt").write_bytes(b"caf\xe9")
    with pytest.raises(InputError, match=r"b\.txt: not UTF-8 at byte 4"):
        read_documents(tmp_path, {"b"})


def _packaged() -> list[Annotation]:
    return read_annotations([ANNOTATIONS], LabelSet())


def test_no_reserved_document_or_government_is_annotated() -> None:
    reserved = json.loads(data_path("package:annotations/reserved.json").read_text("utf-8"))
    annotated = _packaged()
    assert {a.corpus for a in annotated} <= set(PUBLISHERS)
    for corpus, documents in reserved["documents"].items():
        assert documents
        assert not {a.doc_id for a in annotated if a.corpus == corpus} & set(documents)
    for corpus, governments in reserved["governments"].items():
        assert governments
        assert not {a.government for a in annotated if a.corpus == corpus} & set(governments)


@pytest.mark.corpora
def test_every_packaged_annotation_joins() -> None:
    if not os.environ.get(CORPORA_VARIABLE):
        pytest.skip(f"{CORPORA_VARIABLE} IS NOT SET: the packaged annotations were NOT checked against the corpora")
    corpus = load_corpus([ANNOTATIONS])
    assert len(corpus) == len(_packaged()) > 5000
    assert Counter(row.origin for row in corpus) == Counter(a.corpus for a in _packaged())


def test_annotations_made_twice_say_how_they_were_drawn() -> None:
    drawn = [a for a in _packaged() if a.round is not None]
    assert len(drawn) >= 2500
    assert all(a.first is not None and a.second is not None and a.probability and a.annotator for a in drawn)
    assert sum(a.stratum == "random" for a in drawn) >= 600
    # Their weights add up to the sentences that were drawn from.
    assert sum(1 / (a.probability or 1) for a in drawn) == pytest.approx(1_297_676, rel=0.05)
