import json
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest

from treatystance import Predictor, __version__, registry
from treatystance.artifact import DOCUMENTS, Artifact, load_artifact, read_documents
from treatystance.cli import main
from treatystance.config import LinearConfig, parse_config
from treatystance.corpus import Corpus
from treatystance.errors import ArtifactError, GateError, MissingExtraError, ModelReferenceError, TreatystanceError
from treatystance.registry import aliased_version, load_reference, log_run, model_version, open_run, resolve, set_alias
from treatystance.statement import DEFAULT_LABELS
from treatystance.train import Trained, train

pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")

TEXTS = ["Ruritania has decided to leave the treaty. We protect civilians.", "We remain bound by the Convention."]


@dataclass(frozen=True)
class Store:
    """A store after one training run."""

    folder: Path
    config: LinearConfig
    trained: Trained
    reference: str
    run: Any

    @property
    def client(self) -> Any:
        return mlflow.MlflowClient()


def write_rows(corpus: Corpus, path: Path) -> None:
    facts = ("id", "doc_id", "text", "prev", "next", "government", "year", "kind")
    rows = [{**{f: getattr(row, f) for f in facts}, "labels": list(row.labels)} for row in corpus]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, tiny_corpus: Corpus) -> Iterator[Store]:
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/store.db")
        write_rows(tiny_corpus, folder / "data.jsonl")
        config = parse_config(
            {
                "kind": "linear",
                "name": "small",
                "seed": 3,
                "data": [{"path": "data.jsonl"}],
                "split": {"kind": "grouped", "folds": 3, "inner_folds": 2},
                "features": {"word_ngrams": [1, 1], "char_ngrams": [3, 4]},
                "evaluation": {"resamples": 100},
            }
        )
        assert isinstance(config, LinearConfig)
        trained, reference = train(config)
        client: Any = mlflow.MlflowClient()
        run = client.get_run(client.get_model_version("small", "1").run_id)
        yield Store(folder, config, trained, reference, run)


def test_train_returns_the_registered_reference(store: Store) -> None:
    assert store.reference == "models:/small/1"
    assert model_version(store.reference) == ("small", "1")
    assert model_version("models:/small@latest_trained") == ("small", "1")


def test_parameters(store: Store) -> None:
    parameters = store.run.data.params
    expected = {
        "name": "small",
        "seed": "3",
        "classifier.c": "10.0",
        "split.folds": "3",
        "data.0.path": "data.jsonl",
        "features.char_ngrams": "[3, 4]",
        **{f"model.{key}": str(value) for key, value in store.trained.artifact.model.describe().items()},
    }
    assert {key: parameters.get(key) for key in expected} == expected


def test_metrics_are_those_of_the_report(store: Store) -> None:
    metrics, report = store.run.data.metrics, store.trained.validation.report
    assert metrics["macro_f1"] == report.macro_f1
    assert (metrics["macro_f1_low"], metrics["macro_f1_high"]) == report.macro_f1_ci
    assert metrics["rows"] == report.n
    for name in DEFAULT_LABELS:
        for part in ("precision", "recall", "f1", "average_precision", "support"):
            assert metrics[f"{name}.{part}"] == getattr(report.per_label[name], part)


def test_metrics_of_each_fold_are_steps(store: Store) -> None:
    history = store.client.get_metric_history(store.run.info.run_id, "fold_macro_f1")
    found = {metric.step: metric.value for metric in history}
    reports = store.trained.validation.fold_reports
    assert len(reports) == 3
    assert found == {step: report.macro_f1 for step, report in enumerate(reports)}


def test_the_dataset_and_its_full_hash(store: Store) -> None:
    corpus = store.trained.corpus
    (given,) = store.run.inputs.dataset_inputs
    assert {tag.value for tag in given.tags} == {"training"}
    assert given.dataset.name == "corpus"
    assert corpus.sha256.startswith(given.dataset.digest)
    assert json.loads(given.dataset.source)["tags"]["sha256"] == corpus.sha256
    assert store.run.data.tags["dataset_sha256"] == corpus.sha256
    assert len(corpus.sha256) == 64


def test_tags_say_where_the_model_came_from(store: Store) -> None:
    tags = store.run.data.tags
    assert tags["config_sha256"] == store.config.sha256
    assert tags["codebook_sha256"] == store.trained.corpus.codebook_sha256
    assert tags["version_treatystance"] == __version__
    assert tags["git_commit"]
    provenance = load_reference(store.reference).provenance
    assert {key: provenance[key] for key in ("config_sha256", "lock_sha256", "git_commit")} == {
        key: tags[key] for key in ("config_sha256", "lock_sha256", "git_commit")
    }


