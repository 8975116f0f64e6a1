from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard

from treatystance.artifact import DOCUMENTS, Artifact, load_artifact, read_documents, read_manifest, save_artifact
from treatystance.calibration import DecisionRule
from treatystance.cli import main
from treatystance.corpus.public import PUBLISHERS
from treatystance.crossval import out_of_fold
from treatystance.evidence.card import PICTURES, CardFacts, model_card
from treatystance.evidence.documents import gather
from treatystance.evidence.report import evidence_report
from treatystance.models.linear import LinearModel, NgramSettings
from treatystance.registry import resolve
from treatystance.statement import DEFAULT_LABELS, LabelSet
from treatystance.train import Trained, document

HEADINGS = [
    *("What it does", "Intended use", "What it must not be used for", "How to use", "Training data", "Results"),
    *("Calibration and abstention", "Where it is weakest", "Behavioural tests", "Limits", "How it was made"),
]
PNG = b"\x89PNG\r\n\x1a\n"


def front_matter(card: str) -> dict[str, Any]:
    found = re.match(r"---\n(.+?)\n---\n\n# ", card, re.DOTALL)
    assert found
    values: dict[str, Any] = yaml.safe_load(found[1])
    return values


def section(card: str, title: str) -> str:
    return card.split(f"\n## {title}\n\n")[1].split("\n## ")[0]


def table(text: str, head: str) -> list[list[str]]:
    """The rows of the table whose heading begins with `head`."""
    lines = text.split(f"| {head}")[1].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


@pytest.fixture(scope="module")
def bundled() -> dict[str, Any]:
    return json.loads((resolve("bundled") / "manifest.json").read_bytes())  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def evidence(tiny_trained: Trained) -> dict[str, Any]:
    return evidence_report(out_of_fold(tiny_trained.corpus, tiny_trained.validation), resamples=20)


