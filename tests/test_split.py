"""`treatystance.split`: whatever the rows, training and test rows share nothing that would leak."""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treatystance.corpus import Row
from treatystance.errors import InputError, LeakError
from treatystance.split import (
    Fold,
    check_leak,
    grouped_folds,
    leave_one_treaty_out,
    near_duplicates,
    temporal_split,
)

WORDS = ["treaty", "accord", "pledge", "border", "harvest", "winter", "council", "bridge", "river", "letter"]
CODES = ["POL", "LVA", "EST", "LTU", "FIN", "NOR", "KEN", "PER", None]


def text(number: int) -> str:
    """A text of six words that shares no three words in a row with another number's."""
    return " ".join(f"{WORDS[(number + i) % len(WORDS)]}{number}" for i in range(6))


def row(number: int, **facts: Any) -> Row:
    return Row(**{"id": str(number), "doc_id": f"d{number}", "text": text(number)} | facts)


def indices(*values: int) -> Any:
    return np.array(values, np.intp)


@st.composite
def corpora(draw: st.DrawFn) -> tuple[list[Row], Any]:
    """Rows in documents with governments, further governments and repeated texts, some only to train; two labels."""
    rows: list[Row] = []
    for document in range(draw(st.integers(8, 24))):
        facts: dict[str, Any] = {
            "doc_id": f"d{document}",
            "government": draw(st.sampled_from(CODES)),
            "co_governments": tuple(draw(st.lists(st.sampled_from(CODES[:-1]), max_size=1)))
            if draw(st.integers(0, 4)) == 0
            else (),
            "evaluate": draw(st.booleans()) or document < 4,
        }
        for _ in range(draw(st.integers(1, 3))):
            number = len(rows)
            said = text(draw(st.integers(0, number - 1))) + " again" if number and draw(st.integers(0, 6)) == 0 else ""
            rows.append(row(number, text=said or text(number), **facts))
    # Four documents apart from all others, so that there are always groups enough, with enough rows of no label.
    few = len(rows)
    rows += [row(number) for number in range(few, few + 4)]
    labels = draw(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=few, max_size=few))
    return rows, np.array(labels + [(False, False)] * 4, bool)


def governments(rows: list[Row], members: Any) -> set[str]:
    return {code for i in members for code in rows[i].governments}


@pytest.mark.filterwarnings("ignore:The least populated class:UserWarning")  # has a test of its own below
@given(corpora(), st.integers(2, 4), st.integers(0, 3))
@settings(max_examples=120, deadline=None)
def test_grouped_folds_share_nothing(corpus: tuple[list[Row], Any], folds: int, seed: int) -> None:
    rows, labels = corpus
    found = grouped_folds(rows, labels, folds, seed)
    pairs = near_duplicates([r.text for r in rows])
    assert len(found) == folds
    assert all(len(fold.test) for fold in found)
    tested = np.concatenate([fold.test for fold in found])
    assert sorted(tested) == [i for i, r in enumerate(rows) if r.evaluate]
    for fold in found:
        train, test = set(fold.train.tolist()), set(fold.test.tolist())
        assert len(train) == len(fold.train)
        assert not train & test
        assert not {rows[i].doc_id for i in train} & {rows[i].doc_id for i in test}
        assert not governments(rows, train) & governments(rows, test)
        assert not [(a, b) for a, b in pairs if (a in train and b in test) or (b in train and a in test)]
        # Nothing is left out of training without a reason.
        for i in set(range(len(rows))) - train - test:
            assert (
                rows[i].doc_id in {rows[j].doc_id for j in test}
                or governments(rows, [i]) & governments(rows, test)
                or any(i in pair and set(pair) & test for pair in pairs)
            )


@pytest.mark.filterwarnings("ignore:The least populated class:UserWarning")  # has a test of its own below
@given(corpora())
@settings(max_examples=40, deadline=None)
def test_inner_folds_stay_among_their_members(corpus: tuple[list[Row], Any]) -> None:
    rows, labels = corpus
    members = np.array([i for i in range(len(rows)) if i % 2 or i >= len(rows) - 4], np.intp)
    found = grouped_folds(rows, labels, 2, 0, members)
    allowed = set(members.tolist())
    tested = np.concatenate([fold.test for fold in found])
    assert sorted(tested) == [i for i in members if rows[i].evaluate]
    assert all(set(fold.train.tolist()) <= allowed for fold in found)


