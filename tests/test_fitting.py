"""`treatystance.fitting`: what is kept is taken again, for the same rows and recipe alone."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from treatystance.artifact import save_artifact
from treatystance.calibration import DecisionRule
from treatystance.config import DistilledConfig, EncoderConfig, EncoderPart, LinearConfig, parse_config
from treatystance.corpus import Corpus
from treatystance.corpus.public import CORPORA_VARIABLE
from treatystance.crossval import fit_model
from treatystance.errors import ArtifactError
from treatystance.fitting import Fitter
from treatystance.models import distilled_fit, encoder_fit
from treatystance.models.base import Batch, Model
from treatystance.models.encoder import EncoderModel
from treatystance.models.encoder_input import InputEncoder
from treatystance.statement import LabelSet

ROWS = 150
SEED = 3


class AnewError(Exception):
    """Something was to be fitted."""


@pytest.fixture(scope="module")
def corpus(tiny_corpus: Corpus) -> Corpus:
    return tiny_corpus.take(range(ROWS))


@pytest.fixture(scope="module")
def part(tiny_encoder: dict[str, Any]) -> EncoderPart:
    return EncoderPart.model_validate_json(json.dumps(tiny_encoder))


def changed(part: EncoderPart, section: str, **values: Any) -> EncoderPart:
    return part.model_copy(update={section: getattr(part, section).model_copy(update=values)})


def everything(corpus: Corpus) -> Any:
    return np.arange(len(corpus))


def encoder(fitter: Fitter, part: EncoderPart, name: str = "model") -> EncoderModel:
    model = fitter.encoder(part, everything(fitter.corpus), name)
    assert isinstance(model, EncoderModel)
    return model


def scores(model: Model, corpus: Corpus) -> Any:
    return model.logits(Batch.of(corpus))


@pytest.fixture(scope="module")
def fitted(
    corpus: Corpus, part: EncoderPart, tmp_path_factory: pytest.TempPathFactory
) -> tuple[EncoderModel, Path, list[str]]:
    """A model, the folder where it is kept, and what was said."""
    folder, said = tmp_path_factory.mktemp("kept"), list[str]()
    return encoder(Fitter(corpus, SEED, folder, said.append), part, "first"), folder, said


@pytest.fixture
def kept(fitted: tuple[EncoderModel, Path, list[str]], tmp_path: Path) -> Path:
    """A copy of the folder."""
    return Path(shutil.copytree(fitted[1], tmp_path / "kept"))


@pytest.fixture
def _nothing_is_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    def fit_encoder(*arguments: Any, **more: Any) -> None:
        raise AnewError

    monkeypatch.setattr(encoder_fit, "fit_encoder", fit_encoder)


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch, fitted: tuple[EncoderModel, Path, list[str]]) -> list[dict[str, Any]]:
    """What `fit_encoder` is called with; it gives a model fitted before."""
    calls: list[dict[str, Any]] = []

    def fit_encoder(*arguments: Any, **more: Any) -> EncoderModel:
        names = ("batch", "targets", "weights", "labels", "part", "seed")
        calls.append(dict(zip(names, arguments, strict=True)) | more)
        return fitted[0]

    monkeypatch.setattr(encoder_fit, "fit_encoder", fit_encoder)
    return calls


@pytest.mark.usefixtures("_nothing_is_fitted")
class TestKept:
    def test_a_second_run_takes_the_model(
        self, fitted: tuple[EncoderModel, Path, list[str]], corpus: Corpus, part: EncoderPart
    ) -> None:
        model, folder, first = fitted
        assert first[0].startswith("first: epoch 1 of 1")
        said: list[str] = []
        again = encoder(Fitter(corpus, SEED, folder, said.append), part, "second")
        (place,) = folder.glob("*/float32-whole")
        assert said == [f"second: taken from {place}"]
        np.testing.assert_array_equal(scores(again, corpus), scores(model, corpus))
        assert again.files() == model.files()

    def test_a_whole_recipe_says_the_same_as_its_part(
        self, kept: Path, corpus: Corpus, part: EncoderPart, tiny_encoder: dict[str, Any]
    ) -> None:
        config = parse_config({"kind": "encoder", "name": "other", "seed": 99, "data": [{"path": "x"}]} | tiny_encoder)
        assert isinstance(config, EncoderConfig)
        fitter = Fitter(corpus, SEED, kept)
        assert fitter.model(config, everything(corpus)).files() == encoder(fitter, part).files()

    def test_the_order_of_the_rows_is_nothing(self, kept: Path, corpus: Corpus, part: EncoderPart) -> None:
        Fitter(corpus, SEED, kept).encoder(part, everything(corpus)[::-1])

    @pytest.mark.parametrize(
        ("section", "values"),
        [
            ("fitting", {"epochs": 2}),
            ("fitting", {"learning_rate": 1e-5}),
            ("input", {"countries": True}),
            ("checkpoint", {"source": "package:minilm"}),
            ("checkpoint", {"revision": "main"}),
        ],
    )
    def test_another_recipe_is_fitted_anew(
        self, kept: Path, corpus: Corpus, part: EncoderPart, section: str, values: dict[str, Any]
    ) -> None:
        with pytest.raises(AnewError):
            encoder(Fitter(corpus, SEED, kept), changed(part, section, **values))

    def test_another_seed_is_fitted_anew(self, kept: Path, corpus: Corpus, part: EncoderPart) -> None:
        with pytest.raises(AnewError):
            encoder(Fitter(corpus, SEED + 1, kept), part)

    @pytest.mark.parametrize(
        "values",
        [
            {"text": "We met again."},
            {"labels": ("reaffirmation", "humanitarian_commitment")},
            {"prev": "We met before."},
            {"government": "ISL"},
            {"weight": 2.0},
            {"auxiliary": True},
            {"doc_id": "another"},
        ],
        ids=lambda values: next(iter(values)),
    )
    def test_changed_rows_are_fitted_anew(
        self, kept: Path, corpus: Corpus, part: EncoderPart, values: dict[str, Any]
    ) -> None:
        rows = (replace(corpus.rows[0], **values), *corpus.rows[1:])
        with pytest.raises(AnewError):
            encoder(Fitter(replace(corpus, rows=rows), SEED, kept), part)

    def test_fewer_rows_and_other_labels_are_fitted_anew(self, kept: Path, corpus: Corpus, part: EncoderPart) -> None:
        with pytest.raises(AnewError):
            Fitter(corpus, SEED, kept).encoder(part, everything(corpus)[:-1])
        with pytest.raises(AnewError):
            encoder(Fitter(Corpus(corpus.rows, LabelSet(corpus.labels.names[::-1])), SEED, kept), part)

    def test_without_a_folder_everything_is_fitted_anew(self, corpus: Corpus, part: EncoderPart) -> None:
        with pytest.raises(AnewError):
            encoder(Fitter(corpus, SEED), part)

    @pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "encoder.json", "manifest.json"])
    def test_a_model_that_was_tampered_with_is_refused(
        self, kept: Path, corpus: Corpus, part: EncoderPart, name: str
    ) -> None:
        (path,) = kept.glob(f"*/float32-whole/{name}")
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        with pytest.raises(ArtifactError) as caught:
            encoder(Fitter(corpus, SEED, kept), part)
        assert "float32-whole" in str(caught.value)
        assert "\n" not in str(caught.value)
        path.unlink()
        with pytest.raises(ArtifactError, match="missing"):
            encoder(Fitter(corpus, SEED, kept), part)


@pytest.fixture
def _nothing_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Written anew, though, it may be."""

    def train(*arguments: Any, **more: Any) -> None:
        raise AnewError

    monkeypatch.setattr("treatystance.models.encoder_trainer.EncoderTrainer.train", train)


