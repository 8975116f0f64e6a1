"""`treatystance.corpus.records`: every fault of a file is named in one run, with file, line and reason."""

import json
from pathlib import Path
from typing import Any

import pytest

from treatystance.corpus.records import Annotation, LabelledRow, StatementRecord, read_records
from treatystance.errors import InputError

SENTENCE = {"text": "We leave the pact.", "labels": ["out"]}
STATEMENT: dict[str, Any] = {"id": "a", "government": "POL", "sentences": [SENTENCE]}
ANNOTATION: dict[str, Any] = {
    "corpus": "debate",
    "doc_id": "POL_1",
    "start": 4,
    "end": 9,
    "sha256": "0" * 64,
    "labels": [],
}
ROW: dict[str, Any] = {"text": "We stay.", "labels": ["in"]}


def read(path: Path) -> tuple[list[Any], list[str]]:
    faults: list[str] = []
    return list(read_records(path, faults)), faults


def write(path: Path, *lines: Any) -> Path:
    """A file of these lines: bytes as they are, the rest as JSON."""
    path.write_bytes(b"\n".join(x if isinstance(x, bytes) else json.dumps(x).encode() for x in lines) + b"\n")
    return path


@pytest.mark.parametrize(
    ("value", "kind"), [(STATEMENT, StatementRecord), (ANNOTATION, Annotation), (ROW, LabelledRow)]
)
def test_kinds_are_told_apart_by_keys(tmp_path: Path, value: dict[str, Any], kind: type) -> None:
    records, faults = read(write(tmp_path / "a.jsonl", value))
    assert not faults
    assert [(number, type(record)) for number, record in records] == [(1, kind)]


def test_blank_lines_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", b"\xef\xbb\xbf" + json.dumps(ROW).encode() + b"\r", b"\r", b"", ROW)
    records, faults = read(path)
    assert not faults
    assert [number for number, _ in records] == [1, 4]


@pytest.mark.parametrize(
    "places", [{}, {"prev_start": 0}, {"prev_start": 4}, {"next_end": 9}, {"prev_start": 1, "next_end": 20}]
)
def test_places_in_order_are_sound(tmp_path: Path, places: dict[str, int]) -> None:
    records, faults = read(write(tmp_path / "a.jsonl", ANNOTATION | places))
    assert not faults
    assert len(records) == 1


def test_other_keys_of_a_labelled_row_are_ignored(tmp_path: Path) -> None:
    records, faults = read(write(tmp_path / "a.jsonl", ROW | {"colour": "red", "doc_id": 3}))
    assert not faults
    assert records[0][1].doc_id == 3


