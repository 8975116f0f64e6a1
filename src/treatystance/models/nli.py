"""Zero-shot classification by natural-language inference: a comparison model, nothing of which is trained here.

The sentence is the premise, a short sentence about each label the hypothesis (Yin et al. 2019). The score of a pair is
the logit of entailment less that of contradiction, whose sigmoid is the softmax of those two classes, neutral left
out, each label by itself: what zero-shot pipelines do for several labels. A checkpoint of two classes, entailment or
not, as Political DEBATE is (Burnham et al. 2024), needs no class left out. Of several hypotheses the most probable
counts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from treatystance.config.encoders import Checkpoint
from treatystance.errors import InputError, MissingExtraError, ModelReferenceError, TreatystanceError
from treatystance.models.base import Batch, Floats
from treatystance.models.checkpoint import check_weights, checkpoint_folder, in_short, quiet
from treatystance.models.encoder_input import government_name
from treatystance.statement import ANY_GOVERNMENT, LabelSet

__all__ = ["HYPOTHESES", "NliModel", "hypotheses_of", "premise"]

# Short and of one criterion each, as Political DEBATE's card advises; from the codebook's definitions.
HYPOTHESES: Mapping[str, tuple[str, ...]] = {
    "intent_to_withdraw": (
        "The government that is speaking is leaving, or wants to leave, a treaty.",
        "The government that is speaking says that a treaty does not bind it any more.",
    ),
    "reaffirmation": (
        "The government that is speaking supports a treaty or keeps to it.",
        "The government that is speaking has joined, or will join, a treaty.",
    ),
    "humanitarian_commitment": (
        "The government that is speaking helps or protects people struck by war, disaster or flight.",
        "The government that is speaking commits itself to humanitarian law.",
    ),
}
_TEMPLATE = "This text is about {}."
_MOST_TOKENS = 512
_PREVIOUS = 200  # characters kept of the sentence before
_SENTENCES = 16  # scored at once, each with every hypothesis
_NOT_ENTAILED = re.compile(r"(?:not?|non|un)[\W_]*entail")


def hypotheses_of(label: str) -> tuple[str, ...]:
    """The hypotheses of a label: the codebook's tags have their own, other labels "This text is about LABEL."."""
    return HYPOTHESES.get(label) or (_TEMPLATE.format(label.replace("_", " ")),)


def premise(text: str, previous: str | None = None, government: str | None = None) -> str:
    """The sentence with what is known of its context before it: the speaker, and the end of the sentence before."""
    parts = []
    if government == ANY_GOVERNMENT:
        parts.append("A news report on a government.")
    elif government:
        parts.append(f"The government of {government_name(government)} is speaking.")
    if previous and (words := previous.split()):
        end = " ".join(words)
        parts.append(f'Before: "{end if len(end) <= _PREVIOUS else "…" + end[-_PREVIOUS:].lstrip()}"')
    if parts:
        text = f'{" ".join(parts)} Now: "{text}"'
    # No tokenizer takes half a surrogate pair.
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


