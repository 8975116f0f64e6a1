"""`treatystance.corpus.draw`: what is drawn for annotation and with which probability, worked out by hand."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from conftest import write
from treatystance import cli
from treatystance.artifact import load_artifact
from treatystance.corpus.draw import draw
from treatystance.corpus.standoff import sentence_sha256
from treatystance.errors import InputError
from treatystance.registry import resolve

MODEL = "tiny/1"
THRESHOLDS = {"out": 0.5, "in": 0.25}
ENDINGS = (".parquet", ".jsonl", ".csv")


def scored(place: str, text: str, out: float, stay: float, model: str = MODEL) -> dict[str, Any]:
    """A row of a table of scores; its sentence is that many of its document, and begins at ten times as many."""
    doc_id, number = place.split()
    row = {"id": doc_id, "sentence": int(number), "start": 10 * int(number), "end": 10 * int(number) + len(text)}
    row |= {"text": text, "score_out": out, "score_in": stay, "tag_out": out >= 0.5, "tag_in": stay >= 0.25}
    return row | {"uncertain": "", "model": model}


ROWS = [
    scored("A 0", "We leave the pact.", 0.875, 0.125),
    scored("A 1", "Rain fell.", 0.125, 0.0625),
    scored("A 2", "we LEAVE\n the pact.", 0.75, 0.125),
    scored("A 3", "We stay.", 0.25, 0.875),
    scored("B 0", "Boats sail.", 0.5, 0.5),
    scored("B 1", "We may go.", 0.4375, 0.25),
    scored("B 2", "We may not go.", 0.5625, 0.25),
    scored("B 3", "Nobody came.", 0.0625, 0.03125),
]


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write(tmp_path / "scores.jsonl", ROWS)


def drawn(table: Path, **options: Any) -> list[dict[str, Any]]:
    """The rows that a draw writes; its counts are checked on the way."""
    out = table.with_name("out.jsonl")
    out.unlink(missing_ok=True)
    counts = draw(table, out, thresholds=THRESHOLDS, model=MODEL, **options)
    rows = read(out)
    assert Counter(counts) == Counter(row["stratum"] for row in rows)
    return rows


def by_stratum(rows: list[dict[str, Any]]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(row["stratum"], set()).add(f"{row['doc_id']} {row['start'] // 10}")
    return found


def certain(rows: list[dict[str, Any]]) -> dict[str, set[str]]:
    return {stratum: places for stratum, places in by_stratum(rows).items() if stratum != "random"}


def many(path: Path) -> Path:
    """Forty sentences; the score of "in" is 1 for eight of them, among these two of the five highest of "out"."""
    rows = [scored(f"D{i // 8} {i % 8}", f"Sentence {i}.", i / 64, float(i % 5 == 4)) for i in range(40)]
    return write(path, rows)


# --- what is drawn ---


def test_a_row_says_all_that_an_annotator_needs(table: Path) -> None:
    assert sorted(drawn(table, top={"out": 1, "in": 1}), key=lambda row: str(row["start"])) == [
        {
            "doc_id": "A",
            "start": 0,
            "end": 18,
            "sha256": sentence_sha256("We leave the pact."),
            "text": "We leave the pact.",
            "prev": None,
            "next": "Rain fell.",
            "labels": [],
            "stratum": "top_out",
            "probability": 1.0,
        },
        {
            "doc_id": "A",
            "start": 30,
            "end": 38,
            "sha256": sentence_sha256("We stay."),
            "text": "We stay.",
            "prev": "we LEAVE\n the pact.",
            "next": None,  # the next row is another document's
            "labels": [],
            "stratum": "top_in",
            "probability": 1.0,
        },
    ]


def test_the_highest_scores_without_repeats(table: Path) -> None:
    assert by_stratum(drawn(table, top={"out": 2})) == {"top_out": {"A 0", "B 2"}}  # A 2 repeats A 0


def test_ties_go_to_the_earlier_row(table: Path) -> None:
    # 0.4375 and 0.5625 are as far from 0.5; of "in", two rows lie on 0.25 and two an eighth below.
    assert by_stratum(drawn(table, unsure={"out": 2})) == {"unsure_out": {"B 0", "B 1"}}
    assert by_stratum(drawn(table, unsure={"in": 3})) == {"unsure_in": {"B 1", "B 2", "A 0"}}
    assert by_stratum(drawn(table, top={"in": 3})) == {"top_in": {"A 3", "B 0", "B 1"}}
    texts = {row["text"] for row in drawn(many(table.with_name("many.csv")), top={"in": 10})}
    assert texts == {f"Sentence {i}." for i in (4, 9, 14, 19, 24, 29, 34, 39, 0, 1)}


def test_what_is_taken_already_does_not_count_for_the_next(table: Path) -> None:
    found = by_stratum(drawn(table, unsure={"out": 2}, top={"in": 2, "out": 2}))
    assert found == {"top_in": {"A 3", "B 0"}, "top_out": {"A 0", "B 2"}, "unsure_out": {"B 1", "A 1"}}


def test_more_than_there_are_takes_all_there_are(table: Path) -> None:
    every = {f"{row['id']} {row['sentence']}" for row in ROWS}
    assert by_stratum(drawn(table, random=10**30)) == {"random": every}
    assert by_stratum(drawn(table, top={"out": 9})) == {"top_out": every - {"A 2"}}
    rows = drawn(table, random=9, top={"out": 2}, unsure={"out": 9})
    assert by_stratum(rows) == {
        "top_out": {"A 0", "B 2"},
        "unsure_out": every - {"A 0", "A 2", "B 2"},
        "random": {"A 2"},
    }
    assert {row["probability"] for row in rows} == {1.0}


def test_a_stratum_that_finds_nothing_counts_zero(table: Path) -> None:
    counts = draw(table, table.with_name("out.jsonl"), top={"out": 7, "in": 1})
    assert counts == {"top_out": 7, "top_in": 0}


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_format_of_the_table_does_not_matter(table: Path, ending: str) -> None:
    other = write(table.with_name(f"other{ending}"), [{**row, "note": 1} for row in ROWS])
    wanted = {"random": 3, "top": {"out": 1}, "unsure": {"in": 1}, "seed": 5}
    assert drawn(other, **wanted) == drawn(table, **wanted)


@pytest.mark.parametrize("ending", [".jsonl", ".csv"])
def test_a_table_larger_than_a_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    wanted = {"random": 9, "top": {"out": 5}}
    rows = [scored(f"D{i // 8} {i % 8}", f"Sentence\n\n{i}.", i / 64, 0) for i in range(40)]
    whole = drawn(write(tmp_path / "whole.parquet", rows), **wanted)
    monkeypatch.setattr("treatystance.corpus.draw._BLOCK_BYTES", 256)  # a row or two
    assert drawn(write(tmp_path / f"t{ending}", rows), **wanted) == whole


def test_a_number_as_id_stays_as_it_is_written(tmp_path: Path) -> None:
    for ending in ENDINGS:
        rows = [{**row, "id": "2020-01-01" if row["id"] == "A" else "007"} for row in ROWS]
        assert {row["doc_id"] for row in drawn(write(tmp_path / f"t{ending}", rows), random=8)} == {"2020-01-01", "007"}


def test_a_sentence_that_the_table_lacks_is_no_neighbour(tmp_path: Path) -> None:
    rows = drawn(write(tmp_path / "t.csv", [ROWS[0], *ROWS[2:4], scored("B 4", "Tea came.", 0, 0)]), random=4)
    around = {f"{row['doc_id']} {row['start'] // 10}": (row["prev"], row["next"]) for row in rows}
    assert around == {
        "A 0": (None, None),
        "A 2": (None, "We stay."),
        "A 3": ("we LEAVE\n the pact.", None),
        "B 4": (None, None),
    }


# --- what is not ---


def test_excluded_rows_are_not_drawn_and_their_texts_only_at_random(table: Path) -> None:
    done = write(table.with_name("done.jsonl"), [{"doc_id": "A", "start": 0}, {"doc_id": "B", "start": 21}])
    left = {"A 1", "A 2", "A 3", "B 0", "B 1", "B 2", "B 3"}
    assert by_stratum(drawn(table, random=8, exclude=[done])) == {"random": left}
    assert by_stratum(drawn(table, top={"out": 1}, exclude=[done])) == {"top_out": {"B 2"}}
    assert {row["probability"] for row in drawn(table, random=2, exclude=[done])} == {2 / 7}


@pytest.mark.parametrize(
    ("doc_id", "row", "excluded"),
    [
        ("ungdc:A", {"corpus": "ungdc", "doc_id": "A"}, True),
        ("ungdc:A", {"doc_id": "ungdc:A"}, True),
        ("A", {"corpus": "ungdc", "doc_id": "A"}, True),
        ("7", {"doc_id": 7}, True),
        ("ungdc:A", {"corpus": "whitehouse", "doc_id": "A"}, False),
        ("ungdc:A", {"doc_id": "A"}, False),
        ("A", {"doc_id": "a"}, False),
    ],
)
def test_documents_are_known_with_and_without_their_corpus(
    tmp_path: Path, doc_id: str, row: dict[str, Any], excluded: bool
) -> None:
    table = write(tmp_path / "t.parquet", [{**row, "id": doc_id} for row in ROWS[:2]])
    done = write(tmp_path / "done.jsonl", [{**row, "start": 10}])
    assert len(drawn(table, random=2, exclude=[done])) == (1 if excluded else 2)


def test_texts_that_excluded_rows_carry_count_as_drawn(table: Path) -> None:
    done = write(table.with_name("done.jsonl"), [{"doc_id": "Z", "start": 0, "text": "We leave  THE pact."}])
    assert by_stratum(drawn(table, top={"out": 1}, exclude=[done])) == {"top_out": {"B 2"}}


def test_a_draw_can_be_excluded_from_the_next(table: Path) -> None:
    first = drawn(table, random=2, top={"out": 2}, seed=1)
    done = write(table.with_name("done.jsonl"), first)
    second = drawn(table, random=8, exclude=[done, "package:annotations/development.jsonl"])
    assert len(first) + len(second) == len(ROWS)
    assert not {row["sha256"] for row in first} & {row["sha256"] for row in second}


# --- chance ---


def test_the_seed_decides(table: Path) -> None:
    def bytes_of(**options: Any) -> bytes:
        drawn(table, **options)
        return table.with_name("out.jsonl").read_bytes()

    assert bytes_of(random=3, seed=1) == bytes_of(random=3, seed=1)
    assert len({bytes_of(random=3, seed=seed) for seed in range(9)}) > 1
    assert len({bytes_of(random=8, seed=seed) for seed in range(9)}) > 1, "the order too"


def test_the_sample_and_the_certain_rows_do_not_move_one_another(table: Path) -> None:
    texts = set()
    for seed in range(30):
        sample = by_stratum(drawn(table, random=3, seed=seed))["random"]
        rows = drawn(table, random=3, top={"out": 2}, unsure={"out": 1}, seed=seed)
        # Also where the sample holds A 2, whose text A 0 repeats.
        assert certain(rows) == {"top_out": {"A 0", "B 2"}, "unsure_out": {"B 0"}}
        assert by_stratum(rows).get("random", set()) == sample - {"A 0", "B 2", "B 0"}
        assert {row["probability"] for row in rows if row["stratum"] == "random"} <= {3 / 8}
        assert {row["probability"] for row in rows if row["stratum"] != "random"} == {1.0}
        texts |= sample
    assert len(texts) == len(ROWS)


def test_the_place_of_a_row_does_not_tell_its_stratum(table: Path) -> None:
    first = Counter(drawn(table, random=8, top={"out": 4}, seed=seed)[0]["stratum"] for seed in range(64))
    assert min(first["random"], first["top_out"]) > 16  # of 64, with standard deviation 4 around 32


def test_the_weights_of_a_sample_add_up_to_the_population(tmp_path: Path) -> None:
    table = many(tmp_path / "t.parquet")
    times: Counter[str] = Counter()
    for seed in range(160):
        rows = drawn(table, random=10, seed=seed)
        assert sum(1 / row["probability"] for row in rows) == 40
        times.update(row["text"] for row in rows)
    # Each is drawn with probability 1/4: 40 times of 160, with standard deviation 5.5.
    assert len(times) == 40
    assert min(times.values()) > 40 - 4 * 5.5
    assert max(times.values()) < 40 + 4 * 5.5


def test_weighted_rows_of_all_strata_estimate_totals_without_bias(tmp_path: Path) -> None:
    table = many(tmp_path / "t.parquet")
    totals, hits = [], []
    for seed in range(160):
        rows = drawn(table, random=10, top={"out": 5}, seed=seed)
        totals.append(sum(1 / row["probability"] for row in rows))
        hits.append(sum(1 / row["probability"] for row in rows if row["text"][-2] in "49"))
    # 5 + 4 K, K of the hypergeometric distribution (35 of 40, 10 drawn): variance 10 * 7/8 * 1/8 * 30/39 = 0.84.
    assert sum(totals) / 160 == pytest.approx(40, abs=4 * 4 * (0.84 / 160) ** 0.5)
    # Sentences 4, 9, ... 39, of which 39 is certain: 1 + 4 K, 7 of 40: variance 10 * 7/40 * 33/40 * 30/39 = 1.11.
    assert sum(hits) / 160 == pytest.approx(8, abs=4 * 4 * (1.11 / 160) ** 0.5)


# --- the command ---


@pytest.fixture(scope="module")
def bundled() -> dict[str, Any]:
    artifact = load_artifact(resolve("bundled"))
    return {"name": artifact.full_name, **dict(zip(artifact.labels.names, artifact.decision.threshold, strict=True))}


def bundled_rows(bundled: dict[str, Any]) -> list[dict[str, Any]]:
    """Four sentences: the last two are near the threshold of `reaffirmation`, the first is far above."""
    near = bundled["reaffirmation"]
    rows = [scored(f"A {i}", f"Sentence {i}.", 0, 0, bundled["name"]) for i in range(4)]
    names = [name for name in bundled if name != "name"]
    rest = [{key: value for key, value in row.items() if not key.endswith(("_out", "_in"))} for row in rows]
    values = (0.99, 0.0, near - 0.03, near + 0.02)
    return [{**row, **{f"score_{name}": value for name in names}} for row, value in zip(rest, values, strict=True)]


@pytest.fixture
def call(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = cli.main(["corpus", "draw", *arguments])
        except SystemExit as end:
            code = int(end.code or 0)
        return code, *capsys.readouterr()

    return run


def test_the_command_takes_the_threshold_of_the_model(call: Any, bundled: dict[str, Any]) -> None:
    write(Path("s.csv"), bundled_rows(bundled))
    write(Path("done.jsonl"), [{"corpus": "c", "doc_id": "A", "start": 10}])
    tags = "--top reaffirmation=1 --unsure reaffirmation=1 intent_to_withdraw=1"
    code, out, err = call("s.csv", "new/o.jsonl", *tags.split(), "--exclude", "done.jsonl", "--random", "9")
    assert (code, out) == (0, "")
    strata = ("top_reaffirmation: 1", "unsure_reaffirmation: 1", "unsure_intent_to_withdraw: 1", "random: 0")
    assert err == "".join(f"{stratum} rows\n" for stratum in strata)
    found = by_stratum(read(Path("new/o.jsonl")))
    assert (found["top_reaffirmation"], found["unsure_reaffirmation"]) == ({"A 0"}, {"A 3"})


def test_the_command_reads_what_score_writes(call: Any) -> None:
    text = "Ruritania will leave the Convention.\nOn the same day, it rained. We protect  civilians."
    write(Path("in.jsonl"), [{"id": "1", "text": text}, {"id": "2", "text": "Boats sail."}])
    assert cli.main(["score", "in.jsonl", "s.parquet", "--unit", "sentence", "--processes", "1"]) == 0
    code, _, err = call(
        "s.parquet", "o.jsonl", "--random", "2", "--unsure", "reaffirmation=1", "--top", "reaffirmation=9"
    )
    assert (code, err) == (0, "top_reaffirmation: 4 rows\nunsure_reaffirmation: 0 rows\nrandom: 0 rows\n")
    rows = sorted(read(Path("o.jsonl")), key=lambda row: (row["doc_id"], row["start"]))
    assert [row["text"] for row in rows[:3]] == [text[row["start"] : row["end"]] for row in rows[:3]]
    assert [row["prev"] for row in rows] == [None, rows[0]["text"], rows[1]["text"], None]
    assert [row["next"] for row in rows] == [rows[1]["text"], rows[2]["text"], None, None]


GOOD = json.dumps({**ROWS[0], "id": "A"})
BAD = {
    "nothing asked for": ("s.jsonl o.jsonl", "nothing to draw: give --random N, --top TAG=N or --unsure TAG=N"),
    "table absent": ("none.csv o.jsonl --random 1", "none.csv: cannot be read (No such file or directory)"),
    "table is a folder": (". o.jsonl --random 1", ".: cannot be read (Is a directory)"),
    "ending": ("s.txt o.jsonl --random 1", "s.txt: the ending must be one of .jsonl, .csv, .parquet"),
    "empty": ("empty.jsonl o.jsonl --random 1", "empty.jsonl: holds no sentence"),
    "header alone": ("head.csv o.jsonl --random 1", "head.csv: holds no sentence"),
    "not Parquet": ("bad.parquet o.jsonl --random 1", "bad.parquet: not a readable table of scores"),
    "not JSON": ("bad.jsonl o.jsonl --random 1", "bad.jsonl: not a readable table of scores"),
    "not JSON later": ("later.jsonl o.jsonl --random 1", "later.jsonl: not a readable table of scores"),
    "not an object": ("five.jsonl o.jsonl --random 1", "five.jsonl: not a readable table of scores"),
    "not UTF-8": ("bad.csv o.jsonl --random 1", "bad.csv: not a readable table of scores"),
    "field missing": ("short.csv o.jsonl --random 1", "short.csv: not a readable table of scores"),
    "statements": ("statements.jsonl o.jsonl --random 1", "statements.jsonl: column 'text' is missing"),
    "no start": ("nostart.csv o.jsonl --random 1", "nostart.csv: column 'start' is missing"),
    "no score": ("sentences.jsonl o.jsonl --top out=1", "sentences.jsonl: column 'score_out' is missing"),
    "no model": ("nomodel.parquet o.jsonl --unsure reaffirmation=1", "nomodel.parquet: column 'model' is missing"),
    "null": ("null.jsonl o.jsonl --top out=1", "null.jsonl: row 2: 'score_out' is empty"),
    "not a number": ("nan.parquet o.jsonl --top in=1", "nan.parquet: row 2: 'score_in' is empty"),
    "two documents": ("twice.jsonl o.jsonl --random 1", "twice.jsonl: id 'B' stands for two documents"),
    "tag of top": ("s.jsonl o.jsonl --top up=1", "s.jsonl: unknown tag 'up'; the tags are out, in"),
    "tag of unsure": (
        "s.jsonl o.jsonl --unsure out=1",
        "unsure: unknown tag 'out'; the model's tags are intent_to_withdraw, ",
    ),
    "another model": (
        "b.csv o.jsonl --unsure reaffirmation=1",
        "b.csv: scored by tiny/1, but the thresholds are those",
    ),
    "no such model": ("s.jsonl o.jsonl --unsure out=1 --model none", "no model 'none'"),
    "no number": ("s.jsonl o.jsonl --top out", "--top out: write TAG=N, each tag once"),
    "no tag": ("s.jsonl o.jsonl --unsure =3", "--unsure =3: write TAG=N, each tag once"),
    "tag twice": ("s.jsonl o.jsonl --top out=1 --top out=2", "--top out=2: write TAG=N, each tag once"),
    "random zero": ("s.jsonl o.jsonl --random 0", "random: a positive whole number is wanted, not 0"),
    "random word": ("s.jsonl o.jsonl --random few", "--random: a positive whole number is wanted, not 'few'"),
    "random half": ("s.jsonl o.jsonl --random 1.5", "--random: a positive whole number is wanted, not '1.5'"),
    "top negative": ("s.jsonl o.jsonl --top out=-1", "top_out: a positive whole number is wanted, not -1"),
    "unsure word": ("s.jsonl o.jsonl --unsure out=x", "--unsure: a positive whole number is wanted, not 'x'"),
    "seed": ("s.jsonl o.jsonl --random 1 --seed -1", "seed -1: must not be negative"),
    "out exists": ("s.jsonl s.jsonl --random 1", "s.jsonl: exists already"),
    "out under a file": ("s.jsonl s.jsonl/o --random 1", "s.jsonl/o: cannot be written"),
    "exclude absent": ("s.jsonl o.jsonl --random 1 --exclude x.jsonl", "x.jsonl: cannot be read"),
    "exclude not JSON": ("s.jsonl o.jsonl --random 1 --exclude bad.jsonl", "bad.jsonl:1: not a row with doc_id"),
    "exclude a list": ("s.jsonl o.jsonl --random 1 --exclude five.jsonl", "five.jsonl:1: not a row with doc_id"),
    "exclude no start": ("s.jsonl o.jsonl --random 1 --exclude place.jsonl", "place.jsonl:2: not a row with doc_id"),
    "exclude surrogate": ("s.jsonl o.jsonl --random 1 --exclude half.jsonl", "half.jsonl:1: not a row with doc_id"),
    "exclude start": ("s.jsonl o.jsonl --random 1 --exclude start.jsonl", "start.jsonl:1: not a row with doc_id"),
    "exclude null": ("s.jsonl o.jsonl --random 1 --exclude none.jsonl", "none.jsonl:1: not a row with doc_id"),
    "exclude all": ("s.jsonl o.jsonl --random 1 --exclude all.jsonl", "s.jsonl: every sentence is excluded"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, bundled: dict[str, Any]) -> Path:
    """The files of BAD, where no call leaves anything behind."""
    folder = tmp_path_factory.mktemp("bad")

    def without(name: str) -> list[dict[str, Any]]:
        return [{key: value for key, value in row.items() if not key.startswith(name)} for row in ROWS]

    write(folder / "s.jsonl", ROWS)
    write(folder / "b.csv", [{**row, "model": MODEL} for row in bundled_rows(bundled)])
    write(folder / "statements.jsonl", without("text"))
    write(folder / "nostart.csv", without("start"))
    write(folder / "sentences.jsonl", without("score_"))
    rows = bundled_rows(bundled)
    write(folder / "nomodel.parquet", [{key: row[key] for key in row if key != "model"} for row in rows])
    write(folder / "null.jsonl", [ROWS[0], {**ROWS[1], "score_out": None}])
    write(folder / "nan.parquet", [ROWS[0], {**ROWS[1], "score_in": float("nan")}])
    write(folder / "twice.jsonl", [*ROWS, {**ROWS[5], "text": "Another speaks."}])
    write(folder / "all.jsonl", [{"doc_id": row["id"], "start": row["start"]} for row in ROWS])
    header = ",".join(ROWS[0])
    contents = {
        "s.txt": GOOD,
        "empty.jsonl": "",
        "head.csv": f"{header}\n",
        "bad.parquet": "PAR1",
        "bad.jsonl": "oops\n",
        "later.jsonl": f"{GOOD}\noops\n",
        "five.jsonl": "5\n",
        "short.csv": f"{header}\nA,0\n",
        "place.jsonl": '{"doc_id": "A", "start": 0}\n{"doc_id": "A"}\n',
        "half.jsonl": '{"doc_id": "\\ud800", "start": 0}\n',
        "start.jsonl": '{"doc_id": "A", "start": "0"}\n',
        "none.jsonl": '{"doc_id": null, "start": 0}\n',
    }
    for name, content in contents.items():
        (folder / name).write_text(content, "utf-8")
    (folder / "bad.csv").write_bytes(f"{header}\nA,0,0,4,Caf\xe9,0,0,,,,tiny\n".encode("latin-1"))
    return folder


@pytest.mark.parametrize("name", BAD)
def test_a_bad_call_is_told_in_one_line(call: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(folder)
    arguments, message = BAD[name]
    before = sorted(folder.rglob("*"))
    code, out, err = call(*arguments.split())
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert err.startswith("treatystance: ")
    assert message in err
    assert sorted(folder.rglob("*")) == before


def test_the_function_checks_its_numbers_too(table: Path) -> None:
    for wanted in ({"random": -1}, {"top": {"out": 0}}, {"unsure": {"out": -2}}):
        with pytest.raises(InputError, match="a positive whole number is wanted"):
            drawn(table, **wanted)
