"""The only importer of MLflow: tracking, the registry, and the way from a model reference to a verified artifact."""

from __future__ import annotations

import logging
import os
import re
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from treatystance.artifact import Artifact, load_artifact, save_artifact
from treatystance.comparison import is_comparison, load_comparison
from treatystance.errors import MissingExtraError, ModelReferenceError, TreatystanceError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "DEFAULT_TRACKING",
    "Run",
    "aliased_version",
    "load_reference",
    "log_decision",
    "log_run",
    "model_version",
    "open_run",
    "resolve",
    "run_file",
    "set_alias",
]

DEFAULT_TRACKING = "sqlite:///mlflow.db"
LATEST = "latest_trained"
# The folder of ours inside a logged model: fixed here, not read from the model's own description.
_INSIDE = Path("data") / "treatystance_model"
# What MLflow takes, so that a name it refuses is refused before anything is judged.
_ALIAS = re.compile(r"(?!(?:latest|v\d+)$)[\w-]{1,200}", re.IGNORECASE)
_PACKAGED = ("minilm", "minilm-cascade")
_PACKAGE = "treatystance_minilm"


def _tracking_uri() -> str:
    return os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_TRACKING


@contextmanager
def _mlflow(error: type[TreatystanceError], what: str, reading: bool = True) -> Iterator[Any]:
    """MLflow, pointed at MLFLOW_TRACKING_URI or at mlflow.db in the working folder; what it refuses becomes `error`.

    Reading never creates a store.
    """
    uri = _tracking_uri()
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    database = uri.removeprefix("sqlite:///")
    if reading and database != uri and not Path(database).exists():
        raise ModelReferenceError(f"{what}: no tracking database {database}; set MLFLOW_TRACKING_URI")
    with warnings.catch_warnings():
        # MLflow's libraries warn about one another; nothing that a user of this package could mend.
        warnings.simplefilter("ignore")
        import mlflow
        from sqlalchemy.exc import SQLAlchemyError

        for name in ("alembic", "mlflow"):
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            mlflow.set_tracking_uri(uri)
            yield mlflow
        except (mlflow.exceptions.MlflowException, SQLAlchemyError, OSError) as cause:
            reason = " ".join(str(cause).split())[:300]
            raise error(f"{what}: MLflow at {_without_password(uri)} says: {reason}") from None


def _without_password(uri: str) -> str:
    scheme, separator, rest = uri.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


def load_reference(reference: str) -> Artifact:
    """The verified model that a reference names, or the comparison model that it asks for (`nli:…`, `chat:…`).

    Raises:
        ModelReferenceError: the reference leads nowhere.
        ArtifactError: the model is changed, incomplete or newer than this version.
        MissingExtraError: the reference needs a package that is not installed.
    """
    if is_comparison(reference):
        return load_comparison(reference)
    return load_artifact(resolve(reference))


def resolve(reference: str) -> Path:
    """The local folder of a reference.

    `bundled`, `minilm`, `minilm-cascade`, a folder, `models:/NAME@ALIAS`, `models:/NAME/VERSION` or `runs:/…`.

    Raises:
        ModelReferenceError: the reference leads nowhere.
        MissingExtraError: it needs a package that is not installed.
    """
    if is_comparison(reference):
        raise ModelReferenceError(f"{reference!r} is a comparison model, for evaluate and predict; give a model folder")
    if reference == "bundled":
        return Path(str(files("treatystance").joinpath("bundled")))
    if reference in _PACKAGED:
        return _packaged(reference)
    if reference.startswith(("models:/", "runs:/")):
        return _download(reference)
    if Path(reference).is_dir():
        return Path(reference)
    raise ModelReferenceError(
        f"no model {reference!r}: give bundled, minilm, minilm-cascade, a model folder, models:/NAME@ALIAS, "
        "models:/NAME/VERSION or runs:/ID/model"
    )


