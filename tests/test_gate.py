import copy
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from treatystance import cli
from treatystance.artifact import Artifact
from treatystance.errors import GateError, ModelReferenceError, TreatystanceError
from treatystance.gate import GateRules, judge, promote
from treatystance.registry import log_run, model_version
from treatystance.statement import DEFAULT_LABELS, LabelSet


def figures(macro: float, **f1: float) -> dict[str, Any]:
    return {"macro_f1": macro, "per_label": {name: {"f1": f1.get(name, macro)} for name in DEFAULT_LABELS}}


def model(artifact: Artifact, macro: float, rows: str = "same rows", **f1: float) -> Artifact:
    return replace(artifact, provenance={"cross_validation": figures(macro, **f1), "evaluated_sha256": rows})


@pytest.mark.parametrize(
    ("challenger", "champion", "reasons"),
    [
        (figures(0.70), figures(0.60), []),
        (figures(0.60), figures(0.60), []),
        (figures(0.595), figures(0.60), []),
        (figures(0.58), figures(0.60), ["macro-F1 0.580 falls by more than 0.01 under 0.600"]),
        (
            figures(0.70, reaffirmation=0.50),
            figures(0.60),
            ["F1 of reaffirmation 0.500 falls by more than 0.05 under 0.600"],
        ),
        (figures(0.70, reaffirmation=0.56), figures(0.60), []),
        (
            figures(0.40, intent_to_withdraw=0.1),
            figures(0.45, intent_to_withdraw=0.3),
            ["macro-F1 0.400", "F1 of intent_to_withdraw 0.100 falls by more than 0.05 under 0.300"],
        ),
        (figures(0.31), None, []),
        (figures(0.29), None, ["macro-F1 0.290 is under 0.3 (no current model to compare with)"]),
    ],
)
def test_judge(tiny_artifact: Artifact, challenger: Any, champion: Any, reasons: list[str]) -> None:
    made = [
        replace(tiny_artifact, provenance={"cross_validation": f, "evaluated_sha256": "x"}) if f else None
        for f in (challenger, champion)
    ]
    assert made[0] is not None
    found = judge(made[0], made[1], GateRules())
    assert len(found) == len(reasons)
    for have, want in zip(found, reasons, strict=True):
        assert want in have


def test_other_rows_cannot_be_compared(tiny_artifact: Artifact) -> None:
    (reason,) = judge(model(tiny_artifact, 0.9), model(tiny_artifact, 0.5, rows="others"), GateRules())
    assert "other rows" in reason


@pytest.mark.parametrize(
    "labels",
    [LabelSet(("a", "b", "c")), LabelSet(DEFAULT_LABELS[::-1]), LabelSet(DEFAULT_LABELS, exclusive=True)],
)
def test_other_labels_cannot_be_compared(tiny_artifact: Artifact, labels: LabelSet) -> None:
    challenger = model(tiny_artifact, 0.9)
    other = copy.copy(challenger.model)
    other.labels = labels
    (reason,) = judge(replace(challenger, model=other), model(tiny_artifact, 0.5), GateRules())
    assert "labels" in reason


@pytest.mark.parametrize(
    ("rules", "passes"), [(GateRules(), False), (GateRules(macro_fall=0.2), False), (GateRules(0.2, 0.2), True)]
)
def test_the_rules_are_the_caller_s(tiny_artifact: Artifact, rules: GateRules, passes: bool) -> None:
    assert (judge(model(tiny_artifact, 0.5), model(tiny_artifact, 0.6), rules) == []) == passes


MODELS = {"first": 0.60, "better": 0.65, "worse": 0.40, "others": 0.90, "poor": 0.10}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, tiny_artifact: Artifact) -> Iterator[dict[str, str]]:
    """A store with a registered model `gate` of five versions; their references by name."""
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/store.db")
        found = {}
        for name, macro in MODELS.items():
            artifact = replace(
                model(tiny_artifact, macro, rows="other rows" if name == "others" else "rows"), name="gate"
            )
            run = log_run(
                artifact,
                parameters={},
                metrics={"macro_f1": macro},
                fold_metrics=[],
                tags={},
                dataset_sha256="0" * 64,
                dataset_source="composed",
                texts={},
                figures={},
                work=folder / name,
            )
            found[name] = run.reference
        yield found


