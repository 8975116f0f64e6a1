"""Average precision on real text against the amount of composed text, real text, or both that was trained on.

`python experiments/learning_curves/run.py` from the repository's root, with TREATYSTANCE_CORPORA set; 10 minutes.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from sklearn.metrics import average_precision_score

from treatystance.config import LinearConfig, load_config
from treatystance.corpus.rows import Corpus
from treatystance.crossval import fit_model
from treatystance.models.base import Batch
from treatystance.provenance import run_facts
from treatystance.split import Fold, grouped_folds
from treatystance.train import load_data

HERE = Path(__file__).parent
SHARES = (0.25, 0.5, 1.0)


def scores(config: LinearConfig, corpus: Corpus, folds: list[Fold], kept: np.ndarray) -> np.ndarray:
    """Out-of-fold logits of the tested rows of all folds, trained on the kept rows only."""

    def one(fold: Fold) -> np.ndarray:
        members = fold.train[kept[fold.train]]
        model = fit_model(config, corpus, members)
        return model.logits(Batch.of(corpus.take(fold.test).rows))

    return np.concatenate(Parallel(n_jobs=-1)(delayed(one)(fold) for fold in folds))


def main() -> None:
    """Measure every point and write result.json."""
    config = load_config(Path("configs/linear.yaml"))
    corpus = load_data(config)
    matrix, split = corpus.label_matrix(), config.split
    folds = grouped_folds(corpus.rows, matrix, split.folds, config.seed, None, None, split.auxiliary_apart)
    tested = np.concatenate([fold.test for fold in folds])
    targets = corpus.label_matrix()[tested]
    real = np.array([row.evaluate for row in corpus.rows])
    documents = np.array([row.doc_id for row in corpus.rows])
    rng = np.random.default_rng(config.seed)
    rank = dict(zip(rng.permutation(np.unique(documents)), np.linspace(0, 1, len(np.unique(documents))), strict=True))
    place = np.array([rank[document] for document in documents])
    result = {"corpus_sha256": corpus.sha256, "config_sha256": config.sha256, "seed": config.seed, **run_facts()}
    for kind, members in (("composed", ~real), ("real", real), ("both", np.ones(len(real), bool))):
        for share in SHARES:
            kept = members & (place <= share)
            logits = scores(config, corpus, folds, kept)
            for k, label in enumerate(corpus.labels.names):
                value = average_precision_score(targets[:, k], logits[:, k])
                result[f"{kind}.{share}.{label}.average_precision"] = round(float(value), 4)
            values = [result[f"{kind}.{share}.{label}.average_precision"] for label in corpus.labels.names]
            result[f"{kind}.{share}.macro_average_precision"] = round(float(np.mean(values)), 4)
            result[f"{kind}.{share}.sentences"] = int(kept.sum())
            print(kind, share, int(kept.sum()), values, flush=True)
    (HERE / "result.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