def sound(card: str) -> None:
    """What holds for every card."""
    assert re.findall(r"^## (.+)$", card, re.MULTILINE) == HEADINGS
    for heading in HEADINGS:
        assert len(section(card, heading).split()) >= 4, heading
    assert not re.search(r"\b(None|nan)\b", re.sub(r"```yaml.*?```", "", card, flags=re.DOTALL))
    for block in re.findall(r"(?:^\|.+\n)+", card, re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1, block
    # The hub's own reader takes it.
    assert ModelCard(card).data.library_name == "treatystance"


def test_the_card_of_the_bundled_model(bundled: dict[str, Any]) -> None:
    card = model_card(CardFacts.of_manifest(bundled))
    sound(card)
    values = front_matter(card)
    assert (values["language"], values["license"], values["pipeline_tag"]) == (
        "en",
        "apache-2.0",
        "text-classification",
    )
    assert {"treatystance", "multi-label-classification"} <= set(values["tags"])
    assert values["datasets"] == ["treatystance"]
    assert all(f"`{label}`" in section(card, "What it does") for label in DEFAULT_LABELS)
    made = section(card, "How it was made")
    for key in ("git_commit", "config_sha256", "seed"):
        assert f"`{bundled['provenance'][key]}`" in made
    assert yaml.safe_load(made.split("```yaml\n")[1].split("```")[0]) == bundled["provenance"]["config"]
    assert "12,213 labelled sentences" in section(card, "Training data")
    assert "language-model annotators" in section(card, "Training data")


def test_figures_in_the_card_are_those_recorded(bundled: dict[str, Any]) -> None:
    card = model_card(CardFacts.of_manifest(bundled))
    drawn, ordinary = (bundled["provenance"][key] for key in ("cross_validation", "ordinary_text"))
    as_drawn, weighted = section(card, "Results").split("**Weighted to ordinary text**")
    for text, report in ((as_drawn, drawn), (weighted, ordinary)):
        low, high = report["macro_f1_ci"]
        assert f"macro-F1 {report['macro_f1']:.2f} ({low:.2f} to {high:.2f})" in text
        for label, *cells in table(text, "label"):
            part = report["per_label"][label.strip("`")]
            low, high = part["f1_ci"]
            assert cells[2] == f"{part['f1']:.2f} ({low:.2f} to {high:.2f})"
            assert cells[0].startswith(f"{part['precision']:.2f} (")
            assert cells[4] == str(part["support"])


def test_the_model_index_is_as_the_hub_wants_it(bundled: dict[str, Any]) -> None:
    (entry,) = front_matter(model_card(CardFacts.of_manifest(bundled)))["model-index"]
    assert entry["name"] == bundled["name"]
    found = {}
    for result in entry["results"]:
        assert result["task"]["type"] == "text-classification"
        assert {"name", "type"} <= set(result["dataset"])
        for metric in result["metrics"]:
            assert metric["type"] == "f1"
            found[result["dataset"]["config"], metric["args"]["average"]] = metric["value"]
    for key in ("cross_validation", "ordinary_text"):
        report = bundled["provenance"][key]
        assert found.pop((key, "macro")) == round(report["macro_f1"], 4)
        for label in DEFAULT_LABELS:
            assert found.pop((key, label)) == round(report["per_label"][label]["f1"], 4)
    assert found == {}


def test_what_is_missing_leaves_a_plain_sentence() -> None:
    manifest = {"name": "old", "version": "1", "kind": "linear", "labels": list(DEFAULT_LABELS), "exclusive": False}
    card = model_card(CardFacts.of_manifest(manifest))
    sound(card)
    assert "model-index" not in front_matter(card)
    assert "license" not in front_matter(card)
    for title, text in {
        "Training data": "is not recorded",
        "Results": "No cross-validation was recorded",
        "Calibration and abstention": "Calibration was not measured",
        "Where it is weakest": "were not measured",
        "Behavioural tests": "were not run",
        "How it was made": "Neither commit nor versions were recorded",
    }.items():
        assert text in section(card, title)
    assert "](" not in card  # no picture


@pytest.mark.parametrize("value", [None, 3, "x", [], [1, "x"], {}, {"per_label": 3}, {"overall": [3]}, float("nan")])
@pytest.mark.parametrize("key", ["cross_validation", "ordinary_text", "config", "counts", "sentences"])
def test_records_of_another_form_do_not_break_the_card(bundled: dict[str, Any], key: str, value: Any) -> None:
    manifest = copy.deepcopy(bundled)
    manifest["provenance"][key] = value
    sound(model_card(CardFacts.of_manifest(manifest)))


@pytest.mark.parametrize("value", [None, 3, [3], {"as_drawn": 3}, {"overall": [3]}, [{"line": None}], {"a": [1, 0]}])
@pytest.mark.parametrize(
    "key", ["calibration", "conformal_coverage", "worst_slices", "slices", "statements", "behaviour"]
)
def test_evidence_of_another_form_does_not_break_the_card(
    bundled: dict[str, Any], evidence: dict[str, Any], key: str, value: Any
) -> None:
    sound(model_card(CardFacts.of_manifest(bundled, evidence | {key: value})))
    sound(model_card(CardFacts.of_manifest(bundled, evidence, behaviour={"phenomena": value})))


def test_evidence_stands_in_the_card(bundled: dict[str, Any], evidence: dict[str, Any]) -> None:
    given = copy.deepcopy(evidence)
    given["worst_slices"] = [{"line": "region Nowhere: reaffirmation F1 0.10"}]
    part = given["calibration"]["ordinary_text"]["reaffirmation"]
    part |= {"skill": 0.25, "skill_ci": [0.125, 0.375], "slope": 0.9, "slope_ci": [0.8, None], "ece": 0.00125}
    card = model_card(CardFacts.of_manifest(bundled, given, pictures=PICTURES))
    sound(card)
    rows = {row[0]: row[1:] for row in table(section(card, "Calibration and abstention"), "label")}
    assert rows["`reaffirmation`"][:3] == ["0.25 (0.12 to 0.38)", "0.90", "0.0013"]
    assert "- region Nowhere: reaffirmation F1 0.10" in section(card, "Where it is weakest")
    whole = evidence["statements"]["macro_f1"]
    assert f"**Whole statements**, by the union of their annotated sentences: macro-F1 {whole:.2f}" in card
    covered = evidence["conformal_coverage"]["overall"]
    sides = table(section(card, "Calibration and abstention"), "label | side")
    assert [(row[0], row[1]) for row in sides] == [(f"`{part['label']}`", part["side"]) for part in covered]
    assert sorted(re.findall(r"\]\((\w+\.png)\)", card)) == sorted(set(PICTURES) - {"behaviour.png"})


def test_the_behavioural_table_has_the_worst_first(bundled: dict[str, Any]) -> None:
    phenomena = {"denial": [12, 12], "negation": {"passed": 3, "cases": 12, "rate": 0.25}, "typos": (6, 12)}
    card = model_card(CardFacts.of_manifest(bundled, behaviour={"phenomena": phenomena}, pictures=["behaviour.png"]))
    text = section(card, "Behavioural tests")
    assert table(text, "phenomenon") == [["negation", "3", "12"], ["typos", "6", "12"], ["denial", "12", "12"]]
    assert "21 of 36 composed cases pass, over 3 phenomena" in text
    assert "](behaviour.png)" in text
    # The same from where it is kept.
    kept = CardFacts.of_manifest(bundled, {"behaviour": {"phenomena": phenomena}}, pictures=["behaviour.png"])
    assert model_card(kept) == card


def test_only_what_took_part_is_told_of(bundled: dict[str, Any]) -> None:
    """An optional source whose corpora are not at hand stands in the recipe, but was left out."""
    manifest = copy.deepcopy(bundled)
    manifest["provenance"]["counts"] = {"statements": 5, "labels": {"reaffirmation": 7}, "by_origin": {"composed": 9}}
    card = model_card(CardFacts.of_manifest(manifest))
    sound(card)
    assert "**Composed text**" in card
    assert "**Annotated real text**" not in card
    assert "was left out: its public corpora were not at hand" in section(card, "Training data")
    assert "say little of real text" in section(card, "Results")
    assert table(card, "origin") == [["`composed`", "9"]]
    manifest["provenance"]["counts"]["by_origin"] = dict.fromkeys(PUBLISHERS, 3)
    card = model_card(CardFacts.of_manifest(manifest))
    assert "**Annotated real text**" in card
    assert "**Composed text**" not in card
    assert "say little of real text" not in card


def test_another_codebook(bundled: dict[str, Any]) -> None:
    manifest = copy.deepcopy(bundled)
    labels = ["dovish", "hawkish", "a|b"]
    manifest |= {"name": "fomc", "labels": labels, "exclusive": True}
    provenance = manifest["provenance"]
    provenance["config"]["data"] = [{"path": "train.jsonl"}]
    del provenance["counts"]
    part = next(iter(provenance["cross_validation"]["per_label"].values()))
    for key in ("cross_validation", "ordinary_text"):
        provenance[key]["per_label"] = dict.fromkeys(labels, part)
    card = model_card(CardFacts.of_manifest(manifest))
    sound(card)
    values = front_matter(card)
    assert not {"language", "license", "datasets"} & set(values)
    assert "multi-class-classification" in values["tags"]
    assert "treaties" not in values["tags"]
    assert "exactly one label of: `dovish`, `hawkish`, `a|b`" in section(card, "What it does")
    assert len(table(section(card, "Results"), "label")) == 3
    assert "its own tags; none were run" in section(card, "Behavioural tests")
    for word in ("withdraw", "language-model", "White House"):
        assert word not in card.split("## How it was made")[0]
    assert "for its owner to tell" in section(card, "Training data")


@pytest.mark.parametrize("kind", ["linear", "encoder", "cascade", "forest"])
def test_each_family(bundled: dict[str, Any], kind: str) -> None:
    card = model_card(CardFacts.of_manifest(bundled | {"kind": kind}))
    sound(card)
    assert ("treatystance[encoder]" in section(card, "How to use")) == (kind in ("encoder", "cascade"))


def test_a_trained_model_is_documented(tiny_trained: Trained, evidence: dict[str, Any], tmp_path: Path) -> None:
    told: list[str] = []
    documents = document(tiny_trained, evidence, told.append)
    sound(documents.card)
    assert documents.behaviour
    assert told == [f"behavioural tests: {documents.behaviour.passed} of {documents.behaviour.cases} pass"]
    counts = tiny_trained.artifact.provenance["counts"]
    assert counts["by_origin"] == {"composed": len(tiny_trained.corpus)}
    assert "say little of real text" in documents.card
    files = documents.files()
    assert set(files) == DOCUMENTS == {"README.md", "evidence.json", *PICTURES}
    assert all(files[name].startswith(PNG) for name in PICTURES)
    kept = json.loads(files["evidence.json"])
    assert kept["rows"] == evidence["rows"]
    assert kept["behaviour"]["passed"] == documents.behaviour.passed
    assert "failures" not in kept["behaviour"]
    # From what is kept with the model the same card can be written.
    save_artifact(tiny_trained.artifact, tmp_path / "model", documents=files)
    again = CardFacts.of_manifest(read_manifest(tmp_path / "model"), kept, pictures=read_documents(tmp_path / "model"))
    assert model_card(again) == documents.card
    twice = gather(CardFacts.of_manifest(tiny_trained.artifact.to_dict()), evidence, documents.behaviour)
    assert twice.files() == files
    assert load_artifact(tmp_path / "model").full_name == tiny_trained.artifact.full_name


@pytest.fixture(scope="module")
def documented(tiny_trained: Trained, evidence: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("documented") / "model"
    documents = gather(CardFacts.of_manifest(tiny_trained.artifact.to_dict()), evidence, None)
    save_artifact(tiny_trained.artifact, folder, documents=documents.files())
    return folder


def test_the_command_prints_the_card_that_is_kept(
    documented: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["card", str(documented), "--pictures", str(tmp_path / "pictures")]) == 0
    out, err = capsys.readouterr()
    assert out == (documented / "README.md").read_text("utf-8")
    assert err == f"3 pictures written to {tmp_path / 'pictures'}\n"
    written = {path.name: path.read_bytes() for path in (tmp_path / "pictures").iterdir()}
    assert written == {name: (documented / name).read_bytes() for name in PICTURES if name != "behaviour.png"}


def test_the_command_builds_a_card_where_none_is_kept(
    model_folder: Path, tiny_artifact: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["card", str(model_folder), "--pictures", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    sound(out)
    assert f"# {tiny_artifact.name} {tiny_artifact.version}" in out
    assert err == "no picture is kept with this model\n"
    assert main(["card", "bundled"]) == 0
    sound(capsys.readouterr().out)


def test_the_command_prints_no_card_that_was_changed(
    documented: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny_artifact: Artifact
) -> None:
    save_artifact(tiny_artifact, tmp_path / "model", documents=read_documents(documented))
    (tmp_path / "model" / "README.md").write_text("# The best model of all\n")
    assert main(["card", str(tmp_path / "model")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "README.md: changed since it was written" in err


def test_the_command_refuses_what_is_no_model_and_no_place(
    documented: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["card", str(tmp_path / "none")]) == 2
    assert main(["card", str(tmp_path)]) == 2
    (tmp_path / "file").write_text("x")
    assert main(["card", str(documented), "--pictures", str(tmp_path / "file")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 3
    assert "cannot be written" in err


def test_a_single_label_model_that_records_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = LabelSet(("hawkish", "dovish"), exclusive=True)
    weights = np.array([[2, -1], [-1, 2]], np.float32)
    empty = np.zeros((0, 2), np.float32)
    model = LinearModel(
        labels, NgramSettings(1, None, {}), ["rise", "fall"], weights, [], empty, np.zeros(2, np.float32)
    )
    save_artifact(Artifact("stance", "1", model, DecisionRule(True, *[(1.0, 1.0)] * 5)), tmp_path / "m")
    assert main(["card", str(tmp_path / "m")]) == 0
    sound(capsys.readouterr().out)
