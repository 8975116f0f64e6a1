"""The bundled model is what its recipe makes of its data, and does what the README shows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from treatystance import Predictor, Statement
from treatystance.bundle import build
from treatystance.config import LinearConfig, load_config
from treatystance.corpus import load_corpus
from treatystance.corpus.load import read_annotations
from treatystance.corpus.public import CORPORA_VARIABLE, locate
from treatystance.crossval import fit_model
from treatystance.models.base import Batch
from treatystance.statement import LabelSet
from treatystance.train import load_data

ROOT = Path(__file__).parents[1]


def recipe() -> LinearConfig:
    if not (locate("ungdc") and locate("whitehouse")):
        pytest.skip(f"{CORPORA_VARIABLE} IS NOT SET: THE BUNDLED MODEL WAS NOT REBUILT")
    config = load_config(ROOT / "configs" / "linear.yaml")
    assert isinstance(config, LinearConfig)
    return config


@pytest.mark.corpora
def test_rebuilt_weights_agree_with_the_shipped() -> None:
    config = recipe()
    corpus = load_data(config)
    shipped = Predictor.load().artifact
    assert corpus.sha256 == shipped.provenance["corpus_sha256"]
    batch = Batch.of(load_corpus(["package:composed"]).rows)
    rebuilt = fit_model(config, corpus, np.arange(len(corpus)))
    np.testing.assert_allclose(rebuilt.logits(batch), shipped.model.logits(batch), rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.corpora
def test_rebuilt_thresholds_and_calibration_agree_with_the_shipped() -> None:
    rebuilt = build(recipe()).artifact.decision.to_dict()
    shipped = Predictor.load().artifact.decision.to_dict()
    for part in ("slope", "offset", "threshold", "maybe_yes", "maybe_no"):
        np.testing.assert_allclose(rebuilt[part], shipped[part], rtol=0, atol=1e-6)


def test_the_bundled_model_was_made_by_the_shipped_recipe_from_the_shipped_labels() -> None:
    provenance = Predictor.load().artifact.provenance
    assert provenance["config_sha256"] == load_config(ROOT / "configs" / "linear.yaml").sha256
    annotations = read_annotations(["package:annotations"], LabelSet())
    assert provenance["sentences"] == len(load_corpus(["package:composed"])) + len(annotations)


@pytest.mark.parametrize(
    ("text", "government", "tags"),
    [
        ("We will leave the Convention.", None, {"intent_to_withdraw"}),
        ("Our country remains a committed party to the Treaty and complies with it in full.", None, {"reaffirmation"}),
        ("We have given shelter to half a million refugees.", None, {"humanitarian_commitment"}),
        ("Last year my Government withdrew its troops from the northern province.", None, set()),
        ("Thank you, Mr. President, and good luck to you.", None, set()),
    ],
)
def test_plain_sentences(text: str, government: str | None, tags: set[str]) -> None:
    (prediction,) = Predictor.load().predict([Statement(text, government=government)])
    assert set(prediction.tags) == tags


@pytest.mark.slow
def test_the_demo_runs_without_the_corpora(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CORPORA_VARIABLE, raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    done = subprocess.run(
        [sys.executable, "-m", "treatystance.demo"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "models:/treatystance/1" in done.stdout
    assert "intent_to_withdraw" in done.stdout
    shown = {"minilm", "minilm-cascade"} & set(re.findall(r"--model (\S+)$", done.stdout, re.MULTILINE))
    asked = "pip install ./models/treatystance-minilm '.[encoder]'" in done.stdout
    assert asked if not shown else len(shown) == 2, "the encoders are shown, or it is said how to get them"
    assert "mlflow ui" in done.stdout
