"""Encoders side by side in one run: sentences a second on ordinary text, and macro-F1 on rows that none was fitted on.

    TREATYSTANCE_CORPORA=DIR python benchmarks/encoders.py [--sentences 2000] [--fold 4] [--keep build/encoders]

The same fine-tuned network (configs/encoder.yaml, fitted without the rows of one fold, kept in `--keep`) is run by
Hugging Face's `pipeline` (one sentence at a time, and 32), by sentence-transformers, by torch with our batches, by
onnxruntime in float32 and in int8, and behind the linear model as a cascade. All use the same threads. Speed is that on
a random sample of sentences of the public corpora; macro-F1 is that on the fold's rows, at each one's best thresholds.
Writes a table and a JSON record to standard output, and the record and a picture where `--out` says.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from treatystance.calibration import best_f1_threshold
from treatystance.config import EncoderConfig, EncoderPart, LinearConfig, load_config
from treatystance.config.encoders import Export
from treatystance.crossval import fit_model, outer_folds
from treatystance.models.base import Batch, Floats
from treatystance.models.cascade import CascadeModel
from treatystance.models.checkpoint import load_backbone
from treatystance.models.encoder import batches
from treatystance.models.encoder_fit import fit_encoder
from treatystance.models.encoder_input import InputEncoder
from treatystance.models.encoder_network import Network
from treatystance.pool import pool_sentences
from treatystance.split import near_duplicates
from treatystance.stacking import fit_cascade
from treatystance.train import load_data

Scorer = Callable[[Batch], Floats]
ROOT = Path(__file__).parents[1]
NAMES: tuple[str, ...] = (
    "pipeline, batch 1",
    "pipeline, batch 32",
    "sentence-transformers",
    "torch, our batches",
    "onnxruntime float32",
)
NAMES += ("onnxruntime int8", "cascade", "linear")


def torch_scorer(network: Network, encoder_input: InputEncoder) -> Scorer:
    """torch in float32 with batches by length."""

    def score(batch: Batch) -> Floats:
        encoded = encoder_input.encode(batch)
        scores = np.zeros((len(batch), network.head.out_features))
        with torch.inference_mode():
            for members in batches(encoded):
                padded = encoder_input.pad([encoded[i] for i in members])
                inputs = {name: torch.from_numpy(matrix) for name, matrix in padded.items()}
                scores[members] = network(**inputs).numpy()
        return scores

    return score


def read_texts(encoder_input: InputEncoder, batch: Batch) -> list[str]:
    """The sentences as the network reads them, for libraries that take strings."""
    return list(encoder_input.read(batch)[0])


def pipeline_scorer(network: Network, encoder_input: InputEncoder, folder: Path, size: int) -> Scorer:
    """Hugging Face's text-classification pipeline, with the same encoder under its own head."""
    from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast, pipeline

    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=network.head.out_features)
    classify = pipeline("text-classification", model=model, tokenizer=tokenizer, top_k=None, device=-1)

    def score(batch: Batch) -> Floats:
        found = classify(
            read_texts(encoder_input, batch), batch_size=size, truncation=True, max_length=128, function_to_apply="none"
        )
        return np.array([[part["score"] for part in sorted(one, key=lambda p: p["label"])] for one in found])

    return score


