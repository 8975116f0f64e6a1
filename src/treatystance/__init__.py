"""treatystance: who is leaving a treaty, who stands by it, and who commits to protect people.

The path of a statement through the modules:

    errors, cores         what goes wrong; how many processor cores there are
    statement             Statement in, Prediction out
    config                YAML recipe → strict configuration
    segment               text → sentences with offsets
    corpus/               labelled files → validated corpus, stand-off annotations, datasets
    split, quality        corpus → folds that cannot leak; how varied it is, and how like real text
    models/               sentences → raw scores, a file per family
    pool                  public corpora → unlabelled sentences
    calibration           raw scores → probabilities, tags, abstentions
    stacking              scores of two models → the numbers of a cascade
    evaluation, figures   labels and scores → report and pictures
    evidence/             what can be said for a model: paired tests, slices, calibration, behaviour, errors, card
    artifact              model ↔ verified folder
    comparison            models to compare with: zero-shot inference, a chat model
    registry, provenance  MLflow: tracking, registry, references
    predictor             Predictor.load(reference).predict(texts)
    fitting, crossval     recipe + corpus → fitted models, and out-of-fold scores, nothing of a fold seen
    recording             a run's settings and figures → flat records and metrics
    train                 recipe → tracked, registered model
    gate                  challenger and champion → findings, and an alias that moves or stays
    tables, batch, pyfunc files and MLflow's interface through the same Predictor
    console               how commands are declared, and how they speak
    corpus_cli            the commands on labelled data
    evidence_cli, cli     the other commands of `treatystance`
    bundle, demo          how the bundled model is made; what `make demo` shows

Importing the package loads none of the libraries behind it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from treatystance.errors import TreatystanceError
    from treatystance.predictor import Predictor
    from treatystance.statement import Prediction, SentencePrediction, Statement

__version__ = "0.1.0"
__all__ = ["Prediction", "Predictor", "SentencePrediction", "Statement", "TreatystanceError", "__version__"]

_HOME = {
    "Predictor": "predictor",
    "Prediction": "statement",
    "SentencePrediction": "statement",
    "Statement": "statement",
    "TreatystanceError": "errors",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module on first use."""
    if name not in _HOME:
        raise AttributeError(f"module 'treatystance' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"treatystance.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
