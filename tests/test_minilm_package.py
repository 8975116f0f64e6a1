"""The packaged encoders are what their recipes make of the shipped labels, and do what their card shows."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import subprocess
import sys
import time
import venv
from pathlib import Path
from typing import Any

import pytest

import treatystance
from treatystance import Predictor, Statement, cli
from treatystance.artifact import load_artifact, read_manifest
from treatystance.config import load_config
from treatystance.corpus import load_corpus
from treatystance.corpus.load import read_annotations
from treatystance.statement import LabelSet

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "models" / "treatystance-minilm"
DATA = PACKAGE / "src" / "treatystance_minilm"
RECIPES = {"minilm": "encoder.yaml", "minilm-cascade": "cascade.yaml"}
RECORDS = {"minilm": "minilm", "minilm-cascade": "minilm_cascade"}
EXIT = "Poland will leave the Ottawa Convention."


def present(name: str) -> Path:
    if not (DATA / name).is_dir():
        pytest.skip(f"{DATA / name} IS NOT THERE: THE PACKAGED MODEL WAS NOT TRIED; `make minilm` BUILDS IT")
    return DATA / name


@pytest.fixture(scope="module", params=RECIPES)
def name(request: pytest.FixtureRequest) -> str:
    model: str = request.param
    return model


@pytest.fixture(scope="module")
def folder(name: str) -> Path:
    return present(name)


@pytest.fixture(scope="module")
def predictor(folder: Path) -> Predictor:
    for library in ("onnxruntime", "tokenizers"):
        pytest.importorskip(library, reason=f"{library} IS NOT INSTALLED: NO PACKAGED ENCODER WAS TRIED")
    return Predictor.load(str(folder))


def record(name: str) -> dict[str, Any]:
    path = ROOT / "experiments" / RECORDS[name] / "result.json"
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def test_the_models_are_sound_and_of_this_version(name: str, folder: Path) -> None:
    artifact = load_artifact(folder)
    assert artifact.model.kind == {"minilm": "encoder", "minilm-cascade": "cascade"}[name]
    assert artifact.version == treatystance.__version__
    assert artifact.labels == LabelSet()


def test_the_package_is_small_and_holds_no_file_twice() -> None:
    for name in RECIPES:
        present(name)
    files = [path for path in DATA.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert sum(path.stat().st_size for path in files) <= 25_000_000
    assert len({hashlib.sha256(path.read_bytes()).digest() for path in files}) == len(files)
    assert {str(path.relative_to(DATA)) for path in files if path.suffix == ".py"} == {"__init__.py"}
    shared = {file: entry.get("beside") for file, entry in read_manifest(DATA / "minilm-cascade")["files"].items()}
    graphs = {file: place for file, place in shared.items() if file.startswith("encoder.")}
    assert graphs == {f"encoder.{file}": f"minilm/{file}" for file in read_manifest(DATA / "minilm")["files"]}


def test_the_models_were_made_by_the_shipped_recipes_from_the_shipped_labels(name: str, folder: Path) -> None:
    provenance = load_artifact(folder).provenance
    assert provenance["config_sha256"] == load_config(ROOT / "configs" / RECIPES[name]).sha256
    annotations = read_annotations(["package:annotations"], LabelSet())
    assert provenance["sentences"] == len(load_corpus(["package:composed"])) + len(annotations)


def test_the_recorded_run_is_the_model_s(name: str, folder: Path) -> None:
    provenance, run = load_artifact(folder).provenance, record(name)
    assert run["config_sha256"] == provenance["config_sha256"]
    assert run["corpus_sha256"] == provenance["corpus_sha256"]
    assert run["macro_f1"] == pytest.approx(provenance["cross_validation"]["macro_f1"], abs=1e-6)


def test_the_card_names_the_recorded_figures(name: str, folder: Path) -> None:
    card = (PACKAGE / "README.md").read_text("utf-8")
    assert re.search(rf"(?<![\d.]){record(name)['macro_f1']:.2f}(?!\d)", card)
    assert name in card


@pytest.mark.parametrize(
    ("text", "government", "tags"),
    [
        ("We will leave the Convention.", None, {"intent_to_withdraw"}),
        ("Our country remains a committed party to the Treaty and complies with it in full.", None, {"reaffirmation"}),
        ("We have given shelter to half a million refugees.", None, {"humanitarian_commitment"}),
        ("Last year my Government withdrew its troops from the northern province.", None, set()),
        ("Thank you, Mr. President, and good luck to you.", None, set()),
        (EXIT, "POL", {"intent_to_withdraw"}),
        (EXIT, "LTU", set()),
    ],
)
def test_plain_sentences(predictor: Predictor, text: str, government: str | None, tags: set[str]) -> None:
    (prediction,) = predictor.predict([Statement(text, government=government)])
    assert set(prediction.tags) == tags


def test_the_command_says_what_the_predictor_says(
    predictor: Predictor, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = f"{EXIT} We shall stand by the wounded, and by every other treaty that we have signed. The harvest was good."
    assert cli.main(["predict", "--json", "--model", str(folder), "--government", "POL", text]) == 0
    (printed,) = json.loads(capsys.readouterr().out)
    (wanted,) = predictor.predict([Statement(text, government="POL")])
    assert len(wanted.sentences) == 3
    assert printed == wanted.to_dict()


def test_predicting_loads_no_training_library(predictor: Predictor, folder: Path) -> None:
    code = (
        "import sys; from treatystance import Predictor\n"
        f"assert Predictor.load({str(folder)!r}).predict(['We will leave the Convention.'])[0].tags\n"
        "print({name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    found = ast.literal_eval(done.stdout)
    assert {"onnxruntime", "tokenizers"} <= found
    assert found.isdisjoint(["torch", "transformers", "sklearn", "mlflow", "pandas", "pyarrow", "scipy", "joblib"])


@pytest.mark.slow
def test_the_package_predicts_in_a_fresh_environment_without_torch(tmp_path: Path) -> None:
    present("minilm")
    venv.create(tmp_path / "env", with_pip=True)
    fresh = tmp_path / "env" / "bin"

    def pip(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(fresh / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)

    probe = pip("--dry-run", "--no-deps", "numpy")
    if probe.returncode:
        pytest.skip(f"PIP REACHES NO INDEX, SO THE PACKAGE WAS NOT TRIED: {probe.stderr.strip()[-300:]}")
    installed = pip("-c", "constraints.txt", "./models/treatystance-minilm", ".[encoder]")
    assert installed.returncode == 0, installed.stderr
    for model in RECIPES:
        for run in ("first", "second"):
            began = time.perf_counter()
            done = subprocess.run(
                [fresh / "treatystance", "predict", "--model", model, "We will leave the Convention."],
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
                cwd=tmp_path,
            )
            print(f"{model}: {time.perf_counter() - began:.2f} s for the {run} process")
            assert (done.returncode, done.stderr) == (0, "")
            assert done.stdout.startswith("intent_to_withdraw")
    absent = subprocess.run([fresh / "python", "-c", "import torch"], capture_output=True, timeout=60, check=False)
    assert absent.returncode == 1
