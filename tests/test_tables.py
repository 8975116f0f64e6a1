import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from treatystance.errors import InputError
from treatystance.statement import Statement
from treatystance.tables import Chunk, Columns, Reject, count_rows, open_writer, read_chunks

PLAIN = Columns()
NAMED = Columns(text="body", id="key", id_required=True, government="who")


def lines(*records: Any) -> bytes:
    return b"".join(r if isinstance(r, bytes) else json.dumps(r).encode() + b"\n" for r in records)


def read(path: Path, columns: Columns = PLAIN) -> tuple[list[tuple[str, str, str | None]], list[Reject]]:
    chunks = list(read_chunks(path, columns))
    assert all(chunk.file == path.name for chunk in chunks)
    pairs = [pair for c in chunks for pair in zip(c.ids, c.statements, strict=True)]
    rows = [(row_id, statement.text, statement.government) for row_id, statement in pairs]
    return rows, [reject for c in chunks for reject in c.rejects]


def parquet(path: Path, columns: dict[str, Any]) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": null}\n', "'text' is null"),
        (b'{"text": ""}\n', "'text' is empty"),
        (b'{"text": " \\n\\t "}\n', "'text' is empty"),
        (b'{"text": 5}\n', "'text' is not a string but int"),
        (b'{"text": ["We leave."]}\n', "'text' is not a string but list"),
        (b'{"body": "We leave."}\n', "column 'text' is missing"),
        (b"We leave.\n", "not JSON"),
        (b'{"text": "We leave."\n', "not JSON"),
        (b"[1]\n", "a JSON object is wanted, not list"),
        (b"null\n", "a JSON object is wanted, not NoneType"),
        (b'{"text": "\xff"}\n', "not UTF-8 at byte 11 of the line"),
        (b"[" * 100_000 + b"\n", "not JSON"),
    ],
)
def test_a_bad_json_line_is_rejected_alone(tmp_path: Path, line: bytes, reason: str) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(lines({"text": "Before."}, line, {"text": "After."}))
    rows, rejects = read(path)
    assert rows == [("1", "Before.", None), ("3", "After.", None)]
    assert [(r.file, r.row_number) for r in rejects] == [("in.jsonl", 2)]
    assert rejects[0].reason.startswith(reason)
    if isinstance(rejects[0].row, str):
        assert rejects[0].row == line.decode("utf-8", "replace").rstrip("\n")
    else:
        assert rejects[0].row == json.loads(line)


@pytest.mark.parametrize(
    ("line", "row", "reason"),
    [
        ("7\n", ["7"], "1 fields, but the header has 2"),
        ("7,We leave.,more\n", ["7", "We leave.", "more"], "3 fields, but the header has 2"),
        ("7,\n", {"id": "7", "text": ""}, "'text' is empty"),
        ("7,  \n", {"id": "7", "text": "  "}, "'text' is empty"),
    ],
)
def test_a_bad_csv_line_is_rejected_alone(tmp_path: Path, line: str, row: Any, reason: str) -> None:
    path = tmp_path / "in.csv"
    path.write_text("id,text\na,Before.\n" + line + "b,After.\n")
    rows, rejects = read(path)
    assert rows == [("a", "Before.", None), ("b", "After.", None)]
    assert rejects == [Reject("in.csv", 2, row, reason)]


def test_bad_parquet_rows_are_rejected_alone(tmp_path: Path) -> None:
    path = parquet(tmp_path / "in.parquet", {"text": ["Before.", None, "", "After."]})
    rows, rejects = read(path)
    assert [row[1] for row in rows] == ["Before.", "After."]
    assert [(r.row_number, r.reason) for r in rejects] == [(2, "'text' is null"), (3, "'text' is empty")]


@pytest.mark.parametrize(("values", "kind"), [([1, 2], "int"), ([b"a", b"b"], "bytes"), ([1.5, 2.5], "float")])
def test_a_parquet_column_of_another_type_is_rejected_row_by_row(tmp_path: Path, values: Any, kind: str) -> None:
    rows, rejects = read(parquet(tmp_path / "in.parquet", {"text": values}))
    assert not rows
    assert [r.reason for r in rejects] == [f"'text' is not a string but {kind}"] * 2


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())])
def test_every_arrow_string_type_is_text(tmp_path: Path, kind: pa.DataType) -> None:
    path = parquet(tmp_path / "in.parquet", {"text": pa.array(["Ours.", "Ours."]).cast(kind)})
    assert [row[1] for row in read(path)[0]] == ["Ours.", "Ours."]


def _jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_bytes(lines(*rows))


def _csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path)


