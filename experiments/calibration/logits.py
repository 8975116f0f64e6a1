"""Raw out-of-fold logits of the linear model and of the encoder → logits.csv, for `run.py`.

`python experiments/calibration/logits.py KEEP` from the repository's root, with TREATYSTANCE_CORPORA set; KEEP is the
folder in which `treatystance train configs/encoder.yaml --keep KEEP` kept its encoders (without them they are fitted
there anew, an hour). The folds are those of both recipes.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np

from treatystance.config import EncoderConfig, LinearConfig, load_config
from treatystance.crossval import outer_folds
from treatystance.fitting import Fitter
from treatystance.models.base import Batch
from treatystance.split import near_duplicates
from treatystance.train import load_data

HERE = Path(__file__).parent


def main(keep: Path) -> None:
    """Score every fold with the models of the others."""
    linear, encoder = (load_config(Path("configs") / name) for name in ("linear.yaml", "encoder.yaml"))
    if not isinstance(linear, LinearConfig) or not isinstance(encoder, EncoderConfig):
        raise SystemExit("configs/linear.yaml and configs/encoder.yaml are of other kinds now")
    corpus = load_data(encoder)
    fitter = Fitter(corpus, encoder.seed, keep)
    names = [f"{kind}.{label}" for kind in ("linear", "encoder") for label in corpus.labels.names]
    with (HERE / "logits.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", *names])
        for number, fold in enumerate(outer_folds(encoder, corpus, near_duplicates([row.text for row in corpus.rows]))):
            batch = Batch.of(corpus.take(fold.test))
            models = fitter.linear(linear, fold.train), fitter.encoder(encoder, fold.train, f"fold_{number}")
            logits = np.column_stack([model.logits(batch) for model in models])
            for i, scores in zip(fold.test, logits, strict=True):
                writer.writerow([corpus.rows[i].id, *(f"{score:.5f}" for score in scores)])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
