import io
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from treatystance import Predictor, Statement, __version__, cli
from treatystance.corpus import Corpus
from treatystance.corpus.standoff import sentence_sha256
from treatystance.statement import DEFAULT_LABELS

TEXT = "Ruritania has decided to withdraw from the Convention. We shall protect civilians."
RECIPE = "kind: linear\nname: small\ndata:\n  - path: data.jsonl\n"


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command, in this process, in an empty folder without a store."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("TREATYSTANCE_CORPORA", raising=False)

    def call(*arguments: object, stdin: bytes | None = None) -> Result:
        if stdin is not None:
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsys.readouterr()
        try:
            code = cli.main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = int(end.code or 0)
        return Result(code, *capsys.readouterr())

    return call


def pure(text: str) -> Any:
    """What strict JSON says; NaN is not JSON."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


@dataclass(frozen=True)
class Bad:
    """A bad call: what it needs, the arguments, and what must be said. MODEL stands for the small model's folder."""

    arguments: str
    message: str
    files: dict[str, bytes] = field(default_factory=dict)
    code: int = 2
    lines: int = 1


def recipe(more: str = "", name: str = "r.yaml") -> dict[str, bytes]:
    return {name: (RECIPE + more).encode(), "data.jsonl": b'{"text": "We leave.", "labels": []}\n'}


def data(*lines: bytes) -> dict[str, bytes]:
    return {"d.jsonl": b"\n".join(lines) + b"\n"}


