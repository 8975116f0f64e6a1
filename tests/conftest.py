"""What several test files share: a small corpus, a model fitted to it in seconds, and that model's folder."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from treatystance.artifact import Artifact, save_artifact
from treatystance.config import LinearConfig, parse_config
from treatystance.corpus import Corpus, load_corpus
from treatystance.train import Trained, fit

STATEMENTS = 60
VOCABULARY = 400


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write a table of the kind that its ending tells; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as out:
            writer = csv.DictWriter(out, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


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
    config = parse_config(
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
    assert isinstance(config, LinearConfig)
    return config


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


@pytest.fixture(scope="session")
def tiny_checkpoint(tiny_corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an encoder with random weights, two layers of 32, and a tokenizer trained on the small corpus."""
    reason = "IS NOT INSTALLED: NO ENCODER WAS TRAINED"
    torch = pytest.importorskip("torch", reason=f"torch {reason}")
    transformers = pytest.importorskip("transformers", reason=f"transformers {reason}")
    pytest.importorskip("onnx", reason=f"onnx {reason}")
    from tokenizers import BertWordPieceTokenizer

    folder = tmp_path_factory.mktemp("checkpoint")
    tokenizer: Any = BertWordPieceTokenizer()
    tokenizer.train_from_iterator([row.text for row in tiny_corpus], VOCABULARY, show_progress=False)
    # Trained, it does not add the special tokens yet; read back from its vocabulary, it does.
    tokenizer = BertWordPieceTokenizer(tokenizer.get_vocab())
    tokenizer.save(str(folder / "tokenizer.json"))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = transformers.BertConfig(
            vocab_size=tokenizer.get_vocab_size(),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=128,
            initializer_range=0.2,
        )
        transformers.BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_encoder(tiny_checkpoint: Path) -> dict[str, Any]:
    """The settings of an encoder that is fitted in a second, as a recipe has them."""
    return {
        "checkpoint": {"source": str(tiny_checkpoint)},
        "input": {"max_tokens": 64},
        "fitting": {
            "kind": "fine_tuning",
            "epochs": 1,
            "learning_rate": 3e-3,
            "train_embeddings": True,
            "precision": "float32",
        },
        "export": {"precision": "float32"},
    }
