"""Builds the models that are shipped, from their recipes and the public corpora, and records the runs.

`python -m treatystance.bundle linear` writes `src/treatystance/bundled/`; `python -m treatystance.bundle minilm` writes
the folders of the data-only package in `models/treatystance-minilm/`. All sources of the recipes must be at hand.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from treatystance import __version__
from treatystance.artifact import save_artifact
from treatystance.config import Recipe, load_config
from treatystance.console import say
from treatystance.crossval import out_of_fold
from treatystance.evidence.report import evidence_report
from treatystance.recording import experiment_record
from treatystance.train import Trained, document, fit, load_data

__all__ = ["build", "main"]

_MINILM = Path("models/treatystance-minilm/src/treatystance_minilm")


@dataclass(frozen=True)
class _Shipped:
    """A shipped model: recipe, folder of the model, record of the run, and the model beside it that it shares with."""

    recipe: Path
    folder: Path
    record: Path
    beside: str | None = None


_SHIPPED = {
    "linear": (_Shipped(Path("configs/linear.yaml"), Path("src/treatystance/bundled"), Path("experiments/bundled")),),
    "minilm": (
        _Shipped(Path("configs/encoder.yaml"), _MINILM / "minilm", Path("experiments/minilm")),
        _Shipped(
            Path("configs/cascade.yaml"), _MINILM / "minilm-cascade", Path("experiments/minilm_cascade"), "minilm"
        ),
    ),
}


def build(config: Recipe, keep: Path | None = None) -> Trained:
    """Fit a shipped model; its version is the package's.

    Args:
        config: the recipe.
        keep: where fitted encoders are kept.

    Raises:
        InputError: a public corpus is not at hand.
    """
    required = config.model_copy(
        update={"data": tuple(source.model_copy(update={"optional": False}) for source in config.data)}
    )
    return fit(config, load_data(required), __version__, say, keep)


def _ship(shipped: _Shipped, keep: Path | None) -> None:
    config = load_config(shipped.recipe)
    trained = build(config, keep)
    scored = out_of_fold(trained.corpus, trained.validation)
    evaluation = config.evaluation
    evidence = evidence_report(scored, evaluation.resamples, evaluation.confidence, config.seed)
    shipped.folder.parent.mkdir(parents=True, exist_ok=True)
    new = shipped.folder.with_name(shipped.folder.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    save_artifact(trained.artifact, new, shipped.beside, document(trained, evidence, say).files())
    shutil.rmtree(shipped.folder, ignore_errors=True)
    new.rename(shipped.folder)
    shipped.record.mkdir(parents=True, exist_ok=True)
    record = json.dumps(experiment_record(trained.artifact, trained.validation), indent=1) + "\n"
    (shipped.record / "result.json").write_text(record, "utf-8")
    (shipped.record / "out_of_fold.jsonl").write_text(scored.to_jsonl(), "utf-8")


def main() -> None:
    """Build shipped models in place, from the checkout's root, and record the runs."""
    parser = argparse.ArgumentParser(description="build the models that are shipped")
    parser.add_argument("models", choices=sorted(_SHIPPED))
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep fitted encoders there; a broken run goes on")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as spare:
        for shipped in _SHIPPED[options.models]:
            # The cascade takes the encoders that were just fitted.
            _ship(shipped, options.keep or Path(spare))


if __name__ == "__main__":
    main()
