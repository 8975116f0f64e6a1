"""Pictures of the evidence, without a display, from plain values as `evidence_report` gives them.

Colours are those of Okabe and Ito (2008), which the colour-blind tell apart; no meaning rests on colour alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

from treatystance.evidence.reliability import LOW
from treatystance.evidence.slices import MIN_DOCUMENTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["behaviour_figure", "reliability_figure", "risk_coverage_figure", "slices_figure"]

BLUE, ORANGE, GREEN, PINK, SKY, BLACK = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#000000"
_STYLES = tuple(zip((BLUE, ORANGE, GREEN, PINK, SKY, BLACK), "os^Dvx", ("-", "--", ":", "-.", "-", "--"), strict=True))
_WAYS = {"as_drawn": "rows as drawn for annotation", "ordinary_text": "rows weighted to ordinary text"}
GREY, PALE = "#6B6B6B", "#D9D9D9"


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=100, layout="constrained")


def _bare(axis: Axes) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _number(value: float | None, digits: int = 2) -> str:
    return "undefined" if value is None else f"{value:.{digits}f}"


def _interval(given: Sequence[float | None]) -> str:
    low, high = given
    return "" if low is None or high is None else f" [{low:.2f}, {high:.2f}]"


def reliability_figure(calibration: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Share of rows with the label against the score, a panel per label, on ordinary text and as drawn."""
    ordinary, drawn = calibration["ordinary_text"], calibration["as_drawn"]
    figure = _figure(3.5 * len(ordinary) + 0.2, 4.6)
    axes = figure.subplots(1, len(ordinary), squeeze=False)[0]
    for axis, (label, given) in zip(axes, ordinary.items(), strict=True):
        axis.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
        points = drawn[label]["points"]
        axis.plot(
            [p["score"] for p in points], [p["share"] for p in points], "s", color=ORANGE, markersize=4,
            markerfacecolor="white", label=_WAYS["as_drawn"], zorder=2,
        )  # fmt: skip
        points = [p for p in given["points"] if p["share"] is not None]
        for point in points:
            low, high = point["share_ci"]
            if low is not None:
                axis.plot([point["score"]] * 2, [low, high], color=BLUE, linewidth=1, zorder=2)
        axis.plot(
            [p["score"] for p in points], [p["share"] for p in points], "o-", color=BLUE, markersize=4.5,
            linewidth=1.2, label=_WAYS["ordinary_text"], zorder=3,
        )  # fmt: skip
        figures = (
            f"slope {_number(given['slope'])}{_interval(given['slope_ci'])}, "
            f"Brier skill {_number(given['skill'])}{_interval(given['skill_ci'])}\n"
            f"ECE of the {given['rows_above']:,} rows above {LOW}: {_number(given['ece_above'])}"
        )
        axis.text(0.5, 1.02, figures, transform=axis.transAxes, ha="center", va="bottom", fontsize=7, color=GREY)
        axis.set_title(_words(label), fontsize=10, pad=26)
        axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", xlabel="score")
        _bare(axis)
    axes[0].set_ylabel("share that carries the label")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return figure


