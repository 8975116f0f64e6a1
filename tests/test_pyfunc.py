import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest

from treatystance import Prediction, Predictor, Statement
from treatystance.artifact import Artifact
from treatystance.errors import InputError
from treatystance.pyfunc import PyfuncModel
from treatystance.registry import log_run
from treatystance.statement import DEFAULT_LABELS

pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")

REFERENCE = "models:/tiny/1"
TEXTS = [
    "Ruritania has decided to withdraw from the Convention. We shall protect civilians.",
    "We remain bound by the treaty.",
    "Poland leaves the treaty.",
    "",
]
COLUMNS = ["id", *(f"score_{n}" for n in DEFAULT_LABELS), *(f"tag_{n}" for n in DEFAULT_LABELS), "uncertain", "model"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, tiny_artifact: Artifact) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/store.db")
        log_run(
            tiny_artifact,
            parameters={},
            metrics={},
            fold_metrics=[],
            tags={},
            dataset_sha256="0" * 64,
            dataset_source="composed",
            texts={},
            figures={},
            work=folder / "work",
        )
        yield folder


def rows(predictions: list[Prediction]) -> list[dict[str, Any]]:
    return [
        {
            **{f"score_{name}": score for name, score in p.scores.items()},
            **{f"tag_{name}": name in p.tags for name in p.scores},
            "uncertain": ";".join(p.uncertain),
            "model": p.model,
        }
        for p in predictions
    ]


def test_the_logged_model_gives_what_the_predictor_gives(store: Path, tiny_artifact: Artifact) -> None:
    model = mlflow.pyfunc.load_model(REFERENCE)
    found = model.predict(pd.DataFrame({"text": TEXTS}))
    assert list(found.columns) == COLUMNS
    assert found.drop(columns="id").to_dict("records") == rows(Predictor(tiny_artifact).predict(TEXTS))
    assert len(set(found["id"])) == len(TEXTS)


def test_optional_columns_are_used(store: Path, tiny_artifact: Artifact) -> None:
    frame = pd.DataFrame(
        {
            "text": [TEXTS[2]] * 3,
            "id": ["a", "b", None],
            "government": ["POL", None, "POL"],
            "date": ["2025-03-18", None, None],
            "kind": ["speech", None, "wire_report"],
        }
    )
    found = mlflow.pyfunc.load_model(REFERENCE).predict(frame)
    statements = [
        Statement(TEXTS[2], government="POL", kind="speech"),
        Statement(TEXTS[2]),
        Statement(TEXTS[2], government="POL", kind="wire_report"),
    ]
    assert found.drop(columns="id").to_dict("records") == rows(Predictor(tiny_artifact).predict(statements))
    assert found["id"].tolist() == ["a", "b", "3"]
    assert found["score_intent_to_withdraw"].nunique() == 3


def test_rows_without_id_are_numbered_as_in_files(tiny_artifact: Artifact) -> None:
    """`treatystance score` numbers rows from 1."""
    found = PyfuncModel(Predictor(tiny_artifact)).predict(pd.DataFrame({"text": TEXTS}))
    assert found["id"].tolist() == ["1", "2", "3", "4"]


@pytest.mark.parametrize(
    ("frame", "refusal"),
    [
        ({"body": ["We leave."]}, mlflow.exceptions.MlflowException),
        ({"text": [7]}, mlflow.exceptions.MlflowException),
        ({"text": [["We leave."]]}, InputError),  # MLflow lets a list pass for a string
    ],
)
def test_what_does_not_fit_the_signature_is_refused(
    store: Path, frame: dict[str, Any], refusal: type[Exception]
) -> None:
    with pytest.raises(refusal, match="text"):
        mlflow.pyfunc.load_model(REFERENCE).predict(pd.DataFrame(frame))


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA])
def test_a_missing_text_is_not_scored_as_a_word(store: Path, tiny_artifact: Artifact, missing: Any) -> None:
    """A null must not be read as the text "None" or "nan"."""
    frame = pd.DataFrame({"text": pd.Series(["We leave.", missing], dtype=object)})
    with pytest.raises((InputError, mlflow.exceptions.MlflowException)):
        mlflow.pyfunc.load_model(REFERENCE).predict(frame)
    with pytest.raises(InputError):
        PyfuncModel(Predictor(tiny_artifact)).predict(frame)


def test_no_rows_give_no_rows(tiny_artifact: Artifact) -> None:
    found = PyfuncModel(Predictor(tiny_artifact)).predict(pd.DataFrame({"text": []}))
    assert list(found.columns) == COLUMNS
    assert len(found) == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(url: str, body: Any) -> tuple[int, Any]:
    data = json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


@contextlib.contextmanager
def served(store: Path, log: Path) -> Iterator[str]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", REFERENCE, "--env-manager", "local"]
    with log.open("w") as out:
        server = subprocess.Popen(
            [*command, "-h", "127.0.0.1", "-p", str(port), "--workers", "1"],
            cwd=store,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={
                **os.environ,
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                "MLFLOW_TRACKING_URI": f"sqlite:///{store}/store.db",
            },
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + 90
            while True:
                try:
                    with urllib.request.urlopen(f"{url}/ping", timeout=2):  # noqa: S310
                        break
                except OSError:
                    assert server.poll() is None, log.read_text()
                    assert time.monotonic() < deadline, log.read_text()
                    time.sleep(0.2)
            yield url
        finally:
            for kind in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(server.pid, kind)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    server.wait(timeout=10)


def test_mlflow_serves_the_same_scores(store: Path, tmp_path: Path, tiny_artifact: Artifact) -> None:
    with served(store, tmp_path / "log.txt") as url:
        status, answer = ask(f"{url}/invocations", {"dataframe_records": [{"text": text} for text in TEXTS]})
        refused, reason = ask(f"{url}/invocations", {"dataframe_records": [{"body": "We leave."}]})
    assert status == 200
    found = [{k: v for k, v in row.items() if k != "id"} for row in answer["predictions"]]
    wanted = rows(Predictor(tiny_artifact).predict(TEXTS))
    assert len(found) == len(wanted)
    for have, want in zip(found, wanted, strict=True):
        assert list(have) == list(want)
        for key, value in want.items():
            assert have[key] == (pytest.approx(value, abs=1e-9) if isinstance(value, float) else value)
    assert refused == 400
    assert "text" in json.dumps(reason)
