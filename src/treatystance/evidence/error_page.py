"""The page of a model's worst errors: one HTML file that asks for nothing outside itself.

Every element is made by `_element`, which escapes all text and attributes; only the style and the script beside this
module are written as they are, and the page's policy allows those two by their hash.
"""

from __future__ import annotations

import base64
import hashlib
import html
import math
from collections.abc import Sequence
from importlib.resources import files
from itertools import groupby

from treatystance.evidence.explain import Explanation
from treatystance.evidence.mistakes import LabelCounts, Mistake
from treatystance.evidence.neighbours import Neighbour

__all__ = ["error_page"]

_VOID = frozenset({"meta"})
_STEPS = 4
_WEAKEST = 0.2  # words of less than this share of the strongest are not marked
_LISTED = 6  # words named beneath a sentence
_EXACT = "The weights are exact: with those of a sentence without words, they sum to the log-odds of the score."
_OCCLUSION = (
    "A word's weight is the change of the log-odds when that word is left out (occlusion); words work together, so "
    "the weights need not sum to the score."
)


class _Html(str):
    """Markup: made here, never given from outside."""

    __slots__ = ()


def error_page(
    model: str, data: str, sentences: int, counts: Sequence[LabelCounts], mistakes: Sequence[Mistake]
) -> str:
    """The page as HTML.

    Args:
        model: name and version.
        data: name of the labelled file.
        sentences: how many it holds.
        counts: of each label.
        mistakes: in the order to be shown, as `worst_mistakes` gives them.
    """
    style, script = (files(__package__).joinpath(f"error_page.{kind}").read_text("utf-8") for kind in ("css", "js"))
    allowed = f"style-src {_hash(style)}; script-src {_hash(script)}"
    policy = f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"
    head = _element(
        "head",
        _element("meta", charset="utf-8"),
        _element("meta", http_equiv="Content-Security-Policy", content=policy),
        _element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        _element("title", f"Errors of {model}"),
        _element("style", _Html(style)),
    )
    body = _element(
        "body",
        _element(
            "header",
            _element("h1", f"Errors of {model}"),
            _element("p", f"{sentences:,} labelled sentences of {data}", class_="soft"),
        ),
        _element("main", *_main(counts, mistakes)),
        _element("script", _Html(script)),
    )
    return f"<!doctype html>\n{_element('html', head, body, lang='en')}\n"


def _main(counts: Sequence[LabelCounts], mistakes: Sequence[Mistake]) -> list[_Html]:
    if not mistakes:
        return [_summary(counts), _element("p", "No errors: every tag is as labelled.")]
    return [
        _summary(counts),
        _element("h2", "Worst errors"),
        _element(
            "p",
            "Marked words moved the score: ",
            _element("mark", "towards the tag", class_="for s4"),
            " or ",
            _element("mark", "away from it", class_="against s4"),
            ", the stronger the colour the more, within each sentence. ",
            _EXACT if mistakes[0].explanation.exact else _OCCLUSION,
        ),
        _element(
            "div",
            _table(mistakes),
            class_="scroll",
            role="region",
            tabindex="0",
            aria_label="Worst errors, scrolls sideways on narrow screens",
        ),
        _element("p", id="sorted", class_="hidden", role="status"),
    ]


def _summary(counts: Sequence[LabelCounts]) -> _Html:
    heads = ("Tag", "Labelled", "Tagged", "Misses", "False alarms", "Shown here")
    rows = [
        _element(
            "tr",
            _element("th", count.label, scope="row"),
            *(
                _element("td", f"{n:,}", class_="number")
                for n in (count.carried, count.given, count.misses, count.false_alarms, count.shown)
            ),
        )
        for count in counts
    ]
    return _element(
        "div",
        _element(
            "table",
            _element("caption", "Sentences that carry each tag, that were given it, and errors of each kind"),
            _element("thead", _element("tr", *(_head(name, name != "Tag") for name in heads))),
            _element("tbody", *rows),
        ),
        class_="scroll",
    )


def _head(name: str, number: bool, **attributes: str) -> _Html:
    return _element("th", name, scope="col", **({"class": "number"} if number else {}), **attributes)


def _table(mistakes: Sequence[Mistake]) -> _Html:
    return _element(
        "table",
        _element("caption", "Most confident errors first. Choose a heading to sort by it."),
        _element(
            "thead",
            _element(
                "tr",
                _head("Tag", False, data_sort="text"),
                _head("Error", False, data_sort="text"),
                _head("Score", True, data_sort="number"),
                _head("Threshold", True, data_sort="number"),
                _head("Log loss", True, data_sort="number", aria_sort="descending"),
                _head("Sentence", False, data_sort="text"),
            ),
        ),
        _element("tbody", *map(_row, mistakes)),
        id="errors",
    )


