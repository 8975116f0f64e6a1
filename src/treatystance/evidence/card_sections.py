"""The sections of a model card, each from what is known of the model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from treatystance.evidence import card_texts as texts
from treatystance.evidence.card_facts import PICTURES, CardFacts, items, mapping, number, outcome, pair

__all__ = ["behaviour", "calibration", "data", "made", "results", "slices", "usage", "what"]

_SLICES = "region, decade, kind, treaty family, language, length, person"


def what(facts: CardFacts) -> str:
    """What the model gives, and how it decides."""
    many = "exactly one label" if facts.exclusive else "any number of labels"
    if facts.treaties:
        sha256 = facts.provenance.get("codebook_sha256")
        codebook = f"the package's codebook (SHA-256 `{sha256}`)" if sha256 else "the package's codebook"
        parts = [
            f"Reads statements of governments sentence by sentence and gives each {many}, most often none. They are "
            f"defined by {codebook}, `docs/codebook.md` in the repository.",
            _table(["label", "the sentence says"], [[f"`{label}`", texts.MEANINGS[label]] for label in facts.labels]),
        ]
    else:
        names = ", ".join(f"`{label}`" for label in facts.labels)
        parts = [f"Gives each sentence {many} of: {names}. The codebook of its training data says what they mean."]
    thresholds = items(facts.decision.get("threshold"))
    if not facts.exclusive and len(thresholds) == len(facts.labels):
        points = (f"`{label}` {_figure(value, 3)}" for label, value in zip(facts.labels, thresholds, strict=True))
        parts.append(f"A label is given from these calibrated probabilities on: {', '.join(points)}.")
    parts.append(texts.KINDS.get(facts.kind, f"A model of the family `{facts.kind}`."))
    return "\n\n".join(parts)


def usage(facts: CardFacts) -> str:
    """How to install and call it."""
    extra = "[encoder]" if facts.kind in ("encoder", "cascade") else ""
    return f"""\
    pip install 'treatystance{extra}'

```python
from treatystance import Predictor, Statement

predictor = Predictor.load("FOLDER")  # the folder that holds this card; or models:/{facts.name}/VERSION
for prediction in predictor.predict([Statement(text="We will leave the Convention.", government="LVA")]):
    for sentence in prediction.sentences:
        print(sentence.start, sentence.end, sentence.tags, sentence.scores, sentence.uncertain)
```

