"""The page of a model's errors: what is chosen, what stands beside it, and that no text can become markup."""

import base64
import hashlib
import json
import math
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from treatystance.calibration import DecisionRule
from treatystance.cli import main
from treatystance.corpus.load import load_rows
from treatystance.corpus.public import CORPORA_VARIABLE
from treatystance.corpus.rows import Row
from treatystance.errors import CorpusError, InputError
from treatystance.evidence.codebook import _BEARING, _passages, bearing, packaged_codebook, read_codebook
from treatystance.evidence.error_page import error_page
from treatystance.evidence.explain import Explanation, WordWeight
from treatystance.evidence.mistakes import LabelCounts, Mistake, worst_mistakes
from treatystance.evidence.neighbours import Neighbour, known_rows, nearest
from treatystance.models.base import Batch, sigmoid
from treatystance.statement import ANY_GOVERNMENT, DEFAULT_LABELS, LabelSet

EXIT, BOND, RELIEF = DEFAULT_LABELS
HOSTILE = "<script>alert('x')</script> \"quoted\" & <img src=x onerror=alert(1)> </td></table><!-- ]]> &lt;b&gt;"


# The codebook


def test_every_rule_is_found() -> None:
    rules = packaged_codebook().rules
    assert list(rules) == list(range(1, 18))
    assert [rules[n].name for n in (1, 17)] == ["Rule 1", "Rule 17"]
    assert rules[6].text.startswith("To deny an exit is reaffirmation. To deny an obligation")
    assert rules[6].text.endswith("if it was not, no tag.")
    for passage in rules.values():
        assert len(passage.text) > 50
        assert not re.search(r"\n|  |`|\*|^\d", passage.text)


def test_every_tag_is_defined_and_says_what_does_not_count() -> None:
    codebook = packaged_codebook()
    assert tuple(codebook.definitions) == DEFAULT_LABELS
    assert codebook.definitions[EXIT].text.startswith("The government's own departure from a treaty")
    assert codebook.definitions[EXIT].text.endswith("bound no more.")
    assert [len(codebook.excluded[label]) for label in DEFAULT_LABELS] == [6, 5, 8]
    assert codebook.excluded[EXIT][0].text.endswith("candidates or investments.")
    assert [passage.text[:10] for passage in codebook.stance[:2]] == ["A news rep", "The speake"]


def test_every_pointer_leads_somewhere() -> None:
    for labels, _, target in _BEARING:
        for label in labels:
            assert len(_passages(packaged_codebook(), label, target)) == 1, (label, target)


@pytest.mark.parametrize(
    ("label", "text", "government", "wanted"),
    [
        (EXIT, "Poland has no plans to leave the Convention.", "POL", "Rule 6"),
        (EXIT, "We will withdraw our troops by May.", "POL", "Does not count: What is withdrawn is something else"),
        (EXIT, "Russia walked out of the treaty, and left us alone.", "POL", "Whose stance: The speaker talks about"),
        (EXIT, "Poland said it would leave.", ANY_GOVERNMENT, "Whose stance: A news report"),
        (EXIT, "The previous administration left the accord.", "USA", "Whose stance: An earlier government"),
        (EXIT, "We denounce this attack.", "POL", 'Does not count: "Denounce" is used'),
        (BOND, "World leaders must honour the Agreement.", None, "Rule 2"),
        (BOND, "We acted in accordance with the Convention.", None, "Rule 16"),
        (BOND, "We stand by the Charter.", None, "Rule 9"),
        (RELIEF, "Despite our exit, we protect civilians.", None, "Rule 4"),
        (RELIEF, "Civilians are to be spared.", None, "Rule 17"),
        (RELIEF, "Rain fell on us.", None, "Rule 12"),
    ],
)
def test_what_a_sentence_holds_points_at_its_passage(
    label: str, text: str, government: str | None, wanted: str
) -> None:
    first, *others = bearing(packaged_codebook(), label, text, government)
    assert first == packaged_codebook().definitions[label], "always the tag's own definition"
    assert any(f"{passage.name}: {passage.text}".startswith(wanted) for passage in others), others
    assert 1 <= len(others) <= 3
    assert len(set(others)) == len(others)


def test_the_speaker_s_own_country_is_no_other() -> None:
    def names(government: str | None, text: str) -> list[str]:
        return [passage.name for passage in bearing(packaged_codebook(), EXIT, text, government)]

    assert "Whose stance" not in names("POL", "Poland leaves the pact.")
    assert "Whose stance" in names("FIN", "Poland leaves the pact.")
    assert "Whose stance" not in names("FIN", "We told Poland that we leave the pact.")


