"""From a sentence to its n-grams: the one tokenisation that training, scoring and explaining share."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import cache
from importlib.resources import files

from treatystance.statement import ANY_GOVERNMENT

__all__ = [
    "COUNTRY",
    "REPORT",
    "SELF",
    "TOKEN",
    "Tokenizer",
    "anchored",
    "char_ngrams",
    "country_names",
    "folded",
    "word_ngrams",
]

COUNTRY, SELF, REPORT = "xcountry", "xself", "xreport"
TOKEN = re.compile(r"\w+(?:'(?!s\b)\w+)?")
_QUOTES = str.maketrans({"’": "'", "‘": "'", "ʼ": "'"})

# Names that pycountry lacks: short forms, former names and former states that statements use.
_FORMER_AND_SHORT = {
    "america": "USA", "great britain": "GBR", "britain": "GBR", "soviet union": "SUN", "ussr": "SUN",
    "yugoslavia": "YUG", "czechoslovakia": "CSK", "burma": "MMR", "zaire": "COD", "congo": "COG",
    "democratic republic of the congo": "COD", "ivory coast": "CIV", "swaziland": "SWZ", "macedonia": "MKD",
    "iran": "IRN", "syria": "SYR", "russia": "RUS", "korea": "KOR", "north korea": "PRK", "south korea": "KOR",
    "republic of korea": "KOR", "democratic people's republic of korea": "PRK", "vietnam": "VNM", "laos": "LAO",
    "libya": "LBY", "tanzania": "TZA", "venezuela": "VEN", "bolivia": "BOL", "moldova": "MDA", "palestine": "PSE",
    "micronesia": "FSM", "brunei": "BRN", "turkey": "TUR", "kampuchea": "KHM", "upper volta": "BFA",
    "dahomey": "BEN", "ceylon": "LKA", "rhodesia": "ZWE", "byelorussia": "BLR", "german democratic republic": "DDR",
    "cape verde": "CPV", "east timor": "TLS", "gambia": "GMB", "bahamas": "BHS", "holland": "NLD",
}  # fmt: skip


def folded(text: str) -> str:
    """Lower case, with one form of apostrophe."""
    return text.lower().translate(_QUOTES)


@cache
def country_names() -> dict[str, str]:
    """Lower-case names of countries and peoples and their ISO 3166 alpha-3 codes, former states included."""
    import pycountry

    names: dict[str, str] = {}
    for country in pycountry.countries:
        for field in ("name", "common_name", "official_name"):
            name = getattr(country, field, None)
            if name:
                names[name.split(",")[0].lower()] = country.alpha_3
    names.update(_FORMER_AND_SHORT)
    for line in files("treatystance").joinpath("data", "demonyms.txt").read_text("utf-8").splitlines():
        if not line.startswith("#"):
            code, *words = line.split()
            names.update(dict.fromkeys(words, code))
    return names


class Tokenizer:
    """Text → lower-case tokens; a country or people becomes `xcountry`, or `xself` where it is the speaker's own.

    A token is a word with an inner apostrophe, but a final 's stands alone. Names of several words are one token.

    Args:
        countries: lower-case names and their codes; empty to leave names as they are.
    """

    def __init__(self, countries: Mapping[str, str]) -> None:
        self._single: dict[str, str] = {}
        # By first word, the longest name first.
        self._several: dict[str, list[tuple[list[str], str]]] = {}
        for name, code in sorted(countries.items(), key=lambda item: (-len(item[0]), item[0])):
            words = TOKEN.findall(folded(name))
            if len(words) == 1:
                self._single[words[0]] = code
            elif words:
                self._several.setdefault(words[0], []).append((words, code))

    def __call__(self, text: str, government: str | None = None) -> list[str]:
        """The tokens of a sentence said by `government`."""
        tokens = TOKEN.findall(folded(text))
        # Most sentences hold no name: two set look-ups in C settle that.
        if not self._several.keys().isdisjoint(tokens):
            for start, size, code in reversed(self._names(tokens)):
                tokens[start : start + size] = [SELF if government in (code, ANY_GOVERNMENT) else COUNTRY]
        if not self._single.keys().isdisjoint(tokens):
            single = self._single
            tokens = [
                token if token not in single else SELF if government in (single[token], ANY_GOVERNMENT) else COUNTRY
                for token in tokens
            ]
        # As an anchor, this token gives every word of a report a weight of its own (Daumé III 2007).
        return [REPORT, *tokens] if government == ANY_GOVERNMENT and self._single else tokens

    def located(self, text: str, government: str | None = None) -> list[tuple[str, int, int]]:
        """The same tokens, each with the place in `text` where it starts and ends; (0, 0) for what marks a report."""
        words, spans = _words(text)
        for start, size, _ in reversed(self._names(words)):
            spans[start : start + size] = [(spans[start][0], spans[start + size - 1][1])]
        tokens = self(text, government)
        places = [(0, 0)] * (len(tokens) - len(spans)) + spans
        return [(token, *place) for token, place in zip(tokens, places, strict=True)]

    def _names(self, tokens: list[str]) -> list[tuple[int, int, str]]:
        """The names of several words: where each starts, of how many words it is, whose it is."""
        names: list[tuple[int, int, str]] = []
        end = 0
        for start in [i for i, token in enumerate(tokens) if token in self._several]:
            if start < end:
                continue
            for words, code in self._several[tokens[start]]:
                if tokens[start : start + len(words)] == words:
                    end = start + len(words)
                    names.append((start, len(words), code))
                    break
        return names


def _words(text: str) -> tuple[list[str], list[tuple[int, int]]]:
    """The words of a text, and where each stands in it: folding may make two characters of one."""
    whole = folded(text)
    matches = list(TOKEN.finditer(whole))
    spans = [match.span() for match in matches]
    if len(whole) != len(text):
        origin = [i for i, character in enumerate(text) for _ in folded(character)]
        spans = [(origin[start], origin[end - 1] + 1) for start, end in spans]
    return [match.group() for match in matches], spans


def word_ngrams(tokens: list[str], longest: int) -> list[str]:
    """The distinct tokens, then every n-gram of two to `longest` tokens, joined by spaces.

    A word counts once per sentence (what recurs are function words); a longer n-gram hardly recurs, and counts as often
    as it stands.
    """
    longer = (" ".join(tokens[i : i + n]) for n in range(2, longest + 1) for i in range(len(tokens) - n + 1))
    return [*dict.fromkeys(tokens), *longer]


def anchored(tokens: list[str], anchors: Mapping[str, Collection[str]]) -> list[str]:
    """Distinct words by the side of an anchor on which they stand: "treaty>leave" where "leave" precedes a treaty word.

    An anchor is a class of words, such as those for treaties; a word counts as before if it precedes the last of them,
    as after ("treaty<leave") if it follows the first, and as alone ("treaty!leave") where the sentence has none. It is
    what tells "we left it" from "it left us", and both from "they left".
    """
    found: list[str] = []
    for name, words in anchors.items():
        places = [i for i, token in enumerate(tokens) if token in words]
        if places:
            before, after = dict.fromkeys(tokens[: places[-1]]), dict.fromkeys(tokens[places[0] + 1 :])
            found += [f"{name}>{token}" for token in before if token not in words]
            found += [f"{name}<{token}" for token in after if token not in words]
        else:
            found += [f"{name}!{token}" for token in dict.fromkeys(tokens)]
    return found


def char_ngrams(token: str, shortest: int, longest: int) -> list[str]:
    """The character n-grams of a token padded with a space on each side; they never cross a word."""
    padded = f" {token} "
    if len(padded) <= shortest:
        return [padded]
    return [padded[i : i + n] for n in range(shortest, longest + 1) for i in range(len(padded) - n + 1)]
