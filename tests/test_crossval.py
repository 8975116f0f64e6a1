"""`treatystance.crossval` of recipes with an encoder: fitted once a fold, decided on by what the other folds say.

`test_train` has the linear recipes, whose validation is nested.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from treatystance import stacking
from treatystance.artifact import Artifact, load_artifact, save_artifact
from treatystance.calibration import fit_decision_rule
from treatystance.config import CascadeConfig, DistilledConfig, Recipe, parse_config
from treatystance.corpus import Corpus, load_corpus
from treatystance.crossval import CrossValidation, cross_validate, finish, out_of_fold
from treatystance.errors import ConfigError, InputError
from treatystance.fitting import Fitter
from treatystance.models.base import Batch
from treatystance.models.cascade import CascadeModel
from treatystance.models.encoder import EncoderModel
from treatystance.models.linear import LinearModel
from treatystance.recording import experiment_record
from treatystance.statement import LabelSet
from treatystance.train import Trained, fit

KINDS = ("encoder", "cascade", "distilled")
FOLDS = 3
LINEAR = {"features": {"word_ngrams": [1, 1], "char_ngrams": None}}
SENTENCES = 300


def recipe(kind: str, encoder: dict[str, Any] | None = None, **changes: Any) -> Recipe:
    parts: dict[str, Any] = {
        "encoder": encoder or {},
        "cascade": {"linear": LINEAR, "encoder": encoder or {}},
        "distilled": {"linear": LINEAR, "teacher": encoder or {}, "sentences": SENTENCES, "corpora": ["ungdc"]},
    }[kind]
    common = {
        "kind": kind,
        "name": f"tiny-{kind}",
        "seed": 4,
        "data": [{"path": "package:composed"}],
        "split": {"kind": "grouped", "folds": FOLDS if encoder is None else 2},
        "evaluation": {"resamples": 100},
    }
    return parse_config(common | parts | changes)


class Stub:
    """Scores by what a sentence is labelled and by chance, the same for a sentence whoever scores it."""

    def __init__(self, corpus: Corpus, salt: int, moved: frozenset[str]) -> None:
        self.labels, self._moved = corpus.labels, moved
        rng = np.random.default_rng(salt)
        scores = corpus.label_matrix() * 2.0 - 1 + rng.normal(0, 1, (len(corpus), len(corpus.labels)))
        self._scores = dict(zip((row.text for row in corpus), scores, strict=True))

    def logits(self, batch: Batch) -> Any:
        return np.array([self._scores[text] * (-5.0 if text in self._moved else 1.0) for text in batch.texts])


@dataclass(frozen=True)
class StubFitter(Fitter):
    """Fits nothing; notes what was to be fitted on what. Sentences in `moved` are scored all wrong."""

    moved: frozenset[str] = frozenset()
    encoders: list[tuple[str, list[int]]] = field(default_factory=list)
    students: list[dict[str, Any]] = field(default_factory=list)

    def linear(self, part: Any, members: Any) -> Any:
        return Stub(self.corpus, 1, self.moved)

    def encoder(self, part: Any, members: Any, name: str = "model") -> Any:
        self.encoders.append((name, members.tolist()))
        return Stub(self.corpus, 2, self.moved)

    def distilled(
        self, config: Any, members: Any, rule: Any, name: str = "model", skip: Any = (), *more: Any, **others: Any
    ) -> Any:
        self.students.append({"name": name, "members": members.tolist(), "rule": rule, "skip": set(skip)})
        return Stub(self.corpus, 3, self.moved)


@pytest.fixture(scope="module")
def distinct(tiny_corpus: Corpus) -> Corpus:
    """Rows whose text tells them apart, some of which only train, some standing for several sentences."""
    documents = sorted({row.doc_id for row in tiny_corpus})
    rows = {row.text: row for row in tiny_corpus}.values()
    changed = (
        replace(row, evaluate=documents.index(row.doc_id) % 5 != 0, probability=0.25 if i % 3 else 1.0)
        for i, row in enumerate(rows)
    )
    return Corpus(tuple(changed), tiny_corpus.labels)


@dataclass
class Watched:
    """One cross-validation with stubs, and the scores and rules that were fitted on the way."""

    validation: CrossValidation
    fitter: StubFitter
    rules: list[tuple[Any, Any, Any, Any]]
    cascades: list[tuple[Any, Any, Any, Any]]


def watched(config: Recipe, corpus: Corpus, moved: frozenset[str] = frozenset()) -> Watched:
    rules: list[tuple[Any, Any, Any, Any]] = []
    cascades: list[tuple[Any, Any, Any, Any]] = []
    fit_cascade = stacking.fit_cascade

    def rule_of(logits: Any, targets: Any, weights: Any, *rest: Any) -> Any:
        rules.append((logits, targets, weights, fit_decision_rule(logits, targets, weights, *rest)))
        return rules[-1][-1]

    def cascade_of(linear: Any, encoder: Any, targets: Any, weights: Any, *rest: Any) -> Any:
        cascades.append((linear, encoder, targets, fit_cascade(linear, encoder, targets, weights, *rest)))
        return cascades[-1][-1]

    fitter = StubFitter(corpus, config.seed, moved=moved)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("treatystance.crossval.fit_decision_rule", rule_of)
        patch.setattr(stacking, "fit_cascade", cascade_of)
        validation = cross_validate(config, corpus, fitter=fitter)
    return Watched(validation, fitter, rules, cascades)


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def found(kind: str, distinct: Corpus) -> Watched:
    return watched(recipe(kind), distinct)


class TestCrossFitting:
    def test_models_are_fitted_on_the_training_rows(self, found: Watched, distinct: Corpus) -> None:
        validation = found.validation
        assert sorted(validation.tested) == [i for i, row in enumerate(distinct) if row.evaluate]
        assert len(validation.folds) == FOLDS
        named = [(name.removesuffix(".teacher"), members) for name, members in found.fitter.encoders]
        assert named == [(f"fold_{i}", fold.train.tolist()) for i, fold in enumerate(validation.folds)]

    def test_scores_belong_to_their_rows(self, found: Watched, kind: str, distinct: Corpus) -> None:
        wanted = {
            "encoder": {"model": 2},
            "cascade": {"linear": 1, "encoder": 2},
            "distilled": {"teacher": 2, "model": 3},
        }
        batch = Batch.of(distinct.take(found.validation.tested))
        assert found.validation.parts.keys() == wanted[kind].keys()
        for name, salt in wanted[kind].items():
            np.testing.assert_array_equal(
                found.validation.parts[name], Stub(distinct, salt, frozenset()).logits(batch), name
            )

    def test_a_rule_is_fitted_on_the_scores_of_the_other_folds(
        self, found: Watched, kind: str, distinct: Corpus
    ) -> None:
        validation = found.validation
        targets = distinct.label_matrix()[validation.tested]
        weights = 1 / np.array([distinct.rows[i].probability for i in validation.tested])
        # The first rules of a distilled recipe calibrate the teachers.
        names = ["teacher", "model"] if kind == "distilled" else ["model"]
        assert len(found.rules) == len(names) * FOLDS
        for number, (logits, of_rule, counted, _) in enumerate(found.rules):
            others = validation.fold != number % FOLDS
            np.testing.assert_array_equal(of_rule, targets[others])
            np.testing.assert_array_equal(counted, weights[others])
            if kind != "cascade":
                np.testing.assert_array_equal(logits, validation.parts[names[number // FOLDS]][others])
        assert len(found.cascades) == (FOLDS if kind == "cascade" else 0)
        for number, (linear, encoder, of_cascade, fitted) in enumerate(found.cascades):
            others = validation.fold != number
            np.testing.assert_array_equal(linear, validation.parts["linear"][others])
            np.testing.assert_array_equal(encoder, validation.parts["encoder"][others])
            np.testing.assert_array_equal(of_cascade, targets[others])
            mixed = fitted.settings.combined(linear, encoder, distinct.labels.exclusive)
            np.testing.assert_array_equal(found.rules[number][0], mixed)

    def test_a_fold_is_decided_on_by_its_rule(self, found: Watched, kind: str, distinct: Corpus) -> None:
        validation = found.validation
        for number in range(FOLDS):
            here = validation.fold == number
            parts = {name: scores[here] for name, scores in validation.parts.items()}
            if kind == "cascade":
                settings = found.cascades[number][-1].settings
                logits = settings.combined(parts["linear"], parts["encoder"], distinct.labels.exclusive)
            else:
                logits = parts["model"]
            wanted = found.rules[-FOLDS:][number][-1].decide(logits)
            for name in ("probabilities", "tags", "uncertain"):
                np.testing.assert_array_equal(getattr(validation.decisions, name)[here], getattr(wanted, name), name)
        assert validation.report.n == len(validation.tested)
        assert validation.report.macro_f1 > 0.6
        assert validation.ordinary.macro_f1 != validation.report.macro_f1

    def test_scores_of_a_fold_do_not_reach_its_own_rule(self, found: Watched, kind: str, distinct: Corpus) -> None:
        """All wrong on fold 1: its rule and its mix stay as they are, those of the others do not."""
        moved = frozenset(distinct.rows[i].text for i in found.validation.folds[1].test)
        other = watched(recipe(kind), distinct, moved)
        same = [one[-1] == two[-1] for one, two in zip(found.rules, other.rules, strict=True)]
        assert same == [number % FOLDS == 1 for number in range(len(same))]
        mixes = [one[-1].settings == two[-1].settings for one, two in zip(found.cascades, other.cascades, strict=True)]
        assert mixes == [number == 1 for number in range(len(mixes))]
        rules = [
            one["rule"] == two["rule"] for one, two in zip(found.fitter.students, other.fitter.students, strict=True)
        ]
        assert rules == [number == 1 for number in range(len(rules))]
        assert not np.array_equal(found.validation.decisions.tags, other.validation.decisions.tags)

    def test_students_learn_by_a_rule_of_other_folds_and_without_the_tested_governments(self, distinct: Corpus) -> None:
        found = watched(recipe("distilled"), distinct)
        assert len(found.fitter.students) == FOLDS
        for number, (student, fold) in enumerate(zip(found.fitter.students, found.validation.folds, strict=True)):
            governments = {code for i in fold.test for code in distinct.rows[i].governments}
            assert governments
            assert student["skip"] == governments
            assert student["members"] == fold.train.tolist()
            assert student["name"] == f"fold_{number}"
            assert student["rule"] == found.rules[number][-1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_single_fold_is_refused_before_anything_is_fitted(kind: str, tiny_corpus: Corpus) -> None:
    fitter = StubFitter(tiny_corpus, 0)
    with pytest.raises(InputError) as caught:
        cross_validate(recipe(kind, split={"kind": "temporal", "year": 2010}), tiny_corpus, fitter=fitter)
    assert str(caught.value) == f"a {kind} recipe needs two folds at least: choose split.kind grouped"
    assert fitter.encoders == []


def test_a_threshold_for_no_label_is_refused_before_anything_is_fitted(kind: str, tiny_corpus: Corpus) -> None:
    config = recipe(kind, decision={"thresholds": {"withdraw": {"recall": 0.9}}})
    fitter = StubFitter(tiny_corpus, config.seed)
    with pytest.raises(ConfigError, match=r"decision.thresholds: unknown label 'withdraw'; known are intent_to_with"):
        cross_validate(config, tiny_corpus, fitter=fitter)
    assert fitter.encoders == []
    exclusive = Corpus(tiny_corpus.rows, LabelSet(tiny_corpus.labels.names, exclusive=True))
    config = recipe(kind, decision={"thresholds": {"reaffirmation": {"recall": 0.9}}})
    with pytest.raises(ConfigError, match="the highest score wins"):
        cross_validate(config, exclusive, fitter=fitter)


def test_the_recipe_s_thresholds_are_those_of_the_rule(tiny_corpus: Corpus) -> None:
    """Also what a threshold cannot reach is said, once, of the rule that goes with the model."""
    said: list[str] = []
    points = {"reaffirmation": {"recall": 0.97}, "humanitarian_commitment": {"precision": 1.0}}
    config = recipe("encoder", decision={"thresholds": points, "slope_weight_power": 0.5})
    # One sentence without the tag is scored above all that have it.
    plain = next(row.text for row in tiny_corpus if not row.labels)
    fitter = StubFitter(tiny_corpus, config.seed, say=said.append, moved=frozenset([plain]))
    validation = cross_validate(config, tiny_corpus, fitter=fitter)
    assert said == []
    _, rule = finish(config, tiny_corpus, validation, fitter)
    logits, targets = validation.parts["model"], tiny_corpus.take(validation.tested).label_matrix()
    tags = rule.decide(logits).tags
    recall = (tags & targets).sum(axis=0) / targets.sum(axis=0)
    precision = (tags & targets).sum(axis=0) / tags.sum(axis=0)
    assert recall[1] >= 0.97
    assert precision[2] < 1
    assert said == [
        f"humanitarian_commitment: no threshold is as precise as wanted; taken: the most precise, {precision[2]:.3f}"
    ]


def test_the_names_of_treaties_become_names_of_metrics(distinct: Corpus) -> None:
    """MLflow refuses commas, brackets and apostrophes, and would do so after the first epoch."""
    treaties = ("Pact of Peace, Trade (the People's)", "Accord")
    documents = sorted({row.doc_id for row in distinct})
    rows = tuple(replace(row, treaty=treaties[documents.index(row.doc_id) % 2]) for row in distinct)
    found = watched(recipe("encoder", split={"kind": "leave_one_treaty_out"}), Corpus(rows, distinct.labels))
    assert [name for name, _ in found.fitter.encoders] == ["accord", "pact_of_peace_trade_the_people_s_"]


@dataclass(frozen=True)
class Fits:
    """Where fitted encoders are kept, what training said and tracked, and where the pools were drawn from."""

    folder: Path
    corpus: Corpus
    pool: Batch
    said: list[str] = field(default_factory=list)
    tracked: list[tuple[dict[str, float], int]] = field(default_factory=list)
    pools: list[tuple[Any, ...]] = field(default_factory=list)

    def fit(self, config: Recipe) -> Trained:
        return fit(
            config,
            self.corpus,
            "1",
            self.said.append,
            self.folder,
            lambda metrics, step: self.tracked.append((metrics, step)),
        )


@pytest.fixture(scope="module")
def fits(tiny_corpus: Corpus, tiny_encoder: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fits]:
    known = {row.doc_id for row in tiny_corpus}
    unlabelled = [row for row in load_corpus(["package:composed"]) if row.doc_id not in known][:SENTENCES]
    found = Fits(tmp_path_factory.mktemp("kept"), tiny_corpus, Batch.of(unlabelled))

    def pool_sentences(corpora: Any, count: int, seed: int, skip_governments: Any) -> Batch:
        found.pools.append((tuple(corpora), count, seed, frozenset(skip_governments)))
        keep = [i for i, code in enumerate(found.pool.governments) if code not in skip_governments]
        return found.pool.take(np.array(keep))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("treatystance.pool.pool_sentences", pool_sentences)
        yield found


@pytest.fixture(scope="module")
def encoder(fits: Fits, tiny_encoder: dict[str, Any]) -> Trained:
    return fits.fit(recipe("encoder", tiny_encoder))


@pytest.fixture(scope="module")
def cascade(encoder: Trained, fits: Fits, tiny_encoder: dict[str, Any]) -> Trained:
    """Its encoders are those of the encoder recipe: same rows, same seed."""
    return fits.fit(recipe("cascade", tiny_encoder))


@pytest.fixture(scope="module")
def distilled(encoder: Trained, fits: Fits, tiny_encoder: dict[str, Any]) -> Trained:
    """Its teachers, too."""
    return fits.fit(recipe("distilled", tiny_encoder))


def check_whole(trained: Trained, corpus: Corpus, folder: Path) -> Artifact:
    """Validated on every row, recorded, saved, and read back with the same scores."""
    validation, artifact = trained.validation, trained.artifact
    assert sorted(validation.tested) == list(range(len(corpus)))
    assert validation.report.n == len(corpus)
    assert sum(report.n for report in validation.fold_reports) == len(corpus)
    records = [json.loads(line) for line in out_of_fold(corpus, validation).to_jsonl().splitlines()]
    assert [record["id"] for record in records] == [corpus.rows[i].id for i in validation.tested]
    assert [record["fold"] for record in records] == validation.fold.tolist()
    np.testing.assert_allclose(
        [record["probabilities"] for record in records], validation.decisions.probabilities, atol=1e-6
    )
    assert artifact.provenance["cross_validation"] == validation.report.to_dict()
    assert parse_config(artifact.provenance["config"]).sha256 == artifact.provenance["config_sha256"]
    record = json.loads(json.dumps(experiment_record(artifact, validation), allow_nan=False))
    assert record["macro_f1"] == pytest.approx(validation.report.macro_f1, abs=1e-6)
    save_artifact(artifact, folder / "model")
    back = load_artifact(folder / "model")
    batch = Batch.of(corpus.rows[:60])
    np.testing.assert_array_equal(back.model.logits(batch), artifact.model.logits(batch))
    assert (back.decision, back.model.kind, back.full_name) == (
        artifact.decision,
        artifact.model.kind,
        artifact.full_name,
    )
    return back


class TestEncoder:
    def test_end_to_end(self, encoder: Trained, tiny_corpus: Corpus, tmp_path: Path) -> None:
        assert isinstance(check_whole(encoder, tiny_corpus, tmp_path).model, EncoderModel)
        assert encoder.validation.parts.keys() == {"model"}

    def test_its_rule_is_that_of_the_out_of_fold_scores(self, encoder: Trained, tiny_corpus: Corpus) -> None:
        validation = encoder.validation
        part = tiny_corpus.take(validation.tested)
        wanted = fit_decision_rule(validation.parts["model"], part.label_matrix(), part.sampling_weights())
        assert encoder.artifact.decision == wanted

    def test_epochs_are_told_and_tracked_by_the_name_of_the_model(self, encoder: Trained, fits: Fits) -> None:
        names = ["fold_0", "fold_1", "model"]
        assert [line.partition(":")[0] for line in fits.said if ": epoch 1 of 1" in line] == names
        assert [sorted(metrics) for metrics, _ in fits.tracked] == [
            [f"{name}.{figure}" for figure in ("learning_rate", "loss", "seconds")] for name in names
        ]
        sizes = [len(fold.train) for fold in encoder.validation.folds] + [len(fits.corpus)]
        assert [step for _, step in fits.tracked] == [-(-size // 32) for size in sizes]

    def test_in_int8_the_same_encoders_are_written_anew(
        self,
        encoder: Trained,
        fits: Fits,
        tiny_encoder: dict[str, Any],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def never(*arguments: Any, **more: Any) -> None:
            raise AssertionError("trained")

        monkeypatch.setattr("treatystance.models.encoder_trainer.EncoderTrainer.train", never)
        small = fits.fit(recipe("encoder", tiny_encoder | {"export": {"precision": "int8"}}))
        back = check_whole(small, fits.corpus, tmp_path)
        for found, wanted in (
            (small.validation.parts["model"], encoder.validation.parts["model"]),
            (back.model.logits(Batch.of(fits.corpus)), encoder.artifact.model.logits(Batch.of(fits.corpus))),
        ):
            assert 0 < np.abs(found - wanted).max() < 0.3 * np.abs(wanted).max()
        sizes = [len(trained.artifact.model.files()["model.onnx"]) for trained in (small, encoder)]
        assert sizes[0] < 0.9 * sizes[1]  # most of so small a file is the graph


class TestCascade:
    def test_end_to_end(self, cascade: Trained, tiny_corpus: Corpus, tmp_path: Path) -> None:
        assert isinstance(check_whole(cascade, tiny_corpus, tmp_path).model, CascadeModel)
        assert cascade.validation.parts.keys() == {"linear", "encoder"}

    def test_its_scores_are_its_parts_combined(self, cascade: Trained, tiny_corpus: Corpus) -> None:
        model, batch = cascade.artifact.model, Batch.of(tiny_corpus)
        assert isinstance(model, CascadeModel)
        wanted = model.settings.combined(model.linear.logits(batch), model.encoder.logits(batch), False)
        # Batches of the encoder that hold other sentences round otherwise.
        np.testing.assert_allclose(model.logits(batch), wanted, atol=1e-4)

    def test_its_settings_and_rule_are_those_of_the_out_of_fold_scores(
        self, cascade: Trained, tiny_corpus: Corpus
    ) -> None:
        model, parts = cascade.artifact.model, cascade.validation.parts
        assert isinstance(model, CascadeModel)
        part = tiny_corpus.take(cascade.validation.tested)
        given = (parts["linear"], parts["encoder"], part.label_matrix(), part.sampling_weights(), False, 0.99)
        assert model.settings == stacking.fit_cascade(*given).settings
        combined = model.settings.combined(parts["linear"], parts["encoder"], False)
        wanted = fit_decision_rule(combined, part.label_matrix(), part.sampling_weights())
        assert cascade.artifact.decision == wanted

    def test_its_encoders_are_taken_from_where_they_were_kept(self, cascade: Trained, encoder: Trained) -> None:
        np.testing.assert_array_equal(cascade.validation.parts["encoder"], encoder.validation.parts["model"])
        files = cascade.artifact.model.files()
        assert files["encoder.model.onnx"] == encoder.artifact.model.files()["model.onnx"]

    def test_beside_its_encoder_it_is_written_without_it(
        self, cascade: Trained, encoder: Trained, tiny_corpus: Corpus, tmp_path: Path
    ) -> None:
        save_artifact(encoder.artifact, tmp_path / "encoder")
        save_artifact(cascade.artifact, tmp_path / "cascade", beside="encoder")
        assert not (tmp_path / "cascade" / "encoder.model.onnx").exists()
        batch = Batch.of(tiny_corpus.rows[:40])
        found = load_artifact(tmp_path / "cascade").model.logits(batch)
        np.testing.assert_array_equal(found, cascade.artifact.model.logits(batch))

    def test_its_recipe_is_kept(self, cascade: Trained) -> None:
        config = parse_config(cascade.artifact.provenance["config"])
        assert isinstance(config, CascadeConfig)
        assert config.linear.features.char_ngrams is None


class TestDistilled:
    def test_end_to_end(self, distilled: Trained, tiny_corpus: Corpus, tmp_path: Path) -> None:
        assert isinstance(check_whole(distilled, tiny_corpus, tmp_path).model, LinearModel)
        assert distilled.validation.parts.keys() == {"teacher", "model"}
        assert isinstance(parse_config(distilled.artifact.provenance["config"]), DistilledConfig)

    def test_its_rule_is_that_of_the_students_scores(self, distilled: Trained, tiny_corpus: Corpus) -> None:
        part = tiny_corpus.take(distilled.validation.tested)
        scores = distilled.validation.parts["model"]
        assert distilled.artifact.decision == fit_decision_rule(scores, part.label_matrix(), part.sampling_weights())

    def test_pools_leave_out_the_tested_governments(self, distilled: Trained, fits: Fits) -> None:
        folds = distilled.validation.folds
        tested = [{code for i in fold.test for code in fits.corpus.rows[i].governments} for fold in folds]
        assert all(tested)
        # The model fitted on every row is tested on nothing.
        assert fits.pools == [(("ungdc",), SENTENCES, 4, skipped) for skipped in (*tested, frozenset())]

    def test_the_student_is_none_that_only_saw_the_rows(self, distilled: Trained, cascade: Trained) -> None:
        scores, plain = distilled.validation.parts["model"], cascade.validation.parts["linear"]
        assert np.abs(scores - plain).max() > 0.1
