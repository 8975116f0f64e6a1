"""A training run keeps its evidence, and says how its model compares with the champion."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlflow
import pytest

from treatystance import train as training
from treatystance.config import Recipe, parse_config
from treatystance.corpus import Corpus
from treatystance.crossval import out_of_fold
from treatystance.evidence.report import evidence_report
from treatystance.evidence.scored import ScoredRows, read_scored
from treatystance.registry import run_file, set_alias
from treatystance.train import Trained, train

pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")


@dataclass(frozen=True)
class Store:
    """A store after one training run, which is champion."""

    config: Recipe
    trained: Trained
    said: list[str]
    run: Any

    @property
    def scored(self) -> ScoredRows:
        return out_of_fold(self.trained.corpus, self.trained.validation)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, tiny_corpus: Corpus) -> Iterator[Store]:
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/store.db")
        config = parse_config(
            {
                "kind": "linear",
                "name": "small",
                "seed": 3,
                "data": [{"path": "package:composed"}],
                "split": {"kind": "grouped", "folds": 2, "inner_folds": 2},
                "features": {"word_ngrams": [1, 1], "char_ngrams": None},
                "evaluation": {"resamples": 100},
            }
        )
        patch.setattr(training, "load_data", lambda config, say: tiny_corpus)
        said: list[str] = []
        trained, _ = train(config, said.append)
        client: Any = mlflow.MlflowClient()
        run = client.get_run(client.get_model_version("small", "1").run_id)
        set_alias("small", "champion", "1", {})
        yield Store(config, trained, said, run)


def test_the_run_keeps_the_evidence(store: Store, tmp_path: Path) -> None:
    folder = Path(mlflow.artifacts.download_artifacts(run_id=store.run.info.run_id, dst_path=str(tmp_path)))
    names = {path.name for path in folder.iterdir()}
    assert names >= {"evidence.json", "reliability.png", "risk_coverage.png", "slices.png"}
    assert "comparison_with_champion.json" not in names  # there was none
    evidence = json.loads((folder / "evidence.json").read_text("utf-8"))
    assert evidence == evidence_report(store.scored, 100, 0.95, 3)
    assert evidence["sentences"] == json.loads((folder / "report.json").read_text("utf-8"))
    scored = read_scored(folder / "out_of_fold.jsonl", store.trained.corpus.labels)
    assert scored.folds_sha256 == store.scored.folds_sha256
    assert scored.facts == store.scored.facts
    assert (scored.uncertain == store.scored.uncertain).all()
    metrics = store.run.data.metrics
    for prefix, way in (("", "as_drawn"), ("ordinary_", "ordinary_text")):
        for label, part in evidence["calibration"][way].items():
            assert metrics[f"{prefix}{label}.brier"] == pytest.approx(part["brier"])
            assert metrics[f"{prefix}{label}.ece"] == pytest.approx(part["ece"])
    assert [line for line in store.said if line.startswith("weak: ")] == [
        f"weak: {part['line']}" for part in evidence["worst_slices"]
    ]


def test_nothing_large_travels_with_the_model(store: Store) -> None:
    assert len(json.dumps(store.trained.artifact.provenance)) < 20_000


def test_a_run_is_compared_with_the_champion_on_the_same_rows(store: Store) -> None:
    said: list[str] = []
    worse = replace(store.scored, tags=~store.scored.tags)
    files = training._against_champion(store.config, worse, said.append)
    record = json.loads(files["comparison_with_champion.json"])
    assert record["champion"] == "models:/small/1"
    assert record["as_drawn"]["macro_f1"]["champion"] == pytest.approx(store.trained.validation.report.macro_f1)
    assert record["as_drawn"]["macro_f1"]["interval"][1] < 0
    assert record["ordinary_text"]["ordinary"] is True
    (line,) = said
    assert line.startswith("against the champion models:/small/1: macro-F1 ")
    macro = record["as_drawn"]["macro_f1"]
    assert (
        f"macro-F1 {macro['champion']:.3f} to {macro['challenger']:.3f}, difference {macro['difference']:+.3f}" in line
    )


def test_other_folds_are_not_compared_and_one_line_says_so(store: Store) -> None:
    said: list[str] = []
    assert (
        training._against_champion(store.config, replace(store.scored, fold=1 - store.scored.fold), said.append) == {}
    )
    (line,) = said
    assert line.startswith("not compared with the champion models:/small/1: ")
    assert "fold" in line
    assert "\n" not in line


def test_a_champion_without_a_table_is_not_compared(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(name: str, version: str, path: str) -> Path:
        return run_file(name, version, "no_such_file.jsonl")

    monkeypatch.setattr("treatystance.registry.run_file", gone)
    said: list[str] = []
    assert training._against_champion(store.config, store.scored, said.append) == {}
    assert said[0].startswith("not compared with the champion models:/small/1: ")


def test_without_a_champion_nothing_is_said(store: Store) -> None:
    said: list[str] = []
    other = store.config.model_copy(update={"name": "another"})
    assert training._against_champion(other, store.scored, said.append) == {}
    assert said == []