def test_folds_follow_the_seed() -> None:
    rows = [row(i) for i in range(40)]
    labels = np.arange(40)[:, None] % 4 == 0

    def tests(seed: int) -> list[list[int]]:
        return [fold.test.tolist() for fold in grouped_folds(rows, labels, 4, seed)]

    assert tests(1) == tests(1) != tests(2)


def test_rarest_label_is_spread_over_the_folds() -> None:
    # 100 documents; label 1 stands on 10 of them, always beside the common label 0.
    rows = [row(i) for i in range(100)]
    labels = np.array([[i % 2 == 0, i % 10 == 0] for i in range(100)])
    for fold in grouped_folds(rows, labels, 5):
        assert labels[fold.test].sum(axis=0).tolist() == [10, 2]


@pytest.mark.parametrize("positives", [0, 1, 2, 4])
def test_a_label_rarer_than_the_folds_is_no_warning(positives: int) -> None:
    rows = [row(i) for i in range(20)]
    labels = np.arange(20)[:, None] < positives
    folds = grouped_folds(rows, labels, 5)
    assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(20))


def test_few_rows_of_every_label_can_be_split() -> None:
    # Three rows, three strata, three groups: nothing hinders three folds.
    rows = [row(i) for i in range(3)]
    labels = np.array([[True, False], [False, True], [False, False]])
    assert len(grouped_folds(rows, labels, 3)) == 3


def test_train_only_rows_help_only_where_they_share_no_government() -> None:
    rows = [row(i, government=code) for i, code in enumerate(["POL", "LVA", "EST", "KEN"])]
    rows += [row(10, government="POL", evaluate=False), row(11, co_governments=("LVA", "EST"), evaluate=False)]
    rows += [row(12, evaluate=False)]
    for fold in grouped_folds(rows, np.zeros((7, 1), bool), 4):
        (tested,) = (rows[i].government for i in fold.test)
        assert (4 in fold.train) == (tested != "POL")
        assert (5 in fold.train) == (tested not in ("LVA", "EST"))
        assert 6 in fold.train


def test_a_joint_statement_binds_its_governments_into_one_fold() -> None:
    rows = [row(0, government="POL"), row(1, government="LVA"), row(2, government="LVA", co_governments=("POL",))]
    rows += [row(3, government="KEN"), row(4, government="PER")]
    folds = grouped_folds(rows, np.zeros((5, 1), bool), 3)
    assert {frozenset(fold.test.tolist()) for fold in folds} == {frozenset({0, 1, 2}), frozenset({3}), frozenset({4})}


def test_near_duplicates_are_tested_in_one_fold() -> None:
    rows = [row(i) for i in range(6)] + [row(6 + i, text=text(i) + " again") for i in range(6)]
    for fold in grouped_folds(rows, np.zeros((12, 1), bool), 3):
        assert {i % 6 for i in fold.test} == {i for i in fold.test if i < 6}
        assert len(fold.train) + len(fold.test) == 12


def test_too_few_groups_and_nothing_to_evaluate_are_refused() -> None:
    rows = [row(i, government="POL") for i in range(6)] + [row(7, government="KEN")]
    with pytest.raises(InputError, match="3 folds are wanted, but the rows form only 2 separate groups"):
        grouped_folds(rows, np.zeros((7, 1), bool), 3)
    with pytest.raises(InputError, match="evaluate: true"):
        grouped_folds([replace(r, evaluate=False) for r in rows], np.zeros((7, 1), bool), 2)


@given(
    st.lists(st.lists(st.sampled_from("abc"), max_size=7).map(" ".join), max_size=12), st.sampled_from([0.5, 0.7, 1])
)
@settings(max_examples=150, deadline=None)
def test_near_duplicates_equal_the_definition(texts: list[str], threshold: float) -> None:
    def shingles(text: str) -> set[tuple[str, ...]]:
        words = text.split()
        width = min(3, len(words))
        return {tuple(words[i : i + width]) for i in range(len(words) - width + 1)} if words else set()

    def similar(a: set[tuple[str, ...]], b: set[tuple[str, ...]]) -> bool:
        return bool(a and b) and len(a & b) / len(a | b) >= threshold - 1e-9

    sets = [shingles(text) for text in texts]
    wanted = [(i, j) for i in range(len(texts)) for j in range(i + 1, len(texts)) if similar(sets[i], sets[j])]
    assert sorted(near_duplicates(texts, threshold)) == wanted


def test_near_duplicates_ignore_case_and_punctuation() -> None:
    pairs = near_duplicates(["We will leave the Pact.", "“We WILL leave, the pact”", "We will honour the accord."])
    assert pairs == [(0, 1)]


