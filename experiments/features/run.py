"""Average precision on real text of the linear recipe with parts of its features left out.

`python experiments/features/run.py` from the repository's root, with TREATYSTANCE_CORPORA set; 10 minutes of two cores.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from sklearn.metrics import average_precision_score

from treatystance.config import LinearConfig, load_config
from treatystance.corpus.rows import Corpus
from treatystance.crossval import fit_model, outer_folds
from treatystance.models.base import Batch
from treatystance.provenance import run_facts
from treatystance.split import Fold, near_duplicates
from treatystance.train import load_data

HERE = Path(__file__).parent
RECIPE = Path("configs/linear.yaml")
VARIANTS = {
    "all": [],
    "words_1": ["features.word_ngrams=[1, 1]"],
    "words_1_2": ["features.word_ngrams=[1, 2]"],
    "no_characters": ["features.char_ngrams=null"],
    "no_country_marks": ["features.countries=false"],
    "no_anchors": ["features.anchors={}"],
    "no_classes": ["features.classes={}"],
    "words_and_characters_alone": ["features.countries=false", "features.anchors={}", "features.classes={}"],
}


def scores(config: LinearConfig, corpus: Corpus, folds: list[Fold]) -> np.ndarray:
    """Out-of-fold logits of the tested rows of all folds."""

    def one(fold: Fold) -> np.ndarray:
        return fit_model(config, corpus, fold.train).logits(Batch.of(corpus.take(fold.test)))

    return np.concatenate(Parallel(n_jobs=-1)(delayed(one)(fold) for fold in folds))


def main() -> None:
    """Measure every variant and write result.json."""
    whole = load_config(RECIPE)
    corpus = load_data(whole)
    folds = outer_folds(whole, corpus, near_duplicates([row.text for row in corpus.rows]))
    tested = np.concatenate([fold.test for fold in folds])
    targets, weights = corpus.label_matrix()[tested], corpus.take(tested).sampling_weights()
    result = {"corpus_sha256": corpus.sha256, "config_sha256": whole.sha256, "seed": whole.seed, **run_facts()}
    for name, overrides in VARIANTS.items():
        config = load_config(RECIPE, overrides)
        if not isinstance(config, LinearConfig):
            raise SystemExit(f"{RECIPE} is of another kind now")
        logits = scores(config, corpus, folds)
        for kind, counted in (("", None), ("ordinary.", weights)):
            values = [
                float(average_precision_score(targets[:, k], logits[:, k], sample_weight=counted))
                for k in range(len(corpus.labels))
            ]
            for label, value in zip(corpus.labels.names, values, strict=True):
                result[f"{kind}{name}.{label}.average_precision"] = round(value, 4)
            result[f"{kind}{name}.macro_average_precision"] = round(float(np.mean(values)), 4)
        print(name, [round(value, 3) for value in values], flush=True)
    (HERE / "result.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