def sentence_transformers_scorer(network: Network, encoder_input: InputEncoder, folder: Path) -> Scorer:
    """sentence-transformers' embeddings, then the head."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer

    model = SentenceTransformer(
        modules=[Transformer(str(folder), max_seq_length=128), Pooling(network.head.in_features)], device="cpu"
    )
    weight, bias = network.head.weight.detach().numpy(), network.head.bias.detach().numpy()

    def score(batch: Batch) -> Floats:
        texts = read_texts(encoder_input, batch)
        return np.asarray(model.encode(texts, batch_size=32, show_progress_bar=False) @ weight.T + bias, np.float64)

    return score


def macro_f1(scores: Floats, targets: Any) -> float:
    """Mean over labels of the highest F1 that any threshold gives."""
    values = []
    for column, target in zip(scores.T, targets.T, strict=True):
        p = 1 / (1 + np.exp(-column))
        tags = p >= best_f1_threshold(p, target, np.ones(len(p)))
        values.append(2 * (tags & target).sum() / (tags.sum() + target.sum()))
    return float(np.mean(values))


def picture(results: dict[str, dict[str, float]], path: Path) -> None:
    """Speed against macro-F1."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, found in results.items():
        speed = found["sentences_per_second"]
        if "macro_f1" in found:
            axes.scatter(speed, found["macro_f1"], s=50, label=name)
        else:
            axes.axvline(speed, linestyle=":", linewidth=1, color="grey")
            axes.text(speed, 0.02, name, rotation=90, transform=axes.get_xaxis_transform())
    axes.margins(x=0.15, y=0.2)
    axes.legend(loc="lower center")
    axes.set(xscale="log", xlabel="sentences a second (ordinary text)", ylabel="macro-F1 (rows not fitted on)")
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sentences", type=int, default=2000)
    parser.add_argument("--fold", type=int, default=4)
    parser.add_argument("--keep", type=Path, default=Path("build/benchmark"))
    parser.add_argument("--out", type=Path, help="folder for result.json and encoders.png")
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    warnings.simplefilter("ignore")

    config = load_config(ROOT / "configs" / "encoder.yaml")
    linear_config = load_config(ROOT / "configs" / "linear.yaml")
    assert isinstance(linear_config, LinearConfig)
    assert isinstance(config, EncoderConfig)
    corpus = load_data(config)
    fold = outer_folds(config, corpus, near_duplicates([row.text for row in corpus]))[options.fold]
    rows, test = corpus.take(fold.train), corpus.take(fold.test)
    part = EncoderPart(**{field: getattr(config, field) for field in EncoderPart.model_fields})

    def fitted(precision: str) -> Any:
        return fit_encoder(
            Batch.of(rows),
            rows.label_matrix(),
            np.array([row.weight for row in rows]),
            corpus.labels,
            part.model_copy(update={"export": Export(precision=precision)}),  # type: ignore[arg-type]
            config.seed,
            auxiliary=np.array([row.auxiliary for row in rows], bool),
            documents=[row.doc_id for row in rows],
            folder=options.keep,
            say=lambda message: print(message, file=sys.stderr, flush=True),
        )

    float32, int8 = fitted("float32"), fitted("int8")
    backbone, tokenizer = load_backbone(config.checkpoint)
    network = Network(backbone, len(corpus.labels), config.input.pooling)
    (last,) = options.keep.glob("checkpoint-*/model.safetensors")
    network.load_state_dict(
        {name[8:]: tensor for name, tensor in load_file(last).items() if name.startswith("network.")}
    )
    network.eval()
    encoder_input = InputEncoder(tokenizer, config.input)
    folder = options.keep / "as_hub"
    backbone.save_pretrained(folder)
    from transformers import PreTrainedTokenizerFast

    tokenizer_file = options.keep / "tokenizer.json"
    tokenizer_file.write_bytes(tokenizer)
    PreTrainedTokenizerFast(tokenizer_file=str(tokenizer_file), **{"pad_token": "[PAD]"}).save_pretrained(folder)

    linear: Any = fit_model(linear_config, corpus, fold.train)
    batch, targets = Batch.of(test), test.label_matrix()
    settings = fit_cascade(
        linear.logits(batch), int8.logits(batch), targets, test.sampling_weights(), corpus.labels.exclusive, 0.99
    ).settings
    cascade = CascadeModel(corpus.labels, linear, int8, settings)
    scorers: dict[str, Scorer] = dict(
        zip(
            NAMES,
            (
                pipeline_scorer(network, encoder_input, folder, 1),
                pipeline_scorer(network, encoder_input, folder, 32),
                sentence_transformers_scorer(network, encoder_input, folder),
                torch_scorer(network, encoder_input),
                float32.logits,
                int8.logits,
                cascade.logits,
                linear.logits,
            ),
            strict=True,
        )
    )
    pool = pool_sentences(("ungdc", "whitehouse"), options.sentences, config.seed, ())
    few = pool.take(range(len(pool) // 5))
    results: dict[str, dict[str, float]] = {}
    for name, score in scorers.items():
        # The slow ones see a fifth of the same random sample.
        sample = few if "pipeline" in name else pool
        score(few.take(range(32)))
        seconds = []
        for _ in range(2 if "pipeline" in name else 3):
            start = time.perf_counter()
            score(sample)
            seconds.append(time.perf_counter() - start)
        results[name] = {"sentences_per_second": len(sample) / min(seconds)}
        if "pipeline" not in name:  # its head is another one
            results[name]["macro_f1"] = macro_f1(score(batch), targets)
    base = results["pipeline, batch 32"]["sentences_per_second"]
    print(f"{'':24} sentences/s    ratio  macro-F1")
    for name, found in results.items():
        f1 = f"{found['macro_f1']:.3f}" if "macro_f1" in found else "    -"
        speed = found["sentences_per_second"]
        found["ratio"] = speed / base
        print(f"{name:24} {speed:11,.0f}  {speed / base:7.1f}     {f1}")
    differences = {
        "float32_from_torch": float(np.abs(float32.logits(batch) - scorers["torch, our batches"](batch)).max()),
        "int8_from_torch": float(np.abs(int8.logits(batch) - scorers["torch, our batches"](batch)).max()),
    }
    record = {
        "sentences": options.sentences,
        "fold": options.fold,
        "fold_rows": len(test),
        "threads": torch.get_num_threads(),
        "cascade_reads": cascade.share_read(pool),
        "largest_difference_of_logits": differences,
        "results": results,
    }
    print(json.dumps(record))
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        flat = {key: value for key, value in record.items() if not isinstance(value, dict)} | differences
        flat |= {f"{name}.{key}": round(value, 4) for name, found in results.items() for key, value in found.items()}
        (options.out / "result.json").write_text(json.dumps(flat, indent=1) + "\n", "utf-8")
        picture(results, options.out / "encoders.png")


if __name__ == "__main__":
    main()
