"""`treatystance.gate`: an alias moves only through the gate, and MLflow keeps every decision."""

import getpass
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest

from conftest import write
from treatystance import cli, gate, registry
from treatystance.artifact import Artifact
from treatystance.config import GateRules
from treatystance.errors import GateError, InputError, ModelReferenceError, TreatystanceError
from treatystance.evidence.scored import ScoredRows
from treatystance.evidence.suite import Suite, load_suite
from treatystance.gate import promote
from treatystance.registry import log_run, model_version
from treatystance.statement import LabelSet
from treatystance.train import Trained

RULES = GateRules(resamples=200)


def mended(scored: ScoredRows, share: float) -> ScoredRows:
    """A share of the wrong decisions put right, or for a share below nothing, of the right ones put wrong."""
    wrong = scored.tags != scored.targets
    chosen = np.random.default_rng(0).random(wrong.shape) < abs(share)
    return replace(scored, tags=scored.tags ^ (chosen & (wrong if share > 0 else ~wrong)))


@dataclass(frozen=True)
class Store:
    """A store with versions of a registered model `gate`: their references by name, and their tables."""

    folder: Path
    references: dict[str, str]
    tables: dict[str, ScoredRows]

    def __getitem__(self, name: str) -> str:
        return self.references[name]

    @property
    def client(self) -> Any:
        return mlflow.MlflowClient()

    def decisions(self) -> list[Any]:
        """The recorded runs, the latest first."""
        experiment = self.client.get_experiment_by_name("gate.promotions")
        return list(self.client.search_runs([experiment.experiment_id])) if experiment else []


