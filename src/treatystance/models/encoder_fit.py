"""From labelled sentences to an encoder model: load, adapt, learn, export. Imports torch only once it is called."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from treatystance.config.encoders import Contrastive, FineTuning, Frozen, Input
from treatystance.errors import InputError
from treatystance.models.base import Batch, Floats
from treatystance.models.checkpoint import load_backbone, require_training
from treatystance.models.encoder_input import Encoded, InputEncoder, government_name
from treatystance.models.run_folder import RunFolder, fingerprint
from treatystance.statement import ANY_GOVERNMENT, LabelSet

if TYPE_CHECKING:
    from treatystance.config.recipes import EncoderPart
    from treatystance.models.encoder import EncoderModel

__all__ = ["fit_encoder", "hold_out", "kept_tokens"]

Bools = npt.NDArray[np.bool_]
_DRAWS = 50  # random splits among which the one is taken whose labels are spread most alike
_CHUNK = 16_384


def fit_encoder(
    batch: Batch,
    targets: Bools,
    weights: Floats,
    labels: LabelSet,
    part: EncoderPart,
    seed: int,
    auxiliary: Bools | None = None,
    documents: Sequence[str] | None = None,
    folder: Path | None = None,
    track: Callable[[int, dict[str, float]], None] | None = None,
    say: Callable[[str], None] = lambda message: None,
    adaptation_texts: Iterable[str] | None = None,
    texts_for_vocabulary: Iterable[str] = (),
) -> EncoderModel:
    """Fit an encoder. The same seed, machine and number of threads give the same weights.

    Args:
        batch: training sentences.
        targets: (sentences, labels), True where a sentence carries the label.
        weights: (sentences,), each row's weight in the loss.
        labels: names of the columns.
        part: the checkpoint, what is read of a sentence, how to learn and how to export.
        seed: of everything drawn at random; the global generators are left as they were.
        auxiliary: (sentences,), True for text of another kind than will be scored, with another rate of labels.
        documents: (sentences,), the document of each row; wanted with `patience`, which holds out whole ones.
        folder: where fine-tuning keeps its checkpoints and goes on from the last one of the same run; None: nowhere.
        track: called each epoch of fine-tuning with the step and the figures of `fine_tuning.fine_tune`.
        say: told of each step and epoch in a line.
        adaptation_texts: sentences for `part.adaptation`, read once.
        texts_for_vocabulary: sentences beside those of `batch` whose tokens are kept when `part.export.vocabulary`
            is "corpus".

    Raises:
        InputError: a label has no positive or no negative row, `documents` or `adaptation_texts` are missing though
            wanted, too few documents to hold some out, or training went astray.
        ModelReferenceError: there is no such checkpoint.
        MissingExtraError: torch, transformers or what carries the checkpoint is not installed.
    """
    _check(targets, labels, part, documents, adaptation_texts)
    require_training()
    import torch

    from treatystance.models.encoder_export import export
    from treatystance.models.encoder_network import Network

    fitting = part.fitting
    dropout = fitting.dropout if isinstance(fitting, FineTuning) else None
    auxiliary = np.zeros(len(targets), np.bool_) if auxiliary is None else auxiliary
    backbone, tokenizer = load_backbone(part.checkpoint, dropout)
    encoder_input = InputEncoder(tokenizer, part.input)
    encoded = encoder_input.encode(batch)
    run = None
    if folder is not None:
        settings = part.model_dump(mode="json", exclude={"export"})
        settings |= {"seed": seed, "labels": labels.names, "exclusive": labels.exclusive, "torch": torch.__version__}
        columns = (batch.texts, batch.previous, batch.governments, documents, targets, weights, auxiliary)
        sources = (tokenizer.decode(), *(list(c) if isinstance(c, tuple) else c for c in columns))
        run = RunFolder(folder, fingerprint(settings, sources, backbone.state_dict().values()))
    if part.adaptation is not None and not (run and run.result):
        with _own_randomness(seed):
            _adapt(backbone, tokenizer, adaptation_texts or (), part, seed, run, say)
    with _own_randomness(seed):
        network = Network(backbone, len(labels), part.input.pooling, dropout or 0.0)
        figures: dict[str, float] = {}
        if isinstance(fitting, FineTuning):
            from treatystance.models.encoder_trainer import Rows
            from treatystance.models.fine_tuning import fine_tune

            rows = Rows(encoded, targets, weights, auxiliary)
            held = None
            if fitting.patience is not None:
                held = hold_out(targets, auxiliary, documents or (), fitting.validation, seed)
                _check_labels(np.delete(targets, held, axis=0), labels, "rows left to train on")
            exclusive = labels.exclusive
            figures = fine_tune(network, encoder_input, rows, exclusive, fitting, seed, held, run, track, say)
        else:
            _fit_head(network, encoder_input, batch, targets, weights, labels, fitting, seed, auxiliary)
    network.to("cpu").eval()
    keep = None
    if part.export.vocabulary == "corpus":
        keep = kept_tokens(encoder_input, encoded, texts_for_vocabulary)
    about = part.model_dump(mode="json") | {"sentences": len(batch), "seed": seed, "training": figures}
    return export(network, encoder_input, labels, part.export, about, keep)


def _check(
    targets: Bools,
    labels: LabelSet,
    part: EncoderPart,
    documents: Sequence[str] | None,
    texts: Iterable[str] | None,
) -> None:
    _check_labels(targets, labels, "rows")
    if part.adaptation is not None and texts is None:
        raise InputError("adaptation: there are no sentences to adapt the encoder on; name a corpus that is at hand")
    if isinstance(part.fitting, FineTuning) and part.fitting.patience is not None and documents is None:
        raise InputError("patience: the rows' documents must be known, since whole documents are held out")


def _check_labels(targets: Bools, labels: LabelSet, rows: str) -> None:
    for name, target in zip(labels.names, targets.T, strict=True):
        if target.all() or not target.any():
            raise InputError(
                f"label {name!r} is carried by {int(target.sum())} of {len(target)} {rows}: nothing to learn"
            )


def _adapt(
    backbone: Any,
    tokenizer: bytes,
    texts: Iterable[str],
    part: EncoderPart,
    seed: int,
    run: RunFolder | None,
    say: Callable[[str], None],
) -> None:
    """Adapt the encoder, or take what the same run made of it before it was cut off."""
    from safetensors.torch import load_model, save_model

    from treatystance.models.adaptation import adapt

    assert part.adaptation is not None  # noqa: S101
    if run and run.adapted.is_file():
        load_model(backbone, run.adapted)
        return
    adapt(backbone, tokenizer, texts, part.adaptation, seed, say)
    if run:
        unfinished = run.adapted.with_suffix(".part")
        save_model(backbone, str(unfinished))
        unfinished.replace(run.adapted)


def _fit_head(
    network: Any,
    encoder_input: InputEncoder,
    batch: Batch,
    targets: Bools,
    weights: Floats,
    labels: LabelSet,
    fitting: Frozen | Contrastive,
    seed: int,
    auxiliary: Bools,
) -> None:
    import torch

    from treatystance.models.encoder_heads import fit_head

    network.to("cuda" if torch.cuda.is_available() else "cpu")
    fit_head(network, encoder_input, batch, targets, weights, labels, fitting, seed, auxiliary)


def hold_out(
    targets: Bools, auxiliary: Bools, documents: Sequence[str], share: float, seed: int
) -> npt.NDArray[np.intp]:
    """Rows of about a share of the documents, drawn so that labels are about as frequent among them as among all.

    Documents with auxiliary rows alone are held out only where there are no others, since it is the other kind of text
    that will be scored.

    Args:
        targets: (rows, labels).
        auxiliary: (rows,).
        documents: (rows,), a name each.
        share: of the documents.
        seed: of the draws.

    Raises:
        InputError: fewer than two documents.
    """
    from sklearn.model_selection import GroupShuffleSplit

    names = np.asarray(documents)
    ordinary = np.isin(names, names[~auxiliary]) if not auxiliary.all() else np.ones(len(names), np.bool_)
    members = np.flatnonzero(ordinary)
    if len(np.unique(names[members])) < 2:
        raise InputError("patience: holding some documents out takes two at least")
    rates = np.maximum(targets[members].mean(axis=0), 1 / len(members))
    draws = GroupShuffleSplit(_DRAWS, test_size=share, random_state=seed).split(members, groups=names[members])
    distances = [(float(np.abs(targets[members[test]].mean(axis=0) / rates - 1).sum()), test) for _, test in draws]
    nearest: npt.NDArray[np.intp] = members[min(distances, key=lambda draw: draw[0])[1]]
    return nearest


def kept_tokens(encoder_input: InputEncoder, encoded: Iterable[Encoded], texts: Iterable[str]) -> set[int]:
    """Ids of the tokens that sentences and texts hold, of special ones, and of governments' names where they are read.

    Args:
        encoder_input: the tokenizer and what is read of a sentence.
        encoded: the training sentences.
        texts: other sentences.
    """
    import pycountry
    from tokenizers import Tokenizer

    tokenizer: Any = Tokenizer.from_str(encoder_input.tokenizer_json.decode())
    kept = set(tokenizer.get_added_tokens_decoder()) | {encoder_input.pad_id}
    kept.update(chain.from_iterable(one.ids for one in encoded))
    if encoder_input.settings.government:
        codes = [country.alpha_3 for country in chain(pycountry.countries, pycountry.historic_countries)]
        texts = chain(texts, (f"{government_name(code)}:" for code in (*codes, "EU", ANY_GOVERNMENT)))
    # Whole texts: of a sentence that is only context, the end is read.
    whole = InputEncoder(encoder_input.tokenizer_json, Input(max_tokens=8192))
    texts = iter(texts)
    while chunk := list(islice(texts, _CHUNK)):
        nothing = [None] * len(chunk)
        kept.update(chain.from_iterable(one.ids for one in whole.encode(Batch(chunk, nothing, nothing))))
    return kept


@contextmanager
def _own_randomness(seed: int) -> Iterator[None]:
    """Within it, the global generators start from the seed; afterwards they are as they were."""
    import torch
    from transformers import set_seed

    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        set_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
