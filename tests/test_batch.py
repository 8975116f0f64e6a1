import csv
import json
import math
import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conftest import write
from test_encoder import model_of
from treatystance import Predictor, Statement
from treatystance.artifact import Artifact, load_artifact, save_artifact
from treatystance.batch import Scored, Unit, _start_worker, _worker, score_files, score_schema, score_statements
from treatystance.errors import InputError, ModelReferenceError, TreatystanceError
from treatystance.models.base import Model
from treatystance.models.cascade import CascadeModel, CascadeSettings
from treatystance.models.encoder import EncoderModel
from treatystance.models.linear import LinearModel
from treatystance.statement import DEFAULT_LABELS, LabelSet
from treatystance.tables import Columns

ENDINGS = (".jsonl", ".csv", ".parquet")
SCORES = [f"score_{name}" for name in DEFAULT_LABELS]
TAGS = [f"tag_{name}" for name in DEFAULT_LABELS]
COLUMNS: dict[Unit, list[str]] = {
    "statement": ["id", *SCORES, *TAGS, "uncertain", "model"],
    "sentence": ["id", "sentence", "start", "end", "text", *SCORES, *TAGS, "uncertain", "model"],
}
TEXTS = [
    "Ruritania has decided to leave the Convention. It will go on protecting civilians.",
    "  We remain bound by the treaty;\nwe shall honour it.\n\nOur harvest was good. ",
    'The Minister said: "We shall destroy, without delay, every mine that we hold."',
    "Le traité demeure. Zürich – Łódź 平和 🕊. We help the victims.",
    "...",
]


def read(path: Path) -> list[dict[str, Any]]:
    """Rows with the types that the schema promises, whichever the file format."""
    if path.suffix == ".parquet":
        return list(pq.read_table(path).to_pylist())
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]
    convert: dict[str, Any] = dict.fromkeys(SCORES, float) | {"sentence": int, "start": int, "end": int}
    convert |= dict.fromkeys(TAGS, {"true": True, "false": False}.__getitem__)
    with path.open(newline="", encoding="utf-8") as file:
        return [{k: convert.get(k, str)(v) for k, v in row.items()} for row in csv.DictReader(file)]


def score(source: Path, target: Path, model: Path, unit: Unit = "statement", **options: Any) -> Scored:
    return score_files(source, target, str(model), unit, **{"processes": 1, **options})


def expected(predictor: Predictor, statements: list[Statement], unit: Unit) -> list[dict[str, Any]]:
    rows = []
    for prediction in predictor.predict(statements):
        parts: Iterable[Any] = [prediction] if unit == "statement" else prediction.sentences
        for number, part in enumerate(parts):
            row: dict[str, Any] = {"id": prediction.id}
            if unit == "sentence":
                row |= {"sentence": number, "start": part.start, "end": part.end, "text": part.text}
            row |= {f"score_{name}": value for name, value in part.scores.items()}
            row |= {f"tag_{name}": name in part.tags for name in part.scores}
            rows.append(row | {"uncertain": ";".join(part.uncertain), "model": prediction.model})
    return rows