def _row(mistake: Mistake) -> _Html:
    kind = "miss" if mistake.miss else "false alarm"
    doubt: list[str] = [" ", _element("small", "uncertain")] if mistake.uncertain else []
    threshold = "highest" if mistake.threshold is None else f"{mistake.threshold:.3f}"
    return _element(
        "tr",
        _element("td", mistake.label, class_="tag", data_value=mistake.label),
        _element("td", kind, *doubt, class_="kind", data_value=kind),
        _number("Score", _rounded(mistake.probability), mistake.probability),
        _number("Threshold", threshold, mistake.threshold or 0),
        _number("Log loss", f"{mistake.loss:.2f}", mistake.loss),
        _element("td", *_sentence(mistake), data_value=" ".join(mistake.row.text.split())),
    )


def _rounded(p: float) -> str:
    return "< 0.001" if p < 0.001 else "> 0.999" if p > 0.999 else f"{p:.3f}"


def _number(name: str, text: str, value: float) -> _Html:
    return _element("td", text, class_="number", data_name=name, data_value=repr(float(value)))


def _sentence(mistake: Mistake) -> list[_Html]:
    row = mistake.row
    language = {"lang": row.language} if row.language else {}
    parts = []
    if row.prev:
        before = _element("span", "Sentence before: ", class_="hidden")
        parts.append(_element("p", before, row.prev, class_="meta", dir="auto", **language))
    parts.append(_element("p", *_marked(row.text, mistake.explanation), class_="text", dir="auto", **language))
    facts = (row.government, str(row.year) if row.year else None, row.kind, row.id)
    parts.append(
        _element(
            "p",
            f"Labelled {_names(row.labels)}; tagged {_names(mistake.tags)}. ",
            " · ".join(fact for fact in facts if fact),
            class_="meta",
        )
    )
    parts.append(_element("p", _moved(row.text, mistake.explanation), class_="moved"))
    if mistake.neighbours:
        labels = "; ".join(_names(near.row.labels) for near in mistake.neighbours)
        parts.append(
            _element(
                "details",
                _element("summary", f"Nearest labelled sentences: {labels}"),
                _element("ol", *map(_neighbour, mistake.neighbours)),
            )
        )
    if mistake.passages:
        names = ", ".join(name for name, _ in groupby(passage.name for passage in mistake.passages))
        entries = [_element(kind, text) for p in mistake.passages for kind, text in (("dt", p.name), ("dd", p.text))]
        parts.append(_element("details", _element("summary", f"Codebook: {names}"), _element("dl", *entries)))
    return parts


def _names(labels: Sequence[str]) -> str:
    return ", ".join(labels) or "none"


def _neighbour(near: Neighbour) -> _Html:
    how_near = "the same sentence" if near.same else f"cosine {near.similarity:.2f}"
    return _element("li", _element("b", _names(near.row.labels)), f" ({how_near}, {near.row.id}): {near.row.text}")


def _marked(text: str, explanation: Explanation) -> list[str]:
    """The sentence, the words that moved its score marked by direction and strength."""
    strongest = max((abs(word.weight) for word in explanation.words), default=0.0)
    pieces: list[str] = []
    done = 0
    for word in explanation.words:
        share = abs(word.weight) / strongest if strongest else 0.0
        if share < _WEAKEST:
            continue
        side, way = ("for", "towards") if word.weight > 0 else ("against", "away from")
        mark = _element(
            "mark",
            text[word.start : word.end],
            class_=f"{side} s{math.ceil(share * _STEPS)}",
            title=f"{_signed(word.weight)} log-odds, {way} {explanation.label}",
        )
        pieces += [text[done : word.start], mark]
        done = word.end
    return [*pieces, text[done:]]


def _moved(text: str, explanation: Explanation) -> str:
    """The strongest words and their weights, for those who cannot see colours or point at a word."""
    strongest = sorted(explanation.words, key=lambda word: -abs(word.weight))[:_LISTED]
    listed = ", ".join(f"{text[word.start : word.end]} {_signed(word.weight)}" for word in strongest)
    parts = (listed, f"without words {_signed(explanation.base)}", f"in all {_signed(explanation.logit)}")
    return "Log-odds: " + " · ".join(part for part in parts if part)


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def _element(tag: str, *children: str, **attributes: str) -> _Html:
    """An element; other strings are escaped. In attributes' names `_` is for `-`, and a last one is dropped."""
    given = "".join(f' {name.rstrip("_").replace("_", "-")}="{html.escape(v)}"' for name, v in attributes.items())
    if tag in _VOID:
        return _Html(f"<{tag}{given}>")
    inside = "".join(child if isinstance(child, _Html) else html.escape(child) for child in children)
    return _Html(f"<{tag}{given}>{inside}</{tag}>")