def test_texts_and_pictures(store: Store, tmp_path: Path) -> None:
    folder = Path(mlflow.artifacts.download_artifacts(run_id=store.run.info.run_id, dst_path=str(tmp_path)))
    names = {path.name for path in folder.iterdir()}
    assert names >= {"report.json", "out_of_fold.jsonl", "environment.txt", "confusion.png", "precision_recall.png"}
    report = json.loads((folder / "report.json").read_text("utf-8"))
    assert report == json.loads(json.dumps(store.trained.validation.report.to_dict()))
    for name in ("confusion.png", "precision_recall.png"):
        content = (folder / name).read_bytes()
        assert content.startswith(b"\x89PNG")
        assert len(content) > 5000
    assert f"treatystance=={__version__}" in (folder / "environment.txt").read_text("utf-8").splitlines()
    lines = [json.loads(line) for line in (folder / "out_of_fold.jsonl").read_text("utf-8").splitlines()]
    assert len(lines) == len(store.trained.corpus)
    assert {row.id for row in store.trained.corpus} == {line["id"] for line in lines}
    assert "text" not in lines[0]


def test_the_card_is_kept_with_the_model_and_in_the_run(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(mlflow.artifacts.download_artifacts(run_id=store.run.info.run_id, dst_path=str(tmp_path)))
    card = (folder / "README.md").read_text("utf-8")
    kept = read_documents(resolve(store.reference))
    assert set(kept) == DOCUMENTS
    assert kept["README.md"].decode() == card
    pictures = re.findall(r"\]\((\w+\.png)\)", card)
    assert sorted(pictures) == sorted(name for name in DOCUMENTS if name.endswith(".png"))
    assert all((folder / name).is_file() for name in pictures)
    behaviour = json.loads((folder / "behaviour.json").read_text("utf-8"))
    assert store.run.data.metrics["behaviour.pass_rate"] == behaviour["pass_rate"]
    assert f"{behaviour['passed']} of {behaviour['cases']} composed cases pass" in card
    assert main(["card", store.reference]) == 0
    assert capsys.readouterr().out == card


def test_the_model_has_a_signature_and_an_example(store: Store) -> None:
    info = mlflow.models.get_model_info(store.reference)
    inputs, outputs = info.signature.inputs, info.signature.outputs
    assert inputs.required_input_names() == ["text"]
    assert inputs.optional_input_names() == ["id", "government", "date", "kind"]
    scores, tags = ([f"{kind}_{name}" for name in DEFAULT_LABELS] for kind in ("score", "tag"))
    assert outputs.input_names() == ["id", *scores, *tags, "uncertain", "model"]
    model = mlflow.pyfunc.load_model(store.reference)
    example = model.input_example
    assert list(example.columns) == ["text"]
    assert list(model.predict(example).columns) == outputs.input_names()


def test_nothing_logged_is_a_pickle(store: Store) -> None:
    """No name that says so, and no file whose first byte starts a binary pickle."""
    logged = [path for path in store.folder.rglob("*") if path.is_file() and "artifacts" in path.parts]
    assert {"manifest.json", "MLmodel"} <= {path.name for path in logged}
    for path in logged:
        assert path.suffix not in (".pkl", ".pickle", ".joblib", ".pt", ".bin", ".dill"), path
        assert not path.read_bytes().startswith(b"\x80"), path
    for path in logged:
        if path.name == "MLmodel":
            assert "loader_module: treatystance.pyfunc" in path.read_text("utf-8")


def test_everything_lies_in_the_store(store: Store) -> None:
    assert {path.name for path in store.folder.iterdir()} == {"data.jsonl", "store.db", "mlruns"}


def test_every_form_of_reference_leads_to_the_same_model(store: Store) -> None:
    set_alias("small", "chosen", "1", {"why": "a test"})
    tag = store.client.get_model_version("small", "1").tags["why"]
    assert tag == "a test"
    wanted = Predictor(store.trained.artifact).predict(TEXTS)
    assert any(prediction.tags for prediction in wanted)
    run_id = store.run.info.run_id
    for reference in (
        "models:/small/1",
        "models:/small@chosen",
        f"runs:/{run_id}/model",
        str(resolve("models:/small/1")),
    ):
        assert Predictor.load(reference).predict(TEXTS) == wanted


def test_retraining_gives_a_new_version_with_the_same_scores(store: Store) -> None:
    trained, reference = train(store.config)
    assert reference == "models:/small/2"
    assert model_version("models:/small@latest_trained") == ("small", "2")
    np.testing.assert_array_equal(trained.validation.parts["model"], store.trained.validation.parts["model"])
    assert trained.artifact.full_name == store.trained.artifact.full_name
    assert Predictor.load(reference).predict(TEXTS) == Predictor.load("models:/small/1").predict(TEXTS)


UNKNOWN = [
    "models:/none/1",
    "models:/small/99",
    "models:/small/one",
    "models:/small@none",
    "models:/none@champion",
    "models:/small",
    "models:/",
    "runs:/0123456789abcdef0123456789abcdef/model",
    "runs:/",
    "no-such-folder",
]


@pytest.mark.parametrize("reference", UNKNOWN)
def test_an_unknown_reference_is_told_in_one_line(store: Store, reference: str) -> None:
    with pytest.raises(ModelReferenceError) as caught:
        resolve(reference)
    assert repr(reference) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_an_unknown_path_in_a_known_run(store: Store) -> None:
    with pytest.raises(ModelReferenceError):
        resolve(f"runs:/{store.run.info.run_id}/none")


@pytest.mark.filterwarnings("ignore")
def test_a_logged_model_of_somebody_else_is_refused_unread(store: Store) -> None:
    base: Any = mlflow.pyfunc.PythonModel

    class Echo(base):  # type: ignore[misc]
        def predict(self, model_input: list[str]) -> list[str]:
            return model_input

    with mlflow.start_run() as run:
        mlflow.pyfunc.log_model(name="model", python_model=Echo(), registered_model_name="echo")
        mlflow.log_text("x", "notes/a.txt")
    for reference in ("models:/echo/1", f"runs:/{run.info.run_id}/model", f"runs:/{run.info.run_id}/notes"):
        with pytest.raises(ModelReferenceError, match="not one of treatystance"):
            resolve(reference)


def test_a_registered_model_that_was_changed_is_refused(store: Store) -> None:
    # In the store itself: what `resolve` gives is a copy. Retraining gave every version the same bytes.
    paths = [p for p in (store.folder / "mlruns").rglob("vocabulary.json") if p.parent.name == "treatystance_model"]
    assert paths
    content = paths[0].read_bytes()
    try:
        for path in paths:
            assert path.read_bytes() == content
            path.write_bytes(content[:-1] + b"!")
        with pytest.raises(ArtifactError, match="changed since it was written"):
            load_reference("models:/small/1")
    finally:
        for path in paths:
            path.write_bytes(content)
    assert load_reference("models:/small/1").name == "small"


@pytest.mark.parametrize("reference", ["models:/small/1", "models:/small@champion", "runs:/0123456789abcdef/model"])
def test_a_look_up_without_a_store_creates_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(ModelReferenceError, match=r"no tracking database mlflow\.db"):
        resolve(reference)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("uri", [None, "", "sqlite:///mlflow.db", "sqlite:///other.db"])
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_no_look_up_creates_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str | None) -> None:
    monkeypatch.chdir(tmp_path)
    if uri is None:
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    else:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    for look_up in (
        lambda: resolve("models:/small/1"),
        lambda: model_version("models:/small@champion"),
        lambda: aliased_version("small", "champion"),
        lambda: set_alias("small", "champion", "1", {}),
    ):
        with pytest.raises(TreatystanceError) as caught:
            look_up()
        assert "small" in str(caught.value) or "champion" in str(caught.value)
        assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_the_version_of_an_alias(store: Store) -> None:
    set_alias("small", "looked_up", "1", {})
    assert aliased_version("small", "looked_up") == "1"
    assert aliased_version("small", "latest_trained") == model_version("models:/small@latest_trained")[1]
    assert aliased_version("small", "none") is None
    with pytest.raises(ModelReferenceError, match="no registered model 'none'"):
        aliased_version("none", "looked_up")