def assert_same(found: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> None:
    assert len(found) == len(wanted)
    for have, want in zip(found, wanted, strict=True):
        assert list(have) == list(want)
        for key, value in want.items():
            if isinstance(value, float):
                assert math.isclose(have[key], value, rel_tol=1e-6, abs_tol=1e-7), key
            else:
                assert have[key] == value, key


@pytest.fixture(scope="module")
def predictor(model_folder: Path) -> Predictor:
    return Predictor.load(str(model_folder))


@pytest.mark.parametrize("unit", COLUMNS)
@pytest.mark.parametrize("source", ENDINGS)
@pytest.mark.parametrize("target", ENDINGS)
def test_every_format_gives_what_the_predictor_gives(
    tmp_path: Path, model_folder: Path, predictor: Predictor, source: str, target: str, unit: Unit
) -> None:
    rows = [{"id": f"s{i}", "text": text, "government": "POL"} for i, text in enumerate(TEXTS)]
    out = tmp_path / f"out{target}"
    done = score(write(tmp_path / f"in{source}", rows), out, model_folder, unit)
    found = read(out)
    statements = [Statement(row["text"], id=row["id"], government=row["government"]) for row in rows]
    wanted = expected(predictor, statements, unit)
    assert list(found[0]) == COLUMNS[unit]
    assert_same(found, wanted)
    assert done == Scored(len(TEXTS), len(TEXTS), 0, len(wanted))
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([f"in{source}", out.name])


@pytest.mark.parametrize("target", ENDINGS)
def test_offsets_lead_back_to_the_text(tmp_path: Path, model_folder: Path, target: str) -> None:
    source = write(tmp_path / "in.jsonl", [{"text": text} for text in TEXTS])
    out = tmp_path / f"out{target}"
    score(source, out, model_folder, "sentence")
    found = read(out)
    assert len(found) > len(TEXTS)
    for row in found:
        assert TEXTS[int(row["id"]) - 1][row["start"] : row["end"]] == row["text"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_government_that_is_unknown_or_malformed_does_not_end_the_run(
    tmp_path: Path, model_folder: Path, predictor: Predictor, ending: str
) -> None:
    """An empty cell means unknown; a row with a malformed code may be scored or rejected; the others come through."""
    text = "Poland has decided to withdraw from the Convention."
    codes = ["POL", "", "Poland", "FIN"]
    out = tmp_path / "out.jsonl"
    source = write(
        tmp_path / f"in{ending}", [{"id": code or "none", "text": text, "government": code} for code in codes]
    )
    done = score(source, out, model_folder)
    assert done.rows_in == 4
    found = {row["id"]: [row[name] for name in SCORES] for row in read(out)}
    assert set(found) >= {"POL", "none", "FIN"}
    wanted = predictor.predict([Statement(text, government=code or None) for code in ("POL", "", "FIN")])
    for row_id, prediction in zip(("POL", "none", "FIN"), wanted, strict=True):
        assert found[row_id] == pytest.approx(list(prediction.scores.values()), rel=1e-6)
    assert found["POL"] != found["none"]


def test_a_news_report_is_read_as_one_here_too(tmp_path: Path, model_folder: Path, predictor: Predictor) -> None:
    texts = [f"Poland will withdraw from the treaty{end}" for end in (", its minister said.", ", and we with it.")]
    score(write(tmp_path / "in.jsonl", [{"text": text} for text in texts]), tmp_path / "out.jsonl", model_folder)
    wanted = expected(predictor, [Statement(t, id=str(i)) for i, t in enumerate(texts, 1)], "statement")
    assert_same(read(tmp_path / "out.jsonl"), wanted)


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_column_of_kinds_is_used(tmp_path: Path, model_folder: Path, predictor: Predictor, ending: str) -> None:
    text = "Poland has decided to withdraw from the Convention."
    rows = [{"id": kind, "text": text, "kind": kind} for kind in ("wire_report", "speech")]
    score(write(tmp_path / f"in{ending}", rows), tmp_path / "out.jsonl", model_folder)
    found = read(tmp_path / "out.jsonl")
    wanted = [Statement(text, id=kind, kind=kind) for kind in ("wire_report", "speech")]
    assert_same(found, expected(predictor, wanted, "statement"))
    assert found[0][SCORES[0]] != found[1][SCORES[0]]


@pytest.mark.parametrize("unit", COLUMNS)
def test_statements_are_scored_as_columns(predictor: Predictor, unit: Unit) -> None:
    statements = [Statement(text, id=str(i), government="POL") for i, text in enumerate(["", *TEXTS, " "])]
    found = score_statements(predictor, unit, [str(s.id) for s in statements], statements)
    assert found.schema == score_schema(predictor.labels, unit)
    assert_same(found.to_pylist(), expected(predictor, statements, unit))


@pytest.mark.parametrize("unit", COLUMNS)
def test_no_statements_give_no_rows(predictor: Predictor, unit: Unit) -> None:
    found = score_statements(predictor, unit, [], [])
    assert (found.num_rows, found.schema.names) == (0, COLUMNS[unit])


def test_parquet_types(tmp_path: Path, model_folder: Path) -> None:
    source = write(tmp_path / "in.jsonl", [{"text": TEXTS[0]}])
    score(source, tmp_path / "out.parquet", model_folder, "sentence")
    types = {field.name: str(field.type) for field in pq.read_schema(tmp_path / "out.parquet")}
    assert list(types) == COLUMNS["sentence"]
    assert {types[name] for name in SCORES} == {"float"}
    assert {types[name] for name in TAGS} == {"bool"}
    assert {types[name] for name in ("sentence", "start", "end")} == {"int32"}
    assert {types[name] for name in ("id", "text", "uncertain", "model")} == {"string"}


def bad_jsonl() -> bytes:
    good = [json.dumps({"id": i, "text": text}).encode() for i, text in enumerate(TEXTS)]
    bad = [
        b'{"id": 9, "text": null}',
        b'{"text": ""}',
        b'{"text": 7}',
        b'{"words": "We leave."}',
        b"{oops",
        b'{"text": "\xff"}',
        b'{"text": null, "when": NaN}',
    ]
    return b"\n".join(line for pair in zip(bad, [*good, *good], strict=False) for line in pair) + b"\n"


BAD = {
    "in.jsonl": (bad_jsonl(), 7, 7),
    "in.csv": (b"id,text\n1,We leave.\n2\n3,We stay.,more\n4, \n5,We help.\n", 2, 3),
}


@pytest.mark.parametrize("unit", COLUMNS)
@pytest.mark.parametrize("name", BAD)
def test_rejected_rows_are_told_and_counted(tmp_path: Path, model_folder: Path, name: str, unit: Unit) -> None:
    content, scored, rejected = BAD[name]
    source, out = tmp_path / name, tmp_path / "out.jsonl"
    source.write_bytes(content)
    done = score(source, out, model_folder, unit)
    assert (done.rows_in, done.rows_scored, done.rows_rejected) == (scored + rejected, scored, rejected)

    def strict(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    told = (tmp_path / "out.jsonl.rejects.jsonl").read_text("utf-8").splitlines()
    rejects = [json.loads(line, parse_constant=strict) for line in told]
    assert [list(reject) for reject in rejects] == [["file", "row_number", "row", "reason"]] * rejected
    assert {reject["file"] for reject in rejects} == {name}
    numbers = [reject["row_number"] for reject in rejects]
    assert numbers == sorted(numbers)
    assert all(reject["reason"] for reject in rejects)
    for reject in rejects:
        line = content.splitlines()[reject["row_number"] - (name == "in.jsonl")]
        if isinstance(reject["row"], str):
            assert reject["row"] == line.decode("utf-8", "replace")


def test_rejected_parquet_rows_of_every_type_can_be_told(tmp_path: Path, model_folder: Path) -> None:
    import datetime as dt

    rows = [{"text": None, "when": dt.datetime(2025, 3, 18, 12), "raw": b"\xff"}]
    source = tmp_path / "in.parquet"
    schema = pa.schema([("text", pa.string()), ("when", pa.timestamp("us")), ("raw", pa.binary())])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), source)
    assert score(source, tmp_path / "out.csv", model_folder) == Scored(1, 0, 1, 0)
    told = json.loads((tmp_path / "out.csv.rejects.jsonl").read_text("utf-8"))
    assert told["row"]["when"] == "2025-03-18 12:00:00"


@pytest.mark.parametrize("target", ENDINGS)
@pytest.mark.parametrize("unit", COLUMNS)
def test_nothing_to_score_still_gives_a_file_with_columns(
    tmp_path: Path, model_folder: Path, target: str, unit: Unit
) -> None:
    source = write(tmp_path / "in.jsonl", [{"text": None}])
    out = tmp_path / f"out{target}"
    assert score(source, out, model_folder, unit) == Scored(1, 0, 1, 0)
    assert read(out) == []
    if target == ".csv":
        assert next(csv.reader([out.read_text("utf-8")])) == COLUMNS[unit]


@pytest.mark.parametrize("line", ['{"text": "We leave \\ud800."}', '{"text": null, "note": "\\ud800"}'])
@pytest.mark.parametrize("unit", COLUMNS)
def test_half_a_surrogate_pair_does_not_end_the_run(tmp_path: Path, model_folder: Path, line: str, unit: Unit) -> None:
    """JSON can spell what UTF-8 cannot: the row may be scored or rejected, but the others must come through."""
    source, out = tmp_path / "in.jsonl", tmp_path / "out.parquet"
    source.write_text(line + '\n{"text": "We stay.", "id": "sound"}\n')
    done = score(source, out, model_folder, unit)
    assert done.rows_in == 2
    assert "sound" in [row["id"] for row in read(out)]


@pytest.mark.parametrize("unit", COLUMNS)
def test_one_and_two_processes_write_the_same_bytes(tmp_path: Path, model_folder: Path, unit: Unit) -> None:
    rows = [{"text": f"{i}. {TEXTS[i % 3]}" if i % 7 else ""} for i in range(1100)]
    source = write(tmp_path / "in.jsonl", rows)
    outputs = [tmp_path / f"out{n}.jsonl" for n in (1, 2)]
    done = [score(source, out, model_folder, unit, processes=n) for n, out in enumerate(outputs, 1)]
    assert done[0] == done[1]
    assert done[0].rows_rejected == 158
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    rejects = [out.with_name(out.name + ".rejects.jsonl").read_bytes() for out in outputs]
    assert rejects[0] == rejects[1]
    ids = list(dict.fromkeys(row["id"] for row in read(outputs[0])))
    assert ids == [str(i + 1) for i in range(1100) if i % 7]


@pytest.fixture(scope="module", params=["encoder", "cascade"])
def encoder_folder(
    request: pytest.FixtureRequest, tiny_artifact: Artifact, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """An encoder, or a cascade with it, on disk."""
    kind: str = request.param
    encoder = model_of()
    linear = tiny_artifact.model
    assert isinstance(linear, LinearModel)
    one, zero = (1.0,) * 3, (0.0,) * 3
    cascade = CascadeModel(LabelSet(), linear, encoder, CascadeSettings(0.5, one, zero, one, one, zero))
    models: dict[str, Model] = {"encoder": encoder, "cascade": cascade}
    folder = tmp_path_factory.mktemp("model") / kind
    save_artifact(Artifact("tiny", "1", models[kind], tiny_artifact.decision), folder)
    return folder


def test_an_encoder_scores_alike_in_one_and_two_processes(tmp_path: Path, encoder_folder: Path) -> None:
    statements = [Statement(f"{i}. {TEXTS[i % 4]}", id=str(i)) for i in range(600)]
    source = write(tmp_path / "in.jsonl", [{"id": s.id, "text": s.text} for s in statements])
    outputs = [tmp_path / f"out{n}.jsonl" for n in (1, 2)]
    done = [score(source, out, encoder_folder, "sentence", processes=n) for n, out in enumerate(outputs, 1)]
    assert done[0] == done[1]
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    found = read(outputs[0])
    assert len({row[SCORES[0]] for row in found}) >= 4
    assert_same(found, expected(Predictor.load(str(encoder_folder)), statements, "sentence"))


def worker_settings() -> tuple[int | None, str | None]:
    return _worker["predictor"].artifact.model.threads, os.environ.get("TOKENIZERS_PARALLELISM")


def test_a_worker_process_takes_one_core(encoder_folder: Path) -> None:
    model = load_artifact(encoder_folder).model
    assert isinstance(model, EncoderModel | CascadeModel)
    assert model.threads is None, "a process of its own takes all"
    with ProcessPoolExecutor(1, get_context("spawn"), _start_worker, (encoder_folder, "statement")) as pool:
        assert pool.submit(worker_settings).result(timeout=60) == (1, "false")


@pytest.mark.parametrize("ending", ENDINGS)
def test_ids(tmp_path: Path, model_folder: Path, ending: str) -> None:
    rows = [{"id": "a", "key": "x", "text": "We leave."}, {"id": "b", "key": "y", "text": "We stay."}]
    source, out = write(tmp_path / f"in{ending}", rows), tmp_path / "out.jsonl"
    for columns, ids in (
        (Columns(), ["a", "b"]),
        (Columns(id="key", id_required=True), ["x", "y"]),
        (Columns(id="none"), ["1", "2"]),
    ):
        score(source, out, model_folder, columns=columns)
        assert [row["id"] for row in read(out)] == ids


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_named_id_column_must_be_there(tmp_path: Path, model_folder: Path, ending: str) -> None:
    source = write(tmp_path / f"in{ending}", [{"text": "We leave."}])
    with pytest.raises(InputError, match="'key' is missing"):
        score(source, tmp_path / "out.csv", model_folder, columns=Columns(id="key", id_required=True))
    assert sorted(p.name for p in tmp_path.iterdir()) == [source.name]


def test_a_folder_into_a_folder(tmp_path: Path, model_folder: Path, predictor: Predictor) -> None:
    for name in ("a.jsonl", "b.csv", "deep/c.parquet"):
        write(tmp_path / "in" / name, [{"id": name, "text": text} for text in TEXTS])
    write(tmp_path / "in" / "notes.jsonl", [{"id": "n", "text": ""}])
    (tmp_path / "in" / "readme.txt").write_text("not a table")
    out = tmp_path / "out"
    done = score(tmp_path / "in", out, model_folder)
    assert (done.rows_in, done.rows_scored, done.rows_rejected) == (16, 15, 1)
    written = sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file())
    assert written == ["a.jsonl", "b.csv", "deep/c.parquet", "notes.jsonl", "notes.jsonl.rejects.jsonl"]
    for name in ("a.jsonl", "b.csv", "deep/c.parquet"):
        assert_same(read(out / name), expected(predictor, [Statement(t, id=name) for t in TEXTS], "statement"))


@pytest.mark.parametrize("target", ENDINGS)
def test_a_folder_into_one_file(tmp_path: Path, model_folder: Path, target: str) -> None:
    for i, ending in enumerate(ENDINGS):
        write(tmp_path / "in" / f"{i}{ending}", [{"id": f"{i}-{k}", "text": t} for k, t in enumerate(TEXTS)])
    out = tmp_path / f"all{target}"
    assert score(tmp_path / "in", out, model_folder) == Scored(15, 15, 0, 15)
    assert [row["id"] for row in read(out)] == [f"{i}-{k}" for i in range(3) for k in range(5)]


@pytest.mark.parametrize("target", ENDINGS)
def test_rows_of_joined_files_are_told_apart(tmp_path: Path, model_folder: Path, target: str) -> None:
    for ending in ENDINGS:
        rows = [{"text": text} for text in ("We leave.", "", "We stay.")]
        write(tmp_path / "in" / f"a{ending}", rows)
    out = tmp_path / f"all{target}"
    assert score(tmp_path / "in", out, model_folder) == Scored(9, 6, 3, 6)
    names = sorted(f"a{ending}" for ending in ENDINGS)
    assert [row["id"] for row in read(out)] == [f"{name}:{number}" for name in names for number in (1, 3)]
    told = [json.loads(line) for line in out.with_name(out.name + ".rejects.jsonl").read_text("utf-8").splitlines()]
    assert [(reject["file"], reject["row_number"]) for reject in told] == [(name, 2) for name in names]


def test_a_single_file_in_a_folder_needs_no_name(tmp_path: Path, model_folder: Path) -> None:
    write(tmp_path / "in" / "a.jsonl", [{"text": "We leave."}])
    score(tmp_path / "in", tmp_path / "all.jsonl", model_folder)
    assert [row["id"] for row in read(tmp_path / "all.jsonl")] == ["1"]


def test_a_folder_without_tables_is_refused(tmp_path: Path, model_folder: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").touch()
    with pytest.raises(InputError, match="no file here ends in"):
        score(tmp_path / "in", tmp_path / "out", model_folder)


def damaged_csv(path: Path) -> Path:
    path = path.with_suffix(".csv")
    path.write_bytes(b"text\n" + b"We leave.\n" * 1500 + b"\xff\n")
    return path


def damaged_parquet(path: Path) -> Path:
    path = path.with_suffix(".parquet")
    table = pa.table({"text": [f"We leave {i}." for i in range(1500)]})
    pq.write_table(table, path, row_group_size=500, compression="none", use_dictionary=False)
    offset = pq.read_metadata(path).row_group(2).column(0).data_page_offset
    content = bytearray(path.read_bytes())
    content[offset : offset + 64] = b"\xff" * 64
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(("target", "processes"), [(".jsonl", 1), (".csv", 1), (".parquet", 1), (".parquet", 2)])
@pytest.mark.parametrize("damage", [damaged_csv, damaged_parquet])
def test_input_damaged_midway_leaves_the_old_output(
    tmp_path: Path, model_folder: Path, damage: Any, target: str, processes: int
) -> None:
    source, out = damage(tmp_path / "in"), tmp_path / f"out{target}"
    with pytest.raises(InputError, match=source.name):
        score(source, out, model_folder, processes=processes)
    assert [p.name for p in tmp_path.iterdir()] == [source.name]
    out.write_bytes(b"old")
    rejects = tmp_path / f"{out.name}.rejects.jsonl"
    rejects.write_bytes(b"old rejects")
    with pytest.raises(InputError):
        score(source, out, model_folder, processes=processes)
    assert (out.read_bytes(), rejects.read_bytes()) == (b"old", b"old rejects")
    assert len(list(tmp_path.iterdir())) == 3


class Full:
    """A disk that is full when a batch is written, or when the file is closed."""

    def __init__(self, on_close: bool) -> None:
        self.on_close = on_close

    def write_batch(self, batch: Any) -> None:
        if not self.on_close:
            raise OSError(28, "No space left on device")

    def close(self) -> None:
        if self.on_close:
            raise OSError(28, "No space left on device")


@pytest.mark.parametrize("on_close", [False, True])
def test_a_full_disk_leaves_nothing(
    tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch, on_close: bool
) -> None:
    source = write(tmp_path / "in.jsonl", [{"text": "We leave."}, {"text": None}])
    monkeypatch.setattr("treatystance.batch.open_writer", lambda *arguments: Full(on_close))
    with pytest.raises(TreatystanceError, match="No space left on device") as caught:
        score(source, tmp_path / "out.csv", model_folder)
    assert caught.value.exit_code == 1
    assert [p.name for p in tmp_path.iterdir()] == ["in.jsonl"]


def test_an_interrupt_leaves_nothing(tmp_path: Path, model_folder: Path) -> None:
    def interrupted(rows: int, total: int | None) -> None:
        raise KeyboardInterrupt

    source = write(tmp_path / "in.jsonl", [{"text": "We leave."}] * 600)
    with pytest.raises(KeyboardInterrupt):
        score(source, tmp_path / "out.csv", model_folder, progress=interrupted)
    assert [p.name for p in tmp_path.iterdir()] == ["in.jsonl"]


def test_progress_sees_every_row_and_the_total(tmp_path: Path, model_folder: Path) -> None:
    seen: list[tuple[int, int | None]] = []

    def watch(rows: int, total: int | None) -> None:
        seen.append((rows, total))

    for name, total in (("in.parquet", 600), ("in.jsonl", None)):
        seen.clear()
        source = write(tmp_path / name, [{"text": "We leave."}] * 600)
        score(source, tmp_path / "out.csv", model_folder, progress=watch)
        assert seen == [(512, total), (88, total)]


def test_a_stale_rejects_file_goes(tmp_path: Path, model_folder: Path) -> None:
    out = tmp_path / "out.csv"
    score(write(tmp_path / "in.jsonl", [{"text": None}]), out, model_folder)
    assert (tmp_path / "out.csv.rejects.jsonl").exists()
    score(write(tmp_path / "in.jsonl", [{"text": "We leave."}]), out, model_folder)
    assert not (tmp_path / "out.csv.rejects.jsonl").exists()


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("out.txt", "ending must be one of"),
        ("out", "ending must be one of"),
        ("folder.csv", "is a folder"),
        ("file/out.csv", "cannot be written"),
        ("none.csv/out.csv/x.csv", ""),
        ("taken.csv", "is a folder"),
    ],
)
def test_bad_output_places(tmp_path: Path, model_folder: Path, target: str, message: str) -> None:
    source = write(tmp_path / "in.jsonl", [{"text": "We leave."}])
    (tmp_path / "file").touch()
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "taken.csv.rejects.jsonl").mkdir()
    before = set(tmp_path.rglob("*"))
    if not message:  # folders that are missing are made
        assert score(source, tmp_path / target, model_folder).rows_out == 1
        return
    with pytest.raises(InputError, match=message):
        score(source, tmp_path / target, model_folder)
    assert set(tmp_path.rglob("*")) == before


