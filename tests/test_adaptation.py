"""`treatystance.models.adaptation`: a tiny encoder learns from unlabelled sentences, in place and repeatably."""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

from treatystance.config.encoders import Adaptation  # noqa: E402
from treatystance.errors import InputError, MissingExtraError  # noqa: E402
from treatystance.models import adaptation, checkpoint  # noqa: E402
from treatystance.models.adaptation import adapt  # noqa: E402

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SENTENCES = [
    "we will leave the pact next year",
    "we stand by the treaty",
    "we send food and tents",
    "the weather was mild",
    "[MASK] talks went on",
] * 60
MODERN = {f"{name}_token_id": i for i, name in ((0, "pad"), (2, "bos"), (2, "cls"), (3, "eos"), (3, "sep"))}


def tokenizer_json(special: list[str] = SPECIAL) -> bytes:
    words = dict.fromkeys(" ".join(SENTENCES).replace("[MASK] ", "[ MASK ] ").split())
    vocabulary = {word: i for i, word in enumerate([*special, *words])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))  # noqa: S106
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(special)
    tokenizer.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return bytes(tokenizer.to_str().encode())


def config_of(kind: str = "Bert", **values: Any) -> Any:
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    return getattr(transformers, f"{kind}Config")(vocab_size=40, **sizes, **values)


def backbone_of(kind: str = "Bert", **values: Any) -> Any:
    torch.manual_seed(2)
    return transformers.AutoModel.from_config(config_of(kind, **values)).eval()


def weights_of(backbone: Any) -> dict[str, Any]:
    return {name: value.detach().clone() for name, value in backbone.state_dict().items()}


def adapted(backbone: Any, seed: int = 3, **values: Any) -> tuple[dict[str, Any], list[str]]:
    said: list[str] = []
    settings = Adaptation(**{"batch_size": 16, "learning_rate": 3e-3, "epochs": 4, **values})
    adapt(backbone, tokenizer_json(), SENTENCES, settings, seed, said.append)
    return weights_of(backbone), said


@pytest.mark.parametrize(
    ("kind", "values", "embedding", "fall"),
    [
        ("Bert", {}, "embeddings.word_embeddings.weight", 0.8),
        ("ModernBert", MODERN, "embeddings.tok_embeddings.weight", 0.3),
    ],
)
def test_the_loss_falls_and_the_encoder_itself_changes(
    kind: str, values: dict[str, Any], embedding: str, fall: float, capsys: pytest.CaptureFixture[str]
) -> None:
    backbone = backbone_of(kind, **values)
    before = weights_of(backbone)
    after, said = adapted(backbone)
    assert said[0] == "adapting the encoder to 300 sentences of 2220 tokens"
    losses = [float(found[1]) for line in said if (found := re.search(r"masked-token loss ([\d.]+)", line))]
    assert len(losses) >= 19
    assert np.mean(losses[-4:]) < np.mean(losses[:4]) - fall
    assert said[-1].startswith("adaptation: step 75 of 76")
    assert not torch.equal(before[embedding], after[embedding])
    changed = [name for name in before if "layer" in name and not torch.equal(before[name], after[name])]
    assert len(changed) > 10
    assert not backbone.training
    assert all(parameter.grad is None for parameter in backbone.parameters())
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_seeds_repeat() -> None:
    first, second, third = (adapted(backbone_of(), seed, epochs=1)[0] for seed in (3, 3, 4))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], third[name]) for name in first)


def test_masks_are_four_fifths_mask_a_tenth_random_a_tenth_itself_and_never_special() -> None:
    tokens, tokenizer = adaptation._read(tokenizer_json(), SENTENCES, 10_000, 128)
    collator = transformers.DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.3, seed=1)
    batch = collator([tokens[i] for i in range(len(tokens))] * 4)
    plain = collator.tokenizer.pad([{"input_ids": tokens[i]["input_ids"]} for i in range(len(tokens))] * 4)
    ids, given = torch.tensor(plain["input_ids"]), batch["input_ids"]
    hidden = batch["labels"] != -100
    special = ids < len(SPECIAL)
    assert not hidden[special].any()
    assert torch.equal(batch["labels"][hidden], ids[hidden])
    assert torch.equal(given[~hidden], ids[~hidden])
    assert float(hidden[~special].float().mean()) == pytest.approx(0.3, abs=0.03)
    masked = given[hidden] == SPECIAL.index("[MASK]")
    same = given[hidden] == ids[hidden]
    assert float(masked.float().mean()) == pytest.approx(0.8, abs=0.05)
    assert float(same.float().mean()) == pytest.approx(0.1 + 0.1 / 26, abs=0.03)
    assert batch["attention_mask"][ids == 0].sum() == 0


def test_special_tokens_spelled_out_are_text_and_long_sentences_are_cut() -> None:
    tokens, _ = adaptation._read(tokenizer_json(), ["[MASK] talks", "talks " * 500, " ", "went"], 3, 20)
    assert [len(tokens[i]["input_ids"]) for i in range(len(tokens))] == [6, 20, 3]
    assert tokens[0]["special_tokens_mask"] == [1, 0, 0, 0, 0, 1]


def test_only_as_many_sentences_as_wanted_are_read() -> None:
    read = []

    def source() -> Any:
        for sentence in SENTENCES:
            read.append(sentence)
            yield sentence

    said: list[str] = []
    adapt(backbone_of(), tokenizer_json(), source(), Adaptation(sentences=40, batch_size=20), 0, said.append)
    assert said[0].startswith("adapting the encoder to 40 sentences")
    assert len(read) == 40


def test_a_checkpoint_brings_its_own_head(tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole = transformers.BertForMaskedLM(config_of())
    with torch.no_grad():
        whole.cls.predictions.bias.fill_(0.5)
    whole.save_pretrained(tmp_path)
    backbone = transformers.AutoModel.from_pretrained(tmp_path, add_pooling_layer=False)
    model = adaptation._masked_model(backbone)
    assert torch.equal(model.cls.predictions.bias, torch.full((40,), 0.5))
    assert model.bert is backbone
    assert model.cls.predictions.decoder.weight is backbone.embeddings.word_embeddings.weight


def test_what_cannot_be_adapted_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="no sentence to adapt the encoder to"):
        adapt(backbone_of(), tokenizer_json(), [" ", ""], Adaptation(), 0)
    with pytest.raises(InputError, match=r"the tokenizer has no mask \(\[MASK\], <mask>"):
        adapt(backbone_of(), tokenizer_json(SPECIAL[:4]), SENTENCES, Adaptation(), 0)
    other = transformers.CLIPTextModel(config_of("CLIPText"))
    with pytest.raises(InputError, match="a clip_text_model encoder cannot be adapted"):
        adapt(other, tokenizer_json(), SENTENCES, Adaptation(), 0)
    monkeypatch.setattr(checkpoint, "find_spec", lambda name: find_spec(name) if name != "accelerate" else None)
    with pytest.raises(MissingExtraError, match="needs accelerate"):
        adapt(backbone_of(), tokenizer_json(), SENTENCES, Adaptation(), 0)
