"""Fine-tuning an encoder (Devlin et al. 2019) with transformers' Trainer. torch."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_model
from scipy.special import softmax
from torch import nn
from transformers import EarlyStoppingCallback, PrinterCallback, TrainerCallback, TrainingArguments

from treatystance.config.encoders import FineTuning
from treatystance.errors import InputError
from treatystance.models.base import Floats
from treatystance.models.checkpoint import quiet
from treatystance.models.encoder_input import InputEncoder
from treatystance.models.encoder_network import Network
from treatystance.models.encoder_trainer import Collator, EncoderTrainer, Learner, Rows
from treatystance.models.run_folder import RunFolder

__all__ = ["fine_tune", "macro_average_precision", "uses_bfloat16"]

Track = Callable[[int, dict[str, float]], None]
_METRIC = "average_precision"


class _Reporter(TrainerCallback):
    """Tells of each epoch: its loss, time and speed, and how well the held-out rows are ranked."""

    def __init__(self, rows: int, validated: bool, track: Track | None, say: Callable[[str], None]) -> None:
        self._rows, self._validated, self._track, self._say = rows, validated, track, say
        self._start = 0.0
        self.figures: dict[str, float] = {}

    def on_epoch_begin(self, *args: Any, **kwargs: Any) -> None:
        self._start = time.perf_counter()

    def on_epoch_end(self, *args: Any, **kwargs: Any) -> None:
        self.figures = {"seconds": time.perf_counter() - self._start}

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        if not logs or "loss" not in logs:
            return
        if not math.isfinite(logs["loss"]):
            raise InputError(f"training went astray (loss {logs['loss']} at step {state.global_step}): learn slower")
        self.figures |= {"loss": logs["loss"], "learning_rate": logs["learning_rate"]}
        if not self._validated:
            self._report(state)

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        metrics = kwargs["metrics"]
        self.figures["validation_loss"] = metrics["eval_loss"]
        self.figures[f"validation_{_METRIC}"] = metrics[f"eval_{_METRIC}"]
        self._report(state)

    def _report(self, state: Any) -> None:
        figures = self.figures
        line = f"epoch {round(state.epoch)} of {state.num_train_epochs}: loss {figures['loss']:.4f}"
        line += f", {figures['seconds']:.0f} s, {self._rows / max(figures['seconds'], 1e-9):.0f} sentences/s"
        if self._validated:
            line += f", held-out macro average precision {figures[f'validation_{_METRIC}']:.3f}"
        self._say(line)
        if self._track:
            self._track(state.global_step, dict(figures))


def uses_bfloat16(precision: str) -> bool:
    """Whether "auto", "float32" or "bfloat16" means bfloat16 here: "auto" does where the hardware computes in it."""
    if precision != "auto":
        return precision == "bfloat16"
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    known: Any = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))


def macro_average_precision(targets: npt.NDArray[np.bool_], scores: Floats) -> float:
    """Mean over the labels with a positive row of the average precision; both arrays of shape (rows, labels).

    Raises:
        InputError: no label has a positive row.
    """
    from sklearn.metrics import average_precision_score

    carried = targets.any(axis=0)
    if not carried.any():
        raise InputError("no held-out row carries a label: nothing to choose the best epoch by")
    return float(average_precision_score(targets[:, carried], scores[:, carried], average="macro"))


def _freeze(backbone: Any, fitting: FineTuning) -> None:
    """Without gradients below, autograd begins at the lowest layer that learns."""
    if not fitting.train_embeddings:
        own = getattr(backbone, "embeddings", None)
        (own if isinstance(own, nn.Module) else backbone.get_input_embeddings()).requires_grad_(False)
    if fitting.frozen_layers:
        depth = int(backbone.config.num_hidden_layers)
        stacks = (module for module in backbone.modules() if isinstance(module, nn.ModuleList) and len(module) == depth)
        stack = next(stacks, None)
        if stack is None or fitting.frozen_layers > depth:
            raise InputError(f"frozen_layers: {fitting.frozen_layers} of the encoder's {depth} layers cannot be frozen")
        for layer in list(stack)[: fitting.frozen_layers]:
            layer.requires_grad_(False)


def fine_tune(
    network: Network,
    encoder_input: InputEncoder,
    rows: Rows,
    exclusive: bool,
    fitting: FineTuning,
    seed: int,
    held_out: npt.NDArray[np.intp] | None = None,
    run: RunFolder | None = None,
    track: Track | None = None,
    say: Callable[[str], None] = lambda message: None,
) -> dict[str, float]:
    """Train the network in place; it is left in evaluation mode on the CPU.

    Args:
        network: what learns.
        encoder_input: pads the sentences.
        rows: what to learn from.
        exclusive: True for one label per row (cross-entropy), False for several (binary cross-entropy, summed).
        fitting: how to learn.
        seed: of the order of rows and of dropout; the caller keeps the global generators apart.
        held_out: rows that are only validated on; wanted where `fitting.patience` is set.
        run: where to keep checkpoints; None for nowhere.
        track: called each epoch with the step and figures: loss, learning_rate, seconds, and validation_loss and
            validation_average_precision where rows are held out.
        say: told of each epoch in a line.

    Returns:
        The figures of the last epoch, `steps`, and `best_average_precision` where rows are held out.

    Raises:
        InputError: more layers are frozen than there are, or the loss is not finite.
    """
    learner = Learner(network, bool(rows.auxiliary.any()), uses_bfloat16(fitting.precision))
    network.requires_grad_(True)
    _freeze(network.backbone, fitting)
    if run and (result := run.result):
        say(f"taken from {result[0]}, where this training has ended already")
        load_model(learner, result[0] / "model.safetensors")
        network.eval()
        return result[1]
    held = np.array([], np.intp) if held_out is None else held_out
    members = np.setdiff1d(np.arange(len(rows.targets)), held)
    lengths = np.array([len(one) for one in rows.encoded], np.int64)
    held = held[np.argsort(lengths[held], kind="stable")]
    reporter = _Reporter(len(members), len(held) > 0, track, say)
    # Only to hold the best epoch until the end where nothing is kept.
    with tempfile.TemporaryDirectory() as spare, quiet():
        trainer = EncoderTrainer(
            fitting=fitting,
            exclusive=exclusive,
            lengths=lengths[members],
            rates=rows.rates(fitting.balance),
            model=learner,
            args=_arguments(fitting, run.path if run else Path(spare), seed, run is not None, len(held) > 0),
            data_collator=Collator(encoder_input),
            train_dataset=rows.dataset(members),
            eval_dataset=rows.dataset(held) if len(held) else None,
            compute_metrics=partial(_metrics, exclusive=exclusive),
            callbacks=[reporter, *([EarlyStoppingCallback(fitting.patience or fitting.epochs)] if len(held) else [])],
        )
        trainer.remove_callback(PrinterCallback)
        last = run.last if run else None
        if last:
            say(f"going on from {last}")
        trainer.train(resume_from_checkpoint=str(last) if last else None)
        figures = {**reporter.figures, "steps": float(trainer.state.global_step)}
        if trainer.state.best_metric is not None:
            figures[f"best_{_METRIC}"] = float(trainer.state.best_metric)
        if run:
            best = trainer.state.best_model_checkpoint
            run.end(Path(best).name if best else f"checkpoint-{trainer.state.global_step}", figures)
    learner.to("cpu")
    network.eval()
    return figures


def _arguments(fitting: FineTuning, folder: Path, seed: int, kept: bool, validated: bool) -> TrainingArguments:
    cuda = torch.cuda.is_available()
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=fitting.epochs,
        per_device_train_batch_size=fitting.batch_size,
        per_device_eval_batch_size=64,
        gradient_accumulation_steps=fitting.accumulation,
        learning_rate=fitting.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=fitting.warmup,  # below 1: a share of the steps
        max_grad_norm=1.0,
        seed=seed,
        logging_strategy="epoch",
        logging_nan_inf_filter=False,
        eval_strategy="epoch" if validated else "no",
        save_strategy="epoch" if kept or validated else "no",
        save_only_model=not kept,
        save_total_limit=1,
        load_best_model_at_end=validated,
        metric_for_best_model=_METRIC if validated else None,
        greater_is_better=True if validated else None,
        restore_callback_states_from_checkpoint=True,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        label_names=["targets"],
        use_cpu=not cuda,
        dataloader_pin_memory=cuda,
    )
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1  # several would make the batches larger than the recipe says
    return arguments


def _metrics(prediction: Any, exclusive: bool) -> dict[str, float]:
    scores = np.asarray(prediction.predictions, np.float64)
    scores = softmax(scores, axis=1) if exclusive else scores
    return {_METRIC: macro_average_precision(np.asarray(prediction.label_ids) > 0, scores)}
