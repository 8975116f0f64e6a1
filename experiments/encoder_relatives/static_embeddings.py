"""Do static embeddings distilled from an encoder pay against the n-gram model?

The method is model2vec's (Tulkens and van Dongen 2024): each token of the vocabulary goes through the packaged MiniLM
alone, between its special tokens; principal components; weights of smooth inverse frequency (Arora et al. 2017), here
from the training rows of each fold; a sentence is the mean of its tokens' vectors, with a logistic head. Tested on the
default recipe's real rows and folds, beside its linear model and the same head on whole sentences read by MiniLM. All
settings tried are reported; the best of them is chosen on the tested rows, which flatters static embeddings.

`python experiments/encoder_relatives/static_embeddings.py [RESULT.json]` from the repository's root, with
TREATYSTANCE_CORPORA set.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy.sparse import csr_matrix, diags
from sklearn.decomposition import PCA
from sklearn.metrics import average_precision_score, precision_recall_curve

from treatystance.config import LinearConfig, load_config
from treatystance.config.encoders import Checkpoint, Frozen, Input
from treatystance.corpus.rows import Corpus
from treatystance.crossval import fit_model
from treatystance.models.base import Batch
from treatystance.models.checkpoint import load_backbone
from treatystance.models.encoder_heads import embeddings, regressions
from treatystance.models.encoder_input import Encoded, InputEncoder
from treatystance.models.encoder_network import Network
from treatystance.provenance import run_facts
from treatystance.split import Fold, grouped_folds, near_duplicates
from treatystance.train import load_data

HERE = Path(__file__).parent
DIMENSIONS = 256
SIF = (1e-4, 1e-3, 1e-2, np.inf)  # the first is model2vec's and the paper's; the last weighs all tokens alike
PENALTIES = (0.01, 0.1, 1.0)  # the C of scikit-learn
BATCH = 512

Scorer = Callable[[Fold], np.ndarray]


@torch.inference_mode()
def token_vectors(network: Network, reader: InputEncoder, pooling: str) -> np.ndarray:
    """Vectors of all tokens of the vocabulary, each read alone, in principal components: (tokens, DIMENSIONS).

    Args:
        network: the encoder.
        reader: its tokenisation.
        pooling: "mean" of the token and the special ones around it, or "token" for its own state.
    """
    empty = reader.encode(Batch([""], [None], [None]))[0].ids
    first, last = empty[0], empty[-1]
    pool = [1, 1, 1] if pooling == "mean" else [0, 1, 0]
    size = network.backbone.config.vocab_size
    found = np.zeros((size, network.head.in_features), np.float32)
    for start in range(0, size, BATCH):
        tokens = range(start, min(size, start + BATCH))
        padded = reader.pad([Encoded([first, token, last], [0, 0, 0], pool) for token in tokens])
        found[tokens] = network.embed(**{name: torch.from_numpy(matrix) for name, matrix in padded.items()}).numpy()
    return PCA(DIMENSIONS, svd_solver="covariance_eigh").fit_transform(found)


def token_counts(reader: InputEncoder, corpus: Corpus, size: int) -> csr_matrix:
    """How often each token stands in each row, special ones left out: (rows, tokens)."""
    encoded = [sentence.ids[1:-1] for sentence in reader.encode(Batch.of(corpus.rows))]
    ends = np.cumsum([0, *map(len, encoded)])
    tokens = np.concatenate(encoded).astype(np.int64)
    counts = csr_matrix((np.ones(len(tokens)), tokens, ends), (len(encoded), size))
    counts.sum_duplicates()
    return counts


def static(counts: csr_matrix, vectors: np.ndarray, members: np.ndarray, sif: float) -> np.ndarray:
    """Every row's mean of weighted token vectors, frequencies taken from `members` alone: (rows, DIMENSIONS)."""
    frequency = np.asarray(counts[members].sum(axis=0)).ravel()
    weights = 1 / (1 + frequency / frequency.sum() / sif)
    lengths = np.maximum(np.asarray(counts.sum(axis=1)).ravel(), 1)
    return diags(1 / lengths) @ counts @ (weights[:, None] * vectors)