def test_labels_of_another_codebook_have_no_passages() -> None:
    assert bearing(packaged_codebook(), "hawkish", "We leave.", None) == ()
    assert bearing(read_codebook("# Nothing here"), EXIT, "We leave.", None) == ()
    rules = "## Decision rules\n\n1. One\n   more.\n2. Two.\n"
    made = read_codebook(f"## `hawkish`\n\n**Definition.** Wants\nforce.\n\n{rules}")
    assert made.definitions["hawkish"].text == "Wants force."
    assert {n: rule.text for n, rule in made.rules.items()} == {1: "One more.", 2: "Two."}


# Neighbours


def row(text: str, labels: Sequence[str] = (), **facts: Any) -> Row:
    return Row(id=facts.pop("id", text[:8]), doc_id="d", text=text, labels=tuple(labels), **facts)


KNOWN = [
    row("We leave the pact today.", [EXIT]),
    row("We stay in the pact.", [BOND]),
    row("Rain fell on fields.", []),
    row("We leave  the\npact today.", [BOND], id="twin"),
]


def test_neighbours_are_those_of_the_plain_cosine() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.metrics.pairwise import cosine_similarity

    text = "We leave the pact today."
    (found,) = nearest([text], KNOWN, 3)
    vectors = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit([r.text for r in KNOWN])
    cosines = cosine_similarity(vectors.transform([text]), vectors.transform([r.text for r in KNOWN]))[0]
    assert [near.row.id for near in found] == ["We leave", "twin", "We stay "], "ties in the order of the rows"
    assert [near.similarity for near in found] == pytest.approx(sorted(cosines, reverse=True)[:3])
    assert [near.same for near in found] == [True, True, False], "white space makes no other sentence"


def test_without_a_shared_word_there_is_no_neighbour() -> None:
    assert nearest(["zebra", ""], KNOWN) == [(), ()]
    assert nearest(["we"], []) == [()]
    assert nearest(["we"], [row("?!")]) == [()]
    assert nearest([], KNOWN) == []


def test_known_rows_by_default_and_as_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TREATYSTANCE_CORPORA", raising=False)
    said: list[str] = []
    rows = known_rows(None, LabelSet(), said.append)
    assert len(rows) == len(load_rows(["package:composed"], {}, []))
    assert len(said) == 1
    assert "TREATYSTANCE_CORPORA" in said[0]
    assert known_rows(None, LabelSet(("hawkish", "dovish")), said.append) == []
    assert "--neighbours" in said[1]
    given = tmp_path / "rows.jsonl"
    given.write_text(json.dumps({"text": "We stay.", "labels": [BOND]}) + "\n")
    assert [r.text for r in known_rows([str(given)], LabelSet(), said.append)] == ["We stay."]
    assert known_rows([], LabelSet(), said.append) == []
    assert len(said) == 2
    given.write_text(json.dumps({"text": "We stay.", "labels": ["nonsense"]}) + "\n")
    with pytest.raises(CorpusError, match="unknown label 'nonsense'"):
        known_rows([str(given)], LabelSet(), said.append)
    with pytest.raises(InputError):
        known_rows([str(tmp_path / "absent.jsonl")], LabelSet(), said.append)


@pytest.mark.corpora
def test_known_rows_take_real_text_where_it_is_at_hand() -> None:
    if not os.environ.get(CORPORA_VARIABLE):
        pytest.skip(f"{CORPORA_VARIABLE} IS NOT SET: NEIGHBOURS IN REAL TEXT WERE NOT TRIED")
    rows = known_rows(None, LabelSet(), lambda message: pytest.fail(message))
    assert {r.origin for r in rows} > {"composed"}


# Which errors


class Told:
    """A model whose logits are written in the text: "3 -1" for two labels."""

    kind = "told"

    def __init__(self, labels: LabelSet) -> None:
        self.labels = labels

    def logits(self, batch: Batch) -> npt.NDArray[np.float64]:
        numbers = [[float(n) for n in re.findall(r"-?[\d.]+", text)[: len(self.labels)]] for text in batch.texts]
        return np.array([n + [0.0] * (len(self.labels) - len(n)) for n in numbers]).reshape(-1, len(self.labels))

    def files(self) -> dict[str, bytes]:
        return {}

    def describe(self) -> dict[str, object]:
        return {}


