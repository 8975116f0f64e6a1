"""The codebook read by heading and number, and which of its passages bear on a sentence.

What a sentence holds, found by the words below, points at passages: a rule, a line of a tag's "Does not count", a
section. It is a reading aid for people: a passage that is shown may not apply, and one that applies may be missing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from treatystance.corpus.load import data_path
from treatystance.models.ngrams import COUNTRY, SELF, Tokenizer, country_names, folded
from treatystance.statement import ANY_GOVERNMENT

__all__ = ["Codebook", "Passage", "bearing", "packaged_codebook", "read_codebook"]

_HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
_RULE = re.compile(r"^(\d+)\. (.+(?:\n[ \t]+\S.*)*)", re.MULTILINE)
_LINE = re.compile(r"^- (.+(?:\n[ \t]+\S.*)*)", re.MULTILINE)
_TABLE_ROW = re.compile(r"^\| (.+?) \| (.+?) \|$", re.MULTILINE)
_STANCE = "Whose stance"


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage of the codebook: what it is called, and its text as plain words."""

    name: str
    text: str


@dataclass(frozen=True)
class Codebook:
    """A codebook's rules by number, the rows of its table "Whose stance", and what it says of each tag.

    `excluded` holds for each tag the lines of "Does not count".
    """

    rules: Mapping[int, Passage]
    stance: tuple[Passage, ...]
    definitions: Mapping[str, Passage]
    excluded: Mapping[str, tuple[Passage, ...]]


def read_codebook(markdown: str) -> Codebook:
    """Parse a codebook: sections under `## `, those of tags in back quotes, rules numbered under "Decision rules"."""
    _, *parts = _HEADING.split(markdown)
    bodies = {name.strip(): body.strip() for name, body in zip(parts[::2], parts[1::2], strict=True)}
    tags = {name.strip("`"): body for name, body in bodies.items() if name.startswith("`")}
    return Codebook(
        rules={
            int(number): Passage(f"Rule {number}", _plain(text))
            for number, text in _RULE.findall(bodies.get("Decision rules", ""))
        },
        stance=tuple(
            Passage(_STANCE, _plain(f"{case}: {treatment}"))
            for case, treatment in _TABLE_ROW.findall(bodies.get(_STANCE, ""))[1:]
        ),
        definitions={
            tag: Passage("Definition", _plain(match[1]))
            for tag, body in tags.items()
            if (match := re.search(r"\*\*Definition\.\*\*\s+(.+?)(?:\n\s*\n|\Z)", body, re.DOTALL))
        },
        excluded={
            tag: tuple(Passage("Does not count", _plain(line)) for line in _LINE.findall(_part(body, "Does not count")))
            for tag, body in tags.items()
        },
    )