def test_near_duplicates_beyond_one_chunk() -> None:
    texts = [text(i) for i in range(2100)]
    texts[2099] = texts[3]
    assert near_duplicates(texts) == [(3, 2099)]


def test_temporal_split() -> None:
    rows = [row(i, government="POL", year=1990 + i) for i in range(6)]
    rows += [row(6, year=None), row(7, year=None, evaluate=False), row(8, year=1999, evaluate=False)]
    rows += [row(9, year=1991, doc_id="d4"), row(10, year=1991, text=text(5)), row(11, year=1991, evaluate=False)]
    fold = temporal_split(rows, 1994)
    # 9 shares a document with a test row, 10 a text; 6 has no year, 8 is too late and not evaluated on.
    assert fold.test.tolist() == [4, 5]
    assert fold.train.tolist() == [0, 1, 2, 3, 7, 11]
    assert fold.name == "from 1994"
    for year in (1980, 2020):
        with pytest.raises(InputError, match=f"temporal split at {year}"):
            temporal_split(rows[:6], year)


def test_leave_one_treaty_out() -> None:
    rows = [row(i, government="POL", treaty="Pact" if i % 2 else "pact") for i in range(4)]
    rows += [row(i, government="POL", treaty="Accord") for i in range(4, 7)]
    rows += [
        row(7, treaty="Charter"),
        row(8),
        row(9, treaty="Charter", text=text(5)),
        row(10, treaty="Pact", doc_id="d4"),
    ]
    folds = leave_one_treaty_out(rows, 3)
    assert [fold.name for fold in folds] == ["accord", "pact"]
    assert [fold.test.tolist() for fold in folds] == [[4, 5, 6], [0, 1, 2, 3, 10]]
    assert [fold.train.tolist() for fold in folds] == [[0, 1, 2, 3, 7], [5, 6, 7, 9]]
    with pytest.raises(InputError, match="no treaty is named by 6 rows"):
        leave_one_treaty_out(rows, 6)


def test_leave_one_treaty_out_tests_only_on_rows_to_evaluate_on() -> None:
    rows = [row(i, treaty="Pact" if i % 2 else "Accord", evaluate=i < 8) for i in range(12)]
    folds = leave_one_treaty_out(rows, 3)
    assert [fold.test.tolist() for fold in folds] == [[0, 2, 4, 6], [1, 3, 5, 7]]
    # The other treaty's rows train, also those that may not be tested; the tested treaty's own never do.
    assert [fold.train.tolist() for fold in folds] == [[1, 3, 5, 7, 9, 11], [0, 2, 4, 6, 8, 10]]


def test_a_treaty_counts_by_the_rows_that_may_be_tested() -> None:
    rows = [row(i, treaty="Pact" if i % 2 else "Accord", evaluate=bool(i % 2)) for i in range(12)]
    (fold,) = leave_one_treaty_out(rows, 3)
    assert fold.name == "pact"
    with pytest.raises(InputError, match="no treaty is named by 3 rows that may be tested"):
        leave_one_treaty_out([replace(r, evaluate=False) for r in rows], 3)


def test_a_single_treaty_leaves_nothing_to_train_on_and_is_refused() -> None:
    with pytest.raises(InputError, match="no row of another treaty is left to train on when 'pact' is tested"):
        leave_one_treaty_out([row(i, treaty="Pact") for i in range(5)], 3)


@pytest.mark.filterwarnings("ignore:The least populated class:UserWarning")  # has a test of its own above
@given(corpora(), st.integers(2, 4))
@settings(max_examples=80, deadline=None)
def test_auxiliary_rows_of_tested_governments_may_stay_but_no_document_or_near_duplicate(
    corpus: tuple[list[Row], Any], folds: int
) -> None:
    rows, labels = corpus
    apart = grouped_folds(rows, labels, folds)
    found = grouped_folds(rows, labels, folds, auxiliary_apart=False)
    pairs = near_duplicates([r.text for r in rows])
    for fold, strict in zip(found, apart, strict=True):
        assert fold.test.tolist() == strict.test.tolist()
        train, test = set(fold.train.tolist()), set(fold.test.tolist())
        assert not {rows[i].doc_id for i in train} & {rows[i].doc_id for i in test}
        assert not [(a, b) for a, b in pairs if (a in train and b in test) or (b in train and a in test)]
        assert not governments(rows, {i for i in train if rows[i].evaluate}) & governments(rows, test)
        # Only auxiliary rows of a tested government come in addition, and every one that is no other leak does.
        more = train - set(strict.train.tolist())
        assert set(strict.train.tolist()) <= train
        assert all(not rows[i].evaluate and governments(rows, [i]) & governments(rows, test) for i in more)
        for i in set(range(len(rows))) - train - test:
            assert (
                rows[i].evaluate
                or rows[i].doc_id in {rows[j].doc_id for j in test}
                or any(i in pair and set(pair) & test for pair in pairs)
            )


