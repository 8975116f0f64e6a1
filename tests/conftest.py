"""Fixtures that several test files share: a small corpus, a model fitted to it in seconds, and that model's folder."""

from collections.abc import Iterator
from pathlib import Path

import joblib
import pytest

from treatystance.artifact import Artifact, save_artifact
from treatystance.config import LinearConfig, parse_config
from treatystance.corpus import Corpus, load_corpus
from treatystance.train import Trained, fit

STATEMENTS = 60


@pytest.fixture(scope="session", autouse=True)
def _one_process() -> Iterator[None]:
    """Folds are fitted in this process: quicker for small data, and tests can watch what is fitted."""
    with joblib.parallel_config(backend="sequential"):
        yield


@pytest.fixture(scope="session")
def tiny_corpus() -> Corpus:
    """The first statements of the packaged composed corpus."""
    corpus = load_corpus(["package:composed"])
    documents = list(dict.fromkeys(row.doc_id for row in corpus))[:STATEMENTS]
    return corpus.take(i for i, row in enumerate(corpus) if row.doc_id in set(documents))


@pytest.fixture(scope="session")
def tiny_config() -> LinearConfig:
    """A recipe that fits in seconds."""
    return parse_config(
        {
            "kind": "linear",
            "name": "tiny",
            "seed": 7,
            "data": [{"path": "package:composed"}],
            "split": {"kind": "grouped", "folds": 3, "inner_folds": 2},
            "features": {"word_ngrams": [1, 2], "char_ngrams": [3, 4]},
            "evaluation": {"resamples": 100},
        }
    )


@pytest.fixture(scope="session")
def tiny_trained(tiny_config: LinearConfig, tiny_corpus: Corpus) -> Trained:
    """What `treatystance.train.fit` makes of the small corpus."""
    return fit(tiny_config, tiny_corpus, "1")


@pytest.fixture(scope="session")
def tiny_artifact(tiny_trained: Trained) -> Artifact:
    """The small model; not to be changed."""
    return tiny_trained.artifact


@pytest.fixture(scope="session")
def model_folder(tiny_artifact: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model on disk; copy it before changing it."""
    folder = tmp_path_factory.mktemp("model") / "tiny"
    save_artifact(tiny_artifact, folder)
    return folder