OUT_OF_ORDER = "prev_start, start, end and next_end are out of order"
FAULTS: dict[str, tuple[Any, str]] = {
    "not JSON": (b"{'text': 1}", "not JSON"),
    "cut off": (b'{"text": "We', "not JSON"),
    "a list": ([1], "a JSON object is wanted, not list"),
    "a string": ("text", "a JSON object is wanted, not str"),
    "null": (None, "a JSON object is wanted, not NoneType"),
    "not UTF-8": (b'{"text": "caf\xe9", "labels": []}', "not UTF-8 at byte 14"),
    "nested too deep": (b"[" * 100_000, "not JSON"),
    "number too long": (b'{"text": "We stay.", "labels": [], "id": ' + b"1" * 5000 + b"}", "JSON"),
    "half a surrogate": (b'{"text": "\\ud800", "labels": []}', "JSON"),
    "row without labels": ({"text": "We stay."}, "labels is missing"),
    "row without text": ({"labels": []}, "text is missing"),
    "text of the wrong type": (ROW | {"text": 3}, "text: "),
    "empty text": (ROW | {"text": ""}, "text: "),
    "blank text": (ROW | {"text": " \t"}, "text: "),
    "labels of the wrong type": (ROW | {"labels": "in"}, "labels: "),
    "label of the wrong type": (ROW | {"labels": [1]}, "labels.0: "),
    "label twice": (ROW | {"labels": ["in", "in"]}, "a label stands twice"),
    "year as text": (ROW | {"year": "1999"}, "year: "),
    "government in full": (ROW | {"government": "Poland"}, "government: government must be an ISO 3166"),
    "unknown key": (STATEMENT | {"goverment": "POL"}, "goverment is not a known key"),
    "unknown key of a sentence": (
        STATEMENT | {"sentences": [SENTENCE | {"label": "out"}]},
        "sentences.0.label is not a known key",
    ),
    "no sentences": (STATEMENT | {"sentences": []}, "sentences: "),
    "no id": ({"sentences": [SENTENCE]}, "id is missing"),
    "space around a sentence": (STATEMENT | {"sentences": [SENTENCE | {"text": " We go."}]}, "no white space around"),
    "line break in a sentence": (STATEMENT | {"sentences": [SENTENCE | {"text": "We\ngo."}]}, "no line break"),
    "phenomenon with spaces": (STATEMENT | {"sentences": [SENTENCE | {"phenomenon": "Other exit"}]}, "phenomenon: "),
    "no such day": (STATEMENT | {"date": "2025-02-30"}, "date: date must be ISO 8601"),
    "unknown kind": (STATEMENT | {"kind": "tweet"}, "kind: kind must be one of"),
    "co-government in full": (STATEMENT | {"co_governments": ["LVA", "Estonia"]}, "'Estonia'"),
    "short hash": (ANNOTATION | {"sha256": "0" * 63}, "sha256: "),
    "negative start": (ANNOTATION | {"start": -1}, "start: "),
    "end before start": (ANNOTATION | {"end": 4}, f"{OUT_OF_ORDER}: [0, 4, 4, 4]"),
    "end well before start": (ANNOTATION | {"end": 2}, f"{OUT_OF_ORDER}: [0, 4, 2, 2]"),
    "unknown key of an annotation": (ANNOTATION | {"lables": []}, "lables is not a known key"),
    "negative start of the neighbour": (ANNOTATION | {"prev_start": -3}, "prev_start"),
    "neighbour after the sentence": (ANNOTATION | {"prev_start": 6}, f"{OUT_OF_ORDER}: [6, 4, 9, 9]"),
    "neighbour's end inside the sentence": (ANNOTATION | {"next_end": 6}, f"{OUT_OF_ORDER}: [0, 4, 9, 6]"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_named_and_reading_goes_on(tmp_path: Path, name: str) -> None:
    line, reason = FAULTS[name]
    path = write(tmp_path / "a.jsonl", ROW, line, ROW)
    records, faults = read(path)
    assert [number for number, _ in records] == [1, 3]
    assert len(faults) == 1
    assert faults[0].startswith(f"{path}:2: ")
    assert reason in faults[0]
    assert "\n" not in faults[0]


def test_all_faults_of_a_file_and_of_a_line_in_one_run(tmp_path: Path) -> None:
    several = {"sentences": [{"text": 1, "labels": []}, {"text": "We go.", "label": []}]}
    path = write(tmp_path / "a.jsonl", b"{", ROW, several, [2], ROW, b'"\xff"')
    records, faults = read(path)
    assert [number for number, _ in records] == [2, 5]
    places = [fault.removeprefix(f"{path}:").split(" ")[:2] for fault in faults]
    assert [line for line, _ in places] == ["1:", "3:", "3:", "3:", "3:", "4:", "6:"]
    assert {place for line, place in places if line == "3:"} == {
        "id",
        "sentences.0.text:",
        "sentences.1.labels",
        "sentences.1.label",
    }


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b" \n\n\t\n", "empty"),
        (b"\x89PNG\0\0\1", "binary"),
        ('{"text": "We stay.", "labels": []}'.encode("utf-16"), "binary"),
    ],
)
def test_whole_file_faults(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    records, faults = read(path)
    assert not records
    assert len(faults) == 1
    assert faults[0].startswith(f"{path}: {reason}")


def test_missing_file_and_folder_are_input_errors(tmp_path: Path) -> None:
    for path in (tmp_path / "none.jsonl", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            read(path)
