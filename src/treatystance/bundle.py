"""Builds the bundled default model: `python -m treatystance.bundle`, from the default recipe and the public corpora.

The recipe is `configs/linear.yaml`; both its sources must be at hand. Writes `src/treatystance/bundled/`, a flat
record of the run and its out-of-fold scores.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from treatystance import __version__
from treatystance.artifact import save_artifact
from treatystance.config import LinearConfig, load_config
from treatystance.crossval import out_of_fold_table
from treatystance.train import Trained, experiment_record, fit, load_data

__all__ = ["build", "main"]


def build(config: LinearConfig) -> Trained:
    """Fit the bundled model; its version is the package's.

    Raises:
        InputError: a public corpus is not at hand.
    """
    required = config.model_copy(
        update={"data": tuple(source.model_copy(update={"optional": False}) for source in config.data)}
    )
    corpus = load_data(required)
    return fit(config, corpus, __version__, lambda message: print(message, file=sys.stderr))


def main() -> None:
    """Build the bundled model in place and record the run."""
    parser = argparse.ArgumentParser(description="build the bundled default model")
    parser.add_argument("--config", type=Path, default=Path("configs/linear.yaml"))
    parser.add_argument("--record", type=Path, default=Path("experiments/bundled/result.json"))
    options = parser.parse_args()
    trained = build(load_config(options.config))
    target = Path(str(files("treatystance").joinpath("bundled")))
    with tempfile.TemporaryDirectory(dir=target.parent) as work:
        save_artifact(trained.artifact, Path(work) / "model")
        shutil.rmtree(target, ignore_errors=True)
        (Path(work) / "model").rename(target)
    options.record.parent.mkdir(parents=True, exist_ok=True)
    options.record.write_text(json.dumps(experiment_record(trained), indent=1) + "\n", "utf-8")
    table = out_of_fold_table(trained.corpus, trained.validation)
    options.record.with_name("out_of_fold.jsonl").write_text(table, "utf-8")


if __name__ == "__main__":
    main()
