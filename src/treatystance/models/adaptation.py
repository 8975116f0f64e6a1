"""Domain-adaptive pre-training (Gururangan et al. 2020): an encoder reads much unlabelled text of its domain.

Masked-language modelling as in BERT (Devlin et al. 2019): of the tokens hidden, 80 % read as the mask, 10 % as a token
drawn at random, 10 % as themselves; the encoder says what stood there.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from treatystance.config.encoders import Adaptation, Input
from treatystance.errors import InputError
from treatystance.models.base import Batch
from treatystance.models.checkpoint import quiet, require_training
from treatystance.models.encoder_input import InputEncoder

__all__ = ["adapt"]

Progress = Callable[[str], None]

_LONGEST = 128  # tokens of a sentence, special ones included
_MASKS = ("[MASK]", "<mask>", "<|mask|>")
_WINDOW = 16_384  # texts tokenised at once
_REPORTS = 20  # times that the loss is told
_WARMUP = 0.06  # share of the steps


@dataclass(frozen=True)
class _Tokens:
    """Sentences as one array of token ids, 4 bytes each, cut at `ends`; what torch calls a dataset."""

    ids: npt.NDArray[np.int32]
    ends: npt.NDArray[np.int64]
    special: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, i: int) -> dict[str, list[int]]:
        ids = self.ids[self.ends[i] : self.ends[i + 1]]
        return {"input_ids": ids.tolist(), "special_tokens_mask": self.special[ids].astype(int).tolist()}


def adapt(
    backbone: Any,
    tokenizer_json: bytes,
    texts: Iterable[str],
    settings: Adaptation,
    seed: int,
    say: Progress = lambda message: None,
) -> None:
    """Tune an encoder in place on unlabelled sentences by masked-language modelling; on a GPU if there is one.

    A head for it comes with the encoder's checkpoint or is made anew, tied to the token embeddings where the encoder's
    config says so, and thrown away. AdamW with short warm-up and linear decay; in bfloat16 on a GPU that can.
    Special tokens are never hidden. Sentences are read in full shuffles, those of like length together, their first
    128 tokens; in memory they take 4 bytes per token.

    Args:
        backbone: a Hugging Face encoder without a head.
        tokenizer_json: its tokenizer as the tokenizers library writes it.
        texts: sentences; read once, at most `settings.sentences` of them, blank ones left out.
        settings: how much and how fast; its corpora are the caller's affair.
        seed: of the head, the order and the masks.
        say: told the loss now and then.

    Raises:
        InputError: no text, a tokenizer without mask, or an encoder that has no masked-language model.
        MissingExtraError: transformers or what its trainer needs is not installed.
    """
    require_training()
    from transformers import set_seed

    tokens, tokenizer = _read(tokenizer_json, texts, settings.sentences, _longest(backbone.config))
    say(f"adapting the encoder to {len(tokens)} sentences of {len(tokens.ids)} tokens")
    device = next(backbone.parameters()).device
    set_seed(seed)
    with quiet():
        model = _masked_model(backbone)
        try:
            _train(model, tokens, tokenizer, settings, seed, say)
        finally:
            backbone.zero_grad(set_to_none=True)
            backbone.to(device).eval()


def _longest(config: Any) -> int:
    # RoBERTa counts positions from behind its padding token's id, most often 1.
    return min(_LONGEST, int(getattr(config, "max_position_embeddings", 0) or _LONGEST) - 2)


def _read(tokenizer_json: bytes, texts: Iterable[str], sentences: int, longest: int) -> tuple[_Tokens, Any]:
    """The sentences as tokens, and the tokenizer as transformers' collator wants it."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    encoder = InputEncoder(tokenizer_json, Input(max_tokens=longest))
    mask = next((token for token in _MASKS if token in encoder.vocabulary), None)
    if mask is None:
        raise InputError(
            f"the tokenizer has no mask ({', '.join(_MASKS)}): this encoder cannot be adapted by masked-language "
            "modelling; leave adaptation out of the recipe"
        )
    parts, lengths = [np.zeros(0, np.int32)], [0]
    source = islice((text for text in texts if text.strip()), sentences)
    while window := list(islice(source, _WINDOW)):
        nothing = [None] * len(window)
        encoded = encoder.encode(Batch(window, nothing, nothing))
        lengths += [len(sentence) for sentence in encoded]
        parts.append(np.concatenate([np.array(sentence.ids, np.int32) for sentence in encoded]))
    if len(lengths) == 1:
        raise InputError("no sentence to adapt the encoder to: name public corpora that are at hand")
    special = np.zeros(max(encoder.vocabulary.values()) + 1, bool)
    special[[token["id"] for token in json.loads(tokenizer_json)["added_tokens"] if token["special"]]] = True
    special[encoder.pad_id] = True
    names = {number: token for token, number in encoder.vocabulary.items()}
    wrapper: Any = PreTrainedTokenizerFast
    tokenizer = wrapper(
        tokenizer_object=Tokenizer.from_str(tokenizer_json.decode()), mask_token=mask, pad_token=names[encoder.pad_id]
    )
    return _Tokens(np.concatenate(parts), np.cumsum(lengths, dtype=np.int64), special), tokenizer


def _masked_model(backbone: Any) -> Any:
    """A masked-language model around the encoder itself, with its checkpoint's head if that has one."""
    from transformers import AutoModelForMaskedLM

    kind: Any = AutoModelForMaskedLM
    config = backbone.config
    folder = Path(getattr(config, "_name_or_path", "") or "?")
    try:
        if (folder / "model.safetensors").is_file():
            model = kind.from_pretrained(
                folder, config=config, local_files_only=True, trust_remote_code=False, use_safetensors=True
            )
        else:
            model = kind.from_config(config)
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(
            f"a {config.model_type} encoder cannot be adapted by masked-language modelling "
            f"({' '.join(str(error).split())[:120]}); leave adaptation out of the recipe"
        ) from None
    setattr(model, model.base_model_prefix, backbone)
    model.tie_weights()
    return model


def _train(model: Any, tokens: _Tokens, tokenizer: Any, settings: Adaptation, seed: int, say: Progress) -> None:
    import torch
    from transformers import (
        DataCollatorForLanguageModeling,
        PrinterCallback,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    class Saying(TrainerCallback):
        """Tells the loss."""

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if logs and "loss" in logs:
                loss = float(logs["loss"])
                say(f"adaptation: step {state.global_step} of {state.max_steps}, masked-token loss {loss:.3f}")

    steps = settings.epochs * -(-len(tokens) // settings.batch_size)
    gpu = torch.cuda.is_available()
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            num_train_epochs=settings.epochs,
            per_device_train_batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            lr_scheduler_type="linear",
            warmup_steps=_WARMUP,
            weight_decay=0.01,
            train_sampling_strategy="group_by_length",
            seed=seed,
            use_cpu=not gpu,
            bf16=gpu and torch.cuda.is_bf16_supported(),
            dataloader_pin_memory=gpu,
            logging_steps=max(1, steps // _REPORTS),
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            remove_unused_columns=False,
        )
        collator = DataCollatorForLanguageModeling(tokenizer, mlm_probability=settings.mask, seed=seed)
        data: Any = tokens
        trainer = Trainer(model=model, args=arguments, train_dataset=data, data_collator=collator, callbacks=[Saying()])
        trainer.remove_callback(PrinterCallback)
        trainer.train()
