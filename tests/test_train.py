"""`treatystance.train`: nothing of a tested fold is ever fitted, and the same recipe gives the same model."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from treatystance.config import LinearConfig, parse_config
from treatystance.corpus import Corpus, Row
from treatystance.crossval import cross_validate, fit_model, out_of_fold
from treatystance.errors import CorpusError, InputError
from treatystance.models import linear_fit
from treatystance.models.base import Batch
from treatystance.recording import experiment_record
from treatystance.split import near_duplicates
from treatystance.statement import DEFAULT_LABELS, LabelSet
from treatystance.train import Trained, evaluate, fit, load_data

QUICK = {"word_ngrams": [1, 1], "char_ngrams": None}
GROUPED = {"kind": "grouped", "folds": 3, "inner_folds": 2}


def recipe(*paths: Path | str, **changes: Any) -> LinearConfig:
    config = parse_config(
        {
            "kind": "linear",
            "seed": 5,
            "data": [{"path": str(path)} for path in paths] or [{"path": "package:composed"}],
            "split": GROUPED,
            "features": QUICK,
            "evaluation": {"resamples": 100},
        }
        | changes
    )
    assert isinstance(config, LinearConfig)
    return config


def write(path: Path, *values: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in values), "utf-8")
    return path


@pytest.fixture(scope="module")
def mixed(tiny_corpus: Corpus) -> Corpus:
    """Rows of which a third only train, with a repeated text in another document, all told apart by their ids."""
    documents = sorted({row.doc_id for row in tiny_corpus})
    rows = [replace(row, evaluate=documents.index(row.doc_id) % 3 != 0) for row in tiny_corpus]
    copy = next(row for row in rows if row.evaluate)
    rows.append(replace(copy, id="copy", doc_id="copy", government=None, co_governments=(), evaluate=False))
    return Corpus(tuple(rows), tiny_corpus.labels)


class Recorder:
    """Stands for `fit_linear`; notes which rows each model was fitted to and which it then scored."""

    def __init__(self, corpus: Corpus) -> None:
        self.fits: list[tuple[list[Row], list[Row]]] = []
        self._corpus = corpus
        self._fit = linear_fit.fit_linear
        self._taken: list[Row] = []

    def rows(self, batch: Batch) -> list[Row]:
        """The rows of a batch, found by what they hold."""
        key = list(zip(batch.texts, batch.previous, batch.governments, strict=True))
        known = Batch.of(self._corpus.rows)
        by_key: dict[Any, list[Row]] = {}
        for row, *parts in zip(self._corpus.rows, known.texts, known.previous, known.governments, strict=True):
            by_key.setdefault(tuple(parts), []).append(row)
        assert all(len(by_key[part]) == 1 for part in key)
        return [by_key[part][0] for part in key]

    def __call__(self, batch: Batch, *rest: Any) -> Any:
        model: Any = self._fit(batch, *rest)
        fitted, tested = self.rows(batch), list[Row]()
        self.fits.append((fitted, tested))
        score = model.logits

        def logits(scored: Batch) -> Any:
            tested.extend(self.rows(scored))
            return score(scored)

        model.logits = logits
        return model


def assert_apart(fitted: list[Row], tested: list[Row], governments: bool = True) -> None:
    assert fitted
    assert tested
    assert not {r.doc_id for r in fitted} & {r.doc_id for r in tested}
    texts = [r.text for r in fitted] + [r.text for r in tested]
    assert not [(a, b) for a, b in near_duplicates(texts) if a < len(fitted) <= b]
    if governments:
        assert not {c for r in fitted for c in r.governments} & {c for r in tested for c in r.governments}


def test_nothing_is_fitted_on_what_it_is_tested_on(mixed: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(mixed)
    monkeypatch.setattr(linear_fit, "fit_linear", recorder)
    validation = cross_validate(recipe(), mixed)
    # For each of three outer folds: two inner fits, then one on all its training rows.
    assert len(recorder.fits) == 3 * (2 + 1)
    seen: list[str] = []
    for number, fold in enumerate(validation.folds):
        *inner, outer = recorder.fits[number * 3 : number * 3 + 3]
        held_out = [mixed.rows[i] for i in fold.test]
        assert [row.id for row in outer[1]] == [row.id for row in held_out]
        seen += [row.id for row in held_out]
        for fitted, tested in (*inner, outer):
            assert_apart(fitted, tested)
            assert_apart(fitted, held_out)
            assert all(row.evaluate for row in tested)
        for _, tested in inner:
            assert_apart(tested, held_out)  # thresholds and calibration come from these
        assert any(not row.evaluate for row in outer[0])
    assert sorted(seen) == sorted(row.id for row in mixed if row.evaluate)


def test_temporal_validation_tests_the_later_rows_only(tiny_corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(tiny_corpus)
    monkeypatch.setattr(linear_fit, "fit_linear", recorder)
    validation = cross_validate(recipe(split={"kind": "temporal", "year": 2010, "inner_folds": 2}), tiny_corpus)
    assert len(recorder.fits) == 3
    for fitted, _ in recorder.fits:
        assert all(row.year is not None and row.year < 2010 for row in fitted)
    fitted, tested = recorder.fits[-1]
    assert_apart(fitted, tested, governments=False)
    assert {row.id for row in tested} == {row.id for row in tiny_corpus if row.year and row.year >= 2010}
    assert validation.report.n == len(tested)


def test_a_treaty_is_validated_on_models_that_never_saw_it(
    tiny_corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two invented treaties named on alternate documents.
    documents = sorted({row.doc_id for row in tiny_corpus})
    rows = [replace(row, treaty=("Pact", "Accord")[documents.index(row.doc_id) % 2]) for row in tiny_corpus]
    corpus = Corpus(tuple(rows), tiny_corpus.labels)
    recorder = Recorder(corpus)
    monkeypatch.setattr(linear_fit, "fit_linear", recorder)
    validation = cross_validate(recipe(split={"kind": "leave_one_treaty_out", "inner_folds": 2}), corpus)
    assert [fold.name for fold in validation.folds] == ["accord", "pact"]
    for number, (fitted, _) in enumerate(recorder.fits):
        assert {row.treaty for row in fitted} == {("Pact", "Accord")[number // 3]}


def test_validation_is_in_order_and_adds_up(tiny_trained: Trained) -> None:
    validation, corpus = tiny_trained.validation, tiny_trained.corpus
    assert sorted(validation.tested) == list(range(len(corpus)))
    for number, fold in enumerate(validation.folds):
        np.testing.assert_array_equal(validation.tested[validation.fold == number], fold.test)
        assert validation.fold_reports[number].n == len(fold.test)
    tags, targets = validation.decisions.tags, corpus.label_matrix()[validation.tested]
    assert validation.report.exact_match == pytest.approx((tags == targets).all(axis=1).mean())
    # Far from perfect on so little text, but far from guessing too.
    assert 0.45 < validation.report.macro_f1 < 0.95


def test_same_seed_same_model_and_figures(tiny_corpus: Corpus) -> None:
    one, two = (fit(recipe(), tiny_corpus, "1") for _ in range(2))
    assert one.artifact.model.files() == two.artifact.model.files()
    assert one.artifact.decision == two.artifact.decision
    assert one.validation.report == two.validation.report
    other = fit(recipe(seed=6), tiny_corpus, "1")
    assert other.validation.report != one.validation.report


def test_provenance_identifies_the_run(tiny_trained: Trained, tiny_config: LinearConfig, tiny_corpus: Corpus) -> None:
    provenance = tiny_trained.artifact.provenance
    json.dumps(provenance, allow_nan=False)
    assert parse_config(provenance["config"]) == tiny_config
    assert provenance["config_sha256"] == tiny_config.sha256
    assert provenance["corpus_sha256"] == tiny_corpus.sha256
    assert provenance["codebook_sha256"] == tiny_corpus.codebook_sha256
    assert provenance["sentences"] == len(tiny_corpus)
    assert provenance["cross_validation"] == tiny_trained.validation.report.to_dict()
    record = experiment_record(tiny_trained.artifact, tiny_trained.validation)
    assert (record["name"], record["version"], record["seed"]) == ("tiny", "1", 7)
    assert record["config.features.char_ngrams"] == [3, 4]
    assert record["macro_f1"] == pytest.approx(tiny_trained.validation.report.macro_f1, abs=1e-6)
    assert not [key for key, value in record.items() if isinstance(value, dict)]


def test_what_was_evaluated_on_is_identified(mixed: Corpus) -> None:
    def evaluated(corpus: Corpus) -> Any:
        return fit(recipe(), corpus, "1").artifact.provenance["evaluated_sha256"]

    base = evaluated(mixed)
    less = Corpus(tuple(row for row in mixed if row.id != "copy"), mixed.labels)
    assert evaluated(less) == base  # a row that only trains
    place = next(i for i, row in enumerate(mixed) if row.evaluate and not row.labels)
    rows = list(mixed.rows)
    rows[place] = replace(rows[place], labels=("reaffirmation",))
    assert evaluated(Corpus(tuple(rows), mixed.labels)) != base


def test_out_of_fold_table_holds_no_text(tiny_trained: Trained) -> None:
    table = out_of_fold(tiny_trained.corpus, tiny_trained.validation).to_jsonl()
    records = [json.loads(line) for line in table.splitlines()]
    assert sorted(r["id"] for r in records) == sorted(row.id for row in tiny_trained.corpus)
    assert {key for r in records for key in r} == {
        "id", "doc_id", "sha256", "fold", "probability", "labels", "tags", "uncertain", "probabilities", "facts"
    }  # fmt: skip
    assert not [row.id for row in tiny_trained.corpus if row.text in table]
    by_id = {row.id: row for row in tiny_trained.corpus}
    assert all(set(r["labels"]) == set(by_id[r["id"]].labels) for r in records)


ROW = {"text": "We stay bound by the pact.", "labels": ["reaffirmation"]}
ANNOTATION = {"corpus": "ungdc", "doc_id": "POL_1", "start": 0, "end": 4, "sha256": "0" * 64, "labels": []}


def test_optional_source_is_left_out_with_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TREATYSTANCE_CORPORA", raising=False)
    rows, annotations = write(tmp_path / "a.jsonl", ROW), write(tmp_path / "b.jsonl", ANNOTATION)
    said: list[str] = []
    sources = [{"path": str(rows), "weight": 2.5}, {"path": str(annotations), "optional": True}]
    corpus = load_data(recipe(data=sources), said.append)
    assert [row.weight for row in corpus] == [2.5]
    assert len(said) == 1
    assert f"left out {annotations}" in said[0]
    assert "TREATYSTANCE_CORPORA" in said[0]
    with pytest.raises(InputError, match="no local copy of corpus 'ungdc'"):
        load_data(recipe(rows, annotations))


def test_without_rows_to_evaluate_on_all_are_with_a_message(tmp_path: Path) -> None:
    said: list[str] = []
    corpus = load_data(recipe(data=[{"path": str(write(tmp_path / "a.jsonl", ROW)), "evaluate": False}]), said.append)
    assert all(row.evaluate for row in corpus)
    assert said == [
        "no real text is at hand to test on: cross-validating on the composed text, which says little of real text"
    ]


def test_with_rows_to_evaluate_on_nothing_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    load_data(recipe(write(tmp_path / "a.jsonl", ROW)), said.append)
    assert said == []


def test_a_source_only_to_train_on_is_marked(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a.jsonl", ROW), write(tmp_path / "b.jsonl", ROW)
    corpus = load_data(recipe(data=[{"path": str(a), "evaluate": False}, {"path": str(b)}]))
    assert [row.evaluate for row in corpus] == [False, True]
    assert corpus.labels.names == DEFAULT_LABELS


def test_faults_of_all_sources_come_together(tmp_path: Path) -> None:
    a, b = write(tmp_path / "a.jsonl", {"text": "We."}), write(tmp_path / "b.jsonl", {"labels": []})
    with pytest.raises(CorpusError) as caught:
        load_data(recipe(a, b))
    assert [fault.split(": ")[0] for fault in caught.value.faults] == [f"{a}:1", f"{b}:1"]


def test_the_same_id_in_two_sources_is_a_fault(tmp_path: Path) -> None:
    a, b = (write(tmp_path / name, ROW | {"id": "r1"}) for name in ("a.jsonl", "b.jsonl"))
    with pytest.raises(CorpusError) as caught:
        load_data(recipe(a, b))
    (fault,) = caught.value.faults
    assert fault == "'r1' stands in several sources; give each row its own id, or name a file once"


def test_a_file_named_twice_is_a_fault_for_every_row(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", ROW, ROW)
    with pytest.raises(CorpusError) as caught:
        load_data(recipe(path, path))
    assert [fault.split(" ")[0] for fault in caught.value.faults] == ["'a.jsonl:1'", "'a.jsonl:2'"]


def test_the_same_id_twice_in_one_source_is_one_fault(tmp_path: Path) -> None:
    """It stands in one source, and is told with its lines."""
    path = write(tmp_path / "a.jsonl", ROW | {"id": "r1"}, ROW | {"id": "r1"})
    with pytest.raises(CorpusError) as caught:
        load_data(recipe(path))
    assert len(caught.value.faults) == 1
    assert caught.value.faults[0].startswith(f"{path}:2: 'r1' stands already at {path}:1")


@pytest.mark.parametrize("labels", [["a", "b"], None])
def test_exclusive_recipe_refuses_two_labels_also_where_it_names_none(tmp_path: Path, labels: Any) -> None:
    path = write(tmp_path / "a.jsonl", {"text": "We.", "labels": ["a"]}, {"text": "They.", "labels": ["a", "b"]})
    with pytest.raises(CorpusError, match=r"a\.jsonl:2: exactly one label is wanted, not 2"):
        load_data(recipe(path, exclusive=True, labels=labels))


@pytest.mark.parametrize("labels", [["a", "b"], None])
def test_exclusive_recipe_refuses_rows_without_a_label(tmp_path: Path, labels: Any) -> None:
    rows = [{"text": "We.", "labels": ["a"]}, {"text": "They.", "labels": []}, {"text": "You.", "labels": ["b"]}]
    path = write(tmp_path / "a.jsonl", *rows, {"text": "None.", "labels": []})
    with pytest.raises(CorpusError) as caught:
        load_data(recipe(path, exclusive=True, labels=labels))
    assert len(caught.value.faults) == 2
    for number, fault in zip((2, 4), caught.value.faults, strict=True):
        assert f"a.jsonl:{number}: exactly one label is wanted, not 0" in fault


def test_rows_of_a_multi_label_recipe_may_carry_any_number(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *({"text": f"We {k}.", "labels": list("ab"[:k])} for k in range(3)))
    assert [row.labels for row in load_data(recipe(path, labels=["a", "b"]))] == [(), ("a",), ("a", "b")]


def test_single_label_training(tmp_path: Path) -> None:
    verbs = {"dovish": "ease lower soften", "hawkish": "tighten raise harden", "neutral": "hold keep await"}
    rows = [
        {"text": f"Members {verb} the rate in month {i}, sector {chr(97 + i)}{k}.", "labels": [label]}
        for label, words in verbs.items()
        for k, verb in enumerate(words.split())
        for i in range(12)
    ]
    path = write(tmp_path / "a.jsonl", *rows)
    config = recipe(path, exclusive=True, features=QUICK | {"countries": False})
    corpus = load_data(config)
    assert corpus.labels == LabelSet(("dovish", "hawkish", "neutral"), exclusive=True)
    trained = fit(config, corpus, "1")
    decided = trained.validation.decisions
    assert (decided.tags.sum(axis=1) == 1).all()
    assert decided.probabilities.sum(axis=1) == pytest.approx(np.ones(len(rows)))
    assert trained.validation.report.macro_f1 > 0.9
    assert trained.artifact.labels.exclusive


def test_weights_of_sources_reach_the_fit(tiny_corpus: Corpus) -> None:
    heavy = Corpus(
        tuple(replace(row, weight=10.0 if "reaffirmation" in row.labels else 1.0) for row in tiny_corpus),
        tiny_corpus.labels,
    )
    config = recipe(classifier={"balanced": False})
    plain, weighted = (
        fit_model(config, corpus, np.arange(len(corpus))).logits(Batch.of(tiny_corpus.rows))[:, 1].mean()
        for corpus in (tiny_corpus, heavy)
    )
    assert weighted > plain + 0.1


def test_evaluate_a_file(model_folder: Path, tmp_path: Path, tiny_corpus: Corpus) -> None:
    rows = [
        {"text": row.text, "labels": row.labels, "doc_id": row.doc_id, "government": row.government, "extra": 1}
        for row in tiny_corpus.rows[:80]
    ]
    report, model = evaluate(str(model_folder), write(tmp_path / "a.jsonl", *rows), resamples=100)
    assert model == "tiny/1"
    assert (report.n, report.documents) == (80, len({row["doc_id"] for row in rows}))
    assert report.macro_f1 > 0.9  # the model was trained on these
    assert tuple(report.per_label) == DEFAULT_LABELS
    assert report.per_label["reaffirmation"].support == sum(
        "reaffirmation" in row.labels for row in tiny_corpus.rows[:80]
    )


def test_evaluate_without_documents_takes_each_row_for_one(model_folder: Path, tmp_path: Path) -> None:
    report, _ = evaluate(str(model_folder), write(tmp_path / "a.jsonl", ROW, ROW, {"text": "Rain.", "labels": []}), 100)
    assert (report.n, report.documents) == (3, 3)


def test_evaluate_names_every_fault(model_folder: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", ROW, ROW | {"labels": ["leaving"]}, {"text": "We."})
    with pytest.raises(CorpusError) as caught:
        evaluate(str(model_folder), path)
    assert [fault.split(": ")[0] for fault in caught.value.faults] == [f"{path}:2", f"{path}:3"]
