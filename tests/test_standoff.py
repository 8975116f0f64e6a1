"""`treatystance.corpus.standoff` and `build`: annotations joined with local copies of documents."""

import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from treatystance.corpus import load_corpus
from treatystance.corpus.build import build_corpus
from treatystance.corpus.standoff import sentence_sha256
from treatystance.errors import CorpusError, InputError
from treatystance.statement import LabelSet

BEFORE = "Mr. President, I bring\n  greetings."
SENTENCE = "Our  Government will\nleave the Pact — “soon”."
AFTER = "It has done\tits work."
DOCUMENT = f"Opening.  {BEFORE}\n\n{SENTENCE} {AFTER} Thank you."
DOCUMENTS = {"POL_1": DOCUMENT, "LVA_2": "We stay. " * 5, "EST_3": "Never asked for."}
START, END = DOCUMENT.index(SENTENCE), DOCUMENT.index(SENTENCE) + len(SENTENCE)
LABELS = LabelSet(("out", "in"))


def annotation(**changes: Any) -> dict[str, Any]:
    return {
        "corpus": "debate",
        "doc_id": "POL_1",
        "start": START,
        "end": END,
        "sha256": sentence_sha256(SENTENCE),
        "prev_start": DOCUMENT.index(BEFORE),
        "next_end": DOCUMENT.index(AFTER) + len(AFTER),
        "labels": ["out"],
        "government": "POL",
        "year": 1999,
        "kind": "speech",
        "stratum": "withdraw",
    } | changes


def annotations(folder: Path, *values: dict[str, Any]) -> Path:
    path = folder / "annotations.jsonl"
    path.write_text("".join(json.dumps(value) + "\n" for value in values), "utf-8")
    return path


def parquet(folder: Path) -> Path:
    path = folder / "debate.parquet"
    pq.write_table(pa.table({"doc_id": list(DOCUMENTS), "text": list(DOCUMENTS.values()), "year": [1, 2, 3]}), path)
    return path


def _members() -> dict[str, bytes]:
    files = {f"Converted/Session 1/{name}.txt": text.encode() for name, text in DOCUMENTS.items()}
    # What macOS leaves beside each file when it packs an archive: not UTF-8.
    shadows = {f"Converted/Session 1/._{name}.txt": b"\0\5\x16\7\xff\xfe" for name in DOCUMENTS}
    return files | shadows | {"Converted/Session 1/POL_1.pdf": b"\xff"}


def folder_of_text(folder: Path) -> Path:
    for name, content in _members().items():
        path = folder / "texts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder / "texts"


def zip_archive(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "debate.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in _members().items():
            archive.writestr(name, content)
    return folder / "debate.zip"


def tar_archive(folder: Path) -> Path:
    with tarfile.open(folder / "debate.tar.gz", "w:gz") as archive:
        for name, content in _members().items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return folder / "debate.tar.gz"


@pytest.mark.parametrize("make", [parquet, folder_of_text, zip_archive, tar_archive])
def test_join(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    path = annotations(tmp_path, annotation(), annotation(doc_id="LVA_2", start=0, end=8, labels=["in"],
                                                          sha256=sentence_sha256("We stay."), prev_start=None,
                                                          next_end=None, government="LVA"))  # fmt: skip
    first, second = load_corpus([path], LABELS, {"debate": make(tmp_path)})
    assert first.text == "Our Government will leave the Pact — “soon”."
    assert first.prev == "Mr. President, I bring greetings."
    assert first.next == "It has done its work."
    assert (first.id, first.doc_id, first.position) == (f"debate:POL_1:{START}", "debate:POL_1", START)
    assert (first.government, first.year, first.kind, first.labels) == ("POL", 1999, "speech", ("out",))
    assert (first.origin, first.phenomenon) == ("debate", "withdraw")
    assert (second.text, second.prev, second.next) == ("We stay.", None, None)


def test_hash_ignores_white_space_only() -> None:
    assert sentence_sha256(SENTENCE) == sentence_sha256(" " + " ".join(SENTENCE.split()) + "\n")
    assert sentence_sha256(SENTENCE) != sentence_sha256(SENTENCE.lower())


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "other text": ({"sha256": sentence_sha256("Another.")}, "hash mismatch at POL_1"),
    "shifted by one": ({"start": START + 1, "end": END + 1}, "hash mismatch"),
    "beyond the end": ({"end": len(DOCUMENT) + 1, "next_end": None}, "lie beyond document 'POL_1'"),
    "missing document": ({"doc_id": "POL_9"}, "document 'POL_9' is not in"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_match_is_refused_with_its_line(tmp_path: Path, name: str) -> None:
    changes, reason = REFUSED[name]
    sound = annotation(doc_id="LVA_2", start=0, end=8, sha256=sentence_sha256("We stay."), prev_start=None)
    path = annotations(tmp_path, sound, annotation(**changes))
    with pytest.raises(CorpusError) as caught:
        load_corpus([path], LABELS, {"debate": parquet(tmp_path)})
    assert len(caught.value.faults) == 1
    assert caught.value.faults[0].startswith(f"{path}:2: ")
    assert reason in caught.value.faults[0]


def test_all_refusals_come_in_one_run(tmp_path: Path) -> None:
    # Different starts, so that no two are the same place.
    faulty = [annotation(start=START - 1 - i) | changes for i, (changes, _) in enumerate(REFUSED.values())]
    path = annotations(tmp_path, *faulty)
    with pytest.raises(CorpusError) as caught:
        load_corpus([path], LABELS, {"debate": parquet(tmp_path)})
    assert [fault.split(": ")[0] for fault in caught.value.faults] == [f"{path}:{n}" for n in (1, 2, 3, 4)]


def test_same_place_twice_is_a_duplicate(tmp_path: Path) -> None:
    path = annotations(tmp_path, annotation(), annotation())
    with pytest.raises(CorpusError, match=f"'debate:POL_1:{START}' stands already at"):
        load_corpus([path], LABELS, {"debate": parquet(tmp_path)})


def test_corpus_is_found_where_the_variable_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet(tmp_path)
    path = annotations(tmp_path, annotation())
    monkeypatch.setenv("TREATYSTANCE_CORPORA", str(tmp_path))
    assert len(load_corpus([path], LABELS)) == 1


def test_absent_corpus_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TREATYSTANCE_CORPORA", raising=False)
    with pytest.raises(InputError, match=r"no local copy of corpus 'ungdc' \(UN General.*--corpus ungdc=FILE"):
        load_corpus([annotations(tmp_path, annotation(corpus="ungdc"))], LABELS)


def test_build_writes_the_sound_rows_and_reports_the_rest(tmp_path: Path) -> None:
    path = annotations(tmp_path, annotation(), annotation(**REFUSED["missing document"][0]))
    out = tmp_path / "new" / "rows.jsonl"
    count, faults = build_corpus([path], {"debate": parquet(tmp_path)}, out)
    assert count == 1
    assert [fault.split(": ")[0] for fault in faults] == [f"{path}:2"]
    (line,) = out.read_text("utf-8").splitlines()
    assert json.loads(line)["text"] == "Our Government will leave the Pact — “soon”."