RULE = DecisionRule(False, (1.0, 2.0), (0.0, 0.0), (0.5, 0.3), (0.4, 0.4), (0.6, 0.6))


def test_the_worst_are_those_of_highest_log_loss() -> None:
    rows = [
        row("3 0", [], id="false alarm of a, and b"),
        row("-4 -4", ["a"], id="miss of a"),
        row("1 -4", [], id="mild false alarm"),
        row("5 -4", ["a"], id="right"),
        row("0.1 5", ["b"], id="uncertain a"),
    ]
    counts, found = worst_mistakes(Told(LabelSet(("a", "b"))), RULE, rows, [], top=10)
    a, b = counts
    assert a == LabelCounts("a", carried=2, given=4, misses=1, false_alarms=3, shown=4)
    assert b == LabelCounts("b", carried=1, given=2, misses=0, false_alarms=1, shown=1)
    assert [(m.row.id, m.label, m.miss) for m in found] == [
        ("miss of a", "a", True),
        ("false alarm of a, and b", "a", False),
        ("mild false alarm", "a", False),
        ("uncertain a", "a", False),
        ("false alarm of a, and b", "b", False),
    ]
    odds = [4, 3, 1, 0.1, 0]
    assert [m.loss for m in found] == pytest.approx([math.log(1 + math.exp(x)) for x in odds])
    assert [m.threshold for m in found] == [0.5] * 4 + [0.3]
    assert [m.uncertain for m in found] == [False, False, False, True, True]
    assert found[1].tags == ("a", "b")
    assert found[4].probability == pytest.approx(float(sigmoid(np.array(0.0))))
    assert all(m.explanation.label == m.label for m in found)


def test_top_is_for_each_label_and_certainty_has_a_bound() -> None:
    rows = [row(f"{n} {n}", id=str(n)) for n in (1, 900, 3)]
    counts, found = worst_mistakes(Told(LabelSet(("a", "b"))), RULE, rows, [], top=2)
    assert [count.shown for count in counts] == [2, 2]
    assert [count.false_alarms for count in counts] == [3, 3]
    assert [m.row.id for m in found] == ["900", "900", "3", "3"]
    assert found[0].loss == pytest.approx(-math.log(1e-15))


def test_exclusive_labels_have_no_threshold() -> None:
    rule = replace(RULE, exclusive=True, slope=(1.0, 1.0))
    _, found = worst_mistakes(Told(LabelSet(("a", "b"), exclusive=True)), rule, [row("2 0", ["b"])], [])
    assert {(m.label, m.miss, m.threshold) for m in found} == {("a", False, None), ("b", True, None)}
    assert "highest" in error_page("m", "f", 1, [], found)


def test_no_error_at_all() -> None:
    counts, found = worst_mistakes(Told(LabelSet(("a", "b"))), RULE, [row("5 -5", ["a"])], KNOWN)
    assert found == []
    page = Page(error_page("m", "f", 1, counts, found))
    assert "No errors" in page.text
    assert page.count("table") == 1


# The page