def test_what_mlflow_refuses_is_told_in_one_line_without_a_password(store: Store) -> None:
    with pytest.raises(GateError) as caught, registry._mlflow(GateError, "nothing") as library:
        raise library.exceptions.MlflowException("two\nlines")
    assert str(caught.value) == f"nothing: MLflow at sqlite:///{store.folder}/store.db says: two lines"
    assert registry._without_password("postgresql://me:secret@host/db") == "postgresql://host/db"


def test_what_is_no_refusal_of_mlflow_s_passes_through(store: Store) -> None:
    with pytest.raises(KeyError), registry._mlflow(ModelReferenceError, "nothing"):
        raise KeyError("ours")


@pytest.mark.parametrize("uri", ["sqlite:///broken.db", "nonsense://store", "file:///none/store", "not a uri"])
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_store_that_cannot_be_used_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    (tmp_path / "broken.db").write_bytes(b"this is no database at all" * 100)
    for look_up in (resolve, model_version):
        with pytest.raises(TreatystanceError) as caught:
            look_up("models:/small/1")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("reference", ["minilm", "minilm-cascade"])
def test_a_packaged_model_without_its_package_names_the_command(
    monkeypatch: pytest.MonkeyPatch, reference: str
) -> None:
    monkeypatch.setattr("treatystance.registry.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'treatystance\[encoder\]'"):
        resolve(reference)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of models that must not be imported."""
    folder = tmp_path / "site" / "treatystance_minilm"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')\n", "utf-8")
    monkeypatch.syspath_prepend(folder.parent)
    monkeypatch.delitem(sys.modules, "treatystance_minilm", raising=False)
    return folder


@pytest.mark.parametrize("reference", ["minilm", "minilm-cascade"])
def test_a_packaged_model_is_found_without_importing_its_package(
    package: Path, reference: str, model_folder: Path, tiny_artifact: Artifact
) -> None:
    shutil.copytree(model_folder, package / reference)
    assert resolve(reference) == package / reference
    assert load_reference(reference).full_name == tiny_artifact.full_name
    assert "treatystance_minilm" not in sys.modules


@pytest.mark.parametrize("reference", ["minilm", "minilm-cascade"])
def test_a_package_that_lacks_the_model_is_told(package: Path, reference: str) -> None:
    with pytest.raises(ModelReferenceError) as caught:
        resolve(reference)
    assert str(caught.value) == f"the installed treatystance_minilm has no model '{reference}': upgrade it"
    assert not isinstance(caught.value, MissingExtraError)


COMPARISONS = ["nli", "nli:some/checkpoint", "chat:some-model"]


@pytest.mark.parametrize("reference", COMPARISONS)
def test_a_comparison_model_is_loaded_but_has_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: str, tiny_artifact: Artifact
) -> None:
    asked: list[str] = []

    def load_comparison(reference: str) -> Artifact:
        asked.append(reference)
        return tiny_artifact

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "load_comparison", load_comparison)
    assert load_reference(reference) is tiny_artifact
    assert asked == [reference]
    (tmp_path / "nli").mkdir()
    with pytest.raises(ModelReferenceError) as caught:
        resolve(reference)
    assert str(caught.value) == f"'{reference}' is a comparison model, for evaluate and predict; give a model folder"


def test_a_chat_model_behind_its_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    assert load_reference("chat:some-model").full_name == "chat/some-model"
    with pytest.raises(ModelReferenceError, match="names no chat model"):
        load_reference("chat:")


def run_of(store: Store, run_id: str) -> Any:
    return store.client.get_run(run_id)


def test_metrics_arrive_while_a_run_is_under_way(store: Store, tmp_path: Path) -> None:
    with open_run("under_way") as opened:
        # Nothing is active in this process, for a library to log into.
        assert mlflow.active_run() is None
        for step in (4, 8):
            opened.log({"fold_0.loss": 1 / step, "fold_0.seconds": 2.0}, step)
            run = run_of(store, opened.run_id)
            assert run.info.status == "RUNNING"
            assert run.data.metrics == {"fold_0.loss": 1 / step, "fold_0.seconds": 2.0}
        done = log_run(
            replace(store.trained.artifact, name="under_way"),
            run_id=opened.run_id,
            parameters={"seed": 3},
            metrics={"macro_f1": 0.5},
            fold_metrics=[],
            tags={"kind": "test"},
            dataset_sha256="0" * 64,
            dataset_source="nowhere",
            texts={},
            figures={},
            work=tmp_path,
        )
    assert (done.run_id, done.reference) == (opened.run_id, "models:/under_way/1")
    run = run_of(store, opened.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {"fold_0.loss": 1 / 8, "fold_0.seconds": 2.0, "macro_f1": 0.5}
    history = store.client.get_metric_history(opened.run_id, "fold_0.loss")
    assert [(metric.step, metric.value) for metric in history] == [(4, 1 / 4), (8, 1 / 8)]
    assert store.client.get_model_version("under_way", "1").run_id == opened.run_id
    assert len(store.client.search_runs([run.info.experiment_id])) == 1


@pytest.mark.parametrize("error", [ArtifactError("no"), ValueError("no"), KeyboardInterrupt()])
def test_a_run_that_breaks_off_is_marked_as_failed(store: Store, error: BaseException) -> None:
    ids: list[str] = []

    def broken() -> None:
        with open_run("broken") as opened:
            ids.append(opened.run_id)
            opened.log({"fold_0.loss": 0.25}, 1)
            raise error

    with pytest.raises(type(error)) as caught:
        broken()
    assert caught.value is error
    run = run_of(store, ids[0])
    assert run.info.status == "FAILED"
    assert run.data.metrics == {"fold_0.loss": 0.25}
    assert mlflow.active_run() is None


def test_a_metric_that_mlflow_refuses_is_told(store: Store) -> None:
    refused = pytest.raises(TreatystanceError, match="the run cannot be tracked: MLflow at ")
    with refused as caught, open_run("broken") as opened:
        opened.log({"a,b": 1.0}, 1)
    assert "\n" not in str(caught.value)
    assert run_of(store, opened.run_id).info.status == "FAILED"


@pytest.fixture(scope="module")
def encoder_run(
    store: Store, tiny_encoder: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Trained, str, dict[str, dict[str, Any]]]:
    """A trained encoder, its reference, and the run's state at each thing that training said."""
    common = {"kind": "encoder", "name": "small-encoder", "seed": 3, "data": [{"path": "data.jsonl"}]}
    few = {"split": {"kind": "grouped", "folds": 2}, "evaluation": {"resamples": 100}}
    states: dict[str, dict[str, Any]] = {}

    def say(message: str) -> None:
        experiment = store.client.get_experiment_by_name("small-encoder")
        runs = store.client.search_runs([experiment.experiment_id]) if experiment else []
        states[message.partition(":")[0]] = {run.info.status: run.data.metrics for run in runs}

    trained, reference = train(parse_config(common | few | tiny_encoder), say, tmp_path_factory.mktemp("kept"))
    return trained, reference, states


