"""`treatystance.corpus.agreement`: Krippendorff's alpha of two annotators."""

import json

import pytest

from treatystance.corpus.agreement import agreement
from treatystance.corpus.records import Annotation
from treatystance.errors import InputError
from treatystance.statement import LabelSet

LABELS = LabelSet(("out", "in"))
OUT, NONE = ("out",), ()


def annotation(number: int, first: tuple[str, ...] | None, second: tuple[str, ...] | None) -> Annotation:
    return Annotation(
        corpus="debate",
        doc_id=f"d{number // 2}",
        start=number,
        end=number + 1,
        sha256="0" * 64,
        labels=first or (),
        first=first,
        second=second,
    )


# Ten sentences: both say "out" on three, one annotator alone on one each, neither on five.
PAIRS = [(OUT, OUT)] * 3 + [(OUT, NONE), (NONE, OUT)] + [(NONE, NONE)] * 5
ANNOTATIONS = [annotation(i, *pair) for i, pair in enumerate(PAIRS)]


def test_alpha_by_hand() -> None:
    out = agreement(ANNOTATIONS, LABELS)[0]
    # 20 values, 8 of them "out". Observed disagreement 2 * 2 / 20; expected 2 * 8 * 12 / (20 * 19).
    assert out.alpha == pytest.approx(1 - (4 / 20) / (2 * 8 * 12 / (20 * 19)))
    assert (out.both, out.first_only, out.second_only, out.neither, out.raw) == (3, 1, 1, 5, 0.8)


def test_interval_contains_alpha_and_follows_the_seed() -> None:
    more = [annotation(i, *pair) for i, pair in enumerate(PAIRS * 5)]
    one, again, other = (agreement(more, LABELS, resamples=200, seed=seed)[0] for seed in (0, 0, 1))
    assert one == again
    assert one.alpha_ci != other.alpha_ci
    assert one.alpha is not None
    assert one.alpha_ci is not None
    assert one.alpha_ci[0] < one.alpha < one.alpha_ci[1]


def test_labels_keep_their_order_and_each_its_figures() -> None:
    swapped = [annotation(i, ("in",) if i == 9 else a, b) for i, (a, b) in enumerate(PAIRS)]
    out, inside = agreement(swapped, LABELS, resamples=50)
    assert (out.label, inside.label) == ("out", "in")
    assert (inside.both, inside.first_only, inside.neither) == (0, 1, 9)


def test_full_agreement_and_systematic_disagreement() -> None:
    same = agreement([annotation(i, a, a) for i, (a, _) in enumerate(PAIRS)], LABELS, resamples=50)[0]
    assert (same.alpha, same.raw) == (1.0, 1.0)
    opposite = agreement([annotation(i, *pair) for i, pair in enumerate([(OUT, NONE), (NONE, OUT)] * 5)], LABELS)[0]
    assert opposite.alpha is not None
    assert opposite.alpha < 0
    assert opposite.raw == 0


def test_rows_of_one_annotator_do_not_count() -> None:
    alone = [annotation(20, OUT, None), annotation(21, None, OUT)]
    assert agreement([*ANNOTATIONS, *alone], LABELS)[0].alpha == agreement(ANNOTATIONS, LABELS)[0].alpha
    with pytest.raises(InputError, match="two annotators"):
        agreement(alone, LABELS)


@pytest.mark.parametrize(("given", "both"), [(OUT, 4), (NONE, 0)])
def test_a_label_that_does_not_vary_has_no_alpha(given: tuple[str, ...], both: int) -> None:
    out = agreement([annotation(i, given, given) for i in range(4)], LABELS, resamples=50)[0]
    assert out.alpha is None
    assert out.alpha_ci is None
    assert (out.raw, out.both, out.neither) == (1.0, both, 4 - both)
    assert out.to_dict()["alpha"] is out.to_dict()["alpha_ci"] is None


def test_result_is_json_also_where_a_label_never_occurs() -> None:
    for part in agreement(ANNOTATIONS, LABELS, resamples=50):
        json.dumps(part.to_dict(), allow_nan=False)