@pytest.mark.usefixtures("_nothing_is_trained")
class TestWrittenAnew:
    def test_in_another_precision(
        self, fitted: tuple[EncoderModel, Path, list[str]], kept: Path, corpus: Corpus, part: EncoderPart
    ) -> None:
        # Checkpoints know where they lie, so not the copy.
        model, folder, _ = fitted
        said: list[str] = []
        small = encoder(Fitter(corpus, SEED, folder, said.append), changed(part, "export", precision="int8"))
        assert len(said) == 1
        assert "ended already" in said[0]
        assert small.describe()["precision"] == "int8"
        difference = np.abs(scores(small, corpus) - scores(model, corpus)).max()
        assert 0 < difference < 0.3 * np.abs(scores(model, corpus)).max()
        assert {path.name for path in folder.glob("*/*")} >= {"float32-whole", "int8-whole", "checkpoints"}
        # Those that were moved are another run's.
        with pytest.raises(AnewError):
            encoder(Fitter(corpus, SEED, kept), changed(part, "export", precision="int8"))

    def test_a_model_that_was_not_kept_whole(
        self,
        fitted: tuple[EncoderModel, Path, list[str]],
        corpus: Corpus,
        part: EncoderPart,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        model, folder, _ = fitted
        (place,) = folder.glob("*/float32-whole")
        shutil.rmtree(place)

        def cut_off(artifact: Any, where: Path) -> None:
            save_artifact(artifact, where)
            raise KeyboardInterrupt

        monkeypatch.setattr("treatystance.fitting.save_artifact", cut_off)
        with pytest.raises(KeyboardInterrupt):
            encoder(Fitter(corpus, SEED, folder), part)
        assert not place.exists()
        monkeypatch.setattr("treatystance.fitting.save_artifact", save_artifact)
        assert encoder(Fitter(corpus, SEED, folder), part).files() == model.files()
        assert {path.name for path in place.parent.iterdir()} <= {"float32-whole", "int8-whole", "checkpoints"}

    def test_the_vocabulary_of_the_rows_where_no_corpus_is_at_hand(
        self,
        fitted: tuple[EncoderModel, Path, list[str]],
        corpus: Corpus,
        tiny_corpus: Corpus,
        part: EncoderPart,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.delenv(CORPORA_VARIABLE, raising=False)
        model, folder, _ = fitted
        small = encoder(Fitter(corpus, SEED, folder), changed(part, "export", vocabulary="corpus"))
        assert len(small.input.vocabulary) < len(model.input.vocabulary)
        assert set(small.input.vocabulary) >= tokens_of(model.input, corpus)
        np.testing.assert_allclose(scores(small, corpus), scores(model, corpus), atol=1e-4)
        # Of other rows some tokens are gone.
        assert tokens_of(model.input, tiny_corpus) - set(small.input.vocabulary)
        assert np.abs(scores(small, tiny_corpus) - scores(model, tiny_corpus)).max() > 0.01


def tokens_of(reader: InputEncoder, corpus: Corpus) -> set[str]:
    names = {number: token for token, number in reader.vocabulary.items()}
    return {names[i] for one in reader.encode(Batch.of(corpus)) for i in one.ids}


class TestGiven:
    def test_the_rows_with_their_weights_and_documents(
        self, given: list[dict[str, Any]], corpus: Corpus, part: EncoderPart, tmp_path: Path
    ) -> None:
        rows = tuple(replace(row, weight=1.0 + i, auxiliary=i % 2 == 0) for i, row in enumerate(corpus))
        members = np.array([7, 3, 5])
        fitter = Fitter(replace(corpus, rows=rows), SEED, tmp_path)
        fitter.encoder(part, members)
        (call,) = given
        assert call["batch"].texts == Batch.of([rows[i] for i in members]).texts
        np.testing.assert_array_equal(call["targets"], corpus.label_matrix()[members])
        np.testing.assert_array_equal(call["weights"], [8, 4, 6])
        np.testing.assert_array_equal(call["auxiliary"], [False, False, False])
        assert call["documents"] == [rows[i].doc_id for i in members]
        assert (call["labels"], call["part"], call["seed"]) == (corpus.labels, part, SEED)
        assert call["adaptation_texts"] is None
        assert list(call["texts_for_vocabulary"]) == []
        assert call["folder"].parent.parent == tmp_path

    def test_metrics_and_messages_begin_with_the_name(
        self, given: list[dict[str, Any]], corpus: Corpus, part: EncoderPart
    ) -> None:
        said: list[str] = []
        tracked: list[Any] = []
        fitter = Fitter(corpus, SEED, None, said.append, lambda metrics, step: tracked.append((metrics, step)))
        encoder(fitter, part, "fold_2.teacher")
        given[0]["say"]("epoch 1")
        given[0]["track"](16, {"loss": 0.5, "seconds": 2.0})
        assert said == ["fold_2.teacher: epoch 1"]
        assert tracked == [({"fold_2.teacher.loss": 0.5, "fold_2.teacher.seconds": 2.0}, 16)]
        assert given[0]["folder"] is None

    def test_sentences_to_adapt_on(
        self, given: list[dict[str, Any]], corpus: Corpus, part: EncoderPart, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls: list[Any] = []

        def pool_sentences(*arguments: Any) -> Batch:
            calls.append(arguments)
            return Batch(["We met."], [None], [None])

        monkeypatch.setattr("treatystance.pool.pool_sentences", pool_sentences)
        adaptation = EncoderConfig.model_validate(
            {"kind": "encoder", "data": [{"path": "x"}], "adaptation": {"corpora": ("ungdc",), "sentences": 50}},
            strict=False,
        ).adaptation
        encoder(Fitter(corpus, SEED), part.model_copy(update={"adaptation": adaptation}))
        assert list(given[0]["adaptation_texts"]) == ["We met."]
        assert calls == [(("ungdc",), 50, SEED, frozenset())]

    def test_sentences_of_the_corpora_at_hand_for_the_vocabulary(
        self,
        given: list[dict[str, Any]],
        corpus: Corpus,
        part: EncoderPart,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv(CORPORA_VARIABLE, os.fspath(tmp_path))
        columns = {"doc_id": ["LUX_1_1999"], "iso3": ["LUX"], "text": ["We spoke of peace. We said no more."]}
        pq.write_table(pa.table(columns), tmp_path / "ungdc.parquet")
        fitter = Fitter(corpus, SEED)
        for _ in range(2):
            encoder(fitter, changed(part, "export", vocabulary="corpus"))
        assert sorted(given[0]["texts_for_vocabulary"]) == ["We said no more.", "We spoke of peace."]
        assert given[1]["texts_for_vocabulary"] is given[0]["texts_for_vocabulary"]  # read once


RECIPE: dict[str, Any] = {"data": [{"path": "x"}], "seed": SEED}
LINEAR: dict[str, Any] = {"features": {"word_ngrams": [1, 1], "char_ngrams": None}, "classifier": {"c": 1.0}}


def test_a_linear_recipe_gives_the_linear_model(corpus: Corpus) -> None:
    config = parse_config(RECIPE | LINEAR | {"kind": "linear"})
    assert isinstance(config, LinearConfig)
    members = everything(corpus)[::2]
    found = Fitter(corpus, SEED).model(config, members)
    assert found.files() == fit_model(config, corpus, members).files()


def test_a_student_learns_the_teacher_s_calibrated_probabilities(
    fitted: tuple[EncoderModel, Path, list[str]],
    kept: Path,
    corpus: Corpus,
    tiny_corpus: Corpus,
    tiny_encoder: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    teacher, _, _ = fitted
    pool = Batch.of(tiny_corpus.rows[ROWS : ROWS + 80])
    drawn: list[Any] = []
    taught: list[Any] = []
    fit_distilled = distilled_fit.fit_distilled

    def pool_sentences(*arguments: Any) -> Batch:
        drawn.append(arguments)
        return pool

    def watched(*arguments: Any) -> Any:
        taught.append(arguments)
        return fit_distilled(*arguments)

    monkeypatch.setattr("treatystance.pool.pool_sentences", pool_sentences)
    monkeypatch.setattr(distilled_fit, "fit_distilled", watched)
    config = parse_config(
        RECIPE
        | {"kind": "distilled", "teacher": tiny_encoder, "linear": LINEAR, "corpora": ["whitehouse"], "sentences": 80}
        | {"weight": 2.5}
    )
    assert isinstance(config, DistilledConfig)
    rule = DecisionRule(False, (2.0, 0.5, 1.0), (-1.0, 0.0, 1.0), (0.5,) * 3, (1.0,) * 3, (0.0,) * 3)
    said: list[str] = []
    fitter = Fitter(corpus, SEED, kept, said.append)
    student = fitter.distilled(config, everything(corpus), rule, "fold_0", {"POL", "FIN"})
    assert drawn == [(("whitehouse",), 80, SEED, frozenset({"POL", "FIN"}))]
    ((batch, targets, weights, labels, linear, seed, _, given, probabilities, weight),) = taught
    assert batch.texts == Batch.of(corpus).texts
    np.testing.assert_array_equal(targets, corpus.label_matrix())
    np.testing.assert_array_equal(weights, np.ones(len(corpus)))
    assert (labels, linear, seed, weight) == (corpus.labels, config.linear, SEED, 2.5)
    assert given is pool
    wanted = 1 / (1 + np.exp(-(teacher.logits(pool) * [2.0, 0.5, 1.0] + [-1.0, 0.0, 1.0])))
    np.testing.assert_allclose(probabilities, wanted, atol=1e-9)
    assert said[0].startswith("fold_0.teacher: taken from ")
    assert said[1:] == ["fold_0: the teacher labels 80 sentences"]
    assert student.kind == "linear"