`treatystance score INPUT OUTPUT --model FOLDER` scores files of any size. The folder holds data only; every file is
verified against its SHA-256 before anything is built, and nothing in it is executed."""


def data(facts: CardFacts) -> str:
    """What it was trained on, and how text and labels came about."""
    provenance, counts = facts.provenance, mapping(facts.provenance.get("counts"))
    parts = []
    total = number(provenance.get("sentences"))
    lead = f"{total:,.0f} labelled sentences" if total is not None else "How many labelled sentences is not recorded"
    if statements := number(counts.get("statements")):
        lead += f" of {statements:,.0f} statements"
    if facts.sources:
        lead += " from " + ", ".join(f"`{path}`" for path in facts.sources)
    parts.append(f"{lead}.")
    for title, group in (("label", mapping(counts.get("labels"))), ("origin", mapping(counts.get("by_origin")))):
        known = {name: n for name in sorted(group) if (n := number(group[name])) is not None}
        ordered = sorted(known, key=lambda name: -known[name])
        if ordered:
            parts.append(_table([title, "sentences"], [[f"`{name}`", f"{known[name]:,.0f}"] for name in ordered]))
    if not counts:
        parts.append("Counts by label and origin were not recorded with this model.")
    parts += [text for there, text in ((facts.composed, texts.COMPOSED), (facts.annotated, texts.ANNOTATED)) if there]
    if any("package:annotations" in source for source in facts.sources) and not facts.annotated:
        parts.append("The annotated real text of the recipe was left out: its public corpora were not at hand.")
    if not facts.shipped:
        parts.append("Where text and labels of data that is not the package's come from is for its owner to tell.")
    hashes = [(name, provenance.get(f"{name}_sha256")) for name in ("corpus", "codebook", "evaluated")]
    rows = [[what, f"`{value}`"] for what, value in hashes if value]
    parts.append(_table(["SHA-256 of", ""], rows) if rows else "No hash of the data was recorded.")
    return "\n\n".join(parts)


def results(facts: CardFacts) -> str:
    """The cross-validated scores, as drawn and weighted to ordinary text."""
    drawn = mapping(facts.provenance.get("cross_validation"))
    ordinary = mapping(facts.provenance.get("ordinary_text"))
    if not drawn:
        return "No cross-validation was recorded with this model: nothing is known of how good it is."
    parts = [
        f"Cross-validated on {drawn.get('n', '?')} sentences of {drawn.get('documents', '?')} documents: each was "
        f"scored by a model that had seen nothing of its fold{_how(facts)}. Intervals are "
        f"{_percent(drawn.get('confidence', 0.95))} bootstraps over documents.",
        *_caveat(facts),
        f"**As drawn**, each sentence counted once: {_macro(drawn)}.",
        _scores(facts, drawn),
    ]
    if ordinary and ordinary.get("macro_f1") != drawn.get("macro_f1"):
        parts += [
            "**Weighted to ordinary text**, each counted as often as it stands for a sentence of whole documents: "
            f"{_macro(ordinary)}.",
            _scores(facts, ordinary),
        ]
    else:
        parts.append(
            "There are no figures weighted to ordinary text: no sampling probabilities are recorded, so the shares of "
            "labels, and with them the precision, may differ from those of ordinary text."
        )
    statements = mapping(facts.evidence.get("statements"))
    if statements:
        parts += [f"**Whole statements**, by the union of their annotated sentences: {_macro(statements)}."]
    return "\n\n".join(parts)


def _caveat(facts: CardFacts) -> list[str]:
    """What flatters the scores, where composed text took part."""
    if not facts.composed:
        return []
    if facts.shipped and not facts.annotated:
        return ["The sentences tested on are composed: the figures say little of real text."]
    split = mapping(mapping(facts.provenance.get("config")).get("split"))
    if split.get("auxiliary_apart") is False:
        return ["Composed statements of the governments tested took part in training, which flatters the figures."]
    return []


def _scores(facts: CardFacts, report: Mapping[str, Any]) -> str:
    rows = [
        [
            f"`{label}`",
            _with_interval(part.get("precision"), part.get("precision_ci")),
            _with_interval(part.get("recall"), part.get("recall_ci")),
            _with_interval(part.get("f1"), part.get("f1_ci")),
            _figure(part.get("average_precision")),
            str(part.get("support", "?")),
        ]
        for label, part in facts.per_label(report).items()
    ]
    return _table(["label", "precision", "recall", "F1", "average precision", "positives"], rows)


def calibration(facts: CardFacts) -> str:
    """How far scores are probabilities, and whether abstentions keep their promise."""
    ways = mapping(facts.evidence.get("calibration"))
    way = "ordinary_text" if ways.get("ordinary_text") else "as_drawn"
    rows = [
        [
            f"`{label}`",
            _with_interval(part.get("skill"), part.get("skill_ci")),
            _with_interval(part.get("slope"), part.get("slope_ci")),
            _figure(part.get("ece"), 4),
            _figure(part.get("ece_above")),
        ]
        for label in facts.labels
        if (part := mapping(mapping(ways.get(way)).get(label)))
    ]
    parts = []
    if rows:
        heads = ["label", "Brier skill over the base rate", "calibration slope", "ECE", "ECE of scores above 0.1"]
        parts += [
            f"Out-of-fold scores, {'weighted to ordinary text' if way == 'ordinary_text' else 'as drawn'}. A skill "
            "above 0 beats saying the base rate; a slope of 1 is right, below 1 scores are too extreme; ECE is the "
            "expected calibration error.",
            _table(heads, rows),
        ]
    else:
        parts.append("Calibration was not measured for this model; take its scores as a ranking.")
    parts += _picture(facts, "reliability.png")
    covered = items(mapping(facts.evidence.get("conformal_coverage")).get("overall"))
    rows = [
        [
            f"`{part.get('label')}`",
            str(part.get("side")),
            _with_interval(part.get("ordinary"), part.get("ordinary_ci")),
            _figure(part.get("uncertain")),
        ]
        for part in map(mapping, covered)
        if part.get("label") in facts.labels
    ]
    decision = mapping(mapping(facts.provenance.get("config")).get("decision"))
    rate = number(decision.get("error_rate"))
    wanted = f" at a wanted error rate of {_percent(rate)}" if rate is not None else ""
    if rows:
        parts += [
            f"The model abstains (`uncertain`) by label-conditional split-conformal prediction{wanted}. Covered is a "
            "sentence where it abstains or is right, in ordinary text:",
            _table(["label", "side", "covered", "share abstained on"], rows),
        ]
    else:
        parts.append(f"The model abstains (`uncertain`){wanted}; how well that promise is kept was not measured.")
    return "\n\n".join([*parts, *_picture(facts, "risk_coverage.png")])


def _how(facts: CardFacts) -> str:
    """Where a fold's calibration and thresholds come from: see `crossval`."""
    if facts.kind == "linear":
        return ", thresholds and calibration included"
    return "; its thresholds and calibration come from the scores of the other folds"