def test_auxiliary_rows_by_hand() -> None:
    rows = [row(i, government=code) for i, code in enumerate(["POL", "LVA", "EST", "KEN"])]
    rows += [
        row(4, government="POL", evaluate=False),
        row(5, government="KEN", co_governments=("LVA", "EST"), evaluate=False),
        row(6, government="POL", doc_id="d0", evaluate=False),  # the same document as the one of POL
        row(7, government="POL", text=text(0) + " again", evaluate=False),  # a near-duplicate of its text
        row(8, doc_id="d0", evaluate=False),
    ]
    for fold in grouped_folds(rows, np.zeros((9, 1), bool), 4, auxiliary_apart=False):
        (tested,) = (rows[i].government for i in fold.test)
        assert {4, 5} <= set(fold.train.tolist())
        assert [i in fold.train for i in (6, 7, 8)] == [tested != "POL"] * 3
        if tested == "POL":
            with pytest.raises(LeakError, match="share 1 governments, such as 'POL'"):
                check_leak(rows, fold)
        check_leak(rows, fold, auxiliary_apart=False)


def test_inner_folds_keep_auxiliary_rows_too() -> None:
    rows = [row(i, government=code) for i, code in enumerate(["POL", "LVA", "EST"])]
    rows += [row(3, government="POL", evaluate=False), row(4, government="LVA", evaluate=False)]
    for fold in grouped_folds(rows, np.zeros((5, 1), bool), 3, 0, indices(0, 1, 2, 3), auxiliary_apart=False):
        assert 3 in fold.train
        assert 4 not in fold.train


LEAKS = {
    "rows": ([row(0), row(1)], [0, 1], [1]),
    "documents": ([row(0, doc_id="same"), row(1, doc_id="same")], [0], [1]),
    "texts": ([row(0, text="We stay."), row(1, text="WE STAY.")], [0], [1]),
    "governments": ([row(0, government="POL"), row(1, government="LVA", co_governments=("POL",))], [0], [1]),
}


@pytest.mark.parametrize("kind", LEAKS)
def test_check_leak_names_what_is_shared(kind: str) -> None:
    rows, train, test = LEAKS[kind]
    fold = Fold("fold 3", indices(*train), indices(*test))
    with pytest.raises(LeakError, match=f"^fold 3: train and test share 1 {kind}, such as '"):
        check_leak(rows, fold)
    if kind == "governments":
        check_leak(rows, fold, governments=False)


@pytest.mark.parametrize("kind", LEAKS)
def test_check_leak_without_auxiliary_rows_apart_lets_only_their_governments_pass(kind: str) -> None:
    rows, train, test = LEAKS[kind]
    fold = Fold("fold 3", indices(*train), indices(*test))
    # Rows that are tested in another fold may not speak for a tested government.
    with pytest.raises(LeakError, match=f"^fold 3: train and test share 1 {kind}, such as '"):
        check_leak(rows, fold, auxiliary_apart=False)
    auxiliary = [replace(r, evaluate=i in test) for i, r in enumerate(rows)]
    if kind == "governments":
        check_leak(auxiliary, fold, auxiliary_apart=False)
    else:
        with pytest.raises(LeakError, match=f"share 1 {kind}"):
            check_leak(auxiliary, fold, auxiliary_apart=False)
    with pytest.raises(LeakError, match=f"share 1 {kind}"):
        check_leak(auxiliary, fold)


def test_check_leak_lets_clean_folds_pass_and_absent_governments_are_not_shared() -> None:
    check_leak([row(0), row(1)], Fold("f", indices(0), indices(1)))


def test_every_row_lies_in_some_fold_of_the_packaged_corpus(tiny_corpus: Any) -> None:
    folds = grouped_folds(tiny_corpus.rows, tiny_corpus.label_matrix(), 4)
    assert Counter(np.concatenate([f.test for f in folds]).tolist()) == Counter(range(len(tiny_corpus)))
