"""Heads of logistic regression on an encoder's embeddings, for an encoder that stays as it is or was tuned on pairs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch

from treatystance.config.encoders import Contrastive, Frozen
from treatystance.errors import InputError
from treatystance.models.base import Batch, Floats
from treatystance.models.encoder_input import InputEncoder
from treatystance.models.encoder_network import Network
from treatystance.statement import LabelSet

__all__ = ["embeddings", "fit_head", "regressions"]

_UNREGULARISED = 10.0  # a column so large that the penalty on its small coefficient is nothing


@torch.inference_mode()
def embeddings(
    network: Network, encoder_input: InputEncoder, batch: Batch, batch_size: int = 64
) -> npt.NDArray[np.float32]:
    """Embeddings of sentences in order, shape (sentences, hidden size), without dropout, on the network's device.

    Args:
        network: the encoder.
        encoder_input: its tokenisation.
        batch: the sentences.
        batch_size: how many are read at once; those of like length are read together.
    """
    encoded = encoder_input.encode(batch)
    found = np.zeros((len(encoded), network.head.in_features), np.float32)
    # Backwards, so that memory runs out at once if at all.
    order = np.argsort([-len(sentence) for sentence in encoded], kind="stable")
    device = network.head.weight.device
    training = network.training
    network.eval()
    try:
        for start in range(0, len(order), batch_size):
            members = order[start : start + batch_size]
            padded = encoder_input.pad([encoded[i] for i in members])
            tensors = {name: torch.from_numpy(matrix).to(device) for name, matrix in padded.items()}
            found[members] = network.embed(**tensors).float().cpu().numpy()
    finally:
        network.train(training)
    return found


def fit_head(
    network: Network,
    encoder_input: InputEncoder,
    batch: Batch,
    targets: npt.NDArray[np.bool_],
    weights: Floats,
    labels: LabelSet,
    fitting: Frozen | Contrastive,
    seed: int,
    auxiliary: npt.NDArray[np.bool_] | None = None,
) -> None:
    """Fit `network.head` in place by logistic regression; with `Contrastive`, tune `network.backbone` before.

    One regression per label, or a multinomial one where labels exclude each other. Where some rows are `auxiliary`,
    they have an intercept of their own, with which nothing is scored, as in the linear family. On a GPU if there is
    one; afterwards the network is where it was.

    Args:
        network: the encoder.
        encoder_input: its tokenisation.
        batch: training sentences.
        targets: (sentences, labels), True where a sentence carries the label.
        weights: (sentences,), each row's weight in the regression.
        labels: names of the columns.
        fitting: how to fit.
        seed: of the pairs and of the tuning; the regression itself has no chance in it.
        auxiliary: (sentences,), True for text of another kind than will be scored, with another rate of labels.

    Raises:
        InputError: a label has no positive or no negative row, or no two rows have unlike labels.
        MissingExtraError: `Contrastive` without sentence-transformers.
    """
    for name, target in zip(labels.names, targets.T, strict=True):
        if target.all() or not target.any():
            raise InputError(
                f"label {name!r} is carried by {int(target.sum())} of {len(target)} rows: nothing to learn"
            )
    with _on_accelerator(network):
        if isinstance(fitting, Contrastive):
            from treatystance.models.contrastive import tune

            tune(network, encoder_input, batch, targets, fitting, seed)
        matrix = embeddings(network, encoder_input, batch)
    weight, bias = regressions(matrix, targets, weights, labels.exclusive, fitting, auxiliary)
    with torch.no_grad():
        network.head.weight.copy_(torch.from_numpy(weight))
        network.head.bias.copy_(torch.from_numpy(bias))


@contextmanager
def _on_accelerator(network: Network) -> Iterator[None]:
    device = network.head.weight.device
    if torch.cuda.is_available():
        network.to("cuda")
    try:
        yield
    finally:
        network.to(device)


def regressions(
    matrix: npt.NDArray[np.float32],
    targets: npt.NDArray[np.bool_],
    weights: Floats,
    exclusive: bool,
    fitting: Frozen | Contrastive,
    auxiliary: npt.NDArray[np.bool_] | None,
) -> tuple[Floats, Floats]:
    """Logistic regressions on embeddings, which are brought to mean 0 and variance 1 for the penalty's sake alone.

    Args:
        matrix: (sentences, hidden size), embeddings.
        targets: (sentences, labels), True where a sentence carries the label; each both here and there.
        weights: (sentences,), each row's weight in the loss.
        exclusive: one multinomial regression instead of one per label.
        fitting: its `c`, and whether labels are `balanced`.
        auxiliary: (sentences,), True for rows with an intercept of their own, which is not given back.

    Returns:
        Coefficients of shape (labels, hidden size) and intercepts of shape (labels,), for embeddings as they are.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler()
    columns = scaler.fit_transform(matrix.astype(np.float64), sample_weight=weights)
    hidden = columns.shape[1]
    if auxiliary is not None and auxiliary.any():
        columns = np.hstack([columns, _UNREGULARISED * auxiliary[:, None]])
    coefficients, intercepts = [], []
    for target in [targets.argmax(1)] if exclusive else targets.T:
        balance = "balanced" if fitting.balanced else None
        model = LogisticRegression(C=fitting.c, class_weight=balance, max_iter=5000)
        model.fit(columns, target, sample_weight=weights)
        coefficients.append(model.coef_[:, :hidden])
        intercepts.append(model.intercept_)
    weight, bias = np.concatenate(coefficients), np.concatenate(intercepts)
    if exclusive and targets.shape[1] == 2:
        # scikit-learn scores the second of two classes alone; two logits that far apart give the same softmax.
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    folded = weight / scaler.scale_
    return folded, bias - folded @ scaler.mean_
