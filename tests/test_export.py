"""`treatystance.corpus.export`: a folder that `load_dataset` reads, splits that share no government."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from datasets import load_dataset

from treatystance.cli import main
from treatystance.corpus import load_corpus
from treatystance.corpus.export import SPLITS, _without_real, export_corpus, split_of
from treatystance.corpus.load import data_path
from treatystance.corpus.public import CORPORA_VARIABLE, locate
from treatystance.corpus.rows import Corpus
from treatystance.split import Fold, check_leak, near_duplicates
from treatystance.statement import DEFAULT_LABELS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export") / "dataset"
    export_corpus(out)
    return out


@pytest.fixture(scope="module")
def composed() -> Corpus:
    return load_corpus(["package:composed"])


def test_the_most_held_out_government_decides() -> None:
    held = json.loads(data_path("package:splits.json").read_text("utf-8"))
    test, validation = held["test"][0], held["validation"][0]
    assert split_of([test]) == split_of(["USA", validation, test]) == "test"
    assert split_of([validation, "USA"]) == "validation"
    assert split_of(["USA"]) == split_of([]) == "train"
    assert not set(held["test"]) & set(held["validation"])


@pytest.mark.parametrize("name", SPLITS[1:])
def test_no_government_or_text_is_shared_between_splits(composed: Corpus, name: str) -> None:
    places = {split: [i for i, r in enumerate(composed) if split_of(r.governments) == split] for split in SPLITS}
    # A multi-government row of a held-out split may also speak for a training government: those are few, and known.
    import numpy as np

    test = np.array([i for i in places[name] if not composed.rows[i].co_governments])
    check_leak(composed.rows, Fold(name, np.array(places["train"]), test))
    pairs = near_duplicates([row.text for row in composed])
    assert not [pair for pair in pairs if len({split_of(composed.rows[i].governments) for i in pair}) > 1]


@pytest.mark.parametrize("name", SPLITS)
def test_each_split_has_enough_of_every_tag(composed: Corpus, name: str) -> None:
    rows = [row for row in composed if split_of(row.governments) == name]
    assert all(sum(label in row.labels for row in rows) >= 60 for label in DEFAULT_LABELS)


def test_load_dataset_reads_composed_and_annotations(folder: Path, tmp_path: Path, composed: Corpus) -> None:
    loaded = load_dataset(str(folder), "composed", cache_dir=str(tmp_path))
    assert set(loaded) == set(SPLITS)
    assert sum(len(loaded[split]) for split in SPLITS) == len(composed)
    assert loaded["train"].features["labels"].feature.names == list(DEFAULT_LABELS)
    annotations = load_dataset(str(folder), "annotations", cache_dir=str(tmp_path))
    count = sum(len(path.read_text("utf-8").splitlines()) for path in data_path("package:annotations").glob("*.jsonl"))
    assert sum(len(annotations[split]) for split in SPLITS) == count
    assert "text" not in annotations["train"].column_names


def test_the_card_names_only_what_is_there(folder: Path) -> None:
    card = (folder / "README.md").read_text("utf-8")
    assert "config_name: composed" in card
    assert "config_name: real" not in card
    assert not (folder / "real").exists()
    assert {path.name for path in folder.iterdir()} == {
        "README.md", "codebook.md", "splits.json", "composed", "annotations"
    }  # fmt: skip


def test_without_real_leaves_the_rest() -> None:
    start = "---\nname: é\nconfigs:\n- config_name: a\n  x: 1\n"
    end = "---\n# Card\n---\n- config_name: real\n"
    assert _without_real(f"{start}- config_name: real\n  data_files:\n  - split: b\n{end}") == start + end
    assert _without_real(start + end) == start + end


@pytest.mark.corpora
def test_real_text_on_demand(tmp_path: Path) -> None:
    if not (locate("ungdc") and locate("whitehouse")):
        pytest.skip(f"{CORPORA_VARIABLE} IS NOT SET: REAL TEXT WAS NOT EXPORTED")
    counts = export_corpus(tmp_path / "out", real=True)
    loaded = load_dataset(str(tmp_path / "out"), "real", cache_dir=str(tmp_path / "cache"))
    assert {split: len(loaded[split]) for split in SPLITS} == {s: counts[f"annotations/{s}"] for s in SPLITS}
    assert all(loaded["test"]["text"])


def test_an_existing_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["corpus", "export", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert "exists already" in captured.err
    assert captured.out == ""