def risk_coverage_figure(risk_coverage: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Share of wrong answers against the share answered, the surest first; a mark where the model itself abstains."""
    figure = _figure(8.2, 4.1)
    axes = figure.subplots(1, len(_WAYS), squeeze=False)[0]
    for axis, (way, title) in zip(axes, _WAYS.items(), strict=True):
        for (label, given), (colour, mark, line) in zip(risk_coverage[way].items(), cycle(_STYLES), strict=False):
            shares = [100 * share for share in given["coverage"]]
            axis.plot(shares, [100 * risk for risk in given["risk"]], color=colour, linestyle=line, label=_words(label))
            if given["answered_risk"] is not None and given["answered"] < 1:
                axis.plot(100 * given["answered"], 100 * given["answered_risk"], mark, color=colour, markersize=7)
        axis.set(xlim=(0, 102), xlabel="answered, the surest first (%)")
        axis.set_ylim(bottom=0)
        axis.set_title(title, fontsize=9)
        axis.grid(axis="y", color=PALE, linewidth=0.6)
        _bare(axis)
    axes[0].set_ylabel("wrong among the answers (%)")
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(
        handles, names, loc="outside lower center", ncols=min(len(names), 4), frameon=False, fontsize=8,
        title="mark: the model itself abstains on the rest", title_fontsize=8,
    )  # fmt: skip
    return figure


def slices_figure(slices: Sequence[Mapping[str, Any]], overall: Mapping[str, Any]) -> Figure:
    """F1 of each label by slice with its interval; dotted, F1 on all rows; filled, where the interval lies below it."""
    labels = list(overall["per_label"])
    places, names, heads, row = [], [], [], 0.0
    for i, part in enumerate(slices):
        if not i or part["dimension"] != slices[i - 1]["dimension"]:
            heads.append((row, _words(part["dimension"])))
            row += 1
        places.append(row)
        names.append(f"{part['value']}  ({part['n']:,})")
        row += 1
    figure = _figure(2.6 + 2.6 * len(labels), 1.1 + 0.19 * row)
    axes = figure.subplots(1, len(labels), sharey=True, squeeze=False)[0]
    for axis, label in zip(axes, labels, strict=True):
        everywhere = overall["per_label"][label]["f1"]
        axis.axvline(everywhere, color=GREY, linewidth=0.9, linestyle=":")
        axis.set_title(f"{_words(label)}\nF1 on all rows {everywhere:.2f}", fontsize=9)
        for place, part in zip(places, slices, strict=True):
            given = part["per_label"][label]
            if part["positive_documents"][label] < MIN_DOCUMENTS:
                axis.text(0.01, place, f"too few: {given['support']}", fontsize=6, color=GREY, va="center")
                continue
            low, high = given["f1_ci"]
            weak = high < everywhere
            colour = ORANGE if weak else BLUE
            axis.plot([low, high], [place, place], color=colour, linewidth=1.2)
            axis.plot(
                given["f1"], place, "o", color=colour, markersize=4.5, markerfacecolor=colour if weak else "white"
            )
        axis.set(xlim=(-0.02, 1.02), xlabel="F1")
        axis.grid(axis="x", color=PALE, linewidth=0.5)
        _bare(axis)
        axis.tick_params(axis="y", length=0)
    axes[0].set_ylim(row - 0.3, -0.7)
    axes[0].set_yticks([*places, *(place for place, _ in heads)], [*names, *(name for _, name in heads)])
    for tick in axes[0].get_yticklabels()[len(places) :]:
        tick.set_fontweight("bold")
    figure.supxlabel(
        "filled: the interval lies below F1 on all rows (dotted)   too few: the label stands in fewer than "
        f"{MIN_DOCUMENTS} documents; so many rows",
        fontsize=7.5,
        color=GREY,
    )
    return figure


def behaviour_figure(phenomena: Mapping[str, tuple[int, int]]) -> Figure:
    """Pass rate of the behavioural tests by phenomenon, the worst on top.

    Args:
        phenomena: by name, how many cases passed and how many there are.
    """
    ordered = sorted(phenomena.items(), key=lambda item: (item[1][0] / item[1][1], item[0]))
    figure = _figure(6.8, 0.9 + 0.22 * len(ordered))
    axis = figure.subplots()
    for place, (_, (passed, cases)) in enumerate(ordered):
        axis.barh(place, 100, color=PALE, height=0.7)
        axis.barh(place, 100 * passed / cases, color=BLUE, height=0.7)
        axis.text(101, place, f"{passed} of {cases}", va="center", fontsize=7.5)
    axis.set_yticks(range(len(ordered)), [_words(name) for name, _ in ordered])
    axis.set(xlim=(0, 100), ylim=(len(ordered) - 0.4, -0.6), xlabel="cases passed (%)")
    _bare(axis)
    axis.spines[["left", "bottom"]].set_visible(False)
    axis.tick_params(axis="y", length=0)
    return figure
