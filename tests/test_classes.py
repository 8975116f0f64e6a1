"""Class features: the plain definition by hand, and the vectorised sums equal to it."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from treatystance.models.classes import ClassWeights, class_features, class_names

CLASSES = {"we": "speaker", "leave": "exit", "quit": "exit", "pact": "treaty"}
NAMES = ["speaker", "exit", "treaty"]


def test_by_hand() -> None:
    found = class_features(["we", "shall", "leave", "the", "old", "pact"], CLASSES, NAMES, 2)
    assert found == [
        "+speaker", "+exit", "+treaty", "speaker&exit", "speaker&treaty", "exit&treaty", "speaker>exit"
    ]  # fmt: skip
    assert "exit>treaty" in class_features(["leave", "the", "pact"], CLASSES, NAMES, 2)
    assert class_features([], CLASSES, NAMES, 2) == ["-speaker", "-exit", "-treaty"]


def test_a_pair_in_order_counts_once_and_order_matters() -> None:
    found = class_features(["leave", "pact", "leave", "pact"], CLASSES, NAMES, 5)
    assert sorted(f for f in found if ">" in f) == ["exit>exit", "exit>treaty", "treaty>exit", "treaty>treaty"]


def test_names_are_all_that_can_be_found() -> None:
    names = class_names(NAMES)
    assert len(names) == len(set(names)) == 2 * 3 + 3 + 9
    assert set(class_features(["we", "leave", "pact", "quit", "we"], CLASSES, NAMES, 9)) <= set(names)


sentences = st.lists(st.lists(st.sampled_from([*CLASSES, "the", "old"]), max_size=12), min_size=1, max_size=6)


@given(sentences, st.integers(1, 6))
@settings(deadline=None)
def test_sums_equal_the_definition(given_sentences: list[list[str]], distance: int) -> None:
    names = class_names(NAMES)
    weights = np.random.default_rng(5).normal(size=(len(names), 2)).astype(np.float32)
    wanted = [
        weights[[names.index(f) for f in class_features(tokens, CLASSES, NAMES, distance)]].sum(axis=0, dtype=float)
        for tokens in given_sentences
    ]
    members = np.array([NAMES.index(CLASSES[t]) if t in CLASSES else -1 for s in given_sentences for t in s], np.int64)
    owner = np.repeat(np.arange(len(given_sentences)), [len(s) for s in given_sentences])
    found = ClassWeights(NAMES, distance, weights).sums(members, owner, len(given_sentences))
    np.testing.assert_allclose(found, wanted, atol=1e-9)
