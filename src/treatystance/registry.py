"""The only importer of MLflow: tracking, the registry, and the way from a model reference to a verified artifact."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Mapping
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from treatystance.artifact import Artifact, load_artifact, save_artifact
from treatystance.errors import MissingExtraError, ModelReferenceError, TreatystanceError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["DEFAULT_TRACKING", "Run", "load_reference", "log_run", "model_version", "resolve", "set_alias"]

DEFAULT_TRACKING = "sqlite:///mlflow.db"
# The folder of ours inside a logged model: fixed here, not read from the model's own description.
_INSIDE = Path("data") / "treatystance_model"
_PACKAGED = ("minilm", "minilm-cascade")


def _mlflow() -> Any:
    """MLflow, pointed at MLFLOW_TRACKING_URI or at mlflow.db in the working folder, its chatter turned down."""
    # The tracking store's libraries warn about one another; nothing that a user of this package could mend.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow
    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
    mlflow.set_tracking_uri(os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_TRACKING)
    return mlflow


def load_reference(reference: str) -> Artifact:
    """The verified model that a reference names.

    Raises:
        ModelReferenceError: the reference leads nowhere.
        ArtifactError: the model is changed, incomplete or newer than this version.
        MissingExtraError: the reference needs a package that is not installed.
    """
    return load_artifact(resolve(reference))


def resolve(reference: str) -> Path:
    """The local folder of a reference: `bundled`, a folder, `models:/NAME@ALIAS`, `models:/NAME/VERSION`, `runs:/…`.

    Raises:
        ModelReferenceError: the reference leads nowhere.
        MissingExtraError: it needs a package that is not installed.
    """
    if reference == "bundled":
        return Path(str(files("treatystance").joinpath("bundled")))
    if reference in _PACKAGED:
        if find_spec("treatystance_minilm") is None:
            raise MissingExtraError(f"model {reference!r} needs a package: pip install 'treatystance[encoder]'")
        raise ModelReferenceError(f"model {reference!r} is not supported by this version of treatystance")
    if reference.startswith(("models:/", "runs:/")):
        return _download(reference)
    if Path(reference).is_dir():
        return Path(reference)
    raise ModelReferenceError(
        f"no model {reference!r}: give bundled, a model folder, models:/NAME@ALIAS, models:/NAME/VERSION or "
        "runs:/ID/model"
    )


def _download(reference: str) -> Path:
    uri = os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_TRACKING
    if uri == DEFAULT_TRACKING and not Path("mlflow.db").exists():
        raise ModelReferenceError(f"no model {reference!r}: no mlflow.db in this folder; set MLFLOW_TRACKING_URI")
    mlflow = _mlflow()
    try:
        # The warnings are MLflow's own and its libraries'; the registry answers or raises.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            folder = Path(mlflow.artifacts.download_artifacts(reference))
    except (mlflow.exceptions.MlflowException, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelReferenceError(f"no model {reference!r} at {uri}: {reason}") from None
    inside = folder / _INSIDE
    if not inside.is_dir():
        raise ModelReferenceError(f"{reference!r} is a logged model, but not one of treatystance")
    return inside


class Run:
    """What a training run left in MLflow: its id, the registered version and the reference `models:/NAME/VERSION`."""

    def __init__(self, run_id: str, name: str, version: str) -> None:
        self.run_id, self.name, self.version = run_id, name, version

    @property
    def reference(self) -> str:
        """How to name the registered model elsewhere."""
        return f"models:/{self.name}/{self.version}"


def log_run(
    artifact: Artifact,
    *,
    parameters: Mapping[str, Any],
    metrics: Mapping[str, float],
    fold_metrics: list[Mapping[str, float]],
    tags: Mapping[str, str],
    dataset_sha256: str,
    dataset_source: str,
    texts: Mapping[str, str],
    figures: Mapping[str, Figure],
    work: Path,
) -> Run:
    """Track a training run and register its model; the alias `latest` moves to it.

    Args:
        artifact: the model.
        parameters: flat parameters.
        metrics: overall metrics.
        fold_metrics: per fold, logged with the fold's number as step.
        tags: hashes, commit, versions.
        dataset_sha256: full hash of the corpus.
        dataset_source: where the data came from, for people.
        texts: text files to keep, by name.
        figures: pictures to keep, by name.
        work: a scratch folder.

    Raises:
        TreatystanceError: MLflow refused.
    """
    mlflow = _mlflow()
    folder = work / _INSIDE.name
    save_artifact(artifact, folder)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mlflow.set_experiment(artifact.name)
            with mlflow.start_run() as run:
                mlflow.log_params({key: str(value)[:6000] for key, value in parameters.items()})
                mlflow.set_tags({**tags, "dataset_sha256": dataset_sha256})
                mlflow.log_metrics(dict(metrics))
                for step, values in enumerate(fold_metrics):
                    mlflow.log_metrics(dict(values), step=step)
                mlflow.log_input(_dataset(dataset_sha256, dataset_source), context="training")
                for name, text in texts.items():
                    mlflow.log_text(text, name)
                for name, figure in figures.items():
                    mlflow.log_figure(figure, name)
                info = _log_model(mlflow, artifact, folder)
                client = mlflow.MlflowClient()
                version = str(info.registered_model_version)
                client.set_registered_model_alias(artifact.name, "latest_trained", version)
                return Run(run.info.run_id, artifact.name, version)
    except mlflow.exceptions.MlflowException as error:
        raise TreatystanceError(
            f"MLflow at {mlflow.get_tracking_uri()}: {' '.join(str(error).split())[:300]}"
        ) from None


def _dataset(sha256: str, source: str) -> Any:
    from mlflow.data.code_dataset_source import CodeDatasetSource
    from mlflow.data.meta_dataset import MetaDataset

    # MLflow keeps 36 characters of a digest; the whole hash stands in the run's tag `dataset_sha256`.
    kind: Any = MetaDataset
    return kind(CodeDatasetSource(tags={"source": source, "sha256": sha256}), "corpus", digest=sha256[:36])


def _log_model(mlflow: Any, artifact: Artifact, folder: Path) -> Any:
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    from treatystance import __version__

    inputs: list[Any] = [ColSpec("string", "text")]
    inputs += [ColSpec("string", name, required=False) for name in ("id", "government", "date", "kind")]
    outputs: list[Any] = [ColSpec("string", "id")]
    outputs += [ColSpec("double", f"score_{label}") for label in artifact.labels.names]
    outputs += [ColSpec("boolean", f"tag_{label}") for label in artifact.labels.names]
    outputs += [ColSpec("string", "uncertain"), ColSpec("string", "model")]
    return mlflow.pyfunc.log_model(
        name="model",
        # Code by reference to the installed package, data as files: nothing is pickled.
        loader_module="treatystance.pyfunc",
        data_path=str(folder),
        signature=ModelSignature(Schema(inputs), Schema(outputs)),
        input_example=pd.DataFrame({"text": ["We will leave the Convention. We remain bound by humanitarian law."]}),
        pip_requirements=[f"treatystance=={__version__}"],
        registered_model_name=artifact.name,
    )


def model_version(reference: str) -> tuple[str, str]:
    """Name and version that `models:/NAME@ALIAS` or `models:/NAME/VERSION` stands for.

    Raises:
        ModelReferenceError: it is of another form, or there is none.
    """
    mlflow = _mlflow()
    body = reference.removeprefix("models:/")
    if body == reference or not ("@" in body or "/" in body):
        raise ModelReferenceError(f"{reference!r}: give models:/NAME/VERSION or models:/NAME@ALIAS")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            client = mlflow.MlflowClient()
            if "@" in body:
                found = client.get_model_version_by_alias(*body.rsplit("@", 1))
            else:
                found = client.get_model_version(*body.rsplit("/", 1))
    except mlflow.exceptions.MlflowException as error:
        raise ModelReferenceError(f"no model {reference!r}: {' '.join(str(error).split())[:200]}") from None
    return found.name, str(found.version)


def set_alias(name: str, alias: str, version: str, why: Mapping[str, str]) -> None:
    """Point an alias at a version and note on that version why."""
    mlflow = _mlflow()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        client = mlflow.MlflowClient()
        for key, value in why.items():
            client.set_model_version_tag(name, version, key, value)
        client.set_registered_model_alias(name, alias, version)
