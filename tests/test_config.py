"""`treatystance.config`: recipes are strict, and every shipped one parses."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from treatystance.config import (
    CascadeConfig,
    EncoderConfig,
    GateRules,
    LinearConfig,
    TemporalSplit,
    load_config,
    load_gate_rules,
    parse_config,
)
from treatystance.errors import ConfigError
from treatystance.statement import LabelSet

GATE = Path(__file__).parents[1] / "configs" / "gate.yaml"
RECIPES = sorted(path for path in GATE.parent.glob("*.yaml") if path != GATE)
BASE: dict[str, Any] = {"kind": "linear", "data": [{"path": "a.jsonl"}]}


def changed(path: str, value: Any) -> dict[str, Any]:
    """The smallest recipe with one key set."""
    values: dict[str, Any] = {**BASE, "data": [dict(BASE["data"][0])]}
    place: Any = values
    *parts, last = path.split(".")
    for part in parts:
        place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
    place[last] = value
    return values


def linear(values: dict[str, Any]) -> LinearConfig:
    config = parse_config(values)
    assert isinstance(config, LinearConfig)
    return config


def test_recipes_are_shipped() -> None:
    assert "linear.yaml" in {path.name for path in RECIPES}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_shipped_recipe_parses_and_writes_every_field_out(path: Path) -> None:
    config = load_config(path)
    written = yaml.safe_load(path.read_text("utf-8"))

    def check(model: BaseModel, values: dict[str, Any] | str, where: str) -> None:
        if isinstance(values, str):
            return  # another recipe's file stands for the section, and is checked itself
        assert set(values) == set(type(model).model_fields), where
        for name in values:
            part = getattr(model, name)
            if isinstance(part, BaseModel):
                check(part, values[name], f"{where}.{name}")
            elif isinstance(part, tuple) and part and isinstance(part[0], BaseModel):
                for i, item in enumerate(part):
                    check(item, values[name][i], f"{where}.{name}.{i}")

    check(config, written, path.name)


def test_default_recipe_has_the_three_tags() -> None:
    (path,) = (path for path in RECIPES if path.name == "linear.yaml")
    assert load_config(path).label_set == LabelSet()


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("kind", "quadratic", "kind"),
        ("sed", 1, "sed is not a known key"),
        ("features.ngrams", [1, 2], "features.ngrams is not a known key"),
        ("data.0.weigth", 1.0, "data.0.weigth is not a known key"),
        ("data", [], "data: "),
        ("data", "a.jsonl", "data: "),
        ("seed", "7", "seed: "),
        ("seed", 7.5, "seed: "),
        ("seed", -1, "seed: "),
        ("seed", True, "seed: "),
        ("seed", 2**31, "seed: "),
        ("features.anchors", ["treaty"], "features.anchors: "),
        ("features.anchors", {"treaty": "treaty"}, "features.anchors.treaty: "),
        ("features.anchors", {"treaty": ["Treaty"]}, "features.anchors.treaty.0: "),
        ("features.anchors", {"treaty": ["the treaty"]}, "features.anchors.treaty.0: "),
        ("features.anchors", {"treaty": ["pact", ""]}, "features.anchors.treaty.1: "),
        ("features.anchors", {"treaty": [1]}, "features.anchors.treaty.0: "),
        ("features.anchors", {"Treaty": ["treaty"]}, "features.anchors.Treaty"),
        ("features.anchors", {"a>b": ["treaty"]}, "features.anchors.a>b"),
        ("features.anchors", {"": ["treaty"]}, "features.anchors."),
        ("features.classes", ["treaty"], "features.classes: "),
        ("features.classes", {"treaty": ["Treaty"]}, "features.classes.treaty.0: "),
        ("features.classes", {"a>b": ["treaty"]}, "features.classes.a>b"),
        ("features.classes", {"a": ["pact"], "b": ["we", "pact"]}, "'pact' stands in 'a' and again in 'b'"),
        ("features.classes", {"a": ["we", "pact", "we"]}, "'we' stands in 'a' and again in 'a'"),
        ("features.class_weight", 0, "features.class_weight: "),
        ("features.class_distance", 0, "features.class_distance: "),
        ("features.class_distance", 1.5, "features.class_distance: "),
        ("split", {"kind": "grouped", "auxiliary_apart": 1}, "auxiliary_apart: "),
        ("split", {"kind": "temporal", "year": 1999, "auxiliary_apart": True}, "auxiliary_apart is not a known key"),
        ("decision.min_precision", 0.9, "min_precision is not a known key"),
        ("decision.thresholds", {"in": {"precision": 1.5}}, "decision.thresholds.in.precision: "),
        ("decision.thresholds", {"in": {"recall": 0.0}}, "decision.thresholds.in.recall: "),
        ("decision.thresholds", {"in": {}}, "decision.thresholds.in: give either precision or recall"),
        ("decision.thresholds", {"in": {"precision": 0.5, "recall": 0.5}}, "give either precision or recall"),
        ("decision.thresholds", {"in": {"f1": 0.5}}, "decision.thresholds.in.f1 is not a known key"),
        ("decision.thresholds", {"in": 0.5}, "decision.thresholds.in: "),
        ("decision.thresholds", "best", "decision.thresholds: "),
        ("name", "", "name: "),
        ("name", "a/b", "name: "),
        ("exclusive", "no", "exclusive: "),
        ("split", {"kind": "random"}, "split"),
        ("split", {"kind": "temporal"}, "split.year is missing"),
        ("split", {"kind": "grouped", "folds": 1}, "folds: "),
        ("split", {"kind": "grouped", "year": 1999}, "year is not a known key"),
        ("features.word_ngrams", [2, 1], "the shortest n-gram stands first"),
        ("features.word_ngrams", [2, 3], "start at 1"),
        ("features.word_ngrams", [1, 4], "end at 3"),
        ("features.char_ngrams", [0, 3], "char_ngrams"),
        ("features.char_ngrams", [5, 2], "the shortest n-gram stands first"),
        ("features.char_ngrams", [5], "char_ngrams"),
        ("features.min_df", 0, "min_df: "),
        ("classifier.kind", "tree", "classifier.kind: "),
        ("classifier.c", 0, "classifier.c: "),
        ("classifier.c", float("nan"), "classifier.c: "),
        ("classifier.c", float("inf"), "classifier.c: "),
        ("data.0.weight", float("inf"), "data.0.weight: "),
        ("decision.error_rate", 1.0, "error_rate: "),
        ("evaluation.resamples", 10, "resamples: "),
        ("labels", ["in", "in"], "labels"),
        ("labels", [], "labels"),
    ],
)
def test_refused_with_the_key_named(path: str, value: Any, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(changed(path, value), "my.yaml")
    assert str(caught.value).startswith("my.yaml: ")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_largest_seed() -> None:
    assert parse_config(changed("seed", 2**31 - 1)).seed == 2**31 - 1


def test_anchors_are_classes_of_words_and_by_default_none() -> None:
    assert linear(BASE).features.anchors == {}
    given = {"treaty": ["treaty", "o'clock", "1949"], "none": []}
    assert linear(changed("features.anchors", given)).features.anchors == {
        "treaty": ("treaty", "o'clock", "1949"),
        "none": (),
    }


def test_classes_of_words_are_by_default_none() -> None:
    assert linear(BASE).features.classes == {}
    given = {"treaty": ["treaty", "o'clock"], "none": [], "exit": ["leave", "xself"]}
    # An anchor may name the word of a class.
    recipe = changed("features.classes", given) | {"features": {"classes": given, "anchors": {"treaty": ["treaty"]}}}
    assert linear(recipe).features.classes == {
        "treaty": ("treaty", "o'clock"),
        "none": (),
        "exit": ("leave", "xself"),
    }


def test_every_fault_is_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({"kind": "linear", "seed": "x", "colour": 1})
    assert all(part in str(caught.value) for part in ("data is missing", "seed: ", "colour is not a known key"))


def test_configuration_is_frozen_and_its_hash_follows_the_values() -> None:
    config, same, other = parse_config(BASE), parse_config(changed("seed", 0)), parse_config(changed("seed", 1))
    assert config.sha256 == same.sha256 != other.sha256
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 3  # type: ignore[misc]


def recipe(folder: Path, text: str | bytes | None = None) -> Path:
    path = folder / "recipe.yaml"
    content = yaml.safe_dump(BASE) if text is None else text
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


OVERRIDES: dict[str, tuple[list[str], Any]] = {
    "number": (["classifier.c=3.5"], lambda c: c.classifier.c == 3.5),
    "null": (["features.char_ngrams=null"], lambda c: c.features.char_ngrams is None),
    "list": (["labels=[b, a]"], lambda c: c.label_set == LabelSet(("b", "a"))),
    "list item": (["data.0.path=b=c.jsonl"], lambda c: c.data[0].path == "b=c.jsonl"),
    "mapping": (["split={kind: temporal, year: 1999}"], lambda c: c.split == TemporalSplit(kind="temporal", year=1999)),
    "the last wins": (["seed=1", "seed=2"], lambda c: c.seed == 2),
}


@pytest.mark.parametrize("name", OVERRIDES)
def test_overrides(tmp_path: Path, name: str) -> None:
    overrides, holds = OVERRIDES[name]
    assert holds(load_config(recipe(tmp_path), overrides))


@pytest.mark.parametrize(
    "override",
    ["seed", "=3", "", "data.5.path=x", "data.x.path=y", "name.first=x", "kind.a=x", "seed=[1", "colour=red", "seed=x"],
)  # fmt: skip
def test_override_refused(tmp_path: Path, override: str) -> None:
    with pytest.raises(ConfigError):
        load_config(recipe(tmp_path), [override])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "not"),
        ("- a\n- b\n", "mapping"),
        ("kind: [linear", "not YAML"),
        ("kind: !!python/object:os.system {}", "not YAML"),
        (b"kind: \xe9", "not UTF-8 at byte 7"),
        ("2025-01-01: x\n", "recipe.yaml"),
        ("data: &a [*a]\n", "recipe.yaml"),
    ],
)
def test_file_refused(tmp_path: Path, content: str | bytes, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        load_config(recipe(tmp_path, content))


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(ConfigError, match="cannot be read"):
            load_config(path)


def test_label_set_of_an_exclusive_recipe() -> None:
    config = parse_config({**BASE, "labels": ["a", "b"], "exclusive": True})
    assert config.label_set == LabelSet(("a", "b"), exclusive=True)
    assert parse_config(BASE).label_set is None


def test_a_section_may_name_another_recipe(tmp_path: Path) -> None:
    folder = RECIPES[0].parent
    cascade = load_config(folder / "cascade.yaml", ["keep=0.95"])
    assert isinstance(cascade, CascadeConfig)
    linear, encoder = load_config(folder / "linear.yaml"), load_config(folder / "encoder.yaml")
    assert isinstance(linear, LinearConfig)
    assert isinstance(encoder, EncoderConfig)
    assert (cascade.linear.features, cascade.linear.classifier) == (linear.features, linear.classifier)
    assert (cascade.encoder.fitting, cascade.encoder.input) == (encoder.fitting, encoder.input)
    assert cascade.keep == 0.95
    other = tmp_path / "cascade.yaml"
    other.write_text("kind: cascade\ndata: [{path: x}]\nlinear: nowhere.yaml\n", "utf-8")
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot be read"):
        load_config(other)


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"kind": "encoder", "fitting": {"kind": "fine_tuning", "epochs": 0}}, "fitting.epochs: "),
        ({"kind": "encoder", "fitting": {"kind": "magic"}}, "fitting"),
        ({"kind": "encoder", "input": {"pooling": "max"}}, "input.pooling: "),
        ({"kind": "encoder", "checkpoint": {"sha256": "abc"}}, "checkpoint.sha256: "),
        ({"kind": "encoder", "features": {}}, "features is not a known key"),
        ({"kind": "cascade", "keep": 0}, "keep: "),
        ({"kind": "distilled", "corpora": []}, "corpora: "),
        ({"kind": "treelike"}, "treelike"),
    ],
)
def test_a_fault_of_the_new_recipes_is_named_where_it_stands(values: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({"data": [{"path": "x"}], **values}, "my.yaml")
    assert str(caught.value).startswith("my.yaml: ")
    assert fault in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_shipped_gate_rules_are_the_defaults_written_out() -> None:
    assert load_gate_rules(GATE) == GateRules()
    assert set(yaml.safe_load(GATE.read_text("utf-8"))) == set(GateRules.model_fields)


def test_gate_rules_left_out_are_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "gate.yaml"
    path.write_text("label_fall: 0.2\nslice_rows: 50\n", "utf-8")
    assert load_gate_rules(path) == GateRules(label_fall=0.2, slice_rows=50)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("non_inferiority: -0.1", "non_inferiority: "),
        ("confidence: 1", "confidence: "),
        ("confidence: 95", "confidence: "),
        ("resamples: 10", "resamples: "),
        ("resamples: 2000.5", "resamples: "),
        ("slice_rows: 0", "slice_rows: "),
        ("first_pass_rate: 1.5", "first_pass_rate: "),
        ("slice_fall: .inf", "slice_fall: "),
        ("slice_fall: .nan", "slice_fall: "),
        ("slice_fall: five", "slice_fall: "),
        ("slices: 3", "slices is not a known key"),
        ("2025-01-01: 3", "keys must be strings"),
        ("? [1, 2]\n: 3", "not YAML"),
        ("- 1", "must be a mapping"),
        ("", "must be a mapping"),
    ],
)
def test_gate_rules_refused(tmp_path: Path, content: str, fault: str) -> None:
    path = tmp_path / "gate.yaml"
    path.write_text(content, "utf-8")
    with pytest.raises(ConfigError) as caught:
        load_gate_rules(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert fault in str(caught.value)
    assert "\n" not in str(caught.value)