class Page(HTMLParser):
    """A page taken apart: elements with attributes, text by element, and whether every element is closed in order."""

    VOID = frozenset({"meta"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.stack: list[str] = []
        self.pieces: list[tuple[str, str]] = []
        self.feed(html)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        self.pieces.append((self.stack[-1] if self.stack else "", data))

    @property
    def text(self) -> str:
        return "".join(data for tag, data in self.pieces if tag not in ("script", "style"))

    def content(self, tag: str) -> str:
        return "".join(data for where, data in self.pieces if where == tag)

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def mistake(text: str = "We will not leave.", label: str = EXIT, **changes: Any) -> Mistake:
    words = [m.span() for m in re.finditer(r"\w+", text)]
    weights = [2.0, -1.0, 0.05, *[0.5] * len(words)]
    explanation = Explanation(
        label, 1.5, -3.0, tuple(WordWeight(*span, w) for span, w in zip(words, weights, strict=False)), True
    )
    made = Mistake(
        row=row(text, [BOND], prev="Before it.", government="POL", year=1999, kind="speech", id="r1"),
        label=label,
        miss=False,
        probability=0.91,
        threshold=0.25,
        loss=2.41,
        uncertain=True,
        tags=(EXIT,),
        explanation=explanation,
        neighbours=(Neighbour(KNOWN[0], 0.5, False), Neighbour(KNOWN[2], 0.25, True)),
        passages=bearing(packaged_codebook(), EXIT, text, "POL"),
    )
    return replace(made, **changes)


COUNTS = [LabelCounts(EXIT, 12, 34, 5, 6, 1)]


def test_the_page_says_everything_about_an_error() -> None:
    page = Page(error_page("model/1", "file.jsonl", 1234, COUNTS, [mistake()]))
    for wanted in (
        "Errors of model/1", "1,234 labelled sentences of file.jsonl", "false alarm uncertain", "0.910", "0.250",
        "2.41", "Before it.", "We will not leave.", "Labelled reaffirmation; tagged intent_to_withdraw.",
        "POL · 1999 · speech · r1",
        "Log-odds: We +2.00, will −1.00, leave +0.50, not +0.05 · without words −3.00 · in all +1.50",
        "Nearest labelled sentences: intent_to_withdraw; none", "(cosine 0.50, We leave): We leave the pact today.",
        "(the same sentence, Rain fel): Rain fell on fields.", "Codebook: Definition, Rule 6",
        "To deny an exit is reaffirmation.",
    ):  # fmt: skip
        assert wanted in page.text, wanted
    assert "exact" in page.text
    occluded = replace(mistake().explanation, exact=False)
    assert "left out" in Page(error_page("m", "f", 1, COUNTS, [mistake(explanation=occluded)])).text


def test_words_are_marked_by_direction_and_strength() -> None:
    page = Page(error_page("m", "f", 1, COUNTS, [mistake()]))
    marks = page.all("mark")[2:]  # after the two of the legend
    assert [m["class"] for m in marks] == ["for s4", "against s2", "for s1"], "a word of no weight is not marked"
    assert marks[1]["title"] == "−1.00 log-odds, away from intent_to_withdraw"
    css = page.content("style")
    for kind in ("for", "against", "s1", "s2", "s3", "s4"):
        assert f".{kind} {{" in css


def test_extreme_scores_and_sentences_without_words() -> None:
    nothing = Explanation(EXIT, -9.0, -9.0, (), True)
    bare = mistake(
        "?!", explanation=nothing, neighbours=(), passages=(), uncertain=False, probability=0.0001, miss=True
    )
    page = Page(error_page("m", "f", 1, COUNTS, [bare, mistake(probability=0.9999)]))
    assert "Log-odds: without words −9.00 · in all −9.00" in page.text
    assert "< 0.001" in page.text
    assert "> 0.999" in page.text
    assert page.count("details") == 2


def test_the_table_can_be_sorted() -> None:
    page = Page(error_page("m", "f", 1, COUNTS, [mistake()]))
    heads = [head for head in page.all("th") if "data-sort" in head]
    assert [head["data-sort"] for head in heads] == ["text", "text", "number", "number", "number", "text"]
    assert [head.get("aria-sort") for head in heads] == [None] * 4 + ["descending", None]
    assert all(head["scope"] == "col" for head in heads)
    values = [cell["data-value"] for cell in page.all("td") if "data-value" in cell]
    assert values == [EXIT, "false alarm", "0.91", "0.25", "2.41", "We will not leave."]
    (table,) = (table for table in page.all("table") if table.get("id"))
    assert table["id"] == "errors"
    script = page.content("script")
    for wanted in ('getElementById("errors")', 'createElement("button")', "aria-sort", "dataset.value"):
        assert wanted in script
    assert any(p.get("role") == "status" and p.get("id") == "sorted" for p in page.all("p"))


def test_no_text_becomes_markup() -> None:
    plain = Page(error_page("m", "f", 1, COUNTS, [mistake()]))
    hostile_row = row(HOSTILE, [HOSTILE], prev=HOSTILE, government="POL", kind=HOSTILE, language='en"><b>', id=HOSTILE)
    word = WordWeight(0, len(HOSTILE), 1.0)
    bad = mistake(
        row=hostile_row,
        label=HOSTILE,
        tags=(HOSTILE,),
        explanation=Explanation(HOSTILE, 0.0, 0.0, (word,), True),
        neighbours=(Neighbour(hostile_row, 0.1, False),),
    )
    html = error_page(HOSTILE, HOSTILE, 1, [replace(COUNTS[0], label=HOSTILE)], [bad])
    page = Page(html)
    assert {tag for tag, _ in page.elements} <= {tag for tag, _ in plain.elements}
    assert page.count("script") == page.count("style") == 1
    assert page.content("script") == plain.content("script")
    assert not any(name.startswith("on") or name == "style" for _, attributes in page.elements for name in attributes)
    assert page.text.count(HOSTILE) >= 10
    assert page.all("mark")[2]["title"] == f"+1.00 log-odds, towards {HOSTILE}"
    assert "<img" not in html
    assert html.count("<script") == 1


def test_the_page_asks_for_nothing_outside_and_its_policy_allows_only_its_own() -> None:
    page = Page(error_page("m", "f", 1, COUNTS, [mistake()]))
    assert not any(name in attributes for _, attributes in page.elements for name in ("src", "href", "action"))
    assert "http" not in page.content("script") + page.content("style")
    assert "url(" not in page.content("style")
    assert "@import" not in page.content("style")
    first, second = page.all("meta")[:2]
    assert first == {"charset": "utf-8"}
    assert second["http-equiv"] == "Content-Security-Policy"
    policy = dict(part.strip().split(" ", 1) for part in str(second["content"]).split(";"))
    assert policy["default-src"] == "'none'"
    for kind in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(page.content(kind).encode()).digest()).decode()
        assert policy[f"{kind}-src"] == f"'sha256-{digest}'"
    assert page.all("html") == [{"lang": "en"}]
    assert "prefers-color-scheme: dark" in page.content("style")


# The command


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Composed sentences, every seventh labelled otherwise than before, and a hostile one."""
    rows = load_rows(["package:composed"], {}, [])[:70]
    records = [
        {"id": r.id, "text": r.text, "labels": [BOND] if i % 7 == 0 else list(r.labels), "government": r.government}
        for i, r in enumerate(rows)
    ]
    path = tmp_path / "data.jsonl"
    records.append({"id": "hostile", "text": HOSTILE, "labels": list(DEFAULT_LABELS), "government": None})
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    return path


def test_the_command_writes_the_page(
    data: Path, model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "page.html"
    code = main(["errors", str(model_folder), "--data", str(data), "--out", str(out), "--neighbours", str(data)])
    captured = capsys.readouterr()
    assert (code, captured.out) == (0, f"{out}\n")
    shown, errors, sentences = map(int, re.findall(r"\d+", captured.err))
    assert (shown, sentences) == (errors, 71)
    page = Page(out.read_text("utf-8"))
    assert sum("data-name" in cell for cell in page.all("td")) == 3 * shown
    assert shown >= 8
    assert "the same sentence" in page.text
    assert HOSTILE in page.text
    assert page.count("script") == 1
    assert page.count("dl") == shown


def test_the_command_by_default(
    data: Path, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TREATYSTANCE_CORPORA", raising=False)
    assert main(["errors", str(model_folder), "--data", str(data), "--top", "1"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "errors.html\n"
    assert "composed text alone" in captured.err
    page = Page(Path("errors.html").read_text("utf-8"))
    assert sum("data-name" in cell for cell in page.all("td")) <= 9
    assert page.count("ol") >= 1
    assert main(["errors", str(model_folder), "--data", str(data), "--neighbours"]) == 0
    assert Page(Path("errors.html").read_text("utf-8")).count("ol") == 0


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["{model}", "--data", "{tmp}/absent.jsonl"], "absent.jsonl: "),
        (["{model}", "--data", "{tmp}/empty.jsonl"], "empty.jsonl: empty"),
        (["{model}", "--data", "{tmp}/wrong.jsonl"], "wrong.jsonl:1: unknown label 'nonsense'"),
        (["{model}", "--data", "{tmp}/data.jsonl", "--out", "{tmp}"], "cannot be written"),
        (["{model}", "--data", "{tmp}/data.jsonl", "--out", "{tmp}/no/page.html"], "in a folder that exists"),
        (["{model}", "--data", "{tmp}/data.jsonl", "--neighbours", "{tmp}/absent.jsonl"], "absent.jsonl: "),
        (["{tmp}/nowhere", "--data", "{tmp}/data.jsonl"], "nowhere"),
        (["chat:some-model", "--data", "{tmp}/data.jsonl"], "comparison model"),
    ],
)
def test_bad_input_is_told_in_a_line(
    arguments: list[str],
    wanted: str,
    data: Path,
    model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "wrong.jsonl").write_text(json.dumps({"text": "We leave.", "labels": ["nonsense"]}) + "\n")
    places = {"model": str(model_folder), "tmp": str(tmp_path)}
    assert main(["errors", *(argument.format(**places) for argument in arguments)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert wanted in captured.err
    assert "Traceback" not in captured.err
    assert not (tmp_path / "errors.html").exists()