EPOCH = ("learning_rate", "loss", "seconds")


def test_training_an_encoder_tracks_each_epoch_while_it_goes_on(
    store: Store, encoder_run: tuple[Trained, str, dict[str, dict[str, Any]]]
) -> None:
    trained, _, states = encoder_run
    folds = {f"fold_{i}.{figure}" for i in range(2) for figure in EPOCH}
    assert set(states["fitting on all rows"]["RUNNING"]) == folds
    everything = folds | {f"model.{figure}" for figure in EPOCH}
    assert set(states["tracking and registering"]["RUNNING"]) == everything
    run = run_of(store, store.client.get_model_version("small-encoder", "1").run_id)
    assert run.info.status == "FINISHED"
    assert set(run.data.metrics) > everything
    assert run.data.metrics["macro_f1"] == trained.validation.report.macro_f1
    (metric,) = store.client.get_metric_history(run.info.run_id, "model.loss")
    assert metric.step == -(-len(trained.corpus) // 32)
    assert metric.value > 0
    assert run.data.params["fitting.epochs"] == "1"
    assert run.data.params["model.precision"] == "float32"


def test_a_registered_encoder_serves_the_same_scores(
    encoder_run: tuple[Trained, str, dict[str, dict[str, Any]]],
) -> None:
    trained, reference, _ = encoder_run
    assert reference == "models:/small-encoder/1"
    assert model_version("models:/small-encoder@latest_trained") == ("small-encoder", "1")
    wanted = Predictor(trained.artifact).predict(TEXTS)
    assert Predictor.load(reference).predict(TEXTS) == wanted
    served = mlflow.pyfunc.load_model(reference).predict(pd.DataFrame({"text": TEXTS}))
    for name in DEFAULT_LABELS:
        assert served[f"score_{name}"].tolist() == [prediction.scores[name] for prediction in wanted]
        assert served[f"tag_{name}"].tolist() == [name in prediction.tags for prediction in wanted]
    assert set(served["model"]) == {trained.artifact.full_name}


def test_bundled_and_folders_need_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model_folder: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert load_artifact(resolve("bundled")).name
    assert resolve(str(model_folder)) == model_folder
    assert list(tmp_path.iterdir()) == []
