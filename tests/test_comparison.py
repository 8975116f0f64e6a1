"""`treatystance.comparison`: comparison models go the same way to predictions and reports as ours."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from test_chat import Server, server
from test_nli import folder, make
from treatystance import Predictor, Statement, cli
from treatystance.artifact import save_artifact
from treatystance.comparison import DEFAULT_CHECKPOINT, is_comparison, load_comparison
from treatystance.errors import InputError, ModelReferenceError, TreatystanceError
from treatystance.statement import DEFAULT_LABELS
from treatystance.train import evaluate

__all__ = ["folder", "make", "server"]  # fixtures

KEY = "sk-not-to-be-seen"


@pytest.fixture
def chat(server: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """A reference to the chat model of the local server."""
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    return "chat:some-model"


@pytest.fixture
def _wired(monkeypatch: pytest.MonkeyPatch) -> None:
    """References are looked up here, whatever the registry does with them."""
    monkeypatch.setattr("treatystance.registry.load_reference", load_comparison)
    monkeypatch.setattr("treatystance.predictor.load_reference", load_comparison)


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    rows: list[dict[str, Any]] = [
        {"text": "We leave the pact.", "labels": ["intent_to_withdraw"], "doc_id": "a"},
        {"text": "We stand by the pact.", "labels": ["reaffirmation"], "doc_id": "b"},
        {"text": "We protect the displaced.", "labels": ["humanitarian_commitment"], "doc_id": "c"},
        {"text": "We fold our tents and leave.", "labels": [], "doc_id": "c"},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("reference", ["nli", "nli:some/checkpoint", "nli:./folder", "chat:gpt", "chat:org/model:tag"])
def test_what_is_a_comparison(reference: str) -> None:
    assert is_comparison(reference)


@pytest.mark.parametrize("reference", ["bundled", "./nli", "models:/nli/1", "runs:/1/model", "nlichat:x", ""])
def test_what_is_none(reference: str) -> None:
    assert not is_comparison(reference)
    with pytest.raises(ModelReferenceError):
        load_comparison(reference)


def test_nli_alone_is_political_debate(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def load(checkpoint: str, labels: object) -> None:
        asked.append(checkpoint)
        raise InputError("enough")

    monkeypatch.setattr("treatystance.models.nli.NliModel.load", load)
    for reference in ("nli", "nli:", "nli:a/b"):
        with pytest.raises(InputError, match="enough"):
            load_comparison(reference)
    assert asked == [DEFAULT_CHECKPOINT, DEFAULT_CHECKPOINT, "a/b"]


def test_nli_predicts(folder: Path) -> None:
    artifact = load_comparison(f"nli:{folder}")
    assert artifact.full_name == f"nli/{folder.name}"
    assert artifact.labels.names == DEFAULT_LABELS
    (prediction,) = Predictor(artifact).predict([Statement("We leave the pact. We stand by the treaty.", None, "POL")])
    assert prediction.model == f"nli/{folder.name}"
    first, second = prediction.sentences
    spans, batch = Predictor(artifact).split([Statement("We leave the pact. We stand by the treaty.", None, "POL")])
    assert len(spans[0]) == 2
    expected = 1 / (1 + np.exp(-artifact.model.logits(batch)))
    for sentence, row in zip((first, second), expected, strict=True):
        assert list(sentence.scores.values()) == pytest.approx(row.tolist())
        assert sentence.tags == tuple(name for name, p in zip(DEFAULT_LABELS, row, strict=True) if p >= 0.5)
        assert not sentence.uncertain


@pytest.mark.usefixtures("_wired")
def test_nli_is_evaluated(folder: Path, labelled: Path) -> None:
    report, name = evaluate(f"nli:{folder}", labelled, resamples=20)
    assert name == f"nli/{folder.name}"
    assert report.n == 4
    assert set(report.per_label) == set(DEFAULT_LABELS)


def test_chat_predicts(chat: str) -> None:
    (prediction,) = Predictor(load_comparison(chat)).predict(["We leave the pact. The hall is large."])
    assert prediction.model == "chat/some-model"
    assert prediction.tags == ("intent_to_withdraw",)
    first, second = prediction.sentences
    assert list(first.scores.values()) == pytest.approx([0.99, 0.01, 0.01])
    assert list(second.scores.values()) == pytest.approx([0.01, 0.01, 0.01])
    assert not prediction.uncertain


@pytest.mark.usefixtures("_wired")
def test_chat_is_evaluated(chat: str, labelled: Path) -> None:
    report, name = evaluate(chat, labelled, resamples=20)
    assert name == "chat/some-model"
    assert report.per_label["reaffirmation"].f1 == 1
    assert report.per_label["intent_to_withdraw"].precision == 0.5
    assert report.exact_match == 0.75


@pytest.mark.usefixtures("_wired")
def test_the_command_tells_of_failures_in_one_line(
    chat: str, server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["predict", "--model", chat, "We leave the pact."]) == 0
    assert "intent_to_withdraw 0.99" in capsys.readouterr().out
    server.script = [lambda request: (401, {}, KEY.encode())]
    assert cli.main(["predict", "--model", chat, "We leave the pact."]) == 1
    refused = capsys.readouterr().err
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    assert cli.main(["predict", "--model", chat, "We leave the pact."]) == 1
    away = capsys.readouterr().err
    assert "http://127.0.0.1:9/v1: cannot be reached" in away
    monkeypatch.delenv("OPENAI_BASE_URL")
    monkeypatch.delenv("OPENAI_API_KEY")
    assert cli.main(["predict", "--model", chat, "We leave the pact."]) == 2
    keyless = capsys.readouterr().err
    assert "set OPENAI_API_KEY" in keyless
    for message in (refused, away, keyless):
        assert message.count("\n") == 1
        assert KEY not in message


@pytest.mark.parametrize("reference", ["chat", "chat:", "chat: "])
def test_a_chat_model_must_be_named(reference: str) -> None:
    with pytest.raises(ModelReferenceError, match="chat:MODEL"):
        load_comparison(reference)


def test_comparison_models_are_not_saved(chat: str, tmp_path: Path) -> None:
    with pytest.raises(TreatystanceError, match="not saved"):
        save_artifact(load_comparison(chat), tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_what_is_known_of_it_can_be_written_down(chat: str, folder: Path) -> None:
    for reference in (chat, f"nli:{folder}"):
        artifact = load_comparison(reference)
        assert KEY not in json.dumps(artifact.provenance)
        json.dumps(artifact.decision.to_dict(), allow_nan=False)


def test_looking_at_a_reference_loads_nothing_heavy() -> None:
    code = (
        "import sys; from treatystance.comparison import is_comparison; is_comparison('nli');"
        "print([name for name in ('torch', 'transformers', 'sklearn', 'mlflow') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