def test_the_first_model_needs_a_least_score(store: dict[str, str]) -> None:
    with pytest.raises(GateError, match="no current model"):
        promote(store["poor"], "first")
    with pytest.raises(ModelReferenceError):
        model_version("models:/gate@first")
    assert "first" in promote(store["first"], "first")
    assert model_version("models:/gate@first") == ("gate", "1")


def test_an_alias_moves_only_through_the_gate(store: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["promote", store["first"], "--alias", "path"]) == 0
    assert capsys.readouterr().out.startswith("models:/gate@path is now version 1 ")
    for name, reason in (("worse", "macro-F1 0.400 falls"), ("poor", "macro-F1 0.100 falls"), ("others", "other rows")):
        assert cli.main(["promote", store[name], "--alias", "path"]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith(f"treatystance: {store[name]} is not promoted to path: ")
        assert reason in err
        assert err.count("\n") == 1
        assert model_version("models:/gate@path") == ("gate", "1")
    assert cli.main(["promote", store["better"], "--alias", "path"]) == 0
    assert "against 0.600 of version 1" in capsys.readouterr().out
    assert model_version("models:/gate@path") == ("gate", "2")
    assert cli.main(["promote", store["first"], "--alias", "path"]) == 1
    assert model_version("models:/gate@path") == ("gate", "2")


def test_champion_is_the_default_alias(store: dict[str, str]) -> None:
    assert cli.main(["promote", store["first"]]) == 0
    assert model_version("models:/gate@champion") == ("gate", "1")


def test_an_alias_can_name_the_challenger(store: dict[str, str]) -> None:
    promote(store["better"], "staged")
    promote("models:/gate@staged", "named")
    assert model_version("models:/gate@named") == ("gate", "2")


def stored(name: str) -> Path:
    """The folder of a model inside the store itself, which `resolve` only copies from."""
    (folder,) = (
        manifest.parent
        for manifest in Path("mlruns").rglob("manifest.json")
        if json.loads(manifest.read_bytes())["provenance"]["cross_validation"]["macro_f1"] == MODELS[name]
    )
    return folder.resolve()


@pytest.mark.parametrize("damage", ["gone", "damaged"])
def test_a_current_model_that_cannot_be_read_is_not_no_model(store: dict[str, str], damage: str) -> None:
    """Otherwise losing the champion's files would open the gate to anything."""
    promote(store["better"], damage)
    folder = stored("better")
    hidden = folder.with_name("hidden")
    shutil.copytree(folder, hidden)
    try:
        if damage == "gone":
            shutil.rmtree(folder)
        else:
            (folder / "vocabulary.json").write_text("x")
        with pytest.raises(TreatystanceError) as caught:
            promote(store["worse"], damage)
        assert not isinstance(caught.value, GateError)  # nobody judged it
        with pytest.raises(TreatystanceError):
            promote(store["others"], damage)
        assert model_version(f"models:/gate@{damage}") == ("gate", "2")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        hidden.rename(folder)


@pytest.mark.parametrize(
    "reference", ["models:/gate/99", "models:/none/1", "models:/gate@none", "bundled", "runs:/x/model", "models:/gate"]
)
def test_what_is_not_registered_cannot_be_promoted(
    store: dict[str, str], reference: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["promote", reference, "--alias", "nobody"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "Traceback" not in err
    with pytest.raises(ModelReferenceError):
        model_version("models:/gate@nobody")


def test_nothing_is_created_by_promoting_where_there_is_no_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert cli.main(["promote", "models:/gate/1"]) == 2
    assert "gate/1" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