def slices(facts: CardFacts) -> str:
    """The slices in which labels fall short."""
    worst = map(mapping, items(facts.evidence.get("worst_slices")))
    lines = [f"- {part['line']}" for part in worst if part.get("line")]
    if lines:
        text = "\n".join(["The surest shortfalls against the label's F1 on all rows:", "", *lines])
    elif facts.evidence.get("slices"):
        text = f"No slice ({_SLICES}) falls short by more than chance."
    else:
        text = f"Scores by slice ({_SLICES}) were not measured for this model."
    return "\n\n".join([text, *_picture(facts, "slices.png")])


def behaviour(facts: CardFacts) -> str:
    """The behavioural tests, worst phenomenon first."""
    phenomena = mapping(facts.behaviour.get("phenomena"))
    known = {name: found for name, value in phenomena.items() if (found := outcome(value))}
    if not known:
        if facts.treaties:
            return "Behavioural tests were not run on this model; `treatystance check FOLDER` runs them."
        return "The package's behavioural tests are about its own tags; none were run on this model."
    ordered = sorted(known.items(), key=lambda item: (item[1][0] / item[1][1], item[0]))
    passed, cases = (sum(column) for column in zip(*known.values(), strict=True))
    text = (
        f"{passed} of {cases} composed cases pass, over {len(known)} phenomena of the codebook (minimum functionality, "
        "invariance and direction; Ribeiro et al. 2020); none is in the package's training data. The worst first:"
    )
    table = _table(["phenomenon", "passed", "cases"], [[name, str(p), str(n)] for name, (p, n) in ordered])
    return "\n\n".join([text, table, *_picture(facts, "behaviour.png")])


def made(facts: CardFacts) -> str:
    """Recipe, commit and versions."""
    import yaml

    provenance = facts.provenance
    names = {"git_commit": "commit", "seed": "seed", "config_sha256": "recipe, SHA-256", "python": "Python"}
    names["lock_sha256"] = "installed versions, SHA-256"
    names |= {key: key.removeprefix("version_") for key in sorted(provenance) if key.startswith("version_")}
    rows = [[name, f"`{provenance[key]}`"] for key, name in names.items() if provenance.get(key) is not None]
    parts = [_table(["what", "value"], rows) if rows else "Neither commit nor versions were recorded with this model."]
    if config := mapping(provenance.get("config")):
        recipe = yaml.safe_dump(dict(config), allow_unicode=True, width=110, default_flow_style=None)
        parts.append(f"<details><summary>The recipe</summary>\n\n```yaml\n{recipe}```\n\n</details>")
    else:
        parts.append("The recipe was not recorded.")
    return "\n\n".join(parts)


def _picture(facts: CardFacts, name: str) -> list[str]:
    return [f"![{PICTURES[name]}]({name})"] if name in facts.pictures else []


def _macro(report: Mapping[str, Any]) -> str:
    return f"macro-F1 {_with_interval(report.get('macro_f1'), report.get('macro_f1_ci'))}"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells)


def _with_interval(value: Any, interval: Any) -> str:
    ends = pair(interval)
    return _figure(value) + (f" ({ends[0]:.2f} to {ends[1]:.2f})" if ends else "")


def _figure(value: Any, digits: int = 2) -> str:
    figure = number(value)
    return "not defined" if figure is None else f"{figure:.{digits}f}"


def _percent(value: Any) -> str:
    share = number(value)
    return "?" if share is None else f"{100 * share:g} %"
