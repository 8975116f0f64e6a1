"""`treatystance.models.encoder_fit`: fine-tuning learns, goes on where it stopped, and gives the same weights again."""

import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertModel

from treatystance.config.encoders import Checkpoint, Contrastive, FineTuning, Frozen, Input
from treatystance.config.recipes import EncoderPart
from treatystance.corpus import load_corpus
from treatystance.errors import InputError
from treatystance.models import encoder_fit, fine_tuning
from treatystance.models.base import Batch
from treatystance.models.checkpoint import load_backbone
from treatystance.models.encoder_fit import fit_encoder, hold_out, kept_tokens
from treatystance.models.encoder_input import InputEncoder
from treatystance.models.encoder_network import Network
from treatystance.models.encoder_trainer import ByLength, Collator, EncoderTrainer, Learner, Rows
from treatystance.models.fine_tuning import fine_tune, uses_bfloat16
from treatystance.models.run_folder import RunFolder
from treatystance.statement import LabelSet

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ROWS = 96


@dataclass(frozen=True)
class Data:
    """A few composed sentences, every label among them."""

    batch: Batch
    targets: Any
    documents: list[str]
    labels: LabelSet
    folder: Path

    @property
    def weights(self) -> Any:
        return np.ones(len(self.batch))

    def part(self, **fitting: Any) -> EncoderPart:
        quick: dict[str, Any] = {"epochs": 2, "batch_size": 16, "precision": "float32"} | fitting
        source = {"source": str(self.folder)}
        return EncoderPart.model_validate({"checkpoint": source, "fitting": FineTuning(**quick)}, strict=False)

    def fit(self, part: EncoderPart, seed: int = 0, **more: Any) -> Any:
        """What reaches the export: network, input, about, kept tokens."""
        return fit_encoder(self.batch, self.targets, self.weights, self.labels, part, seed, **more)

    def parts(self) -> tuple[Network, InputEncoder, Rows]:
        """The same, a step deeper."""
        torch.manual_seed(0)
        tokens = InputEncoder((self.folder / "tokenizer.json").read_bytes(), Input())
        network = Network(load_backbone(Checkpoint(source=str(self.folder)))[0], len(self.labels))
        nothing = np.zeros(len(self.batch), np.bool_)
        return network, tokens, Rows(tokens.encode(self.batch), self.targets, self.weights, nothing)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    corpus = load_corpus(["package:composed"])
    matrix = corpus.label_matrix()
    rng = np.random.default_rng(1)
    groups = [np.flatnonzero(matrix[:, label]) for label in range(matrix.shape[1])]
    groups.append(np.flatnonzero(~matrix.any(axis=1)))
    chosen = np.unique(np.concatenate([rng.choice(group, ROWS // 4, replace=False) for group in groups]))
    rows = [corpus.rows[i] for i in chosen]
    tokenizer = Tokenizer(models.WordPiece(unk_token=SPECIAL[1]))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    words = trainers.WordPieceTrainer(vocab_size=600, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator([row.text for row in rows], words)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    folder = tmp_path_factory.mktemp("tiny")
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(5)
    config = BertConfig(
        vocab_size=600,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.2,
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    labels = LabelSet(corpus.labels.names)
    return Data(Batch.of(rows), matrix[chosen], [row.doc_id for row in rows], labels, folder)


@pytest.fixture(autouse=True)
def _exported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written as ONNX here: the export hands back what it is given."""
    stand_in: Any = ModuleType("treatystance.models.encoder_export")
    stand_in.export = lambda network, tokens, labels, settings, about, keep=None: (network, tokens, about, keep)
    monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)


def weights_of(network: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def distance(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    assert one.keys() == other.keys()
    return max(float((one[name].double() - other[name].double()).abs().max()) for name in one)


def scores(network: Network, tokens: InputEncoder, batch: Batch) -> Any:
    tensors = {name: torch.from_numpy(matrix) for name, matrix in tokens.pad(tokens.encode(batch)).items()}
    with torch.inference_mode():
        return network(**tensors).numpy()


def stop_after(epochs: int) -> Callable[[int, dict[str, float]], None]:
    seen: list[int] = []

    def track(step: int, figures: dict[str, float]) -> None:
        seen.append(step)
        if len(seen) > epochs:
            raise KeyboardInterrupt

    return track


class TestLearning:
    @pytest.mark.parametrize("precision", ["float32", "bfloat16"])
    def test_it_learns(self, data: Data, precision: str, capfd: pytest.CaptureFixture[str]) -> None:
        said: list[str] = []
        tracked: list[tuple[int, dict[str, float]]] = []
        part = data.part(epochs=12, learning_rate=3e-3, head_rate=10.0, train_embeddings=True, precision=precision)
        network, tokens, about, keep = data.fit(
            part, say=said.append, track=lambda step, figures: tracked.append((step, figures))
        )
        losses = [figures["loss"] for _, figures in tracked]
        assert losses[-1] < 0.4 * losses[0]
        assert average_precision_score(data.targets, scores(network, tokens, data.batch)) > 0.95
        assert {tensor.dtype for tensor in network.state_dict().values()} == {torch.float32}
        assert not network.training
        steps = -(-len(data.batch) // 16)
        assert [step for step, _ in tracked] == [steps * (i + 1) for i in range(12)]
        assert {"loss", "learning_rate", "seconds"} <= tracked[0][1].keys()
        assert len(said) == 12
        assert said[0].startswith(f"epoch 1 of 12: loss {losses[0]:.4f}, ")
        assert capfd.readouterr() == ("", "")
        assert about["training"]["steps"] == 12 * steps
        assert about["sentences"] == len(data.batch)
        assert keep is None

    def test_one_label_per_row(self, data: Data) -> None:
        rows = np.flatnonzero(data.targets.sum(axis=1) == 1).tolist()
        batch = Batch([data.batch.texts[i] for i in rows], [None] * len(rows), [None] * len(rows))
        part = data.part(epochs=12, learning_rate=3e-3, head_rate=10.0, train_embeddings=True)
        labels = LabelSet(data.labels.names, exclusive=True)
        fitted: Any = fit_encoder(batch, data.targets[rows], np.ones(len(rows)), labels, part, 0)
        network, tokens, *_ = fitted
        right = scores(network, tokens, batch).argmax(axis=1) == data.targets[rows].argmax(axis=1)
        assert right.mean() > 0.9

    def test_auxiliary_rows_have_an_intercept_of_their_own(self, data: Data) -> None:
        """Labels without any relation to the text: only how frequent they are can be learned."""
        rng = np.random.default_rng(0)
        auxiliary = rng.random(len(data.batch)) < 0.5
        targets = rng.random(data.targets.shape) < np.where(auxiliary, 0.95, 0.1)[:, None]
        part = data.part(epochs=12, learning_rate=1e-3, head_rate=100.0, frozen_layers=2)

        def mean(auxiliary: Any) -> float:
            fitted: Any = fit_encoder(data.batch, targets, data.weights, data.labels, part, 0, auxiliary=auxiliary)
            network, tokens, *_ = fitted
            assert {name for name, _ in network.named_children()} == {"backbone", "dropout", "head"}
            return float((1 / (1 + np.exp(-scores(network, tokens, data.batch)))).mean())

        assert mean(auxiliary) < 0.28
        assert 0.4 < mean(None) < 0.7

    def test_loss(self, data: Data) -> None:
        """Weighted, normalised over the update, the carried labels weighing more."""
        network, tokens, rows = data.parts()
        rng = np.random.default_rng(0)
        rows = Rows(rows.encoded, rows.targets, rng.random(len(data.batch)) + 0.1, rng.random(len(data.batch)) < 0.5)
        learner = Learner(network.eval(), True, False)
        assert learner.intercept is not None
        with torch.no_grad():
            learner.intercept += 0.7
        inputs = Collator(tokens)([rows.dataset(np.arange(8))[i] for i in range(8)])
        with torch.inference_mode():
            logits = scores(network, tokens, data.batch)[:8] + 0.7 * rows.auxiliary[:8, None]
        chance, y, w = 1 / (1 + np.exp(-logits.astype(float))), rows.targets[:8], rows.weights[:8]
        rates = np.array([3.0, 2.0, 5.0])
        rate = np.where(rows.auxiliary[:8, None], 1.0, rates)
        several = -(rate * y * np.log(chance) + (1 - y) * np.log(1 - chance)).sum(axis=1)
        single = -np.log(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))[np.arange(8), y.argmax(axis=1)]
        single = single * np.where(y, rate, 1.0).prod(axis=1)
        for exclusive, losses in ((False, several), (True, single)):
            trainer: Any = EncoderTrainer.__new__(EncoderTrainer)
            trainer._rates, trainer._exclusive = rates, exclusive
            assert trainer.compute_loss(learner, inputs).item() == pytest.approx((losses * w).sum() / w.sum(), rel=1e-4)
            loss = trainer.compute_loss(learner, inputs, num_items_in_batch=torch.tensor(50.0)).item()
            assert loss == pytest.approx((losses * w).sum() / 50, rel=1e-4)

    def test_balance(self) -> None:
        targets = np.array([[1, 1], [0, 1], [0, 1], [0, 0], [1, 0]], np.bool_)
        rows = Rows([], targets, np.ones(5), np.array([0, 0, 0, 0, 1], np.bool_))
        assert rows.rates(1.0).tolist() == pytest.approx([3.0, 1 / 3])
        assert rows.rates(0.5).tolist() == pytest.approx([3.0**0.5, 3.0**-0.5])
        assert rows.rates(0.0).tolist() == [1.0, 1.0]

    def test_accumulation_changes_nothing_but_memory(self, data: Data) -> None:
        common = {"epochs": 1, "learning_rate": 1e-3}
        whole, *_ = data.fit(data.part(batch_size=32, **common))
        parts, *_ = data.fit(data.part(batch_size=8, accumulation=4, **common))
        other, *_ = data.fit(data.part(batch_size=8, **common))
        assert distance(weights_of(whole), weights_of(parts)) < 2e-4
        assert distance(weights_of(whole), weights_of(other)) > 1e-3

    def test_what_is_frozen_stays(self, data: Data) -> None:
        start = weights_of(data.parts()[0].backbone)

        def moved(**fitting: Any) -> set[str]:
            network, *_ = data.fit(data.part(epochs=1, learning_rate=1e-3, **fitting))
            after = weights_of(network.backbone)
            changed = {name for name in start if not torch.equal(start[name], after[name])}
            return {
                name.rpartition(".attention")[0] or name.partition(".")[0] for name in changed if "query" in name
            } | {"embeddings" for name in changed if name.startswith("embeddings")}

        assert moved() == {"encoder.layer.0", "encoder.layer.1"}
        assert moved(frozen_layers=1) == {"encoder.layer.1"}
        assert moved(frozen_layers=2) == set()
        assert moved(train_embeddings=True) == {"embeddings", "encoder.layer.0", "encoder.layer.1"}
        with pytest.raises(InputError, match="frozen_layers: 3 of the encoder's 2 layers"):
            moved(frozen_layers=3)

    def test_rates_and_decay(self, data: Data) -> None:
        network, *_ = data.parts()
        trainer: Any = EncoderTrainer.__new__(EncoderTrainer)
        trainer.optimizer, trainer.model = None, Learner(network, True, False)
        trainer._fitting = FineTuning(learning_rate=1e-4, head_rate=10.0, weight_decay=0.02)
        groups = trainer.create_optimizer().param_groups
        found = {(group["lr"], group["weight_decay"]): {p.ndim for p in group["params"]} for group in groups}
        assert found == {(1e-4, 0.0): {1}, (1e-4, 0.02): {2}, (1e-3, 0.0): {1}, (1e-3, 0.02): {2}}
        assert [len(group["params"]) for group in groups][2:] == [2, 1]  # bias and intercept, matrix

    def test_astray(self, data: Data) -> None:
        with pytest.raises(InputError, match=r"training went astray \(loss nan"):
            data.fit(data.part(learning_rate=1e30, train_embeddings=True))


class TestSameAgain:
    def test_same_seed_same_weights_and_nobody_elses_chance(self, data: Data) -> None:
        def fitted(seed: int) -> dict[str, torch.Tensor]:
            return weights_of(data.fit(data.part(dropout=0.2), seed=seed)[0])

        random.seed(3)
        np.random.seed(3)
        torch.manual_seed(3)
        drawn = random.getrandbits(9), np.random.random(), torch.rand(1).item()
        first = fitted(1)
        random.seed(3)
        np.random.seed(3)
        torch.manual_seed(3)
        second = fitted(1)
        assert (random.getrandbits(9), np.random.random(), torch.rand(1).item()) == drawn
        assert distance(first, second) == 0.0
        assert distance(first, fitted(2)) > 0.0

    def test_goes_on_where_it_was_cut_off(self, data: Data, tmp_path: Path) -> None:
        part = data.part(epochs=3, learning_rate=1e-3, dropout=0.2)
        whole = weights_of(data.fit(part)[0])
        with pytest.raises(KeyboardInterrupt):
            data.fit(part, folder=tmp_path, track=stop_after(1))
        steps = -(-len(data.batch) // 16)
        # As if it had been killed while writing the next one.
        shutil.copytree(tmp_path / f"checkpoint-{steps}", tmp_path / f"checkpoint-{2 * steps}")
        (tmp_path / f"checkpoint-{2 * steps}" / "trainer_state.json").write_text('{"epoch"')
        said: list[str] = []
        again = data.fit(part, folder=tmp_path, say=said.append)
        assert said[0] == f"going on from {tmp_path / f'checkpoint-{steps}'}"
        assert [line[:12] for line in said[1:]] == ["epoch 2 of 3", "epoch 3 of 3"]
        assert distance(whole, weights_of(again[0])) == 0.0
        said.clear()
        third = data.fit(part, folder=tmp_path, say=said.append, track=stop_after(0))
        assert "ended already" in said[0]
        assert distance(whole, weights_of(third[0])) == 0.0
        assert third[2]["training"] == again[2]["training"]

    def test_another_run_begins_anew_and_leaves_other_files(self, data: Data, tmp_path: Path) -> None:
        data.fit(data.part(epochs=1), folder=tmp_path)
        (tmp_path / "notes.txt").write_text("kept")
        before = {path.name for path in tmp_path.iterdir()}
        said: list[str] = []
        data.fit(data.part(epochs=1), seed=1, folder=tmp_path, say=said.append)
        assert [line[:12] for line in said] == ["epoch 1 of 1"]
        assert {path.name for path in tmp_path.iterdir()} == before
        assert (tmp_path / "notes.txt").read_text() == "kept"

    def test_a_run_is_its_settings_and_data(self, data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[str] = []

        class KnownError(Exception):
            pass

        def remember(path: Path, run: str) -> None:
            seen.append(run)
            raise KnownError

        monkeypatch.setattr(encoder_fit, "RunFolder", remember)
        part, texts = data.part(), list(data.batch.texts)
        changed = Batch([*texts[:-1], texts[-1] + "!"], data.batch.previous, data.batch.governments)
        other = data.targets.copy()
        other[0, 0] ^= True
        common = (data.labels, part, 0)
        for arguments in (
            (data.batch, data.targets, data.weights, *common),
            (data.batch, data.targets, data.weights, *common),
            (changed, data.targets, data.weights, *common),
            (data.batch, other, data.weights, *common),
            (data.batch, data.targets, data.weights * 2, *common),
            (data.batch, data.targets, data.weights, data.labels, data.part(epochs=3), 0),
            (data.batch, data.targets, data.weights, data.labels, part, 1),
        ):
            with pytest.raises(KnownError):
                fit_encoder(*arguments, folder=tmp_path)
        assert seen[0] == seen[1]
        assert len(set(seen)) == 6

    def test_folders_that_cannot_serve(self, tmp_path: Path) -> None:
        (tmp_path / "checkpoint-7").mkdir()
        with pytest.raises(InputError, match="holds checkpoints of another program"):
            RunFolder(tmp_path, "run")
        assert (tmp_path / "checkpoint-7").is_dir()
        RunFolder(tmp_path / "ours", "run")
        (tmp_path / "ours" / "checkpoint-mine").mkdir()
        with pytest.raises(InputError, match="holds checkpoints of another program"):
            RunFolder(tmp_path / "ours", "run")
        (tmp_path / "file").touch()
        with pytest.raises(InputError, match="cannot keep its checkpoints there"):
            RunFolder(tmp_path / "file", "run")


class TestEarlyStopping:
    @pytest.mark.parametrize("kept", [False, True])
    def test_best_epoch_is_kept(self, data: Data, kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        network, tokens, rows = data.parts()
        told = iter([0.5, 0.9, 0.4, 0.9, 0.95])
        epochs: list[dict[str, torch.Tensor]] = []
        figures: list[dict[str, float]] = []

        def track(step: int, found: dict[str, float]) -> None:
            epochs.append(weights_of(network))
            figures.append(found)

        monkeypatch.setattr(fine_tuning, "macro_average_precision", lambda targets, scores: next(told))
        fitting = FineTuning(epochs=9, patience=2, learning_rate=1e-3, precision="float32")
        run = RunFolder(tmp_path, "run") if kept else None
        result = fine_tune(network, tokens, rows, False, fitting, 0, np.arange(0, 96, 8), run, track)
        assert [one["validation_average_precision"] for one in figures] == [0.5, 0.9, 0.4, 0.9]
        assert all(one["validation_loss"] > 0 for one in figures)
        assert distance(weights_of(network), epochs[1]) == 0.0
        assert distance(weights_of(network), epochs[3]) > 0.0
        assert result["best_average_precision"] == 0.9
        if run:
            other, *_ = data.parts()
            fine_tune(other, tokens, rows, False, fitting, 0, np.arange(0, 96, 8), run, track)
            assert distance(weights_of(other), epochs[1]) == 0.0
            assert len(epochs) == 4

    def test_held_out_documents_are_not_trained_on(self, data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
        taken: list[tuple[Any, Any]] = []

        def remember(
            network: Any, tokens: Any, rows: Any, exclusive: Any, fitting: Any, seed: Any, held: Any, *_: Any
        ) -> Any:
            taken.append((rows, held))
            return {}

        monkeypatch.setattr(fine_tuning, "fine_tune", remember)
        data.fit(data.part(patience=1, validation=0.25), documents=data.documents)
        held = taken[0][1]
        documents = np.array(data.documents)
        assert not set(documents[held]) & set(np.delete(documents, held))
        assert 0.15 < len(set(documents[held])) / len(set(documents)) < 0.35
        assert data.targets[held].any(axis=0).all()

    def test_ordinary_documents_are_held_out(self) -> None:
        rng = np.random.default_rng(0)
        documents = [f"d{i // 3}" for i in range(90)]
        auxiliary = np.arange(90) >= 45
        targets = rng.random((90, 2)) < 0.5
        held = hold_out(targets, auxiliary, documents, 0.2, 0)
        assert len(held) == 9
        assert not auxiliary[held].any()
        assert held.tolist() == hold_out(targets, auxiliary, documents, 0.2, 0).tolist()
        assert held.tolist() != hold_out(targets, auxiliary, documents, 0.2, 1).tolist()
        assert len(hold_out(targets, np.ones(90, np.bool_), documents, 0.2, 0)) == 18
        with pytest.raises(InputError, match="takes two at least"):
            hold_out(targets, auxiliary, ["one"] * 90, 0.2, 0)

    def test_average_precision(self) -> None:
        targets = np.array([[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 0]], np.bool_)
        found = np.array([[0.9, 0.1, 0], [0.8, 0.2, 0], [0.7, 0.3, 0], [0.1, 0.0, 0]])
        # 1 and 2/3 at the first label's positives, 1/2 at the second's; the third has none.
        assert fine_tuning.macro_average_precision(targets, found) == pytest.approx(((1 + 2 / 3) / 2 + 1 / 2) / 2)
        with pytest.raises(InputError, match="no held-out row carries a label"):
            fine_tuning.macro_average_precision(targets[3:], found[3:])


class TestOrder:
    def test_each_row_once_in_updates_of_like_length(self) -> None:
        lengths = np.random.default_rng(0).integers(3, 120, 1000)
        sampler = ByLength(lengths, 16, 5)
        orders = []
        for epoch in (0, 1):
            sampler.set_epoch(epoch)
            orders.append(list(sampler))
            assert list(sampler) == orders[-1]
        assert [sorted(order) for order in orders] == [list(range(1000))] * 2
        assert orders[0] != orders[1]
        updates = lengths[orders[0][: 62 * 16]].reshape(62, 16)
        assert np.ptp(updates, axis=1).mean() < 10
        assert np.abs(np.diff(updates.mean(axis=1))).mean() > 20  # but the updates come in no order of length
        assert list(ByLength(lengths, 16, 6)) != orders[0]

    @pytest.mark.parametrize("rows", [1, 5, 16, 17, 321])
    def test_any_number_of_rows(self, rows: int) -> None:
        assert sorted(ByLength(np.arange(rows), 16, 0)) == list(range(rows))


class TestElse:
    @pytest.mark.parametrize("fitting", [Frozen(), Contrastive(examples=8)])
    def test_heads(self, data: Data, fitting: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        given: list[Any] = []
        stand_in: Any = ModuleType("treatystance.models.encoder_heads")
        stand_in.fit_head = lambda *arguments: given.extend(arguments)
        monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)
        part = data.part().model_copy(update={"fitting": fitting})
        network, tokens, about, _ = data.fit(part, seed=4)
        assert given[:3] == [network, tokens, data.batch]
        assert given[5:8] == [data.labels, fitting, 4]
        assert not given[8].any()
        assert about["fitting"]["kind"] == fitting.kind

    def test_adaptation_comes_first_and_once(self, data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        read: list[list[str]] = []

        def adapt(backbone: Any, tokenizer: bytes, texts: Any, settings: Any, seed: int, say: Any) -> None:
            read.append(list(texts))
            with torch.no_grad():
                backbone.embeddings.word_embeddings.weight += 1.0

        stand_in: Any = ModuleType("treatystance.models.adaptation")
        stand_in.adapt = adapt
        monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)
        part = EncoderPart.model_validate(data.part().model_dump() | {"adaptation": {"epochs": 1}}, strict=False)
        with pytest.raises(InputError, match="no sentences to adapt the encoder on"):
            data.fit(part)
        start = data.parts()[0].backbone.embeddings.word_embeddings.weight
        with pytest.raises(KeyboardInterrupt):
            data.fit(part, folder=tmp_path, adaptation_texts=iter(["We met."]), track=stop_after(0))
        network, *_ = data.fit(part, folder=tmp_path, adaptation_texts=["never read"])
        assert read == [["We met."]]
        torch.testing.assert_close(network.backbone.embeddings.word_embeddings.weight, start + 1.0, rtol=0, atol=0)
        fresh, *_ = data.fit(part, adaptation_texts=["We met."])
        assert distance(weights_of(network), weights_of(fresh)) == 0.0

    def test_tokens_kept(self, data: Data) -> None:
        _, tokens, _ = data.parts()
        encoded = tokens.encode(Batch(["We withdraw."], [None], [None]))
        kept = kept_tokens(tokens, encoded, ["the treaty " * 200 + "of peace"])
        read = tokens.encode(Batch(["We withdraw. The treaty of peace"], [None], [None]))[0].ids
        assert kept == {*read, *(tokens.vocabulary[token] for token in SPECIAL)}
        governments = InputEncoder(tokens.tokenizer_json, Input(government=True))
        for name in ("Poland", "Türkiye", "European Union", "news report"):
            batch = Batch([f"{name}:"], [None], [None])
            assert set(governments.encode(batch)[0].ids) <= kept_tokens(governments, [], [])

    def test_vocabulary_of_the_corpus_reaches_the_export(self, data: Data) -> None:
        part = data.part(epochs=1).model_copy(
            update={"export": data.part().export.model_copy(update={"vocabulary": "corpus"})}
        )
        _, tokens, _, keep = data.fit(part, texts_for_vocabulary=iter(["zzz"]))
        used = {i for one in tokens.encode(data.batch) for i in one.ids}
        assert used <= keep
        assert set(tokens.encode(Batch(["zzz"], [None], [None]))[0].ids) <= keep

    @pytest.mark.parametrize("value", [True, False])
    def test_a_label_that_cannot_be_learned(self, data: Data, value: bool) -> None:
        targets = data.targets.copy()
        targets[:, 1] = value
        name, rows = data.labels.names[1], len(targets)
        with pytest.raises(InputError, match=f"label '{name}' is carried by {rows * value} of {rows} rows: nothing"):
            fit_encoder(data.batch, targets, data.weights, data.labels, data.part(), 0)

    def test_patience_without_documents(self, data: Data) -> None:
        with pytest.raises(InputError, match="patience: the rows' documents must be known"):
            data.fit(data.part(patience=1))

    def test_precision(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        for known, expected in (({"avx512_bf16": True}, True), ({"amx_bf16": True}, True), ({"avx2": True}, False)):
            monkeypatch.setattr(torch.cpu, "get_capabilities", lambda known=known: known, raising=False)
            assert uses_bfloat16("auto") is expected
        assert uses_bfloat16("bfloat16")
        assert not uses_bfloat16("float32")

    def test_nothing_heavy_before_it_is_called(self) -> None:
        code = "import sys, treatystance.models.encoder_fit; print({'torch', 'transformers'} & set(sys.modules))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "set()"