def headed(corpus: Corpus, matrix_of: Callable[[Fold], np.ndarray], c: float) -> Scorer:
    """Scores a fold's test rows with a logistic head on a matrix, weighted as the linear model's rows are."""
    targets = corpus.label_matrix()
    weights = np.array([row.weight for row in corpus.rows])
    auxiliary = np.array([row.auxiliary for row in corpus.rows])

    def score(fold: Fold) -> np.ndarray:
        matrix, part = matrix_of(fold), fold.train
        weight, bias = regressions(
            matrix[part], targets[part], weights[part], corpus.labels.exclusive, Frozen(c=c), auxiliary[part]
        )
        return matrix[fold.test] @ weight.T + bias

    return score


def linear(config: LinearConfig, corpus: Corpus) -> Scorer:
    """Scores a fold's test rows with the recipe's linear model."""
    return lambda fold: fit_model(config, corpus, fold.train).logits(Batch.of(corpus.take(fold.test).rows))


def best_f1(target: np.ndarray, scores: np.ndarray) -> float:
    """The F1 of the threshold that suits these scores best."""
    precision, recall, _ = precision_recall_curve(target, scores)
    return float((2 * precision * recall / np.maximum(precision + recall, 1e-12)).max())


def figures(corpus: Corpus, folds: list[Fold], logits: list[np.ndarray]) -> dict[str, float]:
    """Average precision and best F1 of each label over the tested rows of all folds, and their means."""
    tested = np.concatenate([fold.test for fold in folds])
    targets, scores = corpus.label_matrix()[tested], np.concatenate(logits)
    found: dict[str, float] = {}
    for measure, of in (("average_precision", average_precision_score), ("best_f1", best_f1)):
        values = [float(of(targets[:, k], scores[:, k])) for k in range(targets.shape[1])]
        found |= {f"{label}.{measure}": value for label, value in zip(corpus.labels.names, values, strict=True)}
        found[f"macro.{measure}"] = float(np.mean(values))
    return {name: round(value, 4) for name, value in found.items()}


def standard(logits: list[np.ndarray]) -> list[np.ndarray]:
    """Logits brought to mean 0 and variance 1 in each fold, so that those of two models can be added."""
    return [(part - part.mean(0)) / part.std(0) for part in logits]


def main() -> None:
    """Measure every model and write the result."""
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "static_embeddings.json"
    config = load_config(Path("configs/linear.yaml"))
    corpus = load_data(config, print)
    pairs = near_duplicates([row.text for row in corpus.rows])
    split, matrix = config.split, corpus.label_matrix()
    folds = grouped_folds(corpus.rows, matrix, split.folds, config.seed, None, pairs, split.auxiliary_apart)
    result: dict[str, object] = {
        "corpus_sha256": corpus.sha256,
        "config_sha256": config.sha256,
        "seed": config.seed,
        "tested": sum(len(fold.test) for fold in folds),
        **run_facts(),
    }
    scored: dict[str, list[np.ndarray]] = {}

    def measure(name: str, scorer: Scorer) -> None:
        start = time.perf_counter()
        scored[name] = [scorer(fold) for fold in folds]
        result[name] = figures(corpus, folds, scored[name])
        out.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
        print(f"{name} ({time.perf_counter() - start:.0f} s): {result[name]}", flush=True)

    measure("linear", linear(config, corpus))
    backbone, tokenizer = load_backbone(Checkpoint())
    reader, network = InputEncoder(tokenizer, Input()), Network(backbone, len(corpus.labels)).eval()
    counts = token_counts(reader, corpus, backbone.config.vocab_size)
    for pooling in ("mean", "token"):
        start = time.perf_counter()
        vectors = token_vectors(network, reader, pooling)
        print(f"token vectors, {pooling}: {time.perf_counter() - start:.0f} s", flush=True)
        for sif in SIF:
            matrices = {id(fold): static(counts, vectors, fold.train, sif) for fold in folds}
            for c in PENALTIES:
                measure(f"static.{pooling}.sif{sif:g}.c{c:g}", headed(corpus, lambda fold, m=matrices: m[id(fold)], c))
    whole = embeddings(network, reader, Batch.of(corpus.rows)).astype(np.float64)
    for c in PENALTIES:
        measure(f"frozen.c{c:g}", headed(corpus, lambda fold: whole, c))
    for kind in ("static", "frozen"):
        names = [name for name in scored if name.startswith(kind)]
        best = max(names, key=lambda name: result[name]["macro.average_precision"])
        both = [a + b for a, b in zip(standard(scored["linear"]), standard(scored[best]), strict=True)]
        result[f"linear + {best}"] = figures(corpus, folds, both)
        print(f"linear + {best}: {result[f'linear + {best}']}", flush=True)
    out.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
