"""`make demo`: the whole path on what the package ships, told step by step."""

from __future__ import annotations

import json
import os
import sys
from importlib.resources import as_file, files
from importlib.util import find_spec
from pathlib import Path

from treatystance.cli import main as command

__all__ = ["main"]

FOLDER = Path("demo-output")
# What `pip install ./models/treatystance-minilm '.[encoder]'` brings, in the order in which its models are shown.
_ENCODERS = ("minilm", "minilm-cascade")
_ENCODER_PACKAGES = ("treatystance_minilm", "onnxruntime", "tokenizers")


def _step(title: str, *arguments: str) -> None:
    print(f"\n== {title}\n$ treatystance {' '.join(arguments)}", flush=True)
    code = command(arguments)
    if code:
        sys.exit(code)


def main() -> None:
    """Train the default recipe, track and register it, promote it, score a file; print tags with their sentences.

    The tags are those of the promoted model, of the bundled one and, where they are installed, of the encoders.
    """
    FOLDER.mkdir(exist_ok=True)
    tracking = os.environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{FOLDER}/mlflow.db")
    recipe = next((p for p in (Path("configs/linear.yaml"),) if p.exists()), None)
    if recipe is None:
        sys.exit("run the demo from the checkout: it needs configs/linear.yaml")
    _step("Train the default recipe, track it in MLflow, register it", "train", str(recipe))
    _step("Move the alias `champion` to it, through the gate", "promote", "models:/treatystance@latest_trained")
    with as_file(files("treatystance").joinpath("data", "demo", "statements.jsonl")) as given:
        out = FOLDER / "scores.jsonl"
        _step("Score a file of statements", "score", str(given), str(out), "--model", "models:/treatystance@champion")
        for model in ("models:/treatystance@champion", "bundled", *_installed()):
            _show(given, model)
    print(
        f"""
== Where to look next
Scores                {out}
MLflow UI             .venv/bin/mlflow ui --backend-store-uri {tracking}   (then http://127.0.0.1:5000)
Your own text         .venv/bin/treatystance predict "We will leave the Convention."
`predict` uses the bundled model, which has seen real statements too; the one trained here has only seen what the
package ships, unless TREATYSTANCE_CORPORA names a folder with the public corpora (README.md tells how to get them)."""
    )


def _installed() -> tuple[str, ...]:
    """The encoders that can be shown; without them, a line that says how to get them."""
    if all(map(find_spec, _ENCODER_PACKAGES)):
        return _ENCODERS
    print("\n== The encoders are not installed: pip install ./models/treatystance-minilm '.[encoder]'")
    return ()


def _show(given: Path, reference: str) -> None:
    """Tags of each statement with the sentences they rest on, by the model of this reference."""
    from treatystance.predictor import Predictor
    from treatystance.statement import Statement

    print(f"\n== Tags, and the sentences they rest on: --model {reference}")
    predictor = Predictor.load(reference)
    records = [json.loads(line) for line in given.read_text("utf-8").splitlines()]
    for prediction in predictor.predict([Statement(**record) for record in records]):
        print(f"\n{prediction.id}: {', '.join(prediction.tags) or 'no tag'}")
        for sentence in prediction.sentences:
            for tag in sentence.tags:
                print(f"  {sentence.scores[tag]:.2f} {tag}: {sentence.text}")


if __name__ == "__main__":
    main()