def _part(body: str, name: str) -> str:
    """What stands under a bold line of a section."""
    return re.split(r"^\*\*.+\*\*\s*$", body.partition(f"**{name}**")[2], flags=re.MULTILINE)[0]


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[`*]", "", text).split())


@cache
def packaged_codebook() -> Codebook:
    """The codebook that the package's tags follow."""
    return read_codebook(data_path("package:codebook.md").read_text("utf-8"))


# What a sentence may hold: names and the words (of the folded text) by which each is found.
_SIGNALS = {
    name: re.compile(pattern)
    for name, pattern in {
        "exit": r"\b(withdr[ae]w|leav(e|es|ing)\b|left\b|quit|exit|denounc|denunciation|terminat|abrogat|suspen[ds]"
        r"|renounc|repudiat|revok|pull(s|ed|ing)? out|out of\b|depart|no longer)",
        "negation": r"\b(not|no|never|nor|neither|cannot|without|none)\b|n't\b",
        "forces": r"\b(troops?|forces|soldiers?|army|armies|battalions?|contingents?|units|reservations?|candida\w+"
        r"|claims?|proposals?|investments?)\b",
        "denounce": r"\bdenounc|\bdenunciation",
        "expiry": r"\b(expir\w+|runs? out|ran out|replac\w+|successor|renew\w+)\b",
        "clause": r"\b(may (withdraw|denounce|terminate)|withdrawal clause|reserv\w+ (the|its|our) right"
        r"|since (we|our)|meeting|session|conference)\b",
        "call": r"\b(must|should|ought|calls? (up)?on|urges?|appeals?|invites?|let us|demands?|requests?)\b",
        "support": r"\b(welcom|support|important|importance|step|cornerstone|valu|praise|hail)",
        "despite": r"\b(despite|notwithstanding|although|though|in spite of)\b",
        "humanitarian treaty": r"\b(geneva conventions?|ottawa|mine[- ]ban|cluster munitions?|refugee convention)\b",
        "obligation": r"\b(bound|binds?|binding|obligations?|dut(y|ies))\b",
        "history": r"\b(1[89]|20)\d\d\b|\b(signed|ratified|acceded|joined|left|withdrew|history)\b",
        "joining": r"\b(join|sign|accede|accession|ratify|adher)",
        "charter": r"\b(charter|united nations)\b",
        "meeting": r"\b(chair(s|ed|ing)?|chairmanship|presid\w+|host(s|ed|ing)?)\b",
        "quotation": r"[\"“”«»]",
        "between others": r"\b(between|peace (accord|agreement|treaty|process)s?|bilateral)\b",
        "plural": r"\b(treaties|conventions|agreements|covenants|pacts|engagements|international law)\b",
        "accordance": r"\b(in accordance with|in line with|pursuant to|in conformity with|consistent with)\b",
        "body": r"\b(organi[sz]ations?|resolutions?|agenda|declarations?|principles?|process|multilateralism)\b",
        "first person": r"\b(we|our|us|i|my|ourselves)\b",
        "suffering": r"\b(suffer\w*|victims?|die[ds]?|killed|tragedy|plight|starv\w+)\b",
        "thanks": r"\b(thank\w*|grateful|gratitude|appreciat\w+)\b",
        "development": r"\b(development|trade|loans?|lend|health|medicines?|vaccin\w+|medical)\b",
        "peacekeeping": r"\b(peace-?keep\w+|battalions?|contingents?|troops?)\b",
        "rights": r"\bhuman rights\b",
        "weapon": r"\b(moratorium|ban(s|ned)?|prohibit\w*|mines?|munitions?|weapons?)\b",
        "earlier government": r"\b((previous|former|last|earlier|outgoing) (government|administration|cabinet|regime)"
        r"|predecessors?)\b",
    }.items()
}

_SPEAKERS = {SELF, "we", "our", "us", "i", "my"}
_ANY = ("intent_to_withdraw", "reaffirmation", "humanitarian_commitment")
# Tags, signals that all have to be there ("-": absent), and the passage: a rule's number, or words by which a line of
# "Whose stance" or of the tag's "Does not count" is known. The first that fit are shown: the narrow ones stand first.
_BEARING: tuple[tuple[tuple[str, ...], tuple[str, ...], int | str], ...] = (
    (_ANY, ("earlier government",), "An earlier government"),
    (_ANY, ("report",), "A news report"),
    (_ANY, ("despite",), 4),
    (_ANY[:2], ("exit", "negation"), 6),
    (_ANY[:1], ("obligation", "negation"), 6),
    (_ANY[:1], ("exit", "forces"), "troops"),
    (_ANY[:1], ("other country",), "stance of a different government"),
    (_ANY[:1], ("exit", "clause"), 15),
    (_ANY[:1], ("exit", "denounce"), "condemn"),
    (_ANY[:1], ("expiry",), "runs out"),
    (_ANY[:2], ("joining", "negation"), 8),
    (_ANY[1:], ("humanitarian treaty",), 5),
    (_ANY[1:], ("meeting",), 10),
    (_ANY[1:2], ("charter",), 9),
    (_ANY[1:2], ("accordance",), 16),
    (_ANY, ("call",), 2),
    (_ANY[1:2], ("between others",), 13),
    (_ANY[1:2], ("plural",), 14),
    (_ANY[1:2], ("support",), 3),
    (_ANY[1:2], ("body",), "organisation"),
    (_ANY[1:], ("other country",), "stance of a different government"),
    (_ANY[2:], ("thanks",), "thanks"),
    (_ANY[2:], ("rights",), "human rights"),
    (_ANY[2:], ("peacekeeping",), "peacekeeping"),
    (_ANY[2:], ("development",), 17),
    (_ANY[2:], ("-first person",), 17),
    (_ANY[2:], ("suffering",), "suffering"),
    (_ANY[2:], ("weapon",), "weapon"),
    (_ANY[:2], ("history",), 7),
    (_ANY, ("quotation",), 11),
)
_DOUBT = 12


def _signals(text: str, government: str | None) -> set[str]:
    """What the sentence holds: the signals above, "report", and "other country" where another comes before the speaker.

    A country counts as the one spoken of where it precedes every word of the speaker's own.
    """
    whole = folded(text)
    found = {name for name, pattern in _SIGNALS.items() if pattern.search(whole)}
    if government == ANY_GOVERNMENT:
        return found | {"report"}
    spoken_of = (token for token in _tokenizer()(text, government) if token in _SPEAKERS | {COUNTRY})
    return found | {"other country"} if next(spoken_of, None) == COUNTRY else found


@cache
def _tokenizer() -> Tokenizer:
    return Tokenizer(country_names())


def bearing(codebook: Codebook, label: str, text: str, government: str | None, most: int = 3) -> tuple[Passage, ...]:
    """The passages that bear on whether a sentence carries a label: its definition, then at most `most` others.

    Where none is found, that is the rule for doubt.

    Args:
        codebook: as `read_codebook` gives it.
        label: a tag; one that the codebook does not define has no passages.
        text: the sentence.
        government: that speaks, as in `Batch`.
        most: how many passages besides the definition.
    """
    if label not in codebook.definitions:
        return ()
    signals = _signals(text, government)
    passages: list[Passage] = []
    for labels, wanted, target in _BEARING:
        if label in labels and all(w[1:] not in signals if w[0] == "-" else w in signals for w in wanted):
            passages += [passage for passage in _passages(codebook, label, target) if passage not in passages]
    return (codebook.definitions[label], *(passages or _passages(codebook, label, _DOUBT))[:most])


def _passages(codebook: Codebook, label: str, target: int | str) -> list[Passage]:
    if isinstance(target, int):
        return [codebook.rules[target]] if target in codebook.rules else []
    return [line for line in (*codebook.stance, *codebook.excluded[label]) if target in line.text][:1]
