"""`treatystance.evidence.suite`, `behaviour` and `treatystance check`: reading cases, judging them, telling of it."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from treatystance import Prediction, Predictor, Statement, cli
from treatystance.corpus import Row
from treatystance.errors import CorpusError, InputError
from treatystance.evidence.behaviour import BehaviourReport, check, wilson_interval
from treatystance.evidence.suite import Suite, load_suite, near_copies, overlaps

OUT, IN = "intent_to_withdraw", "reaffirmation"
Scores = dict[str, float]


def minimum(name: str, text: str, *tags: str, phenomenon: str = "denial", **more: Any) -> dict[str, Any]:
    test = {"id": name, "phenomenon": phenomenon, "test": "minimum_functionality"}
    return {**test, "text": text, "tags": list(tags), **more}


def invariance(name: str, text: str, *variants: Any, **more: Any) -> dict[str, Any]:
    test = {"id": name, "phenomenon": "changed_government", "test": "invariance"}
    return {**test, "text": text, "variants": [{"text": v} if isinstance(v, str) else v for v in variants], **more}


def directional(name: str, text: str, changed: str, tag: str = OUT, direction: str = "lower") -> dict[str, Any]:
    test = {"id": name, "phenomenon": "negation", "test": "directional"}
    return {**test, "text": text, "changed": changed, "tag": tag, "direction": direction}


def write(path: Path, *cases: dict[str, Any]) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(case) + "\n" for case in cases), "utf-8")
    return path.parent


@pytest.fixture
def suite_of(tmp_path: Path) -> Any:
    return lambda *cases: load_suite(write(tmp_path / "suite" / "all.jsonl", *cases))


@dataclass
class Scripted:
    """A model that says what it was told to say of each text; tags are the scores from 0.5 on."""

    says: dict[str, Scores]
    calls: int = 0

    def __call__(self, statements: Sequence[Statement]) -> list[Prediction]:
        self.calls += 1
        return [self.one(statement) for statement in statements]

    def one(self, statement: Statement) -> Prediction:
        scores = {OUT: 0.0, IN: 0.0, **self.says.get(statement.text, {})}
        tags = tuple(tag for tag, score in scores.items() if score >= 0.5)
        return Prediction(statement.id, scores, tags, (), (), "scripted/1")


# Reading


def test_cases_are_read_with_their_facts(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "s" / "b.jsonl",
        minimum("d-1", "We stay.", IN, OUT, government="KEN", kind="speech", rule="6"),
        directional("n-1", "We go.", "We do not go."),
    )
    (folder / "a.jsonl").write_text(
        "\ufeff\n" + json.dumps(invariance("g-1", "Estonia goes.", "It goes.", government="EST")) + "\n\n", "utf-8"
    )
    suite = load_suite(folder)
    assert [case.id for case in suite] == ["g-1", "d-1", "n-1"]
    assert suite.phenomena == ("changed_government", "denial", "negation")
    assert suite.tags == (OUT, IN)
    assert suite.cases[1].statements == [Statement("We stay.", id="d-1", government="KEN", kind="speech")]
    assert [s.text for s in suite.cases[2].statements] == ["We go.", "We do not go."]
    assert [case.id for case in suite.only(["negation"])] == ["n-1"]


def test_a_variant_has_the_government_of_its_case_unless_it_names_another(suite_of: Any) -> None:
    variant = {"text": "Kenya goes.", "government": "KEN"}
    (case,) = suite_of(invariance("g-1", "Estonia goes.", "We go.", variant, government="EST", kind="wire_report"))
    assert [(s.text, s.government, s.kind) for s in case.statements] == [
        ("Estonia goes.", "EST", "wire_report"),
        ("We go.", "EST", "wire_report"),
        ("Kenya goes.", "KEN", "wire_report"),
    ]


GOOD = minimum("d-1", "We stay.", IN)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"oops", "Invalid JSON"),
        (b"[]", "object"),
        (b'{"text": "\xff"}', "Invalid JSON"),
        ({k: v for k, v in GOOD.items() if k != "test"}, "'test'"),
        ({**GOOD, "test": "robustness"}, "'robustness' found using 'test'"),
        ({k: v for k, v in GOOD.items() if k != "tags"}, "tags is missing"),
        ({**GOOD, "tag": OUT}, "tag is not a known key"),
        ({**GOOD, "tags": IN}, "tags: "),
        ({**GOOD, "tags": [IN, IN]}, "stands twice"),
        ({**GOOD, "id": 3}, "id: "),
        ({**GOOD, "text": "  "}, "text: "),
        ({**GOOD, "phenomenon": "Denial of exit"}, "phenomenon: "),
        ({**GOOD, "government": "Kenya"}, "alpha-3 code such as KEN, not 'Kenya'".replace("KEN", "POL")),
        ({**GOOD, "kind": "song"}, "kind must be one of communique"),
        ({**GOOD, "rule": 6}, "rule: "),
        (directional("n-1", "We go.", "We go."), "changed is the same as text"),
        (directional("n-1", "We go.", "We stay.", direction="down"), "direction: "),
        (invariance("g-1", "We go."), "variants: "),
        (invariance("g-1", "We go.", "We go."), "variant 1 says nothing else"),
        (invariance("g-1", "We go.", "We leave.", "We leave."), "variant 2 says nothing else"),
        (invariance("g-1", "We go.", {"text": "We leave.", "government": "kenya"}), "alpha-3"),
        (invariance("g-1", "We go.", {"text": "We leave.", "tags": []}), "tags is not a known key"),
    ],
)
def test_a_faulty_case_is_told_with_its_place(tmp_path: Path, line: Any, reason: str) -> None:
    text = line if isinstance(line, bytes) else json.dumps(line).encode()
    (tmp_path / "x.jsonl").write_bytes(b"\n" + text + b"\n")
    with pytest.raises(CorpusError) as caught:
        load_suite(tmp_path)
    (fault,) = caught.value.faults
    assert fault.startswith(f"{tmp_path / 'x.jsonl'}:2: ")
    assert reason in fault


def test_a_variant_may_differ_by_its_government_alone(suite_of: Any) -> None:
    same = {"text": "We go.", "government": "KEN"}
    assert len(suite_of(invariance("g-1", "We go.", same, government="EST"))) == 1
    with pytest.raises(CorpusError, match="variant 1"):
        suite_of(invariance("g-1", "We go.", {"text": "We go.", "government": "EST"}, government="EST"))


def test_every_fault_of_every_file_is_told(tmp_path: Path) -> None:
    write(tmp_path / "s" / "a.jsonl", GOOD, {**GOOD, "id": "d-2", "text": ""}, {"id": "d-3"})
    (tmp_path / "s" / "b.jsonl").write_bytes(b" \n")
    folder = write(tmp_path / "s" / "c.jsonl", {**GOOD, "text": "We remain."})
    with pytest.raises(CorpusError) as caught:
        load_suite(folder)
    starts = [fault.removeprefix(f"{folder}/") for fault in caught.value.faults]
    assert len(starts) >= 4
    assert [s for s in starts if s.startswith(("a.jsonl:2: ", "a.jsonl:3: "))] == starts[:-2]
    assert starts[-2].startswith("b.jsonl: empty")
    assert starts[-1].startswith(f"c.jsonl:1: 'd-1' stands already at {folder / 'a.jsonl'}:1")


def test_a_folder_that_is_none_or_holds_no_case(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none: no such folder"):
        load_suite(tmp_path / "none")
    with pytest.raises(InputError, match=r"no \.jsonl file"):
        load_suite(tmp_path)


def test_the_hash_of_a_suite_is_of_its_cases_whatever_their_order(suite_of: Any) -> None:
    one, other = minimum("d-1", "We stay.", IN), minimum("d-2", "We remain.", IN)
    assert suite_of(one, other).sha256 == suite_of(other, one).sha256
    assert suite_of(one, other).sha256 != suite_of(one, {**other, "tags": []}).sha256


# Judging


def outcome(suite: Suite, says: dict[str, Scores]) -> bool:
    report = check(Scripted(says), suite)
    assert report.passed + len(report.failures) == report.cases == 1
    return report.passed == 1


@pytest.mark.parametrize(
    ("tags", "scores", "passes"),
    [
        ([IN], {IN: 0.9}, True),
        ([IN, OUT], {IN: 0.9, OUT: 0.6}, True),
        ([], {IN: 0.49}, True),
        ([IN], {IN: 0.49}, False),
        ([IN], {IN: 0.9, OUT: 0.6}, False),
        ([], {OUT: 0.6}, False),
        ([IN], {OUT: 0.9}, False),
    ],
)
def test_minimum_functionality(suite_of: Any, tags: list[str], scores: Scores, passes: bool) -> None:
    assert outcome(suite_of(minimum("d-1", "We stay.", *tags)), {"We stay.": scores}) is passes


@pytest.mark.parametrize(
    ("scores", "passes"),
    [
        ([{OUT: 0.9}, {OUT: 0.5}, {OUT: 0.99}], True),
        ([{}, {}, {}], True),
        ([{OUT: 0.9}, {OUT: 0.9}, {OUT: 0.49}], False),
        ([{OUT: 0.4}, {OUT: 0.9}, {OUT: 0.9}], False),
        ([{OUT: 0.9}, {OUT: 0.9, IN: 0.6}, {OUT: 0.9}], False),
    ],
)
def test_invariance(suite_of: Any, scores: list[Scores], passes: bool) -> None:
    texts = ["Estonia goes.", "Kenya goes.", "Peru goes."]
    assert outcome(suite_of(invariance("g-1", *texts)), dict(zip(texts, scores, strict=True))) is passes


def moved(probability: float, log_odds: float) -> float:
    return 1 / (1 + math.exp(-(math.log(probability / (1 - probability)) + log_odds)))


@pytest.mark.parametrize(
    ("before", "after", "lower"),
    [
        (0.9, 0.1, True),  # the tag goes
        (0.501, 0.499, True),  # it goes by a hair
        (0.9, 0.7, True),  # it stays, less sure
        (0.3, moved(0.3, -0.11), True),  # it is not given on either side, but moves
        (0.3, moved(0.3, -0.09), False),  # too little
        (0.3, 0.3, False),
        (0.3, 0.4, False),  # the wrong way
        (0.1, 0.9, False),
        (0.999, moved(0.999, -0.2), True),
        (1.0, 1.0, False),
        (0.0, 0.0, False),
        (1e-3, 1e-6, False),  # both tiny: a factor of a thousand tells nothing
        (0.019, 0.0001, False),
        (0.03, 0.0001, True),
    ],
)
def test_directional(suite_of: Any, before: float, after: float, lower: bool) -> None:
    says = {"We go.": {OUT: before}, "We do not go.": {OUT: after}}
    assert outcome(suite_of(directional("n-1", "We go.", "We do not go.")), says) is lower
    mirrored = suite_of(directional("n-1", "We do not go.", "We go.", direction="higher"))
    assert outcome(mirrored, says) is lower


def test_a_flip_the_wrong_way_fails_though_the_score_moves(suite_of: Any) -> None:
    """With one label per text, a lower probability may still be the highest."""

    def predict(statements: Sequence[Statement]) -> list[Prediction]:
        return [
            Prediction(None, {OUT: 0.45, IN: 0.55}, (IN,), (), ()),
            Prediction(None, {OUT: 0.40, IN: 0.30}, (OUT,), (), ()),
        ][: len(statements)]

    assert check(predict, suite_of(directional("n-1", "We go.", "We do not go."))).passed == 0


CASES = (
    minimum("d-1", "We stay.", IN, rule="6"),
    minimum("d-2", "We remain."),
    minimum("d-3", "We hold on.", IN, OUT),
    invariance("g-1", "Estonia goes.", "Kenya goes.", {"text": "Peru goes.", "government": "PER"}, government="EST"),
    directional("n-1", "We go.", "We do not go."),
)
SAYS = {
    "We stay.": {IN: 0.9},
    "We remain.": {IN: 0.7},
    "Estonia goes.": {OUT: 0.9},
    "Kenya goes.": {OUT: 0.8},
    "We go.": {OUT: 0.9},
    "We do not go.": {OUT: 0.95},
}


def test_the_report_counts_by_phenomenon_and_by_test(suite_of: Any) -> None:
    suite = suite_of(*CASES)
    model = Scripted(SAYS)
    report = check(model, suite)
    assert model.calls == 1
    assert report.model == "scripted/1"
    assert report.suite_sha256 == suite.sha256
    assert report.phenomena == {"denial": (1, 3), "changed_government": (0, 1), "negation": (0, 1)}
    assert report.tests == {"minimum_functionality": (1, 3), "invariance": (0, 1), "directional": (0, 1)}
    assert (report.passed, report.cases) == (1, 5)
    assert report.case_rate == pytest.approx(1 / 5)
    assert report.pass_rate == pytest.approx((1 / 3 + 0 + 0) / 3)


def test_a_failure_says_what_was_expected_and_what_was_given(suite_of: Any) -> None:
    failures = {failure.id: failure for failure in check(Scripted(SAYS), suite_of(*CASES)).failures}
    assert list(failures) == ["d-2", "d-3", "g-1", "n-1"]
    assert (failures["d-2"].expected, failures["d-2"].given) == ("no tag", IN)
    assert (failures["d-3"].expected, failures["d-3"].given) == (f"{IN}, {OUT}", "no tag")
    assert (failures["g-1"].expected, failures["g-1"].given) == (
        f"{OUT} for every variant",
        "no tag for 1 of 2 variants",
    )
    assert [(a.text, a.government) for a in failures["g-1"].answers] == [
        ("Estonia goes.", "EST"),
        ("Peru goes.", "PER"),
    ]
    assert failures["n-1"].expected == f"{OUT} lower"
    assert failures["n-1"].given == "0.900 (given) → 0.950 (given)"
    assert [answer.scores[OUT] for answer in failures["n-1"].answers] == [0.9, 0.95]


def test_the_report_is_plain_json(suite_of: Any) -> None:
    report = check(Scripted(SAYS), suite_of(*CASES))
    found = report.to_dict()
    assert json.loads(json.dumps(found)) == found
    assert found["phenomena"]["denial"] == {
        "passed": 1,
        "cases": 3,
        "rate": pytest.approx(1 / 3),
        "interval": pytest.approx(list(wilson_interval(1, 3))),
    }
    assert found["pass_rate"] == report.pass_rate
    assert [failure["id"] for failure in found["failures"]] == ["d-2", "d-3", "g-1", "n-1"]
    assert found["failures"][0]["answers"] == [
        {"text": "We remain.", "government": None, "tags": [IN], "scores": {OUT: 0.0, IN: 0.7}}
    ]


def test_a_model_that_never_tags_passes_invariance_alone(suite_of: Any) -> None:
    cases = [minimum("d-1", "We stay.", IN), *CASES[3:]]
    assert check(Scripted({}), suite_of(*cases)).tests == {
        "minimum_functionality": (0, 1),
        "invariance": (1, 1),
        "directional": (0, 1),
    }


@pytest.mark.parametrize(("passed", "cases"), [(0, 12), (7, 12), (12, 12), (1, 1)])
def test_wilson_interval(passed: int, cases: int) -> None:
    z, p = 1.959963984540054, passed / cases
    middle = (p + z * z / (2 * cases)) / (1 + z * z / cases)
    half = z / (1 + z * z / cases) * math.sqrt(p * (1 - p) / cases + z * z / (4 * cases**2))
    assert wilson_interval(passed, cases) == pytest.approx((middle - half, middle + half), abs=1e-12)


def test_a_model_of_other_labels_is_refused(suite_of: Any) -> None:
    def predict(statements: Sequence[Statement]) -> list[Prediction]:
        return [Prediction(None, {"hawkish": 0.5, IN: 0.5}, (), (), (), "fomc/1") for _ in statements]

    with pytest.raises(InputError, match=rf"the suite tests {OUT}, which fomc/1 does not give .*hawkish, {IN}"):
        check(predict, suite_of(*CASES))
    assert check(predict, suite_of(CASES[0])).cases == 1


def test_a_suite_without_a_case_is_refused() -> None:
    with pytest.raises(InputError, match="no case"):
        check(Scripted({}), Suite(()))


def test_an_unknown_phenomenon_is_refused(suite_of: Any) -> None:
    with pytest.raises(InputError, match="no phenomenon 'irony'; there are denial, changed_government, negation"):
        suite_of(*CASES).only(["denial", "irony"])


# Kept apart

LONG = "Ruritania has told the depositary that it will leave the Convention on Quiet Rivers at the end of the year."
NEAR = "Ruritania has told the depositary that it will leave the Convention on Quiet Rivers at the end of the month."


def test_overlaps_with_labelled_rows_are_found(suite_of: Any) -> None:
    suite = suite_of(
        minimum("d-1", NEAR, OUT),
        minimum("d-2", "The harvest was poor.\n" + LONG.upper().replace(" ", "\n") + "\nWe grieve.", OUT),
        minimum("d-3", "Nothing of the kind was ever said by anybody in this hall."),
        invariance("g-1", "An unlike text stands here.", LONG),
    )
    rows = [Row("r-1", "r", LONG), Row("r-2", "r", "Rain fell on the hall of the assembly all day.")]
    assert [(found.case, found.row) for found in overlaps(suite, rows)] == [
        ("d-1", "r-1"),
        ("d-2", "r-1"),
        ("d-2", "r-1"),  # the whole text, and its sentence
        ("g-1", "r-1"),
    ]
    assert overlaps(suite, rows[1:]) == []


def test_near_copies_are_told_within_a_phenomenon_but_not_within_a_case(suite_of: Any) -> None:
    suite = suite_of(
        minimum("d-1", LONG, OUT),
        minimum("d-2", NEAR, OUT),
        minimum("x-1", LONG, OUT, phenomenon="euphemism"),
        invariance("g-1", LONG, NEAR),
    )
    assert near_copies(suite) == [("d-1", "d-2")]


# The command


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        try:
            code = cli.main(["check", *(str(argument) for argument in arguments)])
        except SystemExit as end:
            code = int(end.code or 0)
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "suite" / "all.jsonl", *CASES)


@pytest.fixture
def report(model_folder: Path, folder: Path) -> BehaviourReport:
    return check(Predictor.load(str(model_folder)).predict, load_suite(folder))


def test_check_prints_a_table(run: Any, model_folder: Path, folder: Path, report: BehaviourReport) -> None:
    code, out, err = run(model_folder, "--suite", folder)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    for name, (passed, cases) in {**report.phenomena, **report.tests}.items():
        low, high = wilson_interval(passed, cases)
        (line,) = (line.split() for line in lines if line.split()[:1] == [name])
        assert line == [name, str(passed), str(cases), f"{passed / cases:.3f}", f"{low:.3f}", "to", f"{high:.3f}"]
    assert lines[-1].startswith(f"{report.model}: pass rate {report.pass_rate:.3f}, the mean of 3 phenomena; ")
    assert "expected" not in out


def test_check_shows_failures(run: Any, model_folder: Path, folder: Path, report: BehaviourReport) -> None:
    assert report.failures
    code, out, err = run(model_folder, "--suite", folder, "--failures")
    assert (code, err) == (0, "")
    for failure in report.failures:
        assert f"{failure.id} ({failure.test}" in out
        assert f"expected {failure.expected}; got {failure.given}\n" in out
        assert all(answer.text in out for answer in failure.answers)
    assert out.count("expected") == len(report.failures)


def test_check_json_is_the_report_and_nothing_else(
    run: Any, model_folder: Path, folder: Path, report: BehaviourReport
) -> None:
    code, out, err = run(model_folder, "--suite", folder, "--json", "--failures")
    assert (code, err) == (0, "")
    assert json.loads(out) == report.to_dict()


def test_check_of_some_phenomena(run: Any, model_folder: Path, folder: Path) -> None:
    command = [model_folder, "--suite", folder, "--json", "--phenomenon", "negation", "--phenomenon", "denial"]
    assert list(json.loads(run(*command)[1])["phenomena"]) == ["denial", "negation"]


def test_check_has_a_minimum(run: Any, model_folder: Path, folder: Path, report: BehaviourReport) -> None:
    assert 0 < report.pass_rate < 1
    assert run(model_folder, "--suite", folder, "--min-pass", report.pass_rate - 1e-9)[0] == 0
    code, out, err = run(model_folder, "--suite", folder, "--min-pass", "1")
    assert code == 1
    assert out.startswith("phenomenon")
    assert err == f"treatystance: {report.model}: pass rate {report.pass_rate:.4f} is below 1\n"


def test_check_draws_a_picture(run: Any, model_folder: Path, folder: Path, tmp_path: Path) -> None:
    assert run(model_folder, "--suite", folder, "--picture", "out.png")[0] == 0
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("nowhere --suite suite", "no model 'nowhere'"),
        ("MODEL --suite none", "none: no such folder"),
        ("MODEL --suite suite --phenomenon irony", "no phenomenon 'irony'; there are denial, "),
        ("MODEL --suite suite --picture none/x.png", "none/x.png: cannot be written (No such file or directory)"),
        ("MODEL --suite suite --picture x.docx", "x.docx: cannot be written"),
        ("MODEL --suite foreign", "the suite tests dovish, which tiny/1 does not give"),
    ],
)
def test_a_bad_call_is_told_in_one_line(
    run: Any, model_folder: Path, folder: Path, arguments: str, message: str
) -> None:
    write(folder.parent / "foreign" / "x.jsonl", minimum("f-1", "We stay.", "dovish"))
    code, out, err = run(*(model_folder if word == "MODEL" else word for word in arguments.split()))
    assert (code, out) == (2, "")
    assert err.startswith("treatystance: ")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("share", ["1.5", "-0.1", "nan", "most"])
def test_a_minimum_is_a_share(run: Any, model_folder: Path, share: str) -> None:
    code, out, err = run(model_folder, f"--min-pass={share}")
    assert (code, out) == (2, "")
    assert err.startswith("usage: treatystance check")
