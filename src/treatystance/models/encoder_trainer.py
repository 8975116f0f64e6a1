"""What transformers' Trainer needs to fine-tune an encoder: rows, their order, the loss and the optimiser. torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from datasets import Dataset
from torch import nn
from transformers import Trainer

from treatystance.config.encoders import FineTuning
from treatystance.models.base import Floats
from treatystance.models.encoder_input import Encoded, InputEncoder
from treatystance.models.encoder_network import Network

__all__ = ["ByLength", "Collator", "EncoderTrainer", "Learner", "Rows"]

_WINDOW = 20  # updates within which sentences are sorted by length


@dataclass(frozen=True, slots=True)
class Rows:
    """Training rows: encoded sentences, targets of shape (rows, labels), and loss weight and kind of each row."""

    encoded: Sequence[Encoded]
    targets: npt.NDArray[np.bool_]
    weights: Floats
    auxiliary: npt.NDArray[np.bool_]

    def rates(self, balance: float) -> Floats:
        """What multiplies the loss of each label where it is carried, by the rows that are not auxiliary: (labels,)."""
        ordinary = ~self.auxiliary if not self.auxiliary.all() else np.ones_like(self.auxiliary)
        carried = np.maximum(self.targets[ordinary].sum(axis=0), 1)
        return np.asarray((np.maximum(ordinary.sum() - carried, 1) / carried) ** balance, dtype=np.float64)

    def dataset(self, members: npt.NDArray[np.intp]) -> Dataset:
        """These rows as a table with one column per input."""
        chosen = [self.encoded[i] for i in members]
        columns = {
            "ids": [one.ids for one in chosen],
            "types": [one.types for one in chosen],
            "pool": [one.pool for one in chosen],
            "targets": self.targets[members].astype(np.float32).tolist(),
            "weights": self.weights[members].astype(np.float32).tolist(),
            "auxiliary": self.auxiliary[members].astype(np.float32).tolist(),
        }
        return Dataset.from_dict(columns)


class Learner(nn.Module):
    """The network, and for auxiliary rows an intercept of their own, which the exported model does not have."""

    accepts_loss_kwargs = True  # tells the Trainer that our loss is normalised over all that one update sees

    def __init__(self, network: Network, auxiliary: bool, bfloat16: bool) -> None:
        super().__init__()
        self.network, self._bfloat16 = network, bfloat16
        self.intercept = nn.Parameter(torch.zeros(network.head.out_features)) if auxiliary else None

    def forward(self, auxiliary: torch.Tensor, **inputs: torch.Tensor) -> torch.Tensor:
        """Logits, shape (sentences, labels)."""
        with torch.autocast(auxiliary.device.type, torch.bfloat16, enabled=self._bfloat16):
            embedding = self.network.embed(**inputs)
        logits = self.network.classify(embedding)
        return logits if self.intercept is None else logits + auxiliary.unsqueeze(1) * self.intercept


class ByLength(torch.utils.data.Sampler[int]):
    """Rows in an order, drawn anew each epoch, in which those of one update are of about the same length."""

    def __init__(self, lengths: npt.NDArray[np.int64], size: int, seed: int) -> None:
        self._lengths, self._size, self._seed, self._epoch = lengths, size, seed, 0

    def __len__(self) -> int:
        return len(self._lengths)

    def set_epoch(self, epoch: int) -> None:
        """Epochs have orders of their own, so that training can go on in the middle."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng((self._seed, self._epoch))
        order = rng.permutation(len(self))
        whole = len(order) - len(order) % self._size
        updates = []
        for start in range(0, whole, self._size * _WINDOW):
            window = self._sorted(order[start : min(start + self._size * _WINDOW, whole)])
            updates += np.split(window, len(window) // self._size)
        for i in rng.permutation(len(updates)):
            yield from updates[i].tolist()
        yield from self._sorted(order[whole:]).tolist()

    def _sorted(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return rows[np.argsort(self._lengths[rows], kind="stable")]


class Collator:
    """Rows of the table become padded tensors, all of them with one row per sentence."""

    def __init__(self, encoder_input: InputEncoder) -> None:
        self._input = encoder_input

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """The network's inputs, `auxiliary`, `targets` and `weights` of a batch."""
        matrices = self._input.pad([Encoded(row["ids"], row["types"], row["pool"]) for row in rows])
        tensors = {name: torch.from_numpy(matrix) for name, matrix in matrices.items()}
        for name in ("targets", "weights", "auxiliary"):
            tensors[name] = torch.tensor([row[name] for row in rows], dtype=torch.float32)
        return tensors


class EncoderTrainer(Trainer):
    """The Trainer with weighted losses of several labels, batches by length, and a faster head.

    Args:
        fitting: batch size, learning rates and weight decay.
        exclusive: True for cross-entropy over the labels, False for binary cross-entropy summed over them.
        lengths: (rows,), tokens of each training row.
        rates: (labels,), what multiplies the loss of a label where a row that is not auxiliary carries it.
        kwargs: the Trainer's own.
    """

    def __init__(
        self, fitting: FineTuning, exclusive: bool, lengths: npt.NDArray[np.int64], rates: Floats, **kwargs: Any
    ) -> None:
        self._fitting, self._exclusive, self._lengths, self._rates = fitting, exclusive, lengths, rates
        super().__init__(**kwargs)

    def _get_train_sampler(self, train_dataset: Any = None) -> ByLength:
        size = self._fitting.batch_size * self._fitting.accumulation
        return ByLength(self._lengths, size, self.args.seed)

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> tuple[list[Any], Any]:
        """The batches of one update and the sum of their weights."""
        samples, _ = super().get_batch_samples(*args, **kwargs)
        return samples, sum(sample["weights"].sum() for sample in samples)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The weighted mean loss, over all rows of the update where `num_items_in_batch` is their weight."""
        inputs = dict(inputs)
        targets, weights = inputs.pop("targets"), inputs.pop("weights")
        logits = model(**inputs)
        carried = targets * (1 - inputs["auxiliary"]).unsqueeze(1)
        rates = 1 + carried * (targets.new_tensor(self._rates) - 1)
        if self._exclusive:
            losses = nn.functional.cross_entropy(logits, targets.argmax(1), reduction="none") * rates.prod(1)
        else:
            losses = nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
            losses = (losses * rates).sum(1)
        total = weights.sum() if num_items_in_batch is None else num_items_in_batch
        loss = (losses * weights).sum() / total
        return (loss, {"logits": logits}) if return_outputs else loss

    def create_optimizer(self, model: Any = None) -> Any:
        """AdamW over what learns: the head at its own rate, no decay of vectors (biases, norms)."""
        if self.optimizer is None:
            groups: dict[tuple[bool, bool], list[Any]] = {}
            learner: Any = self.model
            for name, parameter in learner.named_parameters():
                if parameter.requires_grad:
                    head = name.startswith(("network.head.", "intercept"))
                    groups.setdefault((head, parameter.ndim > 1), []).append(parameter)
            rate, decay = self._fitting.learning_rate, self._fitting.weight_decay
            self.optimizer: Any = torch.optim.AdamW(
                [
                    {
                        "params": groups[head, matrix],
                        "lr": rate * (self._fitting.head_rate if head else 1.0),
                        "weight_decay": decay if matrix else 0.0,
                    }
                    for head, matrix in sorted(groups)
                ],
                fused=True,
            )
        return self.optimizer
