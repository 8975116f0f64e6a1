"""SetFit's first step (Tunstall et al. 2022): an encoder learns to tell sentences of like labels from others.

Pairs of labelled sentences go through sentence-transformers' trainer: the cosine of two embeddings is regressed to 1
where the labels are alike and to 0 where not. The setfit library is not used: it reads bare texts without context,
draws its pairs with one fixed seed, and never takes two sentences without any label as alike.
"""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from treatystance.config.encoders import Contrastive
from treatystance.errors import InputError
from treatystance.models.base import Batch
from treatystance.models.checkpoint import quiet, require_training
from treatystance.models.encoder_input import InputEncoder
from treatystance.models.encoder_network import Network

__all__ = ["draw_examples", "draw_pairs", "tune"]

Indices = npt.NDArray[np.intp]

_WARMUP = 0.1  # share of the steps, as in SetFit


def draw_examples(targets: npt.NDArray[np.bool_], examples: int, rng: np.random.Generator) -> Indices:
    """At most `examples` distinct rows, drawn evenly over the labels, having none counted as one more.

    Args:
        targets: (sentences, labels), True where a sentence carries the label.
        examples: how many rows.
        rng: what draws.
    """
    queues = [list(rng.permutation(np.flatnonzero(column))) for column in _kinds(targets).T]
    drawn: dict[int, None] = {}
    while any(queues) and len(drawn) < examples:
        for queue in queues:
            while queue and queue[-1] in drawn:
                queue.pop()
            if queue and len(drawn) < examples:
                drawn[queue.pop()] = None
    return np.array(list(drawn), np.intp)


def draw_pairs(
    targets: npt.NDArray[np.bool_], pairs: int, rng: np.random.Generator
) -> tuple[Indices, Indices, npt.NDArray[np.float32]]:
    """For each row `pairs` other rows, by turns alike and unlike it: alike are two that share a label or have none.

    Args:
        targets: (sentences, labels), True where a sentence carries the label.
        pairs: how many for each row; fewer where no row is alike, or none unlike.
        rng: what draws.

    Returns:
        First rows, second rows, and 1 where they are alike, else 0; each of shape (pairs,).
    """
    kinds = _kinds(targets).astype(np.int64)
    first, second, alike = [], [], []
    for i, kind in enumerate(kinds):
        same = kinds @ kind > 0
        same[i] = False
        other = ~same
        other[i] = False
        for mask, number, target in ((same, (pairs + 1) // 2, 1.0), (other, pairs // 2, 0.0)):
            if (partners := np.flatnonzero(mask)).size and number:
                first += [i] * number
                second += rng.choice(partners, number, replace=number > partners.size).tolist()
                alike += [target] * number
    return np.array(first, np.intp), np.array(second, np.intp), np.array(alike, np.float32)


def _kinds(targets: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """One column more than `targets`, the last: True where a row carries no label."""
    return np.column_stack([targets, ~targets.any(1)])


def tune(
    network: Network,
    encoder_input: InputEncoder,
    batch: Batch,
    targets: npt.NDArray[np.bool_],
    fitting: Contrastive,
    seed: int,
) -> None:
    """Tune `network.backbone` in place on pairs of sentences; the head stays as it is. On a GPU if there is one.

    Args:
        network: the encoder.
        encoder_input: its tokenisation.
        batch: labelled sentences.
        targets: (sentences, labels), True where a sentence carries the label.
        fitting: how many pairs, and how to learn from them.
        seed: of the draw and of the tuning.

    Raises:
        InputError: all the sentences drawn are alike.
        MissingExtraError: sentence-transformers is not installed.
    """
    rng = np.random.default_rng(seed)
    drawn = draw_examples(targets, fitting.examples, rng)
    first, second, alike = draw_pairs(targets[drawn], fitting.pairs, rng)
    if not (alike == 0).any() or not (alike == 1).any():
        raise InputError(
            f"contrastive fitting wants sentences alike and unlike, and the {len(drawn)} drawn make no pairs of both: "
            "give more labelled sentences, or raise fitting.examples or fitting.pairs"
        )
    members = Batch(*([column[i] for i in drawn] for column in (batch.texts, batch.previous, batch.governments)))
    require_training("sentence_transformers", "datasets", "accelerate")
    with quiet():
        _train(network, encoder_input, members, {"first": first, "second": second, "label": alike}, fitting, seed)
    network.zero_grad(set_to_none=True)
    network.eval()


def _train(
    network: Network,
    encoder_input: InputEncoder,
    batch: Batch,
    pairs: dict[str, npt.NDArray[Any]],
    fitting: Contrastive,
    seed: int,
) -> None:
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.base.modules import InputModule
    from sentence_transformers.sentence_transformer.losses import CosineSimilarityLoss
    from transformers import PrinterCallback

    encoded = encoder_input.encode(batch)

    class Sentences(InputModule):
        """The network as sentence-transformers wants it; a "text" is the number of a sentence."""

        def __init__(self) -> None:
            start: Any = super().__init__
            start()
            self.network = network

        def preprocess(self, inputs: Any, prompt: str | None = None, **_: Any) -> dict[str, torch.Tensor]:
            padded = encoder_input.pad([encoded[int(number)] for number in inputs])
            return {name: torch.from_numpy(matrix) for name, matrix in padded.items()}

        def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
            names = ("input_ids", "attention_mask", "pool_mask", "token_type_ids")
            return {**features, "sentence_embedding": self.network.embed(*(features[name] for name in names))}

        def save(self, *_: Any, **__: Any) -> None:
            raise NotImplementedError

    class Trainer(SentenceTransformerTrainer):
        def add_model_card_callback(self, *_: Any) -> None:
            """No model card is written."""

    rows = {name: list(map(str, pairs[name])) for name in ("first", "second")} | {"label": pairs["label"].tolist()}
    model = SentenceTransformer(modules=[Sentences()], device=str(network.head.weight.device))
    with tempfile.TemporaryDirectory() as folder:
        arguments = SentenceTransformerTrainingArguments(
            output_dir=folder,
            num_train_epochs=fitting.epochs,
            per_device_train_batch_size=fitting.batch_size,
            learning_rate=fitting.learning_rate,
            warmup_steps=_WARMUP,
            weight_decay=0.01,
            seed=seed,
            use_cpu=network.head.weight.device.type == "cpu",
            dataloader_pin_memory=False,
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainer = Trainer(
            model=model, args=arguments, train_dataset=Dataset.from_dict(rows), loss=CosineSimilarityLoss(model)
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