WRITE: dict[str, Callable[[Path, list[dict[str, Any]]], None]] = {".jsonl": _jsonl, ".csv": _csv, ".parquet": _parquet}


@pytest.mark.parametrize("ending", WRITE)
@pytest.mark.parametrize(
    ("names", "columns", "expected"),
    [
        (("body", "key", "who"), NAMED, [("k1", "One.", "POL"), ("k2", 'Two,\n"2"', "FIN")]),
        (("text", "id", "government"), PLAIN, [("k1", "One.", "POL"), ("k2", 'Two,\n"2"', "FIN")]),
        (("text", "key", "who"), PLAIN, [("1", "One.", None), ("2", 'Two,\n"2"', None)]),
    ],
)
def test_columns_by_name(
    tmp_path: Path, ending: str, names: tuple[str, str, str], columns: Columns, expected: list[Any]
) -> None:
    path = tmp_path / f"in{ending}"
    values = [("One.", "k1", "POL"), ('Two,\n"2"', "k2", "FIN")]
    WRITE[ending](path, [dict(zip(names, row, strict=True)) for row in values])
    assert read(path, columns) == (expected, [])


def test_a_required_id_that_is_null_rejects_the_row(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(lines({"key": None, "body": "One."}, {"body": "Two."}, {"key": 7, "body": "Three."}))
    rows, rejects = read(path, NAMED)
    assert rows == [("7", "Three.", None)]
    assert [r.reason for r in rejects] == ["'key' is missing"] * 2


@pytest.mark.parametrize(
    ("name", "content", "row_id"),
    [
        ("in.jsonl", b'\xef\xbb\xbf{"text": "One."}\n', "1"),
        ("in.jsonl", b'\r\n\n{"text": "One."}\r\n\n', "3"),
        ("in.jsonl", b'{"text": "One."}', "1"),
        ("in.csv", b"\xef\xbb\xbftext\r\nOne.\r\n", "1"),
        ("in.csv", b'"text"\n"One."', "1"),
    ],
)
def test_byte_order_marks_blank_lines_and_line_ends(tmp_path: Path, name: str, content: bytes, row_id: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert read(path) == ([(row_id, "One.", None)], [])


def statements(path: Path, columns: Columns = PLAIN) -> list[Statement]:
    return [statement for chunk in read_chunks(path, columns) for statement in chunk.statements]


@pytest.mark.parametrize("ending", WRITE)
def test_the_kind_of_text_is_read(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"in{ending}"
    WRITE[ending](path, [{"text": "One.", "kind": "wire_report", "sort": "speech"}])
    assert statements(path) == [Statement("One.", kind="wire_report")]
    assert statements(path, Columns(kind="sort")) == [Statement("One.", kind="speech")]
    assert statements(path, Columns(kind="none")) == [Statement("One.")]


@pytest.mark.parametrize("value", [7, ["wire_report"], {}, None])
def test_a_government_or_kind_that_cannot_be_read_is_unknown(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(lines({"text": "One.", "government": value, "kind": value}))
    assert statements(path) == [Statement("One.")]
    assert read(path)[1] == []


@pytest.mark.parametrize("ending", WRITE)
@pytest.mark.parametrize("joined", [False, True])
def test_rows_without_an_id_are_numbered_from_one(tmp_path: Path, ending: str, joined: bool) -> None:
    path = tmp_path / f"in{ending}"
    WRITE[ending](path, [{"text": f"Point {i}."} for i in range(600)])
    ids = [row_id for chunk in read_chunks(path, PLAIN, joined) for row_id in chunk.ids]
    assert ids == [f"in{ending}:{i}" if joined else str(i) for i in range(1, 601)]


@pytest.mark.parametrize("ending", WRITE)
def test_an_id_of_the_row_s_own_stays_where_files_are_joined(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"in{ending}"
    WRITE[ending](path, [{"id": "a", "text": "One."}])
    assert [chunk.ids for chunk in read_chunks(path, PLAIN, joined=True)] == [["a"]]


def test_a_new_chunk_is_empty() -> None:
    chunk = Chunk("in.csv", True)
    assert (chunk.file, chunk.joined, chunk.rows) == ("in.csv", True, 0)
    assert (chunk.ids, chunk.statements, chunk.rejects) == ([], [], [])


@pytest.mark.parametrize(
    ("row", "plain"),
    [
        ({"a": [1, None, True, "x\n"]}, {"a": [1, None, True, "x\n"]}),
        ({"a": float("nan"), "b": {"c": (float("inf"), 0.5)}}, {"a": "nan", "b": {"c": ["inf", 0.5]}}),
        ({1: b"raw"}, {"1": "b'raw'"}),
        ("half \ud800 of a pair", "half \ud800 of a pair"),
    ],
)
def test_a_reject_is_one_line_of_json(row: Any, plain: Any) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    line = Reject("in.csv", 3, row, "why").to_json()
    line.encode()
    assert "\n" not in line
    record = json.loads(line, parse_constant=refuse)
    assert record == {"file": "in.csv", "row_number": 3, "row": plain, "reason": "why"}
    assert list(record) == ["file", "row_number", "row", "reason"]


@pytest.mark.parametrize("ending", WRITE)
def test_chunks_are_bounded_by_rows_and_lose_none(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"in{ending}"
    WRITE[ending](path, [{"text": "" if i % 3 == 0 else f"Point {i}."} for i in range(1100)])
    chunks = list(read_chunks(path, PLAIN))
    assert [chunk.rows for chunk in chunks] == [512, 512, 76]
    assert sum(len(chunk.rejects) for chunk in chunks) == 367


@pytest.mark.parametrize("ending", WRITE)
def test_chunks_are_bounded_by_characters(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"in{ending}"
    WRITE[ending](path, [{"text": "x" * 1_500_000} for _ in range(4)])
    assert [chunk.rows for chunk in read_chunks(path, PLAIN)] == [3, 1]


def test_a_csv_field_may_be_long(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("text\n" + "x" * 300_000 + "\n")
    assert len(read(path)[0][0][1]) == 300_000


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("in.txt", b"We leave.", "the ending must be one of .jsonl, .csv, .parquet"),
        ("in", b"We leave.", "the ending must be"),
        ("in.jsonl.gz", b"\x1f\x8b", "the ending must be"),
        ("in.jsonl", b"", "empty"),
        ("in.csv", b"", "empty"),
        ("in.parquet", b"", "empty"),
        ("in.jsonl", b'{"text": "a"}\n\0\0', "binary"),
        ("in.csv", b"text\n\0\0", "binary"),
        ("in.parquet", b"PAR1 is not enough", "not a readable Parquet file"),
        ("in.csv", b"body\nWe leave.\n", "column 'text' is missing .*there are: body.*--text-column"),
        ("in.csv", b"text\nWe leave.\n\xff\xfe\n", "not UTF-8"),
        ("in.csv", b'text\n"We" leave.\n', "not readable CSV after row 0"),
        ("in.csv", b'text\nWe stay.\n"We leave.\n', "not readable CSV after row 1"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_whole(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_parquet_columns_name_the_option(tmp_path: Path) -> None:
    path = parquet(tmp_path / "in.parquet", {"body": ["One."]})
    with pytest.raises(InputError, match=r"'text' is missing .*--text-column"):
        read(path)
    with pytest.raises(InputError, match=r"'key' is missing .*--id-column"):
        read(path, NAMED)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.jsonl").mkdir()
    for name in ("folder.jsonl", "none.csv"):
        with pytest.raises(InputError, match="cannot be read"):
            read(tmp_path / name)


def test_rows_are_counted_where_that_is_cheap(tmp_path: Path) -> None:
    path = parquet(tmp_path / "in.parquet", {"text": ["One.", None]})
    _jsonl(tmp_path / "in.jsonl", [{"text": "One."}])
    assert count_rows(path) == 2
    assert count_rows(tmp_path / "in.jsonl") is None
    assert count_rows(tmp_path / "none.parquet") is None


TRICKY = ["plain", "comma, \"quote\" and 'apostrophe'", "two\nlines", "Zürich – Łódź 平和 🕊", "", " padded "]


@pytest.mark.parametrize("ending", WRITE)
def test_writers_keep_every_character(tmp_path: Path, ending: str) -> None:
    schema = pa.schema([("id", pa.string()), ("text", pa.string())])
    path = tmp_path / "out.part"
    writer = open_writer(path, ending, schema)
    for start in (0, 3):
        texts = TRICKY[start : start + 3]
        writer.write_batch(pa.record_batch([[str(i) for i in range(len(texts))], texts], schema=schema))
    writer.close()
    named = path.rename(tmp_path / f"out{ending}")
    if ending == ".csv":
        with named.open(newline="", encoding="utf-8") as file:
            found = [row["text"] for row in csv.DictReader(file)]
    elif ending == ".jsonl":
        found = [json.loads(line)["text"] for line in named.read_text("utf-8").split("\n")[:-1]]
    else:
        found = pq.read_table(named)["text"].to_pylist()
    assert found == TRICKY


def test_an_unknown_ending_has_no_writer(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="ending"):
        open_writer(tmp_path / "out", ".txt", pa.schema([]))