GOOD_ROW = b'{"text": "We leave.", "labels": ["intent_to_withdraw"]}'
BAD = {
    # train
    "unknown config key": Bad("train r.yaml", "sed is not a known key", recipe("sed: 1\n")),
    "unknown inner key": Bad("train r.yaml", "classifier.C is not a known key", recipe("classifier: {C: 1}\n")),
    "config type": Bad("train r.yaml", "seed: .*integer", recipe("seed: two\n")),
    "config number as text": Bad("train r.yaml", "seed", recipe("seed: '2'\n")),
    "config range": Bad("train r.yaml", "error_rate", recipe("decision: {error_rate: 2}\n")),
    "config kind": Bad("train r.yaml", "kind", {"r.yaml": b"kind: forest\ndata: [{path: x}]\n"}),
    "config seed too large": Bad("train r.yaml", "seed: ", recipe("seed: 4294967296\n")),
    "config without data": Bad("train r.yaml", "data is missing", {"r.yaml": b"kind: linear\n"}),
    "override key": Bad("train r.yaml --set classifier.cc=1", "classifier.cc is not a known key", recipe()),
    "override type": Bad("train r.yaml --set classifier.c=high", r"classifier\.c", recipe()),
    "override form": Bad("train r.yaml --set classifier.c", "write key=value", recipe()),
    "override place": Bad("train r.yaml --set data.9.path=x", "no such place", recipe()),
    "override of a value's inside": Bad("train r.yaml --set name.x=1", "no such place", recipe()),
    "no config": Bad("train none.yaml", "cannot be read"),
    "config folder": Bad("train .", "cannot be read"),
    "config binary": Bad("train r.yaml", "r.yaml", {"r.yaml": b"\x89PNG\0\0\xff"}),
    "config not UTF-8": Bad("train r.yaml", "not UTF-8", {"r.yaml": b"kind: lin\xe9aire\n"}),
    "config zero byte": Bad("train r.yaml", "not YAML", {"r.yaml": b"kind: \0\n"}),
    "config not YAML": Bad("train r.yaml", "not YAML", {"r.yaml": b"kind: [linear\n"}),
    "config tag": Bad("train r.yaml", "not YAML", {"r.yaml": b"kind: !!python/object/apply:os.getcwd []\n"}),
    "config list": Bad("train r.yaml", "a mapping", {"r.yaml": b"- linear\n"}),
    "config empty": Bad("train r.yaml", "a mapping", {"r.yaml": b""}),
    "config date key": Bad("train r.yaml", "r.yaml", recipe("2020-01-01: x\n")),
    "config circle": Bad("train r.yaml", "r.yaml", recipe("labels: &a [*a]\n")),
    "train without data": Bad("train r.yaml", r"data\.jsonl: cannot be read", {"r.yaml": RECIPE.encode()}),
    # evaluate
    "unknown label": Bad(
        "evaluate --model MODEL --data d.jsonl",
        r"d\.jsonl:2: unknown label 'leaving'; the labels are intent_to_withdraw, ",
        data(GOOD_ROW, b'{"text": "We go.", "labels": ["leaving"]}'),
        lines=2,
    ),
    "every fault": Bad(
        "evaluate --model MODEL --data d.jsonl --json",
        r"(?s)5 faults.*d\.jsonl:1: not JSON.*:2: .*:3: text is missing.*:4: labels is missing.*:5: not UTF-8",
        data(b"oops", b"[]", b'{"labels": []}', b'{"text": "We go."}', b'{"text": "\xff", "labels": []}'),
        lines=6,
    ),
    "evaluate empty": Bad("evaluate --model MODEL --data d.jsonl", "empty", {"d.jsonl": b""}, lines=2),
    "evaluate binary": Bad("evaluate --model MODEL --data d.jsonl", "binary", {"d.jsonl": b"\0\0\0"}, lines=2),
    "evaluate absent": Bad("evaluate --model MODEL --data none.jsonl", "cannot be read"),
    # predict
    "no text": Bad("predict --model MODEL", "standard input: empty"),
    "empty text": Bad("predict --model MODEL OK EMPTY", "the text: empty"),
    "text and file": Bad("predict --model MODEL OK --file t.txt", "not both", {"t.txt": b"x"}),
    "no file": Bad("predict --model MODEL --file none.txt", "cannot be read"),
    "a folder": Bad("predict --model MODEL --file .", "cannot be read"),
    "empty file": Bad("predict --model MODEL --file t.txt", "empty", {"t.txt": b" \n"}),
    "binary file": Bad("predict --model MODEL --file t.txt", "binary", {"t.txt": b"PK\0\0"}),
    "not UTF-8": Bad("predict --model MODEL --file t.txt", "not UTF-8 at byte 4", {"t.txt": b"caf\xe9"}),
    "government": Bad("predict --model MODEL OK --government Poland", "alpha-3 code such as POL, not 'Poland'"),
    "date": Bad("predict --model MODEL OK --date 18.3.2025", "ISO 8601"),
    "no such day": Bad("predict --model MODEL OK --date 2025-02-30", "ISO 8601"),
    # model references
    "no such model": Bad("predict --model nowhere OK", "no model 'nowhere'"),
    "not a model": Bad("predict --model . OK", "no model here"),
    "no store": Bad("predict --model models:/treatystance@champion OK", r"no tracking database mlflow\.db"),
    "no such run": Bad(
        "evaluate --model runs:/0123/model --data d.jsonl", r"no tracking database mlflow\.db", data(GOOD_ROW)
    ),
    "score, no model": Bad("score d.csv o.csv --model nowhere", "no model 'nowhere'", {"d.csv": b"text\nWe go.\n"}),
    "changed model": Bad("predict --model CHANGED OK", "changed since it was written"),
    "newer model": Bad("predict --model NEWER OK", "newer than this version reads"),
    "missing package": Bad("predict --model minilm OK", "pip install", code=1),
    # score
    "no column": Bad("score d.csv o.csv --model MODEL", "'text' is missing", {"d.csv": b"body\nWe go.\n"}),
    "no named column": Bad(
        "score d.csv o.csv --model MODEL --text-column body", "'body' is missing", {"d.csv": b"text\nWe go.\n"}
    ),
    "no id column": Bad(
        "score d.csv o.csv --model MODEL --id-column key", "'key' is missing", {"d.csv": b"text\nWe go.\n"}
    ),
    "score empty": Bad("score d.csv o.csv --model MODEL", "empty", {"d.csv": b""}),
    "score binary": Bad("score d.jsonl o.csv --model MODEL", "binary", {"d.jsonl": b"\0\1\2"}),
    "score not Parquet": Bad("score d.parquet o.csv --model MODEL", "not a readable Parquet", {"d.parquet": b"PAR1"}),
    "score not UTF-8": Bad("score d.csv o.csv --model MODEL", "not UTF-8", {"d.csv": b"text\ncaf\xe9\n"}),
    "score absent": Bad("score none.csv o.csv --model MODEL", "no such file"),
    "score ending": Bad("score d.txt o.csv --model MODEL", "ending", {"d.txt": b"We go."}),
    "output ending": Bad("score d.csv o.txt --model MODEL", "ending", {"d.csv": b"text\nWe go.\n"}),
    "output in a file": Bad("score d.csv d.csv/o.csv --model MODEL", "cannot be written", {"d.csv": b"text\nWe go.\n"}),
    "output onto the input": Bad("score d.csv ./d.csv --model MODEL", "is the input", {"d.csv": b"text\nWe go.\n"}),
    "output in the input folder": Bad("score . out --model MODEL", "lies in the folder", {"d.csv": b"text\nWe go.\n"}),
    "ray": Bad("score d.csv o.csv --engine ray", "ray", {"d.csv": b"text\nWe go.\n"}, code=1),
    # corpus
    "corpus pair": Bad("corpus build --annotations a.jsonl --corpus ungdc --out o.jsonl", "write NAME=FILE"),
    "corpus absent": Bad("corpus validate none.jsonl", "cannot be read"),
    "corpus empty": Bad("corpus validate d.jsonl", "empty", {"d.jsonl": b""}, lines=2),
    "corpus no copy": Bad(
        "corpus build --annotations a.jsonl --out o.jsonl",
        "no local copy of corpus 'ungdc'.*--corpus ungdc=FILE or set TREATYSTANCE_CORPORA",
        {
            "a.jsonl": json.dumps(
                {"corpus": "ungdc", "doc_id": "x", "start": 0, "end": 5, "sha256": "0" * 64, "labels": []}
            ).encode()
        },
    ),
    # promote
    "promote, no store": Bad("promote models:/none/1", "none/1"),
    "promote a folder": Bad("promote MODEL", "models:/NAME/VERSION"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_call_is_told_clearly(run: Any, model_folder: Path, tmp_path: Path, name: str) -> None:
    bad = BAD[name]
    for file, content in bad.files.items():
        Path(file).write_bytes(content)
    if "CHANGED" in bad.arguments:
        weights = Path(shutil.copytree(model_folder, "changed")) / "weights.safetensors"
        damaged = bytearray(weights.read_bytes())
        damaged[len(damaged) // 2] ^= 1
        weights.write_bytes(damaged)
    if "NEWER" in bad.arguments:
        manifest = Path(shutil.copytree(model_folder, "newer")) / "manifest.json"
        manifest.write_text(manifest.read_text("utf-8").replace('"format_version": 1', '"format_version": 2'), "utf-8")
    before = sorted(tmp_path.rglob("*"))
    places = {"MODEL": model_folder, "CHANGED": "changed", "NEWER": "newer", "OK": "We leave.", "EMPTY": " "}
    result = run(*(places.get(word, word) for word in bad.arguments.split()), stdin=b"")
    assert result.code == bad.code, result.err
    assert result.out == ""
    assert result.err.startswith("treatystance: ")
    assert "Traceback" not in result.err
    assert result.err.count("\n") == bad.lines
    assert re.search(bad.message, result.err), result.err
    assert sorted(tmp_path.rglob("*")) == before, "a bad call leaves nothing behind"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "COMMAND"),
        (["preditc", "x"], "invalid choice: 'preditc'"),
        (["predict", "x", "--modle", "y"], "unrecognized arguments: --modle"),
        (["score", "in.csv"], "OUTPUT"),
        (["score", "in.csv", "out.csv", "--unit", "word"], "invalid choice: 'word'"),
        (["score", "in.csv", "out.csv", "--processes", "0"], "not at least 1"),
        (["score", "in.csv", "out.csv", "--processes", "two"], "two"),
        (["evaluate"], "--data"),
        (["train"], "CONFIG"),
        (["corpus"], "COMMAND"),
        (["corpus", "build"], "--annotations"),
    ],
)
def test_wrong_usage(run: Any, arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.code == 2
    assert result.out == ""
    assert result.err.startswith("usage: treatystance")
    assert message in result.err


def test_version_and_help(run: Any) -> None:
    assert run("--version") == Result(0, f"treatystance {__version__}\n", "")
    helped = run("--help")
    assert helped.code == 0
    for command in ("train", "evaluate", "promote", "predict", "score", "corpus"):
        assert command in helped.out


@pytest.mark.parametrize("how", ["arguments", "file", "standard input", "byte order mark"])
def test_predict_json(run: Any, model_folder: Path, how: str) -> None:
    arguments: list[object] = ["predict", "--json", "--model", model_folder]
    texts, stdin = [TEXT], None
    if how == "arguments":
        texts = [TEXT, "We remain bound by the treaty."]
        arguments += texts
    elif how == "file":
        Path("t.txt").write_text(TEXT, "utf-8")
        arguments += ["--file", "t.txt"]
    else:
        stdin = (b"\xef\xbb\xbf" if how == "byte order mark" else b"") + TEXT.encode()
    result = run(*arguments, stdin=stdin)
    assert (result.code, result.err) == (0, "")
    wanted = Predictor.load(str(model_folder)).predict(texts)
    assert any(prediction.tags for prediction in wanted)
    assert pure(result.out) == [prediction.to_dict() for prediction in wanted]


def test_predict_takes_the_facts_along(run: Any, model_folder: Path) -> None:
    text = "Poland has decided to withdraw from the Convention."
    predictor = Predictor.load(str(model_folder))
    plain = ["predict", "--json", "--model", model_folder, text]
    cases: list[tuple[list[str], dict[str, str]]] = [
        ([], {}),
        (["--government", "POL", "--date", "2025-03"], {"government": "POL"}),
        (["--government", "FIN", "--kind", "speech"], {"government": "FIN"}),
        (["--kind", "wire_report"], {"kind": "wire_report"}),
    ]
    found = [pure(run(*plain, *more).out) for more, _ in cases]
    assert found == [[p.to_dict() for p in predictor.predict([Statement(text, **facts)])] for _, facts in cases]
    assert len({json.dumps(scores) for scores in found}) > 1


def test_predict_for_people(run: Any, model_folder: Path) -> None:
    result = run("predict", "--model", model_folder, TEXT, "We thank you.")
    first, second = Predictor.load(str(model_folder)).predict([TEXT, "We thank you."])
    blocks = result.out.split("\n\n")
    assert len(blocks) == 2
    for block, prediction in zip(blocks, (first, second), strict=True):
        head = block.splitlines()[0]
        assert head.startswith(", ".join(prediction.tags) or "no tag")
        assert block.count("\n  [") == sum(bool(s.tags) for s in prediction.sentences)
        assert f"{len(prediction.sentences)} sentences, model {prediction.model}" in block


def evaluated(corpus: Corpus, path: Path) -> list[dict[str, Any]]:
    rows = [{"text": row.text, "labels": list(row.labels), "doc_id": row.doc_id, "note": 1} for row in corpus]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return rows


def test_evaluate_json(run: Any, model_folder: Path, tiny_corpus: Corpus) -> None:
    rows = evaluated(tiny_corpus, Path("d.jsonl"))
    result = run("evaluate", "--model", model_folder, "--data", "d.jsonl", "--json")
    assert (result.code, result.err) == (0, "")
    found = pure(result.out)
    assert {"n", "macro_f1", "macro_f1_ci", "per_label", "model"} <= set(found)
    assert found["n"] == len(rows)
    low, high = found["macro_f1_ci"]
    assert 0 <= low <= found["macro_f1"] <= high <= 1
    assert list(found["per_label"]) == list(DEFAULT_LABELS)
    predictor = Predictor.load(str(model_folder))
    assert found["model"] == predictor.model
    given = [set(s.tags) for s in predictor.predict_sentences([row["text"] for row in rows])]
    f1s = []
    for name, part in found["per_label"].items():
        assert {"precision", "recall", "f1", "average_precision", "support"} <= set(part)
        true = [name in row["labels"] for row in rows]
        hit = sum(t and name in g for t, g in zip(true, given, strict=True))
        tagged = sum(name in g for g in given)
        assert part["support"] == sum(true)
        assert part["precision"] == pytest.approx(hit / tagged)
        assert part["recall"] == pytest.approx(hit / sum(true))
        assert part["f1"] == pytest.approx(2 * hit / (tagged + sum(true)))
        f1s.append(part["f1"])
    assert found["macro_f1"] == pytest.approx(sum(f1s) / len(f1s))


def test_evaluate_on_a_file_that_lacks_a_label_is_still_json(run: Any, model_folder: Path) -> None:
    Path("d.jsonl").write_bytes(GOOD_ROW + b"\n")
    found = pure(run("evaluate", "--model", model_folder, "--data", "d.jsonl", "--json").out)
    assert found["per_label"]["reaffirmation"]["support"] == 0


def test_evaluate_for_people(run: Any, model_folder: Path, tiny_corpus: Corpus) -> None:
    evaluated(tiny_corpus, Path("d.jsonl"))
    result = run("evaluate", "--model", model_folder, "--data", "d.jsonl")
    assert result.code == 0
    assert f"{len(tiny_corpus)} sentences" in result.out
    assert all(name in result.out for name in ("macro-F1", *DEFAULT_LABELS))


def test_score(run: Any, model_folder: Path) -> None:
    Path("d.csv").write_text(f"key,body\na,{TEXT}\nb,\nc\n")
    result = run(
        *("score", "d.csv", "o.jsonl", "--model", model_folder, "--text-column", "body", "--id-column", "key"),
        *("--unit", "sentence", "--processes", "1"),
    )
    assert result.code == 0
    assert result.out == ""
    assert result.err.splitlines()[-1] == ("3 rows in, 1 scored, 2 rejected; 2 rows written to o.jsonl")
    rows = [pure(line) for line in Path("o.jsonl").read_text("utf-8").splitlines()]
    assert [(row["id"], row["sentence"]) for row in rows] == [("a", 0), ("a", 1)]
    assert len(Path("o.jsonl.rejects.jsonl").read_text("utf-8").splitlines()) == 2


def test_corpus_build_refuses_rows_of_another_edition_and_writes_the_rest(run: Any) -> None:
    document = "We shall leave the treaty. The harvest was good. We protect civilians."
    pq.write_table(pa.table({"doc_id": ["D1"], "text": [document]}), "ungdc.parquet")
    places = [(0, 26, document[:26]), (27, 48, "The harvest was poor."), (49, 70, document[49:])]
    rows = [
        {
            "corpus": "ungdc",
            "doc_id": "D1",
            "start": start,
            "end": end,
            "sha256": sentence_sha256(text),
            "labels": ["reaffirmation"],
        }
        for start, end, text in places
    ]
    Path("a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for out in ("o.jsonl", "o.parquet"):
        result = run("corpus", "build", "--annotations", "a.jsonl", "--corpus", "ungdc=ungdc.parquet", "--out", out)
        assert result.code == 2
        assert result.out == ""
        assert "2 rows written" in result.err
        assert "a.jsonl:2: hash mismatch at D1 27-48" in result.err
        assert "a.jsonl:1" not in result.err
        assert "Traceback" not in result.err
    written = [pure(line)["text"] for line in Path("o.jsonl").read_text("utf-8").splitlines()]
    assert written == ["We shall leave the treaty.", "We protect civilians."]
    assert pq.read_table("o.parquet")["text"].to_pylist() == written


@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")
def test_train_prints_the_reference_alone_on_its_last_line(
    run: Any, tmp_path: Path, tiny_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/store.db")
    rows = [
        {"text": row.text, "labels": list(row.labels), "doc_id": row.doc_id, "government": row.government}
        for row in tiny_corpus
    ]
    Path("data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    Path("r.yaml").write_text(RECIPE + "split: {kind: grouped, folds: 3, inner_folds: 2}\n")
    smaller = ("--set", "features.char_ngrams=[3, 3]", "--set", "evaluation.resamples=100", "--set", "seed=5")
    result = run("train", "r.yaml", *smaller)
    assert result.code == 0, result.err
    assert result.out.endswith("\nmodels:/small/1\n")
    assert "macro-F1" in result.out
    assert "cross-validating: 3 folds" in result.err
    predicted = run("predict", "--json", "--model", "models:/small/1", TEXT)
    assert predicted.code == 0
    assert pure(predicted.out)[0]["model"].startswith("small/5.")


def command(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "treatystance.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )


def test_a_real_process(model_folder: Path, tmp_path: Path) -> None:
    done = command("predict", "--json", "--model", model_folder, cwd=tmp_path, input=TEXT)
    assert (done.returncode, done.stderr) == (0, "")
    assert pure(done.stdout) == [p.to_dict() for p in Predictor.load(str(model_folder)).predict([TEXT])]
    assert list(tmp_path.iterdir()) == []


def test_a_real_process_fails_in_one_line(tmp_path: Path) -> None:
    done = command("predict", "--model", "nowhere", "We leave.", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("treatystance: no model 'nowhere'")
    assert done.stderr.count("\n") == 1


def test_text_that_is_not_utf8_is_told_or_read(model_folder: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "treatystance.cli", "predict", "--json", "--model", str(model_folder)]
    done = subprocess.run(
        [*map(os.fsencode, words), b"We leave \xff now."], capture_output=True, check=False, cwd=tmp_path, timeout=60
    )
    assert b"Traceback" not in done.stderr
    assert done.returncode in (0, 2)


@pytest.mark.parametrize(
    ("script", "lines"),
    [
        ('"$0" -m treatystance.cli predict --json --model "$1" --file long.txt | head -1', ["["]),
        ('"$0" -m treatystance.cli predict --model "$1" --file long.txt | true', []),
        ('"$0" -m treatystance.cli predict --model "$1" "We leave." >&-', []),
    ],
)
def test_a_closed_output_is_no_crash(model_folder: Path, tmp_path: Path, script: str, lines: list[str]) -> None:
    (tmp_path / "long.txt").write_text("Ruritania will withdraw from the Convention.\n\n" * 3000)
    done = subprocess.run(
        ["bash", "-c", script, sys.executable, str(model_folder)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == lines
