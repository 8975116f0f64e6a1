"""Tables of statements in and of scores out: JSON Lines, CSV and Parquet by file ending, read and written in chunks."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from treatystance.errors import InputError
from treatystance.statement import Statement, is_government

__all__ = ["ENDINGS", "Chunk", "Columns", "Reject", "TableWriter", "count_rows", "open_writer", "read_chunks"]

ENDINGS = (".jsonl", ".csv", ".parquet")
_CHUNK_ROWS = 512
_CHUNK_CHARS = 4_000_000


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of the columns to read. Without `id_required` a row without an id takes its number (from 1) for one."""

    text: str = "text"
    id: str = "id"
    id_required: bool = False
    government: str = "government"
    kind: str = "kind"


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that cannot be scored: the file, the row's number there (from 1), its content, and why."""

    file: str
    row_number: int
    row: Any
    reason: str

    def to_json(self) -> str:
        """One line of JSON; what JSON cannot hold is written as text."""
        record = {"file": self.file, "row_number": self.row_number, "row": _plain(self.row), "reason": self.reason}
        return json.dumps(record, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if value is None or isinstance(value, (str, bool, int)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return str(value)


@dataclass(slots=True)
class Chunk:
    """Consecutive rows of a file: those to score as columns, and the rejects among them."""

    file: str
    joined: bool = False  # ids of rows without one name the file too
    ids: list[str] = field(default_factory=list)
    statements: list[Statement] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    chars: int = 0

    @property
    def rows(self) -> int:
        """Rows of the input that the chunk covers."""
        return len(self.statements) + len(self.rejects)

    def add(self, number: int, record: dict[str, Any], columns: Columns) -> None:
        """Take a row in, or reject it."""
        text = record.get(columns.text)
        row_id = record.get(columns.id)
        if columns.text not in record:
            reason = f"column {columns.text!r} is missing"
        elif text is None:
            reason = f"{columns.text!r} is null"
        elif not isinstance(text, str):
            reason = f"{columns.text!r} is not a string but {type(text).__name__}"
        elif not text.strip():
            reason = f"{columns.text!r} is empty"
        elif not _encodable(text) or not _encodable(str(row_id)):
            reason = "half of a surrogate pair, which no UTF-8 file can hold"
        elif columns.id_required and row_id is None:
            reason = f"{columns.id!r} is missing"
        else:
            government, kind = record.get(columns.government), record.get(columns.kind)
            self.ids.append(
                str(row_id) if row_id is not None else f"{self.file}:{number}" if self.joined else str(number)
            )
            # A government or kind that we cannot read does not stop a text from being scored.
            self.statements.append(
                Statement(
                    text=text,
                    government=government if is_government(government) else None,
                    kind=kind if isinstance(kind, str) else None,
                )
            )
            self.chars += len(text)
            return
        self.reject(number, record, reason)

    def reject(self, number: int, row: Any, reason: str) -> None:
        """Note a row that cannot be scored."""
        self.rejects.append(Reject(self.file, number, row, reason))


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_chunks(path: Path, columns: Columns, joined: bool = False) -> Iterator[Chunk]:
    """Read a table in chunks of bounded size; `joined` says that rows of several files will stand together.

    Raises:
        InputError: the file is missing, empty, binary, of an unknown ending, or lacks a column.
    """
    readers = {".jsonl": _read_jsonl, ".csv": _read_csv, ".parquet": _read_parquet}
    if path.suffix not in readers:
        raise InputError(f"{path}: the ending must be one of {', '.join(ENDINGS)}")
    try:
        if path.stat().st_size == 0:
            raise InputError(f"{path}: empty; nothing to score")
        yield from readers[path.suffix](path, columns, joined)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None


def _require(path: Path, names: Any, columns: Columns) -> None:
    wanted = [columns.text] + ([columns.id] if columns.id_required else [])
    for name in wanted:
        if name not in names:
            listed = ", ".join(map(str, names))[:200]
            option = "--text-column" if name == columns.text else "--id-column"
            raise InputError(f"{path}: column {name!r} is missing (there are: {listed}); name it with {option}")


def _full(chunk: Chunk) -> bool:
    return chunk.rows >= _CHUNK_ROWS or chunk.chars >= _CHUNK_CHARS


def _read_jsonl(path: Path, columns: Columns, joined: bool = False) -> Iterator[Chunk]:
    chunk = Chunk(path.name, joined)
    with path.open("rb") as lines:
        start = lines.read(4096)
        if b"\0" in start:
            raise InputError(f"{path}: binary, not JSON Lines")
        lines.seek(3 if start.startswith(b"\xef\xbb\xbf") else 0)
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line.decode("utf-8"))
                if not isinstance(record, dict):
                    raise TypeError(f"a JSON object is wanted, not {type(record).__name__}")
            except UnicodeDecodeError as error:
                reason = f"not UTF-8 at byte {error.start + 1} of the line"
                chunk.reject(number, line.decode("utf-8", "replace").rstrip("\n"), reason)
            except (TypeError, ValueError, RecursionError) as error:
                reason = str(error) if isinstance(error, TypeError) else f"not JSON ({error})"
                chunk.reject(number, line.decode("utf-8").rstrip("\n"), reason)
            else:
                chunk.add(number, record, columns)
            if _full(chunk):
                yield chunk
                chunk = Chunk(path.name, joined)
    if chunk.rows:
        yield chunk


def _read_csv(path: Path, columns: Columns, joined: bool = False) -> Iterator[Chunk]:
    chunk = Chunk(path.name, joined)
    csv.field_size_limit(2**31 - 1)
    with path.open("rb") as probe:
        if b"\0" in probe.read(4096):
            raise InputError(f"{path}: binary, not CSV")
    with path.open(encoding="utf-8-sig", newline="") as lines:
        rows = csv.reader(lines, strict=True)
        number = 0
        try:
            header = next(rows, [])
            _require(path, header, columns)
            for number, values in enumerate(rows, 1):
                if not values:
                    continue
                if len(values) == len(header):
                    chunk.add(number, dict(zip(header, values, strict=True)), columns)
                else:
                    reason = f"{len(values)} fields, but the header has {len(header)}"
                    chunk.reject(number, values, reason)
                if _full(chunk):
                    yield chunk
                    chunk = Chunk(path.name, joined)
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: not UTF-8 after row {number} ({error.reason}); convert it to UTF-8") from None
        except csv.Error as error:
            raise InputError(f"{path}: not readable CSV after row {number} ({error})") from None
    if chunk.rows:
        yield chunk


def _read_parquet(path: Path, columns: Columns, joined: bool = False) -> Iterator[Chunk]:
    import pyarrow as pa

    with _parquet_file(path) as file:
        _require(path, file.schema_arrow.names, columns)
        number = 0
        chunk = Chunk(path.name, joined)
        try:
            for batch in file.iter_batches(batch_size=_CHUNK_ROWS):
                for record in batch.to_pylist():
                    number += 1
                    chunk.add(number, record, columns)
                    if _full(chunk):
                        yield chunk
                        chunk = Chunk(path.name, joined)
        except pa.ArrowException as error:
            raise InputError(f"{path}: damaged after row {number} ({str(error).splitlines()[0]})") from None
    if chunk.rows:
        yield chunk


def _parquet_file(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except pa.ArrowException as error:
        raise InputError(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]})") from None