def _packaged(reference: str) -> Path:
    """The folder of a model of the data-only package; the package is looked for, never imported."""
    found = find_spec(_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise MissingExtraError(f"model {reference!r} needs a package: pip install 'treatystance[encoder]'")
    folder = Path(found.submodule_search_locations[0]) / reference
    if not folder.is_dir():
        raise ModelReferenceError(f"the installed {_PACKAGE} has no model {reference!r}: upgrade it")
    return folder


# Downloaded models stay until the process ends: worker processes read them too.
_downloads: list[tempfile.TemporaryDirectory[str]] = []


def _download(reference: str) -> Path:
    with _mlflow(ModelReferenceError, f"no model {reference!r}") as mlflow:
        target = tempfile.TemporaryDirectory(prefix="treatystance-")
        _downloads.append(target)
        inside = Path(mlflow.artifacts.download_artifacts(reference, dst_path=target.name)) / _INSIDE
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


class OpenRun:
    """A run that is under way: its id, and `log` for what becomes known while it goes on."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Log metrics of a step, such as an epoch.

        Raises:
            TreatystanceError: MLflow refused.
        """
        with _mlflow(TreatystanceError, "the run cannot be tracked", reading=False) as mlflow:
            now = int(time.time() * 1000)
            entities = [mlflow.entities.Metric(key, float(value), now, step) for key, value in metrics.items()]
            mlflow.MlflowClient().log_batch(self.run_id, metrics=entities)


@contextmanager
def open_run(name: str) -> Iterator[OpenRun]:
    """Start a run of the experiment `name`; it is marked as failed when the block fails. `log_run` ends it.

    Raises:
        TreatystanceError: MLflow refused.
    """
    with _mlflow(TreatystanceError, "the run cannot be tracked", reading=False) as mlflow:
        mlflow.set_experiment(name)
        run_id = mlflow.start_run().info.run_id
        # No run stays active in this process while models are fitted: libraries would log into it.
        mlflow.end_run("RUNNING")
    try:
        yield OpenRun(run_id)
    except BaseException:
        with _mlflow(TreatystanceError, "the run cannot be tracked", reading=False) as mlflow:
            mlflow.MlflowClient().set_terminated(run_id, "FAILED")
        raise


def log_run(
    artifact: Artifact,
    *,
    run_id: str | None = None,
    parameters: Mapping[str, Any],
    metrics: Mapping[str, float],
    fold_metrics: list[Mapping[str, float]],
    tags: Mapping[str, str],
    dataset_sha256: str,
    dataset_source: str,
    texts: Mapping[str, str],
    figures: Mapping[str, Figure],
    work: Path,
    documents: Mapping[str, bytes] | None = None,
) -> Run:
    """Track a training run and register its model; the alias `latest_trained` moves to it.

    Args:
        artifact: the model.
        run_id: of an open run to complete; by default a new one.
        parameters: flat parameters.
        metrics: overall metrics.
        fold_metrics: per fold, logged with the fold's number as step.
        tags: hashes, commit, versions.
        dataset_sha256: full hash of the corpus.
        dataset_source: where the data came from, for people.
        texts: text files to keep, by name.
        figures: pictures to keep, by name.
        work: a scratch folder.
        documents: what is kept with the model itself, such as its card.

    Raises:
        TreatystanceError: MLflow refused.
    """
    folder = work / _INSIDE.name
    save_artifact(artifact, folder, documents=documents)
    with _mlflow(TreatystanceError, "the run cannot be tracked", reading=False) as mlflow:
        mlflow.set_experiment(artifact.name)
        with mlflow.start_run(run_id) as run:
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
            version = str(_log_model(mlflow, artifact, folder).registered_model_version)
        mlflow.MlflowClient().set_registered_model_alias(artifact.name, LATEST, version)
    return Run(run.info.run_id, artifact.name, version)


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
    body = reference.removeprefix("models:/")
    if body == reference or not ("@" in body or "/" in body):
        raise ModelReferenceError(f"{reference!r}: give models:/NAME/VERSION or models:/NAME@ALIAS")
    with _mlflow(ModelReferenceError, f"no model {reference!r}") as mlflow:
        client = mlflow.MlflowClient()
        if "@" in body:
            found = client.get_model_version_by_alias(*body.rsplit("@", 1))
        else:
            found = client.get_model_version(*body.rsplit("/", 1))
    return found.name, str(found.version)


def aliased_version(name: str, alias: str) -> str | None:
    """The version that an alias of a registered model stands for, or None where there is no such alias.

    Raises:
        ModelReferenceError: there is no such registered model, no alias can have this name, or the registry cannot be
            read.
    """
    if not _ALIAS.fullmatch(alias):
        raise ModelReferenceError(
            f"no alias may be named {alias!r}: give letters, digits, _ and -, but not latest, nor v and a number"
        )
    with _mlflow(ModelReferenceError, f"no registered model {name!r}") as mlflow:
        aliases = mlflow.MlflowClient().get_registered_model(name).aliases
    return str(aliases[alias]) if alias in aliases else None


def set_alias(name: str, alias: str, version: str, why: Mapping[str, str]) -> None:
    """Point an alias at a version and note on that version why.

    Raises:
        TreatystanceError: the registry refused.
    """
    with _mlflow(TreatystanceError, f"the alias {alias!r} cannot be moved") as mlflow:
        _note(mlflow, name, version, why)
        mlflow.MlflowClient().set_registered_model_alias(name, alias, version)


def run_file(name: str, version: str, path: str) -> Path:
    """A local copy of a file that the training run of a registered version keeps; it stays until the process ends.

    Raises:
        ModelReferenceError: there is no such version, or its run keeps no such file.
    """
    with _mlflow(ModelReferenceError, f"models:/{name}/{version} has no {path} in its run; train it again") as mlflow:
        run_id = mlflow.MlflowClient().get_model_version(name, version).run_id
        target = tempfile.TemporaryDirectory(prefix="treatystance-")
        _downloads.append(target)
        return Path(mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=path, dst_path=target.name))


