"""What a labelled row is sliced by: facts about it, never its text.

Region, decade, kind and language are what the corpus says; length is counted. Treaty family and person are heuristics
over words: good enough to find where a model is weak, not to count treaties with.
"""

from __future__ import annotations

import re
from functools import cache

from treatystance.corpus.rows import Row
from treatystance.models.ngrams import SELF, Tokenizer, country_names
from treatystance.quality import region_of

__all__ = ["DIMENSIONS", "facts_of"]

DIMENSIONS = ("region", "decade", "kind", "treaty_family", "language", "length", "person")
UNKNOWN = "unknown"
_LENGTHS = (15, 30, 45)  # words; the last bin is open

# The first family of which a text has a word is its own, so what is specific stands before what is general.
_FAMILIES = {
    "nuclear and disarmament": r"""
        nuclear | non-?proliferation | test[- ]ban | fissile | safeguards\ agreements? | tlatelolco | rarotonga
        | pelindaba | inf\ (?:treaty|accord) | new\ start | start\ (?:treaty|i{1,3}) | salt\ (?:treaty|i{1,2})
        | anti-?ballistic | (?:chemical|biological|bacteriological|conventional)\ (?:and\ toxin\ )?weapons?
        | open\ skies | arms\ trade\ treaty | small\ arms | disarmament | arms\ (?:control|limitation|reduction)s?
        | agreed\ framework""",
    "humanitarian law and mines": r"""
        geneva\ (?:conventions?|protocols?) | humanitarian\ law | laws?\ of\ (?:war|armed\ conflict) | land-?mines?
        | (?:anti-?personnel|land)\ mines? | mine-?\ ?ban | ottawa | cluster\ (?:munitions?|bombs?)
        | additional\ protocols? | refugee\ convention | status\ of\ refugees""",
    "courts": r"""
        (?:international|world|permanent)\ (?:criminal\ )?court | rome\ statute | compulsory\ jurisdiction
        | (?:criminal|special)\ tribunals?""",
    "human rights": r"""
        human\ rights | torture | genocide | racial\ discrimination | discrimination\ against\ women | rights\ of\ the
        \ child | rights\ of\ persons\ with | civil\ and\ political\ rights | social\ and\ cultural\ rights | slavery
        | enforced\ disappearances?""",
    "environment and climate": r"""
        climate | kyoto | paris\ (?:agreement|accords?) | greenhouse | emissions? | biodiversity | biological\ diversity
        | desertification | ozone | montreal\ protocol | endangered\ species | basel\ convention | minamata | whaling
        | environment(?:al)?""",
    "trade and economy": r"""
        trade | trans-?pacific | tariffs? | customs\ union | cotonou | lom[eé]\ convention | investment | taxation
        | postal\ union | labou?r\ (?:organi[sz]ation|conventions?|standards)""",
    "UN Charter": r"""
        (?:un|united\ nations|the|our|its|this)\ charter | charter\ of\ the\ (?:united\ nations|un|organi[sz]ation)""",
    "alliances and regional bodies": r"""
        north\ atlantic | warsaw\ (?:pact|treaty) | mutual\ (?:defen[cs]e|security) | rio\ treaty | atlantic\ alliance
        | european\ (?:union|community|communities|economic\ community) | maastricht | lisbon\ treaty | african\ union
        | (?:organi[sz]ation\ of\ (?:african\ unity|american\ states)) | arab\ league | league\ of\ arab\ states
        | gulf\ cooperation | helsinki | council\ of\ europe | world\ health\ organi[sz]ation
        | british\ commonwealth""",
}  # fmt: skip
# Abbreviations count in capitals only: "who" asks, and WHO is a body.
_ABBREVIATIONS = {
    "nuclear and disarmament": "NPT CTBT CTBTO PTBT NTBT IAEA JCPOA INF ABM CWC BWC OPCW ATT CFE",
    "humanitarian law and mines": "IHL CCW ICRC",
    "courts": "ICC ICJ ITLOS",
    "human rights": "CEDAW ICCPR ICESCR",
    "environment and climate": "UNFCCC CITES",
    "trade and economy": "NAFTA USMCA WTO GATT TPP CAFTA AGOA ILO",
    "alliances and regional bodies": "NATO SEATO CENTO EU OAU OAS ASEAN CARICOM ECOWAS SADC OSCE UNESCO WHO UNIDO",
}  # fmt: skip
_NAMED = re.compile(
    r"\b(?:Treat(?:y|ies)|Conventions?|Covenants?|Protocols?|Pacts?|Accords?|Statute|Armistice)\b"
    r"|\b[A-Z][\w’'-]+\ (?:[Aa]greements?|accords?|pacts?|treat(?:y|ies)|conventions?|protocols?)\b"
)
# "US" is a country, "Article I" a number.
_FIRST_PERSON = re.compile(
    r"\b(?i:we|ours?|ourselves|my|myself|me)\b|\b[Uu]s\b|(?<!War )(?<!Article )(?<!Annex )(?<!START )(?<!SALT )\bI\b"
)


def facts_of(row: Row) -> dict[str, str]:
    """A row's value in each of `DIMENSIONS`; "unknown" where the corpus does not say."""
    return {
        "region": region_of(row.government),
        "decade": f"{row.year // 10 * 10}s" if row.year else UNKNOWN,
        "kind": row.kind or UNKNOWN,
        "treaty_family": _family(row),
        "language": row.language or UNKNOWN,
        "length": _length(row.text),
        "person": _person(row),
    }


def _family(row: Row) -> str:
    """The family of the treaty that the sentence names, else of the one that the row or the sentence before names."""
    given = [text for text in (row.text, row.treaty, row.prev) if text]
    for text in given:
        folded = text.casefold()
        for name, (words, abbreviations) in _families().items():
            if words.search(folded) or abbreviations.search(text):
                return name
    return "other named treaty" if any(_NAMED.search(text) for text in given) else "none named"


@cache
def _families() -> dict[str, tuple[re.Pattern[str], re.Pattern[str]]]:
    return {
        name: (
            re.compile(rf"\b(?:{words})\b", re.VERBOSE),
            re.compile(rf"\b(?:{_ABBREVIATIONS.get(name, '(?!)').replace(' ', '|')})\b"),
        )
        for name, words in _FAMILIES.items()
    }


def _length(text: str) -> str:
    words, low = len(text.split()), 1
    for high in _LENGTHS:
        if words <= high:
            return f"{low}-{high} words"
        low = high + 1
    return f"{low} words or more"


def _person(row: Row) -> str:
    """ "first" where the sentence speaks in the first person or names a government whose stance it may carry."""
    if _FIRST_PERSON.search(row.text):
        return "first"
    return "first" if any(SELF in _tokenizer()(row.text, code) for code in row.governments) else "third"


@cache
def _tokenizer() -> Tokenizer:
    return Tokenizer(country_names())