def test_bad_inputs(tmp_path: Path, model_folder: Path) -> None:
    (tmp_path / "in.txt").write_text("We leave.")
    with pytest.raises(InputError, match="no such file or folder"):
        score(tmp_path / "none.csv", tmp_path / "out.csv", model_folder)
    with pytest.raises(InputError, match="ending must be one of"):
        score(tmp_path / "in.txt", tmp_path / "out.csv", model_folder)
    with pytest.raises(ModelReferenceError):
        score(tmp_path / "in.txt", tmp_path / "out.csv", tmp_path / "no-model")
    assert [p.name for p in tmp_path.iterdir()] == ["in.txt"]


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("in/a.jsonl", "in/a.jsonl", "is the input"),
        ("in/a.jsonl", "in/../in/a.jsonl", "is the input"),
        ("in/a.jsonl", "link/a.jsonl", "is the input"),
        ("in/a.jsonl", "link.jsonl", "is the input"),
        ("in", "in", "lies in the folder"),
        ("in", "in/../in/a.jsonl", "lies in the folder"),
        ("in", "in/new/out", "lies in the folder"),
        ("in", "in/new.jsonl", "lies in the folder"),
        ("in", "link/new.jsonl", "lies in the folder"),
    ],
)
def test_the_input_is_never_overwritten(
    tmp_path: Path, model_folder: Path, source: str, target: str, message: str
) -> None:
    path = write(tmp_path / "in" / "a.jsonl", [{"text": "We leave."}, {"text": None}])
    (tmp_path / "link").symlink_to("in")
    (tmp_path / "link.jsonl").symlink_to("in/a.jsonl")
    before = path.read_bytes()
    with pytest.raises(InputError, match=message):
        score(tmp_path / source, tmp_path / target, model_folder)
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.jsonl", "in", "link", "link.jsonl"]


@pytest.mark.parametrize("bad_row", [False, True])
def test_the_input_is_not_overwritten_by_the_rejects_either(tmp_path: Path, model_folder: Path, bad_row: bool) -> None:
    """As where somebody mends the rejects of a run and scores them."""
    rows: list[dict[str, Any]] = [{"text": "We leave."}, *([{"text": None}] if bad_row else [])]
    source = write(tmp_path / "out.csv.rejects.jsonl", rows)
    before = source.read_bytes()
    with pytest.raises(InputError):
        score(source, tmp_path / "out.csv", model_folder)
    assert source.read_bytes() == before