class NliModel:
    """A sequence classifier trained on natural-language inference, with hypotheses for the labels.

    Args:
        labels: the label set; its order is the column order of `logits`.
        network: a transformers model for sequence classification, one of whose classes is entailment.
        tokenizer: its tokenizer, as transformers loads it.
        checkpoint: the network's name, for messages and `describe`.

    Raises:
        InputError: no class of the checkpoint is entailment, it has no padding token, or it reads too few tokens for
            the hypotheses.
    """

    kind = "nli"

    def __init__(self, labels: LabelSet, network: Any, tokenizer: Any, checkpoint: str) -> None:
        self.labels, self.checkpoint = labels, checkpoint
        self._network, self._tokenizer = network.eval(), tokenizer
        self._entailed, self._opposed = _classes(checkpoint, network.config)
        if tokenizer.pad_token_id is None:
            raise InputError(f"nli checkpoint {checkpoint}: the tokenizer has no padding token")
        # The premise gives way from its left: first the context.
        tokenizer.truncation_side = "left"
        groups = [hypotheses_of(name) for name in labels.names]
        self._hypotheses = [hypothesis for group in groups for hypothesis in group]
        self._first = np.cumsum([0, *map(len, groups)])[:-1]
        self.max_tokens = _longest(network.config, tokenizer)
        longest = max(len(tokenizer("", hypothesis)["input_ids"]) for hypothesis in self._hypotheses)
        if longest >= self.max_tokens:
            raise InputError(
                f"nli checkpoint {checkpoint}: reads {self.max_tokens} tokens, but a hypothesis alone takes {longest}"
            )

    @classmethod
    def load(cls, checkpoint: str, labels: LabelSet = LabelSet()) -> NliModel:  # noqa: B008
        """The model of a local folder or a hub repository, on a GPU where there is one.

        Only safetensors are read, and no code of a repository is run.

        Raises:
            MissingExtraError: torch or transformers is not installed.
            ModelReferenceError: there is no such checkpoint, the hub cannot be reached, or it is no classifier.
            InputError: no class of the checkpoint is entailment.
        """
        for package in ("torch", "transformers"):
            if find_spec(package) is None:
                raise MissingExtraError(f"an nli model needs {package}: pip install 'treatystance[train]'")
        import torch
        from safetensors import SafetensorError
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        source = Checkpoint(source=checkpoint)
        with quiet():
            folder = checkpoint_folder(source)
            check_weights(source, folder)
            local = {"local_files_only": True, "trust_remote_code": False}
            try:
                tokenizer: Any = AutoTokenizer.from_pretrained(folder, **local)
                network, report = AutoModelForSequenceClassification.from_pretrained(
                    folder, use_safetensors=True, dtype=torch.float32, output_loading_info=True, **local
                )
            except (
                OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError, SafetensorError
            ) as error:  # fmt: skip
                raise ModelReferenceError(
                    f"nli checkpoint {checkpoint}: cannot be read as a classifier ({in_short(error)})"
                ) from None
        if missing := sorted(report["missing_keys"]):
            # Transformers would make them up at random.
            raise ModelReferenceError(
                f"nli checkpoint {checkpoint}: lacks {len(missing)} weights of a classifier, such as {missing[0]}"
            )
        return cls(labels, network.to("cuda" if torch.cuda.is_available() else "cpu"), tokenizer, checkpoint)

    def logits(self, batch: Batch) -> Floats:
        """Log-odds of entailment against contradiction, shape (sentences, labels).

        Raises:
            TreatystanceError: the checkpoint gave a score that is no finite number.
        """
        premises = [premise(*sentence) for sentence in zip(batch.texts, batch.previous, batch.governments, strict=True)]
        scores = np.zeros((len(batch), len(self.labels)))
        # Sentences of like length go together: less padding.
        order = sorted(range(len(premises)), key=lambda place: len(premises[place]))
        for start in range(0, len(order), _SENTENCES):
            places = order[start : start + _SENTENCES]
            found = self._entailment([premises[place] for place in places])
            scores[places] = np.maximum.reduceat(found, self._first, axis=1)
        if not np.isfinite(scores).all():
            raise TreatystanceError(f"nli checkpoint {self.checkpoint}: gave a score that is no finite number")
        return scores

    def _entailment(self, premises: Sequence[str]) -> Floats:
        """Log-odds of shape (premises, hypotheses)."""
        import torch

        inputs = self._tokenizer(
            [premise for premise in premises for _ in self._hypotheses],
            self._hypotheses * len(premises),
            truncation="only_first",
            max_length=self.max_tokens,
            padding=True,
            return_tensors="pt",
            split_special_tokens=True,  # "[SEP]" spelled out in a text is text
        ).to(self._network.device)
        with torch.inference_mode():
            raw = self._network(**inputs).logits.double()
        odds = raw[:, self._entailed] - raw[:, self._opposed].logsumexp(dim=1)
        return np.asarray(odds.reshape(len(premises), -1).cpu().numpy(), dtype=np.float64)

    def files(self) -> dict[str, bytes]:
        """Never: a comparison model is named by its reference.

        Raises:
            TreatystanceError: always.
        """
        raise TreatystanceError("an nli model is for comparison and is not saved; name it by nli:CHECKPOINT")

    def describe(self) -> dict[str, Any]:
        """The checkpoint, its number of parameters, the tokens that it reads and the hypotheses by label."""
        return {
            "checkpoint": self.checkpoint,
            "parameters": sum(weight.numel() for weight in self._network.parameters()),
            "max_tokens": self.max_tokens,
            "hypotheses": {name: list(hypotheses_of(name)) for name in self.labels.names},
        }


def _classes(checkpoint: str, config: Any) -> tuple[int, list[int]]:
    """The number of the class of entailment, and those that it is held against."""
    places = config.label2id or {name: place for place, name in (config.id2label or {}).items()}
    names = {int(place): str(name).lower() for name, place in places.items()}
    entailed = [place for place, name in names.items() if "entail" in name and not _NOT_ENTAILED.search(name)]
    count = int(config.num_labels or 0)
    others = sorted(set(range(count)) - set(entailed))
    if len(entailed) != 1 or entailed[0] >= count or not others:
        given = ", ".join(names[place] for place in sorted(names)[:5])
        raise InputError(f"nli checkpoint {checkpoint}: one class must be entailment and one not, but it has {given}")
    return entailed[0], [place for place in others if "contra" in names.get(place, "")] or others


def _longest(config: Any, tokenizer: Any) -> int:
    """The longest input in tokens; tokenizers that know no limit say a huge number, some configs none or -1."""
    limits = (_MOST_TOKENS, tokenizer.model_max_length, getattr(config, "max_position_embeddings", None))
    return int(min(limit for limit in limits if limit and limit > 0))