def log_decision(
    name: str,
    version: str,
    alias: str,
    current: str | None,
    promoted: bool,
    why: str,
    *,
    parameters: Mapping[str, Any],
    metrics: Mapping[str, float],
    tags: Mapping[str, str],
    texts: Mapping[str, str],
) -> str:
    """Track a decision of the gate as a run of the experiment `NAME.promotions`, and move the alias if it was won.

    The version gets the tag `gate.ALIAS`: the decision, why, and the run. A run whose alias could not be moved is
    marked as failed, and no alias moves without a run.

    Args:
        name: of the registered model.
        version: that was judged.
        alias: that was asked for.
        current: the version that had it when this one was judged.
        promoted: whether the gate let it pass.
        why: one line.
        parameters: flat parameters.
        metrics: figures of the decision.
        tags: who decided, on which data, with which code.
        texts: text files to keep, by name.

    Returns:
        The id of the run.

    Raises:
        TreatystanceError: MLflow refused, or the alias has moved meanwhile.
    """
    decision = "promoted" if promoted else "refused"
    with _mlflow(TreatystanceError, "the decision cannot be tracked") as mlflow:
        mlflow.set_experiment(f"{name}.promotions")
        with mlflow.start_run(run_name=f"{name} {version} {alias} {decision}") as run:
            mlflow.log_params({key: str(value)[:6000] for key, value in parameters.items()})
            mlflow.log_metrics(dict(metrics))
            mlflow.set_tags({**tags, "decision": decision, "why": why[:5000]})
            for file, text in texts.items():
                mlflow.log_text(text, file)
            note = {f"gate.{alias}": f"{decision}: {why[:4000]} (run {run.info.run_id})"}
            if not promoted:
                _note(mlflow, name, version, note)
                return str(run.info.run_id)
            if (now := aliased_version(name, alias)) != current:
                raise TreatystanceError(
                    f"the alias {alias!r} went from version {current} to {now} meanwhile; promote again"
                )
            try:
                set_alias(name, alias, version, note)
            except TreatystanceError:
                # The version noted a promotion that did not come about.
                failed = f"failed: the alias was not moved (run {run.info.run_id})"
                _note(mlflow, name, version, {f"gate.{alias}": failed})
                raise
    return str(run.info.run_id)


def _note(mlflow: Any, name: str, version: str, tags: Mapping[str, str]) -> None:
    for key, value in tags.items():
        mlflow.MlflowClient().set_model_version_tag(name, version, key, value)
