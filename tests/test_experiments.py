"""Every recorded experiment has a flat result, a question and a verdict; and how records are read and shown."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from treatystance.cli import main
from treatystance.config import parse_config
from treatystance.errors import InputError
from treatystance.evidence.records import Experiment, Figure, read_experiment, read_experiments, table

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
FOLDERS = sorted(path for path in EXPERIMENTS.iterdir() if path.is_dir() and path.name != "__pycache__")


def test_there_are_experiments() -> None:
    assert {"bundled", "fomc", "scoring_speed"} <= {path.name for path in FOLDERS}
    records = read_experiments(EXPERIMENTS)
    assert records.faults == ()
    assert [experiment.name for experiment in records.experiments] == [path.name for path in FOLDERS]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_result_is_flat_and_has_a_verdict(folder: Path) -> None:
    experiment = read_experiment(folder)
    assert experiment.result == json.loads((folder / "result.json").read_text("utf-8"))
    assert len(experiment.question.split()) > 1
    assert len(experiment.headline.split()) > 4
    assert experiment.headline in experiment.verdict
    assert len((folder / "README.md").read_text("utf-8").split()) > 10


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_recorded_config_still_parses(folder: Path) -> None:
    config = read_experiment(folder).config
    if config is None:
        pytest.skip("this experiment records no recipe")
    assert parse_config(config).kind == config["kind"]


def record(folder: Path, result: Any, readme: str = "# Does it work?\n\nVerdict: it does. In part.\n") -> Path:
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(result if isinstance(result, str) else json.dumps(result), "utf-8")
    (folder / "README.md").write_text(readme, "utf-8")
    return folder


def test_a_run_with_an_interval(tmp_path: Path) -> None:
    result = {
        "macro_f1": 0.5,
        "macro_f1_low": 0.4,
        "macro_f1_high": 0.6,
        "ordinary.macro_f1": 0.9,
        "corpus_sha256": "a1",
    }
    experiment = read_experiment(record(tmp_path / "run", {**result, "seed": 7, "git_commit": "c0ffee", "date": None}))
    assert experiment.figures == (Figure("macro_f1", 0.5, 0.4, 0.6),)
    assert experiment.to_dict() == {
        "name": "run",
        "question": "Does it work?",
        "verdict": "it does. In part.",
        "figures": {"macro_f1": {"value": 0.5, "low": 0.4, "high": 0.6}},
        "data_sha256": "a1",
        "seed": 7,
        "git_commit": "c0ffee",
        "date": None,
    }
    heading, row, *below = table([experiment])
    assert heading.split() == ["experiment", "figures", "data", "seed", "commit", "date"]
    assert row.split() == ["run", "macro-F1", "0.500", "(0.400", "to", "0.600)", "a1", "7", "c0ffee", "-"]
    assert [heading.index(name) for name in ("figures", "data", "seed")] == [
        row.index(cell) for cell in ("macro", "a1", "7")
    ]
    assert below == ["    Does it work?", "    it does."]


@pytest.mark.parametrize(
    ("result", "names"),
    [
        (
            {"a.macro_f1": 0.1, "b.macro_f1": 0.3, "b.macro_f1_low": 0.2, "best_macro_f1": 0.9},
            ["b.macro_f1", "a.macro_f1"],
        ),
        ({"split_1.weighted_f1": 0.1, "split_1.macro_f1": 0.2, "weighted_f1_mean": 0.3}, ["weighted_f1_mean"]),
        ({"macro_f1": "0.5", "x.macro_f1": True, "rows": 3, "fold_macro_f1s": [0.1]}, []),
    ],
)
def test_main_figures(tmp_path: Path, result: dict[str, Any], names: list[str]) -> None:
    assert [figure.name for figure in read_experiment(record(tmp_path / "x", result)).figures] == names


def test_a_flat_recipe_becomes_nested_again() -> None:
    result = {"config.kind": "linear", "config.data.1.path": "b", "config.data.0.path": "a", "config.split.folds": 3}
    config = Experiment("x", "?", "", {**result, "seed": 1}).config
    assert config == {"kind": "linear", "data": [{"path": "a"}, {"path": "b"}], "split": {"folds": 3}}
    assert Experiment("x", "?", "", {"seed": 1}).config is None


@pytest.mark.parametrize(
    ("readme", "verdict", "headline"),
    [
        ("# Q\n\ntext\n", "", ""),
        ("# Q\n\nVerdict: **0.5** is\nreached. And more.\n\nLater.\n", "0.5 is reached. And more.", "0.5 is reached."),
        ("\ufeff# Q\n\n## Verdict\n\nIt holds. Yes.\n\n## Then\n", "It holds. Yes.", "It holds."),
    ],
)
def test_the_verdict(tmp_path: Path, readme: str, verdict: str, headline: str) -> None:
    experiment = read_experiment(record(tmp_path / "x", {"rows": 1}, readme))
    assert (experiment.question, experiment.verdict, experiment.headline) == ("Q", verdict, headline)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "not an object"),
        ("{}", "not an object"),
        ({"a": 1, "b": {"c": 2}}, "'b' is neither a plain value nor a list of them"),
        ({"a": [[1]]}, "'a' is neither"),
    ],
)
def test_a_damaged_result_is_refused(tmp_path: Path, result: Any, message: str) -> None:
    folder = record(tmp_path / "x", result)
    with pytest.raises(InputError, match=message) as caught:
        read_experiment(folder)
    assert str(caught.value).startswith(f"{folder / 'result.json'}: ")
    assert "\n" not in str(caught.value)


def test_a_damaged_readme_is_refused(tmp_path: Path) -> None:
    folder = record(tmp_path / "x", {"rows": 1}, "no heading\n")
    with pytest.raises(InputError, match=r"README\.md: no heading"):
        read_experiment(folder)
    (folder / "README.md").write_bytes(b"# Q\xff\n")
    with pytest.raises(InputError, match=r"README\.md: not UTF-8 at byte 4"):
        read_experiment(folder)
    (folder / "README.md").unlink()
    with pytest.raises(InputError, match=r"README\.md: missing"):
        read_experiment(folder)


def test_the_command_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["experiments", str(EXPERIMENTS)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert lines[0].split() == ["experiment", "figures", "data", "seed", "commit", "date"]
    assert [line.split()[0] for line in lines[1:] if not line.startswith(" ")] == [path.name for path in FOLDERS]
    (bundled,) = (line for line in lines if line.startswith("bundled "))
    recorded = json.loads((EXPERIMENTS / "bundled" / "result.json").read_text("utf-8"))
    assert f"{recorded['macro_f1']:.3f} ({recorded['macro_f1_low']:.3f} to" in bundled
    assert recorded["corpus_sha256"][:8] in bundled


def test_the_command_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["experiments", str(EXPERIMENTS), "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    found = {entry["name"]: entry for entry in json.loads(out)}
    recorded = json.loads((EXPERIMENTS / "bundled" / "result.json").read_text("utf-8"))
    assert found["bundled"]["figures"]["macro_f1"]["value"] == recorded["macro_f1"]
    assert found["bundled"]["git_commit"] == recorded["git_commit"]


def test_the_command_tells_of_damaged_records_and_shows_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(EXPERIMENTS / "fomc", tmp_path / "good")
    record(tmp_path / "bad", "{")
    (tmp_path / "no_readme").mkdir()
    (tmp_path / "no_readme" / "result.json").write_text('{"a": 1}')
    (tmp_path / "no_record").mkdir()
    (tmp_path / "README.md").write_text("# Experiments\n")
    assert main(["experiments", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert "good" in out
    assert "bad" not in out
    lines = err.splitlines()
    assert [line.split(":")[0] for line in lines[:2]] == [
        str(tmp_path / "bad" / "result.json"),
        str(tmp_path / "no_readme" / "README.md"),
    ]
    assert lines[2:] == [f"treatystance: {tmp_path}: 2 of 3 records cannot be read"]


def test_the_command_refuses_a_folder_without_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder, message in ((tmp_path / "none", "no such folder"), (tmp_path, "no record here")):
        assert main(["experiments", str(folder)]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert message in err
        assert err.count("\n") == 1