def count_rows(path: Path) -> int | None:
    """Number of rows where the file tells it cheaply (Parquet), else None."""
    if path.suffix != ".parquet" or not path.is_file() or not path.stat().st_size:
        return None
    with _parquet_file(path) as file:
        return int(file.metadata.num_rows)


class TableWriter(Protocol):
    """Takes Arrow record batches of one schema."""

    def write_batch(self, batch: Any) -> None:
        """Append rows."""
        ...

    def close(self) -> None:
        """Finish the file."""
        ...


class _JsonlWriter:
    def __init__(self, path: Path) -> None:
        self._out = path.open("w", encoding="utf-8")

    def write_batch(self, batch: Any) -> None:
        self._out.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in batch.to_pylist())

    def close(self) -> None:
        self._out.close()


def open_writer(path: Path, ending: str, schema: Any) -> TableWriter:
    """A writer for the format of `ending` at `path`."""
    if ending == ".parquet":
        import pyarrow.parquet as pq

        writer: TableWriter = pq.ParquetWriter(path, schema, compression="zstd")
        return writer
    if ending == ".csv":
        from pyarrow import csv as arrow_csv

        table: TableWriter = arrow_csv.CSVWriter(path, schema)
        return table
    if ending == ".jsonl":
        return _JsonlWriter(path)
    raise InputError(f"{path}: the ending must be one of {', '.join(ENDINGS)}")