def registered(artifact: Artifact, table: str | None, work: Path) -> str:
    """Register a model whose run keeps this table; its reference."""
    run = log_run(
        artifact,
        parameters={},
        metrics={},
        fold_metrics=[],
        tags={},
        dataset_sha256="0" * 64,
        dataset_source="composed",
        texts={} if table is None else {"out_of_fold.jsonl": table},
        figures={},
        work=work,
    )
    return run.reference


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    """Behavioural tests that any model with a tag to give passes, and a silent one does not."""
    said = "We have decided to leave the treaty and we stand by the Convention and we will protect civilians."
    case: dict[str, Any] = {
        "id": "a",
        "phenomenon": "speaks",
        "test": "directional",
        "direction": "higher",
        "tag": "reaffirmation",
    }
    cases: list[dict[str, Any]] = [
        case | {"text": "The weather is fine.", "changed": said},
        {"id": "b", "phenomenon": "same", "test": "invariance", "text": said, "variants": [{"text": said.upper()}]},
    ]
    return load_suite(write(tmp_path_factory.mktemp("suite") / "cases.jsonl", cases).parent)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, tiny_trained: Trained, suite: Suite) -> Iterator[Store]:
    folder = tmp_path_factory.mktemp("store")
    validation, corpus = tiny_trained.validation, tiny_trained.corpus
    rows = [corpus.rows[i] for i in validation.tested]
    scored = ScoredRows.of(corpus.labels, rows, validation.fold, validation.decisions)
    tables = {
        "first": scored,
        "better": mended(scored, 0.5),
        "worse": mended(scored, -0.1),
        "others": replace(mended(scored, 0.9), fold=scored.fold + 1),
        "poor": replace(scored, tags=np.zeros_like(scored.tags)),
        "silent": mended(scored, 0.9),
    }
    artifact = replace(tiny_trained.artifact, name="gate")
    mute = replace(artifact.decision, slope=(0.001,) * 3, offset=(-30.0,) * 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/store.db")
        patch.setattr(gate, "load_suite", lambda: suite)
        references = {
            name: registered(
                replace(artifact, version=name, decision=mute if name == "silent" else artifact.decision),
                table.to_jsonl(),
                folder / name,
            )
            for name, table in tables.items()
        }
        yield Store(folder, references, tables)


def test_the_first_model_needs_a_least_score(store: Store) -> None:
    with pytest.raises(GateError, match=r"first_macro_f1: macro-F1 0\.000, with no current model"):
        promote(store["poor"], "first", RULES)
    with pytest.raises(ModelReferenceError):
        model_version("models:/gate@first")
    line = promote(store["first"], "first", RULES)
    assert line.startswith("models:/gate@first is now version 1 (first_macro_f1: macro-F1 0.")
    assert model_version("models:/gate@first") == ("gate", "1")


def test_an_alias_moves_only_through_the_gate(store: Store, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("resamples: 200\n", "utf-8")

    def asked(name: str) -> tuple[int, list[str], str]:
        code = cli.main(["promote", store[name], "--alias", "path", "--rules", str(rules)])
        out, err = capsys.readouterr()
        return code, out.splitlines(), err

    code, lines, err = asked("first")
    assert (code, err) == (0, "")
    assert [line.partition(":")[0] for line in lines[:-1]] == [
        f"passed  {name}" for name in ("first_macro_f1", "first_calibration", "first_behaviour")
    ]
    assert lines[-1].startswith("models:/gate@path is now version 1 ")
    for name, criterion in (("worse", "non_inferiority"), ("others", "same_rows"), ("silent", "phenomena")):
        code, lines, err = asked(name)
        assert code == 1
        assert err.startswith(f"treatystance: {store[name]} is not promoted to path: ")
        assert err.count("\n") == 1
        failed = [line for line in lines if line.startswith("FAILED")]
        # What failed stands on both outputs, with the same figures.
        assert any(line.startswith(f"FAILED  {criterion}: ") for line in failed)
        assert all(line.removeprefix("FAILED  ") in err for line in failed)
        assert model_version("models:/gate@path") == ("gate", "1")
    assert "rows tested in another fold" in asked("others")[2]
    code, lines, _ = asked("better")
    assert code == 0
    assert all(line.startswith("passed") for line in lines[:-1])
    assert lines[-1].startswith("models:/gate@path is now version 2 (non_inferiority: macro-F1 0.")
    assert model_version("models:/gate@path") == ("gate", "2")
    assert asked("first")[0] == 1
    assert model_version("models:/gate@path") == ("gate", "2")


def test_only_the_behaviour_of_a_silent_model_is_at_fault(store: Store) -> None:
    promote(store["first"], "spoken", RULES)
    lines: list[str] = []
    with pytest.raises(GateError, match=r"mean pass rate 100\.0% to 50\.0% over 2 phenomena"):
        promote(store["silent"], "spoken", RULES, lines.append)
    assert [line.partition(":")[0] for line in lines if line.startswith("FAILED")] == [
        "FAILED  behaviour",
        "FAILED  phenomena",
    ]


def test_every_decision_is_recorded(store: Store) -> None:
    before = len(store.decisions())
    promote(store["first"], "kept", RULES)
    with pytest.raises(GateError) as caught:
        promote(store["worse"], "kept", RULES)
    refusal, promotion, *earlier = store.decisions()
    assert len(earlier) == before
    assert [run.info.status for run in (refusal, promotion)] == ["FINISHED", "FINISHED"]
    assert (refusal.data.tags["decision"], promotion.data.tags["decision"]) == ("refused", "promoted")
    parameters = refusal.data.params
    assert parameters["challenger"] == store["worse"]
    assert parameters["champion"] == store["first"]
    assert parameters["alias"] == "kept"
    assert parameters["rules.non_inferiority"] == "0.01"
    assert parameters["rules.resamples"] == "200"
    assert promotion.data.params["champion"] == ""
    tags = refusal.data.tags
    assert tags["who"] == getpass.getuser()
    assert tags["why"] in str(caught.value)
    assert tags["folds_sha256"] == store.tables["first"].folds_sha256
    assert len(tags["evaluated_sha256"]) == len(tags["corpus_sha256"]) == 64
    assert tags["git_commit"]
    assert refusal.data.metrics["non_inferiority.difference"] < -0.01
    path = store.client.download_artifacts(refusal.info.run_id, "decision.json", str(store.folder))
    decision = json.loads(Path(path).read_text("utf-8"))
    assert decision["promoted"] is False
    assert decision["rules"] == RULES.model_dump()
    assert [finding["criterion"] for finding in decision["findings"]] == [
        *("same_rows", "non_inferiority", "labels", "slices", "calibration", "behaviour", "phenomena")
    ]
    assert {f["criterion"] for f in decision["findings"] if not f["passed"]} >= {"non_inferiority"}
    # The version itself tells, too.
    for version, run, word in (("3", refusal, "refused: "), ("1", promotion, "promoted: ")):
        note = store.client.get_model_version("gate", version).tags["gate.kept"]
        assert note.startswith(word)
        assert run.info.run_id in note


def test_a_decision_that_cannot_be_recorded_moves_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any, **keywords: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(mlflow, "log_text", full)
    with pytest.raises(TreatystanceError, match="no space left"):
        promote(store["first"], "unkept", RULES)
    assert store.decisions()[0].info.status == "FAILED"
    with pytest.raises(ModelReferenceError):
        model_version("models:/gate@unkept")


def test_an_alias_that_cannot_be_moved_fails_its_record(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def stuck(*arguments: Any) -> None:
        raise TreatystanceError("the alias cannot be moved")

    monkeypatch.setattr(registry, "set_alias", stuck)
    with pytest.raises(TreatystanceError, match="cannot be moved"):
        promote(store["first"], "stuck", RULES)
    run = store.decisions()[0]
    assert run.info.status == "FAILED"
    note = store.client.get_model_version("gate", "1").tags["gate.stuck"]
    assert note == f"failed: the alias was not moved (run {run.info.run_id})"


def test_an_alias_that_moved_while_the_challenger_was_judged_stays(store: Store) -> None:
    """Otherwise the later of two judgements, made against the same champion, would win unseen."""
    promote(store["first"], "raced", RULES)

    def meanwhile(line: str) -> None:
        store.client.set_registered_model_alias("gate", "raced", "3")

    with pytest.raises(TreatystanceError, match="promote again") as caught:
        promote(store["better"], "raced", RULES, meanwhile)
    assert not isinstance(caught.value, GateError)
    assert model_version("models:/gate@raced") == ("gate", "3")
    assert store.decisions()[0].info.status == "FAILED"


@pytest.mark.parametrize("alias", ["v1", "Latest", "a b", "a/b", ""])
def test_a_name_that_no_alias_may_have_is_refused_before_anything_is_judged(
    store: Store, alias: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = len(store.decisions())
    assert cli.main(["promote", store["first"], "--alias", alias]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert f"no alias may be named {alias!r}" in err
    assert len(store.decisions()) == before


def test_champion_is_the_default_alias(store: Store) -> None:
    assert cli.main(["promote", store["first"]]) == 0
    assert model_version("models:/gate@champion") == ("gate", "1")


def test_an_alias_can_name_the_challenger(store: Store) -> None:
    promote(store["better"], "staged", RULES)
    promote("models:/gate@staged", "named", RULES)
    assert model_version("models:/gate@named") == ("gate", "2")


def test_other_labels_have_no_behavioural_tests(
    store: Store, tiny_artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "load_suite", lambda: pytest.fail("the suite is about other tags"))
    labels = LabelSet(("hawkish", "dovish", "neutral"))
    table = replace(store.tables["first"], labels=labels)
    tested = {**tiny_artifact.provenance, "evaluated_sha256": table.evaluated_sha256}
    artifact = replace(tiny_artifact, name="fomc", provenance=tested)
    monkeypatch.setattr(artifact.model, "labels", labels)
    reference = registered(artifact, table.to_jsonl(), tmp_path / "model")
    lines: list[str] = []
    promote(reference, say=lines.append, rules=RULES)
    assert "passed  behaviour: not applicable" in lines[-1]
    lines.clear()
    promote(reference, say=lines.append, rules=RULES)  # against itself
    assert any(line.startswith("passed  non_inferiority") for line in lines)


@pytest.mark.parametrize(
    ("table", "told"),
    [(None, "has no out_of_fold.jsonl in its run; train it again"), ("{}\n", "not a row of an out-of-fold table")],
)
def test_a_model_without_its_table_is_not_judged(
    store: Store, tiny_artifact: Artifact, table: str | None, told: str, tmp_path: Path
) -> None:
    before = len(store.decisions())
    reference = registered(replace(tiny_artifact, name="gate"), table, tmp_path / "model")
    with pytest.raises(InputError, match=told) as caught:
        promote(reference, "tableless", RULES)
    assert reference in str(caught.value)  # a temporary path says nothing of which model it is
    assert "\n" not in str(caught.value)
    assert len(store.decisions()) == before


def test_a_table_of_other_rows_is_not_the_model_s(store: Store, tiny_artifact: Artifact, tmp_path: Path) -> None:
    fewer = store.tables["first"].take(range(5, len(store.tables["first"])))
    reference = registered(replace(tiny_artifact, name="gate"), fewer.to_jsonl(), tmp_path / "model")
    with pytest.raises(InputError, match="not the table that this model was tested on"):
        promote(reference, "other_rows", RULES)


def stored(store: Store, name: str) -> Path:
    """The folder of a model inside the store itself, which `resolve` only copies from."""
    (folder,) = (
        manifest.parent
        for manifest in (store.folder / "mlruns").rglob("manifest.json")
        if json.loads(manifest.read_bytes())["version"] == name
    )
    return folder.resolve()


@pytest.mark.parametrize("damage", ["gone", "damaged"])
def test_a_current_model_that_cannot_be_read_is_not_no_model(store: Store, damage: str) -> None:
    """Otherwise losing the champion's files would open the gate to anything."""
    promote(store["better"], damage, RULES)
    folder = stored(store, "better")
    hidden = folder.with_name("hidden")
    shutil.copytree(folder, hidden)
    try:
        if damage == "gone":
            shutil.rmtree(folder)
        else:
            (folder / "vocabulary.json").write_text("x")
        for name in ("worse", "others"):
            with pytest.raises(TreatystanceError) as caught:
                promote(store[name], damage, RULES)
            assert not isinstance(caught.value, GateError)  # nobody judged it
        assert model_version(f"models:/gate@{damage}") == ("gate", "2")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        hidden.rename(folder)


@pytest.mark.parametrize(
    "reference", ["models:/gate/99", "models:/none/1", "models:/gate@none", "bundled", "runs:/x/model", "models:/gate"]
)
def test_what_is_not_registered_cannot_be_promoted(
    store: Store, reference: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["promote", reference, "--alias", "nobody"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "Traceback" not in err
    with pytest.raises(ModelReferenceError):
        model_version("models:/gate@nobody")


def test_wrong_rules_are_refused(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text("non_inferority: 0.5\n", "utf-8")
    assert cli.main(["promote", store["first"], "--rules", str(path)]) == 2
    assert "non_inferority is not a known key" in capsys.readouterr().err


def test_nothing_is_created_by_promoting_where_there_is_no_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert cli.main(["promote", "models:/gate/1"]) == 2
    assert "gate/1" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
